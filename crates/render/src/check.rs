//! Tries a template with its own samples: what is saved has rendered every one of them in every
//! language on every channel.

use chrono::DateTime;
use domain::{Channel, NotificationId, Priority, UserId};
use serde_json::Value;

use crate::{Brand, EventVars, NotificationVars, Template, TemplateIssue, UserVars, Vars};

/// The moment of every check, so that a check says the same tomorrow.
const AT: i64 = 1_800_000_000;

/// Most issues that are told of one template.
const ISSUES_MAX: usize = 100;

impl Template {
    /// Renders every sample in every language on every channel it has words for, and holds each
    /// against `variables`. An empty answer means that the template may be used.
    pub fn check(&self) -> Vec<TemplateIssue> {
        let mut issues: Vec<TemplateIssue> = Vec::new();
        for (index, sample) in self.body().samples.iter().enumerate() {
            let sample = Value::Object(sample.clone());
            issues.extend(self.check_data(&sample).into_iter().map(|error| {
                let pointer = format!("/samples/{index}{}", error.pointer);
                TemplateIssue::new(pointer, error.detail)
            }));
            for locale in self.locales() {
                for channel in self.channels() {
                    let rendered = self.try_sample(channel, locale, &sample);
                    let Err(mut issue) = rendered else { continue };
                    issue.detail = format!("{} (sample {index}, {locale})", issue.detail);
                    // What another sample or language has shown already need not be told again.
                    let is_told = issues
                        .iter()
                        .any(|it| (&it.pointer, it.line) == (&issue.pointer, issue.line));
                    if !is_told {
                        issues.push(issue);
                    }
                    if issues.len() >= ISSUES_MAX {
                        return issues;
                    }
                }
            }
        }
        issues
    }

    /// The channels that any of its languages has a section for.
    fn channels(&self) -> impl Iterator<Item = Channel> {
        let body = self.body();
        Channel::ALL.into_iter().filter(move |channel| {
            let mut translations = body.translations.values();
            body.channels.contains_key(channel) || translations.any(|it| it.contains_key(channel))
        })
    }

    fn try_sample(
        &self,
        channel: Channel,
        locale: &str,
        sample: &Value,
    ) -> Result<(), TemplateIssue> {
        let at = DateTime::from_timestamp(AT, 0).expect("it is within the calendar");
        let user_id = UserId::from("user-1");
        let kind = domain::template_key(self.name());
        let vars = Vars {
            data: sample,
            items: None,
            event: Some(EventVars {
                id: "event-1",
                kind: &kind,
                created_at: at,
            }),
            user: UserVars {
                id: &user_id,
                locale: Some(locale),
                timezone: None,
            },
            notification: NotificationVars {
                id: NotificationId::supposed_at(at),
                kind: &kind,
                category: self.body().category.as_deref(),
                priority: Priority::Normal,
                created_at: at,
            },
            brand: &Brand::default(),
            locale,
        };
        match self.render(channel, &vars) {
            Ok(_rendered) => Ok(()),
            Err(error) => Err(error.to_issue()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::TemplateBody;

    fn issue(text: &str) -> String {
        let body = TemplateBody::parse(json!({
            "name": "order",
            "channels": {"sms": {"body": text}},
            "samples": [{"order": {"id": "secret", "lines": [1]}, "none": null}],
        }));
        let template = Template::compile(&body.unwrap()).unwrap();
        let issues = template.check();
        issues.first().map(ToString::to_string).unwrap_or_default()
    }

    #[test]
    fn what_is_undefined_is_named() {
        for (text, name) in [
            ("{{ total }}", "total"),
            ("{{ order.total }}", "order.total"),
            ("{{ order.total.net }}", "order.total"),
            ("{{ order['net total'] }}", "order['net total']"),
            ("{{ order.lines[7] + 1 }}", "order.lines[7]"),
            ("{{ order.id ~ total }}", "total"),
            ("{% for line in order.rows %}{% endfor %}", "order.rows"),
            ("{% if total > 3 %}x{% endif %}", "total"),
            ("{{ total | upper }}", "total"),
        ] {
            let issue = issue(text);
            let named = issue.contains(&format!("`{name}` is undefined"));
            assert!(named, "{text}: {issue}");
            assert!(issue.starts_with("/channels/sms/body line 1: "), "{issue}");
            assert!(issue.ends_with(" (sample 0, en)"), "{issue}");
            assert!(!issue.contains("secret"), "{issue}");
        }
    }

    #[test]
    fn where_a_filter_says_that_something_is_undefined_its_tag_is_quoted() {
        assert_eq!(
            issue("Hi {{ order.id }}: {{ order.lines[7] | number }}."),
            "/channels/sms/body line 1: undefined value: `number` was given a variable that is not \
             there: `{{ order.lines[7] | number }}` (sample 0, en)"
        );
    }
}
