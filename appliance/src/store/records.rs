//! Sessions and what they made.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Store, Stored, from_json, now, statement, to_json};
use crate::notices::What;
use crate::report::{Mode, Report};

/// A registered site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SiteRecord {
    /// Its name.
    pub name: String,
    /// Its file.
    #[schema(value_type = String)]
    pub file: PathBuf,
}

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// Its driver is at work.
    Running,
    /// Its machines run for production; no driver is needed.
    Kept,
    /// Everything it made is being removed; a new daemon goes on with that.
    Stopping,
    /// It ended and everything it made is gone.
    Ended,
    /// The daemon died in the middle; everything it made is gone.
    Interrupted,
}

impl SessionState {
    fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Kept => "kept",
            Self::Stopping => "stopping",
            Self::Ended => "ended",
            Self::Interrupted => "interrupted",
        }
    }

    fn from_word(word: &str) -> Self {
        match word {
            "running" => Self::Running,
            "kept" => Self::Kept,
            "stopping" => Self::Stopping,
            "ended" => Self::Ended,
            _ => Self::Interrupted,
        }
    }
}

/// A session as remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SessionRecord {
    /// Its id.
    pub id: String,
    /// Name of the site.
    pub site: String,
    /// Test or recovery.
    pub mode: Mode,
    /// Where it stands.
    pub state: SessionState,
    /// When it began, seconds since 1970.
    pub started_at: String,
    /// When it ended.
    pub ended_at: Option<String>,
    /// How it ended, for people.
    pub detail: Option<String>,
}

/// Something that a session made and that must be gone when it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schema(as = SessionResource)]
pub enum Resource {
    /// Directory with the sockets.
    RunDirectory {
        /// Its path.
        #[schema(value_type = String)]
        path: PathBuf,
    },
    /// The switch process; pid and start time are known once it runs.
    Switch {
        /// Its configuration file, which its command line names.
        #[schema(value_type = String)]
        config: PathBuf,
        /// Process id, 0 before it is known.
        pid: i32,
        /// Field 22 of `/proc/PID/stat`, which tells a process from a later
        /// one with the same id.
        start_time: u64,
    },
    /// A libvirt domain.
    Domain {
        /// Its name.
        name: String,
    },
    /// A run overlay.
    Overlay {
        /// Its path.
        #[schema(value_type = String)]
        path: PathBuf,
        /// It existed once: if it is missing now, what its machine wrote is lost.
        #[serde(default)]
        made: bool,
    },
}

impl Store {
    /// Opens a session.
    pub async fn create_session(&self, id: &str, site: &str, mode: Mode) -> Stored<()> {
        sqlx::query("INSERT INTO sessions (id, site, mode, state, started_at) VALUES (?, ?, ?, 'running', ?)")
            .bind(id)
            .bind(site)
            .bind(mode.word())
            .bind(now())
            .execute(&self.pool)
            .await
            .map(|_| self.tell_session(id, Some(site), Some(SessionState::Running)))
            .map_err(statement("open a session"))
    }

    /// Moves a session to `state`, with a word on why.
    pub async fn set_session_state(
        &self,
        id: &str,
        state: SessionState,
        detail: &str,
    ) -> Stored<()> {
        let ended = matches!(state, SessionState::Ended | SessionState::Interrupted).then(now);
        sqlx::query("UPDATE sessions SET state = ?, detail = ?, ended_at = ? WHERE id = ?")
            .bind(state.word())
            .bind(detail)
            .bind(ended)
            .bind(id)
            .execute(&self.pool)
            .await
            .map(|_| self.tell_session(id, None, Some(state)))
            .map_err(statement("move a session"))
    }

    /// Stores a session's report.
    pub async fn put_report(&self, id: &str, report: &Report) -> Stored<()> {
        sqlx::query("UPDATE sessions SET report = ? WHERE id = ?")
            .bind(to_json("report", report)?)
            .bind(id)
            .execute(&self.pool)
            .await
            .map(|_| self.tell_session(id, None, None))
            .map_err(statement("store a report"))
    }

    fn tell_session(&self, id: &str, site: Option<&str>, state: Option<SessionState>) {
        self.notices.tell(What::Session {
            id: id.to_owned(),
            site: site.map(str::to_owned),
            state,
        });
    }

    /// A session's report, when it has one.
    pub async fn report(&self, id: &str) -> Stored<Option<Report>> {
        let text: Option<Option<String>> =
            sqlx::query_scalar("SELECT report FROM sessions WHERE id = ?")
                .bind(id)
                .fetch_optional(&self.pool)
                .await
                .map_err(statement("look up a report"))?;
        text.flatten()
            .map(|text| from_json("report", &text))
            .transpose()
    }

    /// The sessions of a site that have a report, with it; the newest first.
    pub async fn reports(&self, site: &str, most: u32) -> Stored<Vec<(SessionRecord, Report)>> {
        let rows = sqlx::query(
            "SELECT * FROM sessions WHERE site = ? AND report IS NOT NULL ORDER BY started_at DESC, id DESC LIMIT ?",
        )
        .bind(site)
        .bind(most)
        .fetch_all(&self.pool)
        .await
        .map_err(statement("list reports"))?;
        let report = |row: &SqliteRow| from_json("report", &row.get::<String, _>("report"));
        rows.iter()
            .map(|row| Ok((session_record(row), report(row)?)))
            .collect()
    }

    /// All sessions, newest first.
    pub async fn sessions(&self) -> Stored<Vec<SessionRecord>> {
        let rows = sqlx::query("SELECT * FROM sessions ORDER BY started_at DESC, id DESC")
            .fetch_all(&self.pool)
            .await
            .map_err(statement("list sessions"))?;
        Ok(rows.iter().map(session_record).collect())
    }

    /// Logs a step of a session.
    pub async fn log_step(
        &self,
        session: &str,
        step: &str,
        subject: &str,
        detail: &str,
    ) -> Stored<()> {
        sqlx::query(
            "INSERT INTO steps (session, at, step, subject, detail) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(session)
        .bind(now())
        .bind(step)
        .bind(subject)
        .bind(detail)
        .execute(&self.pool)
        .await
        .map_err(statement("log a step"))?;
        self.notices.tell(What::Step {
            session: session.to_owned(),
            step: step.to_owned(),
            subject: subject.to_owned(),
            detail: detail.to_owned(),
        });
        Ok(())
    }

    /// The steps of a session, oldest first: time, step, subject, detail.
    pub async fn steps(&self, session: &str) -> Stored<Vec<[String; 4]>> {
        let rows = sqlx::query(
            "SELECT at, step, subject, detail FROM steps WHERE session = ? ORDER BY seq",
        )
        .bind(session)
        .fetch_all(&self.pool)
        .await
        .map_err(statement("list steps"))?;
        let step = |row: &SqliteRow| ["at", "step", "subject", "detail"].map(|name| row.get(name));
        Ok(rows.iter().map(step).collect())
    }

    /// Writes down what is about to be made; returns its number.
    pub async fn plan_resource(&self, session: &str, resource: &Resource) -> Stored<i64> {
        sqlx::query("INSERT INTO resources (session, resource) VALUES (?, ?)")
            .bind(session)
            .bind(to_json("resource", resource)?)
            .execute(&self.pool)
            .await
            .map(|done| done.last_insert_rowid())
            .map_err(statement("plan a resource"))
    }

    /// Corrects a resource once more of it is known.
    pub async fn update_resource(&self, number: i64, resource: &Resource) -> Stored<()> {
        sqlx::query("UPDATE resources SET resource = ? WHERE seq = ?")
            .bind(to_json("resource", resource)?)
            .bind(number)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(statement("update a resource"))
    }

    /// Marks a resource as gone.
    pub async fn resource_removed(&self, number: i64) -> Stored<()> {
        sqlx::query("UPDATE resources SET removed_at = ? WHERE seq = ?")
            .bind(now())
            .bind(number)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(statement("mark a resource as removed"))
    }

    /// What a session made and has not removed, newest first.
    pub async fn resources(&self, session: &str) -> Stored<Vec<(i64, Resource)>> {
        let rows = sqlx::query("SELECT seq, resource FROM resources WHERE session = ? AND removed_at IS NULL ORDER BY seq DESC")
            .bind(session)
            .fetch_all(&self.pool)
            .await
            .map_err(statement("list resources"))?;
        rows.iter()
            .map(|row| {
                Ok((
                    row.get("seq"),
                    from_json("resource", &row.get::<String, _>("resource"))?,
                ))
            })
            .collect()
    }
}

fn session_record(row: &SqliteRow) -> SessionRecord {
    SessionRecord {
        id: row.get("id"),
        site: row.get("site"),
        mode: Mode::from_word(&row.get::<String, _>("mode")),
        state: SessionState::from_word(&row.get::<String, _>("state")),
        started_at: row.get("started_at"),
        ended_at: row.get("ended_at"),
        detail: row.get("detail"),
    }
}
