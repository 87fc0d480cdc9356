//! Observed normal ranges, limits, and what a value says against both.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::tendency::{Sample, Tendency, time_to};

/// Which way a metric is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bad {
    /// Lags, queues, seconds of a log-in, used space.
    High,
    /// Free space, message counts.
    Low,
}

/// Fixed limits, from the profile or the operator.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// From here on it degrades.
    pub warn: f64,
    /// From here on it has failed.
    pub fail: f64,
}

/// How a metric is judged.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Which way is bad.
    pub bad: Bad,
    /// Limits that always hold.
    pub limits: Option<Limits>,
    /// Whether departures from the observed range count as degrading.
    pub learn: bool,
    /// Warn when the tendency reaches the failing limit within this time.
    pub horizon: Option<Duration>,
}

/// What was observed to be ordinary.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// Lowest ordinary value.
    pub low: f64,
    /// Highest ordinary value.
    pub high: f64,
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Within its range.
    Normal,
    /// Impaired, or heading there.
    Degrading,
    /// Users are affected.
    Failed,
}

/// Why a level other than normal.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// A limit is passed.
    #[error("{value} is beyond the limit {limit}")]
    Limit {
        /// What it is.
        value: f64,
        /// What it may be.
        limit: f64,
    },
    /// It left the observed range.
    #[error("{value} is outside of {} to {}, which was observed so far", .range.low, .range.high)]
    Range {
        /// What it is.
        value: f64,
        /// What it was.
        range: Range,
    },
    /// It will reach its limit.
    #[error("at this rate it reaches {limit} in {} minutes", .within.as_secs() / 60)]
    Heading {
        /// What it will reach.
        limit: f64,
        /// When.
        within: Duration,
    },
}

/// Observations that are needed before a range counts: twenty minutes at one every 30 s.
const ENOUGH: usize = 40;
/// How many robust standard deviations are ordinary.
const WIDTH: f64 = 6.0;
/// The robust standard deviation of a normal distribution, in median absolute deviations.
const ROBUST: f64 = 1.4826;

/// The observed range of `values` (finite ones only), robust against a few odd values: the median
/// and six deviations each way, and never narrower than a tenth of the median.
pub fn learn(values: &[f64]) -> Option<Range> {
    let mut values: Vec<f64> = values
        .iter()
        .copied()
        .filter(|value| value.is_finite())
        .collect();
    if values.len() < ENOUGH {
        return None;
    }
    let middle = median(&mut values);
    let mut deviations: Vec<f64> = values.iter().map(|value| (value - middle).abs()).collect();
    let half = (WIDTH * ROBUST * median(&mut deviations)).max(middle.abs() / 10.0);
    Some(Range {
        low: middle - half,
        high: middle + half,
    })
}

pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// What the newest of `samples` (oldest first) says.
pub fn assess(rule: &Rule, range: Option<Range>, samples: &[Sample]) -> (Level, Option<Reason>) {
    let Some(value) = samples.last().map(|sample| sample.value) else {
        return (Level::Normal, None);
    };
    let beyond = |limit: f64| match rule.bad {
        Bad::High => value >= limit,
        Bad::Low => value <= limit,
    };
    if let Some(limits) = rule.limits {
        if beyond(limits.fail) {
            return (
                Level::Failed,
                Some(Reason::Limit {
                    value,
                    limit: limits.fail,
                }),
            );
        }
        if beyond(limits.warn) {
            return (
                Level::Degrading,
                Some(Reason::Limit {
                    value,
                    limit: limits.warn,
                }),
            );
        }
    }
    match departed(rule, range, value).or_else(|| heading(rule, samples)) {
        Some(reason) => (Level::Degrading, Some(reason)),
        None => (Level::Normal, None),
    }
}

fn departed(rule: &Rule, range: Option<Range>, value: f64) -> Option<Reason> {
    let range = range.filter(|_| rule.learn)?;
    let outside = match rule.bad {
        Bad::High => value > range.high,
        Bad::Low => value < range.low,
    };
    outside.then_some(Reason::Range { value, range })
}

fn heading(rule: &Rule, samples: &[Sample]) -> Option<Reason> {
    let (limits, horizon) = (rule.limits?, rule.horizon?);
    match time_to(limits.fail, samples) {
        Tendency::Reaches(within) if within <= horizon => Some(Reason::Heading {
            limit: limits.fail,
            within,
        }),
        _ => None,
    }
}

/// Keeps a level from changing at every flicker: worse needs two sightings in a row, better three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sightings {
    level: Level,
    seen: Level,
    times: u32,
}

impl Default for Sightings {
    fn default() -> Self {
        Self {
            level: Level::Normal,
            seen: Level::Normal,
            times: 0,
        }
    }
}

impl Sightings {
    /// Another look; gives the level that counts.
    pub fn look(&mut self, seen: Level) -> Level {
        self.times = if seen == self.seen { self.times + 1 } else { 1 };
        self.seen = seen;
        let needed = if seen > self.level { 2 } else { 3 };
        if self.times >= needed {
            self.level = seen;
        }
        self.level
    }

    /// The level that counts.
    pub fn level(&self) -> Level {
        self.level
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LAG: Rule = Rule {
        bad: Bad::High,
        limits: Some(Limits {
            warn: 60.0,
            fail: 300.0,
        }),
        learn: true,
        horizon: Some(Duration::from_secs(6 * 3600)),
    };

    fn samples(values: impl IntoIterator<Item = f64>) -> Vec<Sample> {
        let timed = values.into_iter().enumerate();
        timed
            .map(|(index, value)| Sample {
                second: index as f64 * 30.0,
                value,
            })
            .collect()
    }

    fn wobble(index: u32) -> f64 {
        1.0 + f64::from(index * 7919 % 100) / 100.0
    }

    #[test]
    fn ordinary_values_are_ordinary_and_one_odd_one_does_not_widen_the_range() {
        let mut values: Vec<f64> = (0..200).map(wobble).collect();
        values[50] = 10_000.0;
        let range = learn(&values).expect("enough");
        assert!(range.high < 10.0, "{range:?}");
        let seen = samples((0..200).map(wobble));
        assert_eq!(assess(&LAG, Some(range), &seen), (Level::Normal, None));
    }

    #[test]
    fn few_observations_make_no_range() {
        assert_eq!(learn(&[1.0; 39]), None);
        assert_eq!(learn(&[f64::NAN; 100]), None);
    }

    #[test]
    fn a_value_outside_of_its_range_degrades_before_any_limit() {
        let range = learn(&(0..200).map(wobble).collect::<Vec<_>>());
        let (level, reason) = assess(&LAG, range, &samples([20.0]));
        assert_eq!(level, Level::Degrading);
        assert!(matches!(reason, Some(Reason::Range { .. })));
    }

    #[test]
    fn a_growing_lag_is_told_before_it_hurts() {
        let growing = samples((0..60).map(|index| f64::from(index) / 2.0 + wobble(index)));
        let (level, reason) = assess(
            &Rule {
                learn: false,
                ..LAG
            },
            None,
            &growing,
        );
        assert_eq!(level, Level::Degrading);
        assert!(matches!(reason, Some(Reason::Heading { .. })), "{reason:?}");
    }

    #[test]
    fn a_flicker_changes_nothing() {
        let mut sightings = Sightings::default();
        assert_eq!(sightings.look(Level::Failed), Level::Normal);
        assert_eq!(sightings.look(Level::Normal), Level::Normal);
        sightings.look(Level::Failed);
        assert_eq!(sightings.look(Level::Failed), Level::Failed);
        sightings.look(Level::Normal);
        assert_eq!(sightings.look(Level::Normal), Level::Failed);
        assert_eq!(sightings.look(Level::Normal), Level::Normal);
    }

    proptest! {
        #[test]
        fn any_values_are_judged(values in prop::collection::vec(any::<f64>(), 0..200)) {
            let range = learn(&values);
            let _ = assess(&LAG, range, &samples(values));
        }
    }
}
