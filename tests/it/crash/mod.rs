//! What is promised when things die: real processes, a real Postgres, real signals.
//!
//! | | |
//! | --- | --- |
//! | [`storm`] | workers, the front and Postgres die under load; nothing is lost or done twice |
//! | [`takeover`] | a killed worker's jobs run elsewhere within five seconds |
//! | [`cut_off`] | a worker that lives behind a dead connection acts on nothing |
//! | [`replay`] | dead letters are replayed once, whoever of those that run the replay dies |
//! | [`schedule`] | a rule fires once for each of its times, whoever of those that may fire it dies |
//! | [`gap`] | two hundred clients on three nodes hear every number once and in order |
//! | [`leak`] | what is logged meanwhile tells nothing about anybody |
//!
//! The others are tools: [`cluster`] is a Postgres that may be stopped, [`nats`] a nats-server,
//! [`fleet`] the processes of a deployment, [`load`] who sends, [`books`] what must be in the tables afterwards, and [`valve`] a
//! network that can stand still.

pub(crate) mod books;
pub(crate) mod cluster;
mod cut_off;
pub(crate) mod fleet;
mod gap;
mod leak;
pub(crate) mod load;
mod nats;
mod replay;
mod schedule;
mod storm;
mod takeover;
mod valve;
