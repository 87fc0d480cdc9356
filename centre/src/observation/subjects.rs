//! Subjects: what people mean by "the store", "IMAP", "the host". Several metrics speak of one
//! subject, subjects need each other, and the first that departed explains the others.

use std::collections::BTreeMap;
use std::time::Duration;

use lifeboat_agent::profile::Role;
use lifeboat_failover::Side;
use lifeboat_failover::health::{Departure, Dependency, root_causes};
use serde::{Deserialize, Serialize};

use super::rules::{Part, judging};
use super::series::Trouble;

/// A host that is watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The application it belongs to.
    pub application: String,
    /// Its environment.
    pub side: Side,
    /// The host's name in its certificate.
    pub host: String,
    /// What it is to the application.
    pub role: Role,
}

/// Something that can be well or not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subject {
    /// On which host.
    pub host: String,
    /// What kind of thing.
    pub part: Part,
    /// `store.mail`, `access.imap`, `replication`, `host`.
    pub name: String,
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.host, self.name)
    }
}

/// Of what a metric of a host speaks.
pub(crate) fn subject_of(host: &str, metric: &str) -> Subject {
    let part = judging(metric).part;
    let words = match part {
        Part::Host | Part::Replication => 1,
        Part::Store | Part::Service => 2,
        Part::Device | Part::Access | Part::Other => usize::MAX,
    };
    let name: Vec<&str> = metric.split('.').take(words).collect();
    Subject {
        host: host.to_owned(),
        part,
        name: name.join("."),
    }
}

/// A subject that is not well, and what explains it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// What.
    pub subject: Subject,
    /// Where.
    pub side: Side,
    /// How bad, since when, and why.
    pub trouble: Trouble,
    /// The subject that it needs and that departed first; nothing for a root cause.
    pub because_of: Option<String>,
}

/// Which part needs which, on one host.
const NEEDS: &[(Part, &[Part])] = &[
    (
        Part::Access,
        &[Part::Service, Part::Store, Part::Host, Part::Device],
    ),
    (Part::Service, &[Part::Store, Part::Host]),
    (Part::Replication, &[Part::Store, Part::Host, Part::Device]),
    (Part::Store, &[Part::Host]),
    (Part::Host, &[Part::Device]),
    (Part::Other, &[Part::Host]),
];

fn needs_on_a_host(one: Part, other: Part) -> bool {
    let row = NEEDS.iter().find(|(part, _)| *part == one);
    row.is_some_and(|(_, needs)| needs.contains(&other))
}

/// Whether `one` needs `other`.
fn needs(one: (&Subject, &Origin), other: (&Subject, &Origin)) -> bool {
    let ((subject, origin), (needed, there)) = (one, other);
    if subject.host == needed.host {
        return needs_on_a_host(subject.part, needed.part);
    }
    let same_side = origin.side == there.side;
    match (subject.part, needed.part) {
        // Everybody of a side sees the same devices.
        (_, Part::Device) => same_side && needs_on_a_host(subject.part, Part::Device),
        // Users are known to the directory; what is looked at from outside needs the hosts.
        (Part::Access, Part::Host | Part::Access | Part::Service) => {
            same_side && origin.role == Role::Application && there.role == Role::Directory
        }
        // Data need somebody who takes them.
        (Part::Replication, Part::Host) => !same_side && there.role == Role::Application,
        _ => false,
    }
}

/// The troubles of an application in the order of their causes: root causes first, each part of
/// the order by time. Those that are seen from outside (`outside`, on behalf of the users of a
/// side) need whatever that side's hosts offer.
pub(crate) fn explain(
    troubles: &BTreeMap<Subject, (Origin, Trouble)>,
    outside: &str,
    slack: Duration,
) -> Vec<Cause> {
    let departures: Vec<Departure> = troubles
        .iter()
        .map(|(subject, (_, trouble))| Departure {
            subject: subject.to_string(),
            since: Duration::from_millis(trouble.since),
        })
        .collect();
    let mut dependencies = Vec::new();
    for (subject, (origin, _)) in troubles {
        for (needed, (there, _)) in troubles {
            let from_outside = subject.host == outside
                && needed.host != outside
                && origin.side == there.side
                && needed.part != Part::Replication;
            if from_outside || needs((subject, origin), (needed, there)) {
                dependencies.push(Dependency {
                    subject: subject.to_string(),
                    needs: needed.to_string(),
                });
            }
        }
    }
    let found = root_causes(&departures, &dependencies, slack);
    found
        .into_iter()
        .filter_map(|cause| {
            let (subject, (origin, trouble)) = troubles
                .iter()
                .find(|(subject, _)| subject.to_string() == cause.departure.subject)?;
            Some(Cause {
                subject: subject.clone(),
                side: origin.side,
                trouble: trouble.clone(),
                because_of: cause.because_of,
            })
        })
        .collect()
}

/// Of several troubles of one subject, what counts: the worst level, since the first of them, for
/// the reason of the first of the worst.
pub(crate) fn together(metric: &str, trouble: &Trouble, so_far: Option<Trouble>) -> Trouble {
    let words = format!("{metric}: {}", trouble.reason);
    let own = Trouble {
        level: trouble.level,
        since: trouble.since,
        reason: words,
    };
    let Some(other) = so_far else { return own };
    let since = own.since.min(other.since);
    let first =
        (std::cmp::Reverse(own.level), own.since) < (std::cmp::Reverse(other.level), other.since);
    Trouble {
        since,
        ..if first { own } else { other }
    }
}

#[cfg(test)]
mod tests {
    use lifeboat_failover::health::Level;
    use proptest::prelude::*;

    use super::*;

    const SLACK: Duration = Duration::from_secs(60);
    const OUTSIDE: &str = "users";

    fn origin(host: &str, side: Side, role: Role) -> Origin {
        Origin {
            application: "mail".to_owned(),
            side,
            host: host.to_owned(),
            role,
        }
    }

    fn troubles(list: &[(&str, Side, Role, &str, u64)]) -> BTreeMap<Subject, (Origin, Trouble)> {
        let one = |(host, side, role, metric, second): &(&str, Side, Role, &str, u64)| {
            let trouble = Trouble {
                level: Level::Failed,
                since: second * 1000,
                reason: String::new(),
            };
            (
                subject_of(host, metric),
                (origin(host, *side, *role), trouble),
            )
        };
        list.iter().map(one).collect()
    }

    fn told(causes: &[Cause]) -> Vec<(String, Option<&str>)> {
        causes
            .iter()
            .map(|cause| (cause.subject.to_string(), cause.because_of.as_deref()))
            .collect()
    }

    #[test]
    fn metrics_of_one_thing_have_one_subject() {
        assert_eq!(
            subject_of("a", "store.mail.free"),
            subject_of("a", "store.mail.mounted")
        );
        assert_eq!(subject_of("a", "host.load").to_string(), "a/host");
        assert_ne!(
            subject_of("a", "access.imap"),
            subject_of("a", "access.pop3")
        );
    }

    #[test]
    fn a_full_store_explains_services_and_log_ins_and_comes_first() {
        use Role::Application;
        let seen = troubles(&[
            ("mail-a", Side::Primary, Application, "access.imap", 130),
            ("users", Side::Primary, Application, "access.smtp", 140),
            ("mail-a", Side::Primary, Application, "service.dovecot", 120),
            ("mail-a", Side::Primary, Application, "store.mail.free", 100),
        ]);
        let store = Some("mail-a/store.mail");
        assert_eq!(
            told(&explain(&seen, OUTSIDE, SLACK)),
            [
                ("mail-a/store.mail".to_owned(), None),
                ("mail-a/service.dovecot".to_owned(), store),
                ("mail-a/access.imap".to_owned(), store),
                ("users/access.smtp".to_owned(), store),
            ]
        );
    }

    #[test]
    fn a_dead_directory_explains_log_ins_of_its_side_only() {
        let seen = troubles(&[
            ("dc-a", Side::Primary, Role::Directory, "access.ldap", 10),
            (
                "mail-a",
                Side::Primary,
                Role::Application,
                "access.imap",
                40,
            ),
            (
                "mail-b",
                Side::Secondary,
                Role::Application,
                "access.imap",
                50,
            ),
        ]);
        let causes = explain(&seen, OUTSIDE, SLACK);
        assert_eq!(
            told(&causes),
            [
                ("dc-a/access.ldap".to_owned(), None),
                ("mail-b/access.imap".to_owned(), None),
                ("mail-a/access.imap".to_owned(), Some("dc-a/access.ldap")),
            ]
        );
    }

    #[test]
    fn replication_stops_when_the_other_host_is_gone() {
        use Role::Application;
        let seen = troubles(&[
            (
                "mail-a",
                Side::Primary,
                Application,
                "replication.queue",
                70,
            ),
            ("mail-b", Side::Secondary, Application, "host.heard", 30),
        ]);
        let causes = explain(&seen, OUTSIDE, SLACK);
        assert_eq!(causes[1].because_of.as_deref(), Some("mail-b/host"));
    }

    #[test]
    fn the_worst_of_several_counts_and_the_first_says_since_when() {
        let trouble = |level, since| Trouble {
            level,
            since,
            reason: format!("{level:?}"),
        };
        let first = together("a", &trouble(Level::Degrading, 10), None);
        let both = together("b", &trouble(Level::Failed, 20), Some(first.clone()));
        assert_eq!(
            (both.level, both.since, both.reason.as_str()),
            (Level::Failed, 10, "b: Failed")
        );
        let other = together("c", &trouble(Level::Degrading, 30), Some(first));
        assert_eq!(other.reason, "a: Degrading");
    }

    proptest! {
        /// Whatever departs: everything is told once, roots first, and every reason given is a
        /// trouble itself that is not later than the slack allows.
        #[test]
        fn every_trouble_is_told_once_and_explained_by_an_earlier_one(
            list in prop::collection::btree_map((0..3usize, 0..7usize), 0..500u64, 0..16),
        ) {
            let hosts = [
                ("mail-a", Side::Primary, Role::Application),
                ("mail-b", Side::Secondary, Role::Application),
                ("dc-a", Side::Primary, Role::Directory),
            ];
            let metrics = ["host.heard", "store.m.free", "service.d", "access.i", "replication.lag", "network.r", "raid"];
            let list: Vec<_> = list
                .into_iter()
                .map(|((host, metric), second)| {
                    let (name, side, role) = hosts[host];
                    (name, side, role, metrics[metric], second)
                })
                .collect();
            let seen = troubles(&list);
            let causes = explain(&seen, OUTSIDE, SLACK);
            prop_assert_eq!(causes.len(), seen.len());
            prop_assert!(causes.is_empty() || causes[0].because_of.is_none());
            for cause in &causes {
                let Some(because) = &cause.because_of else { continue };
                let root = causes.iter().find(|other| other.subject.to_string() == *because);
                let root = root.expect("a trouble explains a trouble");
                prop_assert!(root.trouble.since <= cause.trouble.since + 60_000);
            }
        }
    }
}
