//! Who may do what: roles, what a route needs, and the list of routes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What somebody is trusted with; each role may do what those before it may.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Tests, switches, recovers.
    Operator,
    /// Decides who may.
    Administrator,
}

impl Role {
    /// Its name, as stored and shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Administrator => "administrator",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [Self::Viewer, Self::Operator, Self::Administrator]
            .into_iter()
            .find(|role| role.word() == word)
    }
}

/// What a token may be made for. A route without a scope takes any token.
pub const SCOPES: [&str; 4] = ["status", "recovery", "failover", "access"];

/// What a route asks of whoever uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// At least this role.
    pub role: Role,
    /// The password was given again within the last minutes, or the token is for destructive work.
    pub confirmed: bool,
    /// A token must have been made for this; one of [`SCOPES`], or empty: any token.
    pub scope: &'static str,
}

/// A route and what it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// GET (also for HEAD), POST, PUT, PATCH or DELETE.
    pub method: &'static str,
    /// As axum matches it, with its whole prefix.
    pub path: &'static str,
    /// `None`: open to all.
    pub need: Option<Need>,
}

impl Rule {
    /// A route that is open to all.
    pub const fn open(method: &'static str, path: &'static str) -> Self {
        Self {
            method,
            path,
            need: None,
        }
    }

    /// A route for a role and all above it.
    pub const fn of(
        role: Role,
        scope: &'static str,
        method: &'static str,
        path: &'static str,
    ) -> Self {
        Self {
            method,
            path,
            need: Some(Need {
                role,
                confirmed: false,
                scope,
            }),
        }
    }

    /// The same, for what cannot be undone: the password is asked for again.
    pub const fn confirmed(
        role: Role,
        scope: &'static str,
        method: &'static str,
        path: &'static str,
    ) -> Self {
        Self {
            method,
            path,
            need: Some(Need {
                role,
                confirmed: true,
                scope,
            }),
        }
    }
}

/// Where these routes lie.
pub const PREFIX: &str = "/api/v1/access";

use Role::{Administrator, Viewer};

/// The routes of [`crate::router`], nested under [`PREFIX`].
pub const RULES: &[Rule] = &[
    Rule::open("GET", "/api/v1/access/start"),
    Rule::open("POST", "/api/v1/access/first-user"),
    Rule::open("POST", "/api/v1/access/login"),
    Rule::open("POST", "/api/v1/access/totp"),
    Rule::open("POST", "/api/v1/access/logout"),
    Rule::of(Viewer, "", "GET", "/api/v1/access/me"),
    Rule::of(Viewer, "access", "POST", "/api/v1/access/confirm"),
    Rule::of(Viewer, "access", "POST", "/api/v1/access/me/password"),
    Rule::confirmed(Viewer, "access", "POST", "/api/v1/access/me/totp"),
    Rule::confirmed(Viewer, "access", "DELETE", "/api/v1/access/me/totp"),
    Rule::confirmed(Viewer, "access", "POST", "/api/v1/access/me/totp/activate"),
    Rule::of(Viewer, "access", "GET", "/api/v1/access/me/sessions"),
    Rule::of(
        Viewer,
        "access",
        "DELETE",
        "/api/v1/access/me/sessions/{id}",
    ),
    Rule::of(Viewer, "access", "GET", "/api/v1/access/tokens"),
    Rule::confirmed(Viewer, "access", "POST", "/api/v1/access/tokens"),
    Rule::of(Viewer, "access", "DELETE", "/api/v1/access/tokens/{id}"),
    Rule::of(Viewer, "", "GET", "/api/v1/access/scopes"),
    Rule::of(Administrator, "access", "GET", "/api/v1/access/users"),
    Rule::confirmed(Administrator, "access", "POST", "/api/v1/access/users"),
    Rule::confirmed(
        Administrator,
        "access",
        "POST",
        "/api/v1/access/users/{name}",
    ),
    Rule::confirmed(
        Administrator,
        "access",
        "DELETE",
        "/api/v1/access/users/{name}",
    ),
    Rule::of(
        Administrator,
        "access",
        "POST",
        "/api/v1/access/users/{name}/unlock",
    ),
    Rule::of(Administrator, "access", "GET", "/api/v1/access/sessions"),
    Rule::of(
        Administrator,
        "access",
        "DELETE",
        "/api/v1/access/sessions/{id}",
    ),
    Rule::of(Administrator, "access", "GET", "/api/v1/access/audit"),
    Rule::of(
        Administrator,
        "access",
        "GET",
        "/api/v1/access/audit/verify",
    ),
];
