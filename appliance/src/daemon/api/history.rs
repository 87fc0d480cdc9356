//! How the sessions of a site went, and how the next one will.

use axum::Json;
use axum::extract::{Path, Query, State};
use lifeboat_bootorder::{HostBudget, Prediction};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Answer, ApiError, Failure};
use crate::accelerator::Accelerator;
use crate::daemon::Appliance;
use crate::events::chain;
use crate::history::{RunPoint, SiteHistory, Trend, trend};
use crate::session::plan::{QEMU_OVERHEAD_MIB, admit, booting_at_once};
use crate::site::Site;
use crate::store::{SessionRecord, SessionState, SiteRecord};

/// How many sessions are looked at when nobody says how many.
const RECENT: u32 = 100;
const MOST: u32 = 1_000;

/// How much of a history is wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Newest {
    /// At most so many, the newest first.
    limit: Option<u32>,
}

impl Newest {
    /// So many when nobody says how many, and never more than `most`.
    pub fn at_most(&self, usual: u32, most: u32) -> u32 {
        self.limit.unwrap_or(usual).min(most)
    }
}

/// A site at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SiteOverview {
    /// Its name.
    pub name: String,
    /// How many machines it has.
    pub machines: usize,
    /// How many networks.
    pub networks: usize,
    /// Why its file cannot be followed.
    pub problem: Option<String>,
    /// Its newest session with a report.
    pub last: Option<RunPoint>,
    /// Sessions that have machines.
    pub alive: Vec<SessionRecord>,
    /// When its next test is due, Unix time in milliseconds.
    pub next_test_ms: Option<u64>,
}

/// All sites at a glance.
#[utoipa::path(get, path = "/overview", operation_id = "site_overviews", tag = "sites",
    responses((status = 200, body = Vec<SiteOverview>)))]
pub(super) async fn overview(State(appliance): State<Appliance>) -> Answer<Vec<SiteOverview>> {
    let sessions = appliance.store.sessions().await?;
    let mut all = Vec::new();
    for record in appliance.store.sites().await? {
        all.push(glance(&appliance, &record, &sessions).await?);
    }
    Ok(Json(all))
}

async fn glance(
    appliance: &Appliance,
    record: &SiteRecord,
    sessions: &[SessionRecord],
) -> Result<SiteOverview, Failure> {
    let site = Site::load(&record.file);
    let is_alive = |session: &&SessionRecord| {
        let is_over = matches!(
            session.state,
            SessionState::Ended | SessionState::Interrupted
        );
        session.site == record.name && !is_over
    };
    Ok(SiteOverview {
        name: record.name.clone(),
        machines: site.as_ref().map_or(0, |site| site.machines.len()),
        networks: site.as_ref().map_or(0, |site| site.networks.len()),
        problem: site.err().map(|error| chain(&error.into()).join(": ")),
        last: runs(appliance, &record.name, 1).await?.pop(),
        next_test_ms: next_test_ms(appliance, &record.name).await?,
        alive: sessions.iter().filter(is_alive).cloned().collect(),
    })
}

async fn next_test_ms(appliance: &Appliance, site: &str) -> Result<Option<u64>, Failure> {
    let schedules = appliance.store.schedules(Some(site)).await?;
    Ok(schedules.iter().filter_map(|one| one.next_ms).min())
}

async fn runs(appliance: &Appliance, site: &str, most: u32) -> Result<Vec<RunPoint>, Failure> {
    let reports = appliance.store.reports(site, most).await?;
    let point = |(session, report): &(SessionRecord, _)| {
        let began_s = session.started_at.parse::<f64>().unwrap_or_default();
        RunPoint::new(report, (began_s * 1_000.0) as u64)
    };
    Ok(reports.iter().map(point).collect())
}

/// The sessions of a site that have a report, the newest first, and where they lead.
#[utoipa::path(get, path = "/sites/{name}/history", operation_id = "history", tag = "sites",
    params(("name" = String, Path), Newest),
    responses((status = 200, body = SiteHistory), (status = 404, body = ApiError)))]
pub(super) async fn history(
    State(appliance): State<Appliance>,
    Path(name): Path<String>,
    Query(newest): Query<Newest>,
) -> Answer<SiteHistory> {
    let site = appliance.site(&name).await?;
    let most = newest.at_most(RECENT, MOST);
    let runs = runs(&appliance, &site.name, most).await?;
    Ok(Json(SiteHistory {
        trend: trend(&runs),
        runs,
    }))
}

/// What a recovery of the site on this host will take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SitePrediction {
    /// From the boots in the logs of its machines, with what this host can carry now.
    pub prediction: Prediction,
    /// When the order behind it was worked out, Unix time in milliseconds.
    pub worked_out_ms: u64,
    /// What that was worked out for has changed since.
    pub stale: bool,
    /// How guests run here; the logs were written elsewhere.
    pub accelerator: Accelerator,
    /// What sessions took here.
    pub measured: Option<Trend>,
    /// This host has room for it now.
    pub fits: bool,
    /// Memory that its machines need, MiB.
    pub memory_needed_mib: u64,
    /// Memory that they can have now, MiB.
    pub memory_available_mib: u64,
    /// Why a session cannot begin now.
    pub refusal: Option<String>,
}

/// How long a recovery of the site will take, and whether this host has room for it.
#[utoipa::path(get, path = "/sites/{name}/prediction", operation_id = "prediction", tag = "sites",
    params(("name" = String, Path)),
    responses((status = 200, body = SitePrediction), (status = 404, description = "no order was worked out yet", body = ApiError)))]
pub(super) async fn prediction(
    State(appliance): State<Appliance>,
    Path(name): Path<String>,
) -> Answer<SitePrediction> {
    let site = appliance.site(&name).await?;
    let (kept, stale) = appliance.last_order(&site).await?;
    let accelerator = appliance.verdict().await.accelerator;
    let promised = appliance.promised_mib().await?;
    let refusal = admit(&site, &appliance.host, promised).err();
    let budget = budget(&appliance, &site, accelerator, promised);
    let memory_available_mib = budget.memory_mib.unwrap_or_default();
    let memory_needed_mib = budget.machine_mib.values().sum();
    let predict = move || kept.order.predict(&budget);
    Ok(Json(SitePrediction {
        prediction: tokio::task::spawn_blocking(predict).await?,
        worked_out_ms: kept.worked_out_ms,
        stale,
        accelerator,
        measured: trend(&runs(&appliance, &site.name, RECENT).await?),
        fits: refusal.is_none(),
        memory_needed_mib,
        memory_available_mib,
        refusal: refusal.map(|error| error.to_string()),
    }))
}

fn budget(
    appliance: &Appliance,
    site: &Site,
    accelerator: Accelerator,
    promised_mib: u64,
) -> HostBudget {
    let machines = site.machines.iter();
    HostBudget {
        memory_mib: Some(
            appliance
                .host
                .memory_for_guests_mib()
                .saturating_sub(promised_mib),
        ),
        parallel: Some(booting_at_once(accelerator)),
        machine_mib: machines
            .map(|one| (one.name.clone(), one.memory_mib + QEMU_OVERHEAD_MIB))
            .collect(),
    }
}
