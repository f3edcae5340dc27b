//! One process's copy of the templates: as new as its revision, texts only where they are needed.

use ::render::Templates;
use chrono::TimeDelta;
use domain::{Channel, TenantId};
use queue::Clock;
use serde_json::{Value, json};
use store::templates::{
    NewTemplate, Saved, TemplateRef, VersionRef, create_template, remove_template, replace_template,
};
use store::{Store, StoreOptions};
use testkit::TestDatabase;
use workers::Catalog;

struct Shop {
    store: Store,
    /// Dropped last, when nothing uses it any more.
    _database: TestDatabase,
}

fn catalog() -> Catalog {
    Catalog::new(Templates::builtin().unwrap())
}

fn row(name: &str, text: &str) -> NewTemplate {
    NewTemplate {
        name: name.into(),
        description: None,
        category: None,
        channels: vec![Channel::Sms],
        locales: vec![],
        tags: vec![],
        enabled: true,
        body: json!({"name": name, "channels": {"sms": {"body": text}}}),
        actor: "key:pr_x".into(),
        at: Clock::system().now(),
    }
}

fn version(name: &str, version: u32) -> VersionRef {
    VersionRef {
        tenant_id: TenantId::default(),
        key: name.into(),
        version,
    }
}

impl Shop {
    async fn open() -> Self {
        let database = TestDatabase::create().await;
        let store = Store::connect(database.url(), &StoreOptions::default())
            .await
            .unwrap();
        Self {
            store,
            _database: database,
        }
    }

    async fn create(&self, name: &str, text: &str) {
        let mut tx = self.store.begin().await.unwrap();
        let id = queue::uuid_at(Clock::system().now());
        let saved = create_template(&mut tx, &TenantId::default(), id, row(name, text)).await;
        assert!(matches!(saved.unwrap(), Saved::Done(_)));
        tx.commit().await.unwrap();
    }

    async fn replace(&self, name: &str, new: NewTemplate) {
        let mut tx = self.store.begin().await.unwrap();
        let by = TemplateRef::parse(name);
        let stored = replace_template(&mut tx, &TenantId::default(), &by, new).await;
        assert!(stored.unwrap().is_some());
        tx.commit().await.unwrap();
    }

    /// The version of a template that a process uses after another look.
    async fn used_by(&self, catalog: &Catalog, name: &str) -> Option<u32> {
        let mut conn = self.store.acquire().await.unwrap();
        let shelf = catalog.current(&mut conn).await.unwrap();
        shelf.template_names(&TenantId::default()).version_of(name)
    }

    /// The text of a version, as a process has it.
    async fn text(&self, catalog: &Catalog, wanted: &VersionRef) -> Result<Value, String> {
        let mut conn = self.store.acquire().await.unwrap();
        let pinned = catalog.pinned(&mut conn, std::slice::from_ref(wanted));
        let template = pinned.await.unwrap().get(wanted);
        let template = template.map_err(|error| error.to_string())?;
        Ok(template.body().channels[&Channel::Sms]["body"].clone())
    }
}

#[tokio::test]
async fn a_change_is_seen_by_another_process_when_it_looks_again() {
    let shop = Shop::open().await;
    let (one, other) = (catalog(), catalog());
    assert_eq!(shop.used_by(&one, "news").await, None);

    shop.create("news", "one").await;
    assert_eq!(shop.used_by(&one, "NEWS").await, Some(1));
    assert_eq!(shop.used_by(&other, "news").await, Some(1));
    let before = one.latest();
    shop.replace("news", row("news", "two")).await;
    assert_eq!(shop.used_by(&one, "news").await, Some(2));
    // What was decided on the old snapshot goes on with it.
    let names = before.template_names(&TenantId::default());
    assert_eq!(names.version_of("news"), Some(1));

    let disabled = NewTemplate {
        enabled: false,
        ..row("news", "three")
    };
    shop.replace("news", disabled).await;
    assert_eq!(shop.used_by(&other, "news").await, None);
}

#[tokio::test]
async fn a_pinned_version_is_rendered_whatever_became_of_its_template() {
    let shop = Shop::open().await;
    let catalog = catalog();
    shop.create("news", "one").await;
    shop.replace("news", row("news", "two")).await;
    let mut tx = shop.store.begin().await.unwrap();
    let by = TemplateRef::parse("news");
    let now = Clock::system().now();
    let removed = remove_template(&mut tx, &TenantId::default(), &by, now).await;
    assert!(removed.unwrap().is_some());
    tx.commit().await.unwrap();
    assert_eq!(shop.used_by(&catalog, "news").await, None);

    assert_eq!(
        shop.text(&catalog, &version("news", 1)).await,
        Ok(json!("one"))
    );
    assert_eq!(
        shop.text(&catalog, &version("news", 2)).await,
        Ok(json!("two"))
    );
    let gone = shop.text(&catalog, &version("news", 3)).await.unwrap_err();
    assert_eq!(gone, "version 3 of template `news` is gone");
    // What ships is there without being stored.
    let shipped = version("plain", 0);
    let mut conn = shop.store.acquire().await.unwrap();
    let pinned = catalog.pinned(&mut conn, std::slice::from_ref(&shipped));
    assert_eq!(pinned.await.unwrap().get(&shipped).unwrap().name(), "plain");
}

#[tokio::test]
async fn a_version_that_does_not_compile_any_more_fails_alone() {
    let shop = Shop::open().await;
    let catalog = catalog();
    shop.create("good", "fine").await;
    shop.create("bad", "{{ no | such_filter").await;
    let wanted = [version("good", 1), version("bad", 1)];

    let mut conn = shop.store.acquire().await.unwrap();
    let pinned = catalog.pinned(&mut conn, &wanted).await.unwrap();

    assert!(pinned.get(&wanted[0]).is_ok());
    let error = pinned.get(&wanted[1]).unwrap_err().to_string();
    assert!(
        error.starts_with("version 1 of template `bad` does not compile any more: /channels/sms"),
        "{error}"
    );
}

#[tokio::test]
async fn many_changes_are_loaded_page_by_page() {
    let shop = Shop::open().await;
    let catalog = catalog();
    let mut conn = shop.store.acquire().await.unwrap();
    sqlx::query(
        "with raised as (
             update revisions set revision = 2500 where kind = 'templates' returning 1
         )
         insert into templates (template_id, tenant_id, name, key, channels, locales, tags,
                                enabled, version, revision)
         select gen_random_uuid(), 'default', 'n' || n, 'n' || n, '{sms}', '{}', '{}', true, 1, n
         from generate_series(1, 2500) as n, raised",
    )
    .execute(&mut *conn)
    .await
    .unwrap();
    drop(conn);

    for name in ["n1", "n1000", "n1001", "n2500"] {
        assert_eq!(shop.used_by(&catalog, name).await, Some(1), "{name}");
    }
}

#[test]
fn one_of_many_looks_again_when_the_last_look_is_old() {
    let catalog = catalog();
    let (now, age) = (Clock::system().now(), TimeDelta::milliseconds(500));

    assert!(catalog.begin_look(now, age));
    assert!(!catalog.begin_look(now + age, age));
    let later = now + age + TimeDelta::milliseconds(1);
    assert!(catalog.begin_look(later, age));
    assert!(!catalog.begin_look(later, age));
    // Of a clock that was set back.
    assert!(catalog.begin_look(now - TimeDelta::hours(1), age));
}
