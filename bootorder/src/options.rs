//! The knobs, above all those of the reference method.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Weight of "A initialised this long after B", 0 to 1.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weighting {
    /// The single-peak function of the reference: nothing within one minute,
    /// the maximum at ten minutes, nothing beyond sixty.
    #[default]
    Figure8,
    /// Gamma density scaled to a maximum of one. `shape` must exceed 1.
    Gamma {
        /// Shape.
        shape: f64,
        /// Scale in seconds.
        scale_s: f64,
    },
    /// Lognormal density scaled to a maximum of one.
    Lognormal {
        /// Time of the maximum in seconds.
        peak_s: f64,
        /// Standard deviation of the logarithm.
        sigma: f64,
    },
    /// Points (seconds, weight), joined by straight lines; zero outside.
    Table(Vec<(f64, f64)>),
}

impl Weighting {
    /// The weight of a gap in seconds.
    pub fn weight(&self, gap_s: f64) -> f64 {
        if !gap_s.is_finite() || gap_s < 0.0 {
            return 0.0;
        }
        let weight = match self {
            Self::Figure8 => between(&[(60.0, 0.0), (600.0, 1.0), (3600.0, 0.0)], gap_s),
            Self::Gamma { shape, scale_s } => gamma(*shape, *scale_s, gap_s),
            Self::Lognormal { peak_s, sigma } => lognormal(*peak_s, *sigma, gap_s),
            Self::Table(points) => between(points, gap_s),
        };
        if weight.is_finite() {
            weight.clamp(0.0, 1.0)
        } else {
            0.0
        }
    }
}

fn gamma(shape: f64, scale_s: f64, gap_s: f64) -> f64 {
    let peak = (shape - 1.0) * scale_s;
    if peak <= 0.0 || peak.is_nan() {
        return 0.0;
    }
    let ratio = gap_s / peak;
    (ratio * (1.0 - ratio).exp()).powf(shape - 1.0)
}

fn lognormal(peak_s: f64, sigma: f64, gap_s: f64) -> f64 {
    if gap_s <= 0.0 || peak_s <= 0.0 || sigma <= 0.0 {
        return 0.0;
    }
    // Scaled so that the mode, not the median, lies at `peak_s`.
    let distance = (gap_s / peak_s).ln();
    (-distance * distance / (2.0 * sigma * sigma)).exp()
}

fn between(points: &[(f64, f64)], at: f64) -> f64 {
    points
        .windows(2)
        .find_map(|pair| match pair {
            [(x0, y0), (x1, y1)] if *x0 <= at && at <= *x1 && x1 > x0 => {
                Some(y0 + (y1 - y0) * (at - x0) / (x1 - x0))
            }
            _ => None,
        })
        .unwrap_or(0.0)
}

/// Initialisations near the point of interest count more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recency {
    /// Seconds since the epoch; `None` is the last record of all logs, that is the capture.
    pub point_of_interest_s: Option<f64>,
    /// Distance in seconds at which an initialisation counts half.
    pub half_life_s: f64,
}

impl Recency {
    pub(crate) fn weight(&self, time_s: f64, last_s: f64) -> f64 {
        if self.half_life_s <= 0.0 {
            return 1.0;
        }
        let point = self.point_of_interest_s.unwrap_or(last_s);
        0.5_f64.powf((time_s - point).abs() / self.half_life_s)
    }
}

/// The correlation above which a pair counts as dependent, by sample size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// Without an entry in `by_samples`.
    pub base: f64,
    /// (at least so many samples, threshold); the entry with the most samples reached wins.
    pub by_samples: Vec<(usize, f64)>,
}

impl Default for Threshold {
    fn default() -> Self {
        Self {
            base: 0.7,
            by_samples: Vec::new(),
        }
    }
}

impl Threshold {
    /// The threshold for a pair seen `samples` times.
    pub fn at(&self, samples: usize) -> f64 {
        self.by_samples
            .iter()
            .filter(|(least, _)| *least <= samples)
            .max_by_key(|(least, _)| *least)
            .map_or(self.base, |(_, threshold)| *threshold)
    }
}

/// What each initialisation stands for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Services; the machine order follows from theirs.
    #[default]
    Service,
    /// The machines themselves: the "physical boot" variant.
    Machine,
}

/// The ways of looking at a site; each makes claims or weighs those of others.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum EstimatorName {
    /// Failures that name another machine.
    Failures,
    /// Configuration that names another machine.
    Configuration,
    /// Dependencies declared inside a machine.
    Declared,
    /// What the role of a machine usually needs.
    RoleTable,
    /// Start times.
    Timing,
    /// Boots that went well without the other machine.
    Negative,
}

impl EstimatorName {
    /// All of them, in the order in which they are listed to people.
    pub const ALL: [Self; 6] = [
        Self::Failures,
        Self::Configuration,
        Self::Declared,
        Self::RoleTable,
        Self::Timing,
        Self::Negative,
    ];

    /// How people are told of it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::Configuration => "configuration",
            Self::Declared => "declared",
            Self::RoleTable => "role table",
            Self::Timing => "timing",
            Self::Negative => "negative evidence",
        }
    }
}

/// All knobs; the default is what the product uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Weighting function of the correlation.
    pub weighting: Weighting,
    /// When a correlation counts as a dependency.
    pub threshold: Threshold,
    /// Weight toward a point in time; `None` weighs all alike.
    pub recency: Option<Recency>,
    /// Weight of an initialisation during which the logs show a failure.
    pub failed_weight: f64,
    /// Services or machines.
    pub unit: Unit,
    /// Share of the boots in which a machine came first that makes a majority.
    pub majority_share: f64,
    /// Evidence lines kept for each edge.
    pub evidence_per_edge: usize,
    /// Estimators left out, to see what each is worth.
    #[serde(default)]
    pub without: BTreeSet<EstimatorName>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            weighting: Weighting::default(),
            threshold: Threshold::default(),
            recency: None,
            failed_weight: 0.5,
            unit: Unit::default(),
            majority_share: 0.7,
            evidence_per_edge: 8,
            without: BTreeSet::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(weighting: &Weighting, gap_s: f64, expected: f64) {
        let weight = weighting.weight(gap_s);
        assert!(
            (weight - expected).abs() < 1e-9,
            "{weighting:?} at {gap_s}: {weight}"
        );
    }

    #[test]
    fn figure_8_has_its_zeros_and_its_single_peak() {
        for (gap, expected) in [
            (0.0, 0.0),
            (60.0, 0.0),
            (600.0, 1.0),
            (3600.0, 0.0),
            (7200.0, 0.0),
        ] {
            check(&Weighting::Figure8, gap, expected);
        }
        check(&Weighting::Figure8, 330.0, 0.5);
        check(&Weighting::Figure8, -600.0, 0.0);
        check(&Weighting::Figure8, f64::NAN, 0.0);
    }

    #[test]
    fn skewed_functions_peak_at_one() {
        check(
            &Weighting::Gamma {
                shape: 3.0,
                scale_s: 10.0,
            },
            20.0,
            1.0,
        );
        check(
            &Weighting::Lognormal {
                peak_s: 15.0,
                sigma: 0.8,
            },
            15.0,
            1.0,
        );
        check(
            &Weighting::Gamma {
                shape: 0.5,
                scale_s: 10.0,
            },
            20.0,
            0.0,
        );
        check(&Weighting::Table(vec![(0.0, 0.0), (10.0, 0.4)]), 5.0, 0.2);
    }

    #[test]
    fn the_threshold_follows_the_sample_size() {
        let threshold = Threshold {
            base: 0.7,
            by_samples: vec![(10, 0.5), (3, 0.6)],
        };
        assert_eq!(
            [threshold.at(1), threshold.at(3), threshold.at(50)],
            [0.7, 0.6, 0.5]
        );
    }

    #[test]
    fn recency_halves_at_the_half_life() {
        let recency = Recency {
            point_of_interest_s: None,
            half_life_s: 100.0,
        };
        assert!((recency.weight(900.0, 1000.0) - 0.5).abs() < 1e-12);
    }
}
