//! The one owner of what is remembered of users, sessions and tokens: one SQLite file.

pub(crate) mod failures;
pub(crate) mod sessions;
pub(crate) mod tokens;
pub(crate) mod users;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use crate::error::{AccessError, statement};
use crate::role::Role;
use crate::secret::Hash;

pub(crate) type Stored<T> = Result<T, AccessError>;

/// Handle to the database; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(crate) pool: SqlitePool,
}

impl Store {
    pub async fn open(path: &Path) -> Stored<Self> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| AccessError::Open {
            path: path.to_owned(),
            source,
        };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // An entry of the audit trail must be on disk before what it tells of.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true);
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_with(options)
            .await
            .map_err(|error| failed(error.into()))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .map_err(|error| failed(error.into()))?;
        sqlx::migrate!("./migrations")
            .run(&pool)
            .await
            .map_err(|error| failed(error.into()))?;
        Ok(Self { pool })
    }

    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Keeps a link for the first user; an earlier one is worth nothing from now on.
    pub async fn put_link(&self, hash: &Hash, expires: i64) -> Stored<()> {
        let what = "keep a one-time link";
        let mut tx = self.pool.begin().await.map_err(statement(what))?;
        sqlx::query("DELETE FROM links")
            .execute(&mut *tx)
            .await
            .map_err(statement(what))?;
        sqlx::query("INSERT INTO links (hash, expires) VALUES (?, ?)")
            .bind(&hash[..])
            .bind(expires)
            .execute(&mut *tx)
            .await
            .map_err(statement(what))?;
        tx.commit().await.map_err(statement(what))
    }

    /// Whether a link is good; it is not used up by that.
    pub async fn is_link(&self, hash: &Hash, now: i64) -> Stored<bool> {
        sqlx::query_scalar("SELECT count(*) FROM links WHERE hash = ? AND expires > ?")
            .bind(&hash[..])
            .bind(now)
            .fetch_one(&self.pool)
            .await
            .map(|count: i64| count > 0)
            .map_err(statement("look up a one-time link"))
    }
}

fn role(word: &str) -> Stored<Role> {
    Role::from_word(word).ok_or(AccessError::Value("role"))
}
