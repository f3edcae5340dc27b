//! Rate limits: slots taken by many at once, on a real database.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Channel, Claim, Limit, LimitOf, Room, Scope, TenantId, WhenUnavailable};
use store::StoreOptions;
use store::limits::{
    delete_limit, list_all_limits, list_limits, lock_limits, prune_counters, reserve, upsert_limit,
};
use store::revisions::read_revisions;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::kit::Kit;

fn limit(kit: &Kit, name: &str, max: u32, window: Duration) -> Limit {
    Limit {
        id: Uuid::now_v7(),
        name: name.to_owned(),
        scope: Scope::UserChannel,
        of: LimitOf::default(),
        max,
        window,
        when_unavailable: None,
        enabled: true,
        created_at: kit.now,
        updated_at: kit.now,
    }
}

fn claim(key: u128, limit: &Limit) -> Claim {
    Claim {
        key: Uuid::from_u128(key),
        limit: Arc::new(limit.clone()),
    }
}

fn taken(rooms: &[Room]) -> usize {
    rooms.iter().filter(|room| **room == Room::Taken).count()
}

async fn counters(kit: &Kit) -> i64 {
    sqlx::query_scalar("select count(*) from limit_counters")
        .fetch_one(kit.store.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn many_nodes_at_once_never_take_more_than_there_are() {
    let kit = Kit::create().await;
    let (of_all, of_one) = (
        limit(&kit, "all", 150, Duration::from_hours(1)),
        limit(&kit, "one", 20, Duration::from_hours(1)),
    );
    let mut nodes = JoinSet::new();
    for node in 0..16_u128 {
        let (store, of_all, of_one) = (kit.store.clone(), of_all.clone(), of_one.clone());
        nodes.spawn(async move {
            let mut took: BTreeMap<u128, usize> = BTreeMap::new();
            for batch in 0..5_u128 {
                // Ten users, in another order on every node.
                let users: Vec<_> = (0..10).map(|n| (n * 7 + node + batch) % 10).collect();
                let sends: Vec<_> = users
                    .iter()
                    .map(|&user| vec![claim(100 + user, &of_one), claim(1, &of_all)])
                    .collect();
                let rooms = reserve(&store, None, &sends).await.unwrap();
                for (user, room) in users.into_iter().zip(rooms) {
                    *took.entry(user).or_default() += usize::from(room == Room::Taken);
                }
            }
            took
        });
    }

    let mut users: BTreeMap<u128, usize> = BTreeMap::new();
    while let Some(took) = nodes.join_next().await {
        for (user, count) in took.unwrap() {
            *users.entry(user).or_default() += count;
        }
    }
    assert_eq!(users.values().sum::<usize>(), 150, "{users:?}");
    assert!(users.values().all(|&count| count <= 20), "{users:?}");
}

#[tokio::test]
async fn no_window_holds_more_than_the_limit_by_the_clock_on_the_wall() {
    let kit = Kit::create().await;
    let window = Duration::from_secs(1);
    let quick = limit(&kit, "quick", 3, window);
    let mut nodes = JoinSet::new();
    for _ in 0..4 {
        let (store, quick) = (kit.store.clone(), quick.clone());
        nodes.spawn(async move {
            let mut times = Vec::new();
            while times.len() < 3 {
                let asked_at = Utc::now();
                let rooms = reserve(&store, None, &[vec![claim(1, &quick)]])
                    .await
                    .unwrap();
                let now = Utc::now();
                match &rooms[0] {
                    // As a worker does: a slot that is handed over late is not used.
                    Room::Taken if (now - asked_at).to_std().unwrap() <= quick.use_within() => {
                        times.push(now);
                    }
                    Room::Taken => {}
                    Room::Full { until, .. } => {
                        let wait = (*until - now).to_std().unwrap_or_default();
                        tokio::time::sleep(wait).await;
                    }
                }
            }
            times
        });
    }

    let mut times: Vec<DateTime<Utc>> = Vec::new();
    while let Some(took) = nodes.join_next().await {
        times.extend(took.unwrap());
    }
    times.sort_unstable();
    let window = TimeDelta::from_std(window).unwrap();
    for four in times.windows(4) {
        assert!(four[3] - four[0] >= window, "{times:?}");
    }
}

#[tokio::test]
async fn who_waits_is_told_the_moment_at_which_a_slot_is_free() {
    let kit = Kit::create().await;
    let two = limit(&kit, "two", 2, Duration::from_secs(10));
    let ask = async |at: DateTime<Utc>, sends: usize| {
        let sends = vec![vec![claim(1, &two)]; sends];
        reserve(&kit.store, Some(at), &sends).await.unwrap()
    };
    let second = |n| kit.now + TimeDelta::seconds(n);

    assert_eq!(taken(&ask(second(0), 1).await), 1);
    assert_eq!(taken(&ask(second(4), 1).await), 1);
    let full = ask(second(5), 3).await;
    let untils: Vec<_> = full
        .iter()
        .map(|room| match room {
            Room::Full { until, .. } => *until,
            Room::Taken => panic!("the limit is full"),
        })
        .collect();
    // A slot counts a second longer, the time in which it may be used.
    assert_eq!(untils, [second(11), second(15), second(22)]);
    let early = second(11) - TimeDelta::microseconds(1);
    assert_eq!(taken(&ask(early, 1).await), 0);
    assert_eq!(taken(&ask(second(11), 2).await), 1);
}

#[tokio::test]
async fn a_slot_is_gone_once_it_is_answered_whatever_becomes_of_the_send() {
    let kit = Kit::create().await;
    let one = limit(&kit, "one", 1, Duration::from_hours(1));
    let sends = [vec![claim(1, &one)]];

    // Died before the commit: the lock is held, and nothing is taken.
    let mut dying = kit.store.begin().await.unwrap();
    sqlx::query("insert into limit_counters values ($1, now(), '')")
        .bind(Uuid::from_u128(1))
        .execute(&mut *dying)
        .await
        .unwrap();
    let asking = reserve(&kit.store, None, &sends);
    let (rooms, ()) = tokio::join!(asking, async { drop(dying) });
    assert_eq!(rooms.unwrap(), [Room::Taken]);

    // Answered, and never used: it counts all the same.
    let rooms = reserve(&kit.store, None, &sends).await.unwrap();
    assert_eq!(taken(&rooms), 0);
}

#[tokio::test]
async fn sends_without_limits_are_let_through_unasked() {
    let kit = Kit::create().await;
    kit.store.close().await;

    let rooms = reserve(&kit.store, None, &[Vec::new(), Vec::new()])
        .await
        .unwrap();

    assert_eq!(taken(&rooms), 2);
}

#[tokio::test]
async fn counters_are_removed_once_nothing_of_them_counts() {
    let kit = Kit::create().await;
    let (short, long) = (
        limit(&kit, "short", 1, Duration::from_mins(5)),
        limit(&kit, "long", 200, Duration::from_hours(1)),
    );
    let sends = [vec![claim(1, &short), claim(2, &long)]];
    reserve(&kit.store, Some(kit.now), &sends).await.unwrap();
    let prune = async |after: TimeDelta| {
        let mut tx = kit.store.begin().await.unwrap();
        let pruned = prune_counters(&mut tx, kit.now + after).await.unwrap();
        tx.commit().await.unwrap();
        pruned
    };

    assert_eq!(prune(TimeDelta::minutes(5)).await, 0);
    assert_eq!(prune(TimeDelta::minutes(6)).await, 1);
    assert_eq!(prune(TimeDelta::minutes(60)).await, 0);
    assert_eq!(prune(TimeDelta::minutes(62)).await, 1);
    assert_eq!(counters(&kit).await, 0);
}

#[tokio::test]
async fn a_counter_is_rewritten_on_its_page() {
    let kit = Kit::with(&StoreOptions {
        connections_max: 1,
        ..StoreOptions::default()
    })
    .await;
    let hour = limit(&kit, "hour", 100, Duration::from_hours(1));
    for n in 0..100 {
        let at = kit.now + TimeDelta::milliseconds(n);
        let rooms = reserve(&kit.store, Some(at), &[vec![claim(1, &hour)]]).await;
        assert_eq!(taken(&rooms.unwrap()), 1);
    }

    let mut reader = kit.store.acquire().await.unwrap();
    sqlx::query("select pg_stat_force_next_flush()")
        .execute(&mut *reader)
        .await
        .unwrap();
    let (updates, hot): (i64, i64) = sqlx::query_as(
        "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables
         where relname = 'limit_counters'",
    )
    .fetch_one(&mut *reader)
    .await
    .unwrap();
    assert_eq!(updates, 100);
    assert!(hot >= 80, "{hot} of 100");
}

#[tokio::test]
async fn a_limit_reads_back_and_every_change_raises_the_revision() {
    let kit = Kit::create().await;
    let tenant = TenantId::default();
    let written = Limit {
        scope: Scope::SlackChannel,
        of: LimitOf {
            channel: Some(Channel::Slack),
            category: Some("ops".into()),
            event_type: Some("disk.full".into()),
            provider: Some("slack_bot".into()),
        },
        when_unavailable: Some(WhenUnavailable::Defer),
        enabled: false,
        ..limit(&kit, "ops", 1_000_000_000, Duration::from_hours(31 * 24))
    };
    let mut tx = kit.store.begin().await.unwrap();
    let before = read_revisions(&mut tx).await.unwrap();
    assert!(lock_limits(&mut tx, &tenant).await.unwrap().is_empty());
    upsert_limit(&mut tx, &tenant, &written).await.unwrap();
    assert_eq!(
        list_limits(&mut tx, &tenant).await.unwrap(),
        std::slice::from_ref(&written)
    );
    assert_eq!(
        read_revisions(&mut tx).await.unwrap().limits,
        before.limits + 1
    );

    let changed = Limit { max: 1, ..written };
    upsert_limit(&mut tx, &tenant, &changed).await.unwrap();
    let all = list_all_limits(&mut tx).await.unwrap();
    assert_eq!(all, BTreeMap::from([(tenant, vec![changed.clone()])]));
    assert!(delete_limit(&mut tx, changed.id).await.unwrap());
    assert!(!delete_limit(&mut tx, changed.id).await.unwrap());
}
