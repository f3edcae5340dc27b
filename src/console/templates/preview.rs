//! A draft as it would be told, before it is saved.
//!
//! The draft is compiled and rendered by the functions that do so in earnest, and kept nowhere: the
//! form is sent again for the HTML of a mail, into a frame that runs nothing.

use askama::Template;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use domain::{Channel, FieldError, is_locale};
use render::{Rendered, Template as Compiled, TemplateBody};
use serde_json::Value;

use super::draft::Draft;
use crate::api::error::ApiError;
use crate::app::App;
use crate::console::form::{Fields, Form};
use crate::console::{inert, shell, text};
use crate::templates::{Trial, try_out};

/// Problems shown at once.
const PROBLEMS_MAX: usize = 20;

/// A draft's preview.
#[derive(Template)]
#[template(path = "template_preview.html")]
pub(super) struct Preview {
    pub(super) channel: &'static str,
    locale: String,
    problems: Vec<(String, String)>,
    told: Option<Told>,
}

/// What would be told.
struct Told {
    subject: Option<String>,
    body: String,
    data: Option<String>,
    has_html: bool,
}

/// What is to be looked at.
struct Wanted {
    channel: Channel,
    locale: Option<String>,
    data: Option<Value>,
}

impl Wanted {
    fn read(fields: &Fields, body: &Value) -> Result<Self, Vec<FieldError>> {
        let channel = fields.raw("preview_channel");
        let channel = channel.as_deref().and_then(Channel::parse);
        let locale = fields.raw("preview_locale");
        if locale.as_deref().is_some_and(|tag| !is_locale(tag)) {
            let detail = "must be a BCP 47 language tag, such as pt-BR";
            return Err(vec![FieldError::new("/locale", detail)]);
        }
        let data = fields.raw("preview_data").map(|text| {
            let read: Result<Value, _> = serde_json::from_str(&text);
            read.map_err(|error| {
                let detail = format!("is not JSON: {error}");
                vec![FieldError::new("/data", detail)]
            })
        });
        let data = data.transpose()?;
        if data.as_ref().is_some_and(|data| !data.is_object()) {
            return Err(vec![FieldError::new("/data", "must be an object")]);
        }
        let channels = body["channels"].as_object();
        let first = channels.and_then(|channels| channels.keys().next());
        let first = first.and_then(|name| Channel::parse(name));
        Ok(Self {
            channel: channel.or(first).unwrap_or(Channel::InApp),
            locale,
            data,
        })
    }
}

impl Preview {
    /// What the form would tell.
    pub(super) async fn of(app: &App, fields: &Fields) -> Result<Self, ApiError> {
        let (channel, locale) = (fields.raw("preview_channel"), fields.raw("preview_locale"));
        let channel = channel.as_deref().and_then(Channel::parse);
        let preview = Self {
            channel: channel.map_or("", Channel::as_str),
            locale: locale.unwrap_or_else(|| render::DEFAULT_LOCALE.to_owned()),
            problems: Vec::new(),
            told: None,
        };
        Ok(match rendered(app, fields).await? {
            Ok((channel, rendered)) => Self {
                channel: channel.as_str(),
                locale: rendered.locale,
                told: Some(Told {
                    has_html: rendered.message.body_html.is_some(),
                    subject: rendered.message.subject,
                    body: rendered.message.body,
                    data: rendered.message.data.as_ref().map(text::pretty),
                }),
                ..preview
            },
            Err(errors) => {
                let errors = errors.into_iter().take(PROBLEMS_MAX);
                Self {
                    problems: errors.map(|it| (it.pointer, it.detail)).collect(),
                    ..preview
                }
            }
        })
    }
}

/// Renders what the form says, beside the requests: a draft may take its time.
async fn rendered(
    app: &App,
    fields: &Fields,
) -> Result<Result<(Channel, Rendered), Vec<FieldError>>, ApiError> {
    let body = match Draft::of_form(fields).to_body() {
        Ok(body) => body,
        Err(errors) => return Ok(Err(errors)),
    };
    let wanted = match Wanted::read(fields, &body) {
        Ok(wanted) => wanted,
        Err(errors) => return Ok(Err(errors)),
    };
    let (brand, now) = (app.config.brand(), app.clock.now());
    let tried = app.lifetime.tasks.spawn_blocking(move || {
        let body = TemplateBody::parse(body)?;
        let compiled = Compiled::compile(&body)
            .map_err(|issues| issues.into_iter().map(FieldError::from).collect::<Vec<_>>())?;
        let trial = Trial {
            channel: wanted.channel,
            locale: wanted.locale.as_deref(),
            data: wanted.data.as_ref(),
            brand: &brand,
            now,
        };
        let rendered = try_out(&compiled, &trial)?;
        Ok((wanted.channel, rendered))
    });
    tried.await.or(Err(ApiError::unavailable()))
}

/// `POST /console/drafts/template/preview`: a part of the page.
pub(super) async fn show(State(app): State<App>, form: Form) -> Result<Response<Body>, ApiError> {
    let preview = Preview::of(&app, &form.fields).await?;
    shell::html(StatusCode::OK, &preview)
}

/// `POST /console/drafts/template/mail`: the HTML alone, for its frame.
pub(super) async fn mail(State(app): State<App>, form: Form) -> Result<Response<Body>, ApiError> {
    let rendered = rendered(&app, &form.fields).await?;
    let html = rendered.ok().and_then(|(_, it)| it.message.body_html);
    Ok(inert::page(html.unwrap_or_default()))
}
