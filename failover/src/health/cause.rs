//! Root causes: the first departures in time along known dependencies.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Something that left its range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departure {
    /// What: a service, a store, a host, a link.
    pub subject: String,
    /// Since when, on the control centre's clock.
    pub since: Duration,
}

/// `subject` needs `needs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// Which.
    pub subject: String,
    /// What it needs.
    pub needs: String,
}

/// A departure and what explains it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// What departed.
    pub departure: Departure,
    /// The departed subject that it needs and that departed first; nothing for a root cause.
    pub because_of: Option<String>,
}

/// Orders `departures`: root causes first, each followed in time by what it explains. A need that
/// departed up to `slack` later still explains: observations are that far apart.
pub fn root_causes(
    departures: &[Departure],
    dependencies: &[Dependency],
    slack: Duration,
) -> Vec<Cause> {
    let mut causes: Vec<Cause> = departures
        .iter()
        .map(|departure| Cause {
            departure: departure.clone(),
            because_of: explanation(departure, departures, dependencies, slack),
        })
        .collect();
    causes.sort_by(|one, other| {
        let key = |cause: &Cause| (cause.because_of.is_some(), cause.departure.since);
        key(one)
            .cmp(&key(other))
            .then_with(|| one.departure.subject.cmp(&other.departure.subject))
    });
    causes
}

/// Of all that `departure` needs, directly or not, the first one that departed in time.
fn explanation(
    departure: &Departure,
    departures: &[Departure],
    dependencies: &[Dependency],
    slack: Duration,
) -> Option<String> {
    let needs = all_needs(&departure.subject, dependencies);
    departures
        .iter()
        .filter(|other| needs.contains(&other.subject.as_str()))
        .filter(|other| other.since <= departure.since.saturating_add(slack))
        // Two that need each other do not explain each other: the first one stands.
        .filter(|other| {
            let mutual =
                all_needs(&other.subject, dependencies).contains(&departure.subject.as_str());
            !mutual || (other.since, &other.subject) < (departure.since, &departure.subject)
        })
        .min_by_key(|other| (other.since, other.subject.clone()))
        .map(|other| other.subject.clone())
}

fn all_needs<'a>(subject: &'a str, dependencies: &'a [Dependency]) -> Vec<&'a str> {
    let mut found: Vec<&str> = Vec::new();
    let mut open = vec![subject];
    while let Some(next) = open.pop() {
        for dependency in dependencies
            .iter()
            .filter(|dependency| dependency.subject == next)
        {
            let needs = dependency.needs.as_str();
            if needs != subject && !found.contains(&needs) {
                found.push(needs);
                open.push(needs);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn departed(subject: &str, second: u64) -> Departure {
        Departure {
            subject: subject.to_owned(),
            since: Duration::from_secs(second),
        }
    }

    fn needs(pairs: &[(&str, &str)]) -> Vec<Dependency> {
        let dependency = |(subject, needs): &(&str, &str)| Dependency {
            subject: (*subject).to_owned(),
            needs: (*needs).to_owned(),
        };
        pairs.iter().map(dependency).collect()
    }

    const SLACK: Duration = Duration::from_secs(60);

    #[test]
    fn the_full_disk_explains_the_store_and_the_log_ins() {
        let departures = [
            departed("imap", 130),
            departed("store", 90),
            departed("disk", 100),
        ];
        let known = needs(&[("imap", "store"), ("store", "disk")]);
        let causes = root_causes(&departures, &known, SLACK);
        assert_eq!(causes[0].departure.subject, "disk", "{causes:?}");
        assert_eq!(causes[0].because_of, None);
        assert!(causes[1..].iter().all(|cause| cause.because_of.is_some()));
    }

    #[test]
    fn what_departed_long_before_is_its_own_cause() {
        let departures = [departed("imap", 100), departed("store", 1000)];
        let causes = root_causes(&departures, &needs(&[("imap", "store")]), SLACK);
        assert!(causes.iter().all(|cause| cause.because_of.is_none()));
        assert_eq!(causes[0].departure.subject, "imap");
    }

    #[test]
    fn two_that_need_each_other_leave_the_first_as_the_root() {
        let departures = [departed("a", 10), departed("b", 20)];
        let causes = root_causes(&departures, &needs(&[("a", "b"), ("b", "a")]), SLACK);
        assert_eq!(
            (
                causes[0].departure.subject.as_str(),
                causes[0].because_of.as_deref()
            ),
            ("a", None)
        );
        assert_eq!(causes[1].because_of.as_deref(), Some("a"));
    }
}
