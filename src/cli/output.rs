//! What commands write: tables for people, JSON for programs, one line for an error.

use std::io::{self, Write};

use anyhow::Context;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;

/// Blanks before and after a cell: columns begin at the margin.
const PADDING: (u16, u16) = (0, 2);

/// Writes a line to stdout. A reader that has gone away, as in `| head`, is no error.
pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("could not write to stdout"),
    }
}

/// Writes `value` as one line of JSON.
pub(crate) fn say_json(value: &impl Serialize) -> anyhow::Result<()> {
    say(&serde_json::to_string(value).context("could not write JSON")?)
}

/// Writes a table without lines around its cells, so that other tools can cut it up.
pub(crate) fn say_table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding(PADDING);
    }
    say(&table.trim_fmt())
}

/// Writes an error with its causes as one line to stderr.
pub(crate) fn complain(error: &anyhow::Error) {
    let text = queue::describe(error.as_ref()).replace('\n', " ");
    // What Postgres says of a table that is not there tells nobody what to do.
    let advice = if store::lacks_schema(error.as_ref()) {
        "; run `postrider migrate` first"
    } else {
        ""
    };
    complain_line(&format!("error: {text}{advice}"));
}

/// Writes a line to stderr.
pub(crate) fn complain_line(line: &str) {
    // With stderr closed there is nobody left to tell.
    drop(writeln!(io::stderr(), "{line}"));
}
