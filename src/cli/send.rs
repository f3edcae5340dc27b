//! `postrider send`: an event from the shell, through the same door as all others.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::builder::NonEmptyStringValueParser;
use domain::{EventSubmission, TenantId};
use queue::{Bell, Clock};
use serde_json::{Map, Value, json};

use super::output::{say, say_json};
use super::process::{connect, database};
use crate::config::Config;
use crate::intake::{Answer, Intake, Row, Windows};
use crate::metrics::Metrics;
use crate::shutdown::Lifetime;

/// How long the wake-up may take once the event is committed.
const GRACE: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The user who is to be told.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    user: String,
    /// What happened, such as `order.filled`.
    #[arg(long = "type", value_name = "TYPE")]
    kind: String,
    /// The event's payload, a JSON object.
    #[arg(long, default_value = "{}", value_name = "JSON")]
    data: String,
    /// The user's tenant.
    #[arg(long, default_value = "default", value_parser = NonEmptyStringValueParser::new())]
    tenant: String,
    /// low, medium, high or critical.
    #[arg(long)]
    severity: Option<String>,
    /// Your name for the event: sending it again changes nothing.
    #[arg(long)]
    event_id: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(config: Config, args: Args) -> anyhow::Result<()> {
    let clock = Clock::system();
    let event = read(&args)?;
    let event_id = event.event_id.clone();
    let row = Row::of_event(
        &TenantId::from(args.tenant.as_str()),
        event,
        Windows::of(&config.intake),
        clock.now(),
    );

    let store = connect(&config, Duration::ZERO).await?;
    let lifetime = Lifetime::default();
    let bell = Bell::new();
    let ringing = bell
        .clone()
        .run(database(&config)?, lifetime.closing.clone());
    lifetime.tasks.spawn(ringing);
    let metrics = Metrics::register(&prometheus::Registry::new(), false)?;
    let intake = Intake::open(
        &config.intake,
        store.clone(),
        bell,
        clock,
        metrics,
        &lifetime,
    );
    let answer = intake.submit_one(row).await;
    lifetime.stop(GRACE, std::future::ready(())).await;
    store.close().await;

    let (id, status) = match answer.context("Postgres is away; try again")? {
        Answer::Accepted { id } => (id, "accepted"),
        Answer::Duplicate { id } => (id, "duplicate"),
        Answer::Refused { detail } => bail!(detail),
    };
    let event_id = event_id.unwrap_or_else(|| id.to_string());
    if args.json {
        return say_json(&json!({ "event_id": event_id, "status": status }));
    }
    say(&format!("{status} {event_id}"))
}

/// Makes the event, judged as one over HTTP would be.
fn read(args: &Args) -> anyhow::Result<EventSubmission> {
    let mut payload: Map<String, Value> =
        serde_json::from_str(&args.data).context("--data is not a JSON object")?;
    payload.insert("user_id".to_owned(), Value::from(args.user.as_str()));
    let body = json!({
        "type": args.kind,
        "payload": payload,
        "severity": args.severity,
        "event_id": args.event_id,
    });
    EventSubmission::parse(body).map_err(|errors| {
        let problems: Vec<String> = errors
            .iter()
            .map(|error| format!("{} {}", error.pointer, error.detail))
            .collect();
        anyhow::anyhow!("the event is not acceptable: {}", problems.join("; "))
    })
}
