//! How metrics are judged: a table, not code.

use std::time::Duration;

use lifeboat_failover::health::{Bad, Level, Limits, Rule};
use serde::{Deserialize, Serialize};

/// What kind of thing a metric speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Routers, switches: what lies between hosts and users.
    Device,
    /// The machine.
    Host,
    /// What holds the data.
    Store,
    /// What runs.
    Service,
    /// The way of data to the other side.
    Replication,
    /// What users do.
    Access,
    /// Whatever else a profile looks at.
    Other,
}

/// How the metrics of a pattern are judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Judging {
    /// Words between dots; `*` stands for one word, at the end for one or more.
    metric: &'static str,
    /// What it speaks of.
    pub(crate) part: Part,
    /// What counts when the agent itself calls it bad.
    pub(crate) bad_is: Level,
    /// Limits, ranges, tendencies; nothing where only the agent's word counts.
    pub(crate) rule: Option<Rule>,
    /// The limits are shares of this metric of the same subject.
    pub(crate) share_of: Option<&'static str>,
    /// Values on the good side of this never left an observed range: an idle host that does
    /// something for once is no trouble.
    pub(crate) negligible: Option<f64>,
    /// Whether its distance from nothing counts, either way.
    pub(crate) distance: bool,
    /// Whether it counts only on the side that serves.
    pub(crate) serving_only: bool,
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

const fn said(metric: &'static str, part: Part, bad_is: Level) -> Judging {
    Judging {
        metric,
        part,
        bad_is,
        rule: None,
        share_of: None,
        negligible: None,
        distance: false,
        serving_only: false,
    }
}

const fn high(warn: f64, fail: f64, learn: bool, horizon: u64) -> Option<Rule> {
    limited(Bad::High, warn, fail, learn, horizon)
}

const fn low(warn: f64, fail: f64, learn: bool, horizon: u64) -> Option<Rule> {
    limited(Bad::Low, warn, fail, learn, horizon)
}

const fn limited(bad: Bad, warn: f64, fail: f64, learn: bool, horizon: u64) -> Option<Rule> {
    Some(Rule {
        bad,
        limits: Some(Limits { warn, fail }),
        learn,
        horizon: Some(Duration::from_secs(horizon)),
    })
}

const fn learnt(bad: Bad) -> Option<Rule> {
    Some(Rule {
        bad,
        limits: None,
        learn: true,
        horizon: None,
    })
}

/// The first row that fits counts.
const TABLE: &[Judging] = &[
    Judging {
        rule: low(0.10, 0.02, false, 24 * HOUR),
        share_of: Some("size"),
        ..said("store.*.free", Part::Store, Level::Failed)
    },
    Judging {
        rule: low(0.05, 0.001, false, 24 * HOUR),
        share_of: Some("inodes"),
        ..said("store.*.inodes-free", Part::Store, Level::Failed)
    },
    Judging {
        rule: learnt(Bad::Low),
        serving_only: true,
        ..said("store.*.messages", Part::Store, Level::Degrading)
    },
    Judging {
        rule: learnt(Bad::Low),
        serving_only: true,
        ..said("store.*.rows", Part::Store, Level::Degrading)
    },
    said("store.*", Part::Store, Level::Failed),
    said("stores", Part::Store, Level::Failed),
    said("service.*", Part::Service, Level::Failed),
    said("services", Part::Service, Level::Failed),
    Judging {
        rule: high(3.0, 10.0, true, 30 * MINUTE),
        negligible: Some(0.5),
        ..said("access.*", Part::Access, Level::Failed)
    },
    Judging {
        rule: high(60.0, 600.0, true, HOUR),
        negligible: Some(10.0),
        serving_only: true,
        ..said("replication.lag", Part::Replication, Level::Degrading)
    },
    Judging {
        rule: high(2000.0, 50_000.0, true, HOUR),
        negligible: Some(200.0),
        serving_only: true,
        ..said("replication.queue", Part::Replication, Level::Degrading)
    },
    Judging {
        // 1 while it runs. No horizon: it does not glide from one to nothing.
        rule: Some(Rule {
            bad: Bad::Low,
            limits: Some(Limits {
                warn: 0.5,
                fail: -1.0,
            }),
            learn: false,
            horizon: None,
        }),
        serving_only: true,
        ..said("replication.running", Part::Replication, Level::Degrading)
    },
    said("replication", Part::Replication, Level::Degrading),
    said("replication.*", Part::Replication, Level::Degrading),
    said("host.heard", Part::Host, Level::Failed),
    Judging {
        rule: low(0.10, 0.02, false, 6 * HOUR),
        share_of: Some("memory"),
        ..said("host.memory-available", Part::Host, Level::Degrading)
    },
    Judging {
        rule: learnt(Bad::High),
        negligible: Some(8.0),
        ..said("host.load", Part::Host, Level::Degrading)
    },
    Judging {
        // Tickets of a directory bear five minutes.
        rule: high(60.0, 280.0, false, HOUR),
        distance: true,
        ..said("host.clock-offset", Part::Host, Level::Normal)
    },
    said("host", Part::Host, Level::Degrading),
    said("host.*", Part::Host, Level::Degrading),
    Judging {
        rule: high(1.0, 5.0, true, 30 * MINUTE),
        negligible: Some(0.05),
        ..said("network.*", Part::Device, Level::Failed)
    },
];

const OTHER: Judging = said("*", Part::Other, Level::Degrading);

/// How a metric is judged.
pub(crate) fn judging(metric: &str) -> &'static Judging {
    let row = TABLE.iter().find(|row| fits(row.metric, metric));
    row.unwrap_or(&OTHER)
}

/// Whether `name` is one of those that `pattern` stands for.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let (mut words, mut wanted) = (name.split('.'), pattern.split('.').peekable());
    while let Some(want) = wanted.next() {
        match (want, words.next()) {
            (_, None) => return false,
            ("*", Some(_)) if wanted.peek().is_none() => return true,
            ("*", Some(_)) => {}
            (want, Some(word)) if want == word => {}
            _ => return false,
        }
    }
    words.next().is_none()
}

impl Judging {
    /// The rule with its limits in the metric's own unit; `None` when the whole is not known.
    pub(crate) fn rule(&self, whole: Option<f64>) -> Option<Rule> {
        let rule = self.rule?;
        if self.share_of.is_none() {
            return Some(rule);
        }
        let whole = whole.filter(|whole| *whole > 0.0)?;
        let scaled = |limits: Limits| Limits {
            warn: limits.warn * whole,
            fail: limits.fail * whole,
        };
        Some(Rule {
            limits: rule.limits.map(scaled),
            ..rule
        })
    }

    /// The name of the metric that is the whole, of which `metric` is a part.
    pub(crate) fn whole_of(&self, metric: &str) -> Option<String> {
        let (front, _) = metric.rsplit_once('.')?;
        self.share_of.map(|last| format!("{front}.{last}"))
    }

    /// Whether a value is too small to have left any range.
    pub(crate) fn is_negligible(&self, value: f64) -> bool {
        match (self.negligible, self.rule) {
            (Some(least), Some(rule)) => match rule.bad {
                Bad::High => value < least,
                Bad::Low => value > least,
            },
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_metric_of_an_agent_has_its_row() {
        let expected = [
            ("store.mail.free", Part::Store),
            ("store.mail.mounted", Part::Store),
            ("service.dovecot", Part::Service),
            ("access.imap", Part::Access),
            ("replication.queue", Part::Replication),
            ("host.load", Part::Host),
            ("host.heard", Part::Host),
            ("network.router.uplink", Part::Device),
            ("raid", Part::Other),
        ];
        for (metric, part) in expected {
            assert_eq!(judging(metric).part, part, "{metric}");
        }
    }

    #[test]
    fn a_star_is_one_word_and_at_the_end_all_that_follow() {
        assert!(fits("store.*.free", "store.mail.free"));
        assert!(!fits("store.*.free", "store.mail.size"));
        assert!(!fits("store.*.free", "store.free"));
        assert!(fits("access.*", "access.web.mail"));
        assert!(!fits("access.*", "access"));
        assert!(!fits("host", "host.load"));
    }

    #[test]
    fn limits_of_a_share_follow_the_whole() {
        let judging = judging("store.mail.free");
        let whole = judging.whole_of("store.mail.free");
        assert_eq!(whole.as_deref(), Some("store.mail.size"));
        let limits = judging.rule(Some(1000.0)).and_then(|rule| rule.limits);
        assert_eq!(limits.map(|limits| limits.warn), Some(100.0));
        assert_eq!(judging.rule(None), None);
        assert_eq!(judging.rule(Some(0.0)), None);
    }

    proptest! {
        #[test]
        fn any_name_is_judged(name in "\\PC{0,80}") {
            let _ = judging(&name).whole_of(&name);
        }

        #[test]
        fn a_pattern_fits_itself(words in prop::collection::vec("[a-z]{1,8}", 1..6)) {
            let name = words.join(".");
            prop_assert!(fits(&name, &name));
            let longer = format!("{}.x", name);
            prop_assert!(!fits(&name, &longer));
        }
    }
}
