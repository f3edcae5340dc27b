-- Takes up to $4 due jobs of each (queue $1, priority $2, lane $3) for epoch $5 and starts their
-- next attempt. Oldest first within a lane.
--
-- SKIP LOCKED lets concurrent nodes pass each other instead of waiting for the same rows. The
-- inner select reads jobs_available_idx only; tests/it/plans.rs fails if the planner stops
-- agreeing. The attempt is raised by the statement that takes the row: counting at the end would
-- let a job that kills its worker come back for ever unrecorded. It starts again from 1 after
-- 32767, which a job that is snoozed for months reaches: one such row must not fail the claim of
-- all.
--
-- The rows are updated by ctid: they are locked, and it saves a look-up in the primary key each (a
-- quarter of the statement). A row that moved between being seen and being locked is passed over
-- until the next claim.
--
-- $6 is null in production: the database clock decides.
with picked as (
    select job.ctid
    from unnest($1::text[], $2::smallint[], $3::smallint[], $4::integer[])
        as share (queue, priority, lane, jobs)
    cross join lateral (
        select job.ctid
        from queue.jobs as job
        where job.state = 'available' and job.crashes < 2
          and job.queue = share.queue and job.priority = share.priority and job.lane = share.lane
          and job.run_at <= coalesce($6, now())
        order by job.run_at
        limit share.jobs
        for update skip locked
    ) as job
)
update queue.jobs as job
set state      = 'running',
    attempt    = job.attempt % 32767 + 1,
    epoch      = $5,
    claimed_at = coalesce($6, now())
where job.ctid = any(array(select picked.ctid from picked))
returning job.job_id as "job_id: JobId", job.attempt, job.failures, job.crashes, job.max_attempts,
          job.lane, job.queue, job.kind, job.payload,
          greatest(extract(epoch from job.claimed_at - job.run_at), 0)::float8
              as "waited_seconds!"
