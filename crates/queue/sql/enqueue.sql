-- Inserts jobs, one array per column. Jobs of one call share `run_at` unless they name their own,
-- so that they share an index key too. $9 is null in production: the database clock decides.
insert into queue.jobs
    (job_id, run_at, enqueued_at, priority, lane, max_attempts, queue, kind, payload)
select job.job_id, coalesce(job.run_at, $9, now()), coalesce($9, now()), job.priority, job.lane,
       job.max_attempts, job.queue, job.kind, job.payload
from unnest($1::uuid[], $2::timestamptz[], $3::smallint[], $4::smallint[], $5::smallint[],
            $6::text[], $7::text[], $8::jsonb[])
    as job (job_id, run_at, priority, lane, max_attempts, queue, kind, payload)
