//! The workers: what is done about an event, one file per kind of job.
//!
//! A handler is an async function from a job, its loaded rows and the [`Context`] to an outcome:
//! what became of the job, which rows change, which jobs come next. It writes nothing itself; the
//! queue's settler commits the answers of many handlers in one transaction. `README.md` has the
//! table of all kinds.
//!
//! # Reading order
//!
//! [`route`], [`render`](mod@render), [`deliver`] (with [`deliver_in_app`]), [`retry`] and
//! [`quiet_hours`] are a notification's way, with [`throttle`] in front, [`reconsider`](mod@reconsider)
//! for what waits there, and [`batch_flush`] where several events are told together; [`delivery`] is what they share, [`wishes`] what they ask of one that has waited,
//! [`rehearsal`] how it would go, [`catalog`] by which rules; [`burial`] what happens when one of them
//! never answers, [`replay`] how an operator has them tried again, and [`withdraw`](mod@withdraw)
//! how not at all. [`runtime`] registers them with apalis and the queue, [`ledger`] writes what they
//! answer, and [`metrics`] counts it.

mod at_once;
mod batch_flush;
mod brief;
mod burial;
mod cancel;
mod catalog;
mod compiled;
mod context;
pub mod dead_letters;
mod deliver;
mod deliver_in_app;
mod delivery;
mod ledger;
mod limits;
mod loading;
mod metrics;
mod noop;
pub mod providers;
pub mod queues;
mod quiet_hours;
mod reconsider;
mod rehearsal;
mod render;
pub mod replay;
mod retry;
mod route;
mod rulebooks;
mod runtime;
mod schedule;
mod stand_in;
mod subject;
#[cfg(test)]
mod tests;
mod throttle;
mod wishes;
mod withdraw;

pub use batch_flush::BatchFlush;
pub use cancel::{CancelError, cancel};
pub use catalog::{Catalog, Shelf};
pub use compiled::{PinError, PinnedTemplates, Text};
pub use context::Context;
pub use deliver::Deliver;
pub use delivery::urgency;
pub use ledger::INBOX_CHANGED;
pub use limits::WorkerLimits;
pub use metrics::{DeliveryMetrics, LATENCY_BOUNDS};
pub use noop::{Noop, Tally};
pub use providers::Providers;
pub use quiet_hours::{QuietHours, WOKEN, wake_held};
pub use reconsider::reconsider;
pub use rehearsal::{Rehearsal, Rehearsed, RehearsedDelivery, rehearse};
pub use render::Render;
pub use replay::{Replay, ReplayError};
pub use retry::Retry;
pub use route::Route;
pub use runtime::{Parts, Running, start, start_noop};
pub use schedule::{Schedule, mend_schedules, start_schedules};
pub use subject::Subject;
pub use withdraw::{Withdrawn, withdraw};
