//! Metrics and departures in the database.

use lifeboat_agent::profile::Role;
use lifeboat_agent::wire::{Health, UnixMillis};
use lifeboat_failover::Side;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Row, SqliteConnection};

use super::series::{Judged, Look, Series};
use super::state::LEAST;
use super::subjects::{Cause, Origin, Subject};
use crate::store::{Stored, from_integer, from_json, statement, to_integer, to_json};

/// How long what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Every observation, in hours.
    pub samples_h: u32,
    /// Least, most and mean of every hour, and what departed, in days.
    pub hours_d: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            samples_h: 48,
            hours_d: 400,
        }
    }
}

pub(super) const HOUR: u64 = 3600 * 1000;

/// A point of a metric's history.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// When it begins.
    pub at: UnixMillis,
    /// The least value; nothing when there was no number.
    pub least: Option<f64>,
    /// The greatest value.
    pub most: Option<f64>,
    /// The mean value.
    pub mean: Option<f64>,
    /// How many observations it stands for.
    pub looks: u32,
    /// How many of them were not good.
    pub bad: u32,
}

/// Something that departed, and perhaps came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastDeparture {
    /// What, how bad, why.
    pub cause: Cause,
    /// Until when; nothing while it lasts.
    pub until: Option<UnixMillis>,
}

/// A series as the database has it.
pub(super) struct Remembered {
    pub(super) id: i64,
    pub(super) metric: String,
    pub(super) series: Series,
}

/// Words of enumerations are stored as serde writes them.
fn word<T: Serialize>(value: &T) -> Stored<String> {
    Ok(to_json("a word", value)?.trim_matches('"').to_owned())
}

fn from_word<T: DeserializeOwned>(what: &'static str, word: &str) -> Stored<T> {
    from_json(what, &format!("\"{word}\""))
}

/// All hosts that were ever heard, with the moment they were heard last.
pub(super) async fn hosts(pool: &SqlitePool) -> Stored<Vec<(Origin, UnixMillis)>> {
    let rows = sqlx::query("SELECT application, host, side, role, heard_at FROM watched_hosts")
        .fetch_all(pool)
        .await
        .map_err(statement("list watched hosts"))?;
    let origin = |row: &SqliteRow| {
        Ok((
            Origin {
                application: row.get("application"),
                side: from_word("side", row.get("side"))?,
                host: row.get("host"),
                role: from_word::<Role>("role", row.get("role"))?,
            },
            from_integer(row.get("heard_at")),
        ))
    };
    rows.iter().map(origin).collect()
}

/// The series of a host, with what was observed since `since`.
pub(super) async fn series_of(
    pool: &SqlitePool,
    origin: &Origin,
    since: UnixMillis,
) -> Stored<Vec<Remembered>> {
    let rows = sqlx::query(
        "SELECT id, metric, unit, judged FROM metric_series WHERE application = ? AND host = ?",
    )
    .bind(&origin.application)
    .bind(&origin.host)
    .fetch_all(pool)
    .await
    .map_err(statement("list metrics"))?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let id: i64 = row.get("id");
        let judged: Judged = from_json("judgement", row.get("judged"))?;
        let mut series = Series::remembered(row.get("unit"), judged);
        for look in looks(pool, id, since).await? {
            series.recall(look);
        }
        found.push(Remembered {
            id,
            metric: row.get("metric"),
            series,
        });
    }
    Ok(found)
}

async fn looks(pool: &SqlitePool, series: i64, since: UnixMillis) -> Stored<Vec<Look>> {
    let rows = sqlx::query(
        "SELECT at, value, state, text FROM metric_samples WHERE series = ? AND at >= ? ORDER BY at",
    )
    .bind(series)
    .bind(to_integer(since))
    .fetch_all(pool)
    .await
    .map_err(statement("read metrics"))?;
    let look = |row: &SqliteRow| Look {
        at: from_integer(row.get("at")),
        value: row.get("value"),
        state: match row.get::<i64, _>("state") {
            0 => Health::Good,
            1 => Health::Bad,
            _ => Health::Unknown,
        },
        text: row.get("text"),
    };
    Ok(rows.iter().map(look).collect())
}

/// Good values since `since`: from these a range is learnt.
pub(super) async fn good_values(
    pool: &SqlitePool,
    series: i64,
    since: UnixMillis,
) -> Stored<Vec<f64>> {
    sqlx::query_scalar(
        "SELECT value FROM metric_samples
         WHERE series = ?1 AND at >= ?2 AND state = 0 AND value IS NOT NULL AND ?3 <= (
            SELECT max(at) - min(at) FROM metric_samples WHERE series = ?1 AND at >= ?2)",
    )
    .bind(series)
    .bind(to_integer(since))
    .bind(i64::try_from(LEAST.as_millis()).unwrap_or(i64::MAX))
    .fetch_all(pool)
    .await
    .map_err(statement("read metrics"))
}

/// A host was heard.
pub(super) async fn heard(
    connection: &mut SqliteConnection,
    origin: &Origin,
    at: UnixMillis,
) -> Stored<()> {
    sqlx::query(
        "INSERT INTO watched_hosts (application, host, side, role, heard_at) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (application, host) DO UPDATE
         SET side = excluded.side, role = excluded.role, heard_at = excluded.heard_at",
    )
    .bind(&origin.application)
    .bind(&origin.host)
    .bind(word(&origin.side)?)
    .bind(word(&origin.role)?)
    .bind(to_integer(at))
    .execute(connection)
    .await
    .map(drop)
    .map_err(statement("note that a host was heard"))
}

/// The number of a series, which is made when it is new.
pub(super) async fn series_id(
    connection: &mut SqliteConnection,
    origin: &Origin,
    metric: &str,
) -> Stored<i64> {
    sqlx::query_scalar(
        "INSERT INTO metric_series (application, host, metric, unit, judged) VALUES (?, ?, ?, '', '{}')
         ON CONFLICT (application, host, metric) DO UPDATE SET metric = excluded.metric
         RETURNING id",
    )
    .bind(&origin.application)
    .bind(&origin.host)
    .bind(metric)
    .fetch_one(connection)
    .await
    .map_err(statement("name a metric"))
}

/// One observation. The same moment twice is the same observation.
pub(super) async fn sample(
    connection: &mut SqliteConnection,
    series: i64,
    look: &Look,
) -> Stored<()> {
    sqlx::query(
        "INSERT OR REPLACE INTO metric_samples (series, at, value, state, text) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(series)
    .bind(to_integer(look.at))
    .bind(look.value)
    .bind(match look.state {
        Health::Good => 0_i64,
        Health::Bad => 1,
        Health::Unknown => 2,
    })
    .bind(&look.text)
    .execute(connection)
    .await
    .map(drop)
    .map_err(statement("keep a metric"))
}

/// What is remembered of a series.
pub(super) async fn keep_judged(
    connection: &mut SqliteConnection,
    id: i64,
    series: &Series,
) -> Stored<()> {
    sqlx::query("UPDATE metric_series SET unit = ?, judged = ? WHERE id = ?")
        .bind(&series.unit)
        .bind(to_json("judgement", &series.judged)?)
        .bind(id)
        .execute(connection)
        .await
        .map(drop)
        .map_err(statement("keep what is known of a metric"))
}

/// Opens, changes and closes departures, so that exactly `causes` are open.
pub(super) async fn keep_causes(
    connection: &mut SqliteConnection,
    application: &str,
    causes: &[Cause],
    now: UnixMillis,
) -> Stored<()> {
    let names: Vec<String> = causes
        .iter()
        .map(|cause| cause.subject.to_string())
        .collect();
    let names = to_json("list of names", &names)?;
    sqlx::query(
        "UPDATE departures SET until = ? WHERE application = ? AND until IS NULL
         AND host || '/' || subject NOT IN (SELECT value FROM json_each(?))",
    )
    .bind(to_integer(now))
    .bind(application)
    .bind(names)
    .execute(&mut *connection)
    .await
    .map_err(statement("close departures"))?;
    for cause in causes {
        sqlx::query(
            "INSERT INTO departures (application, side, host, part, subject, level, reason, because_of, since)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (application, host, subject) WHERE until IS NULL DO UPDATE
             SET level = excluded.level, reason = excluded.reason, because_of = excluded.because_of",
        )
        .bind(application)
        .bind(word(&cause.side)?)
        .bind(&cause.subject.host)
        .bind(word(&cause.subject.part)?)
        .bind(&cause.subject.name)
        .bind(word(&cause.trouble.level)?)
        .bind(&cause.trouble.reason)
        .bind(&cause.because_of)
        .bind(to_integer(cause.trouble.since))
        .execute(&mut *connection)
        .await
        .map_err(statement("keep a departure"))?;
    }
    Ok(())
}

/// Root causes that are open: application and subject.
pub(super) async fn open_roots(pool: &SqlitePool) -> Stored<Vec<(String, String)>> {
    sqlx::query_as(
        "SELECT application, host || '/' || subject FROM departures
         WHERE until IS NULL AND because_of IS NULL",
    )
    .fetch_all(pool)
    .await
    .map_err(statement("list departures"))
}

/// The newest departures of an application, newest first.
pub(super) async fn departures(
    pool: &SqlitePool,
    application: &str,
    most: u32,
) -> Stored<Vec<PastDeparture>> {
    let rows = sqlx::query(
        "SELECT side, host, part, subject, level, reason, because_of, since, until FROM departures
         WHERE application = ? ORDER BY since DESC, id DESC LIMIT ?",
    )
    .bind(application)
    .bind(most)
    .fetch_all(pool)
    .await
    .map_err(statement("list departures"))?;
    let past = |row: &SqliteRow| {
        Ok(PastDeparture {
            cause: Cause {
                subject: Subject {
                    host: row.get("host"),
                    part: from_word("part", row.get("part"))?,
                    name: row.get("subject"),
                },
                side: from_word::<Side>("side", row.get("side"))?,
                trouble: super::Trouble {
                    level: from_word("level", row.get("level"))?,
                    since: from_integer(row.get("since")),
                    reason: row.get("reason"),
                },
                because_of: row.get("because_of"),
            },
            until: row.get::<Option<i64>, _>("until").map(from_integer),
        })
    };
    rows.iter().map(past).collect()
}

/// The history of a metric between two moments, in at most `most` points. What is older than
/// every kept observation comes from the hours.
pub(super) async fn history(
    pool: &SqlitePool,
    (application, host, metric): (&str, &str, &str),
    (from, to): (UnixMillis, UnixMillis),
    most: u32,
) -> Stored<Vec<Point>> {
    let width = (to.saturating_sub(from) / u64::from(most.max(1))).max(1);
    let rows = sqlx::query(
        "WITH wanted AS (SELECT id FROM metric_series WHERE application = ?1 AND host = ?2 AND metric = ?3),
         oldest AS (SELECT coalesce(min(at) / 3600000 * 3600000, 9223372036854775807) AS at
                    FROM metric_samples WHERE series = (SELECT id FROM wanted)),
         points AS (
            SELECT at, value AS least, value AS most, value AS mean, 1 AS looks, state != 0 AS bad
            FROM metric_samples
            WHERE series = (SELECT id FROM wanted) AND at BETWEEN ?4 AND ?5
              AND at >= (SELECT at FROM oldest)
            UNION ALL
            SELECT hour, least, most, mean, looks, bad FROM metric_hours
            WHERE series = (SELECT id FROM wanted) AND hour BETWEEN ?4 AND ?5
              AND hour < (SELECT at FROM oldest))
         SELECT min(at) AS at, min(least) AS least, max(most) AS most,
                sum(mean * looks) / sum(iif(mean IS NULL, 0, looks)) AS mean,
                sum(looks) AS looks, sum(bad) AS bad
         FROM points GROUP BY (at - ?4) / ?6 ORDER BY at",
    )
    .bind(application)
    .bind(host)
    .bind(metric)
    .bind(to_integer(from))
    .bind(to_integer(to))
    .bind(to_integer(width))
    .fetch_all(pool)
    .await
    .map_err(statement("read a metric's history"))?;
    let point = |row: &SqliteRow| Point {
        at: from_integer(row.get("at")),
        least: row.get("least"),
        most: row.get("most"),
        mean: row.get("mean"),
        looks: row.get("looks"),
        bad: row.get("bad"),
    };
    Ok(rows.iter().map(point).collect())
}

/// Sums up every hour of which observations are kept, and lets go what is too old. May be done at
/// any time and any number of times.
pub(super) async fn retain(pool: &SqlitePool, retention: Retention, now: UnixMillis) -> Stored<()> {
    let back = |hours: u64| to_integer(now.saturating_sub(hours * HOUR) / HOUR * HOUR);
    // Whole hours go, so that no hour is summed up from its remains.
    let samples = back(u64::from(retention.samples_h.max(2)));
    let hours = back(u64::from(retention.hours_d.max(1)) * 24);
    // Observations arrive at most an hour late: what was summed up before that is done.
    let summed: i64 = sqlx::query_scalar("SELECT coalesce(max(hour), 0) FROM metric_hours")
        .fetch_one(pool)
        .await
        .map_err(statement("look for the last hour"))?;
    let steps: [(&'static str, &'static str, i64); 5] = [
        (
            "sum up metrics",
            "INSERT OR REPLACE INTO metric_hours (series, hour, least, most, mean, looks, bad)
             SELECT series, at / 3600000 * 3600000, min(value), max(value), avg(value), count(*), sum(state != 0)
             FROM metric_samples WHERE series IN (SELECT id FROM metric_series) AND at >= ?
             GROUP BY series, at / 3600000",
            summed.saturating_sub(to_integer(2 * HOUR)),
        ),
        (
            "let old metrics go",
            "DELETE FROM metric_samples WHERE series IN (SELECT id FROM metric_series) AND at < ?",
            samples,
        ),
        (
            "let old hours go",
            "DELETE FROM metric_hours WHERE series IN (SELECT id FROM metric_series) AND hour < ?",
            hours,
        ),
        (
            "let old departures go",
            "DELETE FROM departures WHERE until < ?",
            hours,
        ),
        (
            "let dead metrics go",
            "DELETE FROM metric_series WHERE ? > 0
             AND NOT EXISTS (SELECT 1 FROM metric_samples WHERE series = id)
             AND NOT EXISTS (SELECT 1 FROM metric_hours WHERE series = id)",
            1,
        ),
    ];
    for (what, sql, bound) in steps {
        sqlx::query(sql)
            .bind(bound)
            .execute(pool)
            .await
            .map_err(statement(what))?;
    }
    Ok(())
}
