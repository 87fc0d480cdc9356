//! Tests that the daemon runs by itself.

use axum::Json;
use axum::extract::{Path, Query, State};

use super::history::Newest;
use super::{Answer, ApiError, Failure};
use crate::daemon::{Appliance, Missing, NotNow};
use crate::schedules::ScheduleSettings;
use crate::session::unix_ms;
use crate::store::{Schedule, ScheduleRun};

/// How many runs are shown when nobody says how many.
const RECENT: u32 = 50;
const MOST_RUNS: u32 = 1_000;
/// Schedules of one site.
const MOST: usize = 32;

/// All schedules.
#[utoipa::path(get, path = "/schedules", operation_id = "list_schedules", tag = "schedules",
    responses((status = 200, body = Vec<Schedule>)))]
pub(super) async fn list(State(appliance): State<Appliance>) -> Answer<Vec<Schedule>> {
    Ok(Json(appliance.store.schedules(None).await?))
}

/// The schedules of a site.
#[utoipa::path(get, path = "/sites/{name}/schedules", operation_id = "site_schedules", tag = "schedules",
    params(("name" = String, Path)),
    responses((status = 200, body = Vec<Schedule>), (status = 404, body = ApiError)))]
pub(super) async fn of_site(
    State(appliance): State<Appliance>,
    Path(name): Path<String>,
) -> Answer<Vec<Schedule>> {
    let site = appliance.site(&name).await?;
    Ok(Json(appliance.store.schedules(Some(&site.name)).await?))
}

/// Tests a site regularly from now on.
#[utoipa::path(post, path = "/sites/{name}/schedules", operation_id = "add_schedule", tag = "schedules",
    params(("name" = String, Path)), request_body = ScheduleSettings, responses(
    (status = 200, body = Schedule), (status = 400, body = ApiError), (status = 404, body = ApiError),
    (status = 409, description = "the site has too many", body = ApiError)))]
pub(super) async fn add(
    State(appliance): State<Appliance>,
    Path(name): Path<String>,
    Json(settings): Json<ScheduleSettings>,
) -> Answer<Schedule> {
    let site = appliance.site(&name).await?;
    let next_ms = next_ms(&settings)?;
    if appliance.store.schedules(Some(&site.name)).await?.len() >= MOST {
        return Err(NotNow(format!(
            "site `{name}` has {MOST} schedules: remove one first"
        ))
        .into());
    }
    appliance.store.audit("schedule add", &site.name).await?;
    let store = &appliance.store;
    let id = store.add_schedule(&site.name, &settings, next_ms).await?;
    show(&appliance, id).await
}

/// Gives a schedule other settings.
#[utoipa::path(put, path = "/schedules/{id}", operation_id = "change_schedule", tag = "schedules",
    params(("id" = i64, Path)), request_body = ScheduleSettings, responses(
    (status = 200, body = Schedule), (status = 400, body = ApiError), (status = 404, body = ApiError)))]
pub(super) async fn change(
    State(appliance): State<Appliance>,
    Path(id): Path<i64>,
    Json(settings): Json<ScheduleSettings>,
) -> Answer<Schedule> {
    let next_ms = next_ms(&settings)?;
    let store = &appliance.store;
    store.audit("schedule change", &id.to_string()).await?;
    store.change_schedule(id, &settings, next_ms).await?;
    show(&appliance, id).await
}

/// Forgets a schedule and what became of its tests; their sessions stay.
#[utoipa::path(delete, path = "/schedules/{id}", operation_id = "remove_schedule", tag = "schedules",
    params(("id" = i64, Path)),
    responses((status = 200), (status = 404, body = ApiError)))]
pub(super) async fn remove(State(appliance): State<Appliance>, Path(id): Path<i64>) -> Answer<()> {
    appliance
        .store
        .audit("schedule remove", &id.to_string())
        .await?;
    match appliance.store.remove_schedule(id).await? {
        true => Ok(Json(())),
        false => Err(missing(id).into()),
    }
}

/// What became of the tests of a schedule, the newest first.
#[utoipa::path(get, path = "/schedules/{id}/runs", operation_id = "schedule_runs", tag = "schedules",
    params(("id" = i64, Path), Newest),
    responses((status = 200, body = Vec<ScheduleRun>), (status = 404, body = ApiError)))]
pub(super) async fn runs(
    State(appliance): State<Appliance>,
    Path(id): Path<i64>,
    Query(newest): Query<Newest>,
) -> Answer<Vec<ScheduleRun>> {
    drop(show(&appliance, id).await?);
    let most = newest.at_most(RECENT, MOST_RUNS);
    Ok(Json(appliance.store.schedule_runs(id, most).await?))
}

fn next_ms(settings: &ScheduleSettings) -> Result<Option<u64>, Failure> {
    let calendar = settings.calendar()?;
    Ok(settings
        .enabled
        .then(|| calendar.next_after(unix_ms()))
        .flatten())
}

async fn show(appliance: &Appliance, id: i64) -> Answer<Schedule> {
    let found = appliance.store.schedule(id).await?;
    Ok(Json(found.ok_or_else(|| missing(id))?))
}

fn missing(id: i64) -> Missing {
    Missing(format!("no schedule has the number {id}"))
}
