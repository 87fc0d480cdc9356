//! The one owner of what Lifeboat remembers: sites, volumes, prepared machines,
//! sessions with their resources, and the audit trail, in one SQLite file.

mod operator;
mod orders;
mod records;
mod schedules;
mod verifications;

pub use orders::KeptOrder;
pub use records::{Resource, SessionRecord, SessionState, SiteRecord};
pub use schedules::{RunEnd, RunState, Schedule, ScheduleRun};

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use crate::notices::{Notices, SiteChange, What};

/// What the store could not do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be opened or brought up to date.
    #[error("failed to open the state database `{path}`")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A statement failed.
    #[error("failed to {what} in the state database")]
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

type Stored<T> = Result<T, StoreError>;

/// Handle to the database; cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: SqlitePool,
    notices: Notices,
}

fn statement(what: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Statement { what, source }
}

fn to_json<T: Serialize>(what: &'static str, value: &T) -> Stored<String> {
    serde_json::to_string(value).map_err(|source| StoreError::Value { what, source })
}

fn from_json<T: DeserializeOwned>(what: &'static str, text: &str) -> Stored<T> {
    serde_json::from_str(text).map_err(|source| StoreError::Value { what, source })
}

/// The present moment, as stored: seconds since 1970 with milliseconds, UTC.
pub fn now() -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format!("{}.{:03}", since.as_secs(), since.subsec_millis())
}

impl Store {
    /// Opens or creates the database in `state_dir`.
    pub async fn open(state_dir: &Path) -> Stored<Self> {
        let path = state_dir.join("lifeboat.db");
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Open {
            path: path.clone(),
            source,
        };
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // The log of resources must be on disk before the resource exists.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true);
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_with(options)
            .await
            .map_err(|error| failed(error.into()))?;
        sqlx::migrate!("./migrations")
            .run(&pool)
            .await
            .map_err(|error| failed(error.into()))?;
        Ok(Self {
            pool,
            notices: Notices::default(),
        })
    }

    /// Where changes of what it keeps are told.
    pub fn notices(&self) -> &Notices {
        &self.notices
    }

    fn tell_site(&self, name: &str, change: SiteChange) {
        let name = name.to_owned();
        self.notices.tell(What::Site { name, change });
    }

    /// Closes it, so that nothing stays in the write-ahead log.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Writes an audit entry.
    pub async fn audit(&self, action: &str, subject: &str) -> Stored<()> {
        sqlx::query("INSERT INTO audit (at, action, subject) VALUES (?, ?, ?)")
            .bind(now())
            .bind(action)
            .bind(subject)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(statement("write an audit entry"))
    }

    /// Registers a site, or moves it to another file.
    pub async fn put_site(&self, name: &str, file: &Path) -> Stored<()> {
        sqlx::query(
            "INSERT INTO sites (name, file, added_at) VALUES (?, ?, ?)
             ON CONFLICT (name) DO UPDATE SET file = excluded.file",
        )
        .bind(name)
        .bind(file.to_string_lossy())
        .bind(now())
        .execute(&self.pool)
        .await
        .map(|_| self.tell_site(name, SiteChange::Added))
        .map_err(statement("register a site"))
    }

    /// All registered sites by name.
    pub async fn sites(&self) -> Stored<Vec<SiteRecord>> {
        let rows = sqlx::query("SELECT name, file FROM sites ORDER BY name")
            .fetch_all(&self.pool)
            .await
            .map_err(statement("list sites"))?;
        let record = |row: &sqlx::sqlite::SqliteRow| SiteRecord {
            name: row.get("name"),
            file: PathBuf::from(row.get::<String, _>("file")),
        };
        Ok(rows.iter().map(record).collect())
    }

    /// Forgets a site; says whether it was known.
    pub async fn remove_site(&self, name: &str) -> Stored<bool> {
        self.put_operator_words(name, &[]).await?;
        self.remove_order(name).await?;
        self.remove_schedules_of(name).await?;
        let done = sqlx::query("DELETE FROM sites WHERE name = ?")
            .bind(name)
            .execute(&self.pool)
            .await
            .map_err(statement("remove a site"))?;
        self.tell_site(name, SiteChange::Removed);
        Ok(done.rows_affected() > 0)
    }

    /// What was recorded of a captured volume at import.
    pub async fn volume<T: DeserializeOwned>(&self, path: &Path) -> Stored<Option<T>> {
        let text: Option<String> = sqlx::query_scalar("SELECT volume FROM volumes WHERE path = ?")
            .bind(path.to_string_lossy())
            .fetch_optional(&self.pool)
            .await
            .map_err(statement("look up a volume"))?;
        text.map(|text| from_json("volume", &text)).transpose()
    }

    /// Records a captured volume.
    pub async fn put_volume<T: Serialize>(&self, path: &Path, volume: &T) -> Stored<()> {
        sqlx::query(
            "INSERT INTO volumes (path, volume, imported_at) VALUES (?, ?, ?)
             ON CONFLICT (path) DO UPDATE SET volume = excluded.volume, imported_at = excluded.imported_at",
        )
        .bind(path.to_string_lossy())
        .bind(to_json("volume", volume)?)
        .bind(now())
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(statement("record a volume"))
    }

    /// A prepared machine by its key.
    pub async fn prepared<T: DeserializeOwned>(&self, key: &str) -> Stored<Option<T>> {
        let text: Option<String> =
            sqlx::query_scalar("SELECT prepared FROM prepared WHERE key = ?")
                .bind(key)
                .fetch_optional(&self.pool)
                .await
                .map_err(statement("look up a prepared machine"))?;
        text.map(|text| from_json("prepared machine", &text))
            .transpose()
    }

    /// Records a prepared machine.
    pub async fn put_prepared<T: Serialize>(
        &self,
        key: &str,
        site: &str,
        machine: &str,
        value: &T,
    ) -> Stored<()> {
        sqlx::query("INSERT OR REPLACE INTO prepared (key, site, machine, prepared, made_at) VALUES (?, ?, ?, ?, ?)")
            .bind(key)
            .bind(site)
            .bind(machine)
            .bind(to_json("prepared machine", value)?)
            .bind(now())
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(statement("record a prepared machine"))
    }
}

#[cfg(test)]
mod tests;
