//! Schedules and what became of them.

use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use utoipa::ToSchema;

use super::{Store, Stored, from_json, statement, to_json};
use crate::notices::{ScheduleChange, What};
use crate::schedules::ScheduleSettings;

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Schedule {
    /// Its number.
    pub id: i64,
    /// The site that it tests.
    pub site: String,
    /// When.
    pub settings: ScheduleSettings,
    /// When the next test is due, Unix time in milliseconds; none while it is not in force.
    pub next_ms: Option<u64>,
    /// What became of the last one that was due.
    pub last: Option<ScheduleRun>,
}

/// What became of a test that was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It goes on.
    Running,
    /// All was well.
    Passed,
    /// Not all was well, or it could not be run.
    Failed,
    /// The daemon did not run then.
    Missed,
}

/// A test that was due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScheduleRun {
    /// Its schedule.
    pub schedule: i64,
    /// When it was due, Unix time in milliseconds.
    pub due_ms: u64,
    /// What became of it.
    pub state: RunState,
    /// Its session, if one began.
    pub session: Option<String>,
    /// More words.
    pub detail: Option<String>,
    /// When that was known.
    pub ended_ms: Option<u64>,
}

/// How a test that was due ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnd {
    /// What became of it.
    pub state: RunState,
    /// Its session, if one began.
    pub session: Option<String>,
    /// More words.
    pub detail: Option<String>,
}

impl RunState {
    fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Missed => "missed",
        }
    }

    fn from_word(word: &str) -> Self {
        match word {
            "running" => Self::Running,
            "passed" => Self::Passed,
            "missed" => Self::Missed,
            _ => Self::Failed,
        }
    }
}

const COLUMNS: &str = "SELECT schedules.*, run.seq, run.schedule, run.due_ms, run.state, run.session, run.detail, run.ended_ms
    FROM schedules LEFT JOIN schedule_runs AS run
    ON run.seq = (SELECT MAX(seq) FROM schedule_runs WHERE schedule = schedules.id)";

impl Store {
    /// All schedules, or those of one site.
    pub async fn schedules(&self, site: Option<&str>) -> Stored<Vec<Schedule>> {
        let text = format!("{COLUMNS} WHERE ?1 IS NULL OR site = ?1 ORDER BY schedules.id");
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(site)
            .fetch_all(&self.pool)
            .await
            .map_err(statement("list schedules"))?;
        rows.iter().map(schedule).collect()
    }

    /// The schedule with this number.
    pub async fn schedule(&self, id: i64) -> Stored<Option<Schedule>> {
        let text = format!("{COLUMNS} WHERE schedules.id = ?");
        let row = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(id)
            .fetch_optional(&self.pool)
            .await
            .map_err(statement("look up a schedule"))?;
        row.as_ref().map(schedule).transpose()
    }

    /// Keeps a new schedule; returns its number.
    pub async fn add_schedule(
        &self,
        site: &str,
        settings: &ScheduleSettings,
        next_ms: Option<u64>,
    ) -> Stored<i64> {
        let done = sqlx::query("INSERT INTO schedules (site, settings, next_ms) VALUES (?, ?, ?)")
            .bind(site)
            .bind(to_json("schedule", settings)?)
            .bind(next_ms.map(u64::cast_signed))
            .execute(&self.pool)
            .await
            .map_err(statement("keep a schedule"))?;
        let id = done.last_insert_rowid();
        self.tell_schedule(id, ScheduleChange::Set);
        Ok(id)
    }

    /// Other settings for a schedule; says whether there is such a one.
    pub async fn change_schedule(
        &self,
        id: i64,
        settings: &ScheduleSettings,
        next_ms: Option<u64>,
    ) -> Stored<bool> {
        let done = sqlx::query("UPDATE schedules SET settings = ?, next_ms = ? WHERE id = ?")
            .bind(to_json("schedule", settings)?)
            .bind(next_ms.map(u64::cast_signed))
            .bind(id)
            .execute(&self.pool)
            .await
            .map_err(statement("change a schedule"))?;
        self.tell_schedule(id, ScheduleChange::Set);
        Ok(done.rows_affected() > 0)
    }

    /// Forgets a schedule with its runs; says whether there was such a one.
    pub async fn remove_schedule(&self, id: i64) -> Stored<bool> {
        let done = sqlx::query("DELETE FROM schedules WHERE id = ?")
            .bind(id)
            .execute(&self.pool)
            .await
            .map_err(statement("forget a schedule"))?;
        self.tell_schedule(id, ScheduleChange::Removed);
        Ok(done.rows_affected() > 0)
    }

    /// Forgets the schedules of a site.
    pub(super) async fn remove_schedules_of(&self, site: &str) -> Stored<()> {
        sqlx::query("DELETE FROM schedules WHERE site = ?")
            .bind(site)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(statement("forget the schedules of a site"))
    }

    /// Writes down that one is due now and when the next one is, both or neither; returns the
    /// number of the run.
    pub async fn begin_run(&self, schedule: i64, due_ms: u64, next_ms: Option<u64>) -> Stored<i64> {
        let failed = || statement("begin a run of a schedule");
        let mut transaction = self.pool.begin().await.map_err(failed())?;
        sqlx::query("UPDATE schedules SET next_ms = ? WHERE id = ?")
            .bind(next_ms.map(u64::cast_signed))
            .bind(schedule)
            .execute(&mut *transaction)
            .await
            .map_err(failed())?;
        let done = sqlx::query(
            "INSERT INTO schedule_runs (schedule, due_ms, state) VALUES (?, ?, 'running')",
        )
        .bind(schedule)
        .bind(due_ms.cast_signed())
        .execute(&mut *transaction)
        .await
        .map_err(failed())?;
        transaction.commit().await.map_err(failed())?;
        self.tell_schedule(schedule, ScheduleChange::Began);
        Ok(done.last_insert_rowid())
    }

    /// Writes down how a run ended.
    pub async fn end_run(&self, schedule: i64, run: i64, end: &RunEnd) -> Stored<()> {
        sqlx::query("UPDATE schedule_runs SET state = ?, session = ?, detail = ?, ended_ms = ? WHERE seq = ?")
            .bind(end.state.word())
            .bind(&end.session)
            .bind(&end.detail)
            .bind(crate::session::unix_ms().cast_signed())
            .bind(run)
            .execute(&self.pool)
            .await
            .map_err(statement("end a run of a schedule"))?;
        let change = match end.state {
            RunState::Missed => ScheduleChange::Missed,
            _ => ScheduleChange::Ended,
        };
        self.tell_schedule(schedule, change);
        Ok(())
    }

    /// Runs that an earlier daemon left in the middle have failed.
    pub async fn end_left_runs(&self) -> Stored<u64> {
        sqlx::query("UPDATE schedule_runs SET state = 'failed', detail = ?, ended_ms = ? WHERE state = 'running'")
            .bind("the daemon ended during this test")
            .bind(crate::session::unix_ms().cast_signed())
            .execute(&self.pool)
            .await
            .map(|done| done.rows_affected())
            .map_err(statement("end runs of schedules"))
    }

    /// The runs of a schedule, the newest first.
    pub async fn schedule_runs(&self, schedule: i64, most: u32) -> Stored<Vec<ScheduleRun>> {
        let rows =
            sqlx::query("SELECT * FROM schedule_runs WHERE schedule = ? ORDER BY seq DESC LIMIT ?")
                .bind(schedule)
                .bind(most)
                .fetch_all(&self.pool)
                .await
                .map_err(statement("list runs of a schedule"))?;
        Ok(rows.iter().map(run).collect())
    }

    fn tell_schedule(&self, id: i64, change: ScheduleChange) {
        self.notices.tell(What::Schedule { id, change });
    }
}

fn schedule(row: &SqliteRow) -> Stored<Schedule> {
    let has_run = row.get::<Option<i64>, _>("seq").is_some();
    Ok(Schedule {
        id: row.get("id"),
        site: row.get("site"),
        settings: from_json("schedule", &row.get::<String, _>("settings"))?,
        next_ms: row.get::<Option<i64>, _>("next_ms").map(i64::cast_unsigned),
        last: has_run.then(|| run(row)),
    })
}

fn run(row: &SqliteRow) -> ScheduleRun {
    ScheduleRun {
        schedule: row.get("schedule"),
        due_ms: row.get::<i64, _>("due_ms").cast_unsigned(),
        state: RunState::from_word(&row.get::<String, _>("state")),
        session: row.get("session"),
        detail: row.get("detail"),
        ended_ms: row
            .get::<Option<i64>, _>("ended_ms")
            .map(i64::cast_unsigned),
    }
}
