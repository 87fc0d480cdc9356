//! The first contact with the control centre.

use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};

use super::config::Places;
use super::keep::{self, KeepError};
use super::link::{LinkError, connect};
use crate::tls::{ConnectionError, Identity, TlsError, centre_server_name, first_contact, split};
use crate::wire::{FromAgent, Join, PROTOCOL, Refusal, ToAgent, Token};

const JOINING: &str = "joining.json";
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a host did not become a member.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// A key could not be made.
    #[error("failed to make a key")]
    Key(#[source] rcgen::Error),
    /// TLS could not be set up.
    #[error("failed to set TLS up")]
    Tls(#[source] TlsError),
    /// The control centre could not be reached, or is another than the token's.
    #[error("failed to reach the control centre of this token")]
    Link(#[source] LinkError),
    /// The connection broke. The same token can be tried again.
    #[error("the connection broke: try again with the same token")]
    Broken(#[source] ConnectionError),
    /// Turned away.
    #[error("the control centre turned this host away")]
    Refused(#[source] Refusal),
    /// The other end does not behave.
    #[error("the control centre answered something else than expected")]
    Senseless,
    /// The certificate could not be kept.
    #[error("failed to keep what the control centre gave")]
    Keep(#[source] KeepError),
    /// The folders could not be made.
    #[error("failed to make the agent's folders")]
    Places(#[source] std::io::Error),
}

/// Joins the control centre at `address`: makes a key, has it certified, keeps both. Says under
/// which name the host is known there. The key is kept before it is sent, so that the same token
/// can be tried again when the answer is lost.
pub async fn join(places: &Places, address: &str, token: &Token) -> Result<String, JoinError> {
    places.make().map_err(JoinError::Places)?;
    let key = own_key(places)?;
    let join = Join {
        protocol: PROTOCOL,
        secret: token.secret.clone(),
        request: request(&key)?,
    };
    let config = first_contact(token.ca).map_err(JoinError::Tls)?;
    let name = centre_server_name().map_err(JoinError::Tls)?;
    let stream = connect(address, name, config)
        .await
        .map_err(JoinError::Link)?;
    let (mut sender, mut receiver) = split(stream);
    let sent = sender.send(&FromAgent::Join(join), PATIENCE).await;
    sent.map_err(JoinError::Broken)?;
    let answer = receiver
        .receive(PATIENCE)
        .await
        .map_err(JoinError::Broken)?;
    let certified = match answer {
        ToAgent::Joined(certified) => certified,
        ToAgent::Refused(refusal) => return Err(JoinError::Refused(refusal)),
        _ => return Err(JoinError::Senseless),
    };
    let host = certified.host.clone();
    let identity = Identity {
        certified,
        key: key.serialize_pem(),
    };
    forget_another_centre(places, &identity);
    keep::write(&places.centre(), &address).map_err(JoinError::Keep)?;
    keep::write(&places.identity(), &identity).map_err(JoinError::Keep)?;
    // Kept longer it would only be a second place for a key.
    let _ = std::fs::remove_file(places.state.join(JOINING));
    Ok(host)
}

/// Leases and parts of another control centre mean nothing here; those of the same one stay,
/// because an agent that forgets its fence could serve by an old word.
fn forget_another_centre(places: &Places, new: &Identity) {
    let old: Option<Identity> = keep::read(&places.identity()).unwrap_or_default();
    if old.is_some_and(|old| old.certified.ca != new.certified.ca) {
        for path in [
            places.lease(),
            places.part(),
            places.wanted(),
            places.results(),
        ] {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The key of an unfinished join, or a new one.
fn own_key(places: &Places) -> Result<KeyPair, JoinError> {
    let path = places.state.join(JOINING);
    let kept: Option<String> = keep::read(&path).unwrap_or_default();
    if let Some(key) = kept.and_then(|pem| KeyPair::from_pem(&pem).ok()) {
        return Ok(key);
    }
    let key = KeyPair::generate().map_err(JoinError::Key)?;
    keep::write(&path, &key.serialize_pem()).map_err(JoinError::Keep)?;
    Ok(key)
}

/// A certificate signing request for this key. The control centre takes nothing but the key.
pub(crate) fn request(key: &KeyPair) -> Result<String, JoinError> {
    let made = CertificateParams::default().serialize_request(key);
    made.and_then(|request| request.pem())
        .map_err(JoinError::Key)
}
