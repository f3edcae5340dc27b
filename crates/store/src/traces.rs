//! Why things went as they went: insert-only, one row per settled step.

use chrono::{DateTime, Utc};
use domain::{NotificationId, TraceStep};
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::StoreError;
use crate::error::during;
use crate::settlement::Trace;

/// Settled steps shown of one subject: many times what any notification takes.
const STEPS_SHOWN_MAX: i64 = 1000;

/// A decision and when it was committed to.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceEntry {
    pub at: DateTime<Utc>,
    pub step: TraceStep,
}

/// Lists every decision about a notification, and about the event or digest that it tells, in
/// order.
pub async fn list_trace(
    connection: &mut PgConnection,
    id: NotificationId,
) -> Result<Vec<TraceEntry>, StoreError> {
    let rows = sqlx::query!(
        r#"
        select at, steps as "steps: Json<Vec<TraceStep>>"
        from traces
        where subject_id = any(coalesce(
            (select array[id, event_id, digest_id] from notifications where id = $1),
            array[$1]
        ))
        order by at, (subject_id = $1), subject_id
        limit $2
        "#,
        id.as_uuid(),
        STEPS_SHOWN_MAX,
    )
    .fetch_all(connection)
    .await
    .map_err(during("read a trace"))?;

    let entries = |at: DateTime<Utc>, steps: Vec<TraceStep>| {
        steps.into_iter().map(move |step| TraceEntry { at, step })
    };
    Ok(rows
        .into_iter()
        .flat_map(|row| entries(row.at, row.steps.0))
        .collect())
}

pub(crate) async fn insert_rows(
    connection: &mut PgConnection,
    rows: &[Trace<'_>],
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let subjects: Vec<_> = rows.iter().map(|row| row.subject_id).collect();
    let times: Vec<_> = rows.iter().map(|row| row.at).collect();
    let steps = rows.iter().map(|row| serde_json::to_string(row.steps));
    let steps: Vec<_> = steps
        .collect::<Result<_, _>>()
        .map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query!(
        r#"
        insert into traces (subject_id, at, steps)
        select subject_id, at, steps::json
        from unnest($1::uuid[], $2::timestamptz[], $3::text[]) as told (subject_id, at, steps)
        "#,
        &subjects,
        &times,
        &steps,
    )
    .execute(connection)
    .await?;
    Ok(())
}
