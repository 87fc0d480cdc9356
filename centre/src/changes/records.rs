//! Inventories, changes and divergences in the database.

use std::collections::BTreeMap;

use lifeboat_agent::profile::Role;
use lifeboat_agent::wire::UnixMillis;
use lifeboat_failover::Side;
use ring::digest::{SHA256, digest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Row, SqliteConnection};

use super::inventory::{Category, Difference, Item, List, Lists};
use super::rules::{Rule, Verdict};
use crate::observation::Origin;
use crate::store::{Stored, from_integer, from_json, statement, to_integer, to_json};

/// However often a host changes: so many inventories of it are kept.
const INVENTORIES: u32 = 200;
/// So many changes of an application are kept.
const CHANGES: u32 = 20_000;

/// A change of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// On which host.
    pub host: String,
    /// Of which side.
    pub side: Side,
    /// When it was seen.
    pub at: UnixMillis,
    /// What was before and after.
    pub difference: Difference,
    /// What is made of it.
    pub verdict: Verdict,
    /// By which rule.
    pub rule: String,
    /// Why.
    pub why: String,
}

/// Something in which the two sites differ, or that is wrong on one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Divergence {
    /// Its number.
    pub id: i64,
    /// Of which hosts.
    pub role: Role,
    /// What the side that serves has (`one`), and the other one (`other`).
    pub difference: Difference,
    /// What is made of it.
    pub verdict: Verdict,
    /// By which rule.
    pub rule: String,
    /// Why.
    pub why: String,
    /// Since when.
    pub since: UnixMillis,
    /// Whether it was still there when the other side was looked at again.
    pub confirmed: bool,
    /// By whose inventory it was seen first.
    pub seen_by: String,
    /// Until when; nothing while it lasts.
    pub until: Option<UnixMillis>,
    /// Who knows of it and leaves it like that.
    pub accepted_by: Option<String>,
}

/// A rule of the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preference {
    /// Its number.
    pub id: i64,
    /// The rule.
    pub rule: Rule,
    /// Who set it.
    pub who: String,
    /// When.
    pub at: UnixMillis,
}

/// An inventory that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryRecord {
    /// Its number.
    pub id: i64,
    /// When it was seen first.
    pub first_at: UnixMillis,
    /// When it was seen last.
    pub last_at: UnixMillis,
}

fn word<T: Serialize>(value: &T) -> Stored<String> {
    Ok(to_json("a word", value)?.trim_matches('"').to_owned())
}

fn from_word<T: DeserializeOwned>(what: &'static str, word: &str) -> Stored<T> {
    from_json(what, &format!("\"{word}\""))
}

fn item(text: Option<&str>) -> Stored<Option<Item>> {
    text.map(|text| from_json("inventory", text)).transpose()
}

fn text(item: Option<&Item>) -> Stored<Option<String>> {
    item.map(|item| to_json("inventory", item)).transpose()
}

/// The hash of each list: two inventories with the same hashes are the same.
pub(super) type Hashes = BTreeMap<Category, Vec<u8>>;

/// Lists as they are kept, with their hashes.
pub(super) fn packed(lists: &Lists) -> Stored<BTreeMap<Category, (Vec<u8>, String)>> {
    let pack = |(category, list): (&Category, &List)| {
        let body = to_json("inventory", list)?;
        let hash = digest(&SHA256, body.as_bytes()).as_ref().to_vec();
        Ok((*category, (hash, body)))
    };
    lists.iter().map(pack).collect()
}

/// The newest inventory of a host, with its hashes.
pub(super) async fn newest(
    connection: &mut SqliteConnection,
    application: &str,
    host: &str,
) -> Stored<Option<(InventoryRecord, Hashes)>> {
    let row = sqlx::query(
        "SELECT id, first_at, last_at FROM inventories WHERE application = ? AND host = ?
         ORDER BY id DESC LIMIT 1",
    )
    .bind(application)
    .bind(host)
    .fetch_optional(&mut *connection)
    .await
    .map_err(statement("look for an inventory"))?;
    let Some(record) = row.map(|row| record(&row)) else {
        return Ok(None);
    };
    let rows = sqlx::query("SELECT category, list FROM inventory_parts WHERE inventory = ?")
        .bind(record.id)
        .fetch_all(connection)
        .await
        .map_err(statement("read an inventory"))?;
    let hash = |row: &SqliteRow| Ok((from_word("category", row.get("category"))?, row.get("list")));
    let hashes: Stored<Hashes> = rows.iter().map(hash).collect();
    Ok(Some((record, hashes?)))
}

fn record(row: &SqliteRow) -> InventoryRecord {
    InventoryRecord {
        id: row.get("id"),
        first_at: from_integer(row.get("first_at")),
        last_at: from_integer(row.get("last_at")),
    }
}

/// The lists of an inventory.
pub(super) async fn lists(connection: &mut SqliteConnection, inventory: i64) -> Stored<Lists> {
    let rows = sqlx::query(
        "SELECT p.category, l.body FROM inventory_parts p JOIN inventory_lists l ON l.hash = p.list
         WHERE p.inventory = ?",
    )
    .bind(inventory)
    .fetch_all(connection)
    .await
    .map_err(statement("read an inventory"))?;
    let list = |row: &SqliteRow| {
        let body: String = row.get("body");
        let list: List = from_json("inventory", &body)?;
        Ok((from_word("category", row.get("category"))?, list))
    };
    rows.iter().map(list).collect()
}

/// The same inventory was seen again.
pub(super) async fn seen_again(
    connection: &mut SqliteConnection,
    inventory: i64,
    now: UnixMillis,
) -> Stored<()> {
    sqlx::query("UPDATE inventories SET last_at = ? WHERE id = ?")
        .bind(to_integer(now))
        .bind(inventory)
        .execute(connection)
        .await
        .map(drop)
        .map_err(statement("note an inventory"))
}

/// Keeps a new inventory; lists that are there already are not kept twice, and the oldest
/// inventories go.
pub(super) async fn keep(
    connection: &mut SqliteConnection,
    origin: &Origin,
    packed: &BTreeMap<Category, (Vec<u8>, String)>,
    now: UnixMillis,
) -> Stored<()> {
    let inventory: i64 = sqlx::query_scalar(
        "INSERT INTO inventories (application, host, side, role, first_at, last_at)
         VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
    )
    .bind(&origin.application)
    .bind(&origin.host)
    .bind(word(&origin.side)?)
    .bind(word(&origin.role)?)
    .bind(to_integer(now))
    .bind(to_integer(now))
    .fetch_one(&mut *connection)
    .await
    .map_err(statement("keep an inventory"))?;
    for (category, (hash, body)) in packed {
        sqlx::query("INSERT OR IGNORE INTO inventory_lists (hash, body) VALUES (?, ?)")
            .bind(hash)
            .bind(body)
            .execute(&mut *connection)
            .await
            .map_err(statement("keep a list of an inventory"))?;
        sqlx::query("INSERT INTO inventory_parts (inventory, category, list) VALUES (?, ?, ?)")
            .bind(inventory)
            .bind(word(category)?)
            .bind(hash)
            .execute(&mut *connection)
            .await
            .map_err(statement("keep a list of an inventory"))?;
    }
    let_go(connection, origin).await
}

async fn let_go(connection: &mut SqliteConnection, origin: &Origin) -> Stored<()> {
    sqlx::query(
        "DELETE FROM inventories WHERE application = ?1 AND host = ?2 AND id <= (
            SELECT id FROM inventories WHERE application = ?1 AND host = ?2
            ORDER BY id DESC LIMIT 1 OFFSET ?3)",
    )
    .bind(&origin.application)
    .bind(&origin.host)
    .bind(INVENTORIES)
    .execute(&mut *connection)
    .await
    .map_err(statement("let old inventories go"))?;
    sqlx::query("DELETE FROM inventory_lists WHERE hash NOT IN (SELECT list FROM inventory_parts)")
        .execute(connection)
        .await
        .map(drop)
        .map_err(statement("let old lists go"))
}

/// Keeps changes; the oldest go.
pub(super) async fn keep_changes(
    connection: &mut SqliteConnection,
    application: &str,
    changes: &[Change],
) -> Stored<()> {
    for change in changes {
        sqlx::query(
            "INSERT INTO changes (application, host, side, at, category, name, before, after, verdict, rule, why)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(application)
        .bind(&change.host)
        .bind(word(&change.side)?)
        .bind(to_integer(change.at))
        .bind(word(&change.difference.category)?)
        .bind(&change.difference.name)
        .bind(text(change.difference.one.as_ref())?)
        .bind(text(change.difference.other.as_ref())?)
        .bind(word(&change.verdict)?)
        .bind(&change.rule)
        .bind(&change.why)
        .execute(&mut *connection)
        .await
        .map_err(statement("keep a change"))?;
    }
    sqlx::query(
        "DELETE FROM changes WHERE application = ?1 AND id <= (
            SELECT id FROM changes WHERE application = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
    )
    .bind(application)
    .bind(CHANGES)
    .execute(connection)
    .await
    .map(drop)
    .map_err(statement("let old changes go"))
}

fn difference(row: &SqliteRow, one: &str, other: &str) -> Stored<Difference> {
    Ok(Difference {
        category: from_word("category", row.get("category"))?,
        name: row.get("name"),
        one: item(row.get::<Option<&str>, _>(one))?,
        other: item(row.get::<Option<&str>, _>(other))?,
    })
}

/// The newest changes of an application, newest first.
pub(super) async fn changes(
    pool: &SqlitePool,
    application: &str,
    most: u32,
) -> Stored<Vec<Change>> {
    let rows = sqlx::query("SELECT * FROM changes WHERE application = ? ORDER BY id DESC LIMIT ?")
        .bind(application)
        .bind(most)
        .fetch_all(pool)
        .await
        .map_err(statement("list changes"))?;
    let change = |row: &SqliteRow| {
        Ok(Change {
            host: row.get("host"),
            side: from_word("side", row.get("side"))?,
            at: from_integer(row.get("at")),
            difference: difference(row, "before", "after")?,
            verdict: from_word("verdict", row.get("verdict"))?,
            rule: row.get("rule"),
            why: row.get("why"),
        })
    };
    rows.iter().map(change).collect()
}

/// A difference between the sites, judged.
pub(super) struct Judged {
    pub(super) difference: Difference,
    pub(super) rule: Rule,
    /// Whether there is no other host to look at before it counts.
    pub(super) confirmed: bool,
}

/// Opens, changes and closes divergences, so that exactly `found` are open. One that is still there
/// at an inventory of the other host than the one that brought it is confirmed; one whose sides
/// changed is not accepted any more.
pub(super) async fn keep_divergences(
    connection: &mut SqliteConnection,
    origin: &Origin,
    found: &[Judged],
    now: UnixMillis,
) -> Stored<()> {
    let role = word(&origin.role)?;
    let mut names = Vec::with_capacity(found.len());
    for judged in found {
        let difference = &judged.difference;
        names.push(format!(
            "{}/{}",
            word(&difference.category)?,
            difference.name
        ));
        sqlx::query(
            "INSERT INTO divergences (application, role, category, name, active, passive, verdict, rule, why, since, seen_by, confirmed)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT (application, role, category, name) WHERE until IS NULL DO UPDATE SET
                confirmed = max(confirmed, excluded.confirmed, seen_by != excluded.seen_by),
                accepted_by = iif(active IS excluded.active AND passive IS excluded.passive
                    OR active IS excluded.passive AND passive IS excluded.active, accepted_by, NULL),
                active = excluded.active, passive = excluded.passive,
                verdict = excluded.verdict, rule = excluded.rule, why = excluded.why",
        )
        .bind(&origin.application)
        .bind(&role)
        .bind(word(&difference.category)?)
        .bind(&difference.name)
        .bind(text(difference.one.as_ref())?)
        .bind(text(difference.other.as_ref())?)
        .bind(word(&judged.rule.verdict)?)
        .bind(&judged.rule.id)
        .bind(&judged.rule.why)
        .bind(to_integer(now))
        .bind(&origin.host)
        .bind(judged.confirmed)
        .execute(&mut *connection)
        .await
        .map_err(statement("keep a divergence"))?;
    }
    sqlx::query(
        "UPDATE divergences SET until = ? WHERE application = ? AND role = ? AND until IS NULL
         AND category || '/' || name NOT IN (SELECT value FROM json_each(?))",
    )
    .bind(to_integer(now))
    .bind(&origin.application)
    .bind(role)
    .bind(to_json("list of names", &names)?)
    .execute(connection)
    .await
    .map(drop)
    .map_err(statement("close divergences"))
}

/// Divergences of an application: those that last, or the newest of all.
pub(super) async fn divergences(
    connection: &mut SqliteConnection,
    application: &str,
    only_open: bool,
    most: u32,
) -> Stored<Vec<Divergence>> {
    let rows = sqlx::query(
        "SELECT * FROM divergences WHERE application = ? AND (NOT ? OR until IS NULL)
         ORDER BY id DESC LIMIT ?",
    )
    .bind(application)
    .bind(only_open)
    .bind(most)
    .fetch_all(connection)
    .await
    .map_err(statement("list divergences"))?;
    let divergence = |row: &SqliteRow| {
        Ok(Divergence {
            id: row.get("id"),
            role: from_word("role", row.get("role"))?,
            difference: difference(row, "active", "passive")?,
            verdict: from_word("verdict", row.get("verdict"))?,
            rule: row.get("rule"),
            why: row.get("why"),
            since: from_integer(row.get("since")),
            confirmed: row.get("confirmed"),
            seen_by: row.get("seen_by"),
            until: row.get::<Option<i64>, _>("until").map(from_integer),
            accepted_by: row.get("accepted_by"),
        })
    };
    rows.iter().map(divergence).collect()
}

/// Somebody leaves it like that. Says whether there is such a divergence.
pub(super) async fn accept(
    pool: &SqlitePool,
    application: &str,
    id: i64,
    who: &str,
    now: UnixMillis,
) -> Stored<bool> {
    let done = sqlx::query(
        "UPDATE divergences SET accepted_by = ?, accepted_at = ?
         WHERE application = ? AND id = ? AND until IS NULL",
    )
    .bind(who)
    .bind(to_integer(now))
    .bind(application)
    .bind(id)
    .execute(pool)
    .await
    .map_err(statement("accept a divergence"))?;
    Ok(done.rows_affected() > 0)
}

/// The operator's rules, the newest first.
pub(super) async fn preferences(
    connection: &mut SqliteConnection,
    application: &str,
) -> Stored<Vec<Preference>> {
    let rows =
        sqlx::query("SELECT * FROM change_preferences WHERE application = ? ORDER BY id DESC")
            .bind(application)
            .fetch_all(connection)
            .await
            .map_err(statement("list preferences"))?;
    let preference = |row: &SqliteRow| {
        Ok(Preference {
            id: row.get("id"),
            rule: from_json("preference", row.get("rule"))?,
            who: row.get("who"),
            at: from_integer(row.get("at")),
        })
    };
    rows.iter().map(preference).collect()
}

/// Keeps a rule of the operator.
pub(super) async fn prefer(
    pool: &SqlitePool,
    application: &str,
    rule: &Rule,
    who: &str,
    now: UnixMillis,
) -> Stored<i64> {
    sqlx::query_scalar(
        "INSERT INTO change_preferences (application, rule, who, at) VALUES (?, ?, ?, ?) RETURNING id",
    )
    .bind(application)
    .bind(to_json("preference", rule)?)
    .bind(who)
    .bind(to_integer(now))
    .fetch_one(pool)
    .await
    .map_err(statement("keep a preference"))
}

/// Removes a rule of the operator. Says whether there was one.
pub(super) async fn prefer_no_more(pool: &SqlitePool, application: &str, id: i64) -> Stored<bool> {
    let done = sqlx::query("DELETE FROM change_preferences WHERE application = ? AND id = ?")
        .bind(application)
        .bind(id)
        .execute(pool)
        .await
        .map_err(statement("remove a preference"))?;
    Ok(done.rows_affected() > 0)
}

/// The hosts of an application that have an inventory, by side and role.
pub(super) async fn host_of(
    connection: &mut SqliteConnection,
    application: &str,
    side: Side,
    role: Role,
) -> Stored<Option<String>> {
    sqlx::query_scalar(
        "SELECT host FROM inventories WHERE application = ? AND side = ? AND role = ?
         ORDER BY last_at DESC, id DESC LIMIT 1",
    )
    .bind(application)
    .bind(word(&side)?)
    .bind(word(&role)?)
    .fetch_optional(connection)
    .await
    .map_err(statement("look for an inventory"))
}

/// The inventories of a host, newest first.
pub(super) async fn inventories(
    connection: &mut SqliteConnection,
    application: &str,
    host: &str,
) -> Stored<Vec<InventoryRecord>> {
    let rows = sqlx::query(
        "SELECT id, first_at, last_at FROM inventories WHERE application = ? AND host = ? ORDER BY id DESC",
    )
    .bind(application)
    .bind(host)
    .fetch_all(connection)
    .await
    .map_err(statement("list inventories"))?;
    Ok(rows.iter().map(record).collect())
}
