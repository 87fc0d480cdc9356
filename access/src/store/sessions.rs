//! Browsers that are logged in, as they are kept.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Store, Stored, role};
use crate::error::statement;
use crate::role::Role;
use crate::secret::Hash;

/// A session with what its user is now.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub hash: Hash,
    pub id: String,
    pub user: String,
    pub role: Role,
    pub totp: bool,
    /// The second factor was given, or none is wanted.
    pub complete: bool,
    pub begun: i64,
    pub seen: i64,
    pub confirmed_until: i64,
    pub address: String,
    pub agent: String,
}

fn session(row: &SqliteRow) -> Stored<Session> {
    let hash: Vec<u8> = row.get("hash");
    let damaged = |_| crate::error::AccessError::Value("session");
    Ok(Session {
        hash: hash.try_into().map_err(damaged)?,
        id: row.get("id"),
        user: row.get("user"),
        role: role(row.get("role"))?,
        totp: row.get("totp"),
        complete: row.get("complete"),
        begun: row.get("begun"),
        seen: row.get("seen"),
        confirmed_until: row.get("confirmed_until"),
        address: row.get("address"),
        agent: row.get("agent"),
    })
}

/// Sessions of users who may not log in any more do not exist.
const COLUMNS: &str = "SELECT s.hash, s.id, s.user, s.complete, s.begun, s.seen,
    s.confirmed_until, s.address, s.agent, u.role, u.totp IS NOT NULL AS totp
    FROM sessions s JOIN users u ON u.name = s.user AND u.disabled = 0";

impl Store {
    pub async fn put_session(&self, session: &Session) -> Stored<()> {
        sqlx::query(
            "INSERT INTO sessions (hash, id, user, complete, begun, seen, address, agent)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&session.hash[..])
        .bind(&session.id)
        .bind(&session.user)
        .bind(session.complete)
        .bind(session.begun)
        .bind(session.seen)
        .bind(&session.address)
        .bind(&session.agent)
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(statement("keep a session"))
    }

    pub async fn session(&self, hash: &Hash) -> Stored<Option<Session>> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE s.hash = ?")))
            .bind(&hash[..])
            .fetch_optional(&self.pool)
            .await
            .map_err(statement("look up a session"))?;
        row.as_ref().map(session).transpose()
    }

    /// Complete sessions, of one user or of all, the newest first.
    pub async fn sessions(&self, user: Option<&str>) -> Stored<Vec<Session>> {
        let question = format!(
            "{COLUMNS} WHERE s.complete AND s.user = ifnull(?, s.user) ORDER BY s.seen DESC LIMIT 1000"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(question))
            .bind(user)
            .fetch_all(&self.pool)
            .await
            .map_err(statement("list sessions"))?;
        rows.iter().map(session).collect()
    }

    pub async fn touch_session(&self, hash: &Hash, now: i64) -> Stored<()> {
        sqlx::query("UPDATE sessions SET seen = ? WHERE hash = ?")
            .bind(now)
            .bind(&hash[..])
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(statement("note the use of a session"))
    }

    pub async fn confirm_session(&self, hash: &Hash, until: i64) -> Stored<()> {
        sqlx::query("UPDATE sessions SET confirmed_until = ? WHERE hash = ?")
            .bind(until)
            .bind(&hash[..])
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(statement("confirm a session"))
    }

    pub async fn end_session(&self, hash: &Hash) -> Stored<()> {
        sqlx::query("DELETE FROM sessions WHERE hash = ?")
            .bind(&hash[..])
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(statement("end a session"))
    }

    /// Ends a session by its id, of one user or of anyone; says whether there was one.
    pub async fn end_session_by_id(&self, id: &str, user: Option<&str>) -> Stored<bool> {
        sqlx::query("DELETE FROM sessions WHERE id = ? AND user = ifnull(?, user)")
            .bind(id)
            .bind(user)
            .execute(&self.pool)
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(statement("end a session"))
    }

    /// Ends all sessions of a user but one.
    pub async fn end_other_sessions(&self, user: &str, kept: &Hash) -> Stored<()> {
        sqlx::query("DELETE FROM sessions WHERE user = ? AND hash <> ?")
            .bind(user)
            .bind(&kept[..])
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(statement("end the other sessions of a user"))
    }

    /// Forgets sessions that nobody can use any more.
    pub async fn forget_sessions(&self, begun_before: i64, seen_before: i64) -> Stored<()> {
        sqlx::query("DELETE FROM sessions WHERE begun < ? OR seen < ?")
            .bind(begun_before)
            .bind(seen_before)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(statement("forget old sessions"))
    }
}
