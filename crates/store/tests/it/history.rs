//! Pages of the history: every combination of filters against a plain one, and what they read.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Channel, NotificationId, Status, TenantId, UserId};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use store::effect::NewNotification;
use store::history::{HistoryFilter, HistoryPage, SCANNED_MAX, list};
use store::notifications::insert_notifications;
use store::reading::{Mark, mark};

use crate::kit::Kit;

/// A notification as the plain filter sees it.
#[derive(Debug, Clone)]
struct Known {
    id: NotificationId,
    user_id: UserId,
    created_at: DateTime<Utc>,
    category: Option<String>,
    status: Status,
    channels: Vec<Channel>,
    is_unread: bool,
    is_archived: bool,
}

fn is_wanted(row: &Known, filter: &HistoryFilter) -> bool {
    let HistoryFilter {
        user_id,
        status,
        channel,
        category,
        is_unread,
        is_archived,
        since,
        until,
    } = filter;
    user_id
        .as_ref()
        .is_none_or(|user_id| row.user_id == *user_id)
        && status.is_none_or(|status| row.status == status)
        && channel.is_none_or(|channel| row.channels.contains(&channel))
        && category
            .as_ref()
            .is_none_or(|category| row.category.as_ref() == Some(category))
        && (!is_unread || row.is_unread)
        && is_archived.is_none_or(|is_archived| row.is_archived == is_archived)
        && since.is_none_or(|since| row.created_at >= since)
        && until.is_none_or(|until| row.created_at < until)
}

async fn page(
    kit: &Kit,
    filter: &HistoryFilter,
    before: Option<NotificationId>,
    limit: usize,
) -> HistoryPage {
    let mut connection = kit.store.acquire().await.unwrap();
    list(&mut connection, &TenantId::default(), filter, before, limit)
        .await
        .unwrap()
}

/// Every item, page by page.
async fn pages(kit: &Kit, filter: &HistoryFilter, limit: usize) -> Vec<NotificationId> {
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = page(kit, filter, before, limit).await;
        assert!(page.items.len() <= limit);
        seen.extend(page.items.iter().map(|item| item.id));
        before = page.next;
        if before.is_none() {
            return seen;
        }
    }
}

/// An id made at a moment that may lie before others of this process.
fn id_at(moment: DateTime<Utc>, rng: &mut StdRng) -> uuid::Uuid {
    let millis = moment.timestamp_millis() as u128;
    uuid::Uuid::from_u128(millis << 80 | u128::from(rng.random::<u64>()))
}

/// One notification of anybody, made `minutes` ago, with one or two deliveries.
async fn make(kit: &Kit, rng: &mut StdRng, minutes: i64) -> Known {
    let created_at = kit.now - TimeDelta::minutes(minutes);
    let user = *["ada", "bob"].choose(rng).unwrap();
    let category = [None, Some("risk".to_owned()), Some("news".to_owned())]
        .choose(rng)
        .unwrap()
        .clone();
    let channels = [
        vec![Channel::InApp],
        vec![Channel::Email],
        vec![Channel::InApp, Channel::Email],
    ]
    .choose(rng)
    .unwrap()
    .clone();
    let mut notification = NewNotification {
        decided: store::effect::Decided::default(),
        id: id_at(created_at, rng).into(),
        created_at,
        category: category.clone(),
        delivery_count: channels.len() as u16,
        ..kit.notification(user)
    };
    notification.status = Status::Queued;
    let id = notification.id;
    let mut effects = vec![store::Effect::NotificationPlanned(Box::new(notification))];
    let mut arrival = None;
    for (position, channel) in (0..).zip(&channels) {
        let mut delivery = kit.delivery(id, user, *channel, position);
        delivery.id = id_at(created_at, rng).into();
        if *channel == Channel::InApp && rng.random_bool(0.8) {
            let store::Effect::InboxArrived(mut arrived) = kit.arrival(id, delivery.id, user)
            else {
                panic!("an arrival is an arrival");
            };
            arrived.is_sole = false;
            arrival = Some(store::Effect::InboxArrived(arrived));
        }
        effects.push(store::Effect::DeliveryPlanned(Box::new(delivery)));
    }
    let has_arrived = arrival.is_some();
    effects.extend(arrival);
    kit.settle(&effects).await;

    let (mut is_unread, mut is_archived) = (has_arrived, false);
    if has_arrived && rng.random_bool(0.5) {
        let what = *[Mark::Read, Mark::Archived].choose(rng).unwrap();
        let mut tx = kit.store.begin().await.unwrap();
        mark(
            &mut tx,
            &TenantId::default(),
            &user.into(),
            &[id],
            what,
            kit.now,
        )
        .await
        .unwrap();
        tx.commit().await.unwrap();
        (is_unread, is_archived) = (false, what == Mark::Archived);
    }
    let status = kit.status(id).await;
    Known {
        id,
        user_id: user.into(),
        created_at,
        category,
        status,
        channels,
        is_unread,
        is_archived,
    }
}

/// Each filter on or off, in every combination.
fn combinations(kit: &Kit) -> Vec<HistoryFilter> {
    let mut filters = vec![HistoryFilter::default()];
    let mut with = |change: &dyn Fn(&mut HistoryFilter)| {
        let changed: Vec<_> = filters
            .iter()
            .cloned()
            .map(|mut filter| {
                change(&mut filter);
                filter
            })
            .collect();
        filters.extend(changed);
    };
    with(&|filter| filter.user_id = Some("ada".into()));
    with(&|filter| filter.status = Some(Status::Delivered));
    with(&|filter| filter.channel = Some(Channel::Email));
    with(&|filter| filter.category = Some("risk".to_owned()));
    with(&|filter| filter.is_unread = true);
    with(&|filter| filter.is_archived = Some(false));
    with(&|filter| filter.since = Some(kit.now - TimeDelta::minutes(50)));
    with(&|filter| filter.until = Some(kit.now - TimeDelta::minutes(10)));
    let mut archived = HistoryFilter {
        is_archived: Some(true),
        ..HistoryFilter::default()
    };
    filters.push(archived.clone());
    archived.user_id = Some("ada".into());
    filters.push(archived);
    filters
}

#[tokio::test]
async fn every_combination_of_filters_shows_what_a_plain_one_would() {
    let kit = Kit::create().await;
    let mut rng = StdRng::seed_from_u64(11);
    let mut known = Vec::new();
    for minutes in (0..60).rev() {
        for _ in 0..2 {
            known.push(make(&kit, &mut rng, minutes).await);
        }
    }
    known.sort_by_key(|row| std::cmp::Reverse(row.id));

    let mut answers = HashSet::new();
    for filter in combinations(&kit) {
        let wanted: Vec<_> = known
            .iter()
            .filter(|row| is_wanted(row, &filter))
            .map(|row| row.id)
            .collect();
        for limit in [3, 1000] {
            assert_eq!(pages(&kit, &filter, limit).await, wanted, "{filter:?}");
        }
        answers.insert(wanted);
    }
    // Otherwise the filters had nothing to tell apart.
    assert!(answers.len() > 100, "{}", answers.len());
}

#[tokio::test]
async fn a_page_of_exactly_the_limit_knows_whether_more_follow() {
    let kit = Kit::create().await;
    let rows: Vec<_> = (0..1001).map(|_| kit.notification("ada")).collect();
    let mut tx = kit.store.begin().await.unwrap();
    insert_notifications(&mut tx, &rows).await.unwrap();
    tx.commit().await.unwrap();

    let filter = HistoryFilter::default();
    let first = page(&kit, &filter, None, 1000).await;
    let second = page(&kit, &filter, first.next, 1000).await;

    assert_eq!((first.items.len(), second.items.len()), (1000, 1));
    assert_eq!(second.items[0].id, rows[0].id);
    assert_eq!(second.next, None);
}

/// Many rows of other users and of another tenant around few of ada's.
async fn crowd(kit: &Kit, rows: i64) {
    sqlx::query(
        "insert into notifications (id, created_at, tenant_id, user_id, type, category, status)
         select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0')
                 || '7' || lpad(to_hex(n % 4096), 3, '0') || '8000' || lpad(to_hex(n), 12, '0'))::uuid,
                at,
                case when n % 10 = 0 then 'other' else 'default' end,
                case when n % 100 = 51 then 'ada' else 'u' || n % 97 end,
                'crowd', 'news', 'delivered'
         from generate_series(1, $1::bigint) as n,
              lateral (select $2::timestamptz - n * interval '1 second' as at) as moment",
    )
    .bind(rows)
    .bind(kit.now)
    .execute(kit.store.pool())
    .await
    .unwrap();
}

/// Sequential scans of notifications, and rows of them read by an index, so far in this session.
async fn counters(connection: &mut store::Connection) -> (i64, i64) {
    sqlx::query_as(
        "select coalesce(sum(seq_scan), 0)::bigint, coalesce(sum(idx_tup_fetch), 0)::bigint
         from pg_stat_xact_user_tables where relname like 'notifications_%'",
    )
    .fetch_one(connection)
    .await
    .unwrap()
}

/// What the first page of `filter` read: scans, rows, and the page itself.
async fn read_by(
    kit: &Kit,
    tenant: &str,
    filter: &HistoryFilter,
    limit: usize,
) -> (i64, i64, HistoryPage) {
    let mut tx = kit.store.begin().await.unwrap();
    let before = counters(&mut tx).await;
    let page = list(&mut tx, &tenant.into(), filter, None, limit)
        .await
        .unwrap();
    let after = counters(&mut tx).await;
    tx.rollback().await.unwrap();
    (after.0 - before.0, after.1 - before.1, page)
}

#[tokio::test]
async fn no_filter_of_one_user_reads_the_rows_of_another() {
    let kit = Kit::create().await;
    crowd(&kit, 5000).await;
    sqlx::query("analyze")
        .execute(kit.store.pool())
        .await
        .unwrap();

    for mut filter in combinations(&kit) {
        filter.user_id = Some("ada".into());
        let (scans, rows, _) = read_by(&kit, "default", &filter, 1000).await;
        assert_eq!(scans, 0, "{filter:?}");
        // Those of ada, and again where a page has to see whether it came to the end.
        assert!(rows <= 2 * 50, "{rows} rows for {filter:?}");
    }
    let all = HistoryFilter {
        user_id: Some("ada".into()),
        ..HistoryFilter::default()
    };
    let (_, rows, page) = read_by(&kit, "default", &all, 10).await;
    assert_eq!(page.items.len(), 10);
    assert!(rows <= 11, "{rows} rows for a page of ten");
}

#[tokio::test]
async fn a_tenants_page_looks_at_a_bounded_number_of_rows_and_says_where_to_go_on() {
    let kit = Kit::create().await;
    crowd(&kit, 25_000).await;
    sqlx::query("analyze")
        .execute(kit.store.pool())
        .await
        .unwrap();
    let rare = HistoryFilter {
        status: Some(Status::Failed),
        ..HistoryFilter::default()
    };

    let (scans, rows, nothing) = read_by(&kit, "default", &rare, 50).await;
    assert_eq!((scans, nothing.items.len()), (0, 0));
    assert!(nothing.next.is_some());
    // Once for the page and once to see where it ended; the planner may go by the primary key, and
    // meet a tenth of the rows in vain.
    assert!(rows <= 2 * SCANNED_MAX * 12 / 10, "{rows} rows");

    sqlx::query(
        "update notifications set status = 'failed'
         where id = (select id from notifications where tenant_id = 'default' order by id limit 1)",
    )
    .execute(kit.store.pool())
    .await
    .unwrap();
    assert_eq!(pages(&kit, &rare, 50).await.len(), 1);

    // Of another tenant a page meets little but its own rows.
    let all = HistoryFilter::default();
    let (_, rows, other) = read_by(&kit, "other", &all, 10).await;
    assert_eq!(other.items.len(), 10);
    assert!(rows <= 200, "{rows} rows");
}
