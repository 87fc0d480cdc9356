//! Tokens of programs.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Answer, Given};
use crate::access::Access;
use crate::error::{AccessError, Reason, Refusal, refused};
use crate::guard::Record;
use crate::identity::{Identity, Means};
use crate::role::{Role, SCOPES};
use crate::secret::{Secret, identifier};
use crate::store::tokens::Token;

const LONGEST_NAME: usize = 32;
const MOST_DAYS: u32 = 3650;
/// More of one owner are not made.
const MOST_TOKENS: i64 = 200;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// Asks for a token.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AskToken {
    /// Its name, for the audit trail.
    pub name: String,
    /// What it may; at most what its owner may.
    pub role: Role,
    /// For what.
    pub scopes: Vec<String>,
    /// Whether it may do what a person has to confirm.
    #[serde(default)]
    pub destructive: bool,
    /// After how many days it ends; left out: it does not.
    pub days: Option<u32>,
}

/// A token as it is shown.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// Its id, which opens nothing.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whose; `root`: root of the machine made it.
    pub owner: String,
    /// What it may, and never more than its owner.
    pub role: Role,
    /// For what.
    pub scopes: Vec<String>,
    /// It may do what a person has to confirm.
    pub destructive: bool,
    /// Since when.
    pub made: i64,
    /// Until when.
    pub expires: Option<i64>,
    /// When it was used last, within half a minute.
    pub used: Option<i64>,
}

/// A token that was just made.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct MadeToken {
    /// For `Authorization: Bearer ...`. It is never shown again.
    pub token: String,
    /// What it is.
    pub view: TokenView,
}

/// The own tokens; an administrator sees all.
#[utoipa::path(get, path = "/tokens", tag = "access", responses((status = 200, body = Vec<TokenView>)))]
pub(super) async fn list_tokens(
    State(access): State<Access>,
    identity: Identity,
) -> Answer<Vec<TokenView>> {
    let tokens = match whose(&identity)? {
        Whose::All => access.store().tokens(None).await?,
        Whose::Of(owner) => access.store().tokens(Some(owner)).await?,
    };
    Ok(Json(tokens.into_iter().map(view).collect()))
}

/// Makes a token. It is shown once.
#[utoipa::path(post, path = "/tokens", tag = "access", request_body = AskToken, responses(
    (status = 200, body = MadeToken), (status = 400, body = Refusal), (status = 403, body = Refusal),
    (status = 409, body = Refusal)))]
pub(super) async fn make_token(
    State(access): State<Access>,
    identity: Identity,
    record: Record,
    Given(asked): Given<AskToken>,
) -> Answer<MadeToken> {
    check(&identity, &asked)?;
    let owner = identity.user();
    if access.store().count_tokens(owner).await? >= MOST_TOKENS {
        let text = format!("there are {MOST_TOKENS} tokens already: remove some first");
        return Err(refused(Reason::Conflict, text));
    }
    let (secret, id) = (Secret::fresh()?, identifier()?);
    let given = format!("{}{id}_{}", crate::guard::TOKEN, secret.0);
    let now = access.now();
    let token = Token {
        id,
        hash: secret.hash(),
        owner: owner.map(str::to_owned),
        role: asked.role,
        expires: asked.days.map(|days| now + i64::from(days) * DAY_MS),
        destructive: asked.destructive,
        made: now,
        used: None,
        name: asked.name,
        scopes: asked.scopes,
    };
    record.detail(told(&token)).await?;
    access.store().put_token(&token).await?;
    Ok(Json(MadeToken {
        token: given,
        view: view(token),
    }))
}

fn told(token: &Token) -> String {
    format!(
        "token {} ({}), {}, for {}{}",
        token.name,
        token.id,
        token.role.word(),
        token.scopes.join(" "),
        if token.destructive {
            ", destructive"
        } else {
            ""
        }
    )
}

/// Removes one of the own tokens; an administrator removes any. Says whether there was one.
#[utoipa::path(delete, path = "/tokens/{id}", tag = "access", params(("id" = String, Path)), responses(
    (status = 200, body = bool)))]
pub(super) async fn remove_token(
    State(access): State<Access>,
    identity: Identity,
    Path(id): Path<String>,
) -> Answer<bool> {
    let removed = match whose(&identity)? {
        Whose::All => access.store().remove_token(&id, None).await?,
        Whose::Of(owner) => access.store().remove_token(&id, Some(owner)).await?,
    };
    access.changed();
    Ok(Json(removed))
}

/// What tokens can be made for.
#[utoipa::path(get, path = "/scopes", tag = "access", responses((status = 200, body = Vec<String>)))]
pub(super) async fn list_scopes() -> Json<Vec<String>> {
    Json(SCOPES.iter().map(|scope| (*scope).to_owned()).collect())
}

enum Whose<'a> {
    All,
    Of(&'a str),
}

fn whose(identity: &Identity) -> Result<Whose<'_>, AccessError> {
    match (identity.role(), identity.user()) {
        (Role::Administrator, _) => Ok(Whose::All),
        (_, Some(user)) => Ok(Whose::Of(user)),
        // A token of root with a lesser role has no tokens of its own.
        (_, None) => Err(refused(Reason::Role, "only an administrator may do this")),
    }
}

fn check(identity: &Identity, asked: &AskToken) -> Result<(), AccessError> {
    let is_name = crate::enter::is_name(&asked.name) && asked.name.len() <= LONGEST_NAME;
    if !is_name {
        let text = "a token's name has 1 to 32 of `a-z 0-9 . _ -` and begins with a letter";
        return Err(refused(Reason::Invalid, text));
    }
    let unknown = asked
        .scopes
        .iter()
        .find(|scope| !SCOPES.contains(&scope.as_str()));
    if unknown.is_some() || asked.scopes.is_empty() {
        let text = format!("a token is made for some of: {}", SCOPES.join(", "));
        return Err(refused(Reason::Invalid, text));
    }
    if asked
        .days
        .is_some_and(|days| !(1..=MOST_DAYS).contains(&days))
    {
        let text = format!("a token lasts 1 to {MOST_DAYS} days, or without end");
        return Err(refused(Reason::Invalid, text));
    }
    let exceeds = match identity.means() {
        // Otherwise a token could make one that may more than itself.
        Means::Token {
            scopes,
            destructive,
            ..
        } => {
            (asked.destructive && !destructive)
                || asked.scopes.iter().any(|scope| !scopes.contains(scope))
        }
        _ => false,
    };
    if asked.role > identity.role() || exceeds {
        return Err(refused(
            Reason::Role,
            "a token may not do more than whoever makes it",
        ));
    }
    Ok(())
}

fn view(token: Token) -> TokenView {
    TokenView {
        id: token.id,
        name: token.name,
        owner: token.owner.unwrap_or_else(|| "root".to_owned()),
        role: token.role,
        scopes: token.scopes,
        destructive: token.destructive,
        made: token.made,
        expires: token.expires,
        used: token.used,
    }
}
