//! Topics: named sets of users that can be notified at once.

use chrono::{DateTime, Utc};
use domain::{TenantId, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::StoreError;
use crate::error::during;

/// Rows on one page at most, and one more that says whether there is another page.
const PAGE_ROWS_MAX: i64 = 1001;

/// A row of `topics`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    pub topic_id: Uuid,
    pub name: String,
    pub description: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// How a topic is meant: by its id or by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicRef {
    Id(Uuid),
    Name(String),
}

impl TopicRef {
    /// A name never looks like an id.
    pub fn parse(text: &str) -> Self {
        Uuid::parse_str(text).map_or_else(|_not_an_id| Self::Name(text.to_owned()), Self::Id)
    }

    fn parts(&self) -> (Option<Uuid>, Option<&str>) {
        match self {
            Self::Id(id) => (Some(*id), None),
            Self::Name(name) => (None, Some(name)),
        }
    }
}

/// A member of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub user_id: UserId,
    pub created_at: DateTime<Utc>,
}

/// Inserts a topic; answers whether its name was free.
pub async fn insert_topic(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    topic: &Topic,
) -> Result<bool, StoreError> {
    let inserted = sqlx::query!(
        r#"
        insert into topics (topic_id, tenant_id, name, description, created_at, updated_at)
        values ($1, $2, $3, $4, $5, $5)
        on conflict (tenant_id, name) do nothing
        "#,
        topic.topic_id,
        tenant_id.as_str(),
        topic.name,
        topic.description,
        topic.created_at,
    )
    .execute(connection)
    .await
    .map_err(during("insert a topic"))?;
    Ok(inserted.rows_affected() == 1)
}

/// Finds a tenant's topic.
pub async fn find_topic(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    topic: &TopicRef,
) -> Result<Option<Topic>, StoreError> {
    let (id, name) = topic.parts();
    sqlx::query_as!(
        Topic,
        r#"
        select topic_id, name, description, created_at, updated_at
        from topics
        where tenant_id = $1 and (topic_id = $2 or name = $3)
        "#,
        tenant_id.as_str(),
        id,
        name,
    )
    .fetch_optional(connection)
    .await
    .map_err(during("read a topic"))
}

/// Finds a tenant's topic, and keeps others from changing or removing it until the transaction
/// ends.
pub async fn lock_topic(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    topic: &TopicRef,
) -> Result<Option<Topic>, StoreError> {
    let (id, name) = topic.parts();
    sqlx::query_as!(
        Topic,
        r#"
        select topic_id, name, description, created_at, updated_at
        from topics
        where tenant_id = $1 and (topic_id = $2 or name = $3)
        for update
        "#,
        tenant_id.as_str(),
        id,
        name,
    )
    .fetch_optional(connection)
    .await
    .map_err(during("lock a topic"))
}

/// Lists a tenant's topics, newest first, from before the topic `before`.
pub async fn list_topics(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Topic>, StoreError> {
    sqlx::query_as!(
        Topic,
        r#"
        select topic_id, name, description, created_at, updated_at
        from topics
        where tenant_id = $1 and ($2::uuid is null or topic_id < $2)
        order by topic_id desc
        limit $3
        "#,
        tenant_id.as_str(),
        before,
        limit.clamp(0, PAGE_ROWS_MAX),
    )
    .fetch_all(connection)
    .await
    .map_err(during("list topics"))
}

/// Writes a topic's name and description; answers whether the name was free. If not, the
/// transaction is lost.
pub async fn update_topic(
    connection: &mut PgConnection,
    topic: &Topic,
) -> Result<bool, StoreError> {
    let updated = sqlx::query!(
        r#"
        update topics
        set name = $2, description = $3, updated_at = $4
        where topic_id = $1
        "#,
        topic.topic_id,
        topic.name,
        topic.description,
        topic.updated_at,
    )
    .execute(connection)
    .await;
    match updated {
        Ok(_) => Ok(true),
        Err(sqlx::Error::Database(error)) if error.constraint() == Some("topics_name_unique") => {
            Ok(false)
        }
        Err(error) => Err(during("change a topic")(error)),
    }
}

/// Deletes a topic with its memberships; answers whether it was there.
pub async fn delete_topic(
    connection: &mut PgConnection,
    topic_id: Uuid,
) -> Result<bool, StoreError> {
    let deleted = sqlx::query!("delete from topics where topic_id = $1", topic_id)
        .execute(connection)
        .await
        .map_err(during("delete a topic"))?;
    Ok(deleted.rows_affected() == 1)
}

/// Adds users; those who are members stay. Answers how many were added.
pub async fn insert_members(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    topic_id: Uuid,
    users: &[UserId],
    now: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let users: Vec<_> = users.iter().map(UserId::as_str).collect();
    let inserted = sqlx::query!(
        r#"
        insert into topic_members (topic_id, tenant_id, user_id, created_at)
        select $1, $2, user_id, $4
        from unnest($3::text[]) as given (user_id)
        on conflict (topic_id, user_id) do nothing
        "#,
        topic_id,
        tenant_id.as_str(),
        &users as &[&str],
        now,
    )
    .execute(connection)
    .await
    .map_err(during("add members to a topic"))?;
    Ok(inserted.rows_affected())
}

/// Removes users; answers how many were members.
pub async fn delete_members(
    connection: &mut PgConnection,
    topic_id: Uuid,
    users: &[UserId],
) -> Result<u64, StoreError> {
    let users: Vec<_> = users.iter().map(UserId::as_str).collect();
    let deleted = sqlx::query!(
        "delete from topic_members where topic_id = $1 and user_id = any($2::text[])",
        topic_id,
        &users as &[&str],
    )
    .execute(connection)
    .await
    .map_err(during("remove members of a topic"))?;
    Ok(deleted.rows_affected())
}

/// Removes everybody but `users`; answers how many went.
pub async fn keep_members(
    connection: &mut PgConnection,
    topic_id: Uuid,
    users: &[UserId],
) -> Result<u64, StoreError> {
    let users: Vec<_> = users.iter().map(UserId::as_str).collect();
    let deleted = sqlx::query!(
        "delete from topic_members where topic_id = $1 and user_id <> all($2::text[])",
        topic_id,
        &users as &[&str],
    )
    .execute(connection)
    .await
    .map_err(during("remove members of a topic"))?;
    Ok(deleted.rows_affected())
}

/// Lists a topic's members by id, after the user `after`.
pub async fn list_members(
    connection: &mut PgConnection,
    topic_id: Uuid,
    after: Option<&UserId>,
    limit: i64,
) -> Result<Vec<Member>, StoreError> {
    sqlx::query_as!(
        Member,
        r#"
        select user_id, created_at
        from topic_members
        where topic_id = $1 and ($2::text is null or user_id > $2)
        order by user_id
        limit $3
        "#,
        topic_id,
        after.map(UserId::as_str),
        limit.clamp(0, PAGE_ROWS_MAX),
    )
    .fetch_all(connection)
    .await
    .map_err(during("list members of a topic"))
}

/// Lists the names of the topics that a user is a member of.
pub async fn list_topics_of(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    user_id: &UserId,
) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar!(
        r#"
        select topic.name
        from topic_members as member
        join topics as topic on topic.topic_id = member.topic_id
        where member.tenant_id = $1 and member.user_id = $2
        order by topic.name
        limit $3
        "#,
        tenant_id.as_str(),
        user_id.as_str(),
        PAGE_ROWS_MAX,
    )
    .fetch_all(connection)
    .await
    .map_err(during("list the topics of a user"))
}
