//! A template being written: its form, and saving it as a new version.

use askama::Template;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use axum::response::{IntoResponse, Redirect};
use domain::{Channel, FieldError, is_locale};
use serde_json::{Value, json};
use store::Connection;
use store::templates::{TemplateRef, list_versions};

use super::draft::Draft;
use super::preview::Preview;
use super::{PATH, VERSIONS, VersionShown};
use crate::api::error::ApiError;
use crate::api::path::TemplatePath;
use crate::api::templates::save::{self, Sound, find, see, unknown};
use crate::app::App;
use crate::console::form::{Fields, Form};
use crate::console::links;
use crate::console::session::Operator;
use crate::console::shell::{self, Shell};

#[derive(Template)]
#[template(path = "template_edit.html")]
struct EditPage {
    shell: Shell,
    /// Where the form is sent.
    action: String,
    is_new: bool,
    is_builtin: bool,
    /// What the form was made from; 0 ships with Postrider or is not there yet.
    version: u32,
    draft: Draft,
    problem: Option<String>,
    others: Vec<(String, String)>,
    missing: Vec<&'static str>,
    channels: Vec<&'static str>,
    locales: Vec<String>,
    preview: Preview,
    preview_channel: String,
    preview_locale: String,
    preview_data: String,
    versions: Vec<VersionShown>,
    /// Where it is removed, if it is the tenant's own.
    remove: Option<String>,
}

/// What is edited.
struct Subject {
    id: String,
    body: Value,
    version: u32,
    is_builtin: bool,
    versions: Vec<VersionShown>,
}

impl Subject {
    async fn read(
        app: &App,
        operator: &Operator,
        template: &TemplateRef,
    ) -> Result<Self, ApiError> {
        let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
        if let Some(stored) = find(&mut conn, &operator.caller, template).await? {
            let id = stored.head.template_id.to_string();
            let versions = list_versions(&mut conn, stored.head.template_id, None, VERSIONS)
                .await
                .map_err(ApiError::from_store)?;
            return Ok(Self {
                versions: versions
                    .iter()
                    .map(|it| VersionShown::of(&id, it))
                    .collect(),
                body: stored.body,
                version: stored.head.version,
                is_builtin: false,
                id,
            });
        }
        let shelf = app.catalog.latest();
        let builtin = match template {
            TemplateRef::Name(name) => shelf.templates().get(name),
            TemplateRef::Id(_) => None,
        };
        let body = builtin.ok_or_else(unknown)?.body();
        Ok(Self {
            id: body.name.clone(),
            body: body.to_value(),
            version: 0,
            is_builtin: true,
            versions: Vec::new(),
        })
    }
}

/// What is told about the form beside its fields.
#[derive(Default)]
struct Verdict {
    status: StatusCode,
    problem: Option<String>,
    errors: Vec<FieldError>,
    notice: Option<&'static str>,
}

impl Verdict {
    fn of(error: &ApiError) -> Self {
        Self {
            status: error.status(),
            problem: Some(error.detail().to_owned()),
            errors: error.errors().to_vec(),
            notice: None,
        }
    }
}

/// The page of a form; `subject` is `None` for a template that is not there yet.
async fn page(
    app: &App,
    operator: &Operator,
    subject: Option<Subject>,
    mut draft: Draft,
    fields: Fields,
    verdict: Verdict,
) -> Result<Response<Body>, ApiError> {
    let others = draft.tell(&verdict.errors);
    let preview = Preview::of(app, &fields).await?;
    let mut locales: Vec<_> = draft
        .sections
        .iter()
        .filter_map(|it| it.locale.clone())
        .collect();
    locales.sort();
    locales.dedup();
    let mut channels: Vec<_> = draft.sections.iter().map(|it| it.channel).collect();
    channels.sort();
    channels.dedup();
    let is_missing = |channel: &Channel| !channels.contains(channel);
    let text = |name: &str| fields.raw(name).unwrap_or_default();
    let action = match &subject {
        Some(subject) => links::template(&subject.id),
        None => "/console/drafts/template".to_owned(),
    };
    let is_builtin = subject.as_ref().is_some_and(|it| it.is_builtin);
    let is_new = subject.is_none();
    let page = EditPage {
        shell: Shell::new(operator, PATH).noticing(verdict.notice),
        remove: (!is_new && !is_builtin).then(|| format!("{action}/remove")),
        action,
        is_new,
        is_builtin,
        version: subject.as_ref().map_or(0, |it| it.version),
        problem: verdict.problem,
        others,
        missing: Channel::ALL
            .into_iter()
            .filter(is_missing)
            .map(Channel::as_str)
            .collect(),
        channels: channels.iter().map(|it| it.as_str()).collect(),
        locales,
        preview_channel: preview.channel.to_owned(),
        preview,
        preview_locale: text("preview_locale"),
        preview_data: text("preview_data"),
        versions: subject.map_or_else(Vec::new, |it| it.versions),
        draft,
    };
    shell::html(verdict.status, &page)
}

/// The fields of a form that nobody has filled in yet: as its page would send them.
fn untouched(draft: &Draft) -> Fields {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    for (name, text) in [
        ("/name", &draft.name),
        ("/category", &draft.category),
        ("/variables", &draft.variables.text),
        ("/samples", &draft.samples.text),
    ] {
        form.append_pair(name, text);
    }
    for section in &draft.sections {
        form.append_pair("section", &section.pointer);
        for field in &section.fields {
            form.append_pair(&field.pointer, &field.text);
        }
    }
    Fields::parse(&form.finish())
}

/// `GET /console/templates/{id}`.
pub(super) async fn show(
    State(app): State<App>,
    operator: Operator,
    TemplatePath(template): TemplatePath,
    asked: Fields,
) -> Result<Response<Body>, ApiError> {
    let subject = Subject::read(&app, &operator, &template).await?;
    let draft = Draft::of_body(&subject.body);
    let fields = untouched(&draft);
    let verdict = Verdict {
        notice: asked
            .raw("saved")
            .map(|_| "Saved. What is planned from now on is told in this version."),
        ..Verdict::default()
    };
    page(&app, &operator, Some(subject), draft, fields, verdict).await
}

/// `GET /console/drafts/template`.
pub(super) async fn begin(
    State(app): State<App>,
    operator: Operator,
) -> Result<Response<Body>, ApiError> {
    let body = json!({"name": "", "channels": {"in_app": {}, "email": {}}});
    let draft = Draft::of_body(&body);
    let fields = untouched(&draft);
    page(&app, &operator, None, draft, fields, Verdict::default()).await
}

/// What a button of the form asks for, if not to save: more fields, or a look.
fn changed(draft: &mut Draft, fields: &Fields) -> Result<bool, Verdict> {
    let wrong = |detail: &str| Verdict {
        status: StatusCode::UNPROCESSABLE_ENTITY,
        problem: Some(detail.to_owned()),
        ..Verdict::default()
    };
    match fields.raw("do").as_deref() {
        Some("preview") => Ok(true),
        Some("add_channel") => {
            let channel = fields.raw("add_channel").unwrap_or_default();
            let channel = Channel::parse(&channel).ok_or_else(|| wrong("choose a channel"))?;
            draft.add(None, channel);
            Ok(true)
        }
        Some("add_locale") => {
            let locale = fields.raw("add_locale").unwrap_or_default();
            let locale = locale.trim();
            if !is_locale(locale) {
                let detail = "the language must be a BCP 47 tag, such as pt-BR";
                return Err(wrong(detail));
            }
            let own = draft.sections.iter().filter(|it| it.locale.is_none());
            let channels: Vec<_> = own.map(|it| it.channel).collect();
            for channel in channels {
                draft.add(Some(locale.to_owned()), channel);
            }
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// `POST /console/drafts/template`.
pub(super) async fn create(State(app): State<App>, form: Form) -> Result<Response<Body>, ApiError> {
    let Form { operator, fields } = form;
    let mut draft = Draft::of_form(&fields);
    let verdict = match changed(&mut draft, &fields) {
        Ok(true) => Verdict::default(),
        Ok(false) => match store_new(&app, &operator, &draft).await {
            Ok(id) => {
                let url = format!("{}?saved=1", links::template(&id));
                return Ok(Redirect::to(&url).into_response());
            }
            Err(error) if is_theirs(&error) => Verdict::of(&error),
            Err(error) => return Err(error),
        },
        Err(verdict) => verdict,
    };
    page(&app, &operator, None, draft, fields, verdict).await
}

async fn store_new(app: &App, operator: &Operator, draft: &Draft) -> Result<String, ApiError> {
    let body = draft.to_body().map_err(ApiError::invalid)?;
    let sound = Sound::read(app, body).await?;
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    let stored = save::create(app, &operator.caller, &mut tx, &sound).await?;
    tx.commit().await.map_err(ApiError::from_store)?;
    see(app).await;
    Ok(stored.head.template_id.to_string())
}

/// `POST /console/templates/{id}`.
pub(super) async fn save(
    State(app): State<App>,
    TemplatePath(template): TemplatePath,
    form: Form,
) -> Result<Response<Body>, ApiError> {
    let Form { operator, fields } = form;
    let mut subject = Subject::read(&app, &operator, &template).await?;
    let mut draft = Draft::of_form(&fields);
    draft.name = subject.body["name"].as_str().unwrap_or_default().to_owned();
    let base = fields.raw("version").and_then(|text| text.parse().ok());
    let base = base.unwrap_or(0);
    let verdict = match changed(&mut draft, &fields) {
        Ok(true) => Verdict::default(),
        Ok(false) => match store_next(&app, &operator, &template, &draft, base).await {
            Ok(id) => {
                let url = format!("{}?saved=1", links::template(&id));
                return Ok(Redirect::to(&url).into_response());
            }
            Err(error) if is_theirs(&error) => Verdict::of(&error),
            Err(error) => return Err(error),
        },
        Err(verdict) => verdict,
    };
    // The form is still made from what it was made from, so that a conflict stays one.
    subject.version = base;
    page(&app, &operator, Some(subject), draft, fields, verdict).await
}

async fn store_next(
    app: &App,
    operator: &Operator,
    template: &TemplateRef,
    draft: &Draft,
    base: u32,
) -> Result<String, ApiError> {
    let body = draft.to_body().map_err(ApiError::invalid)?;
    let sound = Sound::read(app, body).await?;
    let caller = &operator.caller;
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    if base == 0 {
        may_begin(&mut tx, operator, template).await?;
    }
    let stored = save::replace(app, caller, &mut tx, template, &sound).await?;
    // The row is ours from here on; if another version came in between, this one is undone.
    if base > 0 && stored.head.version != base + 1 {
        return Err(overtaken());
    }
    tx.commit().await.map_err(ApiError::from_store)?;
    see(app).await;
    Ok(stored.head.template_id.to_string())
}

/// Refuses a first version where there is one by now.
async fn may_begin(
    conn: &mut Connection,
    operator: &Operator,
    template: &TemplateRef,
) -> Result<(), ApiError> {
    match find(conn, &operator.caller, template).await? {
        Some(_) => Err(overtaken()),
        None => Ok(()),
    }
}

fn overtaken() -> ApiError {
    ApiError::conflict(
        "somebody else has saved this template since you opened it; nothing was saved. Look at the \
         versions below, then open the page again and make your change there",
    )
}

/// Whether the operator can mend it: then they get their form back.
fn is_theirs(error: &ApiError) -> bool {
    matches!(
        error.status(),
        StatusCode::UNPROCESSABLE_ENTITY | StatusCode::CONFLICT | StatusCode::BAD_REQUEST
    )
}

/// `POST /console/templates/{id}/remove`.
pub(super) async fn remove(
    State(app): State<App>,
    TemplatePath(template): TemplatePath,
    form: Form,
) -> Result<Response<Body>, ApiError> {
    let subject = Subject::read(&app, &form.operator, &template).await?;
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    save::remove(&app, &form.operator.caller, &mut tx, &template).await?;
    tx.commit().await.map_err(ApiError::from_store)?;
    see(&app).await;
    let name = subject.body["name"].as_str().unwrap_or_default().to_owned();
    let url = links::with(PATH, [("removed", Some(name))]);
    Ok(Redirect::to(&url).into_response())
}
