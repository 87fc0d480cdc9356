//! Who a request comes from: a browser's cookie or a program's token, never anything in the URL.

use axum::http::{HeaderMap, header};

use super::BACKGROUND;
use crate::access::Access;
use crate::error::{AccessError, Reason, refused};
use crate::identity::{Identity, Means};
use crate::secret::{Hash, hash};
use crate::store::sessions::Session;
use crate::store::tokens::Token;

/// The session's cookie. By its prefix a browser takes it only over TLS, from this very host, and
/// for all of it: no neighbour can slip one in.
pub const COOKIE: &str = "__Host-lifeboat";
/// How tokens begin, so that scanners for leaked secrets know them.
pub(crate) const TOKEN: &str = "lifeboat_";
const LONGEST_SECRET: usize = 128;
/// The use of a session or a token is noted no more often than this.
const NOTE_MS: i64 = 30 * 1000;

/// Finds out who asks, and notes that they were here.
pub(super) async fn identify(
    access: &Access,
    headers: &HeaderMap,
) -> Result<Identity, AccessError> {
    let found = match headers.contains_key(header::AUTHORIZATION) {
        // Never the cookie beside it: of two answers the weaker one would count.
        true => by_token(access, headers).await?,
        false => by_cookie(access, headers).await?,
    };
    found.ok_or_else(|| refused(Reason::LogIn, "log in"))
}

async fn by_token(access: &Access, headers: &HeaderMap) -> Result<Option<Identity>, AccessError> {
    let Some((id, given)) = bearer(headers) else {
        return Ok(None);
    };
    let token = access.token(id).await?;
    let is_it = |token: &Token| constant_time_eq(&token.hash, &hash(given));
    let Some(token) = token.filter(is_it) else {
        return Ok(None);
    };
    let now = access.now();
    if token.used.is_none_or(|used| now - used > NOTE_MS) {
        access.store().touch_token(id, now).await?;
    }
    let owner = token.owner.as_deref().unwrap_or("root");
    let name = format!("{owner}:{}", token.name);
    let means = Means::Token {
        id: token.id,
        owner: token.owner,
        scopes: token.scopes,
        destructive: token.destructive,
    };
    Ok(Some(Identity::new(access.clone(), name, token.role, means)))
}

/// Both are hashes of what nobody can choose, so that an early end would tell nothing; still.
fn constant_time_eq(one: &Hash, other: &Hash) -> bool {
    blake3::Hash::from_bytes(*one) == blake3::Hash::from_bytes(*other)
}

/// Id and secret of the one token of a request.
fn bearer(headers: &HeaderMap) -> Option<(&str, &str)> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(one), None) = (all.next(), all.next()) else {
        return None;
    };
    let (scheme, token) = one.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.len() > LONGEST_SECRET {
        return None;
    }
    token.trim().strip_prefix(TOKEN)?.split_once('_')
}

async fn by_cookie(access: &Access, headers: &HeaderMap) -> Result<Option<Identity>, AccessError> {
    let Some(hash) = session_cookie(headers) else {
        return Ok(None);
    };
    let Some(session) = access.session(&hash).await? else {
        return match access.half_session(&hash).await? {
            Some(_) => Err(refused(Reason::Code, "give the code of your second factor")),
            None => Ok(None),
        };
    };
    let now = access.now();
    if !headers.contains_key(BACKGROUND) && now - session.seen > NOTE_MS {
        access.store().touch_session(&hash, now).await?;
    }
    Ok(Some(of_session(access, &session)))
}

pub(crate) fn of_session(access: &Access, session: &Session) -> Identity {
    let means = Means::Session {
        hash: session.hash,
        user: session.user.clone(),
        confirmed: access.now() < session.confirmed_until,
    };
    Identity::new(access.clone(), session.user.clone(), session.role, means)
}

/// The hash of the session's cookie. Two of them are none: one was slipped in.
pub(crate) fn session_cookie(headers: &HeaderMap) -> Option<Hash> {
    let all = headers.get_all(header::COOKIE).iter();
    let pairs = all.filter_map(|cookies| cookies.to_str().ok());
    let pairs = pairs.flat_map(|cookies| cookies.split(';'));
    let mut ours = pairs.filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    });
    match (ours.next(), ours.next()) {
        (Some(secret), None) if secret.len() <= LONGEST_SECRET => Some(hash(secret)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_second_cookie_of_that_name_is_none() {
        let good = headers(&[("cookie", "a=b; __Host-lifeboat=secret; c=d")]);
        assert_eq!(session_cookie(&good), Some(hash("secret")));
        for bad in [
            headers(&[("cookie", "__Host-lifeboat=one; __Host-lifeboat=two")]),
            headers(&[
                ("cookie", "__Host-lifeboat=one"),
                ("cookie", "__Host-lifeboat=one"),
            ]),
            headers(&[("cookie", "__host-lifeboat=one")]),
            headers(&[("cookie", "lifeboat=one")]),
            headers(&[]),
        ] {
            assert_eq!(session_cookie(&bad), None, "{bad:?}");
        }
    }

    #[test]
    fn only_one_well_formed_token_is_read() {
        let good = headers(&[("authorization", "Bearer lifeboat_0123_se_cret")]);
        assert_eq!(bearer(&good), Some(("0123", "se_cret")));
        for bad in [
            headers(&[("authorization", "Bearer 0123_secret")]),
            headers(&[("authorization", "Basic lifeboat_0123_secret")]),
            headers(&[("authorization", "Bearer")]),
            headers(&[("authorization", "Bearer lifeboat_0123")]),
            headers(&[
                ("authorization", "Bearer lifeboat_0123_secret"),
                ("authorization", "Bearer lifeboat_0123_secret"),
            ]),
        ] {
            assert_eq!(bearer(&bad), None, "{bad:?}");
        }
    }
}
