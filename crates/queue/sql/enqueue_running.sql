-- Inserts follow-up jobs that this node keeps: running under epoch $7 from the start, so that
-- nobody has to claim them. Spares the claim's update, two index entries and a dead row for two
-- of the three steps of a notification. A job whose queue is paused is left available.
insert into queue.jobs
    (job_id, run_at, enqueued_at, epoch, claimed_at, priority, lane, attempt, max_attempts, state,
     queue, kind, payload)
select job.job_id, coalesce($8, now()), coalesce($8, now()),
       case when switch.queue is null then $7::uuid end,
       case when switch.queue is null then coalesce($8, now()) end,
       job.priority, job.lane, case when switch.queue is null then 1 else 0 end, job.max_attempts,
       case when switch.queue is null then 'running' else 'available' end::queue.job_state,
       job.queue, job.kind, job.payload
from unnest($1::uuid[], $2::smallint[], $3::smallint[], $4::smallint[], $5::text[], $6::text[],
            $9::jsonb[])
    as job (job_id, priority, lane, max_attempts, queue, kind, payload)
left join queue.queues as switch on switch.queue = job.queue and switch.paused_at is not null
returning job_id as "job_id: JobId", (state = 'running') as "is_running!"
