//! Is the trail still what was written?

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{BEGINNING, COLUMNS, Trail, Written, written};
use crate::error::{AccessError, statement};
use crate::secret::{Hash, hex};

/// What verifying found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verdict {
    /// Nothing was changed, inserted, removed or cut off.
    pub ok: bool,
    /// How many entries were read.
    pub entries: u64,
    /// The newest entry: noted elsewhere, it can be asked for later.
    pub head: Option<Head>,
    /// What is wrong, at most a hundred of it.
    pub faults: Vec<Fault>,
}

/// An entry by number and hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Head {
    /// Its number.
    pub seq: i64,
    /// Its hash, in hexadecimal digits.
    pub hash: String,
}

/// Something that is wrong with the trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fault {
    /// Where.
    pub seq: Option<i64>,
    /// What.
    pub text: String,
}

const AT_ONCE: i64 = 1000;
const MOST_FAULTS: usize = 100;

/// One reading of the chain.
struct Reading<'a> {
    trail: &'a Trail,
    /// A head that was noted elsewhere.
    noted: Option<(i64, Hash)>,
    noted_seen: bool,
    anchored: Option<(i64, Hash)>,
    anchored_seen: bool,
    last: (i64, Hash),
    entries: u64,
    faults: Vec<Fault>,
}

impl Trail {
    /// Reads the whole trail. `noted`: a head that was noted earlier and must still be in it.
    pub async fn verify(&self, noted: Option<&Head>) -> Result<Verdict, AccessError> {
        // Nothing is written meanwhile, or the anchor would be ahead of what was read.
        let _newest = self.newest.lock().await;
        let noted = noted.map(|head| (head.seq, super::anchor::from_hex(&head.hash)));
        let mut reading = Reading {
            trail: self,
            noted: noted.map(|(seq, hash)| (seq, hash.unwrap_or_default())),
            noted_seen: false,
            anchored: self.anchor.head(),
            // A trail that was never written to ends where it begins.
            anchored_seen: self.anchor.head() == Some(BEGINNING),
            last: BEGINNING,
            entries: 0,
            faults: Vec::new(),
        };
        reading.all().await?;
        Ok(reading.verdict())
    }
}

impl Reading<'_> {
    async fn all(&mut self) -> Result<(), AccessError> {
        let mut after = 0;
        loop {
            let question = format!("{COLUMNS} WHERE seq > ? ORDER BY seq LIMIT ?");
            let rows = sqlx::query(sqlx::AssertSqlSafe(question))
                .bind(after)
                .bind(AT_ONCE)
                .fetch_all(&self.trail.pool)
                .await
                .map_err(statement("read the audit trail"))?;
            for row in &rows {
                after = sqlx::Row::try_get(row, "seq").unwrap_or(i64::MAX);
                match written(row) {
                    Ok(written) => self.entry(&written),
                    Err(error) => self.fault(Some(after), error.to_string()),
                }
            }
            if rows.is_empty() || after == i64::MAX {
                return Ok(());
            }
        }
    }

    fn entry(&mut self, written: &Written) {
        let seq = written.seq;
        if seq != self.last.0 + 1 {
            let text = format!("entries {} to {} are missing", self.last.0 + 1, seq - 1);
            self.fault(Some(seq), text);
        }
        if self.trail.anchor.hash(&self.last.1, written) != written.hash {
            let text = "it, or the one before it, is not what was written".to_owned();
            self.fault(Some(seq), text);
        }
        let this = Some((seq, written.hash));
        self.noted_seen |= self.noted == this;
        self.anchored_seen |= self.anchored == this;
        self.last = (seq, written.hash);
        self.entries += 1;
    }

    fn fault(&mut self, seq: Option<i64>, text: String) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(Fault { seq, text });
        }
    }

    fn verdict(mut self) -> Verdict {
        let seq = self.anchored.map(|(seq, _)| seq);
        if !self.anchored_seen {
            let text = "the end of the trail, as noted outside of the database, is not in it";
            self.fault(seq, text.to_owned());
        }
        if let (Some((seq, _)), false) = (self.noted, self.noted_seen) {
            self.fault(
                Some(seq),
                "the entry with the given hash is not in it".to_owned(),
            );
        }
        let (seq, hash) = self.last;
        Verdict {
            ok: self.faults.is_empty(),
            entries: self.entries,
            head: (seq > 0).then(|| Head {
                seq,
                hash: hex(&hash),
            }),
            faults: self.faults,
        }
    }
}
