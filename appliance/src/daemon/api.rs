//! The REST interface under `/api/v1/`. Long work answers with a stream of
//! events, one JSON object a line; the last is the result or the failure.

use std::path::PathBuf;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use lifeboat_bootorder::{Analysis, Literal, OperatorWord};
use serde::{Deserialize, Serialize};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::{Appliance, WrongUse, is_wrong_use, volumes};
use crate::events::{Event, Events, chain};
use crate::operator::Changes;
use crate::prepare::{PrepareOptions, WhenAbandoned};
use crate::report::Mode;

/// What a session is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionRequest {
    /// Test or recovery.
    pub mode: Mode,
    /// How to prepare before.
    #[serde(default)]
    pub prepare: PrepareOptions,
}

/// Which order is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
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
    pub literal: Option<Literal>,
}

/// Which file to register.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddSite {
    /// Absolute path of the `site.toml`.
    pub file: PathBuf,
}

/// An error as the API shows it.
#[derive(Debug, Serialize, Deserialize)]
pub struct ApiError {
    /// The chain of causes, outermost first.
    pub chain: Vec<String>,
    /// The asker's mistake.
    pub wrong_use: bool,
}

/// The routes; those of failover where there is a control centre.
pub fn router(appliance: Appliance, centre: Option<&lifeboat_centre::Centre>) -> Router {
    let v1 = Router::new()
        .route("/status", get(status))
        .route("/sites", get(list_sites).post(add_site))
        .route("/sites/{name}", get(show_site).delete(remove_site))
        .route("/sites/{name}/prepare", post(prepare))
        .route("/sites/{name}/order", post(order))
        .route(
            "/sites/{name}/operator",
            get(operator).post(change_operator),
        )
        .route("/sites/{name}/sessions", post(session))
        .route("/sites/{name}/verify", post(volumes::verify_site))
        .route("/volumes", get(volumes::list))
        .route("/volumes/verify", post(volumes::verify_file))
        .route("/sessions", get(list_sessions))
        .route("/sessions/{id}", get(show_session))
        .route("/sessions/{id}/start", post(start_session))
        .route("/sessions/{id}/stop", post(stop_session))
        .route("/sessions/{id}/report", get(report));
    let router = Router::new().nest("/api/v1", v1).with_state(appliance);
    match centre {
        Some(centre) => router.nest(
            "/api/v1/failover",
            lifeboat_centre::api::router(centre.clone()),
        ),
        None => router,
    }
}

/// A request that failed.
pub(super) struct Failure(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let wrong_use = is_wrong_use(&self.0);
        let status = if wrong_use {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        };
        (
            status,
            Json(ApiError {
                chain: chain(&self.0),
                wrong_use,
            }),
        )
            .into_response()
    }
}

pub(super) type Answer<T> = Result<Json<T>, Failure>;

async fn status(State(appliance): State<Appliance>) -> Json<serde_json::Value> {
    let verdict = appliance.verdict().await;
    Json(
        serde_json::json!({ "version": env!("CARGO_PKG_VERSION"), "accelerator": verdict, "busy": appliance.is_busy() }),
    )
}

async fn list_sites(State(appliance): State<Appliance>) -> Answer<Vec<crate::store::SiteRecord>> {
    Ok(Json(appliance.store.sites().await?))
}

async fn add_site(
    State(appliance): State<Appliance>,
    Json(add): Json<AddSite>,
) -> Answer<crate::site::Site> {
    Ok(Json(appliance.add_site(&add.file).await?))
}

async fn show_site(
    State(appliance): State<Appliance>,
    Path(name): Path<String>,
) -> Answer<crate::site::Site> {
    Ok(Json(appliance.site(&name).await?))
}

async fn remove_site(State(appliance): State<Appliance>, Path(name): Path<String>) -> Answer<()> {
    Ok(Json(appliance.remove_site(&name).await?))
}

async fn prepare(
    State(appliance): State<Appliance>,
    Path(name): Path<String>,
    Json(options): Json<PrepareOptions>,
) -> Response {
    stream(&appliance.clone(), move |events| async move {
        let site = appliance.site(&name).await?;
        let prepared = appliance
            .prepare(&site, options, &events, WhenAbandoned::Cancel)
            .await?;
        Ok(serde_json::to_value(prepared)?)
    })
}

async fn order(
    State(appliance): State<Appliance>,
    Path(name): Path<String>,
    Json(request): Json<OrderRequest>,
) -> Response {
    stream(&appliance.clone(), move |events| async move {
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

async fn operator(
    State(appliance): State<Appliance>,
    Path(name): Path<String>,
) -> Answer<Vec<OperatorWord>> {
    let site = appliance.site(&name).await?;
    Ok(Json(appliance.store.operator_words(&site.name).await?))
}

async fn change_operator(
    State(appliance): State<Appliance>,
    Path(name): Path<String>,
    Json(changes): Json<Changes>,
) -> Answer<Vec<OperatorWord>> {
    let site = appliance.site(&name).await?;
    Ok(Json(appliance.keep_operator(&site, &changes).await?))
}

async fn session(
    State(appliance): State<Appliance>,
    Path(name): Path<String>,
    Json(request): Json<SessionRequest>,
) -> Response {
    stream(&appliance.clone(), move |events| async move {
        let site = appliance.site(&name).await?;
        let report = appliance
            .run_session(&site, request.mode, request.prepare, &events)
            .await?;
        Ok(serde_json::to_value(report)?)
    })
}

async fn list_sessions(
    State(appliance): State<Appliance>,
) -> Answer<Vec<crate::store::SessionRecord>> {
    Ok(Json(appliance.store.sessions().await?))
}

async fn show_session(
    State(appliance): State<Appliance>,
    Path(id): Path<String>,
) -> Answer<serde_json::Value> {
    let sessions = appliance.store.sessions().await?;
    let Some(record) = sessions.into_iter().find(|session| session.id == id) else {
        return Err(no_session(&id));
    };
    let resources: Vec<_> = appliance
        .store
        .resources(&id)
        .await?
        .into_iter()
        .map(|(_, resource)| resource)
        .collect();
    let steps = appliance.store.steps(&id).await?;
    let folder = appliance.host.session_dir(&id);
    Ok(Json(
        serde_json::json!({ "session": record, "resources": resources, "steps": steps, "folder": folder }),
    ))
}

async fn start_session(
    State(appliance): State<Appliance>,
    Path(id): Path<String>,
    Json(options): Json<PrepareOptions>,
) -> Response {
    stream(&appliance.clone(), move |events| async move {
        let report =
            crate::session::recover::start_again(&appliance, &id, options, &events).await?;
        Ok(serde_json::to_value(report)?)
    })
}

async fn stop_session(
    State(appliance): State<Appliance>,
    Path(id): Path<String>,
) -> Answer<String> {
    Ok(Json(appliance.stop_session(&id).await?))
}

async fn report(
    State(appliance): State<Appliance>,
    Path(id): Path<String>,
) -> Answer<crate::report::Report> {
    appliance
        .store
        .report(&id)
        .await?
        .map(Json)
        .ok_or_else(|| no_session(&id))
}

fn no_session(id: &str) -> Failure {
    WrongUse(format!(
        "no session with a report has the id `{id}`: see `lifeboat session list`"
    ))
    .into()
}

/// Runs `work` in a task of its own, so that it goes on when the asker leaves,
/// and streams what it says.
pub(super) fn stream<F, W>(appliance: &Appliance, work: F) -> Response
where
    F: FnOnce(Events) -> W,
    W: Future<Output = anyhow::Result<serde_json::Value>> + Send + 'static,
{
    let (events, receiver) = Events::channel();
    let work = work(events.clone());
    let working = appliance.begin_work();
    tokio::spawn(async move {
        let _working = working;
        events.send(match work.await {
            Ok(value) => Event::Result { value },
            Err(error) => Event::Failed {
                chain: chain(&error),
                wrong_use: is_wrong_use(&error),
            },
        });
    });
    let lines = UnboundedReceiverStream::new(receiver).map(|event| {
        serde_json::to_string(&event).map(|mut line| {
            line.push('\n');
            line
        })
    });
    (
        [(header::CONTENT_TYPE, "application/x-ndjson")],
        Body::from_stream(lines),
    )
        .into_response()
}
