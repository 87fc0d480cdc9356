//! The orders that were worked out last.

use lifeboat_bootorder::Order;
use sqlx::Row;

use super::{Store, Stored, from_json, statement, to_json};
use crate::notices::SiteChange;
use crate::session::unix_ms;

/// An order, and what it was worked out for.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptOrder {
    /// When, Unix time in milliseconds.
    pub worked_out_ms: u64,
    /// Hash of everything it depends on.
    pub basis: String,
    /// The order.
    pub order: Order,
}

impl Store {
    /// Keeps the order of a site in place of an earlier one.
    pub async fn put_order(&self, site: &str, basis: &str, order: &Order) -> Stored<()> {
        sqlx::query(
            "INSERT OR REPLACE INTO orders (site, worked_out_ms, basis, \"order\") VALUES (?, ?, ?, ?)",
        )
        .bind(site)
        .bind(unix_ms().cast_signed())
        .bind(basis)
        .bind(to_json("order", order)?)
        .execute(&self.pool)
        .await
        .map_err(statement("keep an order"))?;
        self.tell_site(site, SiteChange::Order);
        Ok(())
    }

    /// The order of a site that was worked out last.
    pub async fn order(&self, site: &str) -> Stored<Option<KeptOrder>> {
        let row = sqlx::query("SELECT worked_out_ms, basis, \"order\" FROM orders WHERE site = ?")
            .bind(site)
            .fetch_optional(&self.pool)
            .await
            .map_err(statement("look up an order"))?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(KeptOrder {
            worked_out_ms: row.get::<i64, _>("worked_out_ms").cast_unsigned(),
            basis: row.get("basis"),
            order: from_json("order", &row.get::<String, _>("order"))?,
        }))
    }

    /// Forgets the order of a site.
    pub(super) async fn remove_order(&self, site: &str) -> Stored<()> {
        sqlx::query("DELETE FROM orders WHERE site = ?")
            .bind(site)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(statement("forget an order"))
    }
}
