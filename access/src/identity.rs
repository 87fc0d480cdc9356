//! Who asks, as the guard found out.

use std::sync::Arc;
use std::time::Duration;

use crate::access::Access;
use crate::error::{AccessError, Reason, refused};
use crate::role::{Need, Role};
use crate::secret::Hash;

/// How often it is looked whether a session ended by itself.
const LOOK: Duration = Duration::from_secs(15);

/// Who asks. In every request that the guard lets through to a route that is not open to all.
#[derive(Clone)]
pub struct Identity {
    pub(crate) access: Access,
    who: Arc<Who>,
}

struct Who {
    name: String,
    role: Role,
    means: Means,
}

/// By what somebody is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Means {
    /// A browser's cookie.
    Session {
        hash: Hash,
        user: String,
        confirmed: bool,
    },
    /// A program's token.
    Token {
        id: String,
        owner: Option<String>,
        scopes: Vec<String>,
        destructive: bool,
    },
    /// The socket that only root of the machine can open.
    Root,
}

impl Identity {
    pub(crate) fn new(access: Access, name: String, role: Role, means: Means) -> Self {
        let who = Arc::new(Who { name, role, means });
        Self { access, who }
    }

    /// Root of the machine.
    pub(crate) fn root(access: Access) -> Self {
        Self::new(access, "root".to_owned(), Role::Administrator, Means::Root)
    }

    /// A user's name; of a token, its owner's and its own; `root`.
    pub fn name(&self) -> &str {
        &self.who.name
    }

    /// What they may.
    pub fn role(&self) -> Role {
        self.who.role
    }

    pub(crate) fn means(&self) -> &Means {
        &self.who.means
    }

    /// The user behind it; root of the machine has none.
    pub(crate) fn user(&self) -> Option<&str> {
        match &self.who.means {
            Means::Session { user, .. } => Some(user),
            Means::Token { owner, .. } => owner.as_deref(),
            Means::Root => None,
        }
    }

    /// Ready when the session or token counts no more: whatever goes on on its word ends then.
    pub fn lapsed(&self) -> impl Future<Output = ()> + Send + use<> {
        let identity = self.clone();
        async move {
            let mut changes = identity.access.changes();
            while identity.still_counts().await {
                // Either way it is looked again.
                let _ = tokio::time::timeout(LOOK, changes.changed()).await;
            }
        }
    }

    async fn still_counts(&self) -> bool {
        let found = match &self.who.means {
            Means::Session { hash, .. } => self.access.session(hash).await.map(|one| one.is_some()),
            Means::Token { id, .. } => self.access.token(id).await.map(|one| one.is_some()),
            Means::Root => Ok(true),
        };
        // Who cannot be looked up is not known to have been put out.
        found.unwrap_or(true)
    }

    /// Whether they may do what needs this.
    pub(crate) fn satisfies(&self, need: &Need) -> Result<(), AccessError> {
        if self.role() < need.role {
            let text = format!("only {} may do this", with_article(need.role));
            return Err(refused(Reason::Role, text));
        }
        match &self.who.means {
            Means::Token { scopes, .. }
                if !need.scope.is_empty() && !scopes.iter().any(|scope| scope == need.scope) =>
            {
                let text = format!("this token was not made for `{}`", need.scope);
                Err(refused(Reason::Scope, text))
            }
            Means::Token {
                destructive: false, ..
            } if need.confirmed => Err(refused(
                Reason::Scope,
                "this token was not made for what a person has to confirm",
            )),
            Means::Session {
                confirmed: false, ..
            } if need.confirmed => Err(refused(
                Reason::Confirm,
                "give your password again before this",
            )),
            _ => Ok(()),
        }
    }
}

fn with_article(role: Role) -> &'static str {
    match role {
        Role::Viewer => "a viewer",
        Role::Operator => "an operator",
        Role::Administrator => "an administrator",
    }
}
