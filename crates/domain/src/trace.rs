//! Why a notification went the way it went, one decision at a time.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One decision, as `GET /notifications/{id}/trace` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TraceStep {
    /// Where it was taken: `route`, `render`, `deliver`, ….
    pub step: String,
    /// What was decided, a stable word or two.
    pub decision: String,
    /// Why, in a sentence.
    pub reason: String,
    /// The values it was decided on; null when the reason says it all.
    #[serde(default)]
    pub detail: Value,
}

impl TraceStep {
    pub fn new(
        step: impl Into<String>,
        decision: impl Into<String>,
        reason: impl Into<String>,
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
