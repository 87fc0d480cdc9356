//! What is seen, who is told, what differs.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;

use super::{Answer, Newest, Operator, Problem};
use crate::alerts::Alert;
use crate::centre::Centre;
use crate::changes::{Change, Divergence, Preference, Rule};
use crate::clock;
use crate::observation::{ApplicationHealth, PastDeparture, Point};

/// How many points a history has when nobody says how many.
const POINTS: u32 = 500;

/// Which part of a history is wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Between {
    /// From this moment on, in milliseconds since 1970; a day ago when it is left out.
    from: Option<u64>,
    /// Up to this moment; now when it is left out.
    to: Option<u64>,
    /// At most about so many points; each tells least, most and mean.
    points: Option<u32>,
}

/// How an application is: levels of both sides, root causes in the order of time, every metric.
#[utoipa::path(get, path = "/applications/{name}/health", params(("name" = String, Path)), responses(
    (status = 200, body = Value), (status = 404, body = Problem)))]
pub(super) async fn health(
    State(centre): State<Centre>,
    Path(name): Path<String>,
) -> Answer<ApplicationHealth> {
    centre.handle(&name)?;
    let now = clock::unix();
    Ok(Json(centre.observation().health(&name, now).await))
}

/// What departed from its range and came back, the newest first.
#[utoipa::path(get, path = "/applications/{name}/departures", params(("name" = String, Path), Newest), responses(
    (status = 200, body = Vec<Value>), (status = 404, body = Problem)))]
pub(super) async fn departures(
    State(centre): State<Centre>,
    Path(name): Path<String>,
    Query(newest): Query<Newest>,
) -> Answer<Vec<PastDeparture>> {
    centre.handle(&name)?;
    let found = centre.observation().departures(&name, newest.at_most());
    Ok(Json(found.await.map_err(crate::CentreError::from)?))
}

/// The history of a metric of a host.
#[utoipa::path(get, path = "/applications/{name}/metrics/{host}/{metric}",
    params(("name" = String, Path), ("host" = String, Path), ("metric" = String, Path), Between), responses(
    (status = 200, body = Vec<Value>), (status = 404, body = Problem)))]
pub(super) async fn metric(
    State(centre): State<Centre>,
    Path((name, host, metric)): Path<(String, String, String)>,
    Query(between): Query<Between>,
) -> Answer<Vec<Point>> {
    centre.handle(&name)?;
    let to = between.to.unwrap_or_else(clock::unix);
    let from = between.from.unwrap_or(to.saturating_sub(24 * 3600 * 1000));
    let points = between.points.unwrap_or(POINTS);
    let observation = centre.observation();
    let found = observation.history(&name, &host, &metric, (from, to), points);
    Ok(Json(found.await.map_err(crate::CentreError::from)?))
}

/// Alerts of all applications, the newest first, with what is not delivered yet.
#[utoipa::path(get, path = "/alerts", params(Newest), responses((status = 200, body = Vec<Value>)))]
pub(super) async fn alerts(
    State(centre): State<Centre>,
    Query(newest): Query<Newest>,
) -> Answer<Vec<Alert>> {
    let found = centre.alerts().list(None, false, newest.at_most());
    Ok(Json(found.await.map_err(crate::CentreError::from)?))
}

/// Somebody knows of an alert. Says whether there is such a one that nobody knew of.
#[utoipa::path(post, path = "/alerts/{id}/acknowledge", params(("id" = i64, Path)), responses(
    (status = 200, body = bool)))]
pub(super) async fn acknowledge(
    State(centre): State<Centre>,
    Operator(who): Operator,
    Path(id): Path<i64>,
) -> Answer<bool> {
    let known = centre.alerts().acknowledge(id, &who, clock::unix());
    Ok(Json(known.await.map_err(crate::CentreError::from)?))
}

/// What changed on either side, the newest first.
#[utoipa::path(get, path = "/applications/{name}/changes", params(("name" = String, Path), Newest), responses(
    (status = 200, body = Vec<Value>), (status = 404, body = Problem)))]
pub(super) async fn changes(
    State(centre): State<Centre>,
    Path(name): Path<String>,
    Query(newest): Query<Newest>,
) -> Answer<Vec<Change>> {
    centre.handle(&name)?;
    let found = centre.changes().list(&name, newest.at_most());
    Ok(Json(found.await.map_err(crate::CentreError::from)?))
}

/// In what the sites differ now.
#[utoipa::path(get, path = "/applications/{name}/differences", params(("name" = String, Path), Newest), responses(
    (status = 200, body = Vec<Value>), (status = 404, body = Problem)))]
pub(super) async fn differences(
    State(centre): State<Centre>,
    Path(name): Path<String>,
    Query(newest): Query<Newest>,
) -> Answer<Vec<Divergence>> {
    centre.handle(&name)?;
    let found = centre.changes().divergences(&name, true, newest.at_most());
    Ok(Json(found.await.map_err(crate::CentreError::from)?))
}

/// Leaves a difference as it is, until either side changes. Says whether there is such a one.
#[utoipa::path(post, path = "/applications/{name}/differences/{id}/accept",
    params(("name" = String, Path), ("id" = i64, Path)), responses(
    (status = 200, body = bool), (status = 404, body = Problem)))]
pub(super) async fn accept(
    State(centre): State<Centre>,
    Operator(who): Operator,
    Path((name, id)): Path<(String, i64)>,
) -> Answer<bool> {
    centre.handle(&name)?;
    let there = centre.changes().accept(&name, id, &who, clock::unix());
    Ok(Json(there.await.map_err(crate::CentreError::from)?))
}

/// The operator's rules for changes, the newest first.
#[utoipa::path(get, path = "/applications/{name}/rules", params(("name" = String, Path)), responses(
    (status = 200, body = Vec<Value>), (status = 404, body = Problem)))]
pub(super) async fn rules(
    State(centre): State<Centre>,
    Path(name): Path<String>,
) -> Answer<Vec<Preference>> {
    centre.handle(&name)?;
    let found = centre.changes().preferences(&name);
    Ok(Json(found.await.map_err(crate::CentreError::from)?))
}

/// Sets a rule for changes, with the keys of `[[changes.rule]]`; gives its number.
#[utoipa::path(post, path = "/applications/{name}/rules", params(("name" = String, Path)),
    request_body = Value, responses((status = 200, body = i64), (status = 404, body = Problem)))]
pub(super) async fn set_rule(
    State(centre): State<Centre>,
    Operator(who): Operator,
    Path(name): Path<String>,
    Json(rule): Json<Rule>,
) -> Answer<i64> {
    centre.handle(&name)?;
    let id = centre.changes().prefer(&name, &rule, &who, clock::unix());
    Ok(Json(id.await.map_err(crate::CentreError::from)?))
}

/// Removes a rule for changes. Says whether there was one.
#[utoipa::path(delete, path = "/applications/{name}/rules/{id}",
    params(("name" = String, Path), ("id" = i64, Path)), responses(
    (status = 200, body = bool), (status = 404, body = Problem)))]
pub(super) async fn remove_rule(
    State(centre): State<Centre>,
    Path((name, id)): Path<(String, i64)>,
) -> Answer<bool> {
    centre.handle(&name)?;
    let there = centre.changes().prefer_no_more(&name, id);
    Ok(Json(there.await.map_err(crate::CentreError::from)?))
}
