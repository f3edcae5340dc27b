-- Up to $6 jobs of kind $2 that wait in queue $1 for a moment until $5, in that order, after the
-- job $4 that waits for $3. Every class and lane is read from there on by jobs_available_idx, so it
-- costs what it answers, whatever else waits.
select job.job_id as "job_id!: JobId", job.run_at as "run_at!", job.payload as "payload!"
from generate_series(0, 3) as class (priority)
cross join generate_series(0, 31) as turn (lane)
cross join lateral (
    select waiting.job_id, waiting.run_at, waiting.payload
    from queue.jobs as waiting
    where waiting.state = 'available' and waiting.crashes < 2
      and waiting.queue = $1 and waiting.kind = $2
      and waiting.priority = class.priority and waiting.lane = turn.lane
      and waiting.run_at >= $3 and waiting.run_at <= $5
      and (waiting.run_at, waiting.job_id) > ($3, $4)
    order by waiting.run_at, waiting.job_id
    limit $6
) as job
order by job.run_at, job.job_id
limit $6
