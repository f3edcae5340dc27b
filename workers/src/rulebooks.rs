//! Rule books: the rules of every tenant, compiled from what has changed.

use std::collections::HashMap;
use std::sync::Arc;

use domain::{Rule, RuleBook, RuleSubmission, TenantId};
use store::rules::{KnownRule, load_changed};
use store::{Connection, StoreError};
use tracing::warn;

/// The book of each tenant that has rules.
pub(crate) type Books = HashMap<TenantId, Arc<RuleBook>>;

/// Loads what has changed after `revision`, and compiles it.
pub(crate) async fn load(
    connection: &mut Connection,
    revision: i64,
    before: &Books,
) -> Result<Books, StoreError> {
    let known = load_changed(connection, revision).await?;
    let before = before.clone();
    // Thousands of expressions take seconds, in which this thread has other things to do.
    let compiled = tokio::task::spawn_blocking(move || compile(known, &before)).await;
    compiled.map_err(|error| StoreError::Inconsistent {
        table: "rules",
        detail: error.to_string(),
    })
}

fn compile(known: Vec<KnownRule>, before: &Books) -> Books {
    let mut of_tenants: HashMap<TenantId, Vec<KnownRule>> = HashMap::new();
    for rule in known {
        let tenant = rule.tenant_id.clone();
        of_tenants.entry(tenant).or_default().push(rule);
    }
    let book = |(tenant, known): (TenantId, Vec<KnownRule>)| {
        let before = before.get(&tenant);
        let book = match before {
            Some(book) if is_as_known(book, &known) => Arc::clone(book),
            _ => Arc::new(compile_book(known, before.map(AsRef::as_ref))),
        };
        (tenant, book)
    };
    of_tenants.into_iter().map(book).collect()
}

fn is_as_known(book: &RuleBook, known: &[KnownRule]) -> bool {
    let has = |known: &KnownRule| {
        book.rule(known.rule_id)
            .is_some_and(|rule| rule.version == known.version)
    };
    book.rules().count() == known.len() && known.iter().all(has)
}

fn compile_book(known: Vec<KnownRule>, before: Option<&RuleBook>) -> RuleBook {
    let read = |known: KnownRule| match known.body {
        Some(body) => read(known.rule_id, known.version, body),
        // It has not changed; what could not be read then cannot be read now.
        None => before?.rule(known.rule_id).map(|rule| Rule::clone(rule)),
    };
    let book = RuleBook::compile(known.into_iter().filter_map(read).collect(), before);
    for (rule, problem) in book.broken() {
        warn!(rule_id = %rule.id, %problem, "a rule does not compile and never matches");
    }
    book
}

/// Reads a stored rule. One that another version wrote must not stop the others.
fn read(id: domain::RuleId, version: i64, body: serde_json::Value) -> Option<Rule> {
    match RuleSubmission::of_stored(body) {
        Ok(rule) => Some(rule.into_rule(id, version)),
        Err(errors) => {
            let field = errors.first().map_or("", |error| error.pointer.as_str());
            warn!(rule_id = %id, field, "a stored rule cannot be read and is left out");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::RuleId;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    fn known(tenant: &str, id: u128, version: i64, body: Option<Value>) -> KnownRule {
        KnownRule {
            tenant_id: tenant.into(),
            rule_id: RuleId::from(Uuid::from_u128(id)),
            version,
            body,
        }
    }

    fn body(name: &str) -> Value {
        json!({"name": name, "channels": ["email"]})
    }

    fn names(books: &Books, tenant: &str) -> Vec<String> {
        let book = &books[&TenantId::from(tenant)];
        book.rules().map(|rule| rule.name.clone()).collect()
    }

    #[test]
    fn a_book_is_made_again_only_if_a_rule_of_its_tenant_changed() {
        let first = vec![
            known("a", 1, 1, Some(body("one"))),
            known("a", 2, 1, Some(body("two"))),
            known("b", 3, 1, Some(body("three"))),
            known("c", 4, 1, Some(body("four"))),
        ];
        let before = compile(first, &Books::new());
        let then = vec![
            known("a", 1, 1, None),
            known("a", 2, 2, Some(body("zwei"))),
            known("b", 3, 1, None),
        ];
        let after = compile(then, &before);

        assert_eq!(names(&after, "a"), ["one", "zwei"]);
        let b = TenantId::from("b");
        assert!(Arc::ptr_eq(&before[&b], &after[&b]));
        assert!(!after.contains_key(&TenantId::from("c")));
    }

    #[test]
    fn a_rule_that_cannot_be_read_is_left_out_and_the_others_stay() {
        let foreign = Some(json!({"name": "odd", "channels": ["pigeon"]}));
        let first = vec![
            known("a", 1, 1, foreign),
            known("a", 2, 1, Some(body("two"))),
        ];
        let books = compile(first, &Books::new());
        assert_eq!(names(&books, "a"), ["two"]);
        let again = vec![known("a", 1, 1, None), known("a", 2, 1, None)];
        assert_eq!(names(&compile(again, &books), "a"), ["two"]);
    }
}
