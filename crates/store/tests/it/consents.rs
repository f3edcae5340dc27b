//! Consents: a log of records, of which the latest stands.

use chrono::TimeDelta;
use domain::{Channel, ConsentCategories, Matter, Priority, TenantId, UserId, Verdict};
use store::consents::{Consent, find_consent, list_consents, record_consent};
use store::prepare::{AskAgain, load_for_deliver, load_for_render};
use store::recipients::list_recipients;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::kit::Kit;

fn consent(
    kit: &Kit,
    user: &str,
    category: &str,
    channel: Option<Channel>,
    granted: bool,
) -> Consent {
    Consent {
        consent_id: Uuid::now_v7(),
        at: kit.now,
        superseded_at: None,
        user_id: user.into(),
        category: category.into(),
        channel,
        granted,
        source: Some("form".into()),
        note: None,
        actor: "key:pr_1".into(),
    }
}

/// Whether a mail about `marketing` may be sent to `user`, as routing reads it.
async fn may_mail(kit: &Kit, user: &str) -> bool {
    let mut reader = kit.store.acquire().await.unwrap();
    let (tenant, user) = (TenantId::default(), UserId::from(user));
    let asked = ConsentCategories::default();
    let found = list_recipients(&mut reader, &[(&tenant, &user)], &asked).await;
    let matter = Matter {
        category: Some("marketing"),
        priority: Priority::Normal,
        severity: None,
    };
    found.unwrap()[0].recipient.decide(Channel::Email, &matter) == Verdict::Allowed
}

async fn record(kit: &Kit, consent: &Consent) {
    let mut tx = kit.store.begin().await.unwrap();
    record_consent(&mut tx, &TenantId::default(), consent)
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn the_latest_record_stands_and_the_log_keeps_the_others() {
    let kit = Kit::create().await;
    let tenant = TenantId::default();
    assert!(!may_mail(&kit, "ada").await, "nobody knows her");

    let given = consent(&kit, "ada", "marketing", None, true);
    let withdrawn = Consent {
        at: kit.now + TimeDelta::seconds(1),
        ..consent(&kit, "ada", "marketing", None, false)
    };
    record(&kit, &given).await;
    assert!(may_mail(&kit, "ada").await);
    record(&kit, &withdrawn).await;
    assert!(!may_mail(&kit, "ada").await);
    let of_mail = consent(&kit, "ada", "marketing", Some(Channel::Email), true);
    record(&kit, &of_mail).await;
    assert!(may_mail(&kit, "ada").await);
    let other = consent(&kit, "bob", "news", None, true);
    record(&kit, &other).await;

    let mut reader = kit.store.acquire().await.unwrap();
    let superseded = Consent {
        superseded_at: Some(withdrawn.at),
        ..given
    };
    let ada = UserId::from("ada");
    let log = list_consents(&mut reader, &tenant, Some(&ada), None, None, 10)
        .await
        .unwrap();
    assert_eq!(log, [of_mail, withdrawn.clone(), superseded.clone()]);
    let rest = list_consents(
        &mut reader,
        &tenant,
        None,
        Some("marketing"),
        Some(withdrawn.consent_id),
        10,
    );
    assert_eq!(rest.await.unwrap(), [superseded]);
    let all = list_consents(&mut reader, &tenant, None, None, None, 1)
        .await
        .unwrap();
    assert_eq!(all, [other]);
    let found = find_consent(&mut reader, &"other".into(), withdrawn.consent_id).await;
    assert_eq!(found.unwrap(), None, "of another tenant");
}

#[tokio::test]
async fn records_made_at_once_leave_one_that_stands() {
    let kit = Kit::create().await;
    let mut writers = JoinSet::new();
    for n in 0..8 {
        let store = kit.store.clone();
        let consent = consent(&kit, "ada", "marketing", None, n % 2 == 0);
        writers.spawn(async move {
            let mut tx = store.begin().await.unwrap();
            record_consent(&mut tx, &TenantId::default(), &consent)
                .await
                .unwrap();
            tx.commit().await.unwrap();
        });
    }
    while let Some(written) = writers.join_next().await {
        written.unwrap();
    }

    let (all, standing): (i64, i64) = sqlx::query_as(
        "select count(*), count(*) filter (where superseded_at is null) from consents",
    )
    .fetch_one(kit.store.pool())
    .await
    .unwrap();
    assert_eq!((all, standing), (8, 1));
}

#[tokio::test]
async fn consent_is_asked_again_of_what_has_waited() {
    let kit = Kit::create().await;
    let (id, deliveries) = kit.planned("ada", &[Channel::Email]).await;
    sqlx::query("update notifications set category = 'marketing' where id = $1")
        .bind(id.as_uuid())
        .execute(kit.store.pool())
        .await
        .unwrap();
    let asked = ConsentCategories::default();
    let allows = async || {
        let mut reader = kit.store.acquire().await.unwrap();
        let again = AskAgain {
            waited_since: kit.now,
            asked: &asked,
        };
        let matter = Matter {
            category: Some("marketing"),
            priority: Priority::Normal,
            severity: None,
        };
        let rendered = load_for_render(&mut reader, &deliveries, again)
            .await
            .unwrap();
        let sent = load_for_deliver(&mut reader, &deliveries, Some(again))
            .await
            .unwrap();
        let allows = [rendered[0].wishes.clone(), sent[0].wishes.clone()].map(|wishes| {
            let wishes = wishes.expect("consent is asked for");
            let verdict = wishes
                .preferences
                .decide(Channel::Email, &matter, &wishes.consents);
            verdict == Verdict::Allowed
        });
        assert_eq!(allows[0], allows[1]);
        allows[0]
    };

    assert!(!allows().await);
    record(&kit, &consent(&kit, "ada", "marketing", None, true)).await;
    assert!(allows().await);
    record(&kit, &consent(&kit, "ada", "marketing", None, false)).await;
    assert!(!allows().await);
}
