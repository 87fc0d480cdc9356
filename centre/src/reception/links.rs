//! The connections to agents: who is there, saying things to them, asking them for actions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lifeboat_agent::ca::{Claim, Seats};
use lifeboat_agent::wire::{
    ActionRequest, ActionResult, Hello, Outcome, Refusal, Serving, ToAgent, UnixMillis,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::clock;

/// Words that wait to be sent to one agent. Whoever cannot say something says it again.
const OUTBOX: usize = 256;
/// An action is asked for again when nothing was heard of it: the word or the answer was lost.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// An agent that lost its control centre dials again within 30 s.
const DIALS_AGAIN: Duration = Duration::from_secs(35);

/// The connection to one agent.
#[derive(Debug)]
struct Link {
    connection: u64,
    hello: Arc<Hello>,
    since: UnixMillis,
    heard: watch::Sender<Instant>,
    outbox: mpsc::Sender<ToAgent>,
    serving: Option<(Serving, UnixMillis)>,
}

/// What is known of a connected agent.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) hello: Arc<Hello>,
    pub(crate) since: UnixMillis,
    /// What it said last about serving, and when it said so.
    pub(crate) serving: Option<(Serving, UnixMillis)>,
}

#[derive(Debug, Default)]
struct Tables {
    seats: Seats,
    links: HashMap<String, Link>,
    /// Since when who was there is not there any more.
    left: HashMap<String, Instant>,
    waiting: HashMap<String, oneshot::Sender<Outcome>>,
    connections: u64,
}

/// All connections to agents.
#[derive(Debug)]
pub(crate) struct Links {
    tables: Mutex<Tables>,
    /// Grows whenever an agent came or went.
    changed: watch::Sender<u64>,
    opened: Instant,
}

impl Default for Links {
    fn default() -> Self {
        Self {
            tables: Mutex::default(),
            changed: watch::Sender::new(0),
            opened: Instant::now(),
        }
    }
}

impl Links {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Every change of the tables is whole before the lock is given back.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection gives itself a number.
    pub(super) fn number(&self) -> u64 {
        let mut tables = self.tables();
        tables.connections += 1;
        tables.connections
    }

    /// Takes the seat of `host` for a connection; another machine that sits there is asked first
    /// whether it is alive.
    pub(super) async fn sit_down(
        &self,
        host: &str,
        connection: u64,
        hello: &Hello,
        patience: Duration,
    ) -> Result<(), Refusal> {
        loop {
            let claim = self.tables().seats.claim(host, connection, hello);
            let sitting = match claim {
                Claim::Seated => return Ok(()),
                Claim::Replaces(_) => {
                    // Its outbox goes, so its task ends.
                    self.tables().links.remove(host);
                    return Ok(());
                }
                Claim::AskFirst(sitting) => sitting,
            };
            if self.is_alive(host, patience).await {
                return Err(self.tables().seats.taken(host));
            }
            self.leave(host, sitting);
        }
    }

    /// From now on the connection can be spoken through.
    pub(super) fn arrive(
        &self,
        host: &str,
        connection: u64,
        hello: Arc<Hello>,
    ) -> Option<mpsc::Receiver<ToAgent>> {
        let (outbox, words) = mpsc::channel(OUTBOX);
        let mut tables = self.tables();
        let seated = tables.seats.seat(host).map(|seat| seat.connection);
        if seated != Some(connection) {
            return None;
        }
        let link = Link {
            connection,
            hello,
            since: clock::unix(),
            heard: watch::Sender::new(Instant::now()),
            outbox,
            serving: None,
        };
        tables.links.insert(host.to_owned(), link);
        tables.left.remove(host);
        drop(tables);
        self.changed.send_modify(|count| *count += 1);
        Some(words)
    }

    /// A connection ended. Says whether it was the host's present one.
    pub(super) fn leave(&self, host: &str, connection: u64) -> bool {
        let mut tables = self.tables();
        tables.seats.leave(host, connection);
        let present = tables
            .links
            .get(host)
            .is_some_and(|link| link.connection == connection);
        if present {
            tables.links.remove(host);
            tables.left.insert(host.to_owned(), Instant::now());
        }
        drop(tables);
        if present {
            self.changed.send_modify(|count| *count += 1);
        }
        present
    }

    /// Ends the connection to a host; its agent dials again.
    pub(crate) fn hang_up(&self, host: &str) {
        // Without its outbox the connection's task ends, and leaves the seat.
        if let Some(link) = self.tables().links.get_mut(host) {
            let (closed, _) = mpsc::channel(1);
            link.outbox = closed;
        }
    }

    /// Something was heard over a connection.
    pub(super) fn heard(&self, host: &str, connection: u64) {
        if let Some(link) = self.tables().links.get(host)
            && link.connection == connection
        {
            link.heard.send_replace(Instant::now());
        }
    }

    pub(super) fn serves(&self, host: &str, serving: Serving) {
        if let Some(link) = self.tables().links.get_mut(host) {
            link.serving = Some((serving, clock::unix()));
        }
    }

    /// An action ended.
    pub(super) fn result(&self, result: ActionResult) {
        let waiting = self.tables().waiting.remove(&result.id);
        if let Some(waiting) = waiting {
            // Who does not wait any more asks again under the same id.
            let _ = waiting.send(result.outcome);
        }
    }

    /// Says something. What is lost is said again by whoever needs it.
    pub(crate) fn say(&self, host: &str, word: ToAgent) -> bool {
        let outbox = self
            .tables()
            .links
            .get(host)
            .map(|link| link.outbox.clone());
        outbox.is_some_and(|outbox| outbox.try_send(word).is_ok())
    }

    /// Whether the agent of a host is connected.
    pub(crate) fn is_there(&self, host: &str) -> bool {
        self.tables().links.contains_key(host)
    }

    /// From when on an agent that is not there counts as gone: `grace` after it left. A control
    /// centre that just opened gives every agent the time that it may take to dial again.
    fn counts_as_gone(&self, host: &str, grace: Duration) -> Instant {
        match self.tables().left.get(host) {
            Some(left) => *left + grace,
            None => self.opened + grace.max(DIALS_AGAIN),
        }
    }

    /// Whether the agent of a host has not been there for `grace`.
    pub(crate) fn is_silent(&self, host: &str, grace: Duration) -> bool {
        !self.is_there(host) && Instant::now() >= self.counts_as_gone(host, grace)
    }

    /// Whether the agent of a host is there, or is back before it counts as gone.
    pub(crate) async fn is_back(&self, host: &str, grace: Duration) -> bool {
        let mut changes = self.changes();
        loop {
            if self.is_there(host) {
                return true;
            }
            let gone = self.counts_as_gone(host, grace);
            if Instant::now() >= gone {
                return false;
            }
            tokio::select! {
                () = sleep_until(gone) => {}
                // The sender lives as long as these links.
                _ = changes.changed() => {}
            }
        }
    }

    /// What is known of a connected agent.
    pub(crate) fn seen(&self, host: &str) -> Option<Seen> {
        let tables = self.tables();
        let link = tables.links.get(host)?;
        Some(Seen {
            hello: link.hello.clone(),
            since: link.since,
            serving: link.serving,
        })
    }

    /// Changes whenever an agent came or went.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Asks for a sign of life.
    pub(crate) async fn is_alive(&self, host: &str, patience: Duration) -> bool {
        let asked = {
            let tables = self.tables();
            tables
                .links
                .get(host)
                .map(|link| (link.heard.subscribe(), link.outbox.clone()))
        };
        let Some((mut heard, outbox)) = asked else {
            return false;
        };
        heard.mark_unchanged();
        if outbox.try_send(ToAgent::Ping(0)).is_err() {
            return false;
        }
        matches!(timeout(patience, heard.changed()).await, Ok(Ok(())))
    }

    /// Returns when the agent of a host has not been there for `grace`.
    pub(crate) async fn is_gone(&self, host: &str, grace: Duration) {
        let mut changes = self.changes();
        let mut end = Instant::now() + grace;
        loop {
            if self.is_there(host) {
                end = Instant::now() + grace;
            } else if Instant::now() >= end {
                return;
            }
            tokio::select! {
                () = sleep_until(end) => {}
                // The sender lives as long as these links.
                _ = changes.changed() => {}
            }
        }
    }

    /// Asks for an action until its outcome is there, over as many connections as it takes.
    pub(crate) async fn ask(&self, host: &str, request: ActionRequest) -> Outcome {
        let mut changes = self.changes();
        loop {
            let (answer, mut wait) = oneshot::channel();
            self.tables().waiting.insert(request.id.clone(), answer);
            let _forget = Forget(self, &request.id);
            loop {
                changes.mark_unchanged();
                self.say(host, ToAgent::Act(request.clone()));
                tokio::select! {
                    outcome = &mut wait => match outcome {
                        Ok(outcome) => return outcome,
                        // Somebody else asked under the same id: ask again.
                        Err(_) => break,
                    },
                    () = sleep(ASK_AGAIN) => {}
                    _ = changes.changed() => {}
                }
            }
        }
    }
}

/// Who stops waiting is not told any more.
struct Forget<'a>(&'a Links, &'a str);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.tables().waiting.remove(self.1);
    }
}
