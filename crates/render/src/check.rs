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
