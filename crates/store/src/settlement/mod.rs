//! Writes the effects of a whole settlement: one statement per table, whatever the number of jobs.
//!
//! The caller has fenced the jobs and will end them in the same transaction. Here nothing is
//! decided but what may not be moved any more.
//!
//! # Order of locks
//!
//! Digests by key, then deliveries by id, then feeds by user, then notifications by id. Every
//! settlement takes them in this order: each table by one ordered `select … for no key update`, or
//! by one statement over sorted keys, which a nested loop visits in their order. Two settlements may
//! wait for each other in turn, but not in a circle. Behind a pooler, where plans are not ours to
//! choose, a deadlock is possible; Postgres breaks it and the settler tries again.
//!
//! What is planned and moved in one settlement is inserted as what it has come to: nobody else knows
//! of it yet, so nothing is locked, and nothing updated that was just written.
//!
//! # Plans
//!
//! Every statement here must look rows up one by one, by primary key, in the one partition that
//! the id names. Seen with `explain analyze` on 200 000 rows and arrays of 500 ids:
//!
//! - Never analysed, or analysed at that size: a nested loop with an index scan, and partitions
//!   pruned for each row. 2.6 ms for 500 updates.
//! - Analysed while small (1000 rows): a hash join over sequential scans of all partitions. Right
//!   at that moment, but the plan is cached and stays when the table has grown a hundredfold.
//!
//! So a session is told never to join or scan otherwise: see [`connect`](crate::connect). What
//! remains is a partition analysed by hand while empty, where all plans cost the same; its first
//! automatic analysis, after a thousand rows, replaces the plan.

mod apply;
mod count;
mod digests;
mod fold;
mod write;

pub use apply::{Applied, Limits, StatusMove, apply, apply_within};
pub(crate) use digests::severity_of;
pub use digests::{DigestTurn, joined};
pub(crate) use fold::Trace;
