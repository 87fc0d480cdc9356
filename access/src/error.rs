//! What is refused and what fails, and how the API tells it.

use std::path::PathBuf;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The database cannot be opened or brought up to date.
    #[error("failed to open the access database `{}`", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A statement failed.
    #[error("failed to {what} in the access database")]
    Statement {
        /// What was attempted.
        what: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// A stored value is not what this version writes.
    #[error("failed to read a stored {0}: it was written by another version, or damaged")]
    Value(&'static str),
    /// A file of the audit trail cannot be read or written.
    #[error("failed to {what} `{}`", .path.display())]
    File {
        /// What was attempted.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The kernel gave no random bytes.
    #[error("failed to get random bytes from the kernel")]
    Random,
    /// A password could not be hashed.
    #[error("failed to hash a password: {0}")]
    Hash(String),
    /// The daemon ended in the middle.
    #[error("failed to {0}: the daemon is ending")]
    Interrupted(&'static str),
    /// Nothing went wrong: it is not allowed.
    #[error("{}", .0.text)]
    Refused(Refused),
}

/// A request that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// For people.
    pub text: String,
    /// After how many seconds to try again.
    pub retry_after: Option<u64>,
}

/// Why a request was not carried out, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Nobody is logged in.
    LogIn,
    /// The second factor is still to come.
    Code,
    /// Name, password or code is wrong; which of them is not told.
    Wrong,
    /// The password has to be given again.
    Confirm,
    /// Another role is needed.
    Role,
    /// The token was not made for this.
    Scope,
    /// The request comes from a page of somebody else.
    Origin,
    /// Too many failures.
    Locked,
    /// Too many log-ins at once.
    Busy,
    /// The daemon is not called that.
    Host,
    /// A value is wrong.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// There is no such method here.
    NotAllowed,
    /// The body is too large.
    TooLarge,
    /// The body is of another kind.
    Media,
    /// Not as things stand.
    Conflict,
    /// The daemon failed.
    Internal,
}

impl Reason {
    fn status(self) -> StatusCode {
        match self {
            Self::LogIn | Self::Code | Self::Wrong => StatusCode::UNAUTHORIZED,
            Self::Confirm | Self::Role | Self::Scope | Self::Origin => StatusCode::FORBIDDEN,
            Self::Locked | Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::NotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Media => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Conflict => StatusCode::CONFLICT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A request that was not carried out, as the API shows it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// The chain of causes, outermost first.
    pub chain: Vec<String>,
    /// The asker's mistake.
    pub wrong_use: bool,
    /// Why, for programs.
    pub reason: Reason,
}

/// A refusal without a time to wait.
pub(crate) fn refused(reason: Reason, text: impl Into<String>) -> AccessError {
    AccessError::Refused(Refused {
        reason,
        text: text.into(),
        retry_after: None,
    })
}

pub(crate) fn statement(what: &'static str) -> impl FnOnce(sqlx::Error) -> AccessError {
    move |source| AccessError::Statement { what, source }
}

impl AccessError {
    /// Why, for programs.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Refused(refused) => refused.reason,
            _ => Reason::Internal,
        }
    }

    fn chain(&self) -> Vec<String> {
        let mut chain = vec![self.to_string()];
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            chain.push(error.to_string());
            cause = error.source();
        }
        chain
    }
}

impl IntoResponse for AccessError {
    fn into_response(self) -> Response {
        let reason = self.reason();
        let chain = self.chain();
        if reason == Reason::Internal {
            tracing::error!(error = chain.join(": "), "a request failed");
        }
        let wrong_use = reason != Reason::Internal;
        let body = Refusal {
            chain,
            wrong_use,
            reason,
        };
        let mut response = (reason.status(), Json(body)).into_response();
        if let Self::Refused(Refused {
            retry_after: Some(seconds),
            ..
        }) = self
        {
            let value = HeaderValue::from(seconds);
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        response
    }
}
