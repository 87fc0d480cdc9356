//! The knobs of the reference method, as words of the command line.

use std::path::Path;

use clap::{Args, ValueEnum};
use lifeboat_bootorder::{Literal, Moment, Options, Unit, Weighting};

use crate::daemon::WrongUse;

const DAY_S: f64 = 86_400.0;
const MOST_POINTS: usize = 100_000;

#[derive(Debug, Args)]
pub struct Knobs {
    /// Show what the reference method finds by itself, beside this order.
    #[arg(long)]
    literal: bool,
    /// Weight of the time between two starts: figure8, gamma:SHAPE,SCALE, lognormal:PEAK,SIGMA
    /// (seconds), or a file with a line "SECONDS WEIGHT" for each point of a curve.
    #[arg(long, value_name = "FUNCTION", requires = "literal")]
    weighting: Option<String>,
    /// Correlation that makes a dependency, 0 to 1; "0.7,10=0.6" takes 0.6 from 10 samples on.
    #[arg(long, value_name = "NUMBER", requires = "literal")]
    threshold: Option<String>,
    /// For which moment: past, present (the capture), future, or a time such as
    /// 2026-11-20T14:03:00Z. Starts near it count more; without it all count alike.
    #[arg(long, value_name = "WHEN", requires = "literal")]
    point_in_time: Option<String>,
    /// Distance from that moment at which a start counts half, days.
    #[arg(
        long,
        value_name = "DAYS",
        requires = "point_in_time",
        allow_negative_numbers = true
    )]
    half_life: Option<f64>,
    /// What starts: services, or machines (the "physical boot" variant).
    #[arg(long, value_enum, requires = "literal")]
    unit: Option<UnitWord>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum UnitWord {
    Service,
    Machine,
}

impl Knobs {
    /// Whether the reference method was asked for.
    pub fn is_wanted(&self) -> bool {
        self.literal
    }

    /// The run that they describe.
    pub fn literal(&self) -> Result<Option<Literal>, WrongUse> {
        if !self.literal {
            return Ok(None);
        }
        let mut options = Options::default();
        if let Some(text) = &self.weighting {
            options.weighting = weighting(text)?;
        }
        if let Some(text) = &self.threshold {
            options.threshold = threshold(text)?;
        }
        options.unit = match self.unit {
            Some(UnitWord::Machine) => Unit::Machine,
            Some(UnitWord::Service) | None => Unit::Service,
        };
        let half_life = self.half_life.unwrap_or(30.0);
        if !(half_life > 0.0 && half_life.is_finite()) {
            return Err(wrong(
                "--half-life",
                &half_life.to_string(),
                "a number of days above 0",
            ));
        }
        Ok(Some(Literal {
            options,
            moment: self
                .point_in_time
                .as_deref()
                .map_or(Ok(Moment::Any), moment)?,
            half_life_s: half_life * DAY_S,
        }))
    }
}

fn wrong(flag: &str, value: &str, expected: &str) -> WrongUse {
    let value = crate::report::printable(value);
    WrongUse(format!(
        "`{flag} {value}` is not understood: expected {expected}"
    ))
}

fn moment(text: &str) -> Result<Moment, WrongUse> {
    match text {
        "past" => return Ok(Moment::Past),
        "present" => return Ok(Moment::Present),
        "future" => return Ok(Moment::Future),
        _ => {}
    }
    let time: Result<jiff::Timestamp, _> = text.parse();
    time.map(|time| Moment::At(time.as_millisecond() as f64 / 1000.0))
        .map_err(|_| {
            wrong(
                "--point-in-time",
                text,
                "past, present, future or a time such as 2026-11-20T14:03:00Z",
            )
        })
}

fn threshold(text: &str) -> Result<lifeboat_bootorder::Threshold, WrongUse> {
    let refused = || {
        wrong(
            "--threshold",
            text,
            "a number from 0 to 1, such as 0.7 or 0.7,10=0.6",
        )
    };
    let share = |word: &str| {
        let number: Option<f64> = word.trim().parse().ok();
        number
            .filter(|number| (0.0..=1.0).contains(number))
            .ok_or_else(refused)
    };
    let mut words = text.split(',');
    let base = share(words.next().unwrap_or_default())?;
    let mut by_samples = Vec::new();
    for word in words {
        let (samples, value) = word.split_once('=').ok_or_else(refused)?;
        by_samples.push((
            samples.trim().parse().map_err(|_| refused())?,
            share(value)?,
        ));
    }
    Ok(lifeboat_bootorder::Threshold { base, by_samples })
}

fn weighting(text: &str) -> Result<Weighting, WrongUse> {
    const EXPECTED: &str = "figure8, gamma:SHAPE,SCALE with SHAPE above 1, lognormal:PEAK,SIGMA, or a file of lines \"SECONDS WEIGHT\"";
    let refused = || wrong("--weighting", text, EXPECTED);
    if text == "figure8" {
        return Ok(Weighting::Figure8);
    }
    if let Some(numbers) = text.strip_prefix("gamma:") {
        let (shape, scale_s) = two(numbers)
            .filter(|(shape, _)| *shape > 1.0)
            .ok_or_else(refused)?;
        return Ok(Weighting::Gamma { shape, scale_s });
    }
    if let Some(numbers) = text.strip_prefix("lognormal:") {
        let (peak_s, sigma) = two(numbers).ok_or_else(refused)?;
        return Ok(Weighting::Lognormal { peak_s, sigma });
    }
    if !Path::new(text).is_file() {
        return Err(refused());
    }
    let curve = lifeboat_centre::read_text(Path::new(text))
        .map_err(|error| WrongUse(format!("`--weighting {text}` cannot be read: {error}")))?;
    points(text, &curve)
}

/// Two positive numbers.
fn two(text: &str) -> Option<(f64, f64)> {
    let (first, second) = text.split_once(',')?;
    let positive = |word: &str| {
        let number: f64 = word.trim().parse().ok()?;
        (number > 0.0 && number.is_finite()).then_some(number)
    };
    Some((positive(first)?, positive(second)?))
}

fn points(file: &str, text: &str) -> Result<Weighting, WrongUse> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    for (at, line) in text.lines().enumerate().take(MOST_POINTS) {
        let line = line.split('#').next().unwrap_or("").trim();
        if line.is_empty() {
            continue;
        }
        let refused = || {
            WrongUse(format!(
                "`--weighting {file}`: line {} is not \"SECONDS WEIGHT\" with growing seconds and a weight from 0 to 1",
                at + 1
            ))
        };
        let mut words = line.split_whitespace().map(|word| word.parse::<f64>().ok());
        let (Some(Some(seconds)), Some(Some(weight)), None) =
            (words.next(), words.next(), words.next())
        else {
            return Err(refused());
        };
        let grows = points.last().is_none_or(|(before, _)| *before < seconds);
        if !grows || !seconds.is_finite() || !(0.0..=1.0).contains(&weight) {
            return Err(refused());
        }
        points.push((seconds, weight));
    }
    if points.len() < 2 {
        return Err(WrongUse(format!(
            "`--weighting {file}`: a curve needs at least two points"
        )));
    }
    Ok(Weighting::Table(points))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weightings_are_read_or_refused_by_name() {
        let gamma = Weighting::Gamma {
            shape: 3.0,
            scale_s: 10.5,
        };
        assert_eq!(weighting("gamma:3,10.5").ok(), Some(gamma));
        let lognormal = Weighting::Lognormal {
            peak_s: 15.0,
            sigma: 0.8,
        };
        assert_eq!(weighting("lognormal:15,0.8").ok(), Some(lognormal));
        for text in [
            "gamma:0.5,10",
            "gamma:3",
            "lognormal:-1,2",
            "figure9",
            "gamma:nan,1",
        ] {
            let message = weighting(text).unwrap_err().to_string();
            assert!(
                message.contains(&format!("`--weighting {text}`")),
                "{message}"
            );
        }
        assert_eq!(
            points("f", "0 0\n# x\n10 0.5\n").ok(),
            Some(Weighting::Table(vec![(0.0, 0.0), (10.0, 0.5)]))
        );
        for text in ["0 0\n0 1\n", "0 0\n1 2\n", "0 0\n1\n", "0 0\n"] {
            assert!(points("f", text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn thresholds_follow_the_sample_size() {
        let found = threshold("0.7,10=0.6").ok().map(|t| (t.at(9), t.at(10)));
        assert_eq!(found, Some((0.7, 0.6)));
        for text in ["1.5", "x", "0.7,10", "0.7,a=0.5", "nan"] {
            assert!(threshold(text).is_err(), "{text}");
        }
    }

    #[test]
    fn moments_are_words_or_times() {
        assert_eq!(moment("past").ok(), Some(Moment::Past));
        assert_eq!(moment("1970-01-01T00:01:00Z").ok(), Some(Moment::At(60.0)));
        assert!(moment("yesterday").is_err());
    }
}
