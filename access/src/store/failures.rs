//! Log-ins that failed, and the locks that come of them.
//!
//! Three counters guard a log-in: of this name from this address, of this address whoever is
//! named, and of this name from anywhere. The first locks early. The last is far higher and does
//! not hold where the user has logged in before, so that nobody far away can lock anyone out.
//! An attempt is counted before its password is looked at: a hundred at once are a hundred.

use sqlx::SqliteConnection;

use super::{Store, Stored};
use crate::error::statement;

/// Failures of one name from one address until it is locked.
pub(crate) const OF_PAIR: i64 = 5;
const OF_ADDRESS: i64 = 20;
const OF_USER: i64 = 50;
/// How long a lock holds, and how long a failure counts.
pub(crate) const LOCK_MS: i64 = 15 * 60 * 1000;
const KNOWN_FOR_MS: i64 = 60 * 24 * 3600 * 1000;
/// More is not remembered; the oldest go.
const ROWS: i64 = 10_000;

/// A log-in that may go on, or until when it may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// It is counted as a failure until it succeeds. `last`: if it fails, a lock begins.
    Counted {
        last: bool,
    },
    Locked {
        until: i64,
    },
}

impl Store {
    /// Counts an attempt.
    pub async fn begin_attempt(&self, user: &str, address: &str, now: i64) -> Stored<Attempt> {
        let what = "count an attempt to log in";
        // Two attempts at once must not read the same count.
        let mut tx = self
            .pool
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(statement(what))?;
        forget(&mut tx, now).await?;
        let pair = count(&mut tx, user, address).await?;
        let mut counters = vec![
            (pair, OF_PAIR),
            (count(&mut tx, "", address).await?, OF_ADDRESS),
        ];
        if !is_known(&mut tx, user, address, now).await? {
            counters.push((count(&mut tx, user, "").await?, OF_USER));
        }
        let locked = counters.iter().filter(|((count, _), most)| count >= most);
        if let Some(until) = locked.map(|((_, last), _)| last + LOCK_MS).max() {
            return Ok(Attempt::Locked { until });
        }
        for (user, address) in [(user, address), ("", address), (user, "")] {
            add(&mut tx, user, address, now).await?;
        }
        tx.commit().await.map_err(statement(what))?;
        Ok(Attempt::Counted {
            last: pair.0 + 1 >= OF_PAIR,
        })
    }

    /// The password of an attempt was right, and the code is still to come: this one was no
    /// failure, and those before it still count.
    pub async fn forgive_attempt(&self, user: &str, address: &str) -> Stored<()> {
        sqlx::query(
            "UPDATE failures SET count = count - 1 WHERE (user = ?1 AND address = ?2)
             OR (user = '' AND address = ?2) OR (user = ?1 AND address = '')",
        )
        .bind(user)
        .bind(address)
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(statement("take back a failed log-in"))
    }

    /// Somebody has logged in: their failures from there count no more.
    pub async fn forgive_all(&self, user: &str, address: &str) -> Stored<()> {
        self.forgive_attempt(user, address).await?;
        sqlx::query("DELETE FROM failures WHERE user = ? AND address = ?")
            .bind(user)
            .bind(address)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(statement("forget failed log-ins"))
    }

    /// Ends every lock of a user; says whether there was one.
    pub async fn unlock(&self, user: &str) -> Stored<bool> {
        let what = "unlock a user";
        // The addresses from where the user failed, too: they hold the user up as well.
        sqlx::query(
            "DELETE FROM failures WHERE user = '' AND address IN
             (SELECT address FROM failures WHERE user = ?)",
        )
        .bind(user)
        .execute(&self.pool)
        .await
        .map_err(statement(what))?;
        sqlx::query("DELETE FROM failures WHERE user = ?")
            .bind(user)
            .execute(&self.pool)
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(statement(what))
    }

    /// Until when a user is locked somewhere.
    pub async fn locked_until(&self, user: &str, now: i64) -> Stored<Option<i64>> {
        let last: Option<i64> = sqlx::query_scalar(
            "SELECT max(last) FROM failures WHERE user = ? AND last > ? AND
             count >= iif(address = '', ?, ?)",
        )
        .bind(user)
        .bind(now - LOCK_MS)
        .bind(OF_USER)
        .bind(OF_PAIR)
        .fetch_one(&self.pool)
        .await
        .map_err(statement("look up locks"))?;
        Ok(last.map(|last| last + LOCK_MS))
    }
}

async fn forget(tx: &mut SqliteConnection, now: i64) -> Stored<()> {
    sqlx::query(
        "DELETE FROM failures WHERE last <= ?1 OR rowid IN
         (SELECT rowid FROM failures ORDER BY last DESC LIMIT -1 OFFSET ?2)",
    )
    .bind(now - LOCK_MS)
    .bind(ROWS)
    .execute(tx)
    .await
    .map(drop)
    .map_err(statement("forget old failures"))
}

/// How many failed, and when the last one was.
async fn count(tx: &mut SqliteConnection, user: &str, address: &str) -> Stored<(i64, i64)> {
    let found = sqlx::query_as("SELECT count, last FROM failures WHERE user = ? AND address = ?")
        .bind(user)
        .bind(address)
        .fetch_optional(tx)
        .await;
    found
        .map(Option::unwrap_or_default)
        .map_err(statement("count failures"))
}

async fn add(tx: &mut SqliteConnection, user: &str, address: &str, now: i64) -> Stored<()> {
    sqlx::query(
        "INSERT INTO failures (user, address, count, last) VALUES (?, ?, 1, ?)
         ON CONFLICT DO UPDATE SET count = count + 1, last = excluded.last",
    )
    .bind(user)
    .bind(address)
    .bind(now)
    .execute(tx)
    .await
    .map(drop)
    .map_err(statement("count a failure"))
}

async fn is_known(tx: &mut SqliteConnection, user: &str, address: &str, now: i64) -> Stored<bool> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM known_addresses WHERE user = ? AND address = ? AND seen > ?)",
    )
    .bind(user)
    .bind(address)
    .bind(now - KNOWN_FOR_MS)
    .fetch_one(tx)
    .await
    .map_err(statement("look up where a user logs in"))
}
