//! How the sessions of a site went, one after the other.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::accelerator::Accelerator;
use crate::report::{Mode, Report};

/// A change of the newest quarter against the others below this share is none.
const STEADY: f64 = 0.1;

/// One session with a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunPoint {
    /// Its id.
    pub session: String,
    /// Test or recovery.
    pub mode: Mode,
    /// How its guests ran.
    pub accelerator: Accelerator,
    /// When it began, Unix time in milliseconds.
    pub began_ms: u64,
    /// Every machine was ready, the sources unchanged, and nothing escaped.
    pub ok: bool,
    /// Its start to its last gate, seconds.
    pub rta_s: f64,
    /// The longest chain of boots in it, seconds.
    pub critical_path_s: f64,
    /// `rta_s / critical_path_s`.
    pub ratio: f64,
    /// Machines.
    pub machines: usize,
    /// What kept it from being ok.
    pub problems: usize,
}

impl RunPoint {
    /// Of a report.
    pub fn new(report: &Report, began_ms: u64) -> Self {
        Self {
            session: report.session.clone(),
            mode: report.mode,
            accelerator: report.accelerator,
            began_ms,
            ok: report.ok,
            rta_s: report.rta_s,
            critical_path_s: report.critical_path_s,
            ratio: report.rta_over_critical_path,
            machines: report.machines.len(),
            problems: report.problems.len(),
        }
    }
}

/// The sessions of a site and where they lead.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SiteHistory {
    /// The newest first.
    pub runs: Vec<RunPoint>,
    /// Of those that were ok, on the accelerator of the newest of them.
    pub trend: Option<Trend>,
}

/// Whether recoveries become quicker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// They do.
    Faster,
    /// They become slower.
    Slower,
    /// Neither.
    Steady,
}

/// What the times from start to last gate did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Trend {
    /// How guests ran in all of them.
    pub accelerator: Accelerator,
    /// How many sessions stand behind it.
    pub runs: usize,
    /// The middle one, seconds.
    pub median_s: f64,
    /// The quickest.
    pub best_s: f64,
    /// The slowest.
    pub worst_s: f64,
    /// The newest.
    pub newest_s: f64,
    /// Seconds more from one session to the next: the middle of the slopes of all pairs, which one
    /// odd session does not bend.
    pub slope_s_per_run: f64,
    /// The same in a word.
    pub direction: Direction,
}

/// Of runs, the newest first.
pub fn trend(runs: &[RunPoint]) -> Option<Trend> {
    let newest = runs.iter().find(|run| run.ok)?;
    let same = runs
        .iter()
        .filter(|run| run.ok && run.accelerator == newest.accelerator);
    // In the order of time.
    let times: Vec<f64> = same.map(|run| run.rta_s).rev().collect();
    let slope = slope(&times);
    let median_s = median(times.clone());
    Some(Trend {
        accelerator: newest.accelerator,
        runs: times.len(),
        median_s,
        best_s: times.iter().copied().fold(f64::INFINITY, f64::min),
        worst_s: times.iter().copied().fold(0.0, f64::max),
        newest_s: newest.rta_s,
        slope_s_per_run: (slope * 1_000.0).round() / 1_000.0,
        direction: direction(slope * (times.len() - 1) as f64, median_s),
    })
}

fn direction(change_s: f64, median_s: f64) -> Direction {
    if change_s.abs() <= STEADY * median_s {
        Direction::Steady
    } else if change_s < 0.0 {
        Direction::Faster
    } else {
        Direction::Slower
    }
}

fn slope(times: &[f64]) -> f64 {
    let pairs = (0..times.len()).flat_map(|late| (0..late).map(move |early| (early, late)));
    let slopes = pairs.map(|(early, late)| (times[late] - times[early]) / (late - early) as f64);
    median(slopes.collect())
}

/// 0 of nothing.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(accelerator: Accelerator, ok: bool, rta_s: f64) -> RunPoint {
        RunPoint {
            session: "s".into(),
            mode: Mode::Test,
            accelerator,
            began_ms: 0,
            ok,
            rta_s,
            critical_path_s: rta_s,
            ratio: 1.0,
            machines: 2,
            problems: usize::from(!ok),
        }
    }

    fn trend_of(oldest_first: &[f64]) -> Trend {
        let runs: Vec<_> = oldest_first
            .iter()
            .rev()
            .map(|rta_s| run(Accelerator::Kvm, true, *rta_s))
            .collect();
        trend(&runs).unwrap()
    }

    #[test]
    fn the_trend_is_told_in_the_order_of_time() {
        for (times, expected) in [
            (&[100.0][..], Direction::Steady),
            (&[100.0, 104.0, 99.0, 101.0], Direction::Steady),
            (&[100.0, 90.0, 80.0, 70.0], Direction::Faster),
            (&[70.0, 80.0, 90.0, 100.0], Direction::Slower),
            // One odd session bends nothing.
            (&[100.0, 101.0, 900.0, 100.0, 99.0], Direction::Steady),
        ] {
            assert_eq!(trend_of(times).direction, expected, "{times:?}");
        }
        let trend = trend_of(&[70.0, 80.0, 90.0, 100.0]);
        assert_eq!(
            (trend.slope_s_per_run, trend.newest_s, trend.median_s),
            (10.0, 100.0, 85.0)
        );
        assert_eq!((trend.best_s, trend.worst_s), (70.0, 100.0));
    }

    #[test]
    fn other_accelerators_and_failures_do_not_count() {
        let runs = [
            run(Accelerator::Tcg, false, 1.0),
            run(Accelerator::Kvm, true, 50.0),
            run(Accelerator::Tcg, true, 900.0),
            run(Accelerator::Kvm, true, 50.0),
        ];
        let trend = trend(&runs).unwrap();
        assert_eq!((trend.runs, trend.worst_s), (2, 50.0));
        assert!(super::trend(&runs[..1]).is_none());
    }
}
