//! Dead letters: found by a filter, looked at one by one, and run again after a rehearsal.

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, State};
use axum::http::{Response, StatusCode};
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;
use chrono::DateTime;
use domain::ReplaySubmission;
use queue::JobId;
use queue::dead_letter::{DeadLetter, DeadLetterFilter, Order};
use serde_json::{Value, json};

use super::form::{Fields, Form};
use super::replays::{self, ReplayRow};
use super::session::Operator;
use super::shell::{self, Shell};
use super::text;
use crate::api::error::ApiError;
use crate::api::{dead_letters as api, path::path_id};
use crate::app::App;

/// Where the page is.
pub(super) const PATH: &str = "/console/dead-letters";

/// Dead letters of one page.
const PAGE_ROWS: usize = 50;

/// Dead letters that are passed to count them; what is beyond is told as more.
const COUNTED_MAX: i64 = 5_000;

/// What may be asked for by a filter, in the order of the address.
const CRITERIA: [&str; 5] = ["queue", "kind", "error", "since", "until"];

/// The routes of this file.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/dead-letters", get(list))
        .route("/dead-letters/replay", get(rehearse).post(replay))
        .route("/dead-letters/{id}", get(show))
}

#[derive(Template)]
#[template(path = "dead_letters.html")]
struct DeadLettersPage {
    shell: Shell,
    filter: Filter,
    queues: Vec<&'static str>,
    /// How many match, in words.
    matches: String,
    rows: Vec<Row>,
    /// The address of the next page.
    next: Option<String>,
    replays: Vec<ReplayRow>,
}

#[derive(Template)]
#[template(path = "replay_rehearsal.html")]
struct RehearsalPage {
    shell: Shell,
    /// What is asked for, to be sent again.
    asked: Vec<(&'static str, String)>,
    /// The same in words.
    criteria: Vec<(&'static str, String)>,
    matched: i64,
    count: String,
    rows: Vec<Row>,
}

#[derive(Template)]
#[template(path = "dead_letter.html")]
struct DeadLetterPage {
    shell: Shell,
    id: String,
    facts: Vec<(&'static str, String)>,
    errors: Vec<(String, String, String)>,
    payload: String,
    notification_id: Option<String>,
    delivery: Option<String>,
    message: Option<String>,
}

/// A filter as it was written.
#[derive(Debug, Default)]
struct Filter {
    queue: String,
    kind: String,
    error: String,
    since: String,
    until: String,
}

struct Row {
    id: String,
    died: String,
    queue: String,
    kind: String,
    reason: String,
    error: String,
    attempts: i16,
}

impl Row {
    fn of(letter: &DeadLetter) -> Self {
        Self {
            id: letter.job_id.to_string(),
            died: text::moment(letter.died_at),
            queue: letter.queue.clone(),
            kind: letter.kind.clone(),
            reason: letter.reason.clone(),
            error: letter.last_error().to_owned(),
            attempts: letter.attempt,
        }
    }
}

/// `GET /console/dead-letters`.
async fn list(
    State(app): State<App>,
    operator: Operator,
    mut fields: Fields,
) -> Result<Response<Body>, ApiError> {
    let filter = read(&mut fields);
    let after = fields.reading().parsed(
        "cursor",
        "must be the end of an earlier page",
        api::read_cursor,
    );
    let written = Filter::written(&fields);
    let address = written.address();
    fields.finish()?;
    let asked = ReplaySubmission {
        queue: filter.queue.clone(),
        ..ReplaySubmission::default()
    };
    api::check_queue(&asked)?;
    let tenant_id = Some(&operator.caller.tenant_id);
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let (letters, next) = workers::dead_letters::list(
        &mut conn,
        tenant_id,
        &filter,
        after,
        Order::NewestFirst,
        PAGE_ROWS,
    )
    .await
    .map_err(ApiError::from_replay)?;
    let counted =
        workers::dead_letters::count_within(&mut conn, tenant_id, &filter, COUNTED_MAX).await;
    let counted = counted.map_err(ApiError::from_replay)?;
    let replays = replays::newest(&mut conn, &operator.caller).await?;
    drop(conn);
    let more = if counted.is_more { "at least " } else { "" };
    let page = DeadLettersPage {
        shell: Shell::new(&operator, PATH),
        filter: written,
        queues: workers::queues::all().collect(),
        matches: format!(
            "{more}{}",
            text::count(counted.count, "dead letter", "dead letters")
        ),
        rows: letters.iter().map(Row::of).collect(),
        next: next.map(|place| format!("{PATH}?{address}cursor={}", api::write_cursor(place))),
        replays,
    };
    shell::html(StatusCode::OK, &page)
}

/// `GET /console/dead-letters/{id}`.
async fn show(
    State(app): State<App>,
    operator: Operator,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response<Body>, ApiError> {
    let id: JobId =
        path_id(params).ok_or_else(|| ApiError::not_found("there is no such dead letter"))?;
    let whole = api::whole(&app, &operator.caller, id).await?;
    // What the API shows is what is shown here, with what it leaves out left out.
    let whole = serde_json::to_value(&whole).map_err(ApiError::from_json)?;
    let page = DeadLetterPage {
        shell: Shell::new(&operator, PATH),
        id: id.to_string(),
        facts: [
            ("Kind", "kind"),
            ("Queue", "queue"),
            ("Reason", "reason"),
            ("Attempts", "attempt"),
            ("Failures", "failures"),
            ("Enqueued", "enqueued_at"),
            ("Died", "died_at"),
        ]
        .map(|(name, field)| (name, when(&whole[field])))
        .into(),
        errors: errors(&whole["errors"]),
        payload: pretty(&whole["payload"]),
        notification_id: whole["notification_id"].as_str().map(str::to_owned),
        delivery: Some(&whole["delivery"])
            .filter(|it| !it.is_null())
            .map(pretty),
        message: Some(&whole["message"])
            .filter(|it| !it.is_null())
            .map(pretty),
    };
    shell::html(StatusCode::OK, &page)
}

/// Every error that a job met, oldest first.
fn errors(errors: &Value) -> Vec<(String, String, String)> {
    let errors = errors.as_array().into_iter().flatten();
    errors
        .map(|entry| {
            (
                plain(&entry["attempt"]),
                when(&entry["at"]),
                plain(&entry["error"]),
            )
        })
        .collect()
}

/// A value without quotes.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A value that may be a moment, without quotes.
fn when(value: &Value) -> String {
    let text = plain(value);
    let moment = DateTime::parse_from_rfc3339(&text).ok();
    moment.map_or(text, |at| format!("{} UTC", text::moment(at.to_utc())))
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// `GET /console/dead-letters/replay`: what would happen. Changes nothing.
async fn rehearse(
    State(app): State<App>,
    operator: Operator,
    mut fields: Fields,
) -> Result<Response<Body>, ApiError> {
    let asked = submission(&mut fields)?;
    let sent = sent_again(&fields);
    fields.finish()?;
    let filter = api::filter(&asked);
    let tenant_id = Some(&operator.caller.tenant_id);
    let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
    let matched = workers::dead_letters::count(&mut conn, tenant_id, &filter)
        .await
        .map_err(ApiError::from_replay)?;
    let (letters, _) =
        workers::dead_letters::list(&mut conn, tenant_id, &filter, None, Order::OldestFirst, 10)
            .await
            .map_err(ApiError::from_replay)?;
    drop(conn);
    let ticked = asked.ids.as_ref().map(Vec::len);
    let mut criteria: Vec<_> = sent
        .iter()
        .filter(|(name, _)| *name != "id")
        .cloned()
        .collect();
    if let Some(ticked) = ticked {
        let ticked = text::count(ticked as i64, "that was ticked", "that were ticked");
        criteria.push(("only", ticked));
    }
    let page = RehearsalPage {
        shell: Shell::new(&operator, PATH),
        asked: sent,
        criteria,
        matched,
        count: text::count(matched, "dead letter", "dead letters"),
        rows: letters.iter().map(Row::of).collect(),
    };
    shell::html(StatusCode::OK, &page)
}

/// `POST /console/dead-letters/replay`.
async fn replay(State(app): State<App>, mut form: Form) -> Result<Response<Body>, ApiError> {
    let asked = submission(&mut form.fields)?;
    form.fields.finish()?;
    let mut tx = app.store.begin().await.map_err(ApiError::from_store)?;
    let begun = api::begin_replay(&app, &form.operator.caller, &mut tx, &asked).await?;
    if begun.matched == 0 {
        return Err(ApiError::conflict(
            "no dead letter matches any more; somebody else may have replayed them",
        ));
    }
    tx.commit().await.map_err(ApiError::from_store)?;
    api::ring(&app);
    let path = format!("{}/{}", replays::PATH, begun.replay_id);
    Ok(Redirect::to(&path).into_response())
}

/// What is asked for, as the API would read it.
fn submission(fields: &mut Fields) -> Result<ReplaySubmission, ApiError> {
    let filter = read(fields);
    let ids = fields.all("id");
    let mut body = json!({});
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body[name] = value;
        }
    };
    set("ids", (!ids.is_empty()).then(|| json!(ids)));
    set("queue", filter.queue.map(Value::from));
    set("kind", filter.kind.map(Value::from));
    set("error", filter.error.map(Value::from));
    set("since", filter.since.map(|at| json!(text::machine(at))));
    set("until", filter.until.map(|at| json!(text::machine(at))));
    set("rate", fields.raw("rate").map(Value::from));
    let expired = fields.raw("include_expired").is_some();
    set("include_expired", Some(Value::from(expired)));
    let asked = ReplaySubmission::parse(body).map_err(ApiError::invalid)?;
    api::check_queue(&asked)?;
    Ok(asked)
}

/// The filter of a page. Problems are noted on its fields.
fn read(fields: &mut Fields) -> DeadLetterFilter {
    DeadLetterFilter {
        ids: None,
        queue: fields.reading().text("queue"),
        kind: fields.reading().text("kind"),
        error: fields.reading().text("error"),
        since: fields.time("since"),
        until: fields.time("until"),
    }
}

/// The fields that say which dead letters are meant.
fn sent_again(fields: &Fields) -> Vec<(&'static str, String)> {
    let criteria = CRITERIA
        .into_iter()
        .filter_map(|name| Some((name, fields.raw(name)?)));
    let ids = fields.all("id").into_iter().map(|id| ("id", id));
    criteria.chain(ids).collect()
}

impl Filter {
    fn written(fields: &Fields) -> Self {
        let text = |name| fields.raw(name).unwrap_or_default();
        Self {
            queue: text("queue"),
            kind: text("kind"),
            error: text("error"),
            since: text("since"),
            until: text("until"),
        }
    }

    /// As it stands in an address, before what follows.
    fn address(&self) -> String {
        let values = [
            &self.queue,
            &self.kind,
            &self.error,
            &self.since,
            &self.until,
        ];
        let mut address = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in CRITERIA.into_iter().zip(values) {
            if !value.is_empty() {
                address.append_pair(name, value);
            }
        }
        let address = address.finish();
        if address.is_empty() {
            address
        } else {
            address + "&"
        }
    }

    fn is_empty(&self) -> bool {
        self.address().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_goes_into_the_address_and_comes_back() {
        let fields = Fields::parse("queue=email&error=a%26b+%3C&kind=");
        let written = Filter::written(&fields);

        assert_eq!(written.address(), "queue=email&error=a%26b+%3C&");
        let again = Filter::written(&Fields::parse(&written.address()));
        assert_eq!(again.error, "a&b <");
        assert!(Filter::default().is_empty());
    }

    #[test]
    fn what_a_form_asks_for_is_judged_like_a_body() {
        let asked = |text| {
            let mut fields = Fields::parse(text);
            let asked = submission(&mut fields)?;
            fields.finish().map(|()| asked)
        };

        let good = asked("queue=email&rate=50%2Fs&since=2026-11-21T14:05&include_expired=on");
        let good = good.unwrap();
        assert_eq!((good.rate, good.include_expired), (Some(50), true));
        assert!(good.since.is_some());
        for bad in [
            "queue=nowhere",
            "rate=0",
            "rate=fast",
            "id=7",
            "since=yesterday",
        ] {
            assert!(asked(bad).is_err(), "{bad}");
        }
    }
}
