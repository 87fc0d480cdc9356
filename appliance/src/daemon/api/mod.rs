//! Everything that can be asked of the appliance, over HTTP under `/api/v1/`. The
//! document of it (`/api/v1/openapi.json`, `lifeboat openapi`) is made from the same
//! words as the routes, so neither can have what the other has not.

mod document;
mod effect;
mod events;
mod history;
mod host;
mod imports;
mod live;
mod long;
mod network;
mod operations;
mod order;
mod page;
mod schedules;
mod sessions;
mod sites;
#[cfg(test)]
mod tests;
mod vnc;
mod volumes;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use document::printed;
pub use lifeboat_centre::api::Reach;
pub use live::LiveSession;
pub use order::OrderRequest;
#[cfg(test)]
pub use order::order_answer;
pub use sessions::SessionRequest;
pub use sites::AddSite;
pub use volumes::{VerifyFile, VerifySite};

use effect::{changes, destroys, limited, reads};

use super::{Appliance, Missing, NotNow, is_wrong_use};
use crate::events::chain;

/// An error as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiError {
    /// The chain of causes, outermost first.
    pub chain: Vec<String>,
    /// The asker's mistake.
    pub wrong_use: bool,
}

/// The routes with the documents and the page; those of failover where there is a control centre.
pub fn router(
    appliance: Appliance,
    centre: Option<&lifeboat_centre::Centre>,
    reach: Reach,
) -> Router {
    let (router, _) = documented().split_for_parts();
    let router = router.with_state(appliance).layer(Extension(reach));
    let router = match centre {
        Some(centre) => router.nest(
            "/api/v1/failover",
            lifeboat_centre::api::router(centre.clone(), reach),
        ),
        None => router,
    };
    router.merge(document::router()).merge(page::router())
}

#[derive(OpenApi)]
#[openapi(info(
    title = "Lifeboat",
    description = "Boots a whole site on one host from the captured volumes of its machines, and moves applications between two sites."
))]
struct Document;

/// The list of what can be asked, and of what it does.
fn documented() -> OpenApiRouter<Appliance> {
    let routes = OpenApiRouter::new()
        .routes(reads(routes!(host::status)))
        .routes(reads(routes!(host::check)))
        .routes(reads(routes!(events::all)))
        .routes(reads(routes!(operations::list)))
        .routes(reads(routes!(operations::show)))
        .routes(reads(routes!(operations::result)))
        .routes(reads(routes!(operations::events)))
        .routes(destroys(routes!(operations::cancel)))
        .routes(reads(routes!(sites::list)))
        .routes(changes(routes!(sites::add)))
        .routes(reads(routes!(sites::show)))
        .routes(destroys(routes!(sites::remove)))
        .routes(changes(routes!(sites::prepare)))
        .routes(changes(routes!(order::work_out)))
        .routes(reads(routes!(order::words)))
        .routes(changes(routes!(order::change_words)))
        .routes(changes(routes!(volumes::verify_site)))
        .routes(reads(routes!(volumes::list)))
        .routes(changes(routes!(volumes::verify_file)))
        .routes(changes(routes!(sessions::begin)))
        .routes(reads(routes!(sessions::list)))
        .routes(reads(routes!(sessions::show)))
        .routes(changes(routes!(sessions::start)))
        .routes(destroys(routes!(sessions::stop)))
        .routes(reads(routes!(sessions::report)))
        .routes(reads(routes!(sessions::report_page)))
        .routes(reads(routes!(live::live)))
        .routes(reads(routes!(live::screen)))
        .routes(reads(routes!(live::console)))
        .routes(changes(routes!(vnc::vnc)))
        .routes(reads(routes!(order::last)))
        .routes(reads(routes!(order::graph)))
        .routes(reads(routes!(network::site_network)))
        .routes(reads(routes!(history::overview)))
        .routes(reads(routes!(history::history)))
        .routes(reads(routes!(history::prediction)))
        .routes(reads(routes!(schedules::list)))
        .routes(reads(routes!(schedules::of_site)))
        .routes(changes(routes!(schedules::add)))
        .routes(changes(routes!(schedules::change)))
        .routes(destroys(routes!(schedules::remove)))
        .routes(reads(routes!(schedules::runs)))
        .routes(reads(routes!(imports::folders)))
        .routes(reads(routes!(imports::files)))
        .routes(reads(routes!(imports::list)))
        .routes(changes(routes!(imports::begin_upload)))
        .routes(changes(limited(routes!(imports::piece), imports::limit())))
        .routes(destroys(routes!(imports::remove)))
        .routes(changes(routes!(imports::draft)))
        .routes(changes(routes!(imports::add_text)));
    OpenApiRouter::with_openapi(Document::openapi()).nest("/api/v1", routes)
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
        let status = if self.0.is::<Missing>() {
            StatusCode::NOT_FOUND
        } else if self.0.is::<NotNow>() {
            StatusCode::CONFLICT
        } else if wrong_use {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        };
        let error = ApiError {
            chain: chain(&self.0),
            wrong_use,
        };
        (status, Json(error)).into_response()
    }
}

type Answer<T> = Result<Json<T>, Failure>;
