//! Where a metric is heading.
//!
//! The slope is Theil and Sen's: the median of the slopes of all pairs, which a third of wild
//! values cannot turn. It counts only when the Mann-Kendall test says that there is a trend at all.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::range::median;

/// One observation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When, in seconds on any clock that runs evenly.
    pub second: f64,
    /// What.
    pub value: f64,
}

/// What the samples say about a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tendency {
    /// There is no trend, or too little to see one.
    None,
    /// It moves away from the limit.
    Away,
    /// It reaches the limit after this time.
    Reaches(Duration),
}

/// Samples that are looked at: the newest two hours at one every 30 s are thinned out to this many.
const MOST: usize = 120;
/// Fewer say nothing.
const FEWEST: usize = 12;
/// Standard deviations of the Mann-Kendall statistic that count as a trend: one false alarm in
/// about 16,000 looks at noise.
const SURE: f64 = 4.0;
/// Later than that is no tendency (ten years).
const LATEST: f64 = 3.2e8;

/// The slope of a trend, in units a second; `None` when there is none.
pub fn tendency(samples: &[Sample]) -> Option<f64> {
    let samples = thinned(samples);
    if samples.len() < FEWEST {
        return None;
    }
    let mut slopes = Vec::with_capacity(samples.len() * samples.len() / 2);
    let mut score = 0.0;
    for (index, later) in samples.iter().enumerate() {
        for earlier in &samples[..index] {
            let time = later.second - earlier.second;
            if time > 0.0 {
                slopes.push((later.value - earlier.value) / time);
                score += (later.value - earlier.value)
                    .partial_cmp(&0.0)
                    .map_or(0.0, sign);
            }
        }
    }
    let count = samples.len() as f64;
    let deviation = (count * (count - 1.0) * (2.0 * count + 5.0) / 18.0).sqrt();
    (score.abs() / deviation >= SURE).then(|| median(&mut slopes))
}

fn sign(order: std::cmp::Ordering) -> f64 {
    match order {
        std::cmp::Ordering::Less => -1.0,
        std::cmp::Ordering::Equal => 0.0,
        std::cmp::Ordering::Greater => 1.0,
    }
}

fn thinned(samples: &[Sample]) -> Vec<Sample> {
    let finite: Vec<Sample> = samples
        .iter()
        .copied()
        .filter(|sample| sample.value.is_finite() && sample.second.is_finite())
        .collect();
    let every = finite.len().div_ceil(MOST).max(1);
    finite.into_iter().rev().step_by(every).rev().collect()
}

/// When the metric reaches `limit`, if it goes on like this.
pub fn time_to(limit: f64, samples: &[Sample]) -> Tendency {
    let (Some(slope), Some(last)) = (tendency(samples), samples.last()) else {
        return Tendency::None;
    };
    let seconds = (limit - last.value) / slope;
    match seconds {
        seconds if !seconds.is_finite() => Tendency::None,
        seconds if seconds < 0.0 => Tendency::Away,
        seconds if seconds > LATEST => Tendency::None,
        seconds => Tendency::Reaches(Duration::from_secs_f64(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(count: u32, slope: f64, noise: f64, random: &mut fastrand::Rng) -> Vec<Sample> {
        (0..count)
            .map(|index| {
                let second = f64::from(index) * 30.0;
                let value = 100.0 + slope * second + noise * (random.f64() - 0.5);
                Sample { second, value }
            })
            .collect()
    }

    #[test]
    fn a_store_that_fills_is_full_when_it_says() {
        let mut random = fastrand::Rng::with_seed(1);
        let samples = line(100, 0.01, 2.0, &mut random);
        let Tendency::Reaches(when) = time_to(200.0, &samples) else {
            panic!("no tendency seen");
        };
        let expected = (200.0 - 100.0 - 0.01 * 99.0 * 30.0) / 0.01;
        assert!(
            (when.as_secs_f64() - expected).abs() < expected * 0.1,
            "{when:?}"
        );
    }

    #[test]
    fn wild_values_do_not_turn_it() {
        let mut random = fastrand::Rng::with_seed(2);
        let mut samples = line(100, 0.01, 1.0, &mut random);
        for index in [5, 40, 41, 77] {
            samples[index].value = 1e9;
        }
        let slope = tendency(&samples).expect("a trend");
        assert!((slope - 0.01).abs() < 0.002, "{slope}");
    }

    #[test]
    fn noise_is_no_tendency() {
        let mut random = fastrand::Rng::with_seed(3);
        let alarms = (0..2000).filter(|_| tendency(&line(60, 0.0, 5.0, &mut random)).is_some());
        assert!(alarms.count() <= 2);
    }

    #[test]
    fn a_falling_value_moves_away_from_a_limit_above() {
        let mut random = fastrand::Rng::with_seed(4);
        assert_eq!(
            time_to(500.0, &line(60, -0.1, 1.0, &mut random)),
            Tendency::Away
        );
    }

    proptest! {
        #[test]
        fn any_samples_have_an_answer(raw in prop::collection::vec((any::<f64>(), any::<f64>()), 0..300), limit: f64) {
            let samples: Vec<Sample> = raw.into_iter().map(|(second, value)| Sample { second, value }).collect();
            let _ = time_to(limit, &samples);
        }
    }
}
