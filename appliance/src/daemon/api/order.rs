//! The order in which the machines of a site start.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use lifeboat_bootorder::{Analysis, Literal, OperatorWord, Order};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::long::{Wish, begin};
use super::{Answer, ApiError, Failure};
use crate::daemon::ongoing::{OperationKind, OperationView};
use crate::daemon::{Appliance, WrongUse};
use crate::events::Event;
use crate::operator::Changes;
use crate::order_graph::{OrderGraph, order_graph};
use crate::prepare::{PrepareOptions, WhenAbandoned};

/// Which order is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderRequest {
    /// Take a captured volume that changed since its import as a new one.
    #[serde(default)]
    pub accept_changed: bool,
    /// A pair to explain, as the key `explanation` of the answer.
    #[serde(default)]
    pub explain: Option<(String, String)>,
    /// The reference method's own result, as the key `literal` of the answer.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub literal: Option<Literal>,
}

/// Prepares what is not prepared yet and works the order out. The result: `Order`, with
/// `explanation` and `literal` where they were asked for.
#[utoipa::path(post, path = "/sites/{name}/order", operation_id = "work_out_order", tag = "order",
    params(("name" = String, Path)), request_body = OrderRequest, responses(
    (status = 200, description = "events, one a line", content_type = "application/x-ndjson", body = Event),
    (status = 202, description = "with `Prefer: respond-async`", body = OperationView)))]
pub(super) async fn work_out(
    State(appliance): State<Appliance>,
    Path(name): Path<String>,
    wish: Wish,
    Json(request): Json<OrderRequest>,
) -> Result<Response, Failure> {
    let about = (OperationKind::Order, &*name.clone());
    begin(&appliance.clone(), wish, about, move |events| async move {
        let site = appliance.site(&name).await?;
        let options = PrepareOptions {
            accept_changed: request.accept_changed,
            ..PrepareOptions::default()
        };
        let prepared = appliance
            .prepare(&site, options, &events, WhenAbandoned::Cancel)
            .await?;
        let analysis = appliance.analysis(&site, &prepared, &events).await?;
        order_answer(&analysis, &request)
    })
}

/// The order with what else was asked for; `lifeboat order` takes it apart again.
pub fn order_answer(
    analysis: &Analysis,
    request: &OrderRequest,
) -> anyhow::Result<serde_json::Value> {
    let mut value = serde_json::to_value(analysis.order())?;
    if let Some((before, after)) = &request.explain {
        let explanation = analysis.explain(before, after);
        let explanation = explanation.map_err(|error| WrongUse(error.to_string()))?;
        value["explanation"] = serde_json::to_value(explanation)?;
    }
    if let Some(literal) = &request.literal {
        value["literal"] = serde_json::to_value(analysis.literal(literal))?;
    }
    Ok(value)
}

/// What the operator said about the order; the dependencies of the site file are not repeated.
#[utoipa::path(get, path = "/sites/{name}/operator", operation_id = "operator_words", tag = "order",
    params(("name" = String, Path)),
    responses((status = 200, body = Vec<OperatorWord>), (status = 404, body = ApiError)))]
pub(super) async fn words(
    State(appliance): State<Appliance>,
    Path(name): Path<String>,
) -> Answer<Vec<OperatorWord>> {
    let site = appliance.site(&name).await?;
    Ok(Json(appliance.store.operator_words(&site.name).await?))
}

/// Pins, rejects, or takes back; answers with what is kept.
#[utoipa::path(post, path = "/sites/{name}/operator", operation_id = "change_words", tag = "order",
    params(("name" = String, Path)), request_body = Changes, responses(
    (status = 200, body = Vec<OperatorWord>), (status = 404, body = ApiError),
    (status = 400, description = "it contradicts what was said before, or itself; nothing changed", body = ApiError)))]
pub(super) async fn change_words(
    State(appliance): State<Appliance>,
    Path(name): Path<String>,
    Json(changes): Json<Changes>,
) -> Answer<Vec<OperatorWord>> {
    let site = appliance.site(&name).await?;
    Ok(Json(appliance.keep_operator(&site, &changes).await?))
}

/// The order that was worked out last.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SiteOrder {
    /// When, Unix time in milliseconds.
    pub worked_out_ms: u64,
    /// What it was worked out for has changed since: work it out again.
    pub stale: bool,
    /// The order.
    pub order: Order,
}

/// The order that was worked out last, by whatever asked for it.
#[utoipa::path(get, path = "/sites/{name}/order", operation_id = "last_order", tag = "order",
    params(("name" = String, Path)),
    responses((status = 200, body = SiteOrder), (status = 404, description = "none was yet", body = ApiError)))]
pub(super) async fn last(
    State(appliance): State<Appliance>,
    Path(name): Path<String>,
) -> Answer<SiteOrder> {
    let site = appliance.site(&name).await?;
    let (kept, stale) = appliance.last_order(&site).await?;
    Ok(Json(SiteOrder {
        worked_out_ms: kept.worked_out_ms,
        stale,
        order: kept.order,
    }))
}

/// The same as a picture: machines in columns, edges with what they rest on, the operator's words.
#[utoipa::path(get, path = "/sites/{name}/order/graph", operation_id = "order_graph", tag = "order",
    params(("name" = String, Path)),
    responses((status = 200, body = OrderGraph), (status = 404, description = "none was worked out yet", body = ApiError)))]
pub(super) async fn graph(
    State(appliance): State<Appliance>,
    Path(name): Path<String>,
) -> Answer<OrderGraph> {
    let site = appliance.site(&name).await?;
    let (kept, stale) = appliance.last_order(&site).await?;
    let drawn = move || order_graph(&kept.order, kept.worked_out_ms, stale);
    Ok(Json(tokio::task::spawn_blocking(drawn).await?))
}
