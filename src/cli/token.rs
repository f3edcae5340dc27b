//! `postrider token`: a token for a user, as another system would issue it.

use std::time::Duration;

use domain::{TenantId, UserId};
use queue::Clock;
use serde_json::json;

use super::output::{say, say_json};
use crate::api::token::issue_token_for;
use crate::config::Config;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The user, as events and notifications name them.
    #[arg(long)]
    user: String,
    /// The user's tenant.
    #[arg(long, default_value = "default")]
    tenant: String,
    /// How long the token is valid.
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    ttl: Duration,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Config, args: &Args) -> anyhow::Result<()> {
    let (tenant_id, user_id) = (
        TenantId::from(args.tenant.as_str()),
        UserId::from(args.user.as_str()),
    );
    let now = Clock::system().now();
    let token = issue_token_for(&config.auth, &tenant_id, &user_id, now, args.ttl)?;
    if args.json {
        say_json(&json!({ "token": token }))
    } else {
        say(&token)
    }
}
