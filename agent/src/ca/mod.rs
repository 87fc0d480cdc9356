//! The control centre's end of trust: its CA, joining, renewal, and one seat for each host.
//!
//! The CA is made once ([`Ca::make`]) and kept by the daemon. What has to be remembered besides,
//! tokens and the key of each host, is kept behind [`Register`]. [`Reception`] meets connections.

mod authority;
mod reception;
mod seats;

use std::future::Future;
use std::time::SystemTime;

pub use authority::{Ca, CaError, KeyHash, Stored};
pub use reception::{Arrival, Guest, Reception, ReceptionError};
pub use seats::{Claim, Seat, Seats};

/// What became of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redeemed {
    /// It counts, for the host of this name.
    Host(String),
    /// It was never given out.
    Unknown,
    /// Its time is over.
    Expired,
    /// It was used, with another key.
    Used,
}

/// What the control centre remembers of tokens and hosts, durably.
pub trait Register: Send + Sync {
    /// Why it cannot be asked.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Uses a token up and makes `key` the key of its host, in one step: of two that come at once
    /// only one succeeds. The same token with the same key succeeds again until it expires, because
    /// the answer may have been lost.
    fn redeem(
        &self,
        token: [u8; 32],
        key: KeyHash,
        now: SystemTime,
    ) -> impl Future<Output = Result<Redeemed, Self::Error>> + Send;

    /// The key of a host, if the host is known.
    fn key_of(
        &self,
        host: &str,
    ) -> impl Future<Output = Result<Option<KeyHash>, Self::Error>> + Send;
}
