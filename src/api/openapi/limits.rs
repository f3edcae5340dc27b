//! How rate limits and consents are described. The domain reads the real bodies, field by field.

use utoipa::ToSchema;

use super::words::{ChannelAsked, ScopeWord, UnavailableWord};

/// How many messages may go out in any window of a length.
#[derive(ToSchema)]
#[schema(example = json!({
    "name": "news_per_user", "scope": "user_category", "category": "news", "max": 3, "window": "1d",
}))]
#[allow(
    dead_code,
    reason = "only described; `domain::LimitSubmission` reads the real one"
)]
pub(in crate::api) struct LimitBody {
    /// Unique, and not in the shape of an id. The name of a default replaces it.
    #[schema(min_length = 1, max_length = 255)]
    name: String,
    /// What is counted apart: each user on each channel, each channel, each user in each category,
    /// each type of event, each provider, or each channel of Slack.
    scope: ScopeWord,
    /// The only channel it speaks of. In-app is meant only where it is named.
    #[schema(nullable)]
    channel: Option<ChannelAsked>,
    /// The only category it speaks of.
    #[schema(nullable, min_length = 1, max_length = 255)]
    category: Option<String>,
    /// The only type of event it speaks of, in any case, `_` equal to `.`.
    #[schema(nullable, min_length = 1, max_length = 255)]
    event_type: Option<String>,
    /// The only provider it speaks of, by the name that attempts show.
    #[schema(nullable, min_length = 1, max_length = 255)]
    provider: Option<String>,
    /// Messages in any window.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    max: u32,
    /// From `1s` to `31d`.
    #[schema(pattern = "^[0-9]+[smhd]$", example = "1h")]
    window: String,
    /// What becomes of a message while slots cannot be counted; else sms and voice `defer`, the
    /// others `allow`.
    #[schema(nullable)]
    when_unavailable: Option<UnavailableWord>,
    /// `false` switches it off: also a default, by its name.
    #[schema(nullable, default = true)]
    enabled: Option<bool>,
}

/// That a user agrees to be sent a category, or does so no longer.
#[derive(ToSchema)]
#[schema(example = json!({
    "user_id": "u1", "category": "marketing", "granted": true, "source": "sign-up form",
}))]
#[allow(
    dead_code,
    reason = "only described; `domain::ConsentSubmission` reads the real one"
)]
pub(in crate::api) struct ConsentBody {
    /// A service names the user; a user may leave it out.
    #[schema(nullable, min_length = 1, max_length = 255)]
    user_id: Option<String>,
    #[schema(min_length = 1, max_length = 255)]
    category: String,
    /// Without one it is about every channel.
    #[schema(nullable)]
    channel: Option<ChannelAsked>,
    /// `false` withdraws it.
    granted: bool,
    /// Where it was given, such as a form.
    #[schema(nullable, min_length = 1, max_length = 255)]
    source: Option<String>,
    #[schema(nullable, max_length = 2000)]
    note: Option<String>,
}

/// Another state of a consent. What it is about may be repeated, and not be changed.
#[derive(ToSchema)]
#[schema(example = json!({"granted": false, "source": "called us"}))]
#[allow(dead_code, reason = "only described")]
pub(in crate::api) struct ConsentChangeBody {
    #[schema(nullable, min_length = 1, max_length = 255)]
    user_id: Option<String>,
    #[schema(nullable, min_length = 1, max_length = 255)]
    category: Option<String>,
    #[schema(nullable)]
    channel: Option<ChannelAsked>,
    /// `false` withdraws it.
    granted: bool,
    #[schema(nullable, min_length = 1, max_length = 255)]
    source: Option<String>,
    #[schema(nullable, max_length = 2000)]
    note: Option<String>,
}
