//! The one owner of what the control centre remembers: one SQLite file, `failover.db`, apart from
//! the daemon's own, so that metrics never hold up the log of a recovery.
//!
//! Each part keeps its own tables in its own migration file; [`Store::pool`] is for them.

mod applications;
mod history;
mod processes;
mod register;
#[cfg(test)]
mod tests;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

pub use applications::{KeptApplication, Standing, StateRecord};
pub use history::{AuditRecord, TransitionRecord};
pub(crate) use processes::journal_of;
pub use processes::{JournalLine, ProcessRecord, Wishes};

/// The name of the database in the state directory.
pub const DATABASE: &str = "failover.db";

/// What the store could not do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be opened or brought up to date.
    #[error("failed to open the failover database `{}`", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A statement failed.
    #[error("failed to {what} in the failover database")]
    Statement {
        /// What was attempted.
        what: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// A stored value is not what this version writes.
    #[error("failed to read a stored {what}: it was written by another version, or damaged")]
    Value {
        /// What it should be.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// What a question to the store gives.
pub type Stored<T> = Result<T, StoreError>;

/// Handle to the database; cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
}

pub(crate) fn statement(what: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Statement { what, source }
}

pub(crate) fn to_json<T: Serialize>(what: &'static str, value: &T) -> Stored<String> {
    serde_json::to_string(value).map_err(|source| StoreError::Value { what, source })
}

pub(crate) fn from_json<T: DeserializeOwned>(what: &'static str, text: &str) -> Stored<T> {
    serde_json::from_str(text).map_err(|source| StoreError::Value { what, source })
}

/// Moments as SQLite keeps them.
pub(crate) fn to_integer(millis: u64) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX)
}

/// Moments as SQLite kept them.
pub(crate) fn from_integer(millis: i64) -> u64 {
    u64::try_from(millis).unwrap_or(0)
}

impl Store {
    /// Opens or creates the database in `state_dir`.
    pub async fn open(state_dir: &Path) -> Stored<Self> {
        let path = state_dir.join(DATABASE);
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Open {
            path: path.clone(),
            source,
        };
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // What was promised to an agent must be on disk before it is said.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true);
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_with(options)
            .await
            .map_err(|error| failed(error.into()))?;
        // It holds the CA's key.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
            .map_err(|error| failed(error.into()))?;
        sqlx::migrate!("./migrations")
            .run(&pool)
            .await
            .map_err(|error| failed(error.into()))?;
        Ok(Self { pool })
    }

    /// The database, for the tables of other parts.
    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Closes it, so that nothing stays in the write-ahead log.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Something that the control centre has once.
    pub async fn thing<T: DeserializeOwned>(&self, name: &'static str) -> Stored<Option<T>> {
        let text: Option<String> = sqlx::query_scalar("SELECT value FROM things WHERE name = ?")
            .bind(name)
            .fetch_optional(&self.pool)
            .await
            .map_err(statement("look something up"))?;
        text.map(|text| from_json(name, &text)).transpose()
    }

    /// Keeps something that the control centre has once.
    pub async fn put_thing<T: Serialize>(&self, name: &'static str, value: &T) -> Stored<()> {
        sqlx::query(
            "INSERT INTO things (name, value) VALUES (?, ?)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(name)
        .bind(to_json(name, value)?)
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(statement("keep something"))
    }
}
