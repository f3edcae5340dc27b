-- Takes one due job of queues $1 that has seen two workers die. The engine asks for it only when
-- it holds nothing else, so that a job that kills its process takes no other down with it. Paused
-- queues are left out.
with picked as (
    select job.ctid
    from unnest($1::text[]) as q (queue)
    cross join lateral (
        select job.ctid, job.run_at
        from queue.jobs as job
        where job.state = 'available' and job.crashes >= 2
          and job.queue = q.queue and job.run_at <= coalesce($3, now())
        order by job.run_at
        limit 1
        for update skip locked
    ) as job
    where not exists (
        select from queue.queues as switch
        where switch.queue = q.queue and switch.paused_at is not null
    )
    order by job.run_at
    limit 1
)
update queue.jobs as job
set state      = 'running',
    attempt    = job.attempt % 32767 + 1,
    epoch      = $2,
    claimed_at = coalesce($3, now())
where job.ctid = any(array(select picked.ctid from picked))
returning job.job_id as "job_id: JobId", job.attempt, job.failures, job.crashes, job.max_attempts,
          job.queue, job.kind, job.payload,
          greatest(extract(epoch from job.claimed_at - job.run_at), 0)::float8
              as "waited_seconds!"
