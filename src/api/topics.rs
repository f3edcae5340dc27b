//! `/v1/topics`: named sets of users, and who is in them.

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use domain::{TopicSubmission, UserId, parse_members};
use serde::Serialize;
use serde_json::json;
use store::topics::{self, Member, Topic, TopicRef};
use store::{Connection, Tx};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Caller;
use super::body::{BATCH_BYTES_MAX, Json, JsonBody};
use super::error::ApiError;
use super::once::{self, Begun, PostBody};
use super::openapi::people::{MembersBody, TopicBody};
use super::page::{NamedPageQuery, Page, PageParams, PageQuery};
use super::path::TopicPath;
use super::query::Query;
use super::roles::{Admin, Looker};
use super::view::Moment;
use crate::app::App;

/// The routes of this file.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, replace, remove))
        .routes(routes!(
            list_members,
            add_members,
            replace_members,
            remove_members
        ))
}

/// A topic as stored.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Topic)]
struct TopicView {
    id: String,
    name: String,
    description: Option<String>,
    created_at: Moment,
    updated_at: Moment,
}

impl TopicView {
    fn of(row: Topic) -> Self {
        Self {
            id: row.topic_id.to_string(),
            name: row.name,
            description: row.description,
            created_at: Moment::at(row.created_at),
            updated_at: Moment::at(row.updated_at),
        }
    }
}

/// A member of a topic.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TopicMember)]
struct MemberView {
    #[schema(value_type = String)]
    user_id: UserId,
    created_at: Moment,
}

impl MemberView {
    fn of(row: Member) -> Self {
        Self {
            user_id: row.user_id,
            created_at: Moment::at(row.created_at),
        }
    }
}

/// What a batch of members changed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TopicMembersChanged)]
struct Changed {
    /// Users who were not members before.
    added: u64,
    /// Users who are not members any more.
    removed: u64,
}

/// List topics, newest first.
///
/// Needs the role `read`.
#[utoipa::path(
    get, path = "/v1/topics", tag = "Topics", operation_id = "list_topics",
    params(PageParams),
    responses((status = 200, description = "A page.", body = Page<TopicView>)),
)]
async fn list(
    State(app): State<App>,
    Looker(caller): Looker,
    mut query: Query,
) -> Result<Json<Page<TopicView>>, ApiError> {
    let page = PageQuery::read(&mut query);
    query.finish()?;
    let limit = i64::from(page.limit) + 1;
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let rows = topics::list_topics(&mut conn, &caller.tenant_id, page.after, limit)
        .await
        .map_err(ApiError::from_store)?;
    let page = Page::new(rows, page.limit, |row| row.topic_id);
    Ok(Json(StatusCode::OK, page.map(TopicView::of)))
}

/// Make a topic.
///
/// Needs the role `admin`.
#[utoipa::path(
    post, path = "/v1/topics", tag = "Topics", operation_id = "create_topic",
    request_body = TopicBody,
    responses((status = 201, description = "The topic.", body = TopicView)),
)]
async fn create(
    State(app): State<App>,
    Admin(caller): Admin,
    body: PostBody,
) -> Result<Response<Body>, ApiError> {
    let said = TopicSubmission::parse(body.value).map_err(ApiError::invalid)?;
    let mut work = match once::begin(&app, &caller, body.once).await? {
        Begun::Fresh(work) => work,
        Begun::Repeat(response) => return Ok(response),
    };
    let now = app.clock.now();
    let topic = Topic {
        topic_id: queue::uuid_at(now),
        name: said.name,
        description: said.description,
        created_at: now,
        updated_at: now,
    };
    let is_free = topics::insert_topic(&mut work, &caller.tenant_id, &topic)
        .await
        .map_err(ApiError::from_store)?;
    if !is_free {
        return Err(name_taken());
    }
    let name = json!({"name": topic.name});
    note(&app, &caller, &mut work, "topic.created", &topic, name).await?;
    work.answer(&app, StatusCode::CREATED, &TopicView::of(topic))
        .await
}

/// Show a topic.
///
/// Needs the role `read`.
#[utoipa::path(
    get, path = "/v1/topics/{id}", tag = "Topics", operation_id = "show_topic",
    params(("id" = String, Path, description = "Its id or its name.")),
    responses((status = 200, description = "The topic.", body = TopicView)),
)]
async fn show(
    State(app): State<App>,
    Looker(caller): Looker,
    TopicPath(topic): TopicPath,
) -> Result<Json<TopicView>, ApiError> {
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let topic = find(&mut conn, &caller, &topic).await?;
    Ok(Json(StatusCode::OK, TopicView::of(topic)))
}

/// Change a topic's name and description.
///
/// Needs the role `admin`. Its members stay.
#[utoipa::path(
    put, path = "/v1/topics/{id}", tag = "Topics", operation_id = "replace_topic",
    params(("id" = String, Path, description = "Its id or its name.")),
    request_body = TopicBody,
    responses(
        (status = 200, description = "As stored.", body = TopicView),
        (status = 409, description = "Another topic has this name."),
    ),
)]
async fn replace(
    State(app): State<App>,
    Admin(caller): Admin,
    TopicPath(topic): TopicPath,
    JsonBody(body): JsonBody,
) -> Result<Json<TopicView>, ApiError> {
    let said = TopicSubmission::parse(body).map_err(ApiError::invalid)?;
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    let before = lock(&mut tx, &caller, &topic).await?;
    let topic = Topic {
        name: said.name,
        description: said.description,
        updated_at: app.clock.now(),
        ..before
    };
    let is_free = topics::update_topic(&mut tx, &topic)
        .await
        .map_err(ApiError::from_store)?;
    if !is_free {
        return Err(name_taken());
    }
    let name = json!({"name": topic.name});
    note(&app, &caller, &mut tx, "topic.replaced", &topic, name).await?;
    tx.commit().await.map_err(ApiError::from_store)?;
    Ok(Json(StatusCode::OK, TopicView::of(topic)))
}

/// Remove a topic and its memberships.
///
/// Needs the role `admin`.
#[utoipa::path(
    delete, path = "/v1/topics/{id}", tag = "Topics", operation_id = "remove_topic",
    params(("id" = String, Path, description = "Its id or its name.")),
    responses((status = 204, description = "It is gone.")),
)]
async fn remove(
    State(app): State<App>,
    Admin(caller): Admin,
    TopicPath(topic): TopicPath,
) -> Result<StatusCode, ApiError> {
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    let topic = lock(&mut tx, &caller, &topic).await?;
    topics::delete_topic(&mut tx, topic.topic_id)
        .await
        .map_err(ApiError::from_store)?;
    let name = json!({"name": topic.name});
    note(&app, &caller, &mut tx, "topic.removed", &topic, name).await?;
    tx.commit().await.map_err(ApiError::from_store)?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the members of a topic by id.
///
/// Needs the role `read`.
#[utoipa::path(
    get, path = "/v1/topics/{id}/members", tag = "Topics", operation_id = "list_topic_members",
    params(("id" = String, Path, description = "Its id or its name."), PageParams),
    responses((status = 200, description = "A page.", body = Page<MemberView>)),
)]
async fn list_members(
    State(app): State<App>,
    Looker(caller): Looker,
    TopicPath(topic): TopicPath,
    mut query: Query,
) -> Result<Json<Page<MemberView>>, ApiError> {
    let page = NamedPageQuery::read(&mut query);
    query.finish()?;
    let after = page.after.map(UserId::from);
    let limit = i64::from(page.limit) + 1;
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let topic = find(&mut conn, &caller, &topic).await?;
    let members = topics::list_members(&mut conn, topic.topic_id, after.as_ref(), limit)
        .await
        .map_err(ApiError::from_store)?;
    let page = Page::by_name(members, page.limit, |member| member.user_id.as_str());
    Ok(Json(StatusCode::OK, page.map(MemberView::of)))
}

/// Add up to 5 000 users to a topic.
///
/// Needs the role `admin`. Who is a member stays one.
#[utoipa::path(
    post, path = "/v1/topics/{id}/members", tag = "Topics", operation_id = "add_topic_members",
    params(("id" = String, Path, description = "Its id or its name.")),
    request_body = MembersBody,
    responses((status = 200, description = "What has changed.", body = Changed)),
)]
async fn add_members(
    State(app): State<App>,
    Admin(caller): Admin,
    TopicPath(topic): TopicPath,
    body: PostBody<BATCH_BYTES_MAX>,
) -> Result<Response<Body>, ApiError> {
    let users = parse_members(body.value).map_err(ApiError::invalid)?;
    let mut work = match once::begin(&app, &caller, body.once).await? {
        Begun::Fresh(work) => work,
        Begun::Repeat(response) => return Ok(response),
    };
    let topic = lock(&mut work, &caller, &topic).await?;
    let added = insert(&app, &caller, &mut work, &topic, &users).await?;
    let changed = Changed { added, removed: 0 };
    note_members(&app, &caller, &mut work, &topic, &changed).await?;
    work.answer(&app, StatusCode::OK, &changed).await
}

/// Make up to 5 000 users the only members of a topic.
///
/// Needs the role `admin`.
#[utoipa::path(
    put, path = "/v1/topics/{id}/members", tag = "Topics", operation_id = "replace_topic_members",
    params(("id" = String, Path, description = "Its id or its name.")),
    request_body = MembersBody,
    responses((status = 200, description = "What has changed.", body = Changed)),
)]
async fn replace_members(
    State(app): State<App>,
    Admin(caller): Admin,
    TopicPath(topic): TopicPath,
    JsonBody(body): JsonBody<BATCH_BYTES_MAX>,
) -> Result<Json<Changed>, ApiError> {
    let users = parse_members(body).map_err(ApiError::invalid)?;
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    let topic = lock(&mut tx, &caller, &topic).await?;
    let removed = topics::keep_members(&mut tx, topic.topic_id, &users)
        .await
        .map_err(ApiError::from_store)?;
    let added = insert(&app, &caller, &mut tx, &topic, &users).await?;
    let changed = Changed { added, removed };
    note_members(&app, &caller, &mut tx, &topic, &changed).await?;
    tx.commit().await.map_err(ApiError::from_store)?;
    Ok(Json(StatusCode::OK, changed))
}

/// Remove up to 5 000 users from a topic.
///
/// Needs the role `admin`.
#[utoipa::path(
    delete, path = "/v1/topics/{id}/members", tag = "Topics",
    operation_id = "remove_topic_members",
    params(("id" = String, Path, description = "Its id or its name.")),
    request_body = MembersBody,
    responses((status = 200, description = "What has changed.", body = Changed)),
)]
async fn remove_members(
    State(app): State<App>,
    Admin(caller): Admin,
    TopicPath(topic): TopicPath,
    JsonBody(body): JsonBody<BATCH_BYTES_MAX>,
) -> Result<Json<Changed>, ApiError> {
    let users = parse_members(body).map_err(ApiError::invalid)?;
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    let topic = lock(&mut tx, &caller, &topic).await?;
    let removed = topics::delete_members(&mut tx, topic.topic_id, &users)
        .await
        .map_err(ApiError::from_store)?;
    let changed = Changed { added: 0, removed };
    note_members(&app, &caller, &mut tx, &topic, &changed).await?;
    tx.commit().await.map_err(ApiError::from_store)?;
    Ok(Json(StatusCode::OK, changed))
}

async fn find(
    connection: &mut Connection,
    caller: &Caller,
    topic: &TopicRef,
) -> Result<Topic, ApiError> {
    topics::find_topic(connection, &caller.tenant_id, topic)
        .await
        .map_err(ApiError::from_store)?
        .ok_or_else(unknown)
}

/// Finds a topic to be changed: whoever else would change it waits.
async fn lock(tx: &mut Tx, caller: &Caller, topic: &TopicRef) -> Result<Topic, ApiError> {
    topics::lock_topic(tx, &caller.tenant_id, topic)
        .await
        .map_err(ApiError::from_store)?
        .ok_or_else(unknown)
}

async fn insert(
    app: &App,
    caller: &Caller,
    tx: &mut Tx,
    topic: &Topic,
    users: &[UserId],
) -> Result<u64, ApiError> {
    let now = app.clock.now();
    topics::insert_members(tx, &caller.tenant_id, topic.topic_id, users, now)
        .await
        .map_err(ApiError::from_store)
}

async fn note(
    app: &App,
    caller: &Caller,
    tx: &mut Tx,
    action: &str,
    topic: &Topic,
    detail: serde_json::Value,
) -> Result<(), ApiError> {
    let subject = topic.topic_id.to_string();
    caller.sign(app, tx, action, &subject, Some(detail)).await
}

/// Counts, not names: who was in a topic is not kept for ever.
async fn note_members(
    app: &App,
    caller: &Caller,
    tx: &mut Tx,
    topic: &Topic,
    changed: &Changed,
) -> Result<(), ApiError> {
    let detail = json!({"name": topic.name, "added": changed.added, "removed": changed.removed});
    note(app, caller, tx, "topic.members_changed", topic, detail).await
}

fn unknown() -> ApiError {
    ApiError::not_found("there is no such topic")
}

fn name_taken() -> ApiError {
    ApiError::conflict("another topic has this name")
}
