-- Moves jobs to the dead letters for reason $4 with error $5 added to their history. Fenced like
-- finish_delete.sql.
with buried as (
    delete from queue.jobs as job
    using unnest($1::uuid[], $2::smallint[], $3::uuid[], $4::text[], $5::text[])
        as fence (job_id, attempt, epoch, reason, error)
    where job.job_id = fence.job_id
      and job.attempt = fence.attempt
      and job.epoch = fence.epoch
    returning job.job_id, job.enqueued_at, job.priority, job.lane, job.attempt, job.failures,
              job.max_attempts, job.crashes, job.queue, job.kind, job.unique_key, job.payload,
              job.errors, fence.reason, fence.error
)
insert into queue.dead_letters
    (job_id, enqueued_at, died_at, priority, lane, attempt, failures, max_attempts, crashes, queue,
     kind, unique_key, reason, payload, errors)
select job_id, enqueued_at, coalesce($6, now()), priority, lane, attempt, failures + 1,
       max_attempts, crashes, queue, kind, unique_key, reason, payload,
       coalesce(errors, '[]') || jsonb_build_object(
           'attempt', attempt, 'at', queue.moment(coalesce($6, now())), 'error', error)
from buried
returning job_id as "job_id: JobId"
