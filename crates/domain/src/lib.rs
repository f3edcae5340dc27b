//! The words of a notification service and the decisions it takes, as values and functions.
//!
//! Nothing here reads a clock, a database or a network: time and chance come in as arguments. So
//! the same functions serve a worker, a dry run and a property test, and a decision can be
//! explained after the fact by taking it again.
//!
//! # Reading order
//!
//! `id`, `channel`, `priority`, `status` and `recipient` are the vocabulary; `message`, with the
//! `mail` in it, and `trace` are what is stored. `submission` is what may come in, `preference` what
//! people want, `rule` what operators want; `routing` decides who hears of it and how, `digest` what
//! is told together, `limit` how many may go out, `retry` when to try again, and `replay` what an
//! operator may have tried again. `role` is what a credential may do, and `feed` names a wake-up.
#![warn(clippy::wildcard_enum_match_arm)]

mod address;
mod channel;
mod digest;
mod feed;
mod id;
mod limit;
mod locale;
mod mail;
mod message;
mod preference;
mod priority;
mod recipient;
mod replay;
mod retry;
mod role;
mod routing;
mod rule;
mod status;
mod submission;
mod trace;

pub use channel::Channel;
pub use digest::{DigestKey, Telling};
pub use feed::{FeedNews, feed_hash};
pub use id::{DeliveryId, DigestId, EventId, NotificationId, ReplayId, RuleId, TenantId, UserId};
pub use limit::{
    Claim, Counter, Limit, LimitBook, LimitOf, LimitSubmission, Room, Scope, SendFacts,
    WhenUnavailable, decide,
};
pub use locale::is_locale;
pub use mail::{Attachment, MailParts};
pub use message::Message;
pub use preference::{
    CategoryPreference, ChannelPreference, ConsentCategories, ConsentRecord, Consents, Matter,
    Preferences, Quiet, QuietHours, QuietMode, QuietWindow, Suppression, Verdict, WallClock,
};
pub use priority::{Priority, Severity};
pub use recipient::{Addresses, Recipient};
pub use replay::{Pace, ReplayResult, ReplayState};
pub use retry::{RetryPolicies, RetryPolicy};
pub use role::Role;
pub use routing::{
    ActionFacts, DIGEST_TEMPLATE, DirectFacts, EventFacts, NamedTemplate, Origin, PlannedDelivery,
    PlannedNotification, StandInFacts, TellingFacts, TemplateNames, route_direct, stand_in,
    template_key, unruled,
};
pub use rule::{
    Action, Audience, Batch, Condition, Every, Matching, Operator, Rule, RuleBook, RuleError,
    RuleSubmission, Scene, Schedule, ScheduleError, Selector, SharedRule, Variant,
};
pub use status::{AttemptStatus, Status};
pub use submission::{
    ConsentSubmission, DEPTH_MAX, EventSubmission, FieldError, NAME_CHARS_MAX,
    NotificationSubmission, PreviewSubmission, RehearsalSubmission, ReplaySubmission,
    TopicSubmission, UserSubmission, check_json, parse_members, pointer_token,
};
pub use trace::TraceStep;
