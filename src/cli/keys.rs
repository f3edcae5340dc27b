//! `postrider keys`: the API keys of services.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use clap::builder::NonEmptyStringValueParser;
use domain::{Role, TenantId};
use queue::Clock;
use serde_json::{Value, json};
use store::api_keys::ApiKey;
use uuid::Uuid;

use super::output::{say, say_json, say_table};
use super::process::connect;
use super::signature::actor;
use crate::config::Config;
use crate::keys::{self, Made, OVERLAP_MAX, Order, Signature, state_of};

/// Keys listed at most.
const KEYS_SHOWN_MAX: i64 = 1000;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Create a key and print it. It is shown this once and never again.
    Create {
        /// Whose key it is. A tenant that is not known yet is created.
        #[arg(long, default_value = "default", value_parser = NonEmptyStringValueParser::new())]
        tenant: String,
        /// What it may do; several are separated by commas.
        #[arg(long, required = true, value_delimiter = ',', value_parser = parse_role)]
        role: Vec<Role>,
        /// What it is for, in your words.
        #[arg(long, default_value = "")]
        name: String,
        /// After which time it ends, such as 90days; never, without it.
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        expires_in: Option<Duration>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the keys, without what is secret about them.
    List {
        /// Only the keys of this tenant.
        #[arg(long)]
        tenant: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a key like this one to take over from it, and print it.
    Rotate {
        /// The key's id, as `keys list` shows it.
        id: Uuid,
        /// How long the old key is still accepted, up to 90 days.
        #[arg(long, default_value = "24h", value_parser = humantime::parse_duration)]
        overlap: Duration,
        /// After which time the new key ends; without it after as long as the old one was made for.
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        expires_in: Option<Duration>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key. It stops working within two seconds.
    Revoke {
        /// The key's id, as `keys list` shows it.
        id: Uuid,
    },
}

fn parse_role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "expected send, read or admin".to_owned())
}

pub(super) async fn run(config: &Config, command: Command) -> anyhow::Result<()> {
    let store = connect(config, Duration::ZERO).await?;
    let now = Clock::system().now();
    let signature = Signature {
        actor: actor(),
        at: now,
    };
    let mut tx = store.begin().await?;
    match command {
        Command::Create {
            tenant,
            role,
            name,
            expires_in,
            json,
        } => {
            let tenant_id = TenantId::from(tenant);
            store::tenants::insert_tenant(&mut tx, &tenant_id, tenant_id.as_str()).await?;
            let order = Order {
                tenant_id,
                name,
                roles: role,
                expires_at: end_of(now, expires_in)?,
            };
            let made = keys::create(&mut tx, order, &signature).await?;
            tx.commit().await?;
            show(&made, json)
        }
        Command::List { tenant, json } => {
            let tenant_id = tenant.map(TenantId::from);
            let of = tenant_id.as_ref();
            let keys = store::api_keys::list_api_keys(&mut tx, of, None, KEYS_SHOWN_MAX)
                .await
                .context("could not list the keys")?;
            list(&keys, now, json)
        }
        Command::Rotate {
            id,
            overlap,
            expires_in,
            json,
        } => {
            let overlap = TimeDelta::from_std(overlap).unwrap_or(TimeDelta::MAX);
            ensure!(overlap <= OVERLAP_MAX, "--overlap is at most 90 days");
            let expires_at = end_of(now, expires_in)?;
            let Some(old) = store::api_keys::lock_api_key(&mut tx, None, id).await? else {
                bail!("there is no key {id}; `postrider keys list` shows them all");
            };
            let made = keys::rotate(&mut tx, old, overlap, expires_at, None, &signature).await??;
            tx.commit().await?;
            show(&made, json)
        }
        Command::Revoke { id } => {
            let key = store::api_keys::lock_api_key(&mut tx, None, id).await?;
            let is_revoked = match &key {
                Some(key) => keys::revoke(&mut tx, key, &signature).await?,
                None => false,
            };
            if !is_revoked {
                bail!("no key {id} is in use; `postrider keys list` shows them all");
            }
            tx.commit().await?;
            say("revoked")
        }
    }
}

fn end_of(now: DateTime<Utc>, after: Option<Duration>) -> anyhow::Result<Option<DateTime<Utc>>> {
    let Some(after) = after else {
        return Ok(None);
    };
    let end = TimeDelta::from_std(after)
        .ok()
        .and_then(|after| now.checked_add_signed(after));
    end.map(Some).context("--expires-in is too long")
}

fn show(made: &Made, json: bool) -> anyhow::Result<()> {
    if json {
        return say_json(&json!({
            "id": made.key.api_key_id,
            "key": made.secret.reveal(),
            "expires_at": made.key.expires_at,
        }));
    }
    say(made.secret.reveal())
}

fn list(keys: &[ApiKey], now: DateTime<Utc>, json: bool) -> anyhow::Result<()> {
    let words = |key: &ApiKey| {
        key.roles
            .iter()
            .map(|role| role.as_str())
            .collect::<Vec<_>>()
    };
    if json {
        let keys: Vec<Value> = keys
            .iter()
            .map(|key| {
                json!({
                    "id": key.api_key_id,
                    "tenant": key.tenant_id,
                    "prefix": key.prefix,
                    "name": key.name,
                    "roles": words(key),
                    "state": state_of(key, now),
                    "created_at": key.created_at,
                    "expires_at": key.expires_at,
                    "last_used_at": key.last_used_at,
                    "revoked_at": key.revoked_at,
                    "replaced_by": key.replaced_by,
                })
            })
            .collect();
        return say_json(&keys);
    }
    let moment = |at: Option<DateTime<Utc>>| {
        at.map_or("-".to_owned(), |at| {
            at.to_rfc3339_opts(SecondsFormat::Secs, true)
        })
    };
    say_table(
        [
            "ID",
            "TENANT",
            "PREFIX",
            "ROLES",
            "STATE",
            "CREATED",
            "ENDS",
            "LAST USED",
            "NAME",
        ],
        keys.iter().map(|key| {
            [
                key.api_key_id.to_string(),
                key.tenant_id.to_string(),
                key.prefix.clone(),
                words(key).join(","),
                state_of(key, now).to_owned(),
                moment(Some(key.created_at)),
                moment(key.expires_at),
                moment(key.last_used_at),
                key.name.clone(),
            ]
        }),
    )
}
