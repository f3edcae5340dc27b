//! Discards jobs whose subject is gone for good, many at once, in the caller's transaction.
//!
//! Not a cancel: nobody is told, and no row of the domain moves. Whoever removes a subject calls
//! this with it.

use sqlx::PgConnection;

use crate::job::JobId;

/// Deletes those of `ids` that are not running; answers how many.
///
/// What runs goes on, and finds its subject gone.
pub async fn waiting(db: &mut PgConnection, ids: &[JobId]) -> Result<u64, sqlx::Error> {
    let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
    let deleted = sqlx::query!(
        "delete from queue.jobs where job_id = any($1) and state = 'available'",
        &ids,
    )
    .execute(db)
    .await?;
    Ok(deleted.rows_affected())
}

/// Deletes dead letters whose payload holds one of `values` under `field`; answers how many.
///
/// Reads all of them: there are few, and this is rarely done.
pub async fn dead(
    db: &mut PgConnection,
    field: &str,
    values: &[String],
) -> Result<u64, sqlx::Error> {
    if values.is_empty() {
        return Ok(0);
    }
    let deleted = sqlx::query!(
        "delete from queue.dead_letters where payload ->> $1 = any($2)",
        field,
        values,
    )
    .execute(db)
    .await?;
    Ok(deleted.rows_affected())
}
