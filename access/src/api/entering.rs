//! Log-in and log-out.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{AppendHeaders, IntoResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Answer, Given, Me, own};
use crate::access::Access;
use crate::enter::{Made, check_name};
use crate::error::{AccessError, Reason, Refusal, refused};
use crate::guard::{COOKIE, Caller, session_cookie};
use crate::secret::hash;
use crate::trail::Entry;

/// What a page asks before anybody is logged in.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Start {
    /// Nobody can log in yet: the one-time link that the daemon printed makes the first user.
    pub first_user: bool,
}

/// Makes the first administrator.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FirstUser {
    /// What follows the `#` of the one-time link.
    pub secret: String,
    /// The name.
    pub name: String,
    /// 12 to 256 characters.
    pub password: String,
}

/// A log-in.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogIn {
    /// The name.
    pub name: String,
    /// The password.
    pub password: String,
}

/// A code of the second factor.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// Six digits.
    pub code: String,
}

/// What a log-in has come to.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Entered {
    /// Logged in.
    In {
        /// As whom.
        me: Me,
    },
    /// The code of the second factor is still to come.
    Code,
}

/// A one-time link.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct Link {
    /// The whole of it.
    pub url: String,
}

/// Whether anybody can log in yet.
#[utoipa::path(get, path = "/start", tag = "access", responses((status = 200, body = Start)))]
pub(super) async fn start(State(access): State<Access>) -> Answer<Start> {
    let first_user = !access.has_users().await?;
    Ok(Json(Start { first_user }))
}

/// Makes the first administrator by the one-time link, and logs them in.
#[utoipa::path(post, path = "/first-user", tag = "access", request_body = FirstUser, responses(
    (status = 200, body = Entered), (status = 400, body = Refusal),
    (status = 401, description = "the link is used up, too old or wrong", body = Refusal)))]
pub(super) async fn make_first_user(
    State(access): State<Access>,
    caller: Caller,
    headers: HeaderMap,
    Given(first): Given<FirstUser>,
) -> Result<impl IntoResponse, AccessError> {
    let link = hash(&first.secret);
    let used_up = || {
        refused(
            Reason::Wrong,
            "this link is used up or too old: `lifeboat access first-user` on the machine makes another",
        )
    };
    // Before the password is hashed: only who holds the link makes work.
    if !access.store().is_link(&link, access.now()).await? {
        return Err(used_up());
    }
    check_name(&first.name)?;
    let passwords = access.passwords();
    let password = passwords.hash(&first.name, &first.password).await?;
    access
        .tell(Entry::event(&first.name, &caller.address, "first user", ""))
        .await?;
    let (store, now) = (access.store(), access.now());
    if !store
        .add_first_user(&link, &first.name, &password, now)
        .await?
    {
        return Err(used_up());
    }
    let user = store.user(&first.name).await?.ok_or_else(used_up)?;
    let made = access
        .enter(&caller, session_cookie(&headers), &user)
        .await?;
    answer(&access, made)
}

/// The first step of a log-in; the only one for users without a second factor.
#[utoipa::path(post, path = "/login", tag = "access", request_body = LogIn, responses(
    (status = 200, body = Entered), (status = 401, body = Refusal),
    (status = 429, description = "too many failures: `Retry-After`", body = Refusal)))]
pub(super) async fn log_in(
    State(access): State<Access>,
    caller: Caller,
    headers: HeaderMap,
    Given(given): Given<LogIn>,
) -> Result<impl IntoResponse, AccessError> {
    let earlier = session_cookie(&headers);
    let words = (given.name.as_str(), given.password.as_str());
    let made = access.log_in(&caller, earlier, words).await?;
    answer(&access, made)
}

/// The second step of a log-in, within five minutes of the first.
#[utoipa::path(post, path = "/totp", tag = "access", request_body = Code, responses(
    (status = 200, body = Entered), (status = 401, body = Refusal), (status = 429, body = Refusal)))]
pub(super) async fn give_code(
    State(access): State<Access>,
    caller: Caller,
    headers: HeaderMap,
    Given(given): Given<Code>,
) -> Result<impl IntoResponse, AccessError> {
    let too_late = || {
        refused(
            Reason::LogIn,
            "log in: the first step is missing or too long ago",
        )
    };
    let hash = session_cookie(&headers).ok_or_else(too_late)?;
    let half = access.half_session(&hash).await?.ok_or_else(too_late)?;
    let made = access.give_code(&caller, &half, &given.code).await?;
    answer(&access, made)
}

/// Ends the session of this browser, if there is one.
#[utoipa::path(post, path = "/logout", tag = "access", responses((status = 200)))]
pub(super) async fn log_out(
    State(access): State<Access>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<impl IntoResponse, AccessError> {
    if let Some(hash) = session_cookie(&headers) {
        if let Some(session) = access.session(&hash).await? {
            access
                .tell(Entry::event(&session.user, &caller.address, "log-out", ""))
                .await?;
        }
        access.store().end_session(&hash).await?;
        access.changed();
    }
    let gone = format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0");
    Ok((AppendHeaders([(header::SET_COOKIE, gone)]), Json(())))
}

/// Makes a new one-time link; an earlier one is worth nothing from then on.
pub(super) async fn make_link(State(access): State<Access>) -> Answer<Link> {
    let url = access.first_user_link().await?;
    Ok(Json(Link { url }))
}

/// The answer to a step, with the new session's cookie.
fn answer(access: &Access, made: Made) -> Result<impl IntoResponse + use<>, AccessError> {
    let cookie = format!(
        "{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Strict",
        made.secret.0
    );
    let mut cookie = HeaderValue::try_from(cookie).map_err(|_| AccessError::Value("session"))?;
    cookie.set_sensitive(true);
    let entered = match made.session.complete {
        true => Entered::In {
            me: own::of_session(access, &made.session),
        },
        false => Entered::Code,
    };
    Ok((AppendHeaders([(header::SET_COOKIE, cookie)]), Json(entered)))
}
