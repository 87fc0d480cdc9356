//! What is remembered of restores.

use lifeboat_agent::wire::UnixMillis;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::RestoreRequest;
use crate::clock;
use crate::store::{Store, Stored, from_integer, from_json, statement, to_integer, to_json};

/// How far a restore is: what is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// 708.
    Pause,
    /// 710-712.
    Image,
    /// 718-720.
    SwitchOver,
    /// What the primary had goes into the archive.
    KeepPrimary,
    /// 722.
    Replicate,
    /// 724.
    SwitchBack,
    /// 714-716 after something was done: it is taken back.
    TakeBack,
}

impl Stage {
    /// The steps' numbers in the reference.
    pub fn number(self) -> &'static str {
        match self {
            Self::Pause => "708",
            Self::Image => "710",
            Self::SwitchOver => "718",
            Self::KeepPrimary => "720+",
            Self::Replicate => "722",
            Self::SwitchBack => "724",
            Self::TakeBack => "714",
        }
    }

    /// What comes after it.
    pub(super) fn next(self) -> Option<Self> {
        match self {
            Self::Pause => Some(Self::Image),
            Self::Image => Some(Self::SwitchOver),
            Self::SwitchOver => Some(Self::KeepPrimary),
            Self::KeepPrimary => Some(Self::Replicate),
            Self::Replicate => Some(Self::SwitchBack),
            Self::SwitchBack | Self::TakeBack => None,
        }
    }
}

/// A restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoreRecord {
    /// Its id.
    pub id: String,
    /// Its application.
    pub application: String,
    /// What was asked for.
    pub request: RestoreRequest,
    /// What is done next.
    pub stage: Stage,
    /// Why it stopped, if it waits for the operator.
    pub stopped: Option<String>,
    /// When it began.
    pub started_at: UnixMillis,
    /// When it ended.
    pub ended_at: Option<UnixMillis>,
    /// How.
    pub outcome: Option<String>,
}

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoreLine {
    /// When.
    pub at: UnixMillis,
    /// The step's number.
    pub number: String,
    /// What, and what shows it.
    pub text: String,
}

/// A restore with everything that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoreView {
    /// The restore.
    pub record: RestoreRecord,
    /// In order.
    pub lines: Vec<RestoreLine>,
}

/// What changes in a restore, as it is stored.
#[derive(Serialize, Deserialize)]
struct Kept {
    stage: Stage,
    stopped: Option<String>,
}

impl RestoreRecord {
    pub(super) fn begin(application: &str, request: RestoreRequest) -> Self {
        Self {
            id: format!("{:012x}", fastrand::u64(..) >> 16),
            application: application.to_owned(),
            request,
            stage: Stage::Pause,
            stopped: None,
            started_at: clock::unix(),
            ended_at: None,
            outcome: None,
        }
    }

    pub(super) fn end(&mut self, outcome: &str) {
        self.ended_at = Some(clock::unix());
        self.outcome = Some(outcome.to_owned());
    }
}

impl Store {
    pub(super) async fn begin_restore(&self, restore: &RestoreRecord) -> Stored<()> {
        sqlx::query("INSERT INTO restores (id, application, request, stage, started_at) VALUES (?, ?, ?, ?, ?)")
            .bind(&restore.id)
            .bind(&restore.application)
            .bind(to_json("request", &restore.request)?)
            .bind(kept(restore)?)
            .bind(to_integer(restore.started_at))
            .execute(self.pool())
            .await
            .map(drop)
            .map_err(statement("begin a restore"))
    }

    pub(super) async fn put_restore(&self, restore: &RestoreRecord) -> Stored<()> {
        sqlx::query(
            "UPDATE restores SET request = ?, stage = ?, ended_at = ?, outcome = ? WHERE id = ?",
        )
        .bind(to_json("request", &restore.request)?)
        .bind(kept(restore)?)
        .bind(restore.ended_at.map(to_integer))
        .bind(&restore.outcome)
        .bind(&restore.id)
        .execute(self.pool())
        .await
        .map(drop)
        .map_err(statement("write a restore down"))
    }

    pub(super) async fn restores(
        &self,
        application: &str,
        at_most: u32,
    ) -> Stored<Vec<RestoreRecord>> {
        let rows = sqlx::query(
            "SELECT * FROM restores WHERE application = ? ORDER BY started_at DESC LIMIT ?",
        )
        .bind(application)
        .bind(at_most)
        .fetch_all(self.pool())
        .await
        .map_err(statement("list restores"))?;
        rows.iter().map(record).collect()
    }

    pub(super) async fn put_restore_line(
        &self,
        restore: &str,
        number: &str,
        text: &str,
    ) -> Stored<()> {
        sqlx::query("INSERT INTO restore_lines (restore, at, number, text) VALUES (?, ?, ?, ?)")
            .bind(restore)
            .bind(to_integer(clock::unix()))
            .bind(number)
            .bind(text)
            .execute(self.pool())
            .await
            .map(drop)
            .map_err(statement("write a restore down"))
    }

    pub(super) async fn restore_lines(&self, restore: &str) -> Stored<Vec<RestoreLine>> {
        let rows = sqlx::query("SELECT * FROM restore_lines WHERE restore = ? ORDER BY seq")
            .bind(restore)
            .fetch_all(self.pool())
            .await
            .map_err(statement("read a restore"))?;
        let line = |row: &SqliteRow| RestoreLine {
            at: from_integer(row.get("at")),
            number: row.get("number"),
            text: row.get("text"),
        };
        Ok(rows.iter().map(line).collect())
    }
}

fn kept(restore: &RestoreRecord) -> Stored<String> {
    let kept = Kept {
        stage: restore.stage,
        stopped: restore.stopped.clone(),
    };
    to_json("stage of a restore", &kept)
}

fn record(row: &SqliteRow) -> Stored<RestoreRecord> {
    let text = |column: &str| -> String { row.get(column) };
    let kept: Kept = from_json("stage of a restore", &text("stage"))?;
    Ok(RestoreRecord {
        id: text("id"),
        application: text("application"),
        request: from_json("request", &text("request"))?,
        stage: kept.stage,
        stopped: kept.stopped,
        started_at: from_integer(row.get("started_at")),
        ended_at: row.get::<Option<i64>, _>("ended_at").map(from_integer),
        outcome: row.get("outcome"),
    })
}
