//! `postrider token`: a token for a user, as another system would issue it.

use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use domain::{TenantId, UserId};
use queue::Clock;
use serde_json::json;

use super::output::{say, say_json};
use crate::api::token::issue_token_for;
use crate::config::Config;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The user, as events and notifications name them.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    user: String,
    /// The user's tenant.
    #[arg(long, default_value = "default", value_parser = NonEmptyStringValueParser::new())]
    tenant: String,
    /// How long the token is valid.
    #[arg(long, default_value = "1h", value_parser = parse_ttl)]
    ttl: Duration,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A token that is over when it is made is nobody's wish.
fn parse_ttl(text: &str) -> Result<Duration, String> {
    let ttl = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if ttl < Duration::from_secs(1) {
        return Err("must be at least 1s".to_owned());
    }
    Ok(ttl)
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
