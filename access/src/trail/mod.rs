//! The audit trail: who did what, written before the effect, and nothing is ever changed in it.
//!
//! Every entry holds a keyed BLAKE3 hash over its own words and the hash of the entry before. The
//! key and the newest hash lie in files of their own beside the database: whoever can only write
//! to the database (a restored copy, a statement slipped in) can neither alter, insert, remove nor
//! cut entries off unseen. Root of the machine can read the key; against root the newest hash is
//! also in the daemon's log, and `--verify` can be asked whether a hash that was noted elsewhere
//! is still part of the chain.

mod anchor;
#[cfg(test)]
mod tests;
mod verify;

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use tokio::sync::Mutex;
use utoipa::ToSchema;

use crate::clock::Clock;
use crate::error::{AccessError, statement};
use crate::secret::{Hash, hex};
use anchor::Anchor;
pub use verify::{Fault, Head, Verdict};

/// What an entry tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// Something is about to be done.
    Intent,
    /// What exactly, of an intent.
    Detail,
    /// What came of an intent.
    Outcome,
    /// Something that nobody asked for happened: a log-in failed.
    Event,
}

impl EntryKind {
    fn word(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Detail => "detail",
            Self::Outcome => "outcome",
            Self::Event => "event",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Intent, Self::Detail, Self::Outcome, Self::Event]
            .into_iter()
            .find(|kind| kind.word() == word)
    }
}

/// What is to be written.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub kind: EntryKind,
    /// The intent that this belongs to.
    pub of: Option<i64>,
    pub who: String,
    pub role: String,
    pub address: String,
    pub what: String,
    pub text: String,
}

/// What was written.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub seq: i64,
    pub at: i64,
    pub entry: Entry,
    pub hash: Hash,
}

/// Handle to the trail; cheap to clone. One daemon writes it.
#[derive(Clone)]
pub(crate) struct Trail {
    pool: SqlitePool,
    anchor: Arc<Anchor>,
    newest: Arc<Mutex<Newest>>,
    clock: Clock,
}

#[derive(Debug, Clone, Copy)]
struct Newest {
    seq: i64,
    hash: Hash,
}

const BEGINNING: (i64, Hash) = (0, [0; 32]);

/// Longer words are cut: what a browser sends must not fill the disk.
const LONGEST_WORD: usize = 512;
const LONGEST_TEXT: usize = 4096;

const COLUMNS: &str =
    "SELECT seq, at, kind, of_seq, who, role, address, what, text, hash FROM trail";

impl Trail {
    /// Opens the trail of a database; `beside` is the database's file.
    pub async fn open(pool: SqlitePool, beside: &Path, clock: Clock) -> Result<Self, AccessError> {
        let anchor = Anchor::open(beside)?;
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "{COLUMNS} ORDER BY seq DESC LIMIT 1"
        )))
        .fetch_optional(&pool)
        .await
        .map_err(statement("read the end of the audit trail"))?;
        let last = row.as_ref().map(written).transpose()?;
        let last = last.map_or(BEGINNING, |last| (last.seq, last.hash));
        if anchor.is_new() && last == BEGINNING {
            anchor.keep(last.0, &last.1)?;
        }
        let (anchored, _) = anchor.head().unwrap_or_default();
        let trail = Self {
            pool,
            anchor: Arc::new(anchor),
            // Where entries are missing the gap stays: numbers are not given twice.
            newest: Arc::new(Mutex::new(Newest {
                seq: last.0.max(anchored),
                hash: last.1,
            })),
            clock,
        };
        if anchored > last.0 {
            trail.tell_of_missing(last.0, anchored).await?;
        }
        Ok(trail)
    }

    async fn tell_of_missing(&self, last: i64, anchored: i64) -> Result<(), AccessError> {
        tracing::error!(last, anchored, "entries of the audit trail are missing");
        let text = format!("entries {} to {anchored} are missing", last + 1);
        self.append(Entry::event("daemon", "", "audit trail", text))
            .await
            .map(drop)
    }

    /// Writes an entry; it is on disk when this returns. Gives its number. An asker who leaves
    /// does not interrupt it: half an entry would stop all that follow.
    pub async fn append(&self, entry: Entry) -> Result<i64, AccessError> {
        let trail = self.clone();
        let task = tokio::spawn(async move { trail.append_alone(entry).await });
        task.await
            .map_err(|_| AccessError::Interrupted("write to the audit trail"))?
    }

    async fn append_alone(&self, entry: Entry) -> Result<i64, AccessError> {
        let mut newest = self.newest.lock().await;
        let mut written = Written {
            seq: newest.seq + 1,
            at: self.clock.now(),
            entry: entry.within_bounds(),
            hash: [0; 32],
        };
        written.hash = self.anchor.hash(&newest.hash, &written);
        self.insert(&written).await?;
        *newest = Newest {
            seq: written.seq,
            hash: written.hash,
        };
        self.anchor.keep(written.seq, &written.hash)?;
        let Entry { who, what, .. } = &written.entry;
        tracing::info!(target: "lifeboat::audit", seq = written.seq, who, what, hash = hex(&written.hash));
        Ok(written.seq)
    }

    async fn insert(&self, written: &Written) -> Result<(), AccessError> {
        let entry = &written.entry;
        sqlx::query(
            "INSERT INTO trail (seq, at, kind, of_seq, who, role, address, what, text, hash)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(written.seq)
        .bind(written.at)
        .bind(entry.kind.word())
        .bind(entry.of)
        .bind(&entry.who)
        .bind(&entry.role)
        .bind(&entry.address)
        .bind(&entry.what)
        .bind(&entry.text)
        .bind(&written.hash[..])
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(statement("write to the audit trail"))
    }

    /// Entries before `before`, the newest first.
    pub async fn list(&self, before: Option<i64>, limit: u32) -> Result<Vec<Written>, AccessError> {
        let question = format!(
            "{COLUMNS} WHERE seq < ifnull(?, 9223372036854775807) ORDER BY seq DESC LIMIT ?"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(question))
            .bind(before)
            .bind(limit)
            .fetch_all(&self.pool)
            .await
            .map_err(statement("read the audit trail"))?;
        rows.iter().map(written).collect()
    }
}

impl Entry {
    /// Something that happened.
    pub fn event(who: &str, address: &str, what: &str, text: impl Into<String>) -> Self {
        Self {
            kind: EntryKind::Event,
            of: None,
            who: who.to_owned(),
            role: String::new(),
            address: address.to_owned(),
            what: what.to_owned(),
            text: text.into(),
        }
    }

    fn within_bounds(mut self) -> Self {
        for word in [
            &mut self.who,
            &mut self.role,
            &mut self.address,
            &mut self.what,
        ] {
            cut(word, LONGEST_WORD);
        }
        cut(&mut self.text, LONGEST_TEXT);
        self
    }
}

fn cut(word: &mut String, most: usize) {
    let end = (0..=most.min(word.len()))
        .rev()
        .find(|end| word.is_char_boundary(*end));
    word.truncate(end.unwrap_or(0));
}

fn written(row: &SqliteRow) -> Result<Written, AccessError> {
    // Whoever damaged an entry may have put anything there.
    let damaged = |_| AccessError::Value("entry of the audit trail");
    let hash: Vec<u8> = row.try_get("hash").map_err(damaged)?;
    let kind: String = row.try_get("kind").map_err(damaged)?;
    let value = AccessError::Value("entry of the audit trail");
    Ok(Written {
        seq: row.try_get("seq").map_err(damaged)?,
        at: row.try_get("at").map_err(damaged)?,
        entry: Entry {
            kind: EntryKind::from_word(&kind).ok_or(value)?,
            of: row.try_get("of_seq").map_err(damaged)?,
            who: row.try_get("who").map_err(damaged)?,
            role: row.try_get("role").map_err(damaged)?,
            address: row.try_get("address").map_err(damaged)?,
            what: row.try_get("what").map_err(damaged)?,
            text: row.try_get("text").map_err(damaged)?,
        },
        hash: hash
            .try_into()
            .map_err(|_| AccessError::Value("entry of the audit trail"))?,
    })
}
