-- What waits in queues $1: one row per (queue, priority, lane) that has available jobs, with the
-- earliest `run_at`. A loose index scan: its cost is the number of rows it answers, not of jobs,
-- so an idle poll of all queues is one index probe each.
--
-- Paused queues are left out. $2 is null in production: the database clock decides.
select q.queue as "queue!", lane.priority as "priority!", lane.lane as "lane!",
       greatest(extract(epoch from lane.run_at - coalesce($2, now())), 0)::float8
           as "due_in_seconds!"
from unnest($1::text[]) as q (queue)
cross join lateral (
    with recursive lane as (
        (
            select job.priority, job.lane, job.run_at
            from queue.jobs as job
            where job.state = 'available' and job.crashes < 2 and job.queue = q.queue
            order by job.priority, job.lane, job.run_at
            limit 1
        )
        union all
        select next.priority, next.lane, next.run_at
        from lane
        cross join lateral (
            select job.priority, job.lane, job.run_at
            from queue.jobs as job
            where job.state = 'available' and job.crashes < 2 and job.queue = q.queue
              and (job.priority, job.lane) > (lane.priority, lane.lane)
            order by job.priority, job.lane, job.run_at
            limit 1
        ) as next
    )
    select priority, lane, run_at from lane
) as lane
where not exists (
    select from queue.queues as switch
    where switch.queue = q.queue and switch.paused_at is not null
)
