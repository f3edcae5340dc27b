//! The counts say what counting the rows would say, whatever happened to them.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use domain::{Channel, DeliveryId, NotificationId, Priority, Status, TenantId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::Row;
use store::Effect;
use store::replay::{Reopened, reopen_deliveries};
use store::stats::{Window, counts, fold, prune};

use crate::kit::Kit;

type Table = BTreeMap<(String, String, String), i64>;

fn window(kit: &Kit) -> Window {
    Window {
        tenant_id: Some(TenantId::default()),
        since: kit.now - TimeDelta::days(1),
        until: kit.now + TimeDelta::days(1),
    }
}

/// What the counts say.
async fn counted(kit: &Kit, window: &Window) -> Table {
    let mut connection = kit.store.acquire().await.unwrap();
    let rows = counts(&mut connection, window).await.unwrap();
    let words = rows.into_iter().map(|row| {
        let channel = row
            .channel
            .map_or("", |channel| channel.as_str())
            .to_owned();
        let status = row
            .status
            .map_or("planned", |status| status.as_str())
            .to_owned();
        (
            (channel, row.priority.as_str().to_owned(), status),
            row.count,
        )
    });
    words.collect()
}

/// What the rows say.
async fn in_rows(kit: &Kit) -> Table {
    let rows = sqlx::query(
        "with real as (select * from notifications where not is_test),
              delivery as (select channel, priority, deliveries.status from deliveries
                           join real on real.id = notification_id)
         select channel, priority, status, count(*) from delivery
         where status in ('sent', 'failed', 'cancelled', 'suppressed', 'expired', 'delivered')
         group by 1, 2, 3
         union all
         select channel, priority, 'planned', count(*) from delivery group by 1, 2
         union all
         select '', priority, 'planned', count(*) from real group by 2",
    )
    .fetch_all(kit.store.pool())
    .await
    .unwrap();
    let table = rows
        .into_iter()
        .map(|row| ((row.get(0), row.get(1), row.get(2)), row.get(3)));
    table.collect()
}

fn one_of<T: Copy>(rng: &mut StdRng, items: &[T]) -> T {
    items[rng.random_range(0..items.len())]
}

/// A notification with one to three deliveries; some are suppressed from the start.
fn plan(kit: &Kit, rng: &mut StdRng) -> (Vec<Effect>, NotificationId, Vec<DeliveryId>) {
    let mut notification = kit.notification("ada");
    notification.priority = one_of(rng, &Priority::ALL);
    notification.is_test = rng.random_bool(0.2);
    let id = notification.id;
    let deliveries: Vec<_> = (0..rng.random_range(1..=3))
        .map(|position| {
            let channel = one_of(rng, &[Channel::Email, Channel::Sms, Channel::Push]);
            let mut delivery = kit.delivery(id, "ada", channel, position);
            delivery.status = one_of(rng, &[Status::Queued, Status::Queued, Status::Suppressed]);
            delivery
        })
        .collect();
    notification.delivery_count = deliveries.len() as u16;
    let ids = deliveries.iter().map(|row| row.id).collect();
    let mut effects = vec![Effect::NotificationPlanned(Box::new(notification))];
    effects.extend(
        deliveries
            .into_iter()
            .map(|row| Effect::DeliveryPlanned(Box::new(row))),
    );
    (effects, id, ids)
}

/// One settlement of plans and moves, most of them allowed by the lattice.
fn settlement(kit: &Kit, rng: &mut StdRng, open: &mut Vec<DeliveryId>) -> Vec<Effect> {
    let mut effects = Vec::new();
    for _ in 0..rng.random_range(0..4) {
        let (planned, _, ids) = plan(kit, rng);
        effects.extend(planned);
        open.extend(ids);
    }
    for _ in 0..rng.random_range(0..6) {
        if open.is_empty() {
            break;
        }
        let id = open[rng.random_range(0..open.len())];
        let status = one_of(
            rng,
            &[
                Status::Retrying,
                Status::Sent,
                Status::Failed,
                Status::Delivered,
                Status::Cancelled,
                Status::Expired,
            ],
        );
        effects.push(kit.moved(id, status));
    }
    effects
}

async fn reopen(kit: &Kit, id: DeliveryId) {
    let mut tx = kit.store.begin().await.unwrap();
    let reopened = Reopened {
        delivery_id: id,
        job_id: id.as_uuid(),
    };
    reopen_deliveries(&mut tx, &[reopened], kit.now)
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn counts_equal_the_rows_after_any_settlements_replays_and_rollbacks() {
    for seed in 0..4 {
        let kit = Kit::create().await;
        let mut rng = StdRng::seed_from_u64(seed);
        let mut deliveries = Vec::new();
        for _ in 0..40 {
            let known = deliveries.len();
            let effects = settlement(&kit, &mut rng, &mut deliveries);
            if rng.random_bool(0.2) {
                // Fenced off at the last moment: nothing of it is there, and nothing counted.
                let mut tx = kit.store.begin().await.unwrap();
                store::settlement::apply(&mut tx, &effects).await.unwrap();
                tx.rollback().await.unwrap();
                deliveries.truncate(known);
            } else {
                kit.settle(&effects).await;
            }
            if !deliveries.is_empty() && rng.random_bool(0.3) {
                reopen(&kit, deliveries[rng.random_range(0..deliveries.len())]).await;
            }
        }

        let table = counted(&kit, &window(&kit)).await;
        assert!(table.len() > 10, "{table:?}");
        assert_eq!(table, in_rows(&kit).await, "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settlements_and_folding_at_once_lose_no_count() {
    let kit = std::sync::Arc::new(Kit::create().await);
    let mut tasks = tokio::task::JoinSet::new();
    for seed in 0..8 {
        let kit = std::sync::Arc::clone(&kit);
        tasks.spawn(async move {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut deliveries = Vec::new();
            for _ in 0..25 {
                let effects = settlement(&kit, &mut rng, &mut deliveries);
                kit.settle(&effects).await;
            }
        });
    }
    // Somebody whose clock is hours ahead folds the very rows that are counted on.
    let folding = std::sync::Arc::clone(&kit);
    tasks.spawn(async move {
        for _ in 0..40 {
            let mut tx = folding.store.begin().await.unwrap();
            fold(&mut tx, folding.now + TimeDelta::hours(4))
                .await
                .unwrap();
            tx.commit().await.unwrap();
        }
    });
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }

    assert_eq!(counted(&kit, &window(&kit)).await, in_rows(&kit).await);
}

#[tokio::test]
async fn folding_changes_no_sum_and_later_changes_are_folded_too() {
    let kit = Kit::create().await;
    let mut rng = StdRng::seed_from_u64(7);
    let mut deliveries = Vec::new();
    for _ in 0..10 {
        let effects = settlement(&kit, &mut rng, &mut deliveries);
        kit.settle(&effects).await;
    }
    let later = kit.now + TimeDelta::hours(4);
    let folded = async || {
        let mut tx = kit.store.begin().await.unwrap();
        let rows = fold(&mut tx, later).await.unwrap();
        tx.commit().await.unwrap();
        rows
    };

    assert!(folded().await > 0);
    assert_eq!(folded().await, 0);
    assert_eq!(counted(&kit, &window(&kit)).await, in_rows(&kit).await);

    let effects: Vec<_> = deliveries
        .iter()
        .map(|id| kit.moved(*id, Status::Failed))
        .collect();
    kit.settle(&effects).await;
    assert!(folded().await > 0);
    assert_eq!(counted(&kit, &window(&kit)).await, in_rows(&kit).await);
}

#[tokio::test]
async fn a_window_begins_with_an_hour_where_minutes_are_not_kept() {
    let kit = Kit::create().await;
    let (effects, ..) = plan(&kit, &mut StdRng::seed_from_u64(3));
    kit.settle(&effects).await;
    let all = in_rows(&kit).await;
    let of = async |since: TimeDelta, until: TimeDelta, now: TimeDelta| {
        let window = Window {
            since: kit.now + since,
            until: kit.now + until,
            ..window(&kit)
        };
        counted(&kit, &window.aligned(kit.now + now)).await
    };
    let (minute, none) = (TimeDelta::minutes(1), TimeDelta::zero());

    assert_eq!(of(-minute * 2, none, none).await, all);
    assert_eq!(of(-minute * 3, -minute * 2, none).await, Table::new());
    assert_eq!(of(minute * 2, minute * 3, none).await, Table::new());

    let later = TimeDelta::hours(4);
    let mut tx = kit.store.begin().await.unwrap();
    fold(&mut tx, kit.now + later).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(of(none, minute, later).await, all);
}

#[tokio::test]
async fn another_tenant_counts_nothing_and_the_installation_counts_everybody() {
    let kit = Kit::create().await;
    let (effects, ..) = plan(&kit, &mut StdRng::seed_from_u64(1));
    kit.settle(&effects).await;

    let foreign = Window {
        tenant_id: Some("other".into()),
        ..window(&kit)
    };
    let installation = Window {
        tenant_id: None,
        ..window(&kit)
    };

    assert_eq!(counted(&kit, &foreign).await, Table::new());
    assert_eq!(counted(&kit, &installation).await, in_rows(&kit).await);
}

#[tokio::test]
async fn old_hours_are_removed_and_younger_ones_kept() {
    let kit = Kit::create().await;
    let (effects, ..) = plan(&kit, &mut StdRng::seed_from_u64(1));
    kit.settle(&effects).await;
    let mut tx = kit.store.begin().await.unwrap();
    fold(&mut tx, kit.now + TimeDelta::hours(4)).await.unwrap();

    assert_eq!(
        prune(&mut tx, kit.now - TimeDelta::hours(2)).await.unwrap(),
        0
    );
    assert!(prune(&mut tx, kit.now + TimeDelta::hours(1)).await.unwrap() > 0);
    tx.commit().await.unwrap();

    assert_eq!(counted(&kit, &window(&kit)).await, Table::new());
}
