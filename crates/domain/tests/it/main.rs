//! The domain beside programs of other people.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests stop at the first surprise, and read the environment"
)]

mod quiet_hours;
