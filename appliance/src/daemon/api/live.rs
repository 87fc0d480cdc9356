//! A session as it goes on, and what its guests show.

use std::io::{Read, Seek, SeekFrom};

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Answer, ApiError, Failure};
use crate::accelerator::Accelerator;
use crate::daemon::{Appliance, IsolationState, Missing};
use crate::report::NetworkReport;
use crate::screens::Picture;
use crate::session::live::LiveMachine;
use crate::store::SessionRecord;

/// Bytes of a console that are looked at.
const CONSOLE_BYTES: u64 = 1 << 20;
const CONSOLE_LINES: usize = 200;
const MOST_LINES: usize = 5_000;
const NARROWEST: u32 = 16;
const WIDEST: u32 = 4_096;

/// A session as it goes on.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LiveSession {
    /// The session.
    pub session: SessionRecord,
    /// How its guests run.
    pub accelerator: Accelerator,
    /// Under TCG: that guests are not isolated from the host by hardware.
    pub isolation_note: Option<String>,
    /// Seconds since its start; up to its end when it is over.
    pub elapsed_s: f64,
    /// Its machines, in the order of the site.
    pub machines: Vec<LiveMachine>,
    /// The last gate so far.
    pub rta_so_far_s: Option<f64>,
    /// The longest chain of expected times; nothing in it is measured here.
    pub expected_rta_s: f64,
    /// What the switch saw so far, where it can be asked.
    pub network: Option<NetworkReport>,
    /// Where the proof of isolation stands.
    pub isolation: IsolationState,
    /// There is a report.
    pub report_ready: bool,
}

/// Where every machine of a session stands now, what it waits for and why.
#[utoipa::path(get, path = "/sessions/{id}/live", operation_id = "live_session", tag = "sessions",
    params(("id" = String, Path)),
    responses((status = 200, body = LiveSession), (status = 404, body = ApiError)))]
pub(super) async fn live(
    State(appliance): State<Appliance>,
    Path(id): Path<String>,
) -> Answer<LiveSession> {
    Ok(Json(appliance.live_session(&id).await?))
}

/// How a picture is wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Width {
    /// At most so many points wide, from 16 to 4096; as it is when left out.
    width: Option<u32>,
}

/// The screen of a guest: as it is now, or as the report keeps it.
#[utoipa::path(get, path = "/sessions/{id}/machines/{machine}/screen", operation_id = "screen", tag = "sessions",
    params(("id" = String, Path), ("machine" = String, Path), Width), responses(
    (status = 200, content_type = "image/png", body = [u8]), (status = 304),
    (status = 404, body = ApiError)))]
pub(super) async fn screen(
    State(appliance): State<Appliance>,
    Path((id, machine)): Path<(String, String)>,
    Query(wanted): Query<Width>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let mut picture = appliance.screen_of(&id, &machine).await?;
    if let Some(width) = wanted.width {
        let width = width.clamp(NARROWEST, WIDEST);
        picture = tokio::task::spawn_blocking(move || picture.at_most(width)).await??;
    }
    Ok(sent(picture, &headers))
}

fn sent(picture: Picture, headers: &HeaderMap) -> Response {
    let known = headers.get(header::IF_NONE_MATCH);
    let is_known = known.is_some_and(|tag| tag.as_bytes() == picture.tag.as_bytes());
    let mut response = match is_known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => Body::from(picture.png.to_vec()).into_response(),
    };
    let fixed = [
        (header::CONTENT_TYPE, "image/png"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "private, no-cache"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; sandbox",
        ),
    ];
    for (name, value) in fixed {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    if let Ok(tag) = HeaderValue::from_str(&picture.tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// How much of a console is wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Lines {
    /// At most so many, the last ones.
    lines: Option<usize>,
}

/// What a guest wrote to its serial console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConsoleText {
    /// Its last lines, printable.
    pub lines: Vec<String>,
    /// There is more before them.
    pub more: bool,
}

/// The last lines of the serial console of a guest.
#[utoipa::path(get, path = "/sessions/{id}/machines/{machine}/console", operation_id = "machine_console", tag = "sessions",
    params(("id" = String, Path), ("machine" = String, Path), Lines),
    responses((status = 200, body = ConsoleText), (status = 404, body = ApiError)))]
pub(super) async fn console(
    State(appliance): State<Appliance>,
    Path((id, machine)): Path<(String, String)>,
    Query(wanted): Query<Lines>,
) -> Answer<ConsoleText> {
    let plan = appliance.plan_of(&id, &machine).await?;
    let most = wanted.lines.unwrap_or(CONSOLE_LINES).min(MOST_LINES);
    let text = tokio::task::spawn_blocking(move || last_lines(&plan.console, most)).await?;
    let none = |_| Missing(format!("no console of machine `{machine}` was recorded"));
    Ok(Json(text.map_err(none)?))
}

fn last_lines(path: &std::path::Path, most: usize) -> std::io::Result<ConsoleText> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(CONSOLE_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(CONSOLE_BYTES).read_to_end(&mut bytes)?;
    let mut lines = crate::report::console_lines(&bytes);
    let skipped = lines.len().saturating_sub(most);
    lines.drain(..skipped);
    Ok(ConsoleText {
        lines,
        more: skipped > 0 || from > 0,
    })
}
