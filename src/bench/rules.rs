//! `postrider bench rules`: how many events a core holds against many rules, and how long the
//! slowest expression takes that is not refused.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chrono::DateTime;
use domain::{EventFacts, Rule, RuleBook, RuleId, RuleSubmission, Scene, Severity};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

/// Rules that speak of the same type.
const RULES_PER_TYPE: usize = 5;

/// Rules that look at every event.
const RULES_OF_ANY: usize = 5;

/// Largest payload that the slow expressions are tried with, in bytes: what the API takes.
const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;

/// An event that is only prepared, and expressions made to be slow: nested macros, large copies, large comparisons, bad patterns.
const SLOW: [(&str, &str); 12] = [
    ("the event alone", "event.data.text == ''"),
    (
        "join",
        "event.data.xs.exists(x, event.data.xs.exists(y, x + y == -1))",
    ),
    (
        "three levels",
        "event.data.xs.exists(x, event.data.xs.exists(y, event.data.xs.exists(z, z == -1)))",
    ),
    (
        "lists of lists",
        "event.data.xs.map(x, event.data.xs.map(y, y)).size() == -1",
    ),
    (
        "objects copied",
        "event.data.os.map(x, event.data.os).size() == -1",
    ),
    (
        "objects compared",
        "event.data.os.exists(x, event.data.os.exists(y, x == [y]))",
    ),
    (
        "texts joined",
        "event.data.ts.map(x, event.data.text + x).size() == -1",
    ),
    (
        "filters",
        "event.data.os.filter(x, x.a == 1).filter(x, x.b == 2).map(x, x.c).size() == -1",
    ),
    ("keys", "event.data.o.exists(k, event.data.o[k] == -1)"),
    (
        "times",
        "event.data.ms.all(x, timestamp(x) > timestamp('2000-01-01T00:00:00Z'))",
    ),
    (
        "pattern",
        r"event.data.text.matches('(?i)(\\w|a|aa|[a-f]+)*(\\s|\\d){3,20}[^a]{5}$')",
    ),
    (
        "broad pattern",
        "event.data.ones.matches('(a{1,20}){1,10}b|<i>')",
    ),
];

#[derive(Debug, clap::Args)]
pub(crate) struct RulesBenchArgs {
    /// How many rules.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rules: u32,
    /// How long to match.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct RulesFigures {
    pub rules: usize,
    /// All of them, from nothing.
    pub compile_ms: f64,
    /// All of them, after one has changed.
    pub recompile_ms: f64,
    pub events_per_s: f64,
    /// Of one event.
    pub rules_matched: f64,
    /// By name, the longest that an accepted evaluation took.
    pub slowest: Vec<Slowest>,
}

/// How long an expression took, with the largest event that it was evaluated for.
#[derive(Debug, Serialize)]
pub struct Slowest {
    pub name: &'static str,
    pub items: usize,
    pub ms: f64,
}

impl fmt::Display for RulesFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "rules            {:>8}", self.rules)?;
        writeln!(f, "compiled in      {:>8.1} ms", self.compile_ms)?;
        writeln!(f, "one changed      {:>8.1} ms", self.recompile_ms)?;
        writeln!(f, "events           {:>8.0} /s", self.events_per_s)?;
        writeln!(
            f,
            "matched          {:>8.1} rules per event",
            self.rules_matched
        )?;
        for slowest in &self.slowest {
            let Slowest { name, items, ms } = slowest;
            writeln!(f, "{name:<18}{ms:>7.1} ms with {items} items")?;
        }
        Ok(())
    }
}

/// Runs the benchmark on this thread.
pub(crate) fn run(args: &RulesBenchArgs) -> anyhow::Result<RulesFigures> {
    let rules = (0..args.rules as usize)
        .map(rule)
        .collect::<anyhow::Result<Vec<_>>>()?;
    let (book, compile) = timed(|| RuleBook::compile(rules.clone(), None));
    ensure!(book.broken().next().is_none(), "a rule does not compile");
    let mut changed = rules.clone();
    if let Some(rule) = changed.first_mut() {
        rule.version += 1;
    }
    let (_, recompile) = timed(|| RuleBook::compile(changed, Some(&book)));

    let types = (args.rules as usize).div_ceil(RULES_PER_TYPE);
    let payloads: Vec<_> = (0..64).map(payload).collect();
    let kinds: Vec<_> = (0..types).map(kind).collect();
    let began = Instant::now();
    let mut events = 0_usize;
    let mut matched = 0;
    while began.elapsed() < Duration::from_secs(args.seconds) {
        for _ in 0..256 {
            // Steps that share no factor with the counts reach all of them.
            let kind = &kinds[events.wrapping_mul(7919) % kinds.len()];
            let event = facts(kind, &payloads[events % payloads.len()]);
            matched += book
                .matching(&Scene::of(&event), event.created_at)
                .rules
                .len();
            events += 1;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    Ok(RulesFigures {
        rules: args.rules as usize,
        compile_ms: compile.as_secs_f64() * 1000.0,
        recompile_ms: recompile.as_secs_f64() * 1000.0,
        events_per_s: events as f64 / seconds,
        rules_matched: matched as f64 / events as f64,
        slowest: SLOW
            .iter()
            .map(|(name, source)| slowest(name, source))
            .collect::<anyhow::Result<_>>()?,
    })
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let done = work();
    (done, began.elapsed())
}

fn kind(number: usize) -> String {
    format!("domain{}.type{number}", number % 50)
}

/// The rule of this number: of one type, with a condition, and an expression in every other one.
fn rule(number: usize) -> anyhow::Result<Rule> {
    let limit = number % 100;
    let mut body = json!({
        "name": format!("rule {number}"),
        "channels": ["in_app", "email"],
        "recipients": "event.data.user_id",
        "conditions": [{"field": "amount", "operator": "gte", "value": limit}],
    });
    if number < RULES_OF_ANY {
        body["conditions"] = json!([{"field": "severity", "operator": "eq", "value": "critical"}]);
    } else {
        body["event_type"] = json!(kind(number / RULES_PER_TYPE));
    }
    if number.is_multiple_of(2) {
        body["when"] = json!(format!(
            "event.data.account.region in ['eu', 'us'] && event.data.amount > {limit}"
        ));
    }
    parse(body, number as u128)
}

fn parse(body: Value, id: u128) -> anyhow::Result<Rule> {
    let rule = RuleSubmission::of_stored(body).map_err(|errors| {
        let detail = errors.into_iter().map(|error| error.detail).next();
        anyhow::anyhow!(detail.unwrap_or_default())
    });
    let rule = rule.context("a rule of the benchmark is bad")?;
    Ok(rule.into_rule(RuleId::from(Uuid::from_u128(id)), 1))
}

fn payload(number: usize) -> Value {
    json!({
        "user_id": format!("user-{number}"),
        "amount": number * 2,
        "symbol": "AAPL",
        "account": {"id": format!("account-{number}"), "region": "eu", "desk": "london"},
        "legs": [{"side": "buy", "quantity": 10}, {"side": "sell", "quantity": 5}],
    })
}

fn facts<'a>(kind: &'a str, payload: &'a Value) -> EventFacts<'a> {
    EventFacts {
        event_id: "event-1",
        producer: "bench",
        created_at: DateTime::UNIX_EPOCH,
        kind,
        severity: Some(Severity::High),
        payload,
    }
}

/// Doubles the event until the expression is refused, and answers the longest evaluation before.
fn slowest(name: &'static str, source: &str) -> anyhow::Result<Slowest> {
    let body = json!({"name": name, "channels": ["in_app"], "when": source});
    let book = RuleBook::compile(vec![parse(body, 1)?], None);
    if let Some((_, problem)) = book.broken().next() {
        anyhow::bail!("{name} does not compile: {problem}");
    }
    let mut found = Slowest {
        name,
        items: 0,
        ms: 0.0,
    };
    let mut items = 1;
    loop {
        let payload = large(items);
        if payload.to_string().len() > PAYLOAD_BYTES_MAX {
            break;
        }
        let event = facts("slow", &payload);
        let (matching, took) = timed(|| book.matching(&Scene::of(&event), event.created_at));
        let is_refused = matching
            .steps
            .iter()
            .any(|step| step.reason.contains("too long"));
        if is_refused {
            break;
        }
        let ms = took.as_secs_f64() * 1000.0;
        if ms > found.ms {
            found = Slowest { name, items, ms };
        }
        // Fine steps, so that the last one accepted is near the bound.
        items += items.div_ceil(8);
    }
    Ok(found)
}

fn large(items: usize) -> Value {
    let numbers: Vec<_> = (0..items).collect();
    let objects: Vec<_> = numbers
        .iter()
        .map(|number| json!({"a": 1, "b": 2, "c": format!("object {number}")}))
        .collect();
    let by_key: serde_json::Map<_, _> = numbers
        .iter()
        .map(|number| (format!("key {number}"), json!(number)))
        .collect();
    json!({
        "xs": numbers,
        "os": objects,
        "o": by_key,
        "ts": vec!["abcdefghij"; items],
        "ms": vec!["2026-11-21T09:00:00Z"; items],
        "ones": "a".repeat(items.min(16 * 1024)),
        "text": "ab cde f aab".repeat(items).chars().take(16 * 1024).collect::<String>(),
    })
}
