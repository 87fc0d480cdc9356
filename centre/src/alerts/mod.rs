//! Who is told what, and until it was delivered.
//!
//! ```text
//! raise -> alert (one for each trouble) -> notes (raised, changed, over) -> deliveries -> delivered
//! ```
//!
//! Alert, note and deliveries are on disk in one transaction before [`Alerts::raise`] returns; a
//! delivery is done when the receiver took it. After a crash in between it is done again, with the
//! same Message-ID or Idempotency-Key. A delivery that fails is tried again, less and less often
//! and for ever; meanwhile the note goes by the routes that are there for when others fail.
//!
//! The same trouble again is the same alert. What is over is told once it has stayed so for a
//! minute: a trouble that flickers is one alert, not fifty.

mod delivery;
mod mail;
mod notice;
mod outbox;
mod route;
#[cfg(test)]
mod smtp_server;
#[cfg(test)]
mod tests;
mod webhook;

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use lifeboat_agent::wire::UnixMillis;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqlitePool;

use delivery::{Post, Routes, split};
pub use notice::Notice;
pub(crate) use notice::raise;
use outbox::Way;
pub use outbox::{Alert, NoteKind};
pub use route::{Mail, Route, RouteError, Settings, Tls, Webhook, When};

use crate::store::Stored;

/// How grave something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gravity {
    /// For the record.
    Note,
    /// Somebody should look.
    Warning,
    /// Users are affected, or protection is.
    Critical,
}

/// Something that somebody has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What it is about; the same key again is the same trouble.
    pub key: String,
    /// To which application it belongs; without one everybody is told.
    pub application: Option<String>,
    /// How grave it is.
    pub gravity: Gravity,
    /// One line.
    pub title: String,
    /// What happened, and what to do.
    pub text: String,
    /// Since when.
    pub since: UnixMillis,
    /// What of it is news when it changes, while it is the same trouble.
    pub fingerprint: String,
    /// When it ends.
    pub ends: Ends,
}

/// When an alert ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// When that is said.
    WhenOver,
    /// Also when nobody says it again for ten minutes: after that the same is a new alert. Nobody
    /// is told of such an end.
    WhenQuiet,
}

/// How a trouble ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovery {
    /// It is well again.
    Recovered,
    /// It lasts, and something else that is told of explains it.
    ExplainedBy(String),
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recovered => f.write_str("It is well again."),
            Self::ExplainedBy(other) => {
                write!(
                    f,
                    "It lasts, but {other} explains it: see the alert on that."
                )
            }
        }
    }
}

/// How patient delivery is. All in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// The pause after the first failure; it doubles with each further one.
    pub first: UnixMillis,
    /// The longest pause.
    pub longest: UnixMillis,
    /// How long a trouble has to be over before that is told.
    pub settle: UnixMillis,
    /// How long something has to stay unsaid until it counts as over, when nobody says so.
    pub quiet: UnixMillis,
    /// After so many failures the routes for when others fail are taken too.
    pub otherwise_after: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first: 5_000,
            longest: 300_000,
            settle: 60_000,
            quiet: 600_000,
            otherwise_after: 2,
        }
    }
}

impl Patience {
    /// The pause after so many failures.
    fn pause(&self, attempts: u32) -> UnixMillis {
        let doubled = 1u64
            .checked_shl(attempts.saturating_sub(1))
            .unwrap_or(u64::MAX);
        self.first.saturating_mul(doubled).min(self.longest)
    }
}

/// A moment, for people: UTC to the second.
pub(crate) fn moment(at: UnixMillis) -> String {
    let seconds = i64::try_from(at / 1000).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_or_else(|_| "?".to_owned(), |time| time.to_string())
}

/// All alerts; cheap to clone.
#[derive(Debug, Clone)]
pub struct Alerts {
    post: Arc<Post>,
}

impl Alerts {
    /// Alerts in this database. Nothing is delivered until [`Alerts::run`].
    pub fn new(pool: SqlitePool, patience: Patience) -> Self {
        Self {
            post: Arc::new(Post::new(pool, patience)),
        }
    }

    /// The routes of an application, instead of those that it had.
    pub fn set_routes(&self, application: &str, settings: &Settings) {
        let Ok(mut routes) = self.post.routes.lock() else {
            return;
        };
        routes.retain(|name, _| split(name).0 != application);
        for route in &settings.routes {
            routes.insert(format!("{application}/{}", route.name), route.clone());
        }
        drop(routes);
        self.post.wake.notify_one();
    }

    /// Delivers, for ever.
    pub async fn run(&self) {
        self.post.clone().run().await;
    }

    /// Raises an alert, or says again that it lasts. It is on disk when this returns. Says whether
    /// that was news.
    pub async fn raise(&self, warning: &Warning, now: UnixMillis) -> Stored<bool> {
        let routes = self.post.routes();
        let ways = ways(&routes, warning);
        let news = outbox::raise(&self.post.pool, warning, &ways, now).await?;
        if news {
            self.post.wake.notify_one();
        }
        Ok(news)
    }

    /// Tells something that does not last: it happened, and nothing follows.
    pub async fn tell(&self, warning: &Warning, now: UnixMillis) -> Stored<()> {
        let routes = self.post.routes();
        outbox::tell(&self.post.pool, warning, &ways(&routes, warning), now).await?;
        self.post.wake.notify_one();
        Ok(())
    }

    /// A trouble looks over. Whoever was told of it is told so when it stays like that.
    pub async fn recover(&self, key: &str, how: &Recovery, now: UnixMillis) -> Stored<bool> {
        let over = outbox::recover(&self.post.pool, key, how, now).await?;
        if over {
            self.post.wake.notify_one();
        }
        Ok(over)
    }

    /// The newest alerts, newest first; of one application, or of all.
    pub async fn list(
        &self,
        application: Option<&str>,
        only_open: bool,
        most: u32,
    ) -> Stored<Vec<Alert>> {
        outbox::list(&self.post.pool, application, only_open, most.min(10_000)).await
    }

    /// Somebody knows of it. Says whether there is such an alert that nobody knew of.
    pub async fn acknowledge(&self, alert: i64, who: &str, now: UnixMillis) -> Stored<bool> {
        outbox::acknowledge(&self.post.pool, alert, who, now).await
    }

    /// How many notes wait for a route (`application/route`).
    pub async fn waiting(&self, route: &str) -> Stored<u32> {
        outbox::waiting(&self.post.pool, route).await
    }

    /// Lets go what was over and delivered more than `days` ago.
    pub async fn let_go(&self, days: u32, now: UnixMillis) -> Stored<()> {
        let limit = now.saturating_sub(u64::from(days) * 24 * 3600 * 1000);
        outbox::let_go(&self.post.pool, limit).await
    }
}

/// The routes that a new note takes. Those for when others fail follow when others fail.
fn ways<'a>(routes: &'a Routes, warning: &Warning) -> Vec<Way<'a>> {
    let for_it = |name: &str| match &warning.application {
        Some(application) => split(name).0 == application,
        None => true,
    };
    routes
        .iter()
        .filter(|(name, route)| for_it(name) && route.when == When::Always)
        .map(|(id, route)| Way {
            id,
            least: route.least,
        })
        .collect()
}
