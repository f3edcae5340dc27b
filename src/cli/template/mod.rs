//! `postrider template`: what templates there are, how they look, and whether they are sound.
//!
//! Where no database is configured, these commands know the templates that ship with Postrider.

mod check;
mod files;
mod move_about;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use domain::{Channel, FieldError, TenantId, template_key};
use queue::Clock;
use render::{Rendered, Source, Template, TemplateBody, Templates};
use serde_json::{Value, json};
use store::templates::{TemplateFilter, TemplateHead, TemplateRef, find_template, list_templates};
use store::{Connection, Store};

use super::output::{say, say_json, say_table};
use super::process::connect;
use crate::config::{Config, read_bounded};
use crate::templates::{Trial, try_out};

/// Templates read at once.
const READ_AT_ONCE: i64 = 1000;

/// Longest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List the templates: a tenant's own, and those that ship with Postrider.
    List {
        #[command(flatten)]
        whose: Whose,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a message as a template would make it. Nothing is sent.
    Render(RenderArgs),
    /// Render every sample of templates in every language on every channel, and name what fails.
    Check {
        /// Files, or folders of them; without any, what ships and what is stored is checked.
        #[arg(value_name = "FILE|DIR")]
        paths: Vec<PathBuf>,
        #[command(flatten)]
        whose: Whose,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Save the templates of files, each as a new version. All of them are checked first.
    Import {
        /// YAML or JSON, in the shape of the API's template body.
        #[arg(required = true, value_name = "FILE|DIR")]
        paths: Vec<PathBuf>,
        #[command(flatten)]
        whose: Whose,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write the stored templates into a folder, one YAML file each.
    Export {
        /// Files of the same names are replaced.
        dir: PathBuf,
        /// Only these; those that ship with Postrider can be named, too.
        names: Vec<String>,
        #[command(flatten)]
        whose: Whose,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Whose {
    /// Whose templates.
    #[arg(long, default_value = "default")]
    tenant: String,
}

impl Whose {
    fn tenant_id(&self) -> TenantId {
        TenantId::from(self.tenant.as_str())
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct RenderArgs {
    /// The template's name, if no file is named.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    name: Option<String>,
    /// On which channel.
    #[arg(long, value_parser = parse_channel)]
    channel: Channel,
    /// In which language.
    #[arg(long)]
    locale: Option<String>,
    /// What the template sees, as JSON or as @FILE; without it, its first sample.
    #[arg(long, value_name = "JSON|@FILE")]
    data: Option<String>,
    /// A template that is not saved yet.
    #[arg(long)]
    file: Option<PathBuf>,
    /// Print the HTML of a mail instead of its text.
    #[arg(long, conflicts_with = "json")]
    html: bool,
    #[command(flatten)]
    whose: Whose,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn parse_channel(text: &str) -> Result<Channel, String> {
    let words = || Channel::ALL.map(Channel::as_str).join(", ");
    Channel::parse(text).ok_or_else(|| format!("expected one of {}", words()))
}

/// Answers whether all went well; if not, it has been said what did not.
pub(super) async fn run(config: &Config, command: Command) -> anyhow::Result<bool> {
    match command {
        Command::List { whose, json } => {
            list(config, &whose.tenant_id(), json).await?;
            Ok(true)
        }
        Command::Render(args) => {
            render(config, args).await?;
            Ok(true)
        }
        Command::Check { paths, whose, json } => {
            check::run(config, &paths, &whose.tenant_id(), json).await
        }
        Command::Import { paths, whose, json } => {
            move_about::import(config, &paths, &whose.tenant_id(), json).await
        }
        Command::Export {
            dir,
            names,
            whose,
            json,
        } => {
            move_about::export(config, &dir, &names, &whose.tenant_id(), json).await?;
            Ok(true)
        }
    }
}

fn builtins() -> anyhow::Result<Templates> {
    Templates::builtin().context("could not read the built-in templates")
}

/// The database, where one is configured.
async fn database(config: &Config) -> anyhow::Result<Option<Store>> {
    match &config.database.url {
        Some(_) => connect(config, Duration::ZERO).await.map(Some),
        None => Ok(None),
    }
}

/// All templates that a tenant has stored, by name.
async fn heads(
    connection: &mut Connection,
    tenant_id: &TenantId,
) -> anyhow::Result<Vec<TemplateHead>> {
    let all = TemplateFilter::default();
    let mut found: Vec<TemplateHead> = Vec::new();
    loop {
        let after = found.last().map(|head| template_key(&head.name));
        let after = after.as_deref();
        let next = list_templates(connection, tenant_id, &all, after, READ_AT_ONCE)
            .await
            .context("could not list the templates")?;
        let is_last = next.len() < READ_AT_ONCE as usize;
        found.extend(next);
        if is_last {
            return Ok(found);
        }
    }
}

/// One template in the list.
struct Line {
    key: String,
    name: String,
    version: u32,
    source: &'static str,
    enabled: bool,
    category: Option<String>,
    channels: Vec<&'static str>,
    locales: Vec<String>,
    tags: Vec<String>,
}

impl Line {
    fn of(head: TemplateHead) -> Self {
        Self {
            key: template_key(&head.name),
            name: head.name,
            version: head.version,
            source: "stored",
            enabled: head.enabled,
            category: head.category,
            channels: head.channels.iter().map(|it| it.as_str()).collect(),
            locales: head.locales,
            tags: head.tags,
        }
    }

    fn of_builtin(body: &TemplateBody) -> Self {
        Self {
            key: template_key(&body.name),
            name: body.name.clone(),
            version: 0,
            source: "builtin",
            enabled: body.enabled,
            category: body.category.clone(),
            channels: body.channels.keys().map(|it| it.as_str()).collect(),
            locales: body.translations.keys().cloned().collect(),
            tags: body.tags.clone(),
        }
    }
}

async fn list(config: &Config, tenant_id: &TenantId, json: bool) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    if let Some(store) = database(config).await? {
        let mut conn = store.acquire().await?;
        lines.extend(heads(&mut conn, tenant_id).await?.into_iter().map(Line::of));
    }
    let builtins = builtins()?;
    let shipped = builtins.iter().map(|it| Line::of_builtin(it.body()));
    let shipped: Vec<_> = shipped
        .filter(|line| lines.iter().all(|own| own.key != line.key))
        .collect();
    lines.extend(shipped);
    lines.sort_by(|one, other| one.key.cmp(&other.key));
    if json {
        let lines: Vec<Value> = lines
            .iter()
            .map(|line| {
                json!({
                    "name": line.name, "version": line.version, "source": line.source,
                    "enabled": line.enabled, "category": line.category,
                    "channels": line.channels, "locales": line.locales, "tags": line.tags,
                })
            })
            .collect();
        return say_json(&lines);
    }
    say_table(
        [
            "NAME", "VERSION", "SOURCE", "STATE", "CATEGORY", "CHANNELS", "LOCALES", "TAGS",
        ],
        lines.into_iter().map(|line| {
            let state = if line.enabled { "enabled" } else { "disabled" };
            [
                line.name,
                line.version.to_string(),
                line.source.to_owned(),
                state.to_owned(),
                line.category.unwrap_or_else(|| "-".to_owned()),
                line.channels.join(","),
                line.locales.join(","),
                line.tags.join(","),
            ]
        }),
    )
}

async fn render(config: &Config, args: RenderArgs) -> anyhow::Result<()> {
    let data = args.data.as_deref().map(read_data).transpose()?;
    let (template, version) = match (&args.file, &args.name) {
        (Some(path), _) => {
            let text = read_bounded(path, FILE_BYTES_MAX);
            let text = text.map_err(|problem| {
                anyhow::anyhow!("{}: could not read it: {problem}", path.display())
            })?;
            let file = path.display().to_string();
            let source = Source {
                file: &file,
                text: &text,
            };
            let template = source.compile().map_err(|errors| {
                let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
                anyhow::anyhow!("{}", lines.join("; "))
            })?;
            (Arc::new(template), None)
        }
        (None, Some(name)) => {
            let (template, version) = present(config, name, &args.whose.tenant_id()).await?;
            (template, Some(version))
        }
        (None, None) => bail!("name a template, or a file with --file"),
    };
    let brand = config.brand();
    let trial = Trial {
        channel: args.channel,
        locale: args.locale.as_deref(),
        data: data.as_ref(),
        brand: &brand,
        now: Clock::system().now(),
    };
    let Rendered { message, locale } = try_out(&template, &trial).map_err(one_line)?;
    if args.json {
        return say_json(&json!({
            "subject": message.subject, "body": message.body, "body_html": message.body_html,
            "data": message.data, "locale": locale, "version": version,
        }));
    }
    if args.html {
        let html = message.body_html.context("this message has no HTML")?;
        return say(html.trim_end());
    }
    if let Some(subject) = &message.subject {
        say(&format!("{subject}\n"))?;
    }
    say(message.body.trim_end())?;
    match &message.data {
        Some(data) => say(&format!("\n{data:#}")),
        None => Ok(()),
    }
}

/// What is wrong, as one error.
fn one_line(errors: Vec<FieldError>) -> anyhow::Error {
    let lines = errors
        .into_iter()
        .map(|error| format!("{}: {}", error.pointer, error.detail));
    anyhow::anyhow!("{}", lines.collect::<Vec<_>>().join("; "))
}

fn read_data(said: &str) -> anyhow::Result<Value> {
    let text = match said.strip_prefix('@') {
        Some(path) => read_bounded(path.as_ref(), FILE_BYTES_MAX)
            .map_err(|problem| anyhow::anyhow!("{path}: could not read it: {problem}"))?,
        None => said.to_owned(),
    };
    let data: Value = serde_json::from_str(&text).context("--data is not JSON")?;
    if !data.is_object() {
        bail!("--data must be a JSON object");
    }
    Ok(data)
}

/// The template that a tenant has under a name now, and its version.
async fn present(
    config: &Config,
    name: &str,
    tenant_id: &TenantId,
) -> anyhow::Result<(Arc<Template>, u32)> {
    if let Some(store) = database(config).await? {
        let mut conn = store.acquire().await?;
        let by = TemplateRef::parse(name);
        let stored = find_template(&mut conn, tenant_id, &by).await?;
        if let Some(stored) = stored {
            let body = TemplateBody::parse(stored.body).map_err(one_line)?;
            let template = Template::compile(&body)
                .map_err(|issues| one_line(issues.into_iter().map(FieldError::from).collect()))?;
            return Ok((Arc::new(template), stored.head.version));
        }
    }
    let builtins = builtins()?;
    let builtin = builtins.get(name);
    let builtin = builtin.with_context(|| {
        format!("there is no template {name}; `postrider template list` shows them all")
    })?;
    Ok((Arc::clone(builtin), 0))
}
