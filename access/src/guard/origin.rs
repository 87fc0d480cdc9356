//! Which page a request comes from. Browsers say so on every change and every WebSocket, and no
//! page can make them lie. Another service on the same host is another origin, too: cookies and
//! `SameSite` do not tell ports apart, this does.

use axum::extract::Request;
use axum::http::{HeaderMap, header};

use super::{host, record};
use crate::error::{AccessError, Reason, refused};
use crate::identity::{Identity, Means};

const FETCH_SITE: &str = "sec-fetch-site";

/// Refuses what a page of somebody else asks for.
pub(super) fn check(request: &Request) -> Result<(), AccessError> {
    let headers = request.headers();
    let is_foreign_site =
        text(headers, FETCH_SITE).is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let is_foreign_origin = headers
        .get_all(header::ORIGIN)
        .iter()
        .any(|origin| !is_own(request, origin.to_str().unwrap_or("")));
    if is_foreign_site || is_foreign_origin {
        return Err(refused(
            Reason::Origin,
            "requests of other pages are refused",
        ));
    }
    if record::is_upgrade(request) && !headers.contains_key(header::ORIGIN) && uses_cookie(headers)
    {
        return Err(says_nothing());
    }
    Ok(())
}

/// A change by cookie has to say where it comes from: the cookie alone is sent by any page.
pub(super) fn check_change(request: &Request, identity: &Identity) -> Result<(), AccessError> {
    let headers = request.headers();
    let by_cookie = matches!(identity.means(), Means::Session { .. });
    let is_told =
        headers.contains_key(header::ORIGIN) || text(headers, FETCH_SITE) == Some("same-origin");
    match by_cookie && !is_told {
        true => Err(says_nothing()),
        false => Ok(()),
    }
}

fn says_nothing() -> AccessError {
    refused(
        Reason::Origin,
        "a change with a session's cookie must say its `Origin`; programs use a token instead",
    )
}

fn uses_cookie(headers: &HeaderMap) -> bool {
    !headers.contains_key(header::AUTHORIZATION)
}

fn is_own(request: &Request, origin: &str) -> bool {
    let own = host::authority(request);
    own.is_some_and(|own| origin.eq_ignore_ascii_case(&format!("https://{own}")))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
