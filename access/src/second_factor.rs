//! The second factor: codes by time (TOTP, RFC 6238) as every authenticator shows them.

use qrcode::QrCode;
use qrcode::render::svg;
use totp_rs::{Builder, Totp};

use crate::api::TotpOffer;
use crate::error::{AccessError, Reason, refused};

const ISSUER: &str = "Lifeboat";
/// 160 bits, as the RFC recommends.
const SECRET_LENGTH: usize = 20;

/// A new secret.
pub(crate) fn secret() -> Result<[u8; SECRET_LENGTH], AccessError> {
    crate::secret::random()
}

/// What an authenticator is told of a secret.
pub(crate) fn offer(name: &str, secret: &[u8]) -> Result<TotpOffer, AccessError> {
    let totp = totp(name, secret)?;
    let uri = totp.to_url().map_err(|_| damaged())?;
    let picture = QrCode::new(uri.as_bytes()).map_err(|_| damaged())?;
    Ok(TotpOffer {
        secret: totp.secret().to_base32(),
        uri,
        qr: picture
            .render::<svg::Color>()
            .min_dimensions(192, 192)
            .build(),
    })
}

/// The time step of a code that is right now, or was within the last half minute.
pub(crate) fn step(name: &str, secret: &[u8], code: &str, now: i64) -> Result<i64, AccessError> {
    let totp = totp(name, secret)?;
    let digits: String = code
        .chars()
        .filter(|one| !one.is_whitespace())
        .take(7)
        .collect();
    let is_code = digits.len() == 6 && digits.bytes().all(|digit| digit.is_ascii_digit());
    let seconds = u64::try_from(now / 1000).unwrap_or(0);
    let step = is_code.then(|| totp.check(&digits, seconds)).flatten();
    let step = step.and_then(|step| i64::try_from(step).ok());
    step.ok_or_else(|| refused(Reason::Wrong, "the code is wrong, or was used before"))
}

fn totp(name: &str, secret: &[u8]) -> Result<Totp, AccessError> {
    Builder::new()
        .with_secret(secret.to_vec())
        .with_issuer(Some(ISSUER))
        .with_account_name(name)
        .build()
        .map_err(|_| damaged())
}

fn damaged() -> AccessError {
    AccessError::Value("second factor")
}
