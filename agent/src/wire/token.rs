//! The token by which a new agent and the control centre find trust in each other.

use std::fmt;
use std::str::FromStr;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

const SECRET: usize = 16;
const PIN: usize = 32;
const PREFIX: &str = "lifeboat1-";

/// The secret part of a token. The control centre keeps its hash only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret([u8; SECRET]);

impl Secret {
    /// A secret of these random bytes.
    pub fn new(random: [u8; SECRET]) -> Self {
        Self(random)
    }

    /// What is kept of it.
    pub fn hash(&self) -> [u8; 32] {
        sha256(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What the operator carries from the control centre to the new host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Known to nobody else; counts once.
    pub secret: Secret,
    /// The SHA-256 of the CA's certificate: by this the agent knows the control centre from the
    /// first byte.
    pub ca: [u8; PIN],
}

/// Why a text is not a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not a token: `{PREFIX}` and {} hexadecimal digits are expected, without gaps", 2 * (SECRET + PIN))]
pub struct TokenError;

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        f.write_str(&hexadecimal(&self.secret.0))?;
        f.write_str(&hexadecimal(&self.ca))
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let digits = text.trim().strip_prefix(PREFIX).ok_or(TokenError)?;
        let bytes = from_hexadecimal(digits).ok_or(TokenError)?;
        let (secret, ca) = bytes.split_first_chunk::<SECRET>().ok_or(TokenError)?;
        Ok(Self {
            secret: Secret(*secret),
            ca: ca.try_into().map_err(|_| TokenError)?,
        })
    }
}

/// The SHA-256 of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|value| u8::try_from(value).ok())
        })
        .collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    pairs
        .remainder()
        .is_empty()
        .then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_survives_being_written_down(secret in any::<[u8; SECRET]>(), ca in any::<[u8; PIN]>()) {
            let token = Token { secret: Secret::new(secret), ca };
            prop_assert_eq!(token.to_string().parse(), Ok(token));
        }

        #[test]
        fn other_texts_are_refused(text in "\\PC{0,120}") {
            let parsed = text.parse::<Token>();
            prop_assert!(parsed.is_err());
            let parsed = format!("{PREFIX}{text}").parse::<Token>();
            prop_assert!(parsed.is_err() || text.trim().len() == 2 * (SECRET + PIN));
        }
    }

    #[test]
    fn a_secret_does_not_show_in_logs() {
        assert_eq!(format!("{:?}", Secret::new([7; SECRET])), "Secret(..)");
    }
}
