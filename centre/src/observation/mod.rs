//! What agents see, and what it means.
//!
//! ```text
//! report -> series (two hours in memory, all in the database) -> trouble of each metric
//!        -> subjects (several metrics each) -> causes in the order of time -> alerts
//! ```
//!
//! `rules` says how a metric is judged: by the agent's own word, by limits, by the range that was
//! observed so far, by where it is heading. A change counts after two looks, a recovery after
//! three. An observed range is learnt anew every hour from what was good in the last two days: a
//! value that stays different for a day becomes ordinary, fixed limits stay what they are.
//!
//! All times are the control centre's: of an agent's clock only differences are used.

#[cfg(test)]
mod house;
mod intake;
mod observed;
mod records;
mod rules;
mod series;
#[cfg(test)]
mod series_tests;
mod state;
mod subjects;
#[cfg(test)]
mod tests;
mod users;
mod view;

use std::sync::Arc;
use std::time::Duration;

use lifeboat_agent::wire::{Metric, Report, UnixMillis};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqlitePool;
use tokio::sync::Mutex;

pub(crate) use intake::run;
pub use intake::{Heard, Told};
pub use observed::{Degraded, Observed};
pub use records::{PastDeparture, Point, Retention};
pub use rules::Part;
pub use series::{Look, Trouble};
use state::State;
pub use subjects::{Cause, Origin, Subject};
pub use users::{Users, UsersError};
pub use view::{ApplicationHealth, HostHealth, Levels, MetricHealth, SubjectHealth};

use crate::alerts::{Alerts, Ends, Gravity, Recovery, Warning};
use crate::store::{Stored, statement};
use lifeboat_failover::Side;
use lifeboat_failover::health::{Level, learn};

/// The name under which is kept what the control centre sees from outside, as users do.
pub const USERS: &str = "users";

/// How observation works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long what is kept.
    pub retention: Retention,
    /// How often agents report.
    pub report_every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            retention: Retention::default(),
            report_every: Duration::from_secs(30),
        }
    }
}

/// The one owner of everything observed; cheap to clone.
#[derive(Debug, Clone)]
pub struct Observation {
    pool: SqlitePool,
    alerts: Alerts,
    settings: Settings,
    state: Arc<Mutex<State>>,
}

impl Observation {
    /// Observation in this database, which knows nothing until [`Observation::recall`].
    pub fn new(pool: SqlitePool, alerts: Alerts, settings: Settings) -> Self {
        let state = State::new(settings.report_every);
        Self {
            pool,
            alerts,
            settings,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Takes up what was known when the control centre stopped. Nobody is called silent for the
    /// time in which nobody listened.
    pub async fn recall(&self, now: UnixMillis) -> Stored<()> {
        let since = now.saturating_sub(2 * records::HOUR);
        let mut state = self.state.lock().await;
        for (origin, heard) in records::hosts(&self.pool).await? {
            let series = records::series_of(&self.pool, &origin, since).await?;
            state.recall(origin, (heard, now), series);
        }
        for (application, root) in records::open_roots(&self.pool).await? {
            state.told(application, root);
        }
        Ok(())
    }

    /// How often the agents of an application report.
    pub async fn set_pace(&self, application: &str, every: Duration) {
        self.state.lock().await.set_pace(application, every);
    }

    /// Takes an agent's report in. Gives the causes of the application when they changed.
    pub async fn take(
        &self,
        origin: &Origin,
        report: &Report,
        now: UnixMillis,
    ) -> Stored<Option<Vec<Cause>>> {
        let mut state = self.state.lock().await;
        state.serving(origin, &report.serving);
        self.put(&mut state, origin, report.time, &report.metrics, now)
            .await
    }

    /// Takes in what the control centre itself saw on behalf of the users of a side.
    pub async fn take_from_outside(
        &self,
        application: &str,
        side: Side,
        metrics: &[Metric],
        now: UnixMillis,
    ) -> Stored<Option<Vec<Cause>>> {
        let origin = Origin {
            application: application.to_owned(),
            side,
            host: USERS.to_owned(),
            role: lifeboat_agent::profile::Role::Application,
        };
        let mut state = self.state.lock().await;
        self.put(&mut state, &origin, now, metrics, now).await
    }

    async fn put(
        &self,
        state: &mut State,
        origin: &Origin,
        made: UnixMillis,
        metrics: &[Metric],
        now: UnixMillis,
    ) -> Stored<Option<Vec<Cause>>> {
        // Judged first: what is seen counts also while the database cannot keep it.
        let looked = state.look(origin, made, metrics, now);
        if let Err(error) = self.keep(state, origin, looked, now).await {
            // Numbers of series may have been given by what is undone now.
            state.forget_ids(origin);
            return Err(error);
        }
        self.conclude(state, &origin.application, now).await
    }

    async fn keep(
        &self,
        state: &mut State,
        origin: &Origin,
        looked: Vec<(String, Look, bool)>,
        now: UnixMillis,
    ) -> Stored<()> {
        let mut transaction = self.pool.begin().await.map_err(statement("begin"))?;
        records::heard(&mut transaction, origin, now).await?;
        for (name, look, changed) in looked {
            let known = state.entry(origin, &name).and_then(|entry| entry.id);
            let id = match known.filter(|_| !changed) {
                Some(id) => Some(id),
                None => keep_entry(&mut transaction, state, origin, &name).await?,
            };
            if let Some(id) = id {
                records::sample(&mut transaction, id, &look).await?;
            }
        }
        let done = transaction.commit().await;
        done.map_err(statement("keep a report"))
    }

    /// Looks for hosts that are not heard any more and for metrics that nobody looks at. To be
    /// called every few seconds; gives the applications whose causes changed.
    pub async fn sweep(&self, now: UnixMillis) -> Stored<Vec<(String, Vec<Cause>)>> {
        let mut state = self.state.lock().await;
        let known = state.sweep(now);
        if !known.is_empty() {
            let mut transaction = self.pool.begin().await.map_err(statement("begin"))?;
            for (origin, metric) in known {
                keep_entry(&mut transaction, &mut state, &origin, &metric).await?;
            }
            let done = transaction.commit().await;
            done.map_err(statement("keep what is known of metrics"))?;
        }
        let mut changed = Vec::new();
        for application in state.applications() {
            if let Some(causes) = self.conclude(&mut state, &application, now).await? {
                changed.push((application, causes));
            }
        }
        Ok(changed)
    }

    /// Sums up old metrics and learns ranges. To be called about every ten minutes.
    pub async fn tidy(&self, now: UnixMillis) -> Stored<()> {
        records::retain(&self.pool, self.settings.retention, now).await?;
        let due = self.state.lock().await.due_to_learn(now);
        let since = now.saturating_sub(48 * records::HOUR);
        for (origin, metric, id) in due {
            // The lock is not held while the database is read: reports come first.
            let values = records::good_values(&self.pool, id, since).await?;
            let mut state = self.state.lock().await;
            let Some(entry) = state.entry(&origin, &metric) else {
                continue;
            };
            entry.series.judged.range = learn(&values).or(entry.series.judged.range);
            entry.series.judged.learnt = now;
            let mut connection = self.pool.acquire().await.map_err(statement("connect"))?;
            records::keep_judged(&mut connection, id, &entry.series).await?;
        }
        Ok(())
    }

    /// While a switch is under way nobody is told of what it brings about; what remains of it is
    /// told afterwards.
    pub async fn expect_trouble(
        &self,
        application: &str,
        expected: bool,
        now: UnixMillis,
    ) -> Stored<()> {
        let mut state = self.state.lock().await;
        state.expect(application, expected);
        self.conclude(&mut state, application, now).await.map(drop)
    }

    /// How an application is.
    pub async fn health(&self, application: &str, now: UnixMillis) -> ApplicationHealth {
        self.state.lock().await.health(application, now)
    }

    /// What is made of it, when `active` serves and data are taken to flow to the other side or
    /// not (`flows`), unless replication says otherwise.
    pub async fn observed(
        &self,
        application: &str,
        (active, flows): (Side, bool),
        now: UnixMillis,
    ) -> Observed {
        let state = self.state.lock().await;
        state.observed(application, (active, flows), now)
    }

    /// The application is not watched any more. What was seen of it goes with its retention.
    pub async fn forget(&self, application: &str, now: UnixMillis) -> Stored<()> {
        let mut state = self.state.lock().await;
        state.forget(application);
        sqlx::query("DELETE FROM watched_hosts WHERE application = ?")
            .bind(application)
            .execute(&self.pool)
            .await
            .map_err(statement("forget the hosts of an application"))?;
        self.conclude(&mut state, application, now).await.map(drop)
    }

    /// What departed, newest first.
    pub async fn departures(&self, application: &str, most: u32) -> Stored<Vec<PastDeparture>> {
        records::departures(&self.pool, application, most.min(10_000)).await
    }

    /// The history of a metric between two moments, in at most `most` points.
    pub async fn history(
        &self,
        application: &str,
        host: &str,
        metric: &str,
        between: (UnixMillis, UnixMillis),
        most: u32,
    ) -> Stored<Vec<Point>> {
        let name = (application, host, metric);
        records::history(&self.pool, name, between, most.clamp(1, 10_000)).await
    }

    async fn conclude(
        &self,
        state: &mut State,
        application: &str,
        now: UnixMillis,
    ) -> Stored<Option<Vec<Cause>>> {
        let causes = state.causes(application);
        let news = state.news(application, &causes);
        if let Some(news) = &news {
            let mut connection = self.pool.acquire().await.map_err(statement("connect"))?;
            records::keep_causes(&mut connection, application, &causes, now).await?;
            drop(connection);
            self.tell(state, application, news, &causes, now).await?;
        }
        Ok(news.map(|_| causes))
    }

    /// One alert for each root cause; what it explains is told with it.
    async fn tell(
        &self,
        state: &mut State,
        application: &str,
        news: &state::News,
        causes: &[Cause],
        now: UnixMillis,
    ) -> Stored<()> {
        let roots = causes.iter().filter(|cause| cause.because_of.is_none());
        for root in roots.filter(|_| !news.expected) {
            let serves = state.serves(application, root.side);
            self.alerts
                .raise(&warning(application, root, causes, serves), now)
                .await?;
        }
        for gone in &news.gone {
            let because = causes
                .iter()
                .find(|cause| cause.subject.to_string() == *gone)
                .and_then(|cause| cause.because_of.clone());
            let recovery = match because {
                Some(because) => Recovery::ExplainedBy(because),
                None => Recovery::Recovered,
            };
            self.alerts
                .recover(&key(application, gone), &recovery, now)
                .await?;
        }
        Ok(())
    }
}

/// Keeps what is known of a metric besides its observations; gives its number.
async fn keep_entry(
    connection: &mut SqliteConnection,
    state: &mut State,
    origin: &Origin,
    metric: &str,
) -> Stored<Option<i64>> {
    let Some(entry) = state.entry(origin, metric) else {
        return Ok(None);
    };
    let id = match entry.id {
        Some(id) => id,
        None => records::series_id(connection, origin, metric).await?,
    };
    records::keep_judged(connection, id, &entry.series).await?;
    entry.id = Some(id);
    Ok(Some(id))
}

fn key(application: &str, subject: &str) -> String {
    format!("health/{application}/{subject}")
}

fn warning(application: &str, root: &Cause, causes: &[Cause], serves: bool) -> Warning {
    let name = root.subject.to_string();
    let gravity = match root.trouble.level {
        Level::Failed if serves => Gravity::Critical,
        _ => Gravity::Warning,
    };
    let verb = match root.trouble.level {
        Level::Failed => "has failed",
        _ => "is impaired",
    };
    let mut text = format!("{}\n", root.trouble.reason);
    let explained: Vec<&Cause> = causes
        .iter()
        .filter(|cause| cause.because_of.as_deref() == Some(name.as_str()))
        .collect();
    if !explained.is_empty() {
        text.push_str("\nWhat followed, in the order of time:\n");
    }
    for cause in explained {
        text.push_str(&format!(
            "  {}  {}: {}\n",
            crate::alerts::moment(cause.trouble.since),
            cause.subject,
            cause.trouble.reason
        ));
    }
    Warning {
        key: key(application, &name),
        application: Some(application.to_owned()),
        gravity,
        title: format!("{application}: {name} of the {} {verb}", root.side),
        text,
        since: root.trouble.since,
        // What it explains may grow; that alone is no new alert.
        fingerprint: String::new(),
        ends: Ends::WhenOver,
    }
}
