//! What a user has read: `POST /v1/notifications/ack` and `GET …/unread-count`.

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use domain::{FieldError, NotificationId, UserId};
use serde::Serialize;
use serde_json::{Map, Value};
use store::reading::Ack;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Caller;
use super::body::Json;
use super::error::ApiError;
use super::once::{self, Begun, PostBody, Work};
use super::openapi::bodies::AckBody;
use super::query::Query;
use crate::app::App;
use crate::live;
use crate::live::hub::Reader;

/// Most ids in one ack.
const IDS_MAX: usize = 1000;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(acknowledge))
        .routes(routes!(unread_count))
}

/// How many are unread.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Unread {
    pub(super) unread: i64,
}

/// Mark notifications of the feed as read.
///
/// Repeating it changes nothing. An admin key names the user by `user_id`.
#[utoipa::path(
    post, path = "/v1/notifications/ack", tag = "Feed", operation_id = "acknowledge",
    params(("user_id" = Option<String>, Query, description = "Whose feed; for admin keys.")),
    request_body = AckBody,
    responses((status = 200, description = "What is still unread.", body = Unread)),
)]
pub(super) async fn acknowledge(
    State(app): State<App>,
    caller: Caller,
    query: Query,
    body: PostBody,
) -> Result<Response<Body>, ApiError> {
    let reader = reader(&caller, query)?;
    let ack = read_ack(body.value).map_err(ApiError::invalid)?;
    let mut work = match once::begin(&app, &caller, body.once).await? {
        Begun::Fresh(work) => work,
        Begun::Repeat(response) => return Ok(response),
    };
    let acked = live::acknowledge(&mut work, &reader, &ack, app.clock.now())
        .await
        .map_err(ApiError::from_store)?;
    let subject = reader.user_id.as_str().to_owned();
    audit(&mut work, &app, &caller, &reader, "feed.read", &subject).await?;
    let unread = Unread {
        unread: acked.unread,
    };
    let response = work.answer(&app, StatusCode::OK, &unread).await?;
    live::show_marked(&app, &reader, &acked);
    Ok(response)
}

/// Count what waits unread in the feed.
#[utoipa::path(
    get, path = "/v1/notifications/unread-count", tag = "Feed", operation_id = "unread_count",
    params(("user_id" = Option<String>, Query, description = "Whose feed; for admin keys.")),
    responses((status = 200, description = "The count.", body = Unread)),
)]
pub(super) async fn unread_count(
    State(app): State<App>,
    caller: Caller,
    query: Query,
) -> Result<Json<Unread>, ApiError> {
    let reader = reader(&caller, query)?;
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let head = store::inbox::head(&mut conn, &reader.tenant_id, &reader.user_id)
        .await
        .map_err(ApiError::from_store)?;
    Ok(Json(
        StatusCode::OK,
        Unread {
            unread: head.unread,
        },
    ))
}

/// Notes what an admin did to a user's feed. What users do to their own is theirs alone.
pub(super) async fn audit(
    work: &mut Work,
    app: &App,
    caller: &Caller,
    reader: &Reader,
    action: &str,
    subject: &str,
) -> Result<(), ApiError> {
    if caller.user_id.as_ref() == Some(&reader.user_id) {
        return Ok(());
    }
    caller.sign(app, work, action, subject, None).await
}

/// Whose feed it is about: the caller's, or the one of `?user_id=` for an admin key.
fn reader(caller: &Caller, mut query: Query) -> Result<Reader, ApiError> {
    let asked_for = query.text("user_id").map(UserId::from);
    query.finish()?;
    let user_id = caller.acting_for(asked_for)?;
    Ok(Reader {
        tenant_id: caller.tenant_id.clone(),
        user_id,
    })
}

/// Reads `{notification_id}`, `{ids: […]}` or `{up_to_seq}`.
fn read_ack(body: Value) -> Result<Ack, Vec<FieldError>> {
    let Value::Object(mut fields) = body else {
        return Err(vec![FieldError::new("", "must be an object")]);
    };
    let mut errors = Vec::new();
    let mut acks = Vec::new();
    acks.extend(read_field(
        &mut fields,
        "notification_id",
        &mut errors,
        |value| {
            id_of(value)
                .map(|id| Ack::Notifications(vec![id]))
                .ok_or("must be an id")
        },
    ));
    acks.extend(read_field(&mut fields, "ids", &mut errors, |value| {
        let items = value.as_array().ok_or("must be an array of ids")?;
        if items.len() > IDS_MAX {
            return Err("has at most 1000 ids");
        }
        let ids: Option<Vec<_>> = items.iter().map(id_of).collect();
        ids.map(Ack::Notifications).ok_or("must be an array of ids")
    }));
    acks.extend(read_field(&mut fields, "up_to_seq", &mut errors, |value| {
        let seq = value.as_i64().filter(|seq| *seq >= 0);
        seq.map(Ack::UpTo).ok_or("must be a seq of the feed")
    }));
    errors.extend(fields.keys().map(|name| {
        let name = name.replace('~', "~0").replace('/', "~1");
        FieldError::new(format!("/{name}"), "is not a known field")
    }));
    match (acks.pop(), acks.is_empty(), errors.is_empty()) {
        (Some(ack), true, true) => Ok(ack),
        (_, _, true) => Err(vec![FieldError::new(
            "",
            "must have one of notification_id, ids and up_to_seq",
        )]),
        _ => Err(errors),
    }
}

fn read_field(
    fields: &mut Map<String, Value>,
    name: &str,
    errors: &mut Vec<FieldError>,
    read: impl FnOnce(&Value) -> Result<Ack, &'static str>,
) -> Option<Ack> {
    let value = fields.remove(name).filter(|value| !value.is_null())?;
    read(&value)
        .map_err(|detail| errors.push(FieldError::new(format!("/{name}"), detail)))
        .ok()
}

fn id_of(value: &Value) -> Option<NotificationId> {
    value.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_ack_is_one_id_several_or_a_seq() {
        let id = NotificationId::from(uuid::Uuid::from_u128(7));

        let one = read_ack(json!({"notification_id": id}));
        assert_eq!(one, Ok(Ack::Notifications(vec![id])));
        assert_eq!(
            read_ack(json!({"ids": [id, id]})),
            Ok(Ack::Notifications(vec![id, id]))
        );
        assert_eq!(read_ack(json!({"up_to_seq": 42})), Ok(Ack::UpTo(42)));
    }

    #[test]
    fn a_bad_ack_names_the_field() {
        for (body, pointers) in [
            (json!({}), vec![""]),
            (json!([]), vec![""]),
            (json!({"up_to_seq": -1}), vec!["/up_to_seq"]),
            (json!({"up_to_seq": 1.5}), vec!["/up_to_seq"]),
            (json!({"ids": ["x"], "more": 1}), vec!["/ids", "/more"]),
            (json!({"up_to_seq": 1, "ids": []}), vec![""]),
        ] {
            let errors = read_ack(body.clone()).unwrap_err();
            let found: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
            assert_eq!(found, pointers, "{body}");
        }
    }
}
