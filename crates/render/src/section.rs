//! Which fields a channel's section of a template has, and where they go in a message.
//!
//! Every channel names its parts differently (a mail has a `subject`, a push a `title`); a
//! [`Message`](domain::Message) has the same four for all. This table is the only translation.

use domain::Channel;

/// The field names of one channel's section. `None` where the channel has no such part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) subject: Option<&'static str>,
    pub(crate) body: Option<&'static str>,
    pub(crate) body_html: Option<&'static str>,
    pub(crate) data: DataShape,
    /// Whether a message without a subject looks broken there.
    pub(crate) needs_subject: bool,
}

/// Where the structured part of a message comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataShape {
    None,
    /// One field is the whole of it.
    Whole(&'static str),
    /// These fields, as an object.
    Object(&'static [&'static str]),
}

impl Shape {
    pub(crate) fn of(channel: Channel) -> Self {
        const TITLED: Shape = Shape {
            subject: Some("title"),
            body: Some("message"),
            body_html: None,
            data: DataShape::Whole("data"),
            needs_subject: true,
        };
        const TEXT: Shape = Shape {
            subject: None,
            body: Some("body"),
            body_html: None,
            data: DataShape::None,
            needs_subject: false,
        };
        match channel {
            Channel::InApp | Channel::Push | Channel::WebPush => TITLED,
            Channel::Sms | Channel::Voice => TEXT,
            Channel::Email => Self {
                subject: Some("subject"),
                body_html: Some("body_html"),
                needs_subject: true,
                ..TEXT
            },
            Channel::Slack => Self {
                body: Some("text"),
                data: DataShape::Object(&["blocks"]),
                ..TEXT
            },
            Channel::Webhook => Self {
                body: None,
                data: DataShape::Whole("data"),
                ..TEXT
            },
            Channel::Pagerduty => Self {
                body: Some("summary"),
                data: DataShape::Object(&["severity", "details"]),
                ..TEXT
            },
        }
    }

    /// Every field a section of this shape may have.
    pub(crate) fn fields(self) -> Vec<&'static str> {
        let texts = [self.subject, self.body, self.body_html]
            .into_iter()
            .flatten();
        texts.chain(self.data_fields().iter().copied()).collect()
    }

    pub(crate) fn data_fields(&self) -> &[&'static str] {
        match &self.data {
            DataShape::None => &[],
            DataShape::Whole(field) => std::slice::from_ref(field),
            DataShape::Object(fields) => fields,
        }
    }
}

/// The fields that a section of a channel may have: texts, and those that hold any JSON.
pub fn section_fields(channel: Channel) -> (Vec<&'static str>, Vec<&'static str>) {
    let shape = Shape::of(channel);
    let data = shape.data_fields().to_vec();
    let mut texts = shape.fields();
    texts.retain(|field| !data.contains(field));
    (texts, data)
}

/// Whose section is taken, in this order, for a channel that has none: the feed's words are short
/// and complete, so they suit most; a mail is the last resort, being long.
pub(crate) const DONORS: [Channel; 8] = [
    Channel::InApp,
    Channel::Push,
    Channel::WebPush,
    Channel::Slack,
    Channel::Sms,
    Channel::Voice,
    Channel::Pagerduty,
    Channel::Email,
];
