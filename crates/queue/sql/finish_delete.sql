-- Ends jobs that completed or were cancelled, and is the fence: only a row that is still running
-- at its (job, attempt, epoch) goes, and only what is returned may have its effects written.
--
-- `state = 'running'` is not spelled out: an epoch says as much, and the words would let the
-- planner join by jobs_running_idx, comparing each row with each (380 ms instead of 3 for 1000
-- rows).
delete from queue.jobs as job
using unnest($1::uuid[], $2::smallint[], $3::uuid[]) as fence (job_id, attempt, epoch)
where job.job_id = fence.job_id
  and job.attempt = fence.attempt
  and job.epoch = fence.epoch
returning job.job_id as "job_id: JobId"
