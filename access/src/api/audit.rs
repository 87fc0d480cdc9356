//! The audit trail, to be read.

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use crate::access::Access;
use crate::secret::hex;
use crate::trail::{EntryKind, Head, Verdict, Written};

const SHOWN: u32 = 100;
const MOST: u32 = 10_000;

/// An entry of the audit trail.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditView {
    /// Its number.
    pub seq: i64,
    /// When it was written.
    pub at: i64,
    /// What it tells.
    pub kind: EntryKind,
    /// The intent that it belongs to.
    pub of: Option<i64>,
    /// Who.
    pub who: String,
    /// What they were.
    pub role: String,
    /// From where.
    pub address: String,
    /// What was asked for.
    pub what: String,
    /// More of it: what the request said, what came of it.
    pub text: String,
    /// The hash over this entry and the one before.
    pub hash: String,
}

/// Which entries.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// Older than this one.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: Option<u32>,
}

/// An entry that was noted elsewhere, which must still be there.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Noted {
    /// Its number.
    pub seq: Option<i64>,
    /// Its hash.
    pub hash: Option<String>,
}

/// Entries, the newest first.
#[utoipa::path(get, path = "/audit", tag = "access", params(Page), responses((status = 200, body = Vec<AuditView>)))]
pub(super) async fn list_audit(
    State(access): State<Access>,
    Query(page): Query<Page>,
) -> Answer<Vec<AuditView>> {
    let limit = page.limit.unwrap_or(SHOWN).min(MOST);
    let entries = access.trail().list(page.before, limit).await?;
    Ok(Json(entries.into_iter().map(view).collect()))
}

/// Reads the whole trail: was anything of it changed, removed or cut off?
#[utoipa::path(get, path = "/audit/verify", tag = "access", params(Noted), responses((status = 200, body = Verdict)))]
pub(super) async fn verify_audit(
    State(access): State<Access>,
    Query(noted): Query<Noted>,
) -> Answer<Verdict> {
    let noted = noted.seq.zip(noted.hash);
    let noted = noted.map(|(seq, hash)| Head { seq, hash });
    Ok(Json(access.verify(noted.as_ref()).await?))
}

fn view(written: Written) -> AuditView {
    let entry = written.entry;
    AuditView {
        seq: written.seq,
        at: written.at,
        kind: entry.kind,
        of: entry.of,
        who: entry.who,
        role: entry.role,
        address: entry.address,
        what: entry.what,
        text: entry.text,
        hash: hex(&written.hash),
    }
}
