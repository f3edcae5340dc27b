//! How many jobs a queue has ended lately: a window of a minute that moves by seconds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts};

/// Seconds that count.
const WINDOW_SECONDS: usize = 60;

/// Jobs ended per second and queue, worked out when somebody looks.
#[derive(Debug, Clone)]
pub(crate) struct Rates {
    shown: GaugeVec,
    since: Instant,
    windows: Arc<Mutex<BTreeMap<String, Window>>>,
}

impl Rates {
    pub(crate) fn new(name: &str, help: &str) -> Result<Self, prometheus::Error> {
        Ok(Self {
            shown: GaugeVec::new(Opts::new(name, help), &["queue"])?,
            since: Instant::now(),
            windows: Arc::default(),
        })
    }

    /// Exports a queue at zero.
    pub(crate) fn expect(&self, queue: &str) {
        self.lock().entry(queue.to_owned()).or_default();
    }

    pub(crate) fn ended(&self, queue: &str, jobs: u64) {
        let second = self.since.elapsed().as_secs();
        let mut windows = self.lock();
        match windows.get_mut(queue) {
            Some(window) => window.add(second, jobs),
            None => windows
                .entry(queue.to_owned())
                .or_default()
                .add(second, jobs),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Window>> {
        let windows = self.windows.lock();
        windows.expect("nothing panics while it holds this lock")
    }
}

impl Collector for Rates {
    fn desc(&self) -> Vec<&Desc> {
        self.shown.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let age = self.since.elapsed();
        // A process that is younger than the window has had less time.
        let seconds = age.as_secs_f64().clamp(1.0, WINDOW_SECONDS as f64);
        for (queue, window) in self.lock().iter_mut() {
            let rate = window.total(age.as_secs()) as f64 / seconds;
            self.shown.with_label_values(&[queue]).set(rate);
        }
        self.shown.collect()
    }
}

/// Jobs by the second in which they ended.
#[derive(Debug)]
struct Window {
    counts: [u64; WINDOW_SECONDS],
    last: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            counts: [0; WINDOW_SECONDS],
            last: 0,
        }
    }
}

impl Window {
    fn add(&mut self, second: u64, jobs: u64) {
        self.forget(second);
        self.counts[second as usize % WINDOW_SECONDS] += jobs;
    }

    fn total(&mut self, second: u64) -> u64 {
        self.forget(second);
        self.counts.iter().sum()
    }

    /// Empties the places of seconds that have come since the last time.
    fn forget(&mut self, second: u64) {
        let passed = second.saturating_sub(self.last).min(WINDOW_SECONDS as u64);
        for back in 0..passed {
            self.counts[(second - back) as usize % WINDOW_SECONDS] = 0;
        }
        self.last = self.last.max(second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_counts_for_a_minute() {
        let mut window = Window::default();
        window.add(0, 3);
        window.add(59, 4);

        assert_eq!(window.total(59), 7);
        assert_eq!(window.total(60), 4);
        assert_eq!(window.total(118), 4);
        assert_eq!(window.total(119), 0);
        window.add(10_000, 1);
        assert_eq!(window.total(10_000), 1);
    }
}
