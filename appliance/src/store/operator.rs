//! What the operator said about the order of a site.

use lifeboat_bootorder::{OperatorWord, Verdict};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Store, Stored, now, statement};
use crate::notices::SiteChange;

impl Store {
    /// The words kept for a site, by machine names.
    pub async fn operator_words(&self, site: &str) -> Stored<Vec<OperatorWord>> {
        let rows = sqlx::query(
            "SELECT before, after, verdict FROM operator_words WHERE site = ? ORDER BY before, after",
        )
        .bind(site)
        .fetch_all(&self.pool)
        .await
        .map_err(statement("list the operator's words"))?;
        Ok(rows.iter().map(word).collect())
    }

    /// Keeps these words for a site in place of the earlier ones, all or none.
    pub async fn put_operator_words(&self, site: &str, words: &[OperatorWord]) -> Stored<()> {
        let failed = || statement("keep the operator's words");
        let mut transaction = self.pool.begin().await.map_err(failed())?;
        sqlx::query("DELETE FROM operator_words WHERE site = ?")
            .bind(site)
            .execute(&mut *transaction)
            .await
            .map_err(failed())?;
        for word in words {
            sqlx::query("INSERT INTO operator_words (site, before, after, verdict, said_at) VALUES (?, ?, ?, ?, ?)")
                .bind(site)
                .bind(&word.before)
                .bind(&word.after)
                .bind(verdict_word(word.verdict))
                .bind(now())
                .execute(&mut *transaction)
                .await
                .map_err(failed())?;
        }
        transaction.commit().await.map_err(failed())?;
        self.tell_site(site, SiteChange::Words);
        Ok(())
    }
}

fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pin => "pin",
        Verdict::Reject => "reject",
    }
}

fn word(row: &SqliteRow) -> OperatorWord {
    OperatorWord {
        before: row.get("before"),
        after: row.get("after"),
        verdict: match row.get::<String, _>("verdict").as_str() {
            "pin" => Verdict::Pin,
            _ => Verdict::Reject,
        },
    }
}
