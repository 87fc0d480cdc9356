//! Real processes, short leases: whatever happens to the agent, the application stops in time.

mod centre;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use centre::{Host, Manner, open, serving};
use lifeboat_agent::ca::Ca;
use lifeboat_agent::wire::{FromAgent, Outcome};
use lifeboat_failover::process::Action;
use nix::sys::signal::Signal;

/// A renewal comes every third of a lease, so between two thirds and a whole one is left.
fn assert_in_time(waited: Duration) {
    let terms = Manner::default().terms;
    assert!(waited > terms.length / 3, "too early: {waited:?}");
    assert!(
        waited < terms.length + Duration::from_secs(2),
        "too late: {waited:?}"
    );
}

#[tokio::test]
async fn a_killed_agent_ends_in_the_fence_when_the_lease_ends() {
    let (_small, mut host) = serving(Manner::default()).await;
    tokio::time::sleep(Manner::default().terms.length * 2).await;
    assert_eq!(host.stops(), 0, "while it is renewed nothing stops it");
    host.kill_agent();
    assert!(host.application_runs());
    assert_in_time(host.wait(false).await);
    // A new agent gets a new lease and takes the application up again: it was wanted.
    host.start_agent();
    host.wait(true).await;
}

#[tokio::test]
async fn a_stopped_agent_ends_in_the_fence_when_the_lease_ends() {
    let (_small, host) = serving(Manner::default()).await;
    host.signal(Signal::SIGSTOP);
    assert_in_time(host.wait(false).await);
    host.signal(Signal::SIGCONT);
    host.wait(true).await;
}

#[tokio::test]
async fn an_agent_that_restarts_within_its_lease_does_not_stop_the_application() {
    let manner = Manner {
        terms: lifeboat_failover::lease::Terms {
            length: Duration::from_secs(6),
            drift_permille: 5,
        },
        ..Manner::default()
    };
    let (mut small, mut host) = serving(manner).await;
    for _ in 0..2 {
        host.kill_agent();
        host.start_agent();
        small
            .hear(|word| matches!(word, FromAgent::Hello(_)).then_some(()))
            .await;
        let served = |word: &FromAgent| match word {
            FromAgent::Report(report) => Some(report.serving.lease_left_ms > 0),
            _ => None,
        };
        assert!(small.hear(served).await, "it never was without a lease");
    }
    assert!(host.application_runs());
    assert_eq!(host.stops(), 0);
}

#[tokio::test]
async fn without_anybody_to_renew_it_the_agent_stops_the_application_and_takes_it_up_again_later() {
    let ca = Ca::make(SystemTime::now()).expect("a CA");
    let manner = Manner {
        ca: Some(Arc::new(ca)),
        ..Manner::default()
    };
    let (small, host) = serving(manner.clone()).await;
    let (book, port) = small.close().await;
    assert_in_time(host.wait(false).await);
    let _small = open(Manner {
        port,
        book,
        first: false,
        ..manner
    })
    .await;
    host.wait(true).await;
}

#[tokio::test]
async fn a_host_without_a_lease_starts_nothing_and_a_request_acts_once() {
    let manner = Manner {
        first: false,
        ..Manner::default()
    };
    let mut small = open(manner).await;
    let mut host = Host::new();
    assert!(
        host.join(small.address, &small.token)
            .await
            .status
            .success()
    );
    host.start_agent();
    small
        .hear(|word| matches!(word, FromAgent::Report(_)).then_some(()))
        .await;
    let outcome = small.act("1", Action::StartServices).await;
    assert!(
        matches!(&outcome, Outcome::Refused { reason } if reason.contains("lease")),
        "{outcome:?}"
    );
    assert!(!host.application_runs());
    let outcome = small.act("2", Action::Promote).await;
    assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
    assert!(host.application("start"));
    let first = small.act("3", Action::StopServices).await;
    assert!(
        matches!(first, Outcome::Done { changed: true, .. }),
        "{first:?}"
    );
    assert!(host.application("start"));
    assert_eq!(
        small.act("3", Action::StopServices).await,
        first,
        "the same answer, no second act"
    );
    assert!(host.application_runs());
    let again = small.act("4", Action::StopServices).await;
    assert!(
        matches!(again, Outcome::Done { changed: true, .. }),
        "{again:?}"
    );
    let already = small.act("5", Action::StopServices).await;
    assert!(
        matches!(already, Outcome::Done { changed: false, .. }),
        "{already:?}"
    );
    let slow = small.act("6", Action::DrainReplication).await;
    assert!(
        matches!(&slow, Outcome::Failed { reason, .. } if reason.contains("killed")),
        "{slow:?}"
    );
}
