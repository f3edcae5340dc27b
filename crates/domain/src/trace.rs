//! Why a notification went the way it went, one decision at a time.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One decision, as `GET /notifications/{id}/trace` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TraceStep {
    /// Where it was taken: `route`, `render`, `deliver`, ….
    pub step: Cow<'static, str>,
    /// What was decided, a stable word or two.
    pub decision: Cow<'static, str>,
    /// Why, in a sentence.
    pub reason: Cow<'static, str>,
    /// The values it was decided on; null when the reason says it all.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub detail: Value,
}

impl TraceStep {
    pub fn new(
        step: impl Into<Cow<'static, str>>,
        decision: impl Into<Cow<'static, str>>,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            step: step.into(),
            decision: decision.into(),
            reason: reason.into(),
            detail: Value::Null,
        }
    }

    #[must_use]
    pub fn with_detail(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }
}
