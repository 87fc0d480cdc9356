//! Delivers what lies in the outbox: every route by a task of its own, so that none waits for
//! another, and each in the order of its notes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lifeboat_agent::wire::UnixMillis;
use sqlx::sqlite::SqlitePool;
use tokio::sync::Notify;

use super::outbox::{self, Note, Way};
use super::route::{Route, When};
use super::{Ends, Gravity, Patience, Recovery, Warning, mail, webhook};
use crate::clock;
use crate::store::Stored;

/// Why a note was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nothing can be delivered this way now.
    Route(String),
    /// This one is not wanted; others may be.
    Note(String),
}

/// After so many failures in a row somebody is told, by another way.
const TOLD_AFTER: u32 = 3;

/// An error with all that is behind it.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

/// The routes of all applications, by `application/route`.
pub(super) type Routes = BTreeMap<String, Route>;

/// What delivery works with.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) pool: SqlitePool,
    pub(super) routes: Mutex<Routes>,
    pub(super) patience: Patience,
    pub(super) wake: Notify,
    busy: Mutex<BTreeSet<String>>,
}

impl Post {
    pub(super) fn new(pool: SqlitePool, patience: Patience) -> Self {
        Self {
            pool,
            routes: Mutex::default(),
            patience,
            wake: Notify::new(),
            busy: Mutex::default(),
        }
    }

    pub(super) fn routes(&self) -> Routes {
        let routes = self.routes.lock();
        routes.map(|routes| routes.clone()).unwrap_or_default()
    }

    /// Delivers for ever.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            let now = clock::unix();
            let next = match self.round(now).await {
                Ok(next) => next,
                Err(error) => {
                    tracing::error!(error = chain(&error), "alerts are not delivered");
                    None
                }
            };
            let pause = next
                .unwrap_or(u64::MAX)
                .saturating_sub(now)
                .clamp(50, 30_000);
            // Woken too often is harmless, too seldom is not: the outbox is looked into anyway.
            let _ = tokio::time::timeout(Duration::from_millis(pause), self.wake.notified()).await;
        }
    }

    async fn round(self: &Arc<Self>, now: UnixMillis) -> Stored<Option<UnixMillis>> {
        outbox::settle(&self.pool, &self.patience, now).await?;
        for name in outbox::due_routes(&self.pool, now).await? {
            let Ok(true) = self.busy.lock().map(|mut busy| busy.insert(name.clone())) else {
                continue;
            };
            let post = self.clone();
            tokio::spawn(async move {
                if let Err(error) = post.serve(&name).await {
                    tracing::error!(route = name, error = chain(&error), "delivery stopped");
                }
                if let Ok(mut busy) = post.busy.lock() {
                    busy.remove(&name);
                }
                post.wake.notify_one();
            });
        }
        outbox::next_due(&self.pool, &self.patience).await
    }

    /// Everything that a route has to deliver now, until it fails.
    async fn serve(&self, name: &str) -> Stored<()> {
        while let Some((note, attempts)) = outbox::next_of(&self.pool, name, clock::unix()).await? {
            let routes = self.routes();
            let sent = match routes.get(name) {
                Some(route) => send(route, &note).await,
                // Its application may come back, with its routes.
                None => Err(Failure::Route("no such route is known now".to_owned())),
            };
            let now = clock::unix();
            match sent {
                Ok(()) => {
                    outbox::delivered(&self.pool, note.id, name, now).await?;
                    self.works_again(name, attempts, now).await?;
                }
                Err(failure) => {
                    self.failed(name, &routes, (&note, attempts + 1), failure, now)
                        .await?;
                }
            }
        }
        Ok(())
    }

    async fn failed(
        &self,
        name: &str,
        routes: &Routes,
        (note, attempts): (&Note, u32),
        failure: Failure,
        now: UnixMillis,
    ) -> Stored<()> {
        let (why, all) = match failure {
            Failure::Route(why) => (why, true),
            Failure::Note(why) => (why, false),
        };
        tracing::warn!(route = name, attempts, "an alert was not delivered: {why}");
        let due = now.saturating_add(self.patience.pause(attempts));
        outbox::failed(&self.pool, (note.id, name), &why, (due, all)).await?;
        if attempts >= self.patience.otherwise_after {
            self.otherwise(name, routes, now).await?;
        }
        // Its own trouble is told once, and never by itself.
        if attempts == TOLD_AFTER && note.key != trouble(name) {
            self.tell_of(name, routes, &why, now).await?;
        }
        Ok(())
    }

    /// What does not go by this route goes by those that are for when it does not.
    async fn otherwise(&self, name: &str, routes: &Routes, now: UnixMillis) -> Stored<()> {
        if routes
            .get(name)
            .is_some_and(|one| one.when == When::Otherwise)
        {
            return Ok(());
        }
        let (application, _) = split(name);
        let others = routes
            .iter()
            .filter(|(id, route)| split(id).0 == application && route.when == When::Otherwise);
        for (id, route) in others {
            let way = Way {
                id,
                least: route.least,
            };
            if outbox::also_by(&self.pool, name, &way, now).await? {
                self.wake.notify_one();
            }
        }
        Ok(())
    }

    async fn tell_of(&self, name: &str, routes: &Routes, why: &str, now: UnixMillis) -> Stored<()> {
        let (application, route) = split(name);
        let warning = Warning {
            key: trouble(name),
            application: Some(application.to_owned()),
            gravity: Gravity::Warning,
            title: format!("alerts of {application} do not leave by `{route}`"),
            text: format!("{why}\n\nThey are kept and tried again until they are delivered.\n"),
            since: now,
            fingerprint: String::new(),
            ends: Ends::WhenOver,
        };
        let others: Vec<Way<'_>> = routes
            .iter()
            .filter(|(id, _)| split(id).0 == application && *id != name)
            .map(|(id, route)| Way {
                id,
                least: route.least,
            })
            .collect();
        outbox::raise(&self.pool, &warning, &others, now).await?;
        self.wake.notify_one();
        Ok(())
    }

    async fn works_again(&self, name: &str, attempts: u32, now: UnixMillis) -> Stored<()> {
        if attempts > 0 {
            outbox::recover(&self.pool, &trouble(name), &Recovery::Recovered, now).await?;
        }
        Ok(())
    }
}

fn trouble(route: &str) -> String {
    format!("alerts/{route}")
}

/// Application and route of a route's full name.
pub(super) fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('/').unwrap_or(("", name))
}

async fn send(route: &Route, note: &Note) -> Result<(), Failure> {
    match (&route.mail, &route.webhook) {
        (Some(mail), _) => mail::send(mail, note).await,
        (None, Some(webhook)) => webhook::send(webhook, note).await,
        (None, None) => Err(Failure::Route("the route leads nowhere".to_owned())),
    }
}
