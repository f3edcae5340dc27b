//! The templates that ship with Postrider, embedded in the binary.
//!
//! Adding one: write `templates/<name>.yaml`, list it here. The tests then render it on every
//! channel in every language, with its samples and with nothing.

#[cfg(test)]
mod plurals;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use crate::file::Source;
use crate::{PLAIN, Template};

macro_rules! builtins {
    ($($name:literal),+ $(,)?) => {
        &[$(Source {
            file: concat!("templates/", $name, ".yaml"),
            text: include_str!(concat!("../../../../templates/", $name, ".yaml")),
        }),+]
    };
}

pub(crate) const BUILTINS: &[Source<'static>] = builtins![
    "approval-request",
    "circuit-breaker-alert",
    "compliance.alert",
    "digest",
    "infrastructure-alert",
    "liquidity.low",
    "netting.cycle_completed",
    "order-shipped",
    "order.filled",
    "payment.completed",
    "payment.failed",
    "payment.initiated",
    "pipeline-failure",
    "plain",
    "risk.margin_call",
    "risk.threshold_exceeded",
    "security-alert",
    "settlement.completed",
];

/// What shows a notification whose own template has no words for its channel.
pub(crate) fn plain() -> &'static Template {
    static COMPILED: LazyLock<Template> = LazyLock::new(|| {
        let source = BUILTINS.iter().find(|it| it.file.ends_with("/plain.yaml"));
        let source = source.expect("it is listed above");
        source.compile().expect("a test compiles it")
    });
    debug_assert_eq!(COMPILED.name(), PLAIN);
    &COMPILED
}
