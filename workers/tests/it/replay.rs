//! Replays batch by batch, without an engine: what they take, what they leave, and how fast.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{ReplayId, ReplayResult, ReplayState};
use queue::dead_letter::{DeadLetterFilter, Order};
use queue::{Clock, JobId};
use sqlx::PgPool;
use store::replays::{Replay, find_replay, list_items};
use store::{Store, StoreOptions};
use testkit::TestDatabase;
use uuid::Uuid;
use workers::dead_letters;
use workers::replay::{Advanced, Request, Step, advance, begin, cancel};

/// The replay is asked for then.
fn now() -> DateTime<Utc> {
    "2026-11-21T09:00:00Z".parse().unwrap()
}

struct Ward {
    store: Store,
    pool: PgPool,
    _database: TestDatabase,
}

impl Ward {
    async fn make() -> Self {
        let database = TestDatabase::create().await;
        let store = Store::connect(database.url(), &StoreOptions::default())
            .await
            .unwrap();
        let mut tx = store.begin().await.unwrap();
        store::partitions::ensure(&mut tx, now()).await.unwrap();
        tx.commit().await.unwrap();
        Self {
            pool: database.pool().await,
            store,
            _database: database,
        }
    }

    /// Buries the `deliver` jobs of `count` failed mails of a tenant, a second apart, the last one an
    /// hour ago.
    async fn bury(&self, tenant: &str, count: i32) -> Vec<JobId> {
        let ids: Vec<Uuid> = sqlx::query_scalar(
            "with planned as (
                 select n, uuid_of($1, 3 * n) as notification_id, uuid_of($1, 3 * n + 1) as id,
                        uuid_of($1, 3 * n + 2) as job_id, $2 - make_interval(secs => 3601 - n) as at
                 from generate_series(1, $3) as n
             ), notification as (
                 insert into notifications (id, created_at, tenant_id, user_id, type, status,
                                            delivery_count)
                 select notification_id, at, $1, 'ada', 'notification', 'failed', 1 from planned
             ), delivery as (
                 insert into deliveries (id, notification_id, created_at, tenant_id, user_id, channel,
                                         status, address, error)
                 select id, notification_id, at, $1, 'ada', 'email', 'failed', 'ada@example.com', 'x'
                 from planned
             )
             insert into queue.dead_letters (job_id, enqueued_at, died_at, priority, lane, attempt,
                 failures, max_attempts, crashes, queue, kind, reason, payload, errors)
             select job_id, at, at, 2, 0, 1, 1, 8, 0, 'email', 'deliver', 'permanent',
                    jsonb_build_object('delivery_id', id),
                    jsonb_build_array(jsonb_build_object('attempt', 1, 'at', at,
                                                         'error', '550 no user ' || n))
             from planned
             returning job_id",
        )
        .bind(tenant)
        .bind(now())
        .bind(count)
        .fetch_all(&self.pool)
        .await
        .unwrap();
        ids.into_iter().map(JobId).collect()
    }

    async fn execute(&self, statement: &'static str) {
        sqlx::raw_sql(statement).execute(&self.pool).await.unwrap();
    }

    async fn begin(&self, request: Request) -> ReplayId {
        let mut tx = self.store.begin().await.unwrap();
        let begun = begin(&mut tx, &request, &Clock::manual(now()))
            .await
            .unwrap();
        tx.commit().await.unwrap();
        begun.replay_id
    }

    async fn advance(&self, id: ReplayId, now: DateTime<Utc>) -> Advanced {
        advance(&self.store, id, Some(now)).await.unwrap()
    }

    /// Runs a replay without a cap to its end.
    async fn run(&self, request: Request) -> Replay {
        let id = self.begin(request).await;
        while self.advance(id, now()).await.step == Step::More {}
        self.replay(id).await
    }

    async fn replay(&self, id: ReplayId) -> Replay {
        let mut db = self.store.acquire().await.unwrap();
        find_replay(&mut db, id).await.unwrap().unwrap()
    }

    async fn count(&self, statement: &'static str) -> i64 {
        let count = sqlx::query_scalar(statement);
        count.fetch_one(&self.pool).await.unwrap()
    }

    /// Jobs that run again, and the one that runs the replay itself.
    async fn open(&self) -> (i64, i64) {
        let of = "select count(*) from queue.jobs where kind <> 'replay'";
        let own = "select count(*) from queue.jobs where kind = 'replay'";
        (self.count(of).await, self.count(own).await)
    }
}

/// An id of the month of [`now`] that differs by tenant and number.
const UUID_OF: &str = "create function uuid_of(tenant text, n integer) returns uuid language sql
    immutable return ('01a1fd1e-' || to_hex(35840 + length(tenant)) || '-7' ||
                      lpad(to_hex(n % 4096), 3, '0') || '-8000-' || lpad(to_hex(n), 12, '0'))::uuid";

async fn ward() -> Ward {
    let ward = Ward::make().await;
    ward.execute(UUID_OF).await;
    ward
}

fn everything() -> Request {
    Request {
        actor: "cli:test".to_owned(),
        ..Request::default()
    }
}

fn filtered(filter: DeadLetterFilter) -> Request {
    Request {
        filter,
        ..everything()
    }
}

#[tokio::test]
async fn everything_that_was_dead_runs_again_once_and_is_recorded() {
    let ward = ward().await;
    let ids = ward.bury("default", 1203).await;

    let replay = ward.run(everything()).await;

    assert_eq!((replay.state, replay.matched), (ReplayState::Done, 1203));
    assert_eq!(replay.counts.of(ReplayResult::Replayed), 1203);
    assert_eq!(replay.counts.total(), 1203);
    // The replay's own job is gone with it.
    assert_eq!(ward.open().await, (1203, 0));
    assert_eq!(
        ward.count("select count(*) from queue.dead_letters").await,
        0
    );
    let queued = "select count(*) from deliveries as d join queue.jobs as j using (job_id)
                  where d.status = 'queued' and d.error is null";
    assert_eq!(ward.count(queued).await, 1203);
    let told = "select count(*) from traces where steps -> 0 ->> 'step' = 'replay'";
    assert_eq!(ward.count(told).await, 1203);
    let mut db = ward.store.acquire().await.unwrap();
    let items = list_items(&mut db, replay.replay_id, None, 10)
        .await
        .unwrap();
    let mut sorted = ids.clone();
    sorted.sort();
    assert_eq!(items.len(), 10);
    assert_eq!(items[0].job_id, sorted[0].as_uuid());
}

#[tokio::test]
async fn each_filter_takes_what_it_names_and_nothing_else() {
    let ward = ward().await;
    let ids = ward.bury("default", 2100).await;
    ward.execute(
        "update queue.dead_letters set queue = 'sms' where errors::text like '%user 2000%';
         update queue.dead_letters set kind = 'retry' where errors::text like '%user 2050%'",
    )
    .await;
    let second = |n: i64| Some(now() - TimeDelta::seconds(3601 - n));
    let one = |filter| filtered(filter);

    let by = DeadLetterFilter::default;
    for (filter, expected) in [
        (
            DeadLetterFilter {
                queue: Some("sms".into()),
                ..by()
            },
            1,
        ),
        (
            DeadLetterFilter {
                kind: Some("retry".into()),
                ..by()
            },
            1,
        ),
        (
            DeadLetterFilter {
                error: Some("NO USER 1999".into()),
                ..by()
            },
            1,
        ),
        (
            DeadLetterFilter {
                ids: Some(vec![ids[6], ids[5]]),
                ..by()
            },
            2,
        ),
        (
            DeadLetterFilter {
                since: second(2091),
                ..by()
            },
            10,
        ),
        (
            DeadLetterFilter {
                until: second(3),
                ..by()
            },
            2,
        ),
        (
            DeadLetterFilter {
                queue: Some("voice".into()),
                ..by()
            },
            0,
        ),
    ] {
        let replay = ward.run(one(filter.clone())).await;

        assert_eq!(replay.matched, expected, "{filter:?}");
        assert_eq!(
            replay.counts.of(ReplayResult::Replayed),
            expected,
            "{filter:?}"
        );
        assert_eq!(replay.state, ReplayState::Done);
    }
    assert_eq!(ward.open().await, (17, 0));
}

/// A job that dies again at once would otherwise be replayed for ever.
#[tokio::test]
async fn what_dies_after_the_replay_began_is_not_taken() {
    let ward = ward().await;
    ward.bury("default", 3).await;
    ward.execute(
        "update queue.dead_letters set died_at = '2026-11-21T09:00:00Z'
                  where errors::text like '%user 3%'",
    )
    .await;

    let replay = ward.run(everything()).await;

    assert_eq!(replay.counts.of(ReplayResult::Replayed), 2);
    assert_eq!(ward.open().await, (2, 0));
}

#[tokio::test]
async fn what_is_not_wanted_any_more_stays_dead_and_says_why() {
    let ward = ward().await;
    let ids = ward.bury("default", 7).await;
    ward.execute(
        "update deliveries set status = 'delivered' where error = 'x' and id = uuid_of('default', 4);
         update deliveries set status = 'sent' where id = uuid_of('default', 7);
         update deliveries set status = 'cancelled' where id = uuid_of('default', 10);
         update notifications set expires_at = '2026-11-21T08:59:59Z'
         where id = uuid_of('default', 12);
         delete from deliveries where id = uuid_of('default', 16);
         update queue.dead_letters set unique_key = 'k' where job_id = uuid_of('default', 20);
         insert into queue.jobs (job_id, queue, kind, unique_key, payload)
         values (gen_random_uuid(), 'email', 'deliver', 'k', '{}')",
    )
    .await;

    let replay = ward.run(everything()).await;

    let counts = ReplayResult::ALL.map(|result| replay.counts.of(result));
    assert_eq!(counts, [1, 2, 1, 1, 1, 1]);
    assert_eq!(
        ward.count("select count(*) from queue.dead_letters").await,
        6
    );
    assert_eq!(ward.open().await, (2, 0));
    let mut db = ward.store.acquire().await.unwrap();
    let items = list_items(&mut db, replay.replay_id, None, 10)
        .await
        .unwrap();
    let result = |id: JobId| {
        let item = items.iter().find(|item| item.job_id == id.as_uuid());
        item.unwrap().result
    };
    assert_eq!(
        ids.iter().map(|id| result(*id)).collect::<Vec<_>>(),
        [
            ReplayResult::SkippedDelivered,
            ReplayResult::SkippedDelivered,
            ReplayResult::SkippedCancelled,
            ReplayResult::SkippedExpired,
            ReplayResult::SkippedGone,
            ReplayResult::SkippedConflict,
            ReplayResult::Replayed,
        ]
    );
}

/// Every step on the way looks at `expires_at`, so an operator's word has to lift it.
#[tokio::test]
async fn what_has_expired_is_opened_for_good_when_told() {
    let ward = ward().await;
    ward.bury("default", 2).await;
    ward.execute("update notifications set expires_at = '2026-11-21T08:00:00Z'")
        .await;

    let replay = ward
        .run(Request {
            include_expired: true,
            ..everything()
        })
        .await;

    assert_eq!(replay.counts.of(ReplayResult::Replayed), 2);
    let lifted =
        "select count(*) from notifications where expires_at is null and status = 'queued'";
    assert_eq!(ward.count(lifted).await, 2);
}

/// By the clock alone: 25 a second are five every fifth of one.
#[tokio::test]
async fn a_rate_is_kept_by_whoever_runs_the_replay() {
    let ward = ward().await;
    ward.bury("default", 60).await;
    let id = ward
        .begin(Request {
            rate: Some(25),
            ..everything()
        })
        .await;

    let mut times = Vec::new();
    let mut clock = now();
    loop {
        let advanced = ward.advance(id, clock).await;
        for _ in 0..advanced.counts.of(ReplayResult::Replayed) {
            times.push(clock);
        }
        match advanced.step {
            // A second runner, or the same one after its death, is told to wait as well.
            Step::Wait { until, wait } => {
                let early = ward.advance(id, until - TimeDelta::microseconds(1)).await;
                assert_eq!(early.counts.total(), 0);
                clock += TimeDelta::from_std(wait).unwrap();
                assert_eq!(clock, until);
            }
            Step::More => {}
            Step::Over(state) => {
                assert_eq!(state, ReplayState::Done);
                break;
            }
        }
    }

    assert_eq!(times.len(), 60);
    for (first, _) in times.iter().enumerate() {
        let ends = times[first] + TimeDelta::seconds(1);
        let within = times[first..].iter().filter(|at| **at < ends).count();
        assert!(within <= 25, "{within} within a second");
    }
    assert_eq!(clock - now(), TimeDelta::milliseconds(2200));
}

/// A worker that was taken over without knowing it, and its successor.
#[tokio::test]
async fn two_who_run_the_same_replay_share_it() {
    let ward = ward().await;
    ward.bury("default", 3000).await;
    let id = ward.begin(everything()).await;
    let work = async || {
        let mut replayed = 0;
        loop {
            let advanced = ward.advance(id, now()).await;
            replayed += advanced.counts.of(ReplayResult::Replayed);
            if advanced.step != Step::More {
                return replayed;
            }
        }
    };

    let (one, other) = tokio::join!(work(), work());

    assert_eq!(one + other, 3000);
    assert_eq!(ward.open().await, (3000, 0));
    assert_eq!(
        ward.replay(id).await.counts.of(ReplayResult::Replayed),
        3000
    );
}

#[tokio::test]
async fn a_cancelled_replay_stops_where_it_is() {
    let ward = ward().await;
    ward.bury("default", 700).await;
    let id = ward.begin(everything()).await;
    assert_eq!(ward.advance(id, now()).await.step, Step::More);

    let mut tx = ward.store.begin().await.unwrap();
    let cancelled = cancel(&mut tx, id, Some(now())).await.unwrap().unwrap();
    tx.commit().await.unwrap();

    assert_eq!(cancelled.counts.of(ReplayResult::Replayed), 500);
    let after = ward.advance(id, now()).await;
    assert_eq!(after.step, Step::Over(ReplayState::Cancelled));
    assert_eq!(ward.open().await, (500, 0));
    assert_eq!(
        ward.count("select count(*) from queue.dead_letters").await,
        200
    );
}

#[tokio::test]
async fn a_tenant_sees_and_replays_only_its_own() {
    let ward = ward().await;
    ward.bury("default", 4).await;
    ward.bury("t1", 3).await;
    // Of this one nobody can tell whose it is.
    ward.execute("update queue.dead_letters set payload = '{}' where job_id = uuid_of('t1', 5)")
        .await;
    // Pages of two, as a tenant turns them over.
    let listed = async |tenant: &str| {
        let mut db = ward.store.acquire().await.unwrap();
        let (tenant, filter) = (tenant.into(), DeadLetterFilter::default());
        let (mut sizes, mut after) = (Vec::new(), None);
        loop {
            let newest = Order::NewestFirst;
            let page = dead_letters::list(&mut db, Some(&tenant), &filter, after, newest, 2).await;
            let (letters, next) = page.unwrap();
            sizes.push(letters.len());
            match next {
                Some(place) => after = Some(place),
                None => return sizes,
            }
        }
    };

    assert_eq!(listed("t1").await, [2]);
    assert_eq!(listed("default").await, [2, 2, 1]);
    assert_eq!(listed("t2").await, [0]);
    let of_t1 = Request {
        tenant_id: Some("t1".into()),
        ..everything()
    };
    let replay = ward.run(of_t1).await;

    assert_eq!((replay.matched, replay.counts.total()), (2, 2));
    assert_eq!(
        ward.count("select count(*) from queue.dead_letters").await,
        5
    );
}

#[tokio::test]
async fn what_replays_did_is_forgotten_some_day_and_what_still_runs_is_not() {
    let ward = ward().await;
    ward.bury("default", 3).await;
    let over = ward.run(everything()).await;
    let running = ward.begin(everything()).await;
    let prune = async |cutoff| {
        let mut db = ward.store.acquire().await.unwrap();
        store::replays::prune(&mut db, cutoff).await.unwrap()
    };

    assert_eq!(prune(now()).await, 0);
    assert_eq!(prune(now() + TimeDelta::seconds(1)).await, 4);

    let mut db = ward.store.acquire().await.unwrap();
    assert_eq!(find_replay(&mut db, over.replay_id).await.unwrap(), None);
    assert_eq!(ward.replay(running).await.state, ReplayState::Running);
}

/// An unreadable filter, or a bug, uses up the attempts of the replay's own job.
#[tokio::test]
async fn a_replay_whose_job_died_goes_on_when_that_is_replayed() {
    let ward = ward().await;
    ward.bury("default", 5).await;
    let id = ward.begin(everything()).await;
    ward.execute(
        "update replays set state = 'failed', finished_at = now();
         with gone as (delete from queue.jobs returning *)
         insert into queue.dead_letters (job_id, enqueued_at, died_at, priority, lane, attempt,
             failures, max_attempts, crashes, queue, kind, unique_key, reason, payload, errors)
         select job_id, enqueued_at, '2026-11-21T08:00:00Z', priority, lane, 1, 8, 8, 0, queue, kind,
                unique_key, 'attempts_exhausted', payload, '[]' from gone",
    )
    .await;
    let dead = DeadLetterFilter {
        kind: Some("replay".to_owned()),
        ..DeadLetterFilter::default()
    };

    let second = ward.run(filtered(dead)).await;

    assert_eq!(second.counts.of(ReplayResult::Replayed), 1);
    assert_eq!(ward.replay(id).await.state, ReplayState::Running);
    assert_eq!(ward.open().await, (0, 1));
    assert_eq!(
        ward.advance(id, now()).await.step,
        Step::Over(ReplayState::Done)
    );
    assert_eq!(ward.open().await, (5, 0));
}
