//! Tokens of programs, as they are kept.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Store, Stored, role};
use crate::error::{AccessError, Reason, refused, statement};
use crate::role::Role;
use crate::secret::Hash;

/// A token with what its owner is now.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub id: String,
    pub hash: Hash,
    pub name: String,
    /// `None`: root of the machine.
    pub owner: Option<String>,
    pub role: Role,
    pub scopes: Vec<String>,
    pub destructive: bool,
    pub made: i64,
    pub expires: Option<i64>,
    pub used: Option<i64>,
}

fn token(row: &SqliteRow) -> Stored<Token> {
    let hash: Vec<u8> = row.get("hash");
    let made_for = role(row.get("role"))?;
    let owners: Option<String> = row.get("owners_role");
    let owners = owners.as_deref().map(role).transpose()?;
    let scopes = serde_json::from_str(row.get("scopes"));
    Ok(Token {
        id: row.get("id"),
        hash: hash.try_into().map_err(|_| AccessError::Value("token"))?,
        name: row.get("name"),
        owner: row.get("owner"),
        // Never more than its owner may by now.
        role: owners.map_or(made_for, |owners| owners.min(made_for)),
        scopes: scopes.map_err(|_| AccessError::Value("list of scopes"))?,
        destructive: row.get("destructive"),
        made: row.get("made"),
        expires: row.get("expires"),
        used: row.get("used"),
    })
}

/// Tokens of users who may not log in any more do not exist.
const COLUMNS: &str = "SELECT t.id, t.hash, t.name, t.owner, t.role, t.scopes, t.destructive,
    t.made, t.expires, t.used, u.role AS owners_role
    FROM tokens t LEFT JOIN users u ON u.name = t.owner
    WHERE (t.owner IS NULL OR u.disabled = 0)";

impl Store {
    pub async fn put_token(&self, token: &Token) -> Stored<()> {
        let scopes = serde_json::to_string(&token.scopes)
            .map_err(|_| AccessError::Value("list of scopes"))?;
        let kept = sqlx::query(
            "INSERT INTO tokens (id, hash, name, owner, role, scopes, destructive, made, expires)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(&token.id)
        .bind(&token.hash[..])
        .bind(&token.name)
        .bind(&token.owner)
        .bind(token.role.word())
        .bind(scopes)
        .bind(token.destructive)
        .bind(token.made)
        .bind(token.expires)
        .execute(&self.pool)
        .await
        .map_err(statement("keep a token"))?;
        match kept.rows_affected() {
            0 => Err(refused(
                Reason::Conflict,
                format!("a token `{}` exists already", token.name),
            )),
            _ => Ok(()),
        }
    }

    pub async fn token(&self, id: &str) -> Stored<Option<Token>> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!("{COLUMNS} AND t.id = ?")))
            .bind(id)
            .fetch_optional(&self.pool)
            .await
            .map_err(statement("look up a token"))?;
        row.as_ref().map(token).transpose()
    }

    /// Tokens of one user or of all.
    pub async fn tokens(&self, owner: Option<&str>) -> Stored<Vec<Token>> {
        let question = format!(
            "{COLUMNS} AND (?1 IS NULL OR t.owner = ?1) ORDER BY t.owner, t.name LIMIT 10000"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(question))
            .bind(owner)
            .fetch_all(&self.pool)
            .await
            .map_err(statement("list tokens"))?;
        rows.iter().map(token).collect()
    }

    pub async fn count_tokens(&self, owner: Option<&str>) -> Stored<i64> {
        sqlx::query_scalar("SELECT count(*) FROM tokens WHERE owner IS ?")
            .bind(owner)
            .fetch_one(&self.pool)
            .await
            .map_err(statement("count tokens"))
    }

    pub async fn touch_token(&self, id: &str, now: i64) -> Stored<()> {
        sqlx::query("UPDATE tokens SET used = ? WHERE id = ?")
            .bind(now)
            .bind(id)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(statement("note the use of a token"))
    }

    /// Removes a token, of one user or of anyone; says whether there was one.
    pub async fn remove_token(&self, id: &str, owner: Option<&str>) -> Stored<bool> {
        sqlx::query("DELETE FROM tokens WHERE id = ?1 AND (?2 IS NULL OR owner = ?2)")
            .bind(id)
            .bind(owner)
            .execute(&self.pool)
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(statement("remove a token"))
    }
}
