-- Makes jobs available again: a retry ($5 charged, $6 its error), a snooze or a job given back
-- unstarted. Due in $4 seconds by the database clock, or at $7 where the moment is known. Fenced
-- like finish_delete.sql.
update queue.jobs as job
set state      = 'available',
    epoch      = null,
    claimed_at = null,
    run_at     = coalesce(fence.run_at,
                          coalesce($8, now()) + make_interval(secs => fence.delay_seconds)),
    failures   = job.failures + fence.charged,
    errors     = case
                     when fence.error is null then job.errors
                     else coalesce(job.errors, '[]') || jsonb_build_object(
                         'attempt', job.attempt, 'at', queue.moment(coalesce($8, now())),
                         'error', fence.error)
                 end
from unnest($1::uuid[], $2::smallint[], $3::uuid[], $4::float8[], $5::smallint[], $6::text[],
            $7::timestamptz[])
    as fence (job_id, attempt, epoch, delay_seconds, charged, error, run_at)
where job.job_id = fence.job_id
  and job.attempt = fence.attempt
  and job.epoch = fence.epoch
returning job.job_id as "job_id: JobId"
