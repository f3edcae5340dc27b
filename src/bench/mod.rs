//! Benchmarks an operator can run: what the queue alone does here, and what the whole way of a
//! notification does.
//!
//! All but `rules` run in a scratch database on the configured server, gone afterwards, so that
//! figures do not depend on what lies there and nothing of it is touched. `benches/README.md` says
//! how to compare.

pub mod burn_down;
pub mod deliver;
mod furnish;
pub mod live;
mod load;
mod percentiles;
pub mod pipeline;
mod roles;
pub mod rules;
mod sink;
mod stage;
pub mod submit;
