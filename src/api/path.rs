//! What a path names: ids that may hold any character, percent-encoded.

use std::str::FromStr;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::Method;
use axum::http::request::Parts;
use domain::UserId;
use store::rules::RuleRef;
use store::templates::TemplateRef;
use store::topics::TopicRef;

use crate::api::error::ApiError;
use crate::app::App;

/// Longest id or name, in characters.
const NAME_CHARS_MAX: usize = domain::NAME_CHARS_MAX;

/// The user that `{user_id}` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserPath(pub(crate) UserId);

impl FromRequestParts<App> for UserPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let text = name(parts, app, "user_id").await?;
        Ok(Self(text.into()))
    }
}

/// The topic that `{id}` names, by its id or its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopicPath(pub(super) TopicRef);

impl FromRequestParts<App> for TopicPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let text = name(parts, app, "id").await?;
        Ok(Self(TopicRef::parse(&text)))
    }
}

/// The limit that `{id}` names, by its id or its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LimitPath(pub(super) String);

impl FromRequestParts<App> for LimitPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        name(parts, app, "id").await.map(Self)
    }
}

/// The template that `{id}` names, by its id or its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TemplatePath(pub(crate) TemplateRef);

impl FromRequestParts<App> for TemplatePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let text = name(parts, app, "id").await?;
        Ok(Self(TemplateRef::parse(&text)))
    }
}

/// The rule that `{id}` names, by its id or its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RulePath(pub(crate) RuleRef);

impl FromRequestParts<App> for RulePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let text = name(parts, app, "id").await?;
        Ok(Self(RuleRef::parse(&text)))
    }
}

/// The id that `{id}` names; `None` where it can be none.
pub(crate) fn path_id<T: FromStr>(
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Option<T> {
    let params = params.ok()?;
    let (_, id) = params.iter().find(|(name, _)| *name == "id")?;
    id.parse().ok()
}

/// Reads the parameter `key`, decoded.
///
/// What cannot be a name names nothing, so reading and removing find nothing there; writing is told
/// what is wrong with it.
pub(super) async fn name(parts: &mut Parts, app: &App, key: &str) -> Result<String, ApiError> {
    let is_write = matches!(parts.method, Method::PUT | Method::POST);
    let not_found = || ApiError::not_found("nothing has such a name");
    let params: Result<RawPathParams, RawPathParamsRejection> =
        RawPathParams::from_request_parts(parts, app).await;
    let params = params.map_err(|_not_utf8| {
        if is_write {
            ApiError::malformed("", "the path must be UTF-8, percent-encoded")
        } else {
            not_found()
        }
    })?;
    let text = params
        .iter()
        .find_map(|(name, value)| (name == key).then(|| value.to_owned()))
        .unwrap_or_default();
    let is_name =
        !text.is_empty() && !text.contains('\0') && text.chars().count() <= NAME_CHARS_MAX;
    if is_name {
        return Ok(text);
    }
    if is_write {
        let detail = "must be 1 to 255 characters without U+0000";
        return Err(ApiError::invalid_field(format!("/{key}"), detail));
    }
    Err(not_found())
}
