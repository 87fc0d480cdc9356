//! What administrators do with users and their sessions.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Answer, Given, SessionView, own};
use crate::access::Access;
use crate::error::{AccessError, Reason, Refusal, refused};
use crate::guard::Record;
use crate::identity::Identity;
use crate::role::Role;
use crate::store::users::{User, UserChange};

/// Asks for a user.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AskUser {
    /// The name.
    pub name: String,
    /// What they may.
    pub role: Role,
    /// 12 to 256 characters.
    pub password: String,
}

/// What of a user changes; what is left out stays. Their sessions end.
#[derive(Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeUser {
    /// What they may.
    pub role: Option<Role>,
    /// Another password.
    pub password: Option<String>,
    /// Whether they may not log in.
    pub disabled: Option<bool>,
    /// `false` takes the second factor away.
    pub totp: Option<bool>,
}

/// A user as shown.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct UserView {
    /// The name.
    pub name: String,
    /// What they may.
    pub role: Role,
    /// A second factor is set up.
    pub totp: bool,
    /// They may not log in.
    pub disabled: bool,
    /// Until when they cannot log in from where it failed too often.
    pub locked_until: Option<i64>,
    /// Since when.
    pub made: i64,
    /// When they logged in last.
    pub last_login: Option<i64>,
}

/// All users.
#[utoipa::path(get, path = "/users", tag = "access", responses((status = 200, body = Vec<UserView>)))]
pub(super) async fn list_users(State(access): State<Access>) -> Answer<Vec<UserView>> {
    let mut views = Vec::new();
    for user in access.store().users().await? {
        views.push(view(&access, user).await?);
    }
    Ok(Json(views))
}

/// Makes a user.
#[utoipa::path(post, path = "/users", tag = "access", request_body = AskUser, responses(
    (status = 200, body = UserView), (status = 400, body = Refusal), (status = 409, body = Refusal)))]
pub(super) async fn make_user(
    State(access): State<Access>,
    record: Record,
    Given(asked): Given<AskUser>,
) -> Answer<UserView> {
    let AskUser {
        name,
        role,
        password,
    } = asked;
    crate::enter::check_name(&name)?;
    record
        .detail(format!("user {name}, {}", role.word()))
        .await?;
    access.make_user(&name, role, &password).await?;
    shown(&access, &name).await
}

/// Changes a user; their sessions end.
#[utoipa::path(post, path = "/users/{name}", tag = "access", params(("name" = String, Path)),
    request_body = ChangeUser, responses((status = 200, body = UserView), (status = 400, body = Refusal),
    (status = 404, body = Refusal), (status = 409, description = "the last administrator", body = Refusal)))]
pub(super) async fn change_user(
    State(access): State<Access>,
    Path(name): Path<String>,
    record: Record,
    Given(asked): Given<ChangeUser>,
) -> Answer<UserView> {
    existing(&access, &name).await?;
    if asked.totp == Some(true) {
        let text = "only the user can set a second factor up";
        return Err(refused(Reason::Invalid, text));
    }
    record.detail(told(&asked)).await?;
    let password = match &asked.password {
        Some(password) => Some(access.passwords().hash(&name, password).await?),
        None => None,
    };
    let change = UserChange {
        role: asked.role,
        password,
        disabled: asked.disabled,
        without_totp: asked.totp == Some(false),
    };
    access.store().change_user(&name, &change).await?;
    access.changed();
    shown(&access, &name).await
}

fn told(asked: &ChangeUser) -> String {
    let mut words = Vec::new();
    words.extend(asked.role.map(|role| format!("role {}", role.word())));
    words.extend(
        asked
            .password
            .as_ref()
            .map(|_| "another password".to_owned()),
    );
    words.extend(
        asked
            .disabled
            .map(|disabled| format!("disabled {disabled}")),
    );
    words.extend(asked.totp.map(|_| "no second factor".to_owned()));
    words.join(", ")
}

/// Removes a user with sessions and tokens. Says whether there was one.
#[utoipa::path(delete, path = "/users/{name}", tag = "access", params(("name" = String, Path)), responses(
    (status = 200, body = bool), (status = 409, description = "the last administrator", body = Refusal)))]
pub(super) async fn remove_user(
    State(access): State<Access>,
    Path(name): Path<String>,
) -> Answer<bool> {
    let removed = access.store().remove_user(&name).await?;
    access.changed();
    Ok(Json(removed))
}

/// Ends every lock of a user.
#[utoipa::path(post, path = "/users/{name}/unlock", tag = "access", params(("name" = String, Path)), responses(
    (status = 200, body = UserView), (status = 404, body = Refusal)))]
pub(super) async fn unlock_user(
    State(access): State<Access>,
    Path(name): Path<String>,
) -> Answer<UserView> {
    existing(&access, &name).await?;
    access.store().unlock(&name).await?;
    shown(&access, &name).await
}

/// Everybody's sessions.
#[utoipa::path(get, path = "/sessions", tag = "access", responses((status = 200, body = Vec<SessionView>)))]
pub(super) async fn list_all_sessions(
    State(access): State<Access>,
    identity: Identity,
) -> Answer<Vec<SessionView>> {
    let sessions = access.store().sessions(None).await?;
    Ok(Json(own::views(&access, &identity, &sessions)))
}

/// Ends anybody's session. Says whether there was one.
#[utoipa::path(delete, path = "/sessions/{id}", tag = "access", params(("id" = String, Path)), responses(
    (status = 200, body = bool)))]
pub(super) async fn end_session(
    State(access): State<Access>,
    Path(id): Path<String>,
) -> Answer<bool> {
    let ended = access.store().end_session_by_id(&id, None).await?;
    access.changed();
    Ok(Json(ended))
}

async fn existing(access: &Access, name: &str) -> Result<User, AccessError> {
    let user = access.store().user(name).await?;
    user.ok_or_else(|| refused(Reason::NotFound, "no user has this name"))
}

async fn shown(access: &Access, name: &str) -> Answer<UserView> {
    let user = existing(access, name).await?;
    Ok(Json(view(access, user).await?))
}

async fn view(access: &Access, user: User) -> Result<UserView, AccessError> {
    let locked_until = access
        .store()
        .locked_until(&user.name, access.now())
        .await?;
    Ok(UserView {
        name: user.name,
        role: user.role,
        totp: user.totp.is_some(),
        disabled: user.disabled,
        locked_until,
        made: user.made,
        last_login: user.last_login,
    })
}
