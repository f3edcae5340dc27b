//! `docs/configuration.md`, written from the tree.

use serde_json::Value;

use super::Config;
use super::sources::variable_of;
use super::tree::{Entry, Outline};

/// What the page begins with.
const HEAD: &str = "# Configuration

Every setting, its default and its names. Written from `src/config` by
`postrider config page`; a test compares the two.

Three sources, each above the one before: the defaults, a file, the environment.

- The file is `postrider.yaml` in the working directory, or what `--config FILE` names. In its
  values `${NAME}` and `${NAME:-default}` are taken from the environment; `$${` is `${`.
- In the environment a setting is `POSTRIDER__SECTION__KEY`. Names that other tools set stand
  beside it, and each of those also as `NAME_FILE`, a path to a mounted secret. A list is written
  with commas.
- `PORT` sets the port of `http.listen` and opens the address to the network.
- Durations have a unit: `250ms`, `30s`, `5m`, `1h`, `90d`.

```yaml
http:
  listen: 0.0.0.0:${PORT:-8003}
database:
  url: ${DATABASE_URL}
webhook:
  allow_cidrs: [10.0.0.0/8]
```

A name that means nothing and a value that cannot be read are refused, all together, with file and
line. `postrider config check` says whether the configuration is usable, `postrider config show`
what each setting is and where that comes from, and `postrider doctor` whether the installation
works with it.
";

/// The whole page.
pub fn page() -> String {
    let mut config = Config::default();
    let outline = Outline::of(&mut config);
    let mut page = HEAD.to_owned();
    for heading in outline.headings.iter().filter(|it| !it.path.is_empty()) {
        let own = outline.entries.iter().filter(|entry| {
            let parent = entry.path.rsplit_once('.').map(|(parent, _)| parent);
            parent == Some(&heading.path)
        });
        page.push_str(&section(&heading.path, heading.about, own));
    }
    page
}

fn section<'a>(path: &str, about: &str, entries: impl Iterator<Item = &'a Entry<'a>>) -> String {
    let rows: String = entries.map(row).collect();
    let head = format!("\n## {path}\n\n{}\n", paragraph(about));
    if rows.is_empty() {
        return head;
    }
    format!("{head}\n| setting | default | environment | |\n| --- | --- | --- | --- |\n{rows}")
}

fn row(entry: &Entry<'_>) -> String {
    let alias = entry.alias.map(str::to_owned);
    let names: Vec<String> = alias
        .into_iter()
        .chain([variable_of(&entry.path)])
        .map(|name| format!("`{name}`"))
        .collect();
    format!(
        "| `{}` | {} | {} | {} |\n",
        entry.path,
        default_of(entry),
        names.join(", "),
        one_line(entry.doc).replace('|', "\\|"),
    )
}

fn default_of(entry: &Entry<'_>) -> String {
    match entry.slot.show() {
        Value::Null => "unset".to_owned(),
        Value::Array(items) if items.is_empty() => "empty".to_owned(),
        Value::Object(entries) if entries.is_empty() => "empty".to_owned(),
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

/// A doc comment as one line: the compiler hands each of its lines with the blank before it.
fn one_line(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A doc comment, broken where the page needs it.
fn paragraph(doc: &str) -> String {
    const COLUMNS_MAX: usize = 96;
    let mut lines: Vec<String> = Vec::new();
    for word in doc.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= COLUMNS_MAX => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}
