//! One user: where they are reached, what they want and what decides it, and their quiet hours.

use std::collections::BTreeSet;

use askama::Template;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::{IntoResponse, Redirect};
use domain::{Channel, Matter, Recipient, UserId, Verdict};
use serde_json::Value;
use store::consents::{Consent, list_consents};
use store::history::{self, HistoryFilter};
use store::recipients::list_recipients;
use store::topics::list_topics_of;
use store::users::{User, find_user};

use super::PATH;
use super::day::Day;
use crate::api::error::ApiError;
use crate::api::export::document;
use crate::api::path::UserPath;
use crate::api::users::{forget, unknown};
use crate::app::App;
use crate::console::form::Form;
use crate::console::session::Operator;
use crate::console::shell::{self, Shell};
use crate::console::{links, text};

/// Records of consent shown.
const CONSENTS_MAX: i64 = 50;

/// Categories shown in the table.
const CATEGORIES_MAX: usize = 60;

#[derive(Template)]
#[template(path = "user.html")]
struct OnePage {
    shell: Shell,
    user_id: String,
    url: String,
    /// Whether there is a row of them; who has none can be told in-app all the same.
    is_stored: bool,
    addresses: Vec<(&'static str, String)>,
    devices: Vec<Device>,
    facts: Vec<(&'static str, String)>,
    data: Option<String>,
    topics: Vec<String>,
    consents: Vec<ConsentShown>,
    channels: Vec<&'static str>,
    wishes: Vec<Wish>,
    reasons: Vec<Reason>,
    quiet: Quiet,
    seq: i64,
    unread: i64,
    notifications_url: String,
    mailbox_url: String,
}

/// A device or a browser.
struct Device {
    kind: &'static str,
    place: String,
    token: String,
}

struct ConsentShown {
    category: String,
    channel: &'static str,
    is_granted: bool,
    stands: bool,
    at: String,
    source: Option<String>,
    actor: String,
}

/// What a user wants of one category.
struct Wish {
    category: Option<String>,
    cells: Vec<Cell>,
}

/// What a user wants of one category over one channel.
struct Cell {
    channel: &'static str,
    word: &'static str,
    class: &'static str,
    reason: String,
}

/// Why something is not wanted.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Reason {
    row: String,
    reason: &'static str,
}

/// Quiet hours.
struct Quiet {
    is_on: bool,
    zone: &'static str,
    start: String,
    end: String,
    channels: String,
    allows_critical: bool,
    day: Option<Day>,
}

/// `GET /console/users/{user_id}`.
pub(super) async fn show(
    State(app): State<App>,
    operator: Operator,
    UserPath(user_id): UserPath,
) -> Result<Response<Body>, ApiError> {
    let page = read(&app, &operator, user_id).await?;
    shell::html(StatusCode::OK, &page)
}

async fn read(app: &App, operator: &Operator, user_id: UserId) -> Result<OnePage, ApiError> {
    let tenant_id = &operator.caller.tenant_id;
    let now = app.clock.now();
    let asked = domain::ConsentCategories::new(app.config.consent.categories.iter().cloned());
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let read = async {
        let user = find_user(&mut conn, tenant_id, &user_id).await?;
        let known = list_recipients(&mut conn, &[(tenant_id, &user_id)], &asked).await?;
        let topics = list_topics_of(&mut conn, tenant_id, &user_id).await?;
        let consents = list_consents(
            &mut conn,
            tenant_id,
            Some(&user_id),
            None,
            None,
            CONSENTS_MAX,
        )
        .await?;
        let head = store::inbox::head(&mut conn, tenant_id, &user_id).await?;
        let filter = HistoryFilter {
            user_id: Some(user_id.clone()),
            ..HistoryFilter::default()
        };
        let told = history::list(&mut conn, tenant_id, &filter, None, 1).await?;
        Ok((user, known, topics, consents, head, told))
    };
    let (user, known, topics, consents, head, told) = read.await.map_err(ApiError::from_store)?;
    let known = known.into_iter().next().map(|it| it.recipient);
    let has_said = !topics.is_empty() || !consents.is_empty() || !told.items.is_empty();
    let recipient = known.unwrap_or_else(|| nobody(&user_id));
    let has_said = has_said || recipient.preferences != domain::Preferences::default();
    if user.is_none() && !has_said {
        return Err(unknown());
    }
    let mut categories: BTreeSet<String> =
        recipient.preferences.categories.keys().cloned().collect();
    categories.extend(consents.iter().map(|it| it.category.clone()));
    categories.extend(asked.names().into_iter().map(str::to_owned));
    let shelf = app.catalog.latest();
    let shipped = shelf.templates().iter();
    categories.extend(shipped.filter_map(|it| it.body().category.clone()));
    let categories = categories.into_iter().take(CATEGORIES_MAX).map(Some);
    let mut reasons = BTreeSet::new();
    let wishes = std::iter::once(None)
        .chain(categories)
        .map(|category| Wish::of(&recipient, category, &mut reasons))
        .collect();
    let for_user = |path: &str| links::with(path, [("user_id", Some(user_id.to_string()))]);
    Ok(OnePage {
        shell: Shell::new(operator, PATH),
        url: links::user(user_id.as_str()),
        is_stored: user.is_some(),
        addresses: addresses(&recipient),
        devices: devices(&recipient),
        facts: user.as_ref().map_or_else(Vec::new, facts),
        data: user
            .as_ref()
            .filter(|user| user.data.as_object().is_some_and(|data| !data.is_empty()))
            .map(|user| text::pretty(&user.data)),
        topics,
        consents: consents.into_iter().map(ConsentShown::of).collect(),
        channels: Channel::ALL.map(Channel::as_str).to_vec(),
        wishes,
        reasons: reasons.into_iter().collect(),
        quiet: Quiet::of(&recipient, now),
        seq: head.seq,
        unread: head.unread,
        notifications_url: for_user("/console/notifications"),
        mailbox_url: for_user("/console/mailbox"),
        user_id: user_id.to_string(),
    })
}

/// Who has said nothing.
fn nobody(user_id: &UserId) -> Recipient {
    Recipient {
        user_id: user_id.clone(),
        addresses: domain::Addresses::default(),
        locale: None,
        timezone: None,
        preferences: domain::Preferences::default(),
        consents: domain::Consents::default(),
    }
}

/// Where they are reached; what the preferences say stands before the user's own.
fn addresses(recipient: &Recipient) -> Vec<(&'static str, String)> {
    let single = [
        Channel::Email,
        Channel::Sms,
        Channel::Voice,
        Channel::Slack,
        Channel::Webhook,
    ];
    let found = single.into_iter().flat_map(|channel| {
        let addresses = recipient.addresses_on(channel).into_iter();
        addresses.map(move |address| (channel.as_str(), address))
    });
    found.collect()
}

fn devices(recipient: &Recipient) -> Vec<Device> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let push = recipient.addresses.push.iter().map(|device| Device {
        kind: "push",
        place: text(&device["platform"]),
        token: text::cut(&text(&device["token"]), 24),
    });
    let web_push = recipient.addresses.web_push.iter().map(|device| Device {
        kind: "web_push",
        place: "browser".to_owned(),
        token: text::cut(&text(&device["endpoint"]), 60),
    });
    push.chain(web_push).collect()
}

fn facts(user: &User) -> Vec<(&'static str, String)> {
    let said = [
        ("language", user.locale.clone()),
        ("time zone", user.timezone.clone()),
        ("roles", Some(user.roles.join(", "))),
        ("groups", Some(user.groups.join(", "))),
    ];
    let said = said
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    said.filter(|(_, value)| !value.is_empty()).collect()
}

impl ConsentShown {
    fn of(consent: Consent) -> Self {
        Self {
            category: consent.category,
            channel: consent.channel.map_or("every channel", Channel::as_str),
            is_granted: consent.granted,
            stands: consent.superseded_at.is_none(),
            at: text::moment(consent.at),
            source: consent.source,
            actor: consent.actor,
        }
    }
}

impl Wish {
    fn of(recipient: &Recipient, category: Option<String>, reasons: &mut BTreeSet<Reason>) -> Self {
        let matter = Matter {
            category: category.as_deref(),
            ..Matter::default()
        };
        let cell = |channel: Channel| match recipient.decide(channel, &matter) {
            Verdict::Suppressed(why) => {
                let reason = format!("{}: {}", why.reason, why.row);
                reasons.insert(Reason {
                    row: why.row,
                    reason: why.reason,
                });
                ("no", "bad", reason)
            }
            Verdict::Allowed if is_reached(recipient, channel) => {
                ("yes", "good", "wanted, and there is an address".to_owned())
            }
            Verdict::Allowed => (
                "nowhere",
                "idle",
                "wanted, but there is no address".to_owned(),
            ),
        };
        let mut cell = cell;
        let cells = Channel::ALL.into_iter().map(|channel| {
            let (word, class, reason) = cell(channel);
            Cell {
                channel: channel.as_str(),
                word,
                class,
                reason,
            }
        });
        Self {
            cells: cells.collect(),
            category: category.clone(),
        }
    }
}

fn is_reached(recipient: &Recipient, channel: Channel) -> bool {
    let needs_none = matches!(channel, Channel::InApp | Channel::Pagerduty);
    needs_none || !recipient.addresses_on(channel).is_empty()
}

impl Quiet {
    fn of(recipient: &Recipient, now: chrono::DateTime<chrono::Utc>) -> Self {
        let said = &recipient.preferences.quiet_hours;
        let timezone = recipient.timezone.as_deref();
        let window = recipient.preferences.quiet_window(timezone);
        let held: Vec<_> = said.held().into_iter().map(Channel::as_str).collect();
        Self {
            is_on: window.is_some(),
            zone: recipient.preferences.quiet_zone(timezone).name(),
            start: said.start.to_string(),
            end: said.end.to_string(),
            channels: held.join(", "),
            allows_critical: said.allow_critical,
            day: window.map(|window| Day::of(&window, now)),
        }
    }
}

/// `GET /console/users/{user_id}/export`: the API's document, to be kept as a file.
pub(super) async fn export(
    State(app): State<App>,
    operator: Operator,
    UserPath(user_id): UserPath,
) -> Result<Response<Body>, ApiError> {
    let mut response = document(app, operator.caller.tenant_id, user_id).await?;
    response.headers_mut().insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"user.json\""),
    );
    Ok(response)
}

#[derive(Template)]
#[template(path = "user_erase.html")]
struct ErasePage {
    shell: Shell,
    user_id: String,
    url: String,
    problem: bool,
}

fn asking(
    operator: &Operator,
    user_id: &UserId,
    status: StatusCode,
) -> Result<Response<Body>, ApiError> {
    let page = ErasePage {
        shell: Shell::new(operator, PATH),
        url: links::user(user_id.as_str()),
        user_id: user_id.to_string(),
        problem: status != StatusCode::OK,
    };
    shell::html(status, &page)
}

/// `GET /console/users/{user_id}/erase`.
pub(super) async fn ask(
    operator: Operator,
    UserPath(user_id): UserPath,
) -> Result<Response<Body>, ApiError> {
    asking(&operator, &user_id, StatusCode::OK)
}

/// `POST /console/users/{user_id}/erase`.
pub(super) async fn erase(
    State(app): State<App>,
    UserPath(user_id): UserPath,
    form: Form,
) -> Result<Response<Body>, ApiError> {
    let Form { operator, fields } = form;
    if fields.raw("confirm").as_deref() != Some(user_id.as_str()) {
        return asking(&operator, &user_id, StatusCode::UNPROCESSABLE_ENTITY);
    }
    forget(&app, operator.caller, user_id.clone()).await?;
    let url = links::with(PATH, [("erased", Some(user_id.into_string()))]);
    Ok(Redirect::to(&url).into_response())
}
