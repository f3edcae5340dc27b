//! Audiences: who has a role, is in a group or is a member of a topic, a page at a time.

use domain::{TenantId, UserId};
use sqlx::PgConnection;

use crate::StoreError;
use crate::error::during;

/// A set of users that a rule names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Crowd<'a> {
    pub tenant_id: &'a TenantId,
    pub kind: CrowdKind,
    /// Of the role, group or topic.
    pub name: &'a str,
    /// Only users whose id sorts after this one; empty from the beginning.
    pub after: &'a str,
}

/// What makes users a crowd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CrowdKind {
    Role,
    Group,
    Topic,
}

impl CrowdKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::Group => "group",
            Self::Topic => "topic",
        }
    }
}

/// Lists the first `limit` users of each crowd by id, for a whole claim of jobs, in one statement.
/// Answers them by the crowd's place in `crowds`.
pub async fn list_crowds(
    connection: &mut PgConnection,
    crowds: &[Crowd<'_>],
    limit: i64,
) -> Result<Vec<Vec<UserId>>, StoreError> {
    let mut members: Vec<Vec<UserId>> = crowds.iter().map(|_| Vec::new()).collect();
    if crowds.is_empty() {
        return Ok(members);
    }
    let places: Vec<_> = (0..).take(crowds.len()).collect();
    let tenants: Vec<_> = crowds.iter().map(|it| it.tenant_id.as_str()).collect();
    let kinds: Vec<_> = crowds.iter().map(|it| it.kind.as_str()).collect();
    let names: Vec<_> = crowds.iter().map(|it| it.name).collect();
    let afters: Vec<_> = crowds.iter().map(|it| it.after).collect();
    // Ids are compared byte by byte, as we sort them.
    let rows = sqlx::query!(
        r#"
        select wanted.place as "place!", member.user_id as "user_id!"
        from unnest($1::integer[], $2::text[], $3::text[], $4::text[], $5::text[])
            as wanted (place, tenant_id, kind, name, after)
        cross join lateral (
            (
                select users.user_id
                from users
                where wanted.kind = 'role'
                  and users.tenant_id = wanted.tenant_id
                  and users.roles @> array[wanted.name]
                  and users.user_id collate "C" > wanted.after
                order by users.user_id collate "C"
                limit $6
            )
            union all
            (
                select users.user_id
                from users
                where wanted.kind = 'group'
                  and users.tenant_id = wanted.tenant_id
                  and users.groups @> array[wanted.name]
                  and users.user_id collate "C" > wanted.after
                order by users.user_id collate "C"
                limit $6
            )
            union all
            (
                select topic_members.user_id
                from topics
                join topic_members on topic_members.topic_id = topics.topic_id
                where wanted.kind = 'topic'
                  and topics.tenant_id = wanted.tenant_id
                  and topics.name = wanted.name
                  and topic_members.user_id collate "C" > wanted.after
                order by topic_members.user_id collate "C"
                limit $6
            )
        ) as member
        "#,
        &places,
        &tenants as &[&str],
        &kinds as &[&str],
        &names as &[&str],
        &afters as &[&str],
        limit,
    )
    .fetch_all(connection)
    .await
    .map_err(during("list who a rule is for"))?;
    for row in rows {
        let place = usize::try_from(row.place).unwrap_or(usize::MAX);
        if let Some(crowd) = members.get_mut(place) {
            crowd.push(row.user_id.into());
        }
    }
    Ok(members)
}
