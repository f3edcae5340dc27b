-- Takes due jobs of queues $1 that have seen workers die. The engine asks for them only when it
-- holds nothing else, so that a job that kills its process takes few others down with it: those
-- that saw two die run in a group of up to $4, those that saw more run alone. Paused queues are
-- left out.
with suspect as (
    select job.ctid, job.crashes, job.run_at
    from unnest($1::text[]) as q (queue)
    cross join lateral (
        select job.ctid, job.crashes, job.run_at
        from queue.jobs as job
        where job.state = 'available' and job.crashes >= 2
          and job.queue = q.queue and job.run_at <= coalesce($3, now())
        order by job.run_at
        limit $4
        for update skip locked
    ) as job
    where not exists (
        select from queue.queues as switch
        where switch.queue = q.queue and switch.paused_at is not null
    )
),
picked as (
    (select ctid, crashes, run_at from suspect where crashes = 2 order by run_at limit $4)
    union all
    (select ctid, crashes, run_at from suspect where crashes > 2
         and not exists (select from suspect where crashes = 2) order by run_at limit 1)
)
update queue.jobs as job
set state      = 'running',
    attempt    = job.attempt % 32767 + 1,
    epoch      = $2,
    claimed_at = coalesce($3, now())
where job.ctid = any(array(select picked.ctid from picked))
returning job.job_id as "job_id: JobId", job.attempt, job.failures, job.crashes, job.max_attempts,
          job.lane, job.queue, job.kind, job.payload,
          greatest(extract(epoch from job.claimed_at - job.run_at), 0)::float8
              as "waited_seconds!"
