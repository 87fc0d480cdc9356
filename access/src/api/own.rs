//! What everybody may do with what is theirs.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Answer, Code, Given, Me, MeKind};
use crate::access::Access;
use crate::error::{AccessError, Reason, Refusal, refused};
use crate::guard::Caller;
use crate::identity::{Identity, Means};
use crate::second_factor;
use crate::secret::Hash;
use crate::store::sessions::Session;
use crate::store::users::User;

/// The password again.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// The password.
    pub password: String,
    /// The code, of users with a second factor.
    pub code: Option<String>,
}

/// Another password.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    /// The one that counted until now.
    pub current: String,
    /// 12 to 256 characters.
    pub new: String,
}

/// A second factor that is not proven yet.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct TotpOffer {
    /// The secret, to be typed.
    pub secret: String,
    /// The same for an authenticator: `otpauth://...`.
    pub uri: String,
    /// The same as a picture: an SVG document.
    pub qr: String,
}

/// A browser that is logged in.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SessionView {
    /// Its id, which opens nothing.
    pub id: String,
    /// Whose.
    pub user: String,
    /// Since when.
    pub begun: i64,
    /// When it was used last.
    pub seen: i64,
    /// When it ends unless it is used.
    pub idle_until: i64,
    /// When it ends however it is used.
    pub ends: i64,
    /// From where the log-in came.
    pub address: String,
    /// What the browser calls itself. Anybody's word.
    pub agent: String,
    /// The one that asks.
    pub this: bool,
}

/// Who is logged in, and for how long.
#[utoipa::path(get, path = "/me", tag = "access", responses((status = 200, body = Me), (status = 401, body = Refusal)))]
pub(super) async fn me(State(access): State<Access>, identity: Identity) -> Answer<Me> {
    Ok(Json(view_of(&access, &identity).await?))
}

/// Gives the password again; for five minutes, what needs that may be done.
#[utoipa::path(post, path = "/confirm", tag = "access", request_body = Confirm, responses(
    (status = 200, body = Me), (status = 401, body = Refusal), (status = 429, body = Refusal)))]
pub(super) async fn confirm(
    State(access): State<Access>,
    caller: Caller,
    identity: Identity,
    Given(given): Given<Confirm>,
) -> Answer<Me> {
    let (hash, name) = session_of(&identity)?;
    let words = (given.password.as_str(), given.code.as_deref());
    access.confirm(&caller, name, words).await?;
    let until = access.now() + access.settings().confirmed_ms();
    access.store().confirm_session(hash, until).await?;
    Ok(Json(view_of(&access, &identity).await?))
}

/// Changes the password; the user's other sessions end.
#[utoipa::path(post, path = "/me/password", tag = "access", request_body = ChangePassword, responses(
    (status = 200, body = Me), (status = 400, body = Refusal), (status = 401, body = Refusal)))]
pub(super) async fn change_password(
    State(access): State<Access>,
    caller: Caller,
    identity: Identity,
    Given(change): Given<ChangePassword>,
) -> Answer<Me> {
    let (hash, name) = session_of(&identity)?;
    let user = existing(&access, name).await?;
    access
        .check_password(&caller, &user, &change.current)
        .await?;
    let password = access.passwords().hash(name, &change.new).await?;
    access.store().set_password(name, &password).await?;
    access.store().end_other_sessions(name, hash).await?;
    access.changed();
    Ok(Json(view_of(&access, &identity).await?))
}

/// Offers a second factor. It counts when a code of it was given.
#[utoipa::path(post, path = "/me/totp", tag = "access", responses(
    (status = 200, body = TotpOffer), (status = 403, body = Refusal)))]
pub(super) async fn offer_totp(
    State(access): State<Access>,
    identity: Identity,
) -> Answer<TotpOffer> {
    let (_, name) = session_of(&identity)?;
    let secret = second_factor::secret()?;
    access.store().offer_totp(name, &secret).await?;
    Ok(Json(second_factor::offer(name, &secret)?))
}

/// Takes the offered second factor up by a code of it.
#[utoipa::path(post, path = "/me/totp/activate", tag = "access", request_body = Code, responses(
    (status = 200, body = Me), (status = 401, description = "the code is wrong", body = Refusal),
    (status = 409, description = "nothing was offered", body = Refusal)))]
pub(super) async fn take_up_totp(
    State(access): State<Access>,
    identity: Identity,
    Given(given): Given<Code>,
) -> Answer<Me> {
    let (_, name) = session_of(&identity)?;
    let offered = existing(&access, name).await?.totp_offer;
    let nothing = || {
        refused(
            Reason::Conflict,
            "no second factor was offered: ask for one first",
        )
    };
    let secret = offered.ok_or_else(nothing)?;
    let step = second_factor::step(name, &secret, &given.code, access.now())?;
    access.store().take_up_totp(name, step).await?;
    Ok(Json(view_of(&access, &identity).await?))
}

/// Takes the own second factor away.
#[utoipa::path(delete, path = "/me/totp", tag = "access", responses(
    (status = 200, body = Me), (status = 403, body = Refusal)))]
pub(super) async fn drop_totp(State(access): State<Access>, identity: Identity) -> Answer<Me> {
    let (_, name) = session_of(&identity)?;
    access.store().remove_totp(name).await?;
    Ok(Json(view_of(&access, &identity).await?))
}

/// The own sessions.
#[utoipa::path(get, path = "/me/sessions", tag = "access", responses((status = 200, body = Vec<SessionView>)))]
pub(super) async fn own_sessions(
    State(access): State<Access>,
    identity: Identity,
) -> Answer<Vec<SessionView>> {
    let sessions = match identity.user() {
        Some(user) => access.store().sessions(Some(user)).await?,
        None => Vec::new(),
    };
    Ok(Json(views(&access, &identity, &sessions)))
}

/// Ends one of the own sessions. Says whether there was one.
#[utoipa::path(delete, path = "/me/sessions/{id}", tag = "access", params(("id" = String, Path)), responses(
    (status = 200, body = bool)))]
pub(super) async fn end_own_session(
    State(access): State<Access>,
    identity: Identity,
    Path(id): Path<String>,
) -> Answer<bool> {
    let Some(user) = identity.user() else {
        return Ok(Json(false));
    };
    let ended = access.store().end_session_by_id(&id, Some(user)).await?;
    access.changed();
    Ok(Json(ended))
}

/// Sessions that count, as they are shown.
pub(super) fn views(
    access: &Access,
    identity: &Identity,
    sessions: &[Session],
) -> Vec<SessionView> {
    let own = match identity.means() {
        Means::Session { hash, .. } => Some(hash),
        _ => None,
    };
    let alive = sessions.iter().filter(|session| access.is_alive(session));
    let view = |session: &Session| SessionView {
        id: session.id.clone(),
        user: session.user.clone(),
        begun: session.begun,
        seen: session.seen,
        idle_until: session.seen + access.settings().idle_ms(),
        ends: session.begun + access.settings().absolute_ms(),
        address: session.address.clone(),
        agent: session.agent.clone(),
        this: own == Some(&session.hash),
    };
    alive.map(view).collect()
}

pub(super) fn of_session(access: &Access, session: &Session) -> Me {
    let settings = access.settings();
    let is_confirmed = access.now() < session.confirmed_until;
    Me {
        name: session.user.clone(),
        role: session.role,
        kind: MeKind::Session,
        totp: session.totp,
        confirmed_until: is_confirmed.then_some(session.confirmed_until),
        idle_until: Some(session.seen + settings.idle_ms()),
        ends: Some(session.begun + settings.absolute_ms()),
        scopes: Vec::new(),
    }
}

async fn view_of(access: &Access, identity: &Identity) -> Result<Me, AccessError> {
    let (kind, ends, scopes) = match identity.means() {
        Means::Session { hash, .. } => {
            let session = access.session(hash).await?;
            let session = session.ok_or_else(|| refused(Reason::LogIn, "log in"))?;
            return Ok(of_session(access, &session));
        }
        Means::Token { id, scopes, .. } => {
            let expires = access.token(id).await?.and_then(|token| token.expires);
            (MeKind::Token, expires, scopes.clone())
        }
        Means::Root => (MeKind::Root, None, Vec::new()),
    };
    Ok(Me {
        name: identity.name().to_owned(),
        role: identity.role(),
        kind,
        totp: false,
        confirmed_until: None,
        idle_until: None,
        ends,
        scopes,
    })
}

/// The session of a person: a program has no password.
fn session_of(identity: &Identity) -> Result<(&Hash, &str), AccessError> {
    match identity.means() {
        Means::Session { hash, user, .. } => Ok((hash, user)),
        _ => Err(refused(
            Reason::Conflict,
            "only a user who is logged in with a browser does this; root uses `lifeboat access user`",
        )),
    }
}

async fn existing(access: &Access, name: &str) -> Result<User, AccessError> {
    let user = access.store().user(name).await?;
    user.ok_or_else(|| refused(Reason::LogIn, "log in: this user is gone"))
}
