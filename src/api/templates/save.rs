//! How a template is saved: checked as a whole, written as a version, seen by this process at once.

use chrono::{DateTime, Utc};
use domain::FieldError;
use render::TemplateBody;
use serde_json::{Value, json};
use store::templates::{
    NewTemplate, Saved, StoredTemplate, TemplateRef, create_template, find_template,
    remove_template, replace_template,
};
use store::{Connection, Tx};
use tokio::sync::Semaphore;

use crate::api::auth::Caller;
use crate::api::error::ApiError;
use crate::app::App;
use crate::templates::{issues_of, to_row};

/// Bodies checked at once: all their samples are rendered, and sends must not wait for that.
static CHECKS: Semaphore = Semaphore::const_new(1);

/// Problems told of one body.
const PROBLEMS_MAX: usize = 20;

/// A body that may be saved.
#[derive(Debug, Clone)]
pub(crate) struct Sound(TemplateBody);

impl Sound {
    /// Reads a body and tries it; everything wrong with it is told.
    pub(crate) async fn read(app: &App, body: Value) -> Result<Self, ApiError> {
        Self::read_as(app, body, |error| error).await
    }

    /// The same, with problems named as `tell` does.
    pub(crate) async fn read_as(
        app: &App,
        body: Value,
        tell: impl Fn(FieldError) -> FieldError,
    ) -> Result<Self, ApiError> {
        let refuse = |errors: Vec<FieldError>| {
            let errors = errors.into_iter().take(PROBLEMS_MAX);
            ApiError::invalid(errors.map(&tell).collect())
        };
        let body = TemplateBody::parse(body).map_err(refuse)?;
        let _turn = CHECKS.acquire().await;
        let tried = app.lifetime.tasks.spawn_blocking(move || {
            let issues = issues_of(&body);
            (body, issues)
        });
        let Ok((body, issues)) = tried.await else {
            return Err(ApiError::unavailable());
        };
        if issues.is_empty() {
            return Ok(Self(body));
        }
        Err(refuse(issues.into_iter().map(FieldError::from).collect()))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    fn to_row(&self, caller: &Caller, at: DateTime<Utc>) -> NewTemplate {
        to_row(&self.0, caller.actor(), at)
    }
}

/// Makes a template.
pub(crate) async fn create(
    app: &App,
    caller: &Caller,
    tx: &mut Tx,
    body: &Sound,
) -> Result<StoredTemplate, ApiError> {
    let now = app.clock.now();
    let row = body.to_row(caller, now);
    let saved = create_template(tx, &caller.tenant_id, queue::uuid_at(now), row)
        .await
        .map_err(ApiError::from_store)?;
    match saved {
        Saved::Done(stored) => {
            note(app, caller, tx, "template.created", &stored).await?;
            Ok(*stored)
        }
        Saved::NameTaken => Err(ApiError::conflict("another template has this name")),
        Saved::TooMany => Err(ApiError::conflict(
            "the tenant has as many templates as it may have",
        )),
    }
}

/// Gives a template a new version. A built-in one gets a stored one before it.
pub(crate) async fn replace(
    app: &App,
    caller: &Caller,
    tx: &mut Tx,
    template: &TemplateRef,
    body: &Sound,
) -> Result<StoredTemplate, ApiError> {
    let row = body.to_row(caller, app.clock.now());
    let stored = replace_template(tx, &caller.tenant_id, template, row)
        .await
        .map_err(ApiError::from_store)?;
    if let Some(stored) = stored {
        note(app, caller, tx, "template.replaced", &stored).await?;
        return Ok(stored);
    }
    // There is none of that name and id at once.
    if find(tx, caller, template).await?.is_some() {
        return Err(keeps_its_name());
    }
    match template {
        TemplateRef::Name(name) if app.catalog.latest().templates().find(name).is_some() => {
            if domain::template_key(name) != domain::template_key(body.name()) {
                return Err(keeps_its_name());
            }
            create(app, caller, tx, body).await
        }
        _ => Err(unknown()),
    }
}

/// Removes a template. A built-in one of its name is found again.
pub(crate) async fn remove(
    app: &App,
    caller: &Caller,
    tx: &mut Tx,
    template: &TemplateRef,
) -> Result<(), ApiError> {
    let removed = remove_template(tx, &caller.tenant_id, template, app.clock.now())
        .await
        .map_err(ApiError::from_store)?;
    let Some((id, name)) = removed else {
        return Err(match template {
            TemplateRef::Name(name) if app.catalog.latest().templates().find(name).is_some() => {
                ApiError::conflict(
                    "it ships with Postrider and cannot be removed; store one of its name with \
                     enabled: false to turn it off",
                )
            }
            _ => unknown(),
        });
    };
    let detail = json!({"name": name});
    caller
        .sign(app, tx, "template.removed", &id.to_string(), Some(detail))
        .await
}

/// Makes this process see what was just committed. Others look within moments by themselves, and
/// this one would too, so that a failure is no matter.
pub(crate) async fn see(app: &App) {
    let seen = async {
        let mut conn = app.store.acquire().await?;
        app.catalog.current(&mut conn).await
    };
    if let Err(error) = seen.await {
        tracing::warn!(
            error = queue::describe(&error),
            "could not look at the templates again"
        );
    }
}

/// A tenant's own template.
pub(crate) async fn find(
    connection: &mut Connection,
    caller: &Caller,
    template: &TemplateRef,
) -> Result<Option<StoredTemplate>, ApiError> {
    find_template(connection, &caller.tenant_id, template)
        .await
        .map_err(ApiError::from_store)
}

async fn note(
    app: &App,
    caller: &Caller,
    tx: &mut Tx,
    action: &str,
    stored: &StoredTemplate,
) -> Result<(), ApiError> {
    let head = &stored.head;
    let subject = head.template_id.to_string();
    let detail = json!({"name": head.name, "version": head.version, "enabled": head.enabled});
    caller.sign(app, tx, action, &subject, Some(detail)).await
}

pub(crate) fn unknown() -> ApiError {
    ApiError::not_found("there is no such template")
}

fn keeps_its_name() -> ApiError {
    ApiError::invalid_field(
        "/name",
        "must be the name that the template has; make another one under another name",
    )
}
