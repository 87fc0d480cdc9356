//! Alerts and what is to be told of them, in the database.

use lifeboat_agent::wire::UnixMillis;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Row, SqliteConnection};

use super::{Ends, Gravity, Patience, Recovery, Warning, moment};
use crate::store::{Stored, from_integer, statement, to_integer};

/// What a note tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoteKind {
    /// Something is wrong.
    Raised,
    /// It became worse, or it is something else by now.
    Changed,
    /// It is over.
    Over,
}

/// Something to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) id: i64,
    pub(super) alert: i64,
    /// The first note of the same alert.
    pub(super) first: i64,
    pub(super) kind: NoteKind,
    pub(super) at: UnixMillis,
    pub(super) gravity: Gravity,
    pub(super) application: Option<String>,
    pub(super) key: String,
    pub(super) title: String,
    pub(super) text: String,
    pub(super) since: UnixMillis,
    pub(super) raised: UnixMillis,
}

impl Note {
    /// The first word of a mail's subject.
    pub(super) fn heading(&self) -> &'static str {
        match (self.kind, self.gravity) {
            (NoteKind::Over, _) => "over",
            (_, Gravity::Note) => "note",
            (_, Gravity::Warning) => "warning",
            (_, Gravity::Critical) => "CRITICAL",
        }
    }

    /// The mail's text.
    pub(super) fn body(&self) -> String {
        format!(
            "{}\r\n\r\nSince:   {}\r\nNoted:   {}\r\nSubject: {}\r\nAlert:   {}\r\n",
            self.text.trim_end().replace('\n', "\r\n"),
            moment(self.since),
            moment(self.at),
            self.key,
            self.alert
        )
    }
}

/// An alert, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Its number.
    pub id: i64,
    /// What it is about; the same again is the same trouble.
    pub key: String,
    /// To which application it belongs, if to one.
    pub application: Option<String>,
    /// How grave it is.
    pub gravity: Gravity,
    /// One line.
    pub title: String,
    /// What happened.
    pub text: String,
    /// Since when.
    pub since: UnixMillis,
    /// When it was raised.
    pub raised_at: UnixMillis,
    /// How often it was said.
    pub times: u32,
    /// When it was over; nothing while it lasts.
    pub over_at: Option<UnixMillis>,
    /// How it ended.
    pub over_how: Option<String>,
    /// Who knows of it.
    pub acknowledged_by: Option<String>,
    /// Since when.
    pub acknowledged_at: Option<UnixMillis>,
    /// How many notes of it are not delivered yet.
    pub undelivered: u32,
    /// Why the last delivery did not succeed, while one is waiting.
    pub error: Option<String>,
}

fn gravity(value: i64) -> Gravity {
    match value {
        0 => Gravity::Note,
        1 => Gravity::Warning,
        _ => Gravity::Critical,
    }
}

fn number(gravity: Gravity) -> i64 {
    match gravity {
        Gravity::Note => 0,
        Gravity::Warning => 1,
        Gravity::Critical => 2,
    }
}

/// A route that a new note takes.
pub(super) struct Way<'a> {
    pub(super) id: &'a str,
    pub(super) least: Gravity,
}

/// Notes an alert and what is to be told of it, at once. Returns whether there is something to
/// tell.
pub(super) async fn raise(
    pool: &SqlitePool,
    warning: &Warning,
    ways: &[Way<'_>],
    now: UnixMillis,
) -> Stored<bool> {
    let begun = pool.begin_with("BEGIN IMMEDIATE").await;
    let mut transaction = begun.map_err(statement("begin"))?;
    let open = sqlx::query(
        "SELECT id, gravity, fingerprint FROM alerts WHERE key = ? AND over_at IS NULL",
    )
    .bind(&warning.key)
    .fetch_optional(&mut *transaction)
    .await
    .map_err(statement("look an alert up"))?;
    let told = match open {
        None => {
            let alert = insert(&mut transaction, warning, None, now).await?;
            Some((alert, NoteKind::Raised))
        }
        Some(row) => {
            let alert: i64 = row.get("id");
            let worse = number(warning.gravity) > row.get::<i64, _>("gravity");
            let other = warning.fingerprint != row.get::<String, _>("fingerprint");
            again(&mut transaction, alert, warning, worse || other, now).await?;
            (worse || other).then_some((alert, NoteKind::Changed))
        }
    };
    if let Some((alert, kind)) = told {
        note_for(&mut transaction, (alert, kind), warning, ways, now).await?;
    }
    let done = transaction.commit().await;
    done.map_err(statement("keep an alert"))?;
    Ok(told.is_some())
}

/// Notes an alert that does not last: it is told, and that is all.
pub(super) async fn tell(
    pool: &SqlitePool,
    warning: &Warning,
    ways: &[Way<'_>],
    now: UnixMillis,
) -> Stored<()> {
    let begun = pool.begin_with("BEGIN IMMEDIATE").await;
    let mut transaction = begun.map_err(statement("begin"))?;
    let alert = insert(&mut transaction, warning, Some(now), now).await?;
    let told = (alert, NoteKind::Raised);
    note_for(&mut transaction, told, warning, ways, now).await?;
    let done = transaction.commit().await;
    done.map_err(statement("keep an alert"))
}

async fn note_for(
    connection: &mut SqliteConnection,
    (alert, kind): (i64, NoteKind),
    warning: &Warning,
    ways: &[Way<'_>],
    now: UnixMillis,
) -> Stored<()> {
    let note = note(connection, alert, kind, warning, now).await?;
    for way in ways.iter().filter(|way| warning.gravity >= way.least) {
        deliver(connection, note, way.id, now).await?;
    }
    Ok(())
}

async fn insert(
    connection: &mut SqliteConnection,
    warning: &Warning,
    over_at: Option<UnixMillis>,
    now: UnixMillis,
) -> Stored<i64> {
    sqlx::query_scalar(
        "INSERT INTO alerts (key, application, gravity, title, text, fingerprint, since, raised_at, said_at, over_at, lapses, times)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10, 1) RETURNING id",
    )
    .bind(&warning.key)
    .bind(&warning.application)
    .bind(number(warning.gravity))
    .bind(&warning.title)
    .bind(&warning.text)
    .bind(&warning.fingerprint)
    .bind(to_integer(warning.since))
    .bind(to_integer(now))
    .bind(over_at.map(to_integer))
    .bind(warning.ends == Ends::WhenQuiet)
    .fetch_one(connection)
    .await
    .map_err(statement("raise an alert"))
}

/// The same alert once more. Somebody who acknowledged it knows nothing of what is new.
async fn again(
    connection: &mut SqliteConnection,
    alert: i64,
    warning: &Warning,
    news: bool,
    now: UnixMillis,
) -> Stored<()> {
    sqlx::query(
        "UPDATE alerts SET times = times + 1, said_at = ?7, settling_at = NULL, over_how = NULL, title = ?2,
             text = ?3, fingerprint = ?4, gravity = max(gravity, ?5),
             acknowledged_by = iif(?6, NULL, acknowledged_by),
             acknowledged_at = iif(?6, NULL, acknowledged_at)
         WHERE id = ?1",
    )
    .bind(alert)
    .bind(&warning.title)
    .bind(&warning.text)
    .bind(&warning.fingerprint)
    .bind(number(warning.gravity))
    .bind(news)
    .bind(to_integer(now))
    .execute(connection)
    .await
    .map(drop)
    .map_err(statement("renew an alert"))
}

async fn note(
    connection: &mut SqliteConnection,
    alert: i64,
    kind: NoteKind,
    warning: &Warning,
    now: UnixMillis,
) -> Stored<i64> {
    sqlx::query_scalar(
        "INSERT INTO alert_notes (alert, kind, at, gravity, title, text) VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
    )
    .bind(alert)
    .bind(kind.word())
    .bind(to_integer(now))
    .bind(number(warning.gravity))
    .bind(&warning.title)
    .bind(&warning.text)
    .fetch_one(connection)
    .await
    .map_err(statement("note what is to be told"))
}

async fn deliver(
    connection: &mut SqliteConnection,
    note: i64,
    route: &str,
    now: UnixMillis,
) -> Stored<()> {
    sqlx::query("INSERT OR IGNORE INTO alert_deliveries (note, route, due_at) VALUES (?, ?, ?)")
        .bind(note)
        .bind(route)
        .bind(to_integer(now))
        .execute(connection)
        .await
        .map(drop)
        .map_err(statement("put a note into the outbox"))
}

impl NoteKind {
    fn word(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Changed => "changed",
            Self::Over => "over",
        }
    }

    fn from_word(word: &str) -> Self {
        match word {
            "raised" => Self::Raised,
            "over" => Self::Over,
            _ => Self::Changed,
        }
    }
}

/// It looks as if it were over.
pub(super) async fn recover(
    pool: &SqlitePool,
    key: &str,
    how: &Recovery,
    now: UnixMillis,
) -> Stored<bool> {
    let done = sqlx::query(
        "UPDATE alerts SET settling_at = ?, over_how = ?
         WHERE key = ? AND over_at IS NULL AND settling_at IS NULL",
    )
    .bind(to_integer(now))
    .bind(how.to_string())
    .bind(key)
    .execute(pool)
    .await
    .map_err(statement("end an alert"))?;
    if done.rows_affected() > 0 {
        return Ok(true);
    }
    // Nobody was told that it ended when it only fell quiet.
    let done = sqlx::query(
        "UPDATE alerts SET settling_at = ?1, over_at = NULL, over_how = ?2, lapsed = 0
         WHERE lapsed AND id = (SELECT max(id) FROM alerts WHERE key = ?3)",
    )
    .bind(to_integer(now))
    .bind(how.to_string())
    .bind(key)
    .execute(pool)
    .await
    .map_err(statement("end an alert"))?;
    Ok(done.rows_affected() > 0)
}

/// Ends what has looked over for long enough, and tells so to whoever was told of it.
pub(super) async fn settle(pool: &SqlitePool, patience: &Patience, now: UnixMillis) -> Stored<()> {
    let begun = pool.begin_with("BEGIN IMMEDIATE").await;
    let mut transaction = begun.map_err(statement("begin"))?;
    sqlx::query(
        "UPDATE alerts SET over_at = said_at, lapsed = 1
         WHERE lapses AND over_at IS NULL AND settling_at IS NULL AND said_at <= ?",
    )
    .bind(to_integer(now.saturating_sub(patience.quiet)))
    .execute(&mut *transaction)
    .await
    .map_err(statement("end alerts"))?;
    let limit = to_integer(now.saturating_sub(patience.settle));
    let ended = sqlx::query(
        "UPDATE alerts SET over_at = settling_at WHERE over_at IS NULL AND settling_at <= ?
         RETURNING id, gravity, title, over_how",
    )
    .bind(limit)
    .fetch_all(&mut *transaction)
    .await
    .map_err(statement("end alerts"))?;
    for row in ended {
        let alert: i64 = row.get("id");
        let note: i64 = sqlx::query_scalar(
            "INSERT INTO alert_notes (alert, kind, at, gravity, title, text)
             VALUES (?, 'over', ?, ?, ?, ?) RETURNING id",
        )
        .bind(alert)
        .bind(to_integer(now))
        .bind(row.get::<i64, _>("gravity"))
        .bind(row.get::<String, _>("title"))
        .bind(row.get::<Option<String>, _>("over_how"))
        .fetch_one(&mut *transaction)
        .await
        .map_err(statement("note what is to be told"))?;
        sqlx::query(
            "INSERT OR IGNORE INTO alert_deliveries (note, route, due_at)
             SELECT DISTINCT ?1, route, ?2 FROM alert_deliveries
             WHERE note IN (SELECT id FROM alert_notes WHERE alert = ?3)",
        )
        .bind(note)
        .bind(to_integer(now))
        .bind(alert)
        .execute(&mut *transaction)
        .await
        .map_err(statement("put a note into the outbox"))?;
    }
    let done = transaction.commit().await;
    done.map_err(statement("end alerts"))
}

/// Routes that have something to deliver now.
pub(super) async fn due_routes(pool: &SqlitePool, now: UnixMillis) -> Stored<Vec<String>> {
    sqlx::query_scalar(
        "SELECT DISTINCT route FROM alert_deliveries WHERE delivered_at IS NULL AND due_at <= ?",
    )
    .bind(to_integer(now))
    .fetch_all(pool)
    .await
    .map_err(statement("look into the outbox"))
}

/// When the next delivery or the next ending is due.
pub(super) async fn next_due(pool: &SqlitePool, patience: &Patience) -> Stored<Option<UnixMillis>> {
    let due: Option<i64> = sqlx::query_scalar(
        "SELECT min(at) FROM (
            SELECT min(due_at) AS at FROM alert_deliveries WHERE delivered_at IS NULL
            UNION ALL
            SELECT min(settling_at) + ? FROM alerts WHERE over_at IS NULL)",
    )
    .bind(to_integer(patience.settle))
    .fetch_one(pool)
    .await
    .map_err(statement("look into the outbox"))?;
    Ok(due.map(from_integer))
}

/// The oldest note that a route has to deliver now, with the attempts so far.
pub(super) async fn next_of(
    pool: &SqlitePool,
    route: &str,
    now: UnixMillis,
) -> Stored<Option<(Note, u32)>> {
    let row = sqlx::query(
        "SELECT n.id, n.alert, n.kind, n.at, n.gravity, n.title, n.text, d.attempts,
                a.application, a.key, a.since, a.raised_at,
                (SELECT min(id) FROM alert_notes WHERE alert = n.alert) AS first
         FROM alert_deliveries d JOIN alert_notes n ON n.id = d.note JOIN alerts a ON a.id = n.alert
         WHERE d.route = ? AND d.delivered_at IS NULL AND d.due_at <= ? ORDER BY n.id LIMIT 1",
    )
    .bind(route)
    .bind(to_integer(now))
    .fetch_optional(pool)
    .await
    .map_err(statement("look into the outbox"))?;
    let note = |row: SqliteRow| {
        let note = Note {
            id: row.get("id"),
            alert: row.get("alert"),
            first: row.get("first"),
            kind: NoteKind::from_word(row.get("kind")),
            at: from_integer(row.get("at")),
            gravity: gravity(row.get("gravity")),
            application: row.get("application"),
            key: row.get("key"),
            title: row.get("title"),
            text: row.get("text"),
            since: from_integer(row.get("since")),
            raised: from_integer(row.get("raised_at")),
        };
        (note, row.get("attempts"))
    };
    Ok(row.map(note))
}

/// A note was taken.
pub(super) async fn delivered(
    pool: &SqlitePool,
    note: i64,
    route: &str,
    now: UnixMillis,
) -> Stored<()> {
    sqlx::query(
        "UPDATE alert_deliveries SET delivered_at = ?, attempts = attempts + 1, error = NULL
         WHERE note = ? AND route = ?",
    )
    .bind(to_integer(now))
    .bind(note)
    .bind(route)
    .execute(pool)
    .await
    .map(drop)
    .map_err(statement("note a delivery"))
}

/// A note was not taken. `due` is when it is tried again; with `all` everything of the route waits
/// until then, because the route itself is down.
pub(super) async fn failed(
    pool: &SqlitePool,
    (note, route): (i64, &str),
    why: &str,
    (due, all): (UnixMillis, bool),
) -> Stored<()> {
    sqlx::query(
        "UPDATE alert_deliveries SET due_at = max(due_at, ?3), error = ?4,
             attempts = attempts + iif(note = ?1, 1, 0)
         WHERE route = ?2 AND delivered_at IS NULL AND (?5 OR note = ?1)",
    )
    .bind(note)
    .bind(route)
    .bind(to_integer(due))
    .bind(why)
    .bind(all)
    .execute(pool)
    .await
    .map(drop)
    .map_err(statement("note a failed delivery"))
}

/// Everything that `route` failed to deliver goes by `other` too.
pub(super) async fn also_by(
    pool: &SqlitePool,
    route: &str,
    other: &Way<'_>,
    now: UnixMillis,
) -> Stored<bool> {
    let done = sqlx::query(
        "INSERT OR IGNORE INTO alert_deliveries (note, route, due_at)
         SELECT d.note, ?2, ?3 FROM alert_deliveries d JOIN alert_notes n ON n.id = d.note
         WHERE d.route = ?1 AND d.delivered_at IS NULL AND d.error IS NOT NULL AND n.gravity >= ?4",
    )
    .bind(route)
    .bind(other.id)
    .bind(to_integer(now))
    .bind(number(other.least))
    .execute(pool)
    .await
    .map_err(statement("send a note by another route"))?;
    Ok(done.rows_affected() > 0)
}

/// How many notes wait for a route.
pub(super) async fn waiting(pool: &SqlitePool, route: &str) -> Stored<u32> {
    sqlx::query_scalar(
        "SELECT count(*) FROM alert_deliveries WHERE route = ? AND delivered_at IS NULL",
    )
    .bind(route)
    .fetch_one(pool)
    .await
    .map_err(statement("look into the outbox"))
}

/// The newest alerts, newest first; of one application, or of all.
pub(super) async fn list(
    pool: &SqlitePool,
    application: Option<&str>,
    only_open: bool,
    most: u32,
) -> Stored<Vec<Alert>> {
    let rows = sqlx::query(
        "SELECT a.*,
            (SELECT count(*) FROM alert_deliveries d JOIN alert_notes n ON n.id = d.note
             WHERE n.alert = a.id AND d.delivered_at IS NULL) AS undelivered,
            (SELECT max(d.error) FROM alert_deliveries d JOIN alert_notes n ON n.id = d.note
             WHERE n.alert = a.id AND d.delivered_at IS NULL) AS error
         FROM alerts a
         WHERE (?1 IS NULL OR a.application = ?1) AND (NOT ?2 OR a.over_at IS NULL)
         ORDER BY a.id DESC LIMIT ?3",
    )
    .bind(application)
    .bind(only_open)
    .bind(most)
    .fetch_all(pool)
    .await
    .map_err(statement("list alerts"))?;
    let moment = |row: &SqliteRow, name: &str| row.get::<Option<i64>, _>(name).map(from_integer);
    let alert = |row: &SqliteRow| Alert {
        id: row.get("id"),
        key: row.get("key"),
        application: row.get("application"),
        gravity: gravity(row.get("gravity")),
        title: row.get("title"),
        text: row.get("text"),
        since: from_integer(row.get("since")),
        raised_at: from_integer(row.get("raised_at")),
        times: row.get("times"),
        over_at: moment(row, "over_at"),
        over_how: row.get("over_how"),
        acknowledged_by: row.get("acknowledged_by"),
        acknowledged_at: moment(row, "acknowledged_at"),
        undelivered: row.get("undelivered"),
        error: row.get("error"),
    };
    Ok(rows.iter().map(alert).collect())
}

/// Somebody knows of it. Says whether there is such an alert, and it was not known before.
pub(super) async fn acknowledge(
    pool: &SqlitePool,
    alert: i64,
    who: &str,
    now: UnixMillis,
) -> Stored<bool> {
    let done = sqlx::query(
        "UPDATE alerts SET acknowledged_by = ?, acknowledged_at = ?
         WHERE id = ? AND acknowledged_at IS NULL",
    )
    .bind(who)
    .bind(to_integer(now))
    .bind(alert)
    .execute(pool)
    .await
    .map_err(statement("acknowledge an alert"))?;
    Ok(done.rows_affected() > 0)
}

/// Lets go what was over and delivered before `limit`.
pub(super) async fn let_go(pool: &SqlitePool, limit: UnixMillis) -> Stored<()> {
    sqlx::query(
        "DELETE FROM alerts WHERE over_at < ? AND NOT EXISTS (
            SELECT 1 FROM alert_deliveries d JOIN alert_notes n ON n.id = d.note
            WHERE n.alert = alerts.id AND d.delivered_at IS NULL)",
    )
    .bind(to_integer(limit))
    .execute(pool)
    .await
    .map(drop)
    .map_err(statement("let old alerts go"))
}
