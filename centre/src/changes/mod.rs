//! What changed on either side, and whether it endangers recoverability.
//!
//! Agents send an inventory every hour. Its lists are kept by the hash of their contents, so that
//! an unchanged host costs nothing. A new inventory is compared with the one before (a change) and
//! with the newest of the other side (a divergence); `rules.toml` says what is made of either, and
//! the operator's rules come first.
//!
//! A change is told at once. A divergence is told when it is still there at the next inventory of
//! the other host: whoever changes both sites one after the other hears nothing.

mod inventory;
mod records;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use lifeboat_agent::profile::Role;
use lifeboat_agent::wire::{Inventory, ProfileId, UnixMillis};
use lifeboat_failover::Side;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqlitePool;

pub use inventory::{Category, Difference, Item, List, Lists};
pub use records::{Change, Divergence, InventoryRecord, Preference};
use rules::Table;
pub use rules::{Rule, Scope, Settings, Shape, Verdict};

use crate::alerts::{Alerts, Ends, Gravity, Recovery, Warning};
use crate::observation::Origin;
use crate::store::{Stored, statement};

/// An agent that sends inventories faster than that is not listened to.
const PAUSE: UnixMillis = 1000;
/// So many changes are kept of one inventory; a new system needs no list.
const MOST: usize = 1000;
/// So many lines a mail has at most.
const LINES: usize = 30;

/// All that is known of changes; cheap to clone.
#[derive(Debug, Clone)]
pub struct Changes {
    pool: SqlitePool,
    alerts: Alerts,
    table: Arc<Table>,
    /// Rules of the applications' files.
    settings: Arc<Mutex<BTreeMap<String, Vec<Rule>>>>,
}

impl Changes {
    /// Changes in this database.
    pub fn new(pool: SqlitePool, alerts: Alerts) -> Self {
        let table = Table::own().unwrap_or_else(|error| {
            // A test reads the table: this is for a build that nobody tested.
            tracing::error!(%error, "the rules for changes cannot be read");
            Table::default()
        });
        Self {
            pool,
            alerts,
            table: Arc::new(table),
            settings: Arc::default(),
        }
    }

    /// The rules of an application's file, instead of those that it had.
    pub fn set_rules(&self, application: &str, settings: &Settings) {
        if let Ok(mut all) = self.settings.lock() {
            all.insert(application.to_owned(), settings.rules.clone());
        }
    }

    /// The application is not watched any more.
    pub fn forget(&self, application: &str) {
        if let Ok(mut all) = self.settings.lock() {
            all.remove(application);
        }
    }

    /// Takes an inventory in; gives what changed on the host. `active` is the side that serves, so
    /// far as that is known.
    pub async fn take(
        &self,
        origin: &Origin,
        inventory: &Inventory,
        profile: Option<&ProfileId>,
        active: Option<Side>,
        now: UnixMillis,
    ) -> Stored<Vec<Change>> {
        let lists = inventory::lists(inventory, profile);
        let begun = self.pool.begin_with("BEGIN IMMEDIATE").await;
        let mut transaction = begun.map_err(statement("begin"))?;
        let before = records::newest(&mut transaction, &origin.application, &origin.host).await?;
        let soon = before
            .as_ref()
            .is_some_and(|(record, _)| now.saturating_sub(record.last_at) < PAUSE);
        if soon {
            tracing::warn!(host = origin.host, "inventories come too fast");
            return Ok(Vec::new());
        }
        let rules = self.rules(&mut transaction, &origin.application).await?;
        let changes = self
            .over_time(&mut transaction, origin, (&lists, before), &rules, now)
            .await?;
        self.between_sites(&mut transaction, origin, active, &rules, now)
            .await?;
        let done = transaction.commit().await;
        done.map_err(statement("keep an inventory"))?;
        self.tell_changes(origin, &changes, now).await?;
        self.tell_divergences(&origin.application, now).await?;
        Ok(changes)
    }

    async fn over_time(
        &self,
        connection: &mut SqliteConnection,
        origin: &Origin,
        (lists, before): (&Lists, Option<(InventoryRecord, records::Hashes)>),
        rules: &[Rule],
        now: UnixMillis,
    ) -> Stored<Vec<Change>> {
        let packed = records::packed(lists)?;
        let same = |hashes: &records::Hashes| {
            hashes
                .iter()
                .eq(packed.iter().map(|(category, (hash, _))| (category, hash)))
        };
        let Some((record, hashes)) = before else {
            records::keep(connection, origin, &packed, now).await?;
            return Ok(Vec::new());
        };
        if same(&hashes) {
            records::seen_again(connection, record.id, now).await?;
            return Ok(Vec::new());
        }
        let earlier = records::lists(connection, record.id).await?;
        records::keep(connection, origin, &packed, now).await?;
        let judged = inventory::compare(&earlier, lists)
            .into_iter()
            .filter_map(|difference| {
                let rule = self.table.judge(rules, Scope::Time, &difference)?;
                let kept = rule.verdict > Verdict::Ignore;
                kept.then(|| Change {
                    host: origin.host.clone(),
                    side: origin.side,
                    at: now,
                    difference,
                    verdict: rule.verdict,
                    rule: rule.id.clone(),
                    why: rule.why.clone(),
                })
            });
        let mut changes: Vec<Change> = judged.collect();
        // What matters most is not lost among the rest.
        changes.sort_by_key(|change| std::cmp::Reverse(change.verdict));
        changes.truncate(MOST);
        records::keep_changes(connection, &origin.application, &changes).await?;
        Ok(changes)
    }

    async fn between_sites(
        &self,
        connection: &mut SqliteConnection,
        origin: &Origin,
        active: Option<Side>,
        rules: &[Rule],
        now: UnixMillis,
    ) -> Stored<()> {
        let serving = active.unwrap_or(Side::Primary);
        let one = newest_lists(connection, origin, serving).await?;
        let other = newest_lists(connection, origin, serving.other()).await?;
        let mut judged = Vec::new();
        if let (Some(one), Some(other)) = (&one, &other) {
            for difference in inventory::compare(one, other) {
                judged.extend(self.judged(rules, Scope::Sites, difference));
            }
        }
        let sides = [(serving, one), (serving.other(), other)];
        for (side, category, name, item) in sides.into_iter().flat_map(things) {
            let (one, other) = match side == serving {
                true => (Some(item), None),
                false => (None, Some(item)),
            };
            let difference = Difference {
                category,
                name,
                one,
                other,
            };
            // Both hosts may be wrong in the same thing.
            let named = self.judged(rules, Scope::Host, difference).map(|mut one| {
                one.difference.name = format!("{} ({side})", one.difference.name);
                one
            });
            judged.extend(named);
        }
        judged.sort_by_key(|one| std::cmp::Reverse(one.rule.verdict));
        judged.truncate(MOST);
        records::keep_divergences(connection, origin, &judged, now).await
    }

    fn judged(
        &self,
        rules: &[Rule],
        scope: Scope,
        difference: Difference,
    ) -> Option<records::Judged> {
        let rule = self.table.judge(rules, scope, &difference)?;
        (rule.verdict > Verdict::Ignore).then(|| records::Judged {
            difference,
            rule: rule.clone(),
            confirmed: scope == Scope::Host,
        })
    }

    async fn rules(
        &self,
        connection: &mut SqliteConnection,
        application: &str,
    ) -> Stored<Vec<Rule>> {
        let preferences = records::preferences(connection, application).await?;
        let mut rules: Vec<Rule> = preferences.into_iter().map(|one| one.rule).collect();
        if let Ok(all) = self.settings.lock() {
            rules.extend(all.get(application).cloned().unwrap_or_default());
        }
        Ok(rules)
    }

    /// One alert for all that one inventory changed. It is told and done: a change does not end.
    async fn tell_changes(
        &self,
        origin: &Origin,
        changes: &[Change],
        now: UnixMillis,
    ) -> Stored<()> {
        let told: Vec<&Change> = changes
            .iter()
            .filter(|change| change.verdict >= Verdict::Warning)
            .collect();
        let Some(worst) = told.iter().map(|change| change.verdict).max() else {
            return Ok(());
        };
        let lines = told.iter().map(|change| {
            let what = describe(&change.difference, "before", "now");
            format!("{what}\n    {}", change.why)
        });
        let warning = Warning {
            key: format!("changes/{}/{}", origin.application, origin.host),
            application: Some(origin.application.clone()),
            gravity: gravity(worst),
            title: format!(
                "{}: {} changed on {} ({})",
                origin.application,
                count(told.len(), "thing"),
                origin.host,
                origin.side
            ),
            text: listed(lines),
            since: now,
            fingerprint: String::new(),
            ends: Ends::WhenOver,
        };
        self.alerts.tell(&warning, now).await
    }

    /// One alert for all divergences of an application that matter. It lasts as long as any does.
    async fn tell_divergences(&self, application: &str, now: UnixMillis) -> Stored<()> {
        let key = format!("divergence/{application}");
        let told: Vec<Divergence> = self.endangering(application).await?;
        let Some(worst) = told.iter().map(|one| one.verdict).max() else {
            return self
                .alerts
                .recover(&key, &Recovery::Recovered, now)
                .await
                .map(drop);
        };
        let lines = told.iter().map(|one| {
            let what = describe(&one.difference, "where it serves", "where it does not");
            format!("{what}\n    {}", one.why)
        });
        let ids: Vec<String> = told.iter().map(|one| one.id.to_string()).collect();
        let warning = Warning {
            key,
            application: Some(application.to_owned()),
            gravity: gravity(worst),
            title: format!(
                "{application}: {} may stand in the way of a switch",
                count(told.len(), "difference")
            ),
            text: listed(lines),
            since: told.iter().map(|one| one.since).min().unwrap_or(now),
            fingerprint: ids.join(","),
            ends: Ends::WhenOver,
        };
        self.alerts.raise(&warning, now).await.map(drop)
    }

    /// What may stand in the way of a switch now: divergences that matter, that were confirmed and
    /// that nobody accepted.
    pub async fn endangering(&self, application: &str) -> Stored<Vec<Divergence>> {
        let mut open = self.divergences(application, true, u32::MAX).await?;
        open.retain(|one| {
            one.verdict >= Verdict::Warning && one.confirmed && one.accepted_by.is_none()
        });
        Ok(open)
    }

    /// The newest changes of both sides, newest first.
    pub async fn list(&self, application: &str, most: u32) -> Stored<Vec<Change>> {
        records::changes(&self.pool, application, most.min(10_000)).await
    }

    /// In what the sites differ now, or (`only_open` false) ever differed, newest first.
    pub async fn divergences(
        &self,
        application: &str,
        only_open: bool,
        most: u32,
    ) -> Stored<Vec<Divergence>> {
        let mut connection = self.connection().await?;
        records::divergences(&mut connection, application, only_open, most.min(10_000)).await
    }

    /// Somebody knows of a divergence and leaves it like that. Says whether there is such a one.
    /// When either side changes, it counts again.
    pub async fn accept(
        &self,
        application: &str,
        id: i64,
        who: &str,
        now: UnixMillis,
    ) -> Stored<bool> {
        let there = records::accept(&self.pool, application, id, who, now).await?;
        self.tell_divergences(application, now).await?;
        Ok(there)
    }

    /// The operator's rules, the newest first.
    pub async fn preferences(&self, application: &str) -> Stored<Vec<Preference>> {
        let mut connection = self.connection().await?;
        records::preferences(&mut connection, application).await
    }

    /// Sets a rule, which counts from the next inventory on; gives its number.
    pub async fn prefer(
        &self,
        application: &str,
        rule: &Rule,
        who: &str,
        now: UnixMillis,
    ) -> Stored<i64> {
        records::prefer(&self.pool, application, rule, who, now).await
    }

    /// Removes a rule. Says whether there was one.
    pub async fn prefer_no_more(&self, application: &str, id: i64) -> Stored<bool> {
        records::prefer_no_more(&self.pool, application, id).await
    }

    /// The inventories of a host, newest first.
    pub async fn inventories(&self, application: &str, host: &str) -> Stored<Vec<InventoryRecord>> {
        let mut connection = self.connection().await?;
        records::inventories(&mut connection, application, host).await
    }

    /// The lists of an inventory of a host; nothing when it has no such inventory.
    pub async fn inventory(&self, application: &str, host: &str, id: i64) -> Stored<Option<Lists>> {
        let mut connection = self.connection().await?;
        let known = records::inventories(&mut connection, application, host).await?;
        if known.iter().all(|record| record.id != id) {
            return Ok(None);
        }
        records::lists(&mut connection, id).await.map(Some)
    }

    /// What changed between two inventories of a host.
    pub async fn between(
        &self,
        application: &str,
        host: &str,
        (one, other): (i64, i64),
    ) -> Stored<Option<Vec<Difference>>> {
        let one = self.inventory(application, host, one).await?;
        let other = self.inventory(application, host, other).await?;
        Ok(one
            .zip(other)
            .map(|(one, other)| inventory::compare(&one, &other)))
    }

    async fn connection(&self) -> Stored<sqlx::pool::PoolConnection<sqlx::Sqlite>> {
        self.pool.acquire().await.map_err(statement("connect"))
    }
}

fn things(
    (side, lists): (Side, Option<Lists>),
) -> impl Iterator<Item = (Side, Category, String, Item)> {
    let lists = lists.into_iter().flatten();
    lists.flat_map(move |(category, list)| {
        let things = list.into_iter();
        things.map(move |(name, item)| (side, category, name, item))
    })
}

async fn newest_lists(
    connection: &mut SqliteConnection,
    origin: &Origin,
    side: Side,
) -> Stored<Option<Lists>> {
    let role: Role = origin.role;
    let host = records::host_of(connection, &origin.application, side, role).await?;
    let Some(host) = host else { return Ok(None) };
    match records::newest(connection, &origin.application, &host).await? {
        Some((record, _)) => records::lists(connection, record.id).await.map(Some),
        None => Ok(None),
    }
}

fn gravity(verdict: Verdict) -> Gravity {
    match verdict {
        Verdict::Ignore | Verdict::Note => Gravity::Note,
        Verdict::Warning => Gravity::Warning,
        Verdict::Critical => Gravity::Critical,
    }
}

fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

fn describe(difference: &Difference, one: &str, other: &str) -> String {
    let value = |item: &Option<Item>| match item {
        Some(Item {
            value,
            size: Some(size),
        }) => format!("{value}, {size} bytes"),
        Some(Item { value, size: None }) => value.clone(),
        None => "not there".to_owned(),
    };
    format!(
        "{}\n    {one}: {}\n    {other}: {}",
        difference.name,
        value(&difference.one),
        value(&difference.other)
    )
}

fn listed(lines: impl ExactSizeIterator<Item = String>) -> String {
    let more = lines.len().saturating_sub(LINES);
    let mut text: Vec<String> = lines.take(LINES).collect();
    if more > 0 {
        text.push(format!("and {more} more: see the list of changes"));
    }
    text.join("\n\n") + "\n"
}
