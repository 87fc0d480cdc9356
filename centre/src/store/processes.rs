//! Runs of process 300 and their journals.

use lifeboat_agent::wire::UnixMillis;
use lifeboat_failover::process::{Ending, Entry, Journal, Phase, Plan};
use lifeboat_failover::state::State;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::applications::write_state;
use super::{
    StateRecord, Store, Stored, TransitionRecord, from_integer, from_json, statement, to_integer,
    to_json,
};
use crate::clock;

/// Answers that were given before anybody asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Wishes {
    /// To step 314.
    pub go_on: Option<bool>,
    /// To step 364.
    pub replicate_back: Option<bool>,
}

/// A run of process 300.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProcessRecord {
    /// Its id.
    pub id: String,
    /// Its application.
    pub application: String,
    /// What it does.
    pub plan: Plan,
    /// Answers given beforehand.
    pub wishes: Wishes,
    /// The state to which an abort returns.
    pub came_from: State,
    /// Who wanted it.
    pub who: String,
    /// Why.
    pub why: String,
    /// When it began.
    pub started_at: UnixMillis,
    /// Who wants it undone, if somebody does.
    pub abort_by: Option<String>,
    /// When it ended or stopped.
    pub ended_at: Option<UnixMillis>,
    /// How; [`Ending::Stopped`] can be taken up again.
    pub ending: Option<Ending>,
}

/// A line of a journal, and when it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JournalLine {
    /// When.
    pub at: UnixMillis,
    /// Which step.
    pub step: usize,
    /// What became of it.
    pub phase: Phase,
}

impl Store {
    /// Writes down that a process begins, with the change of state that this is.
    pub async fn begin_process(
        &self,
        process: &ProcessRecord,
        state: &StateRecord,
        transitions: &mut [TransitionRecord],
    ) -> Stored<()> {
        let what = "begin a process";
        let mut work = self.begin(what).await?;
        sqlx::query(
            "INSERT INTO processes
             (id, application, plan, wishes, came_from, who, why, started_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&process.id)
        .bind(&process.application)
        .bind(to_json("plan", &process.plan)?)
        .bind(to_json("answers", &process.wishes)?)
        .bind(to_json("state", &process.came_from)?)
        .bind(&process.who)
        .bind(&process.why)
        .bind(to_integer(process.started_at))
        .execute(&mut *work)
        .await
        .map_err(statement(what))?;
        write_state(&mut work, &process.application, state, transitions).await?;
        work.commit().await.map_err(statement(what))
    }

    /// Writes down how a process ended, with the change of state that this is.
    pub async fn end_process(
        &self,
        process: &ProcessRecord,
        ending: Ending,
        state: &StateRecord,
        transitions: &mut [TransitionRecord],
    ) -> Stored<()> {
        let what = "end a process";
        let mut work = self.begin(what).await?;
        sqlx::query("UPDATE processes SET ended_at = ?, ending = ? WHERE id = ?")
            .bind(to_integer(clock::unix()))
            .bind(to_json("ending", &ending)?)
            .bind(&process.id)
            .execute(&mut *work)
            .await
            .map_err(statement(what))?;
        write_state(&mut work, &process.application, state, transitions).await?;
        work.commit().await.map_err(statement(what))
    }

    /// Takes a process that stopped up again at `step`.
    pub async fn reopen_process(&self, process: &str, step: usize) -> Stored<()> {
        let what = "take a process up again";
        let mut work = self.begin(what).await?;
        sqlx::query("UPDATE processes SET ended_at = NULL, ending = NULL WHERE id = ?")
            .bind(process)
            .execute(&mut *work)
            .await
            .map_err(statement(what))?;
        write_entry(&mut work, process, step, &Phase::Begun).await?;
        work.commit().await.map_err(statement(what))
    }

    /// Writes down that somebody wants a process undone.
    pub async fn abort_process(&self, process: &str, who: &str) -> Stored<()> {
        sqlx::query("UPDATE processes SET abort_by = ? WHERE id = ? AND abort_by IS NULL")
            .bind(who)
            .bind(process)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(statement("write an abort down"))
    }

    /// Writes a line of a journal. When this returns, it is on disk.
    pub async fn put_entry(&self, process: &str, step: usize, phase: &Phase) -> Stored<()> {
        let what = "write a journal";
        let mut work = self.begin(what).await?;
        write_entry(&mut work, process, step, phase).await?;
        work.commit().await.map_err(statement(what))
    }

    /// The journal of a process, in order.
    pub async fn journal(&self, process: &str) -> Stored<Vec<JournalLine>> {
        let rows = sqlx::query("SELECT at, entry FROM journal WHERE process = ? ORDER BY seq")
            .bind(process)
            .fetch_all(&self.pool)
            .await
            .map_err(statement("read a journal"))?;
        let line = |row: &SqliteRow| {
            let entry: Entry = from_json("journal entry", &row.get::<String, _>("entry"))?;
            Ok(JournalLine {
                at: from_integer(row.get("at")),
                step: entry.step,
                phase: entry.phase,
            })
        };
        rows.iter().map(line).collect()
    }

    /// A process.
    pub async fn process(&self, id: &str) -> Stored<Option<ProcessRecord>> {
        let row = sqlx::query("SELECT * FROM processes WHERE id = ?")
            .bind(id)
            .fetch_optional(&self.pool)
            .await
            .map_err(statement("look up a process"))?;
        row.as_ref().map(record).transpose()
    }

    /// The newest processes of an application, newest first.
    pub async fn processes(&self, application: &str, at_most: u32) -> Stored<Vec<ProcessRecord>> {
        let rows =
            sqlx::query("SELECT * FROM processes WHERE application = ? ORDER BY seq DESC LIMIT ?")
                .bind(application)
                .bind(at_most)
                .fetch_all(&self.pool)
                .await
                .map_err(statement("list processes"))?;
        rows.iter().map(record).collect()
    }
}

/// A journal as the core reads it.
pub(crate) fn journal_of(lines: &[JournalLine]) -> Journal {
    let mut journal = Journal::default();
    for line in lines {
        journal.push(line.step, line.phase.clone());
    }
    journal
}

async fn write_entry(
    work: &mut sqlx::Transaction<'static, sqlx::Sqlite>,
    process: &str,
    step: usize,
    phase: &Phase,
) -> Stored<()> {
    let entry = Entry {
        step,
        phase: phase.clone(),
    };
    sqlx::query("INSERT INTO journal (process, at, entry) VALUES (?, ?, ?)")
        .bind(process)
        .bind(to_integer(clock::unix()))
        .bind(to_json("journal entry", &entry)?)
        .execute(&mut **work)
        .await
        .map(drop)
        .map_err(statement("write a journal"))
}

fn record(row: &SqliteRow) -> Stored<ProcessRecord> {
    let text = |column: &str| -> String { row.get(column) };
    let ending: Option<String> = row.get("ending");
    Ok(ProcessRecord {
        id: text("id"),
        application: text("application"),
        plan: from_json("plan", &text("plan"))?,
        wishes: from_json("answers", &text("wishes"))?,
        came_from: from_json("state", &text("came_from"))?,
        who: text("who"),
        why: text("why"),
        started_at: from_integer(row.get("started_at")),
        abort_by: row.get("abort_by"),
        ended_at: row.get::<Option<i64>, _>("ended_at").map(from_integer),
        ending: ending.map(|text| from_json("ending", &text)).transpose()?,
    })
}
