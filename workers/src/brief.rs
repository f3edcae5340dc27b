//! Brief: what a message is rendered from, whichever step renders it.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use domain::{Channel, NotificationId, Priority, Recipient, TenantId, UserId};
use render::{
    Brand, DEFAULT_LOCALE, EventVars, Gathered, NotificationVars, Rendered, UserVars, Vars,
};
use serde_json::Value;
use store::digests::DigestItems;
use store::templates::VersionRef;

use crate::catalog::Shelf;
use crate::compiled::Text;

/// A message before it has its words.
#[derive(Debug, Clone)]
pub(crate) struct Brief<'a> {
    pub(crate) tenant_id: &'a TenantId,
    pub(crate) user_id: &'a UserId,
    pub(crate) notification_id: NotificationId,
    pub(crate) channel: Channel,
    /// Event type; for a direct send the template's name or `notification`.
    pub(crate) kind: &'a str,
    pub(crate) category: Option<&'a str>,
    pub(crate) priority: Priority,
    pub(crate) created_at: DateTime<Utc>,
    /// `None` for a plain message.
    pub(crate) template: Option<&'a str>,
    /// The version that routing has pinned.
    pub(crate) template_version: Option<u32>,
    pub(crate) locale: Option<&'a str>,
    pub(crate) subject: Option<&'a str>,
    pub(crate) content: Option<&'a str>,
    /// The variables of a direct send; what a rule adds to those of an event.
    pub(crate) data: Option<Cow<'a, Value>>,
    /// The event that led to it, if one did, with its payload.
    pub(crate) event: Option<(EventVars<'a>, &'a Value)>,
    /// What it tells, if it tells a digest.
    pub(crate) digest: Option<&'a DigestItems>,
}

impl<'a> Brief<'a> {
    /// `None` for a direct send that brings its own words.
    pub(crate) fn template(&self) -> Option<&'a str> {
        template_of(self.template, self.content)
    }

    /// The version that routing has pinned. What it routed before it pinned any is told in the
    /// current one.
    pub(crate) fn version(&self, shelf: &Shelf) -> Option<VersionRef> {
        shelf.version(self.tenant_id, self.template()?, self.template_version)
    }

    /// Finds the words, in a template or without one. The error is for people.
    pub(crate) fn render(
        &self,
        text: Option<&Text>,
        reader: Option<&Recipient>,
        brand: &Brand,
    ) -> Result<Rendered, String> {
        let locale = self.locale.unwrap_or(DEFAULT_LOCALE);
        let Some(text) = text else {
            let content = self.content.unwrap_or_default();
            return Ok(Rendered {
                message: render::literal(self.channel, self.subject, content),
                locale: locale.to_owned(),
            });
        };
        let template = text.as_ref().map_err(ToString::to_string)?;
        let payload = self.event.map(|(_, payload)| payload);
        let data = with_vars(payload, self.data.as_deref());
        let gathered = self.digest.map(|digest| Gathered {
            items: &digest.payloads,
            count: digest.count,
            last: payload,
        });
        let vars = Vars {
            data: &data,
            event: self.event.map(|(event, _)| event),
            items: gathered,
            user: UserVars {
                id: self.user_id,
                locale: reader.and_then(Recipient::language),
                timezone: reader.and_then(Recipient::zone_name),
            },
            notification: NotificationVars {
                id: self.notification_id,
                kind: self.kind,
                category: self.category,
                priority: self.priority,
                created_at: self.created_at,
            },
            brand,
            locale,
        };
        let mut rendered = template
            .render(self.channel, &vars)
            .map_err(|error| queue::describe(&error))?;
        // A subject that came with the send wins over the template's, where the channel has one.
        if let (Some(subject), Some(own)) = (&mut rendered.message.subject, self.subject) {
            own.clone_into(subject);
        }
        Ok(rendered)
    }
}

/// The template of a message that names `template` or brings `content`.
pub(crate) fn template_of<'a>(template: Option<&'a str>, content: Option<&str>) -> Option<&'a str> {
    match (template, content) {
        (Some(template), _) => Some(template),
        (None, Some(_)) => None,
        (None, None) => Some(render::PLAIN),
    }
}

/// The payload with what its rule adds, which wins; a direct send has its data alone.
fn with_vars<'a>(payload: Option<&'a Value>, vars: Option<&'a Value>) -> Cow<'a, Value> {
    match (payload, vars) {
        (Some(Value::Object(payload)), Some(Value::Object(vars))) => {
            let mut both = payload.clone();
            both.extend(vars.clone());
            Cow::Owned(Value::Object(both))
        }
        (Some(alone), _) | (None, Some(alone)) => Cow::Borrowed(alone),
        (None, None) => Cow::Owned(Value::Null),
    }
}
