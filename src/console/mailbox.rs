//! The mailbox: what the outbox took in place of a provider, as whoever it was for would see it.
//!
//! A mail's HTML is a page of its own ([`inert`](super::inert)) in a frame that runs nothing.

use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, State};
use axum::http::{Response, StatusCode};
use axum::routing::get;
use domain::{Channel, DeliveryId, MailParts, Message, UserId};
use serde_json::{Value, json};
use store::deliveries::find_message;
use store::outbox::{OutboxFilter, OutboxItem, find_item, page_of_outbox};
use uuid::Uuid;

use super::form::Fields;
use super::notifications::{Choice, choices};
use super::session::Operator;
use super::shell::{self, Shell};
use super::{inert, links, live, text};
use crate::api::error::ApiError;
use crate::api::path::path_id;
use crate::app::App;

/// Where the page is.
pub(super) const PATH: &str = "/console/mailbox";

/// Rows of a page.
const ROWS: usize = 50;

/// Characters of a text in the list.
const EXCERPT_CHARS: usize = 140;

/// How often an open list looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// The routes of this file.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/mailbox", get(list))
        .route("/mailbox/{id}", get(show))
        .route("/mails/{id}", get(mail))
        .route("/live/mailbox", get(watch))
}

#[derive(Template)]
#[template(path = "mailbox.html")]
struct ListPage {
    shell: Shell,
    channels: Vec<Choice>,
    user_id: String,
    table: Table,
    newest: Option<String>,
}

/// The part that changes.
#[derive(Template)]
#[template(path = "mailbox_table.html")]
struct Table {
    rows: Vec<Row>,
    older: Option<String>,
}

struct Row {
    url: String,
    at: String,
    machine: String,
    channel: &'static str,
    user_id: String,
    address: Option<String>,
    subject: Option<String>,
    excerpt: String,
}

/// Which part of the list is shown.
#[derive(Debug, Clone, Default)]
struct View {
    filter: OutboxFilter,
    before: Option<DeliveryId>,
}

impl View {
    fn read(mut fields: Fields) -> Result<Self, ApiError> {
        let query = fields.reading();
        let channel = query.parsed("channel", "must be a channel such as email", Channel::parse);
        let user_id = query.text("user_id").map(UserId::from);
        let expected = "must come from another page of the list";
        let before = query.parsed("cursor", expected, |text| Uuid::parse_str(text).ok());
        fields.finish()?;
        Ok(Self {
            filter: OutboxFilter { user_id, channel },
            before: before.map(DeliveryId::from),
        })
    }

    /// The address at `path` of the same list, from before `cursor`.
    fn url(&self, path: &str, cursor: Option<DeliveryId>) -> String {
        let filter = &self.filter;
        let user_id = filter.user_id.as_ref().map(|id| id.as_str().to_owned());
        let channel = filter.channel.map(|channel| channel.as_str().to_owned());
        let cursor = cursor.map(|id| id.as_uuid().simple().to_string());
        links::with(
            path,
            [
                ("channel", channel),
                ("user_id", user_id),
                ("cursor", cursor),
            ],
        )
    }
}

impl Table {
    async fn look(app: &App, operator: &Operator, view: &View) -> Result<Self, ApiError> {
        let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
        let tenant_id = &operator.caller.tenant_id;
        let found = page_of_outbox(&mut conn, tenant_id, &view.filter, view.before, ROWS)
            .await
            .map_err(ApiError::from_store)?;
        Ok(Self {
            rows: found.items.into_iter().map(Row::of).collect(),
            older: found.next.map(|next| view.url(PATH, Some(next))),
        })
    }
}

impl Row {
    fn of(item: OutboxItem) -> Self {
        let (subject, excerpt) = match item.message {
            Some(message) => (message.subject, text::cut(&message.body, EXCERPT_CHARS)),
            None => (None, "erased".to_owned()),
        };
        Self {
            url: format!("{PATH}/{}", item.delivery_id),
            at: text::moment(item.created_at),
            machine: text::machine(item.created_at),
            channel: item.channel.as_str(),
            user_id: item.user_id.into_string(),
            address: item.address.map(|address| whereto(item.channel, &address)),
            subject,
            excerpt,
        }
    }
}

/// An address as it is read: a device is kept as JSON, of which its place is told.
fn whereto(channel: Channel, address: &str) -> String {
    let device: Value = match channel {
        Channel::Push | Channel::WebPush => serde_json::from_str(address).unwrap_or_default(),
        _ => Value::Null,
    };
    let part = |name: &str| device[name].as_str();
    match (part("platform"), part("endpoint")) {
        (Some(platform), _) => format!("a device ({platform})"),
        (None, Some(endpoint)) => endpoint.to_owned(),
        (None, None) => address.to_owned(),
    }
}

/// `GET /console/mailbox`.
async fn list(
    State(app): State<App>,
    operator: Operator,
    fields: Fields,
) -> Result<Response<Body>, ApiError> {
    let view = View::read(fields)?;
    let filter = &view.filter;
    let mut shell = Shell::new(&operator, PATH);
    if view.before.is_none() {
        shell = shell.live(view.url("/console/live/mailbox", None));
    }
    let page = ListPage {
        shell,
        channels: choices(Channel::ALL, filter.channel, Channel::as_str),
        user_id: filter
            .user_id
            .clone()
            .map_or_else(String::new, UserId::into_string),
        table: Table::look(&app, &operator, &view).await?,
        newest: view.before.map(|_| view.url(PATH, None)),
    };
    shell::html(StatusCode::OK, &page)
}

/// `GET /console/live/mailbox`.
async fn watch(
    State(app): State<App>,
    operator: Operator,
    fields: Fields,
) -> Result<Response<Body>, ApiError> {
    let view = View::read(fields)?;
    live::stream(&app, operator, LOOK_INTERVAL, move |app, operator| {
        let view = view.clone();
        async move {
            let table = Table::look(&app, &operator, &view).await?;
            Ok(vec![shell::fragment(&table)?])
        }
    })
}

#[derive(Template)]
#[template(path = "mailbox_item.html")]
struct ItemPage {
    shell: Shell,
    channel: &'static str,
    at: String,
    user_id: String,
    user_url: String,
    notification_url: String,
    address: Option<String>,
    template: Option<String>,
    locale: Option<String>,
    /// Lines above a mail.
    headers: Vec<(&'static str, String)>,
    attachments: Vec<(String, String)>,
    subject: Option<String>,
    body: String,
    html_url: Option<String>,
    /// How many text messages it takes.
    segments: Option<String>,
    /// What a program would get.
    data: Option<String>,
    /// The headers that a webhook is sent with.
    signed: Vec<(&'static str, String)>,
    is_card: bool,
    is_erased: bool,
}

/// `GET /console/mailbox/{id}`.
async fn show(
    State(app): State<App>,
    operator: Operator,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response<Body>, ApiError> {
    let unknown = || ApiError::not_found("there is no such item");
    let id: DeliveryId = path_id(params).ok_or_else(unknown)?;
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let item = find_item(&mut conn, &operator.caller.tenant_id, id)
        .await
        .map_err(ApiError::from_store)?
        .ok_or_else(unknown)?;
    let page = ItemPage::of(Shell::new(&operator, PATH), item);
    shell::html(StatusCode::OK, &page)
}

impl ItemPage {
    fn of(shell: Shell, item: OutboxItem) -> Self {
        let (id, channel) = (item.delivery_id, item.channel);
        let is_erased = item.message.is_none();
        let message = item.message.unwrap_or(Message {
            subject: None,
            body: String::new(),
            body_html: None,
            data: None,
            mail: None,
        });
        let mut headers = Vec::new();
        let mut attachments = Vec::new();
        if channel == Channel::Email {
            let to = item.address.clone().unwrap_or_default();
            headers = mail_headers(to, message.subject.as_deref(), message.mail.as_ref());
            let attached = message.mail.iter().flat_map(|mail| &mail.attachments);
            attachments = attached.map(described).collect();
        }
        let is_webhook = channel == Channel::Webhook;
        let data = if is_webhook {
            let data = message.data.clone().unwrap_or_else(|| json!({}));
            Some(text::pretty(&data))
        } else {
            message.data.as_ref().map(text::pretty)
        };
        Self {
            shell,
            channel: channel.as_str(),
            at: text::moment(item.created_at),
            user_url: links::user(item.user_id.as_str()),
            user_id: item.user_id.into_string(),
            notification_url: links::notification(item.notification_id),
            address: item.address.map(|address| whereto(channel, &address)),
            template: item.template,
            locale: item.locale,
            headers,
            attachments,
            segments: (channel == Channel::Sms && !is_erased).then(|| segments(&message.body)),
            html_url: message.body_html.map(|_| format!("/console/mails/{id}")),
            subject: message.subject,
            body: message.body,
            data,
            signed: if is_webhook { signed(id) } else { Vec::new() },
            is_card: matches!(channel, Channel::Push | Channel::WebPush | Channel::Slack),
            is_erased,
        }
    }
}

fn mail_headers(
    to: String,
    subject: Option<&str>,
    mail: Option<&MailParts>,
) -> Vec<(&'static str, String)> {
    let mut headers = vec![("To", to)];
    if let Some(subject) = subject {
        headers.push(("Subject", subject.to_owned()));
    }
    if let Some(mail) = mail {
        headers.extend(mail.reply_to.clone().map(|address| ("Reply-To", address)));
        for (name, addresses) in [("Cc", &mail.cc), ("Bcc", &mail.bcc)] {
            if !addresses.is_empty() {
                headers.push((name, addresses.join(", ")));
            }
        }
    }
    headers
}

/// An attachment's name, and what it is.
fn described(attachment: &domain::Attachment) -> (String, String) {
    // Four letters of base64 are three bytes, but for the padding.
    let padding = attachment.content.bytes().rev().take(2);
    let padding = padding.filter(|letter| *letter == b'=').count();
    let bytes = (attachment.content.len() / 4 * 3).saturating_sub(padding);
    let size = text::number(i64::try_from(bytes).unwrap_or(i64::MAX));
    let kind = &attachment.content_type;
    (attachment.filename.clone(), format!("{kind}, {size} bytes"))
}

/// The headers of a webhook. Its signature is made when it is sent, over what is sent then.
fn signed(id: DeliveryId) -> Vec<(&'static str, String)> {
    vec![
        ("webhook-id", id.to_string()),
        ("webhook-timestamp", "the second it is sent".to_owned()),
        (
            "webhook-signature",
            "v1, over both of these and the body, by the endpoint's secret".to_owned(),
        ),
    ]
}

/// Letters beyond ASCII that a text message carries in its own alphabet (GSM 03.38).
const GSM_LETTERS: &str = "@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ¤¡ÄÖÑÜ§¿äöñüà";

/// Those that take the place of two.
const GSM_DOUBLE: &str = "^{}\\[~]|€\u{c}";

/// How many text messages a text takes, and why.
fn segments(body: &str) -> String {
    let is_gsm = |letter: char| {
        GSM_LETTERS.contains(letter)
            || GSM_DOUBLE.contains(letter)
            || (letter.is_ascii() && letter != '`' && (letter >= ' ' || "\n\r".contains(letter)))
    };
    let (units, alone, together, alphabet) = if body.chars().all(is_gsm) {
        let double = body.chars().filter(|letter| GSM_DOUBLE.contains(*letter));
        let units = body.chars().count() + double.count();
        (units, 160, 153, "GSM letters")
    } else {
        (body.encode_utf16().count(), 70, 67, "Unicode")
    };
    let count = if units <= alone {
        1
    } else {
        units.div_ceil(together)
    };
    let messages = text::count(
        i64::try_from(count).unwrap_or(i64::MAX),
        "message",
        "messages",
    );
    format!("{messages}: {units} of {alphabet}")
}

/// `GET /console/mails/{id}`: the HTML of a delivery, for a frame.
async fn mail(
    State(app): State<App>,
    operator: Operator,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response<Body>, ApiError> {
    let unknown = || ApiError::not_found("there is no such mail");
    let id: DeliveryId = path_id(params).ok_or_else(unknown)?;
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let message = find_message(&mut conn, &operator.caller.tenant_id, id)
        .await
        .map_err(ApiError::from_store)?;
    let html = message.and_then(|message| message.body_html);
    Ok(inert::page(html.ok_or_else(unknown)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_message_is_counted_as_phones_count_it() {
        let count = |text: &str| segments(text).split(' ').next().unwrap().to_owned();
        assert_eq!(count("Hi"), "1");
        assert_eq!(count(&"x".repeat(160)), "1");
        assert_eq!(count(&"x".repeat(161)), "2");
        assert_eq!(count(&"€".repeat(80)), "1");
        assert_eq!(count(&"€".repeat(81)), "2");
        assert_eq!(count(&"я".repeat(70)), "1");
        assert_eq!(count(&"я".repeat(71)), "2");
        assert_eq!(count(&"😀".repeat(36)), "2");
    }

    #[test]
    fn a_device_is_told_by_its_place_and_not_by_its_token() {
        let device = r#"{"token": "secret", "platform": "ios"}"#;
        assert_eq!(whereto(Channel::Push, device), "a device (ios)");
        assert_eq!(whereto(Channel::Email, "a@example.com"), "a@example.com");
        assert_eq!(whereto(Channel::Push, "not json"), "not json");
    }

    #[test]
    fn an_attachment_is_told_by_its_size() {
        let attachment = domain::Attachment {
            filename: "a.txt".to_owned(),
            content_type: "text/plain".to_owned(),
            content: "SGk=".to_owned(),
        };
        assert_eq!(described(&attachment).1, "text/plain, 2 bytes");
    }
}
