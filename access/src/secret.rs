//! Secrets that nobody can guess, kept only as hashes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};

use crate::error::AccessError;

/// A secret as it is given out: 256 random bits, in letters that fit a cookie, a header and a link.
pub(crate) struct Secret(pub String);

impl Secret {
    pub fn fresh() -> Result<Self, AccessError> {
        Ok(Self(URL_SAFE_NO_PAD.encode(random::<32>()?)))
    }

    pub fn hash(&self) -> Hash {
        hash(&self.0)
    }
}

/// What is kept of a secret. It is looked up by, so that no comparison takes a time that tells.
pub(crate) type Hash = [u8; 32];

pub(crate) fn hash(secret: &str) -> Hash {
    *blake3::hash(secret.as_bytes()).as_bytes()
}

/// The name of something whose secret must not be its name.
pub(crate) fn identifier() -> Result<String, AccessError> {
    Ok(hex(&random::<8>()?))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], AccessError> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| AccessError::Random)?;
    Ok(bytes)
}
