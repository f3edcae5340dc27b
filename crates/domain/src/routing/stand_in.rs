//! A channel has failed for good: what stands in for it, if anything.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::channel::{Crossed, Crossing};
use super::{PlannedDelivery, STEP};
use crate::{Channel, Matter, Priority, Recipient, Severity, TraceStep, UserId};

/// What is known of a notification one of whose channels has failed.
#[derive(Debug, Clone, Copy)]
pub struct StandInFacts<'a> {
    pub user_id: &'a UserId,
    pub failed: Channel,
    /// What may stand in, in order.
    pub fallback: &'a [Channel],
    /// Channels it has deliveries on, whatever became of them.
    pub used: &'a [Channel],
    pub category: Option<&'a str>,
    pub priority: Priority,
    pub severity: Option<Severity>,
    pub data: Option<&'a Value>,
    pub bypass_quiet_hours: bool,
}

/// Chooses the first of the fallback that was not used yet, that the user wants, and on which they
/// are reached. No deliveries if there is none; the steps say why.
///
/// The user is asked as at any planning, so what stands in never crosses an opt-out.
pub fn stand_in(
    facts: &StandInFacts<'_>,
    recipient: Option<&Recipient>,
    at: DateTime<Utc>,
) -> (Vec<PlannedDelivery>, Vec<TraceStep>) {
    let crossing = Crossing {
        user_id: facts.user_id,
        recipient,
        matter: Matter {
            category: facts.category,
            priority: facts.priority,
            severity: facts.severity,
        },
        data: facts.data,
        bypass_quiet_hours: facts.bypass_quiet_hours,
        is_test: false,
        at: Some(at),
    };
    let mut crossed = Crossed {
        fallback: facts.fallback.to_vec(),
        ..Crossed::default()
    };
    crossed
        .fallback
        .retain(|channel| !facts.used.contains(channel));
    if !crossing.stand_in(facts.failed, &mut crossed) {
        let reason = format!("nothing is left to stand in for {}", facts.failed);
        crossed
            .steps
            .push(TraceStep::new(STEP, "fallback_exhausted", reason));
    }
    (crossed.deliveries, crossed.steps)
}
