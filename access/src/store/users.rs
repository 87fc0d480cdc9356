//! Users, as they are kept.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Store, Stored, role};
use crate::error::{Reason, refused, statement};
use crate::role::Role;
use crate::secret::Hash;

/// A user.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub name: String,
    pub role: Role,
    pub password: String,
    pub disabled: bool,
    pub made: i64,
    pub last_login: Option<i64>,
    pub totp: Option<Vec<u8>>,
    pub totp_offer: Option<Vec<u8>>,
}

fn user(row: &SqliteRow) -> Stored<User> {
    Ok(User {
        name: row.get("name"),
        role: role(row.get("role"))?,
        password: row.get("password"),
        disabled: row.get("disabled"),
        made: row.get("made"),
        last_login: row.get("last_login"),
        totp: row.get("totp"),
        totp_offer: row.get("totp_offer"),
    })
}

const COLUMNS: &str =
    "SELECT name, role, password, disabled, made, last_login, totp, totp_offer FROM users";

/// What of a user changes; what is left out stays.
#[derive(Debug, Clone, Default)]
pub(crate) struct UserChange {
    pub role: Option<Role>,
    pub password: Option<String>,
    pub disabled: Option<bool>,
    pub without_totp: bool,
}

impl Store {
    pub async fn user(&self, name: &str) -> Stored<Option<User>> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE name = ?")))
            .bind(name)
            .fetch_optional(&self.pool)
            .await
            .map_err(statement("look up a user"))?;
        row.as_ref().map(user).transpose()
    }

    pub async fn users(&self) -> Stored<Vec<User>> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!("{COLUMNS} ORDER BY name")))
            .fetch_all(&self.pool)
            .await
            .map_err(statement("list users"))?;
        rows.iter().map(user).collect()
    }

    pub async fn has_users(&self) -> Stored<bool> {
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM users)")
            .fetch_one(&self.pool)
            .await
            .map_err(statement("count users"))
    }

    /// Makes a user; one that exists is a conflict.
    pub async fn add_user(&self, name: &str, role: Role, password: &str, now: i64) -> Stored<()> {
        let added = sqlx::query(
            "INSERT INTO users (name, role, password, made) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(name)
        .bind(role.word())
        .bind(password)
        .bind(now)
        .execute(&self.pool)
        .await
        .map_err(statement("make a user"))?;
        match added.rows_affected() {
            0 => Err(refused(
                Reason::Conflict,
                format!("a user `{name}` exists already"),
            )),
            _ => Ok(()),
        }
    }

    /// Makes the first user by a link, in one step: the link is used up, and of two who hold it
    /// only one succeeds.
    pub async fn add_first_user(
        &self,
        link: &Hash,
        name: &str,
        password: &str,
        now: i64,
    ) -> Stored<bool> {
        let what = "make the first user";
        let mut tx = self.pool.begin().await.map_err(statement(what))?;
        let used = sqlx::query("DELETE FROM links WHERE hash = ? AND expires > ?")
            .bind(&link[..])
            .bind(now)
            .execute(&mut *tx)
            .await
            .map_err(statement(what))?;
        let added = sqlx::query(
            "INSERT INTO users (name, role, password, made)
             SELECT ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM users)",
        )
        .bind(name)
        .bind(Role::Administrator.word())
        .bind(password)
        .bind(now)
        .execute(&mut *tx)
        .await
        .map_err(statement(what))?;
        if used.rows_affected() == 0 || added.rows_affected() == 0 {
            return Ok(false);
        }
        tx.commit().await.map_err(statement(what))?;
        Ok(true)
    }

    /// Changes a user. Never leaves the machine without an administrator who can log in.
    pub async fn change_user(&self, name: &str, change: &UserChange) -> Stored<()> {
        let what = "change a user";
        let mut tx = self.pool.begin().await.map_err(statement(what))?;
        sqlx::query(
            "UPDATE users SET role = ifnull(?, role), password = ifnull(?, password),
             disabled = ifnull(?, disabled),
             totp = iif(?, NULL, totp), totp_offer = iif(?, NULL, totp_offer) WHERE name = ?",
        )
        .bind(change.role.map(Role::word))
        .bind(change.password.as_deref())
        .bind(change.disabled)
        .bind(change.without_totp)
        .bind(change.without_totp)
        .bind(name)
        .execute(&mut *tx)
        .await
        .map_err(statement(what))?;
        let may_lessen = change.role.is_some() || change.disabled.is_some();
        if may_lessen {
            keep_an_administrator(&mut tx).await?;
        }
        // Whoever was in by what is changed now is out.
        sqlx::query("DELETE FROM sessions WHERE user = ?")
            .bind(name)
            .execute(&mut *tx)
            .await
            .map_err(statement(what))?;
        tx.commit().await.map_err(statement(what))
    }

    pub async fn set_password(&self, name: &str, password: &str) -> Stored<()> {
        sqlx::query("UPDATE users SET password = ? WHERE name = ?")
            .bind(password)
            .bind(name)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(statement("set a password"))
    }

    /// Removes a user with sessions and tokens; says whether there was one.
    pub async fn remove_user(&self, name: &str) -> Stored<bool> {
        let what = "remove a user";
        let mut tx = self.pool.begin().await.map_err(statement(what))?;
        let removed = sqlx::query("DELETE FROM users WHERE name = ?")
            .bind(name)
            .execute(&mut *tx)
            .await
            .map_err(statement(what))?;
        if removed.rows_affected() == 0 {
            return Ok(false);
        }
        keep_an_administrator(&mut tx).await?;
        tx.commit().await.map_err(statement(what))?;
        Ok(true)
    }

    pub async fn logged_in(&self, name: &str, address: &str, now: i64) -> Stored<()> {
        let what = "note a log-in";
        sqlx::query("UPDATE users SET last_login = ? WHERE name = ?")
            .bind(now)
            .bind(name)
            .execute(&self.pool)
            .await
            .map_err(statement(what))?;
        sqlx::query(
            "INSERT INTO known_addresses (user, address, seen) VALUES (?, ?, ?)
             ON CONFLICT DO UPDATE SET seen = excluded.seen",
        )
        .bind(name)
        .bind(address)
        .bind(now)
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(statement(what))
    }

    pub async fn offer_totp(&self, name: &str, secret: &[u8]) -> Stored<()> {
        sqlx::query("UPDATE users SET totp_offer = ? WHERE name = ?")
            .bind(secret)
            .bind(name)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(statement("keep an offer of a second factor"))
    }

    /// The offer counts from now on; `step` proved it and counts no more.
    pub async fn take_up_totp(&self, name: &str, step: i64) -> Stored<()> {
        sqlx::query(
            "UPDATE users SET totp = totp_offer, totp_offer = NULL, totp_step = ? WHERE name = ?",
        )
        .bind(step)
        .bind(name)
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(statement("keep a second factor"))
    }

    pub async fn remove_totp(&self, name: &str) -> Stored<()> {
        sqlx::query("UPDATE users SET totp = NULL, totp_offer = NULL WHERE name = ?")
            .bind(name)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(statement("remove a second factor"))
    }

    /// Uses a time step up; one that was used before, or is older, is not good again.
    pub async fn use_step(&self, name: &str, step: i64) -> Stored<bool> {
        sqlx::query("UPDATE users SET totp_step = ?1 WHERE name = ?2 AND totp_step < ?1")
            .bind(step)
            .bind(name)
            .execute(&self.pool)
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(statement("use up a code"))
    }
}

async fn keep_an_administrator(tx: &mut sqlx::SqliteConnection) -> Stored<()> {
    let left: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM users WHERE role = 'administrator' AND disabled = 0)",
    )
    .fetch_one(tx)
    .await
    .map_err(statement("count administrators"))?;
    match left {
        true => Ok(()),
        false => Err(refused(
            Reason::Conflict,
            "this is the last administrator who can log in: make another one first",
        )),
    }
}
