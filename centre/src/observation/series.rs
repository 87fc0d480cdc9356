//! One metric of one host over time: what was seen lately, what is ordinary, and how it is now.

use std::collections::VecDeque;
use std::time::Duration;

use lifeboat_agent::wire::{Health, UnixMillis};
use lifeboat_failover::health::{Level, Range, Reason, Sample, Sightings, assess};
use serde::{Deserialize, Serialize};

use super::rules::Judging;

/// How far back a tendency looks.
const WINDOW: UnixMillis = 2 * 3600 * 1000;
/// However quickly an agent reports, so many observations are kept in memory.
const MOST: usize = 1000;

/// One look at a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// When, by the control centre's clock.
    pub at: UnixMillis,
    /// What; nothing when there was no number.
    pub value: Option<f64>,
    /// What it says about health by itself.
    pub state: Health,
    /// What was seen, where a number does not say it.
    pub text: Option<String>,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// How bad.
    pub level: Level,
    /// When it was seen first.
    pub since: UnixMillis,
    /// Why, for people.
    pub reason: String,
}

/// What is remembered of a series besides its observations.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Judged {
    /// The observed range.
    pub(crate) range: Option<Range>,
    /// When it was learnt.
    pub(crate) learnt: UnixMillis,
    sightings: Sightings,
    /// The trouble that counts.
    pub(crate) trouble: Option<Trouble>,
}

/// A series.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series {
    pub(crate) unit: String,
    window: VecDeque<Sample>,
    latest: Option<Look>,
    /// When the trouble that is being looked at was seen first, whether it counts already or not.
    first_seen: Option<UnixMillis>,
    pub(crate) judged: Judged,
}

/// How a look is taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances {
    /// The value of the whole of which this metric is a part.
    pub(crate) whole: Option<f64>,
    /// Whether the host serves, by its own word.
    pub(crate) serves: bool,
}

impl Series {
    /// A series as it was left.
    pub(crate) fn remembered(unit: String, judged: Judged) -> Self {
        Self {
            unit,
            first_seen: judged.trouble.as_ref().map(|trouble| trouble.since),
            judged,
            ..Self::default()
        }
    }

    /// Puts an earlier observation back, without judging it.
    pub(crate) fn recall(&mut self, look: Look) {
        self.keep(&look);
        self.latest = Some(look);
    }

    /// The newest look.
    pub(crate) fn latest(&self) -> Option<&Look> {
        self.latest.as_ref()
    }

    /// The newest number.
    pub(crate) fn value(&self) -> Option<f64> {
        self.window.back().map(|sample| sample.value)
    }

    /// The numbers of the last two hours.
    pub(crate) fn values(&self) -> Vec<f64> {
        self.window.iter().map(|sample| sample.value).collect()
    }

    /// Over what time they were seen.
    pub(crate) fn span(&self) -> Duration {
        let ends = self.window.front().zip(self.window.back());
        let span = ends.map_or(0.0, |(first, last)| last.second - first.second);
        Duration::try_from_secs_f64(span).unwrap_or_default()
    }

    /// Another look; says whether the trouble that counts changed its level.
    pub(crate) fn look(
        &mut self,
        judging: &Judging,
        around: Circumstances,
        unit: &str,
        look: Look,
    ) -> bool {
        // A failed check has no unit of its own; every other change of unit is another metric.
        if look.value.is_some() && self.unit != unit {
            unit.clone_into(&mut self.unit);
            self.window.clear();
            self.judged.range = None;
        }
        self.keep(&look);
        let (seen, reason) = self.judge(judging, around, &look);
        let at = look.at;
        self.latest = Some(look);
        self.count(seen, reason, at)
    }

    /// The metric is not looked at any more: there is nothing to say about it. Says whether there
    /// was trouble before.
    pub(crate) fn forget(&mut self) -> bool {
        self.first_seen = None;
        self.judged.sightings = Sightings::default();
        self.judged.trouble.take().is_some()
    }

    fn keep(&mut self, look: &Look) {
        let Some(value) = look.value.filter(|value| value.is_finite()) else {
            return;
        };
        let second = seconds(look.at);
        // Looks may arrive late; one that is older than what is known changes no tendency.
        if self.window.back().is_some_and(|last| last.second > second) {
            return;
        }
        self.window.push_back(Sample { second, value });
        let oldest = seconds(look.at.saturating_sub(WINDOW));
        while self.window.len() > MOST
            || self
                .window
                .front()
                .is_some_and(|sample| sample.second < oldest)
        {
            self.window.pop_front();
        }
    }

    fn judge(&mut self, judging: &Judging, around: Circumstances, look: &Look) -> (Level, String) {
        if judging.serving_only && !around.serves {
            return (Level::Normal, String::new());
        }
        let (said, words) = match look.state {
            Health::Good => (Level::Normal, String::new()),
            Health::Bad => (judging.bad_is, told(look, &self.unit)),
            Health::Unknown => (Level::Degrading, told(look, &self.unit)),
        };
        let (level, reason) = match (look.value, judging.rule(around.whole)) {
            (Some(value), Some(rule)) => {
                let range = self.judged.range.filter(|_| !judging.is_negligible(value));
                assess(&rule, range, self.window.make_contiguous())
            }
            _ => (Level::Normal, None),
        };
        match reason {
            Some(reason) if level > said => (level, explain(&reason, &self.unit, look)),
            _ => (said, words),
        }
    }

    fn count(&mut self, seen: Level, reason: String, at: UnixMillis) -> bool {
        let before = self.judged.sightings.level();
        let after = self.judged.sightings.look(seen);
        match seen {
            Level::Normal if after == Level::Normal => self.first_seen = None,
            Level::Normal => {}
            _ => {
                self.first_seen.get_or_insert(at);
            }
        }
        self.judged.trouble = match (after, self.judged.trouble.take()) {
            (Level::Normal, _) => None,
            (level, Some(old)) if seen == Level::Normal => Some(Trouble { level, ..old }),
            (level, _) => Some(Trouble {
                level,
                since: self.first_seen.unwrap_or(at),
                reason,
            }),
        };
        before != after
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 fit into 53 bits"
)]
pub(crate) fn seconds(at: UnixMillis) -> f64 {
    at as f64 / 1000.0
}

/// What an agent said, for people.
fn told(look: &Look, unit: &str) -> String {
    match (&look.text, look.value) {
        (Some(text), _) => text.clone(),
        (None, Some(value)) if unit == "bool" => match value == 0.0 {
            true => "it is not so".to_owned(),
            false => "it is so, and should not be".to_owned(),
        },
        (None, Some(value)) => format!("{} is not good", amount(value, unit)),
        (None, None) => "it could not be looked at".to_owned(),
    }
}

fn explain(reason: &Reason, unit: &str, look: &Look) -> String {
    let told = match reason {
        Reason::Limit { .. } if unit == "bool" => "it is not so".to_owned(),
        Reason::Limit { value, limit } => format!(
            "{} is beyond the limit of {}",
            amount(*value, unit),
            amount(*limit, unit)
        ),
        Reason::Range { value, range } => format!(
            "{} is unusual: {} to {} was observed so far",
            amount(*value, unit),
            amount(range.low.max(0.0), unit),
            amount(range.high, unit)
        ),
        Reason::Heading { limit, within } => format!(
            "at this rate it reaches {} in {}",
            amount(*limit, unit),
            duration(within.as_secs_f64())
        ),
    };
    match &look.text {
        Some(text) => format!("{told} ({text})"),
        None => told,
    }
}

/// A value in words that people read easily.
pub(crate) fn amount(value: f64, unit: &str) -> String {
    const UNITS: [&str; 6] = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];
    match unit {
        "bytes" => {
            let mut scaled = value;
            let mut name = UNITS[0];
            for next in &UNITS[1..] {
                if scaled.abs() < 1024.0 {
                    break;
                }
                (scaled, name) = (scaled / 1024.0, next);
            }
            format!("{} {name}", rounded(scaled))
        }
        "s" => duration(value),
        "1" | "count" | "bool" | "" => rounded(value),
        other => format!("{} {other}", rounded(value)),
    }
}

fn duration(seconds: f64) -> String {
    match seconds.abs() {
        short if short < 120.0 => format!("{} s", rounded(seconds)),
        middle if middle < 7200.0 => format!("{:.0} minutes", seconds / 60.0),
        long if long < 172_800.0 => format!("{:.0} hours", seconds / 3600.0),
        _ => format!("{:.0} days", seconds / 86400.0),
    }
}

fn rounded(value: f64) -> String {
    match value.abs() {
        whole if whole >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}
