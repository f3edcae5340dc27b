//! Looking notifications up: pages, filters, and what jobs load.

use chrono::TimeDelta;
use domain::{Channel, NotificationId, Priority, Status, TenantId, UserId};
use serde_json::json;
use store::effect::NewNotification;
use store::history::{HistoryFilter, list};
use store::notifications::{find_notification, insert_notifications, list_notifications_by_id};
use store::prepare::{AskAgain, load_for_deliver, load_for_render};

use crate::kit::{Kit, rendered};

async fn page(kit: &Kit, filter: HistoryFilter) -> Vec<NotificationId> {
    let mut connection = kit.store.acquire().await.unwrap();
    let tenant = TenantId::default();
    let page = list(&mut connection, &tenant, &filter, None, 50)
        .await
        .unwrap();
    page.items.into_iter().map(|row| row.id).collect()
}

async fn insert(kit: &Kit, rows: &[NewNotification]) {
    let mut tx = kit.store.begin().await.unwrap();
    insert_notifications(&mut tx, rows).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_direct_send_is_read_back_as_it_was_asked_for() {
    let kit = Kit::create().await;
    let asked = NewNotification {
        decided: store::effect::Decided::default(),
        channels: Some(vec![Channel::Email, Channel::InApp]),
        priority: Priority::High,
        subject: Some("Subject".into()),
        content: Some("Content".into()),
        data: Some(json!({"email": "ada@example.com"})),
        expires_at: Some(kit.now + TimeDelta::hours(1)),
        ..kit.notification("ada")
    };
    insert(&kit, &[asked.clone(), kit.notification("bob")]).await;

    let mut connection = kit.store.acquire().await.unwrap();
    let found = list_notifications_by_id(&mut connection, &[asked.id])
        .await
        .unwrap();

    assert_eq!(found.len(), 1);
    assert_eq!(found[0].channels, asked.channels);
    assert_eq!(found[0].data, asked.data);
    assert_eq!(found[0].expires_at, asked.expires_at);
    assert_eq!(found[0].priority, Priority::High);
}

#[tokio::test]
async fn a_notification_of_another_tenant_is_not_there() {
    let kit = Kit::create().await;
    let row = kit.notification("ada");
    insert(&kit, std::slice::from_ref(&row)).await;

    let mut connection = kit.store.acquire().await.unwrap();
    let own = find_notification(&mut connection, &TenantId::default(), row.id)
        .await
        .unwrap();
    let foreign = find_notification(&mut connection, &"other".into(), row.id)
        .await
        .unwrap();

    assert_eq!(own.unwrap().id, row.id);
    assert_eq!(foreign, None);
}

#[tokio::test]
async fn pages_go_from_the_newest_back_without_repeats() {
    let kit = Kit::create().await;
    let rows: Vec<_> = (0..5).map(|_| kit.notification("ada")).collect();
    insert(&kit, &rows).await;
    let mut connection = kit.store.acquire().await.unwrap();

    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let tenant = TenantId::default();
        let filter = HistoryFilter::default();
        let page = list(&mut connection, &tenant, &filter, before, 2)
            .await
            .unwrap();
        seen.extend(page.items.into_iter().map(|row| row.id));
        before = page.next;
        if before.is_none() {
            break;
        }
    }

    let newest_first: Vec<_> = rows.iter().rev().map(|row| row.id).collect();
    assert_eq!(seen, newest_first);
}

#[tokio::test]
async fn filters_leave_out_what_does_not_match() {
    let kit = Kit::create().await;
    let ada = kit.arrived("ada", "Hello").await;
    let (bob, _) = kit.planned("bob", &[Channel::Email]).await;
    let old = NewNotification {
        decided: store::effect::Decided::default(),
        category: Some("risk".into()),
        created_at: kit.now - TimeDelta::hours(2),
        ..kit.notification("eve")
    };
    insert(&kit, std::slice::from_ref(&old)).await;
    let all = HistoryFilter::default;

    let of_user = HistoryFilter {
        user_id: Some(UserId::from("bob")),
        ..all()
    };
    assert_eq!(page(&kit, of_user).await, [bob]);
    let of_status = HistoryFilter {
        status: Some(Status::Delivered),
        ..all()
    };
    assert_eq!(page(&kit, of_status).await, [ada]);
    let of_channel = HistoryFilter {
        channel: Some(Channel::Email),
        ..all()
    };
    assert_eq!(page(&kit, of_channel).await, [bob]);
    let of_category = HistoryFilter {
        category: Some("risk".into()),
        ..all()
    };
    assert_eq!(page(&kit, of_category).await, [old.id]);
    let recent = HistoryFilter {
        since: Some(kit.now),
        ..all()
    };
    assert_eq!(page(&kit, recent).await, [bob, ada]);
    let earlier = HistoryFilter {
        until: Some(kit.now),
        ..all()
    };
    assert_eq!(page(&kit, earlier).await, [old.id]);
    let unread = HistoryFilter {
        is_unread: true,
        ..all()
    };
    assert_eq!(page(&kit, unread).await, [ada]);
}

/// Asks again of what has waited since then, and for no consent.
fn again(waited_since: chrono::DateTime<chrono::Utc>) -> AskAgain<'static> {
    static NOTHING: std::sync::LazyLock<domain::ConsentCategories> =
        std::sync::LazyLock::new(domain::ConsentCategories::none);
    AskAgain {
        waited_since,
        asked: &NOTHING,
    }
}

#[tokio::test]
async fn rendering_and_sending_load_what_they_need() {
    let kit = Kit::create().await;
    let (_, sole) = kit.planned("ada", &[Channel::InApp]).await;
    let (_, both) = kit.planned("bob", &[Channel::Email, Channel::InApp]).await;
    let effects: Vec<_> = sole
        .iter()
        .chain(&both)
        .map(|id| rendered(*id, "Hi"))
        .collect();
    kit.settle(&effects).await;
    let mut connection = kit.store.acquire().await.unwrap();

    let ids = [sole[0], both[0], both[1], domain::DeliveryId::at(kit.now)];
    let to_render = load_for_render(&mut connection, &ids, again(kit.now))
        .await
        .unwrap();
    let to_deliver = load_for_deliver(&mut connection, &ids, None).await.unwrap();

    assert_eq!((to_render.len(), to_deliver.len()), (3, 3));
    for row in to_deliver {
        assert_eq!(row.is_sole, row.id == sole[0]);
        assert_eq!(
            row.message.is_some(),
            row.channel == Channel::Email,
            "{row:?}"
        );
    }
}

/// What is asked of whom is decided by the statement, so that a claim reads no more than it needs.
#[tokio::test]
async fn wishes_are_read_of_what_has_waited_and_of_no_test() {
    let kit = Kit::create().await;
    let (_, late) = kit.planned("ada", &[Channel::Email]).await;
    let (test, tested) = kit.planned("ada", &[Channel::Email]).await;
    let (_, silent) = kit.planned("bob", &[Channel::Email]).await;
    let mut connection = kit.store.acquire().await.unwrap();
    let (tenant, ada) = ("default".into(), "ada".into());
    let said = domain::Preferences::parse(serde_json::json!({"min_severity": "high"})).unwrap();
    store::preferences::upsert_preferences(&mut connection, &tenant, &ada, &said, kit.now)
        .await
        .unwrap();
    sqlx::query("insert into users (tenant_id, user_id, timezone) values ($1, $2, $3)")
        .bind("default")
        .bind("ada")
        .bind("Asia/Tokyo")
        .execute(&mut *connection)
        .await
        .unwrap();
    sqlx::query("update notifications set is_test = true where id = $1")
        .bind(test.as_uuid())
        .execute(&mut *connection)
        .await
        .unwrap();
    let ids = [late[0], tested[0], silent[0]];

    let fresh = kit.now - chrono::TimeDelta::minutes(1);
    for row in load_for_deliver(&mut connection, &ids, Some(again(fresh)))
        .await
        .unwrap()
    {
        assert_eq!(row.wishes, None, "nobody is asked again at once");
    }
    for row in load_for_deliver(&mut connection, &ids, None).await.unwrap() {
        assert_eq!(row.wishes, None);
    }
    let waited = load_for_deliver(&mut connection, &ids, Some(again(kit.now))).await;
    let rendered = load_for_render(&mut connection, &ids, again(kit.now)).await;
    let waited = waited.unwrap().into_iter().map(|row| (row.id, row.wishes));
    let rendered = rendered
        .unwrap()
        .into_iter()
        .map(|row| (row.id, row.wishes));
    for (id, wishes) in waited.chain(rendered) {
        assert_eq!(wishes.is_some(), id == late[0]);
        if let Some(wishes) = wishes {
            assert_eq!(wishes.preferences, said);
            assert_eq!(wishes.timezone.as_deref(), Some("Asia/Tokyo"));
        }
    }
}
