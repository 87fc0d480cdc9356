//! Tokens, and the key of each host.

use std::time::{SystemTime, UNIX_EPOCH};

use lifeboat_agent::ca::{KeyHash, Redeemed, Register};
use lifeboat_agent::wire::UnixMillis;
use serde::Serialize;
use sqlx::Row;

use super::{Store, StoreError, Stored, from_integer, statement, to_integer};
use crate::clock;

/// A host whose agent joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostRecord {
    /// Its name.
    pub name: String,
    /// When its agent joined last.
    pub joined_at: UnixMillis,
}

impl Store {
    /// Expects a token for `host` until `expires`.
    pub async fn put_token(&self, hash: [u8; 32], host: &str, expires: UnixMillis) -> Stored<()> {
        let mut work = self.begin("give a token out").await?;
        // Long gone ones tell nobody anything.
        sqlx::query("DELETE FROM tokens WHERE expires < ?")
            .bind(to_integer(
                clock::unix().saturating_sub(30 * 24 * 3600 * 1000),
            ))
            .execute(&mut *work)
            .await
            .map_err(statement("forget old tokens"))?;
        sqlx::query("INSERT INTO tokens (hash, host, expires) VALUES (?, ?, ?)")
            .bind(hash.as_slice())
            .bind(host)
            .bind(to_integer(expires))
            .execute(&mut *work)
            .await
            .map_err(statement("give a token out"))?;
        work.commit().await.map_err(statement("give a token out"))
    }

    /// Every host whose agent joined, by name.
    pub async fn hosts(&self) -> Stored<Vec<HostRecord>> {
        let rows = sqlx::query("SELECT name, joined_at FROM hosts ORDER BY name")
            .fetch_all(&self.pool)
            .await
            .map_err(statement("list hosts"))?;
        let record = |row: &sqlx::sqlite::SqliteRow| HostRecord {
            name: row.get("name"),
            joined_at: from_integer(row.get("joined_at")),
        };
        Ok(rows.iter().map(record).collect())
    }

    /// Forgets a host: its agent has to join again. Says whether it was known.
    pub async fn remove_host(&self, host: &str) -> Stored<bool> {
        sqlx::query("DELETE FROM hosts WHERE name = ?")
            .bind(host)
            .execute(&self.pool)
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(statement("forget a host"))
    }

    /// A transaction that writes from its beginning: of two that come at once one waits.
    pub(crate) async fn begin(
        &self,
        what: &'static str,
    ) -> Stored<sqlx::Transaction<'static, sqlx::Sqlite>> {
        self.pool
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(statement(what))
    }
}

impl Register for Store {
    type Error = StoreError;

    async fn redeem(&self, token: [u8; 32], key: KeyHash, now: SystemTime) -> Stored<Redeemed> {
        let what = "redeem a token";
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let mut work = self.begin(what).await?;
        let row = sqlx::query("SELECT host, expires, used_by FROM tokens WHERE hash = ?")
            .bind(token.as_slice())
            .fetch_optional(&mut *work)
            .await
            .map_err(statement(what))?;
        let Some(row) = row else {
            return Ok(Redeemed::Unknown);
        };
        let used: Option<Vec<u8>> = row.get("used_by");
        if used.is_some_and(|used| used != key) {
            return Ok(Redeemed::Used);
        }
        if now > from_integer(row.get("expires")) {
            return Ok(Redeemed::Expired);
        }
        let host: String = row.get("host");
        sqlx::query("UPDATE tokens SET used_by = ?, used_at = ? WHERE hash = ?")
            .bind(key.as_slice())
            .bind(to_integer(now))
            .bind(token.as_slice())
            .execute(&mut *work)
            .await
            .map_err(statement(what))?;
        sqlx::query(
            "INSERT INTO hosts (name, key, joined_at) VALUES (?, ?, ?)
             ON CONFLICT (name) DO UPDATE SET key = excluded.key, joined_at = excluded.joined_at",
        )
        .bind(&host)
        .bind(key.as_slice())
        .bind(to_integer(now))
        .execute(&mut *work)
        .await
        .map_err(statement(what))?;
        work.commit().await.map_err(statement(what))?;
        Ok(Redeemed::Host(host))
    }

    async fn key_of(&self, host: &str) -> Stored<Option<KeyHash>> {
        let key: Option<Vec<u8>> = sqlx::query_scalar("SELECT key FROM hosts WHERE name = ?")
            .bind(host)
            .fetch_optional(&self.pool)
            .await
            .map_err(statement("look a host's key up"))?;
        Ok(key.and_then(|key| key.try_into().ok()))
    }
}
