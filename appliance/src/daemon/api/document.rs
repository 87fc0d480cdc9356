//! The document of the whole API, and the pages on which it is browsed.

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use std::sync::{Arc, LazyLock};
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerFile};

use super::effect::{mark_rest, operations};
use super::{ApiError, documented};

const ADDRESS: &str = "/api/v1/openapi.json";
/// The pages write styles by themselves and draw pictures from data; scripts are files.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

static DOCUMENT: LazyLock<OpenApi> = LazyLock::new(joined);

/// What an OpenAPI client reads: recovery, failover and access in one.
pub fn document() -> &'static OpenApi {
    &DOCUMENT
}

/// The same as text, in a fixed order.
pub fn printed() -> serde_json::Result<String> {
    // By way of a value, whose keys are sorted.
    let mut text = serde_json::to_string_pretty(&serde_json::to_value(document())?)?;
    text.push('\n');
    Ok(text)
}

fn joined() -> OpenApi {
    let mut failover = lifeboat_centre::api::document();
    name_operations("failover", &mut failover);
    let mut access = lifeboat_access::document();
    name_operations("access", &mut access);
    let mut document = documented()
        .into_openapi()
        .nest("/api/v1/failover", failover)
        .nest(lifeboat_access::PREFIX, access);
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    mark_rest(&mut document);
    document
}

/// Operations of several parts may have one name: each gets that of its path.
fn name_operations(part: &str, document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        let words = path.split(|letter: char| !letter.is_ascii_alphanumeric());
        let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
        for (method, operation) in operations(item) {
            let name = [&[part, method], &words[..]].concat().join("_");
            operation.operation_id = Some(name);
        }
    }
}

/// The document and its pages.
pub fn router() -> Router {
    Router::new()
        .route(ADDRESS, get(|| async { Json(document()) }))
        .route(
            "/api/docs",
            get(|| async { Redirect::permanent("/api/docs/") }),
        )
        .route("/api/docs/", get(|| async { page("") }))
        .route(
            "/api/docs/{*file}",
            get(|Path(file): Path<String>| async move { page(&file) }),
        )
}

fn page(file: &str) -> Response {
    static CONFIG: LazyLock<Arc<Config<'static>>> =
        LazyLock::new(|| Arc::new(Config::from(ADDRESS)));
    match utoipa_swagger_ui::serve(file, CONFIG.clone()) {
        Ok(Some(SwaggerFile {
            bytes,
            content_type,
            ..
        })) => (
            [
                (header::CONTENT_TYPE, content_type.as_str()),
                (header::CONTENT_SECURITY_POLICY, POLICY),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ],
            bytes.into_owned(),
        )
            .into_response(),
        Ok(None) => missing(file),
        Err(error) => {
            tracing::error!(%error, "a page of the API's document cannot be shown");
            missing(file)
        }
    }
}

fn missing(file: &str) -> Response {
    let error = ApiError {
        chain: vec![format!("no page of the API's document is called `{file}`")],
        wrong_use: true,
    };
    (axum::http::StatusCode::NOT_FOUND, Json(error)).into_response()
}
