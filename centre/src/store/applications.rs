//! Applications, and where each stands.

use std::path::{Path, PathBuf};

use lifeboat_agent::wire::UnixMillis;
use lifeboat_failover::authority::CentreRecord;
use lifeboat_failover::lease::Epoch;
use lifeboat_failover::state::State;
use serde::{Deserialize, Serialize};
use sqlx::Row;

use super::history::write_transition;
use super::{
    Store, Stored, TransitionRecord, from_integer, from_json, statement, to_integer, to_json,
};
use crate::application::Texts;
use crate::autopilot;
use crate::clock;

/// An application as it is kept.
#[derive(Debug, Clone)]
pub struct KeptApplication {
    /// Its name.
    pub name: String,
    /// Where its file lay.
    pub file: PathBuf,
    /// What stood in the file and in the profiles.
    pub texts: Texts,
}

/// The state machine's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRecord {
    /// The state.
    pub state: State,
    /// Since when.
    pub since: UnixMillis,
    /// The state before a switch that is under way.
    pub came_from: Option<State>,
    /// Whether the degradation is the operator's announcement, and not something seen.
    pub announced: bool,
}

/// Where an application stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The state machine's record.
    pub state: StateRecord,
    /// Who serves.
    pub authority: CentreRecord,
    /// The newest epoch in which its holder asked for a lease: it is known to stop without one.
    pub leased: Epoch,
    /// Process 400.
    pub autopilot: autopilot::Kept,
}

impl Store {
    /// Registers an application that stands as `standing`, or takes up new texts of a known one,
    /// which goes on standing where it does.
    pub async fn put_application(
        &self,
        application: &KeptApplication,
        standing: &Standing,
    ) -> Stored<()> {
        let what = "register an application";
        let mut work = self.begin(what).await?;
        sqlx::query(
            "INSERT INTO applications (name, file, texts, added_at) VALUES (?, ?, ?, ?)
             ON CONFLICT (name) DO UPDATE SET file = excluded.file, texts = excluded.texts",
        )
        .bind(&application.name)
        .bind(application.file.to_string_lossy())
        .bind(to_json("application", &application.texts)?)
        .bind(to_integer(clock::unix()))
        .execute(&mut *work)
        .await
        .map_err(statement(what))?;
        sqlx::query(
            "INSERT INTO standings (application, state, authority, autopilot) VALUES (?, ?, ?, ?)
             ON CONFLICT (application) DO NOTHING",
        )
        .bind(&application.name)
        .bind(to_json("state", &standing.state)?)
        .bind(to_json("authority", &standing.authority)?)
        .bind(to_json("auto pilot", &standing.autopilot)?)
        .execute(&mut *work)
        .await
        .map_err(statement(what))?;
        work.commit().await.map_err(statement(what))
    }

    /// Every registered application, by name.
    pub async fn applications(&self) -> Stored<Vec<KeptApplication>> {
        let rows = sqlx::query("SELECT name, file, texts FROM applications ORDER BY name")
            .fetch_all(&self.pool)
            .await
            .map_err(statement("list applications"))?;
        let kept = |row: &sqlx::sqlite::SqliteRow| {
            Ok(KeptApplication {
                name: row.get("name"),
                file: Path::new(&row.get::<String, _>("file")).to_owned(),
                texts: from_json("application", &row.get::<String, _>("texts"))?,
            })
        };
        rows.iter().map(kept).collect()
    }

    /// Forgets an application. Its history stays.
    pub async fn remove_application(&self, name: &str) -> Stored<()> {
        sqlx::query("DELETE FROM applications WHERE name = ?")
            .bind(name)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(statement("remove an application"))
    }

    /// Where an application stands.
    pub async fn standing(&self, application: &str) -> Stored<Standing> {
        let row = sqlx::query("SELECT * FROM standings WHERE application = ?")
            .bind(application)
            .fetch_one(&self.pool)
            .await
            .map_err(statement("look up where an application stands"))?;
        let text = |column: &str| -> String { row.get(column) };
        Ok(Standing {
            state: from_json("state", &text("state"))?,
            authority: from_json("authority", &text("authority"))?,
            leased: Epoch(from_integer(row.get("leased"))),
            autopilot: from_json("auto pilot", &text("autopilot"))?,
        })
    }

    /// Writes down who serves. Nothing that follows from it is said before this returned.
    pub async fn put_authority(&self, application: &str, record: &CentreRecord) -> Stored<()> {
        sqlx::query("UPDATE standings SET authority = ? WHERE application = ?")
            .bind(to_json("authority", record)?)
            .bind(application)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(statement("write down who serves"))
    }

    /// Writes down that the holder of an epoch asked for a lease.
    pub async fn put_leased(&self, application: &str, epoch: Epoch) -> Stored<()> {
        sqlx::query("UPDATE standings SET leased = ? WHERE application = ?")
            .bind(to_integer(epoch.0))
            .bind(application)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(statement("write a lease down"))
    }

    /// Writes down settings and memory of Auto Pilot.
    pub async fn put_autopilot(&self, application: &str, kept: &autopilot::Kept) -> Stored<()> {
        sqlx::query("UPDATE standings SET autopilot = ? WHERE application = ?")
            .bind(to_json("auto pilot", kept)?)
            .bind(application)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(statement("write Auto Pilot's memory down"))
    }

    /// Writes a change of state down, with its place in the history.
    pub async fn put_state(
        &self,
        application: &str,
        state: &StateRecord,
        transitions: &mut [TransitionRecord],
    ) -> Stored<()> {
        let what = "write a change of state down";
        let mut work = self.begin(what).await?;
        write_state(&mut work, application, state, transitions).await?;
        work.commit().await.map_err(statement(what))
    }

    /// Whether the first word on its lease may be given to a start of a host's agent: it was never
    /// given, or to this very start. Written down before it is given.
    pub async fn give_first_word(
        &self,
        application: &str,
        host: &str,
        incarnation: u64,
    ) -> Stored<bool> {
        let what = "give a first word on a lease";
        let done = sqlx::query(
            "INSERT INTO first_words (application, host, incarnation, given_at) VALUES (?, ?, ?, ?)
             ON CONFLICT (application, host) DO UPDATE SET given_at = excluded.given_at
             WHERE incarnation = excluded.incarnation",
        )
        .bind(application)
        .bind(host)
        .bind(incarnation.to_string())
        .bind(to_integer(clock::unix()))
        .execute(&self.pool)
        .await
        .map_err(statement(what))?;
        Ok(done.rows_affected() > 0)
    }
}

/// Writes state and transitions within a piece of work.
pub(super) async fn write_state(
    work: &mut sqlx::Transaction<'static, sqlx::Sqlite>,
    application: &str,
    state: &StateRecord,
    transitions: &mut [TransitionRecord],
) -> Stored<()> {
    for record in transitions.iter_mut() {
        write_transition(work, application, record).await?;
    }
    sqlx::query("UPDATE standings SET state = ? WHERE application = ?")
        .bind(to_json("state", state)?)
        .bind(application)
        .execute(&mut **work)
        .await
        .map(drop)
        .map_err(statement("write a change of state down"))
}
