//! The console's own files, which are part of this program.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rust_embed::{Embed, EmbeddedFile};

/// Everything comes from the appliance; nothing is inline.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; manifest-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const INDEX: &str = "index.html";
const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Lifeboat</title>\
    <h1>The console is not part of this program</h1>\
    <p>It was built without it. <code>./setup</code> builds both; the command line and the API at \
    <a href=\"/api/docs/\">/api/docs/</a> need no console.</p></html>";

#[derive(Embed)]
#[folder = "../console/dist"]
#[allow_missing = true]
struct Console;

/// The routes of the page.
pub fn router() -> Router {
    Router::new()
        .route("/", get(|| async { answer("") }))
        .route(
            "/{*file}",
            get(|Path(file): Path<String>| async move { answer(&file) }),
        )
}

/// A file, or the page for every address that is one of its own.
fn answer(file: &str) -> Response {
    let is_own = !file.starts_with("api/") && !file.starts_with("assets/");
    match Console::get(file) {
        Some(found) => sent(file, found),
        None if is_own => index(),
        None => (
            StatusCode::NOT_FOUND,
            [(header::CONTENT_TYPE, "text/plain")],
            "not found\n",
        )
            .into_response(),
    }
}

fn index() -> Response {
    match Console::get(INDEX) {
        Some(found) => sent(INDEX, found),
        None => with_headers(
            "text/html; charset=utf-8",
            "no-cache",
            NOT_BUILT.into_response(),
        ),
    }
}

fn sent(file: &str, found: EmbeddedFile) -> Response {
    let keeps = match file.starts_with("assets/") {
        // Their names hold the hash of what they are.
        true => "public, max-age=31536000, immutable",
        false => "no-cache",
    };
    with_headers(
        content_type(file),
        keeps,
        found.data.into_owned().into_response(),
    )
}

fn with_headers(kind: &'static str, keeps: &'static str, mut response: Response) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, keeps),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in headers {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// By the end of the name, from a fixed list.
fn content_type(file: &str) -> &'static str {
    match file.rsplit_once('.').map(|(_, end)| end) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_the_page_is_answered_with_it_and_no_other() {
        for (file, expected) in [
            ("", StatusCode::OK),
            ("failover/mail/health", StatusCode::OK),
            ("api/v1/nothing", StatusCode::NOT_FOUND),
            ("assets/nothing.js", StatusCode::NOT_FOUND),
        ] {
            assert_eq!(answer(file).status(), expected, "{file}");
        }
        let page = answer("sites");
        let header = |name| page.headers().get(name).unwrap().to_str().unwrap();
        assert_eq!(header(header::CONTENT_SECURITY_POLICY), POLICY);
        assert_eq!(header(header::X_CONTENT_TYPE_OPTIONS), "nosniff");
        assert_eq!(header(header::CACHE_CONTROL), "no-cache");
        assert!(header(header::CONTENT_TYPE).starts_with("text/html"));
    }

    #[test]
    fn no_file_outside_is_reached() {
        for file in [
            "../Cargo.toml",
            "..%2fCargo.toml",
            "/etc/passwd",
            "assets/../../Cargo.toml",
        ] {
            assert!(Console::get(file).is_none(), "{file}");
        }
    }
}
