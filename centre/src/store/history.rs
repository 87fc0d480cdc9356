//! Transitions and the audit trail.

use lifeboat_agent::wire::UnixMillis;
use lifeboat_failover::state::{Event, State};
use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Store, Stored, from_integer, from_json, statement, to_integer, to_json};
use crate::clock;

/// A change of state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TransitionRecord {
    /// Grows with every change.
    pub seq: i64,
    /// When.
    pub at: UnixMillis,
    /// Its number in figure 2, if it has one.
    pub number: Option<u16>,
    /// The state before it.
    pub from: State,
    /// The state after it.
    pub to: State,
    /// What caused it.
    pub event: Event,
    /// Who.
    pub who: String,
    /// Why.
    pub why: String,
    /// What was seen.
    pub evidence: Vec<String>,
}

/// Something that somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditRecord {
    /// Grows with every entry.
    pub seq: i64,
    /// When.
    pub at: UnixMillis,
    /// Who.
    pub who: String,
    /// What.
    pub action: String,
    /// Of which application or host.
    pub subject: String,
    /// The rest.
    pub detail: String,
}

impl Store {
    /// Writes down who asked for what, before it takes effect.
    pub async fn audit(&self, who: &str, action: &str, subject: &str, detail: &str) -> Stored<()> {
        sqlx::query("INSERT INTO audit (at, who, action, subject, detail) VALUES (?, ?, ?, ?, ?)")
            .bind(to_integer(clock::unix()))
            .bind(who)
            .bind(action)
            .bind(subject)
            .bind(detail)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(statement("write an audit entry"))
    }

    /// The newest audit entries of a subject, newest first.
    pub async fn audit_of(&self, subject: &str, at_most: u32) -> Stored<Vec<AuditRecord>> {
        let rows = sqlx::query("SELECT * FROM audit WHERE subject = ? ORDER BY seq DESC LIMIT ?")
            .bind(subject)
            .bind(at_most)
            .fetch_all(&self.pool)
            .await
            .map_err(statement("read the audit trail"))?;
        let record = |row: &SqliteRow| AuditRecord {
            seq: row.get("seq"),
            at: from_integer(row.get("at")),
            who: row.get("who"),
            action: row.get("action"),
            subject: row.get("subject"),
            detail: row.get("detail"),
        };
        Ok(rows.iter().map(record).collect())
    }

    /// The newest transitions of an application, newest first.
    pub async fn transitions(
        &self,
        application: &str,
        at_most: u32,
    ) -> Stored<Vec<TransitionRecord>> {
        let rows = sqlx::query(
            "SELECT * FROM transitions WHERE application = ? ORDER BY seq DESC LIMIT ?",
        )
        .bind(application)
        .bind(at_most)
        .fetch_all(&self.pool)
        .await
        .map_err(statement("read the history"))?;
        rows.iter().map(transition).collect()
    }
}

fn transition(row: &SqliteRow) -> Stored<TransitionRecord> {
    let text = |column: &str| -> String { row.get(column) };
    Ok(TransitionRecord {
        seq: row.get("seq"),
        at: from_integer(row.get("at")),
        number: row
            .get::<Option<i64>, _>("number")
            .and_then(|number| u16::try_from(number).ok()),
        from: from_json("state", &text("from_state"))?,
        to: from_json("state", &text("to_state"))?,
        event: from_json("event", &text("event"))?,
        who: text("who"),
        why: text("why"),
        evidence: from_json("evidence", &text("evidence"))?,
    })
}

/// Writes a transition within a piece of work; gives it its place in the history.
pub(super) async fn write_transition(
    work: &mut sqlx::Transaction<'static, sqlx::Sqlite>,
    application: &str,
    record: &mut TransitionRecord,
) -> Stored<()> {
    let done = sqlx::query(
        "INSERT INTO transitions
         (application, at, number, from_state, to_state, event, who, why, evidence)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(application)
    .bind(to_integer(record.at))
    .bind(record.number)
    .bind(to_json("state", &record.from)?)
    .bind(to_json("state", &record.to)?)
    .bind(to_json("event", &record.event)?)
    .bind(&record.who)
    .bind(&record.why)
    .bind(to_json("evidence", &record.evidence)?)
    .execute(&mut **work)
    .await
    .map_err(statement("record a transition"))?;
    record.seq = done.last_insert_rowid();
    Ok(())
}
