//! Writes a rule as JSON, in the words of the rules file; it is read back to the same rule.

use chrono::SecondsFormat;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Action, Every, Rule, Selector, span};

impl Rule {
    /// The rule as a body, without its id and version. What is as by default is left out.
    pub fn to_value(&self) -> Value {
        let mut body = Body::default();
        body.put("name", &self.name);
        body.put_some("description", self.description.as_ref());
        body.put("enabled", self.enabled);
        for (name, time) in [
            ("valid_from", self.valid_from),
            ("valid_until", self.valid_until),
        ] {
            let text = time.map(|time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true));
            body.put_some(name, text);
        }
        body.put_list("event_types", &self.event_types);
        body.put_list("domains", &self.domains);
        let conditions: Vec<_> = self
            .conditions
            .iter()
            .map(|condition| {
                let mut body = Body::default();
                body.put("field", &condition.field);
                body.put("operator", condition.operator.as_str());
                body.put_some(
                    "value",
                    (!condition.value.is_null()).then_some(&condition.value),
                );
                body.0
            })
            .collect();
        body.put_list("conditions", &conditions);
        body.put_some("when", self.when.as_ref());
        let schedule = self.schedule.as_ref().map(|schedule| {
            let (key, every) = match &schedule.every {
                Every::Cron(expression) => ("cron", expression.clone()),
                Every::Interval(interval) => ("every", span::write(*interval)),
            };
            json!({key: every, "timezone": schedule.timezone.name()})
        });
        body.put_some("schedule", schedule);
        let actions: Vec<_> = self.actions.iter().map(Action::to_map).collect();
        body.put("actions", actions);
        Value::Object(body.0)
    }
}

impl Action {
    fn to_map(&self) -> Map<String, Value> {
        let mut body = Body::default();
        body.put("type", "notify");
        body.put_some("channels", self.channels.as_ref());
        body.put_list("fallback", &self.fallback);
        body.put_some("template", self.template.as_ref());
        if !self.template_vars.is_empty() {
            body.put("template_vars", &self.template_vars);
        }
        body.put_some("category", self.category.as_ref());
        body.put_some("priority", self.priority);
        body.put_some("locale", self.locale.as_ref());
        if self.bypass_quiet_hours {
            body.put("bypass_quiet_hours", true);
        }
        body.put_some("expires_in", self.expires_in.map(span::write));
        let recipients: Vec<_> = self.recipients.iter().map(Selector::to_value).collect();
        body.put_list("recipients", &recipients);
        if let Some(batch) = &self.batch {
            body.put("batch_window", span::write(batch.window));
            body.put_some("batch_size", batch.size);
            body.put_some("batch_key", batch.key.as_ref());
        }
        let variants: Vec<_> = self
            .variants
            .iter()
            .map(|variant| {
                let mut body = Body::default();
                body.put("name", &variant.name);
                body.put("weight", variant.weight);
                body.put_some("template", variant.template.as_ref());
                body.put_some("channels", variant.channels.as_ref());
                body.0
            })
            .collect();
        body.put_list("variants", &variants);
        body.0
    }
}

impl Selector {
    fn to_value(&self) -> Value {
        match self {
            Self::Users(users) => json!({"type": "users", "users": users}),
            Self::Roles(roles) => json!({"type": "roles", "roles": roles}),
            Self::Groups(groups) => json!({"type": "groups", "groups": groups}),
            Self::Topics(topics) => json!({"type": "topics", "topics": topics}),
            Self::Targets(targets) => json!({"type": "targets", "targets": targets}),
            Self::Dynamic(source) => json!({"type": "dynamic", "expression": source}),
        }
    }
}

/// An object in the making.
#[derive(Default)]
struct Body(Map<String, Value>);

impl Body {
    fn put(&mut self, name: &str, value: impl Serialize) {
        self.0.insert(name.to_owned(), json!(value));
    }

    fn put_some<T: Serialize>(&mut self, name: &str, value: Option<T>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    fn put_list<T: Serialize>(&mut self, name: &str, items: &[T]) {
        if !items.is_empty() {
            self.put(name, items);
        }
    }
}
