//! `postrider keys`: the API keys of services.

use anyhow::{Context, bail};
use chrono::SecondsFormat;
use domain::{Role, TenantId};
use queue::Clock;
use serde_json::{Value, json};
use store::api_keys::{ApiKey, NewApiKey};
use uuid::Uuid;

use super::output::{say, say_json, say_table};
use super::process::connect;
use crate::config::{Config, Secret};

/// Tells our keys from those of others, for people and for scanners of leaked secrets.
pub(super) const KEY_PREFIX: &str = "pr_";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Create a key and print it. It is shown this once and never again.
    Create {
        /// Whose key it is. A tenant that is not known yet is created.
        #[arg(long, default_value = "default")]
        tenant: String,
        /// What it may do; several are separated by commas.
        #[arg(long, required = true, value_delimiter = ',', value_parser = parse_role)]
        role: Vec<Role>,
        /// What it is for, in your words.
        #[arg(long, default_value = "")]
        name: String,
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
    /// Revoke a key. It stops working within seconds.
    Revoke {
        /// The key's id, as `keys list` shows it.
        id: Uuid,
    },
}

fn parse_role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "expected send, read or admin".to_owned())
}

pub(super) async fn run(config: &Config, command: Command) -> anyhow::Result<()> {
    let store = connect(config, std::time::Duration::ZERO).await?;
    let now = Clock::system().now();
    let mut tx = store.begin().await?;
    match command {
        Command::Create {
            tenant,
            role,
            name,
            json,
        } => {
            let tenant_id = TenantId::from(tenant);
            let secret = Secret::random(KEY_PREFIX);
            let id = queue::uuid_at(now);
            let key = NewApiKey::of_secret(id, tenant_id.clone(), secret.reveal(), name, role, now);
            store::tenants::insert_tenant(&mut tx, &tenant_id, tenant_id.as_str()).await?;
            store::api_keys::insert_api_key(&mut tx, &key).await?;
            tx.commit().await?;
            if json {
                return say_json(&json!({ "id": id, "key": secret.reveal() }));
            }
            say(secret.reveal())
        }
        Command::List { tenant, json } => {
            let tenant_id = tenant.map(TenantId::from);
            let keys = store::api_keys::list_api_keys(&mut tx, tenant_id.as_ref())
                .await
                .context("could not list the keys")?;
            list(&keys, json)
        }
        Command::Revoke { id } => {
            if !store::api_keys::revoke_api_key(&mut tx, id, now).await? {
                bail!("no key {id} is in use; `postrider keys list` shows them all");
            }
            tx.commit().await?;
            say("revoked")
        }
    }
}

fn list(keys: &[ApiKey], json: bool) -> anyhow::Result<()> {
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
                    "created_at": key.created_at,
                    "revoked_at": key.revoked_at,
                })
            })
            .collect();
        return say_json(&keys);
    }
    say_table(
        [
            "ID", "TENANT", "PREFIX", "ROLES", "CREATED", "STATE", "NAME",
        ],
        keys.iter().map(|key| {
            [
                key.api_key_id.to_string(),
                key.tenant_id.to_string(),
                key.prefix.clone(),
                words(key).join(","),
                key.created_at.to_rfc3339_opts(SecondsFormat::Secs, true),
                if key.revoked_at.is_some() {
                    "revoked"
                } else {
                    "in use"
                }
                .to_owned(),
                key.name.clone(),
            ]
        }),
    )
}
