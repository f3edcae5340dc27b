//! `POST /api/v1/notifications`, `/test` and `/bulk`: direct sends under system A's names.

use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use domain::FieldError;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::TAG;
use crate::api::body::BATCH_BYTES_MAX;
use crate::api::error::ApiError;
use crate::api::notifications::{BulkSubmitted, Submitted, hand_in, hand_in_bulk, read};
use crate::api::once::PostBody;
use crate::api::openapi::words::{ChannelAsked, PriorityAsked, any_object, moment};
use crate::api::roles::Sender;
use crate::api::templates::named::NamedTemplates;
use crate::app::App;
use crate::intake::Row;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(submit))
        .routes(routes!(test))
        .routes(routes!(bulk))
}

/// Something to tell one user. Either `template` or `content`. Every other field of
/// `POST /v1/notifications` is taken as well.
#[derive(ToSchema)]
#[schema(
    as = NotificationOfABody,
    example = json!({"user_id": "u1", "type": "in_app", "subject": "Hello", "content": "Hello."}),
)]
#[allow(dead_code, reason = "only described; the domain reads the real one")]
pub(super) struct SubmissionBody {
    #[schema(min_length = 1, max_length = 255)]
    user_id: String,
    /// The channel; in-app when nothing is said.
    #[schema(nullable)]
    r#type: Option<ChannelAsked>,
    #[schema(nullable, min_length = 1, max_length = 255)]
    template: Option<String>,
    #[schema(nullable, max_length = 998, pattern = "^[^\\r\\n]*$")]
    subject: Option<String>,
    #[schema(nullable, min_length = 1)]
    content: Option<String>,
    /// What the template sees, and addresses for this send only: `data` of `/v1`.
    #[schema(schema_with = any_object)]
    metadata: Option<Value>,
    #[schema(nullable)]
    priority: Option<PriorityAsked>,
    /// Not before this moment.
    #[schema(schema_with = moment)]
    send_at: Option<Value>,
}

/// Several direct sends; each stands for itself.
#[derive(ToSchema)]
#[schema(as = NotificationsOfABody)]
#[allow(dead_code, reason = "only described; `Batch` reads the real one")]
pub(super) struct SubmissionsBody {
    #[schema(max_items = 5000)]
    notifications: Vec<SubmissionBody>,
}

/// Tell one user something, as system A was asked to.
///
/// Needs the role `send`.
#[utoipa::path(
    post, path = "/api/v1/notifications", tag = TAG, operation_id = "submit_notification_of_a",
    request_body = SubmissionBody,
    responses((status = 202, description = "Committed.", body = Submitted)),
)]
async fn submit(
    State(app): State<App>,
    Sender(caller): Sender,
    body: PostBody,
) -> Result<Response<Body>, ApiError> {
    let now = app.clock.now();
    let templates = NamedTemplates::look_up(&app, &caller.tenant_id, &body.value).await?;
    let read = |sent| read(&app, &caller.tenant_id, &templates, sent, now);
    let row = translated(body.value, read);
    let row = row.map_err(ApiError::invalid)?;
    hand_in(&app, &caller, row, body.once).await
}

/// Try a direct send out: the outbox takes it, whoever carries its channel.
///
/// Needs the role `send`.
#[utoipa::path(
    post, path = "/api/v1/notifications/test", tag = TAG, operation_id = "test_notification_of_a",
    request_body = SubmissionBody,
    responses((status = 202, description = "Committed.", body = Submitted)),
)]
async fn test(
    State(app): State<App>,
    Sender(caller): Sender,
    body: PostBody,
) -> Result<Response<Body>, ApiError> {
    let now = app.clock.now();
    let templates = NamedTemplates::look_up(&app, &caller.tenant_id, &body.value).await?;
    let read = |sent| read(&app, &caller.tenant_id, &templates, sent, now);
    let row = translated(body.value, read);
    let row = row.map_err(ApiError::invalid)?;
    hand_in(&app, &caller, Row::into_test(row), body.once).await
}

/// Submit up to 5 000 direct sends.
///
/// Needs the role `send`. Good items land even when others are bad. The array may come bare.
#[utoipa::path(
    post, path = "/api/v1/notifications/bulk", tag = TAG, operation_id = "submit_notifications_of_a",
    request_body = SubmissionsBody,
    responses((status = 202, description = "The good items are committed.", body = BulkSubmitted)),
)]
async fn bulk(
    State(app): State<App>,
    Sender(caller): Sender,
    body: PostBody<BATCH_BYTES_MAX>,
) -> Result<Response<Body>, ApiError> {
    let now = app.clock.now();
    let value = match body.value {
        Value::Array(items) => json!({"notifications": items}),
        other => other,
    };
    let templates = NamedTemplates::look_up(&app, &caller.tenant_id, &value).await?;
    let read = |sent| read(&app, &caller.tenant_id, &templates, sent, now);
    let read = |item| translated(item, read);
    hand_in_bulk(&app, &caller, value, body.once, read).await
}

/// Reads a submission under our names, and names what is wrong with it under A's.
fn translated<T>(
    mut body: Value,
    read: impl FnOnce(Value) -> Result<T, Vec<FieldError>>,
) -> Result<T, Vec<FieldError>> {
    let Some(fields) = body.as_object_mut() else {
        return read(body);
    };
    let Some(metadata) = fields.remove("metadata") else {
        return read(body);
    };
    if fields.contains_key("data") {
        return Err(vec![FieldError::new(
            "/metadata",
            "is another name of data; give one of them",
        )]);
    }
    fields.insert("data".to_owned(), metadata);
    read(body).map_err(|errors| errors.into_iter().map(of_metadata).collect())
}

fn of_metadata(error: FieldError) -> FieldError {
    match error.pointer.strip_prefix("/data") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => FieldError {
            pointer: format!("/metadata{rest}"),
            ..error
        },
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_data_under_another_name_also_where_it_is_wrong() {
        let read = |body: Value| {
            let pointers = ["/data", "/data/email", "/database", "/user_id"];
            let errors = pointers.map(|pointer| FieldError::new(pointer, "is bad"));
            if body["data"]["ok"] == true {
                Ok(body)
            } else {
                Err(errors.to_vec())
            }
        };

        let taken = translated(json!({"metadata": {"ok": true}}), read).unwrap();
        assert_eq!(taken, json!({"data": {"ok": true}}));

        let pointers = |body: Value| -> Vec<String> {
            let errors = translated(body, read).unwrap_err();
            errors.into_iter().map(|error| error.pointer).collect()
        };
        assert_eq!(
            pointers(json!({"metadata": {}})),
            ["/metadata", "/metadata/email", "/database", "/user_id"]
        );
        assert_eq!(pointers(json!({"data": {}}))[1], "/data/email");
        assert_eq!(pointers(json!({"data": {}, "metadata": {}})), ["/metadata"]);
    }
}
