//! The templates that ship with Postrider, embedded in the binary.
//!
//! Adding one: write `templates/<name>.yaml`, list it here. The test in [`templates`] then renders
//! it on every channel, with its samples and with nothing.
//!
//! [`templates`]: crate::templates

/// One embedded template file.
pub(crate) struct Builtin {
    pub(crate) file: &'static str,
    pub(crate) source: &'static str,
}

macro_rules! builtins {
    ($($name:literal),+ $(,)?) => {
        &[$(Builtin {
            file: concat!("templates/", $name, ".yaml"),
            source: include_str!(concat!("../../../templates/", $name, ".yaml")),
        }),+]
    };
}

pub(crate) const BUILTINS: &[Builtin] = builtins![
    "order.filled",
    "payment.completed",
    "payment.failed",
    "payment.initiated",
    "plain",
    "risk.margin_call",
    "security-alert",
];
