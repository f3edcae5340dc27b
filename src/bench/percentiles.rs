//! Percentiles of measured durations.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a distribution is told by, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Percentiles {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

impl Percentiles {
    /// Of `micros`; all zero if nothing was measured.
    pub(super) fn of(mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        let at = |share: f64| {
            let rank = (share * micros.len() as f64).ceil() as usize;
            let value = micros
                .get(rank.saturating_sub(1))
                .copied()
                .unwrap_or_default();
            f64::from(value) / 1000.0
        };
        Self {
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            max: at(1.0),
        }
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p95, p99, max } = self;
        write!(
            f,
            "p50 {p50:.1} ms, p95 {p95:.1} ms, p99 {p99:.1} ms, max {max:.1} ms"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_nearest_ranks() {
        let percentiles = Percentiles::of((1..=1000).rev().map(|n| n * 1000).collect());

        assert_eq!(percentiles.p50.to_bits(), 500.0_f64.to_bits());
        assert_eq!(percentiles.p99.to_bits(), 990.0_f64.to_bits());
        assert_eq!(percentiles.max.to_bits(), 1000.0_f64.to_bits());
        assert_eq!(Percentiles::of(Vec::new()), Percentiles::default());
    }
}
