//! Everything that can be asked of the control centre, over HTTP. The daemon nests this under
//! `/api/v1/failover` and decides who may ask; the document of it (`/openapi.json`) is made from
//! the same words as the routes, so neither can have what the other has not.

mod agents;
mod applications;
mod events;
mod keeping;
mod switching;
#[cfg(test)]
mod tests;
mod watching;

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::centre::Centre;
use crate::error::{CentreError, Kind};

/// Names whoever asks, for the audit trail; without it they are called `api`.
pub const OPERATOR: &str = "lifeboat-operator";
const LONGEST_NAME: usize = 64;
/// How much of a history is shown when nobody says how much.
const RECENT: u32 = 50;

#[derive(OpenApi)]
#[openapi(info(
    title = "Lifeboat failover",
    description = "Two sites, one truth: watches an application's two environments and moves it between them."
))]
struct Document;

/// Over what a request came, and so which files of the host it may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The socket of root: any.
    Host,
    /// The network: none, or what lies in configured folders.
    Network,
}

/// The routes.
pub fn router(centre: Centre, reach: Reach) -> Router {
    let (router, document) = documented().split_for_parts();
    let document = move || async move { Json(document) };
    router
        .route("/openapi.json", get(document))
        .with_state(centre)
        .layer(Extension(reach))
}

/// What an OpenAPI client reads.
pub fn document() -> utoipa::openapi::OpenApi {
    documented().into_openapi()
}

fn documented() -> OpenApiRouter<Centre> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(applications::list, applications::add))
        .routes(routes!(applications::status, applications::remove))
        .routes(routes!(applications::ready))
        .routes(routes!(applications::history))
        .routes(routes!(applications::audit))
        .routes(routes!(applications::autopilot))
        .routes(routes!(switching::plan))
        .routes(routes!(switching::switch))
        .routes(routes!(switching::answer))
        .routes(routes!(switching::abort))
        .routes(routes!(switching::take_up))
        .routes(routes!(switching::processes))
        .routes(routes!(switching::process))
        .routes(routes!(keeping::autosync, keeping::set_autosync))
        .routes(routes!(keeping::archive, keeping::set_archive))
        .routes(routes!(keeping::archive_now))
        .routes(routes!(keeping::abandon_archive))
        .routes(routes!(keeping::restores, keeping::restore))
        .routes(routes!(keeping::take_up_restore))
        .routes(routes!(keeping::abandon_restore))
        .routes(routes!(agents::list))
        .routes(routes!(agents::token))
        .routes(routes!(agents::remove))
        .routes(routes!(watching::health))
        .routes(routes!(watching::departures))
        .routes(routes!(watching::metric))
        .routes(routes!(watching::alerts))
        .routes(routes!(watching::acknowledge))
        .routes(routes!(watching::changes))
        .routes(routes!(watching::differences))
        .routes(routes!(watching::accept))
        .routes(routes!(watching::rules, watching::set_rule))
        .routes(routes!(watching::remove_rule))
        .routes(routes!(events::all))
        .routes(routes!(events::of_application))
}

/// A request that was not carried out. Nothing changed.
struct Failure(CentreError);

impl From<CentreError> for Failure {
    fn from(error: CentreError) -> Self {
        Self(error)
    }
}

/// Why a request was not carried out.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The chain of causes, outermost first.
    pub chain: Vec<String>,
    /// The asker's mistake.
    pub wrong_use: bool,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, wrong_use) = match self.0.kind() {
            Kind::NotFound => (StatusCode::NOT_FOUND, true),
            Kind::Invalid => (StatusCode::BAD_REQUEST, true),
            Kind::Conflict => (StatusCode::CONFLICT, false),
            Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, false),
        };
        let mut chain = vec![self.0.to_string()];
        let mut cause = std::error::Error::source(&self.0);
        while let Some(error) = cause {
            chain.push(error.to_string());
            cause = error.source();
        }
        (status, Json(Problem { chain, wrong_use })).into_response()
    }
}

type Answer<T> = Result<Json<T>, Failure>;

/// Who asks.
struct Operator(String);

impl<S: Sync> FromRequestParts<S> for Operator {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let named = parts
            .headers
            .get(OPERATOR)
            .and_then(|value| value.to_str().ok());
        let plain = |name: &str| {
            let name: String = name.chars().filter(|one| one.is_ascii_graphic()).collect();
            name.chars().take(LONGEST_NAME).collect()
        };
        let name: String = named.map(plain).unwrap_or_default();
        Ok(Self(match name.is_empty() {
            true => "api".to_owned(),
            false => name,
        }))
    }
}

/// How much of a list is wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
struct Newest {
    /// At most so many, the newest first.
    limit: Option<u32>,
}

impl Newest {
    fn at_most(&self) -> u32 {
        self.limit.unwrap_or(RECENT).min(10_000)
    }
}
