//! What can be asked about access over HTTP. The daemon nests this under `/api/v1/access`.

mod audit;
mod entering;
mod own;
#[cfg(test)]
mod tests;
mod tokens;
mod users;

use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use audit::{AuditView, Noted, Page};
pub use entering::{Code, Entered, FirstUser, Link, LogIn, Start};
pub use own::{ChangePassword, Confirm, SessionView, TotpOffer};
pub use tokens::{AskToken, MadeToken, TokenView};
pub use users::{AskUser, ChangeUser, UserView};

use crate::access::Access;
use crate::error::{AccessError, Reason, refused};
use crate::guard::{Caller, Record};
use crate::identity::Identity;
use crate::role::Role;

/// The routes, to be nested under [`crate::PREFIX`] behind [`crate::guard`].
pub fn router(access: Access) -> OpenApiRouter {
    documented().with_state(access)
}

/// What an OpenAPI client reads, its paths without the prefix.
pub fn document() -> utoipa::openapi::OpenApi {
    documented().into_openapi()
}

fn documented() -> OpenApiRouter<Access> {
    OpenApiRouter::new()
        .routes(routes!(entering::start))
        .routes(routes!(entering::make_first_user))
        .routes(routes!(entering::log_in))
        .routes(routes!(entering::give_code))
        .routes(routes!(entering::log_out))
        .routes(routes!(own::me))
        .routes(routes!(own::confirm))
        .routes(routes!(own::change_password))
        .routes(routes!(own::offer_totp, own::drop_totp))
        .routes(routes!(own::take_up_totp))
        .routes(routes!(own::own_sessions))
        .routes(routes!(own::end_own_session))
        .routes(routes!(tokens::list_tokens, tokens::make_token))
        .routes(routes!(tokens::remove_token))
        .routes(routes!(tokens::list_scopes))
        .routes(routes!(users::list_users, users::make_user))
        .routes(routes!(users::change_user, users::remove_user))
        .routes(routes!(users::unlock_user))
        .routes(routes!(users::list_all_sessions))
        .routes(routes!(users::end_session))
        .routes(routes!(audit::list_audit))
        .routes(routes!(audit::verify_audit))
}

/// What only root's socket offers: the guard lists none of it.
pub fn socket_router(access: Access) -> axum::Router {
    axum::Router::new()
        .route("/first-user/link", axum::routing::post(entering::make_link))
        .with_state(access)
}

type Answer<T> = Result<axum::Json<T>, AccessError>;

/// Who is logged in.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// The user's name; of a token, its owner's and its own.
    pub name: String,
    /// What they may.
    pub role: Role,
    /// By what they are known.
    pub kind: MeKind,
    /// A second factor is set up.
    pub totp: bool,
    /// Until when what needs the password again may be done.
    pub confirmed_until: Option<i64>,
    /// When the session ends unless it is used.
    pub idle_until: Option<i64>,
    /// When it ends however it is used.
    pub ends: Option<i64>,
    /// What a token was made for.
    pub scopes: Vec<String>,
}

/// By what somebody is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MeKind {
    /// A browser's session.
    Session,
    /// A program's token.
    Token,
    /// The socket of the machine's root.
    Root,
}

/// A body of a request; what is wrong with it is told as everything else is.
struct Given<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Given<T> {
    type Rejection = AccessError;

    async fn from_request(request: Request, state: &S) -> Result<Self, AccessError> {
        let body = axum::Json::<T>::from_request(request, state).await;
        body.map(|axum::Json(body)| Self(body)).map_err(wrong_body)
    }
}

fn wrong_body(rejection: JsonRejection) -> AccessError {
    let reason = match rejection.status().as_u16() {
        413 => Reason::TooLarge,
        415 => Reason::Media,
        _ => Reason::Invalid,
    };
    refused(reason, rejection.body_text())
}

/// Puts something that the guard left in the request into a route's hands.
macro_rules! from_guard {
    ($what:ty) => {
        impl<S: Sync> FromRequestParts<S> for $what {
            type Rejection = AccessError;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AccessError> {
                let found = parts.extensions.get::<Self>().cloned();
                found.ok_or_else(|| refused(Reason::LogIn, "log in"))
            }
        }
    };
}

from_guard!(Identity);
from_guard!(Caller);
from_guard!(Record);
