//! What is remembered of images, and what the operator set.

use lifeboat_agent::wire::{ImageFacts, UnixMillis};
use lifeboat_failover::Side;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::clock;
use crate::store::{Store, Stored, from_integer, from_json, statement, to_integer, to_json};

/// How far an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageState {
    /// 616-620.
    Taking,
    /// It is in the repository; a trial restore is to prove it.
    Taken,
    /// Proved; 622-624 are left.
    Proved,
    /// In its levels (634).
    Placed,
    /// 626-632.
    Failed,
    /// It grew too old, or it failed, and its room was given back.
    Forgotten,
}

impl ImageState {
    /// Whether nothing is left to do.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Placed | Self::Failed | Self::Forgotten)
    }
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageRecord {
    /// Its name: when it began (UTC), and some digits.
    pub name: String,
    /// Its application.
    pub application: String,
    /// The side whose store it is of.
    pub side: Side,
    /// Its levels.
    pub levels: Vec<String>,
    /// Who wanted it.
    pub who: String,
    /// How far it is.
    pub state: ImageState,
    /// When it began.
    pub started_at: UnixMillis,
    /// When it was placed, or failed (628, 634).
    pub ended_at: Option<UnixMillis>,
    /// What the agent said of it.
    pub facts: Option<ImageFacts>,
    /// Why it failed.
    pub failure: Option<String>,
}

/// What the operator set, and what process 500 remembers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Keeping {
    pub(crate) archive: Option<bool>,
    pub(crate) autosync: Option<bool>,
    /// The last run of process 300 after which data flow again.
    pub(crate) settled: Option<String>,
    /// The answer to step 364 was no: nothing flows before the operator says so.
    pub(crate) held: bool,
}

impl ImageRecord {
    pub(crate) fn begin(application: &str, side: Side, levels: Vec<String>, who: &str) -> Self {
        let now = clock::unix();
        Self {
            name: format!("{}-{:04x}", clock::stamp(now), fastrand::u16(..)),
            application: application.to_owned(),
            side,
            levels,
            who: who.to_owned(),
            state: ImageState::Taking,
            started_at: now,
            ended_at: None,
            facts: None,
            failure: None,
        }
    }
}

impl Store {
    pub(crate) async fn begin_image(&self, image: &ImageRecord) -> Stored<()> {
        sqlx::query(
            "INSERT INTO images (name, application, side, levels, who, state, started_at)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&image.name)
        .bind(&image.application)
        .bind(to_json("side", &image.side)?)
        .bind(to_json("levels", &image.levels)?)
        .bind(&image.who)
        .bind(to_json("state of an image", &image.state)?)
        .bind(to_integer(image.started_at))
        .execute(self.pool())
        .await
        .map(drop)
        .map_err(statement("begin an image"))
    }

    pub(crate) async fn put_image(&self, image: &ImageRecord) -> Stored<()> {
        let facts = image.facts.as_ref();
        let facts = facts.map(|facts| to_json("facts", facts)).transpose()?;
        sqlx::query(
            "UPDATE images SET state = ?, ended_at = ?, facts = ?, failure = ? WHERE name = ?",
        )
        .bind(to_json("state of an image", &image.state)?)
        .bind(image.ended_at.map(to_integer))
        .bind(facts)
        .bind(&image.failure)
        .bind(&image.name)
        .execute(self.pool())
        .await
        .map(drop)
        .map_err(statement("write an image down"))
    }

    /// Images that were forgotten are not among them.
    pub(crate) async fn images(&self, application: &str) -> Stored<Vec<ImageRecord>> {
        let rows = sqlx::query(
            "SELECT * FROM images WHERE application = ? AND state != ? ORDER BY started_at DESC",
        )
        .bind(application)
        .bind(to_json("state of an image", &ImageState::Forgotten)?)
        .fetch_all(self.pool())
        .await
        .map_err(statement("list images"))?;
        rows.iter().map(image).collect()
    }

    pub(crate) async fn keeping(&self, application: &str) -> Stored<Keeping> {
        let row = sqlx::query("SELECT * FROM keeping WHERE application = ?")
            .bind(application)
            .fetch_optional(self.pool())
            .await
            .map_err(statement("look up what is kept"))?;
        let keeping = |row: SqliteRow| Keeping {
            archive: row.get("archive"),
            autosync: row.get("autosync"),
            settled: row.get("settled"),
            held: row.get("held"),
        };
        Ok(row.map(keeping).unwrap_or_default())
    }

    pub(crate) async fn set_keeping_archive(&self, application: &str, on: bool) -> Stored<()> {
        self.keep_value(
            "INSERT INTO keeping (application, archive) VALUES (?, ?)
             ON CONFLICT (application) DO UPDATE SET archive = excluded.archive",
            application,
            on,
        )
        .await
    }

    pub(crate) async fn set_keeping_autosync(&self, application: &str, on: bool) -> Stored<()> {
        self.keep_value(
            "INSERT INTO keeping (application, autosync) VALUES (?, ?)
             ON CONFLICT (application) DO UPDATE SET autosync = excluded.autosync",
            application,
            on,
        )
        .await
    }

    pub(crate) async fn set_held(&self, application: &str, held: bool) -> Stored<()> {
        self.keep_value(
            "INSERT INTO keeping (application, held) VALUES (?, ?)
             ON CONFLICT (application) DO UPDATE SET held = excluded.held",
            application,
            held,
        )
        .await
    }

    async fn keep_value(&self, sql: &'static str, application: &str, value: bool) -> Stored<()> {
        sqlx::query(sql)
            .bind(application)
            .bind(value)
            .execute(self.pool())
            .await
            .map(drop)
            .map_err(statement("keep a setting"))
    }

    pub(crate) async fn set_settled(&self, application: &str, process: &str) -> Stored<()> {
        sqlx::query(
            "INSERT INTO keeping (application, settled) VALUES (?, ?)
             ON CONFLICT (application) DO UPDATE SET settled = excluded.settled",
        )
        .bind(application)
        .bind(process)
        .execute(self.pool())
        .await
        .map(drop)
        .map_err(statement("keep what is settled"))
    }

    pub(crate) async fn put_position(
        &self,
        application: &str,
        side: Side,
        position: &str,
    ) -> Stored<()> {
        sqlx::query(
            "INSERT INTO positions (application, side, position, at) VALUES (?, ?, ?, ?)
             ON CONFLICT (application, side) DO UPDATE SET position = excluded.position, at = excluded.at",
        )
        .bind(application)
        .bind(to_json("side", &side)?)
        .bind(position)
        .bind(to_integer(clock::unix()))
        .execute(self.pool())
        .await
        .map(drop)
        .map_err(statement("keep a position"))
    }

    pub(crate) async fn position(&self, application: &str, side: Side) -> Stored<Option<String>> {
        sqlx::query_scalar("SELECT position FROM positions WHERE application = ? AND side = ?")
            .bind(application)
            .bind(to_json("side", &side)?)
            .fetch_optional(self.pool())
            .await
            .map_err(statement("look up a position"))
    }
}

fn image(row: &SqliteRow) -> Stored<ImageRecord> {
    let text = |column: &str| -> String { row.get(column) };
    let facts: Option<String> = row.get("facts");
    Ok(ImageRecord {
        name: text("name"),
        application: text("application"),
        side: from_json("side", &text("side"))?,
        levels: from_json("levels", &text("levels"))?,
        who: text("who"),
        state: from_json("state of an image", &text("state"))?,
        started_at: from_integer(row.get("started_at")),
        ended_at: row.get::<Option<i64>, _>("ended_at").map(from_integer),
        facts: facts.map(|text| from_json("facts", &text)).transpose()?,
        failure: row.get("failure"),
    })
}
