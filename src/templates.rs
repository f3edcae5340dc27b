//! Templates as they are saved and tried, whoever asks: the API, the paths of system A, the command
//! line.

use chrono::{DateTime, Utc};
use domain::{Channel, FieldError, NotificationId, Priority, UserId};
use render::{
    Brand, DEFAULT_LOCALE, EventVars, NotificationVars, Rendered, Template, TemplateBody,
    TemplateIssue, UserVars, Vars,
};
use serde_json::{Map, Value};
use store::templates::NewTemplate;
use uuid::Uuid;

/// Whom a preview speaks to.
const PREVIEW_USER: &str = "user-1";

/// The event that a preview tells of.
const PREVIEW_EVENT: &str = "event-1";

/// Everything that keeps a body from being saved: what does not compile, and what fails with one of
/// its samples in one of its languages. It may take a while: samples are rendered.
pub(crate) fn issues_of(body: &TemplateBody) -> Vec<TemplateIssue> {
    // A path names a template by its name or by its id.
    if Uuid::parse_str(&body.name).is_ok() {
        let error = FieldError::new("/name", "must not look like an id");
        return vec![error.into()];
    }
    match Template::compile(body) {
        Ok(template) => template.check(),
        Err(issues) => issues,
    }
}

/// The row of a body.
pub(crate) fn to_row(body: &TemplateBody, actor: String, at: DateTime<Utc>) -> NewTemplate {
    NewTemplate {
        name: body.name.clone(),
        description: body.description.clone(),
        category: body.category.clone(),
        channels: body.channels.keys().copied().collect(),
        locales: body.translations.keys().cloned().collect(),
        tags: body.tags.clone(),
        enabled: body.enabled,
        body: body.to_value(),
        actor,
        at,
    }
}

/// What a template is tried with.
#[derive(Debug, Clone)]
pub(crate) struct Trial<'a> {
    pub(crate) channel: Channel,
    /// `None` for the default language.
    pub(crate) locale: Option<&'a str>,
    /// `None` for the first sample.
    pub(crate) data: Option<&'a Value>,
    pub(crate) brand: &'a Brand,
    pub(crate) now: DateTime<Utc>,
}

/// Renders a message as it would be sent. Problems of the data have pointers below `/data`, those of
/// the template into its body.
pub(crate) fn try_out(template: &Template, trial: &Trial<'_>) -> Result<Rendered, Vec<FieldError>> {
    let sample = template.body().samples.first();
    let sample = Value::Object(sample.cloned().unwrap_or_else(Map::new));
    let data = trial.data.unwrap_or(&sample);
    let unfit = misfits(template, Some(data));
    if !unfit.is_empty() {
        return Err(unfit);
    }
    let user_id = UserId::from(PREVIEW_USER);
    let kind = domain::template_key(template.name());
    let vars = Vars {
        data,
        items: None,
        event: Some(EventVars {
            id: PREVIEW_EVENT,
            kind: &kind,
            created_at: trial.now,
        }),
        user: UserVars {
            id: &user_id,
            locale: trial.locale,
            timezone: None,
        },
        notification: NotificationVars {
            id: NotificationId::supposed_at(trial.now),
            kind: &kind,
            category: template.body().category.as_deref(),
            priority: Priority::Normal,
            created_at: trial.now,
        },
        brand: trial.brand,
        locale: trial.locale.unwrap_or(DEFAULT_LOCALE),
    };
    template
        .render(trial.channel, &vars)
        .map_err(|error| vec![error.to_issue().into()])
}

/// What the `data` of a send lacks to fit a template's `variables`, under its own pointers.
pub(crate) fn misfits(template: &Template, data: Option<&Value>) -> Vec<FieldError> {
    let nothing = Value::Object(Map::new());
    let errors = template.check_data(data.unwrap_or(&nothing));
    let within = errors.into_iter().map(|error| FieldError {
        pointer: format!("/data{}", error.pointer),
        ..error
    });
    within.collect()
}
