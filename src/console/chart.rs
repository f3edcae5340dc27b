//! Charts of an hour: numbers to lines, drawn as SVG whose shape is in attributes and whose colours
//! are in classes.
//!
//! Lines are drawn into a box that the page stretches; words stand beside it, so they stay legible
//! at any width. Where nothing is known there is a gap, and no line pretends otherwise.

use std::fmt::Write;

/// The box that lines are drawn into.
pub(super) const WIDTH: f64 = 600.0;
pub(super) const HEIGHT: f64 = 120.0;

/// What is drawn, in the order of time.
pub(super) struct Series {
    pub(super) name: &'static str,
    /// `one` or `two`.
    pub(super) class: &'static str,
    /// `None` where nothing is known.
    pub(super) values: Vec<Option<f64>>,
}

/// A chart, ready to be written.
#[derive(Debug, PartialEq)]
pub(super) struct Chart {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// What it shows, in one sentence.
    pub(super) about: &'static str,
    pub(super) lines: Vec<Line>,
    /// The largest number of the scale, and half of it.
    pub(super) top: String,
    pub(super) middle: String,
    /// When it begins and ends.
    pub(super) begins: String,
    pub(super) ends: String,
}

/// One line of a chart.
#[derive(Debug, PartialEq)]
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) class: &'static str,
    /// The line, and the area below it.
    pub(super) path: String,
    pub(super) area: String,
    pub(super) latest: String,
    /// The least and the most, for those who do not see it.
    pub(super) range: Option<(String, String)>,
}

/// What a chart is called, and how its numbers are written.
pub(super) struct Subject {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) about: &'static str,
    pub(super) write: fn(f64) -> String,
    /// The scale reaches at least this far, so that little does not look like much.
    pub(super) top_min: f64,
}

impl Chart {
    /// Draws `series` over the time from `begins` to `ends`.
    pub(super) fn draw(
        subject: &Subject,
        series: Vec<Series>,
        begins: String,
        ends: String,
    ) -> Self {
        let values = series.iter().flat_map(|each| &each.values).flatten();
        let most = values.copied().fold(subject.top_min, f64::max);
        let top = round_up(most);
        let write = subject.write;
        Self {
            id: subject.id,
            title: subject.title,
            about: subject.about,
            lines: series
                .iter()
                .map(|each| Line::draw(each, top, write))
                .collect(),
            top: write(top),
            middle: write(top / 2.0),
            begins,
            ends,
        }
    }

    /// Whether there is anything to see.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.path.is_empty())
    }
}

impl Line {
    fn draw(series: &Series, top: f64, write: fn(f64) -> String) -> Self {
        let known = || series.values.iter().flatten().copied();
        // The last minute may not tell yet.
        let latest = series.values.iter().rev().take(2).flatten().next().copied();
        let range = known().next().map(|first| {
            let (least, most) = known().fold((first, first), |(least, most), value| {
                (least.min(value), most.max(value))
            });
            (write(least), write(most))
        });
        let (path, area) = shape(&series.values, top);
        Self {
            name: series.name,
            class: series.class,
            path,
            area,
            latest: latest.map_or_else(|| "–".to_owned(), write),
            range,
        }
    }
}

/// The line through the known values, and the area below it.
fn shape(values: &[Option<f64>], top: f64) -> (String, String) {
    let step = WIDTH / (values.len().max(2) - 1) as f64;
    let (mut path, mut area) = (String::new(), String::new());
    let points: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(place, value)| {
            let y = |value: f64| HEIGHT - (value / top).clamp(0.0, 1.0) * HEIGHT;
            value.map(|value| (place as f64 * step, y(value)))
        })
        .collect();
    for run in points.split(Option::is_none) {
        let run: Vec<(f64, f64)> = run.iter().flatten().copied().collect();
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            continue;
        };
        for (place, (x, y)) in run.iter().enumerate() {
            let command = if place == 0 { 'M' } else { 'L' };
            // Writing into a string does not fail.
            let _written = write!(path, "{command}{x:.1} {y:.1}");
        }
        if run.len() == 1 {
            // A minute on its own is a dot: a line without length and with round ends.
            path.push_str("h0");
            continue;
        }
        let _written = write!(area, "M{:.1} {HEIGHT:.1}", first.0);
        for (x, y) in &run {
            let _written = write!(area, "L{x:.1} {y:.1}");
        }
        let _written = write!(area, "L{:.1} {HEIGHT:.1}Z", last.0);
    }
    (path, area)
}

/// The next number that is good to read, and whose half is too.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let magnitude = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0].map(|step| step * magnitude);
    steps
        .into_iter()
        .find(|step| *step >= value * 0.999_999)
        .unwrap_or(value)
}

/// The latency below which the part `quantile` of deliveries lies, as far as the bounds tell: within
/// a bound they are taken to lie evenly. `None` if there were none.
pub(super) fn quantile(counts: &[i64], bounds: &[f64], quantile: f64) -> Option<f64> {
    let total: i64 = counts.iter().sum();
    if total <= 0 {
        return None;
    }
    let rank = quantile * total as f64;
    let (mut below, mut lower) = (0.0, 0.0);
    for (count, bound) in counts.iter().zip(bounds) {
        let count = *count as f64;
        if count > 0.0 && below + count >= rank {
            return Some(lower + (bound - lower) * ((rank - below) / count).clamp(0.0, 1.0));
        }
        below += count;
        lower = *bound;
    }
    bounds.last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject {
            id: "c",
            title: "T",
            about: "…",
            write: |value| format!("{value}"),
            top_min: 0.0,
        }
    }

    fn drawn(values: &[Option<f64>]) -> Chart {
        let series = Series {
            name: "s",
            class: "one",
            values: values.to_vec(),
        };
        Chart::draw(&subject(), vec![series], "14:00".into(), "15:00".into())
    }

    #[test]
    fn a_line_goes_from_left_to_right_and_up_with_the_value() {
        let chart = drawn(&[Some(0.0), Some(5.0), Some(10.0)]);

        let line = &chart.lines[0];
        assert_eq!(line.path, "M0.0 120.0L300.0 60.0L600.0 0.0");
        assert_eq!(
            line.area,
            "M0.0 120.0L0.0 120.0L300.0 60.0L600.0 0.0L600.0 120.0Z"
        );
        assert_eq!((chart.top.as_str(), chart.middle.as_str()), ("10", "5"));
        assert_eq!(line.latest, "10");
        assert_eq!(line.range, Some(("0".to_owned(), "10".to_owned())));
    }

    #[test]
    fn where_nothing_is_known_there_is_a_gap() {
        let chart = drawn(&[Some(1.0), Some(1.0), None, Some(1.0), None]);

        let line = &chart.lines[0];
        assert_eq!(line.path, "M0.0 0.0L150.0 0.0M450.0 0.0h0");
        assert_eq!(line.latest, "1", "the last minute does not tell yet");
        assert_eq!(drawn(&[Some(1.0), None, None]).lines[0].latest, "–");
        assert!(drawn(&[None, None]).is_empty());
        assert_eq!(drawn(&[]).lines[0].range, None);
    }

    #[test]
    fn nothing_strange_is_written_into_a_path() {
        for values in [
            vec![Some(f64::MAX), Some(0.0)],
            vec![Some(f64::INFINITY)],
            vec![Some(-5.0), Some(1e-300)],
            vec![Some(0.0); 3],
        ] {
            let chart = drawn(&values);
            let path = &chart.lines[0].path;
            assert!(!path.contains("NaN") && !path.contains("inf"), "{path}");
        }
    }

    #[test]
    fn a_scale_ends_at_a_number_that_is_good_to_read() {
        let tops =
            [0.0, 0.003, 1.0, 1.1, 4.0, 60.0, 999.0].map(|value| round_up(value).to_string());
        assert_eq!(tops, ["1", "0.003", "1", "2", "4", "60", "1000"]);
    }

    #[test]
    fn a_quantile_lies_where_its_rank_does() {
        let bounds = [0.1, 1.0, 10.0];

        assert_eq!(quantile(&[0, 0, 0, 0], &bounds, 0.5), None);
        assert_eq!(quantile(&[10, 0, 0, 0], &bounds, 0.5), Some(0.05));
        let high = quantile(&[90, 0, 10, 0], &bounds, 0.95).unwrap();
        assert!((high - 5.5).abs() < 1e-9, "{high}");
        assert_eq!(quantile(&[0, 0, 0, 3], &bounds, 0.5), Some(10.0));
        assert_eq!(quantile(&[], &bounds, 0.5), None);
    }
}
