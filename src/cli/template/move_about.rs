//! `postrider template import` and `export`: templates between files and the database.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use domain::{TenantId, template_key};
use queue::Clock;
use serde_json::{Value, json};
use store::Tx;
use store::audit::{AuditEntry, record};
use store::templates::{
    Saved, StoredTemplate, TemplateRef, VersionRef, create_template, find_template, load_versions,
    replace_template,
};

use super::files::read_all;
use super::{builtins, database, heads};
use crate::cli::output::{complain_line, say, say_json, say_table};
use crate::cli::process::connect;
use crate::cli::signature::actor;
use crate::config::Config;
use crate::templates::to_row;

/// Texts loaded at once.
const LOADED_AT_ONCE: usize = 50;

/// What became of one file.
struct Imported {
    name: String,
    version: u32,
    result: &'static str,
}

/// Saves all files or none. Answers false if one of them is not sound.
pub(super) async fn import(
    config: &Config,
    paths: &[PathBuf],
    tenant_id: &TenantId,
    json: bool,
) -> anyhow::Result<bool> {
    let mut bodies = Vec::new();
    let mut is_sound = true;
    for file in read_all(paths)? {
        match file.check() {
            Ok(body) => bodies.push((file.name().to_owned(), body)),
            Err(errors) => {
                is_sound = false;
                for error in errors {
                    complain_line(&error.to_string());
                }
            }
        }
    }
    if !is_sound {
        complain_line("error: nothing was imported; mend the files above first");
        return Ok(false);
    }
    let store = connect(config, Duration::ZERO).await?;
    let mut tx = store.begin().await?;
    let mut imported = Vec::new();
    for (file, body) in bodies {
        let saved = save(&mut tx, tenant_id, &body).await;
        imported.push(saved.with_context(|| format!("{file}: nothing was imported"))?);
    }
    tx.commit().await?;
    if json {
        let imported: Vec<Value> = imported
            .iter()
            .map(|it| json!({"name": it.name, "version": it.version, "result": it.result}))
            .collect();
        say_json(&imported)?;
        return Ok(true);
    }
    say_table(
        ["NAME", "VERSION", "RESULT"],
        imported
            .into_iter()
            .map(|it| [it.name, it.version.to_string(), it.result.to_owned()]),
    )?;
    Ok(true)
}

/// Saves one template, unless it is stored just so.
async fn save(
    tx: &mut Tx,
    tenant_id: &TenantId,
    body: &render::TemplateBody,
) -> anyhow::Result<Imported> {
    let now = Clock::system().now();
    let by = TemplateRef::Name(body.name.clone());
    let before = find_template(tx, tenant_id, &by).await?;
    if let Some(before) = before
        && before.body == body.to_value()
    {
        return Ok(Imported {
            name: before.head.name,
            version: before.head.version,
            result: "unchanged",
        });
    }
    let row = to_row(body, actor(), now);
    let (stored, result, action) = match replace_template(tx, tenant_id, &by, row.clone()).await? {
        Some(stored) => (stored, "replaced", "template.replaced"),
        None => match create_template(tx, tenant_id, queue::uuid_at(now), row).await? {
            Saved::Done(stored) => (*stored, "created", "template.created"),
            Saved::NameTaken => bail!("another template has this name"),
            Saved::TooMany => bail!("the tenant has as many templates as it may have"),
        },
    };
    note(tx, tenant_id, action, &stored).await?;
    Ok(Imported {
        name: stored.head.name,
        version: stored.head.version,
        result,
    })
}

async fn note(
    tx: &mut Tx,
    tenant_id: &TenantId,
    action: &str,
    stored: &StoredTemplate,
) -> anyhow::Result<()> {
    let head = &stored.head;
    let entry = AuditEntry {
        audit_id: queue::uuid_at(head.updated_at),
        at: head.updated_at,
        tenant_id: tenant_id.clone(),
        actor: actor(),
        action: action.to_owned(),
        subject: head.template_id.to_string(),
        detail: Some(json!({
            "name": head.name, "version": head.version, "enabled": head.enabled,
        })),
    };
    Ok(record(tx, &[entry]).await?)
}

/// Writes templates as files.
pub(super) async fn export(
    config: &Config,
    dir: &Path,
    names: &[String],
    tenant_id: &TenantId,
    json: bool,
) -> anyhow::Result<()> {
    let mut bodies = stored(config, names, tenant_id).await?;
    let builtins = builtins()?;
    for name in names {
        let key = template_key(name);
        if bodies.iter().any(|(found, _)| *found == key) {
            continue;
        }
        let builtin = builtins.get(name).with_context(|| {
            format!("there is no template {name}; `postrider template list` shows them all")
        })?;
        bodies.push((key, builtin.body().to_value()));
    }
    fs::create_dir_all(dir).with_context(|| format!("could not make {}", dir.display()))?;
    let mut written = Vec::new();
    for (key, body) in bodies {
        let path = dir.join(file_name(&key));
        let text = yaml_serde::to_string(&body).context("could not write YAML")?;
        fs::write(&path, text).with_context(|| format!("could not write {}", path.display()))?;
        written.push(path.display().to_string());
    }
    if json {
        return say_json(&written);
    }
    for path in &written {
        say(path)?;
    }
    Ok(())
}

/// The stored ones that are wanted: all, if none is named.
async fn stored(
    config: &Config,
    names: &[String],
    tenant_id: &TenantId,
) -> anyhow::Result<Vec<(String, Value)>> {
    let Some(store) = database(config).await? else {
        return Ok(Vec::new());
    };
    let wanted: Vec<_> = names.iter().map(|name| template_key(name)).collect();
    let mut conn = store.acquire().await?;
    let versions: Vec<_> = heads(&mut conn, tenant_id)
        .await?
        .into_iter()
        .map(|head| VersionRef {
            tenant_id: tenant_id.clone(),
            key: template_key(&head.name),
            version: head.version,
        })
        .filter(|version| names.is_empty() || wanted.contains(&version.key))
        .collect();
    let mut bodies = Vec::new();
    for some in versions.chunks(LOADED_AT_ONCE) {
        let loaded = load_versions(&mut conn, some).await?;
        bodies.extend(loaded.into_iter().map(|it| (it.wanted.key, it.body)));
    }
    bodies.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(bodies)
}

const HEX: [char; 16] = [
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
];

/// A file name that every system takes, and that no other template has.
fn file_name(key: &str) -> String {
    let mut name = String::new();
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b".-".contains(&byte) {
            name.push(char::from(byte));
        } else {
            name.push('%');
            name.extend([byte >> 4, byte & 15].map(|digit| HEX[usize::from(digit)]));
        }
    }
    // A name of dots alone means a folder.
    format!(
        "{}.yaml",
        name.replacen('.', "%2e", usize::from(name.starts_with('.')))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_after_its_template_whatever_that_is_called() {
        assert_eq!(file_name("order.filled"), "order.filled.yaml");
        assert_eq!(file_name("../a b"), "%2e.%2fa%20b.yaml");
        assert_eq!(file_name("ю"), "%d1%8e.yaml");
    }
}
