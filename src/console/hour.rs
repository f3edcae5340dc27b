//! The last hour, as one look found it: read once for everybody who looks at the overview.
//!
//! Everything here comes from rows that are few however much there is: counts by minute, the pulse,
//! open jobs, and the newest of attempts and dead letters.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use domain::TenantId;
use queue::dead_letter::{DeadLetter, DeadLetterFilter, Order};
use store::deliveries::LastFailure;
use store::pulse::{Minute, What};
use store::stats::MinuteCount;

use super::chart::quantile;
use super::floor::Floor;
use super::fresh::Fresh;
use crate::api::error::ApiError;
use crate::app::App;

/// Minutes that the charts show.
const MINUTES: i32 = 60;

/// Dead letters counted and shown; beyond it there are just more.
const DEAD_COUNTED_MAX: usize = 100;
const DEAD_SHOWN_MAX: usize = 5;

/// Seconds of a minute that must have passed before it is taken to go on like that.
const SECONDS_TELLING: f64 = 15.0;

/// Tenants whose hour is remembered at once.
const TENANTS_MAX: usize = 64;

/// A line of a chart, minute by minute.
pub(super) type Values = Vec<Option<f64>>;

/// One look.
#[derive(Debug)]
pub(super) struct Hour {
    /// The first and the last minute.
    pub(super) begins: DateTime<Utc>,
    pub(super) ends: DateTime<Utc>,
    pub(super) accepted: Values,
    pub(super) went_out: Values,
    /// These four are of the whole installation, and empty for anybody else.
    pub(super) latency_median: Values,
    pub(super) latency_high: Values,
    pub(super) waiting: Values,
    pub(super) oldest: Values,
    /// Per second, over the running minute and the one before.
    pub(super) accepted_rate: f64,
    pub(super) went_out_rate: f64,
    /// Attempts that failed in the hour, by channel and outcome.
    pub(super) failures: Vec<(String, i64)>,
    pub(super) last_failures: Vec<LastFailure>,
    /// The newest dead letters of the hour.
    pub(super) dead: Vec<DeadLetter>,
    pub(super) dead_count: i64,
    pub(super) is_more_dead: bool,
    pub(super) floor: Option<Arc<Floor>>,
}

/// The hours that this process remembers.
#[derive(Debug, Default)]
pub(super) struct Hours(Mutex<HashMap<TenantId, Arc<Fresh<Hour>>>>);

impl Hours {
    fn of(&self, tenant_id: &TenantId) -> Arc<Fresh<Hour>> {
        let mut hours = self.lock();
        if hours.len() >= TENANTS_MAX && !hours.contains_key(tenant_id) {
            hours.clear();
        }
        Arc::clone(hours.entry(tenant_id.clone()).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Arc<Fresh<Hour>>>> {
        self.0
            .lock()
            .expect("nothing panics while it holds this lock")
    }
}

impl Hour {
    /// Looks at what an admin of `tenant_id` may see: of the tenant `default`, the installation.
    pub(super) async fn look(app: &App, tenant_id: &TenantId) -> Result<Arc<Self>, ApiError> {
        let hour = app.console.hours.of(tenant_id);
        hour.get(Box::pin(Self::read(app, tenant_id))).await
    }

    async fn read(app: &App, tenant_id: &TenantId) -> Result<Self, ApiError> {
        let is_all = *tenant_id == TenantId::default();
        let scope = (!is_all).then_some(tenant_id);
        let floor = match scope {
            None => Some(Floor::look(app).await?),
            Some(_) => None,
        };
        let now = app.clock.now();
        let ends = now.duration_trunc(TimeDelta::minutes(1)).unwrap_or(now);
        let begins = ends - TimeDelta::minutes(i64::from(MINUTES) - 1);
        let mut conn = app.store.acquire().await.map_err(ApiError::from_store)?;
        let counts = store::stats::by_minute(&mut conn, scope, begins)
            .await
            .map_err(ApiError::from_store)?;
        let (pulse, failures) = if is_all {
            let pulse = store::pulse::list_minutes(&mut conn, begins)
                .await
                .map_err(ApiError::from_store)?;
            let failures = store::pulse::sums(&mut conn, What::Failures, begins)
                .await
                .map_err(ApiError::from_store)?;
            (pulse, failures)
        } else {
            (Vec::new(), Vec::new())
        };
        let last_failures = store::deliveries::last_failures(&mut conn, scope, begins)
            .await
            .map_err(ApiError::from_store)?;
        let filter = DeadLetterFilter {
            since: Some(begins),
            ..DeadLetterFilter::default()
        };
        let (mut dead, next) = workers::dead_letters::list(
            &mut conn,
            Some(tenant_id),
            &filter,
            None,
            Order::NewestFirst,
            DEAD_COUNTED_MAX,
        )
        .await
        .map_err(ApiError::from_replay)?;
        let dead_count = dead.len() as i64;
        dead.truncate(DEAD_SHOWN_MAX);
        let axis = Axis { begins, now };
        let went_out = |minute: &Minute| minute.went_out.iter().sum::<i64>();
        let known = |value: fn(&Minute) -> Option<f64>| axis.known(&pulse, value);
        let (out, out_line): (Vec<_>, _) = if is_all {
            let minutes = pulse.iter();
            let out = minutes.map(|it| (it.minute, went_out(it))).collect();
            let line = known(|it| Some(it.went_out.iter().sum::<i64>() as f64));
            (out, axis.going_on(line))
        } else {
            let out: Vec<_> = counts.iter().map(|it| (it.minute, it.went_out)).collect();
            let line = axis.counted(&out);
            (out, line)
        };
        let accepted = |it: &MinuteCount| (it.minute, it.notifications);
        let accepted: Vec<_> = counts.iter().map(accepted).collect();
        Ok(Self {
            begins,
            ends,
            accepted_rate: axis.rate(&accepted),
            went_out_rate: axis.rate(&out),
            accepted: axis.counted(&accepted),
            went_out: out_line,
            latency_median: known(|it| quantile(&it.went_out, &workers::LATENCY_BOUNDS, 0.5)),
            latency_high: known(|it| quantile(&it.went_out, &workers::LATENCY_BOUNDS, 0.95)),
            waiting: known(|it| it.waiting.map(|waiting| waiting as f64)),
            oldest: known(|it| it.oldest_seconds),
            failures,
            last_failures,
            dead,
            dead_count,
            is_more_dead: next.is_some(),
            floor,
        })
    }
}

/// The minutes of a chart.
struct Axis {
    begins: DateTime<Utc>,
    now: DateTime<Utc>,
}

impl Axis {
    fn place(&self, minute: DateTime<Utc>) -> Option<usize> {
        let place = usize::try_from((minute - self.begins).num_minutes()).ok()?;
        (place < MINUTES as usize).then_some(place)
    }

    /// How far the last minute has come.
    fn seconds(&self) -> f64 {
        let last = self.begins + TimeDelta::minutes(i64::from(MINUTES) - 1);
        ((self.now - last).num_milliseconds() as f64 / 1000.0).clamp(0.0, 60.0)
    }

    /// Counts by minute; where there is none, nothing happened.
    fn counted(&self, counts: &[(DateTime<Utc>, i64)]) -> Values {
        let mut values = vec![Some(0.0); MINUTES as usize];
        for (minute, count) in counts {
            let value = self.place(*minute).and_then(|place| values.get_mut(place));
            if let Some(value) = value {
                *value = Some(*count as f64);
            }
        }
        self.going_on(values)
    }

    /// The last minute is taken to go on as it has begun, or a line of counts would fall at its end.
    fn going_on(&self, mut values: Values) -> Values {
        let seconds = self.seconds();
        if let Some(last) = values.last_mut() {
            *last = last
                .filter(|_| seconds >= SECONDS_TELLING)
                .map(|count| (count * 60.0 / seconds).round());
        }
        values
    }

    /// What is known of each minute.
    fn known(&self, minutes: &[Minute], value: fn(&Minute) -> Option<f64>) -> Values {
        let mut values = vec![None; MINUTES as usize];
        for minute in minutes {
            let place = self.place(minute.minute);
            if let Some(known) = place.and_then(|place| values.get_mut(place)) {
                *known = value(minute);
            }
        }
        values
    }

    /// Per second, over the running minute and the one before.
    fn rate(&self, counts: &[(DateTime<Utc>, i64)]) -> f64 {
        let recent = counts.iter().filter(|(minute, _)| {
            let place = self.place(*minute);
            place.is_some_and(|place| place + 2 >= MINUTES as usize)
        });
        let count: i64 = recent.map(|(_, count)| count).sum();
        count as f64 / (60.0 + self.seconds())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(seconds: i64) -> Axis {
        let begins = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let now = begins + TimeDelta::minutes(59) + TimeDelta::seconds(seconds);
        Axis { begins, now }
    }

    #[test]
    fn minutes_find_their_place_and_the_last_goes_on_as_it_began() {
        let axis = axis(30);
        let at = |minute| axis.begins + TimeDelta::minutes(minute);

        let values = axis.counted(&[(at(-1), 9), (at(0), 1), (at(59), 20), (at(60), 9)]);

        assert_eq!(values.len(), 60);
        assert_eq!((values[0], values[1]), (Some(1.0), Some(0.0)));
        assert_eq!(values[59], Some(40.0));
        assert!((axis.rate(&[(at(57), 99), (at(58), 60), (at(59), 30)]) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_minute_that_has_hardly_begun_tells_nothing() {
        let axis = axis(5);

        assert_eq!(axis.counted(&[]).last(), Some(&None));
        assert_eq!(axis.known(&[], |_| Some(1.0)), vec![None; 60]);
    }
}
