//! The CA itself.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::tls::{CENTRE, TlsError, agent_name, certificate};
use crate::wire::{Certified, Secret, Token, UnixMillis, sha256};

/// The SHA-256 of a public key (its SubjectPublicKeyInfo).
pub type KeyHash = [u8; 32];

/// How far a host's clock may be behind the control centre's.
const CLOCKS: Duration = Duration::from_secs(2 * 3600);
const CA_LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 3600);

/// Why the CA cannot do what is asked of it.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A certificate could not be made.
    #[error("failed to make a certificate for `{name}`")]
    Sign {
        /// For whom.
        name: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// A request is not one.
    #[error("failed to read a certificate signing request")]
    Request(#[source] rcgen::Error),
    /// What was kept of the CA is damaged.
    #[error(
        "failed to read the kept CA: restore it from a backup, or every agent has to join again"
    )]
    Kept(#[source] rcgen::Error),
    /// Names, PEM.
    #[error("failed to prepare a certificate")]
    Tls(#[source] TlsError),
}

/// What is kept of a CA. The key opens every protected machine to whoever has it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Stored {
    /// Its certificate (PEM).
    pub certificate: String,
    /// Its private key (PEM).
    pub key: String,
}

/// The appliance's own CA.
#[derive(Debug)]
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    pin: [u8; 32],
    life: Duration,
}

impl Ca {
    /// Makes a new one. Done once in the life of an appliance.
    pub fn make(now: SystemTime) -> Result<Stored, CaError> {
        let mut params = params(Vec::new(), "Lifeboat CA", now, CA_LIFE)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let sign = |source| CaError::Sign {
            name: "Lifeboat CA".to_owned(),
            source,
        };
        let key = KeyPair::generate().map_err(sign)?;
        let made = params.self_signed(&key).map_err(sign)?;
        Ok(Stored {
            certificate: made.pem(),
            key: key.serialize_pem(),
        })
    }

    /// Takes up the kept one, whose certificates for agents last for `life`.
    pub fn load(stored: &Stored, life: Duration) -> Result<Self, CaError> {
        let key = KeyPair::from_pem(&stored.key).map_err(CaError::Kept)?;
        let issuer = Issuer::from_ca_cert_pem(&stored.certificate, key).map_err(CaError::Kept)?;
        let der = certificate(&stored.certificate, "CA's certificate").map_err(CaError::Tls)?;
        Ok(Self {
            issuer,
            certificate: stored.certificate.clone(),
            pin: sha256(&der),
            life,
        })
    }

    /// Its certificate (PEM).
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A token with these random bytes; its secret's hash is what the register keeps.
    pub fn token(&self, random: [u8; 16]) -> Token {
        Token {
            secret: Secret::new(random),
            ca: self.pin,
        }
    }

    /// The hash of the key for which a certificate is asked (PEM); the request proves that whoever
    /// asks has that key.
    pub fn requested_key(request: &str) -> Result<KeyHash, CaError> {
        let read = CertificateSigningRequestParams::from_pem(request).map_err(CaError::Request)?;
        Ok(sha256(&read.public_key.subject_public_key_info()))
    }

    /// A certificate for the agent of `host`. Only the key is taken from the request.
    pub fn certify(
        &self,
        host: &str,
        request: &str,
        now: SystemTime,
    ) -> Result<Certified, CaError> {
        let read = CertificateSigningRequestParams::from_pem(request).map_err(CaError::Request)?;
        let name = agent_name(host).map_err(CaError::Tls)?;
        let mut params = params(vec![name], host, now, self.life)?;
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let signed = params
            .signed_by(&read.public_key, &self.issuer)
            .map_err(|source| CaError::Sign {
                name: host.to_owned(),
                source,
            })?;
        Ok(Certified {
            host: host.to_owned(),
            certificate: signed.pem(),
            ca: self.certificate.clone(),
            issued: millis(now),
            expires: millis(now + self.life),
        })
    }

    /// The control centre's own certificate and key (PEM), for `life`.
    pub fn own(&self, now: SystemTime, life: Duration) -> Result<Stored, CaError> {
        let mut params = params(vec![CENTRE.to_owned()], "control centre", now, life)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let sign = |source| CaError::Sign {
            name: CENTRE.to_owned(),
            source,
        };
        let key = KeyPair::generate().map_err(sign)?;
        let signed = params.signed_by(&key, &self.issuer).map_err(sign)?;
        Ok(Stored {
            certificate: signed.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn params(
    names: Vec<String>,
    title: &str,
    now: SystemTime,
    life: Duration,
) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::new(names).map_err(|source| CaError::Sign {
        name: title.to_owned(),
        source,
    })?;
    params.distinguished_name.push(DnType::CommonName, title);
    params.not_before = OffsetDateTime::from(now - CLOCKS);
    params.not_after = OffsetDateTime::from(now + life);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

pub(super) fn millis(time: SystemTime) -> UnixMillis {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
