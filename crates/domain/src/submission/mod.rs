//! What may come in: the bodies of events, direct sends, users and topics, checked.
//!
//! A submission that exists is valid: it fits its columns, Postgres will take its JSON, and a
//! header made from it cannot be broken into two. All problems of a body are reported together,
//! each with a pointer to its field.

mod cloud_event;
mod consent;
mod event;
pub(crate) mod fields;
pub(crate) mod json;
mod notification;
mod preview;
mod rehearsal;
mod replay;
mod topic;
mod user;
mod web_push;

use serde::Serialize;

pub use consent::ConsentSubmission;
pub use event::EventSubmission;
pub use json::{check as check_json, pointer_token};
pub use notification::NotificationSubmission;
pub use preview::PreviewSubmission;
pub use rehearsal::RehearsalSubmission;
pub use replay::ReplaySubmission;
pub use topic::{TopicSubmission, parse_members};
pub use user::UserSubmission;
pub use web_push::{BrowserSubmission, is_push_key};

/// Characters in a name or key: `type`, `producer`, `event_id`, `dedupe_key`, and the like.
pub const NAME_CHARS_MAX: usize = 255;

/// Levels of objects and arrays in `payload` or `data`, the object itself included.
pub const DEPTH_MAX: usize = 128;

/// What is wrong with one field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// A JSON pointer into the body; empty for the body itself.
    pub pointer: String,
    /// What to do about it, as the end of a sentence about the field.
    pub detail: String,
}

impl FieldError {
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.into(),
        }
    }
}
