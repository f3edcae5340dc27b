-- Inserts jobs that carry a unique key; one whose key is already open is dropped silently.
-- Apart from `enqueue.sql` because the speculative insert costs every row about a tenth more.
insert into queue.jobs
    (job_id, run_at, enqueued_at, priority, lane, max_attempts, queue, kind, payload, unique_key)
select job.job_id, coalesce(job.run_at, $10, now()), coalesce($10, now()), job.priority, job.lane,
       job.max_attempts, job.queue, job.kind, job.payload, job.unique_key
from unnest($1::uuid[], $2::timestamptz[], $3::smallint[], $4::smallint[], $5::smallint[],
            $6::text[], $7::text[], $8::jsonb[], $9::text[])
    as job (job_id, run_at, priority, lane, max_attempts, queue, kind, payload, unique_key)
on conflict (kind, unique_key) where unique_key is not null do nothing
