//! The templates that direct sends name: a send that none fits is refused at the door, for it would
//! only fail later, out of sight.
//!
//! The door looks at what this process knows, which is as new as its own changes and at most half a
//! second older than those of others. Before it refuses a name it looks again.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::TimeDelta;
use domain::{FieldError, NotificationSubmission, TenantId};
use render::Template;
use serde_json::Value;
use store::templates::VersionRef;
use workers::Shelf;

use crate::api::error::ApiError;
use crate::app::App;
use crate::templates::misfits;

/// How old what the door knows may be.
const AGE_MAX: TimeDelta = TimeDelta::milliseconds(500);

/// The templates of one request.
#[derive(Debug, Default)]
pub(in crate::api) struct NamedTemplates {
    /// By key. What is missing is unknown or disabled; an error says why one cannot be used.
    by_key: HashMap<String, Result<Arc<Template>, String>>,
}

impl NamedTemplates {
    /// Looks up what a body names: that of one send, or of many in `notifications`.
    pub(in crate::api) async fn look_up(
        app: &App,
        tenant_id: &TenantId,
        body: &Value,
    ) -> Result<Self, ApiError> {
        let keys = keys_of(body);
        if keys.is_empty() {
            return Ok(Self::default());
        }
        let now = app.clock.now();
        let mut shelf = app.catalog.latest();
        let knows_all = |shelf: &Shelf| {
            let names = shelf.template_names(tenant_id);
            keys.iter().all(|key| names.find(key).is_some())
        };
        let is_stale = app.catalog.begin_look(now, AGE_MAX);
        if is_stale || !knows_all(&shelf) {
            let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
            shelf = app
                .catalog
                .current(&mut conn)
                .await
                .map_err(ApiError::from_store)?;
        }
        let names = shelf.template_names(tenant_id);
        let mut by_key = HashMap::new();
        let mut stored = Vec::new();
        for key in keys {
            match names.find(&key) {
                Some(named) if named.version > 0 => stored.push(VersionRef {
                    tenant_id: tenant_id.clone(),
                    version: named.version,
                    key,
                }),
                Some(_) => {
                    if let Some(builtin) = shelf.templates().get(&key) {
                        by_key.insert(key, Ok(Arc::clone(builtin)));
                    }
                }
                None => {}
            }
        }
        if !stored.is_empty() {
            let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
            let pinned = app.catalog.pinned(&mut conn, &stored).await;
            let pinned = pinned.map_err(ApiError::from_store)?;
            for version in stored {
                let text = pinned.get(&version).map_err(|error| error.to_string());
                by_key.insert(version.key, text);
            }
        }
        Ok(Self { by_key })
    }

    /// What is wrong with the template of one send, and with its data.
    pub(in crate::api) fn check(
        &self,
        sent: &NotificationSubmission,
    ) -> Result<(), Vec<FieldError>> {
        let Some(name) = &sent.template else {
            return Ok(());
        };
        let refused = |detail: &str| Err(vec![FieldError::new("/template", detail)]);
        let template = match self.by_key.get(&domain::template_key(name)) {
            None => return refused("there is no such template"),
            Some(Err(detail)) => return refused(detail),
            Some(Ok(template)) => template,
        };
        let unfit = misfits(template, sent.data.as_ref());
        if unfit.is_empty() { Ok(()) } else { Err(unfit) }
    }
}

/// The keys of the templates that a body names, whatever else is wrong with it.
fn keys_of(body: &Value) -> Vec<String> {
    let key_of = |sent: &Value| sent["template"].as_str().map(domain::template_key);
    let items = body.as_array().or_else(|| body["notifications"].as_array());
    let mut keys: Vec<_> = match items {
        Some(items) => items.iter().filter_map(key_of).collect(),
        None => key_of(body).into_iter().collect(),
    };
    keys.sort_unstable();
    keys.dedup();
    keys
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_names_each_template_once_in_whatever_shape() {
        let sends = json!([{"template": "A_b"}, {"template": "a.b"}, {"content": "x"}, 7]);

        assert_eq!(keys_of(&sends), ["a.b"]);
        assert_eq!(keys_of(&json!({"notifications": sends})), ["a.b"]);
        assert_eq!(keys_of(&json!({"template": "C"})), ["c"]);
        assert!(keys_of(&json!({"template": 7})).is_empty());
        assert!(keys_of(&json!("template")).is_empty());
    }
}
