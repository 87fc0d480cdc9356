//! The certificate that browsers see: the machine's own, made at first use, or one that it was
//! given.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::https::{addresses, host_name};

/// One file holds both, so that a crash never leaves a pair that does not match.
const OWN: &str = "api-tls.pem";
const YEARS: i16 = 10;

/// A certificate with its chain, and its key.
pub struct Certificate {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    /// The names that it is for; addresses are not among them.
    pub names: Vec<String>,
}

impl Certificate {
    /// One that the operator has.
    pub fn read(certificate: &Path, key: &Path) -> anyhow::Result<Self> {
        let read = |path: &Path| {
            std::fs::read(path).with_context(|| format!("failed to read `{}`", path.display()))
        };
        Self::from_pem(&read(certificate)?, &read(key)?).with_context(|| {
            format!(
                "failed to use the certificate `{}` with the key `{}`: both are PEM",
                certificate.display(),
                key.display()
            )
        })
    }

    /// The machine's own; `names` it has besides its host name when it is made.
    pub fn own(state_dir: &Path, names: &[String]) -> anyhow::Result<Self> {
        let path = state_dir.join(OWN);
        let pem = match std::fs::read(&path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let pem = made(names)?.into_bytes();
                keep(&path, &pem)?;
                pem
            }
            Err(error) => {
                return Err(error).with_context(|| format!("failed to read `{}`", path.display()));
            }
        };
        let mut own = Self::from_pem(&pem, &pem).with_context(|| {
            format!(
                "failed to use the machine's own certificate `{}`: remove the file, and another is made",
                path.display()
            )
        })?;
        own.names.extend(names.iter().cloned());
        own.names.push(host_name());
        Ok(own)
    }

    fn from_pem(certificate: &[u8], key: &[u8]) -> anyhow::Result<Self> {
        let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>()?;
        let first = chain.first().context("there is no certificate in it")?;
        let names = names(first)?;
        let key = PrivateKeyDer::from_pem_slice(key)?;
        Ok(Self { chain, key, names })
    }

    /// Its SHA-256, as browsers show it.
    pub fn fingerprint(&self) -> String {
        let first = self.chain.first().map_or(&[][..], |first| first);
        let mut text = String::new();
        for byte in Sha256::digest(first) {
            let colon = if text.is_empty() { "" } else { ":" };
            let _ = write!(text, "{colon}{byte:02X}");
        }
        text
    }
}

fn names(certificate: &CertificateDer<'_>) -> anyhow::Result<Vec<String>> {
    let (_, parsed) = X509Certificate::from_der(certificate)?;
    let names = parsed.subject_alternative_name()?;
    let names = names.map(|names| names.value.general_names.as_slice());
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    };
    Ok(names.unwrap_or_default().iter().filter_map(name).collect())
}

/// A certificate for everything that the machine is called, with its key.
fn made(names: &[String]) -> anyhow::Result<String> {
    let host = host_name();
    let mut all = BTreeSet::from(["localhost".to_owned(), host.clone()]);
    all.extend(names.iter().cloned());
    all.extend(addresses().iter().map(ToString::to_string));
    let all: Vec<_> = all.into_iter().filter(|name| is_plain(name)).collect();
    let mut params = CertificateParams::new(all)?;
    let year = jiff::Timestamp::now()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .year();
    params.not_before = rcgen::date_time_ymd(i32::from(year - 1), 1, 1);
    params.not_after = rcgen::date_time_ymd(i32::from(year + YEARS), 1, 1);
    params.distinguished_name.push(DnType::CommonName, host);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(format!("{}{}", certificate.pem(), key.serialize_pem()))
}

/// What can stand in a certificate; an address of one link only cannot be asked for anyway.
fn is_plain(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    !name.is_empty() && name.bytes().all(is_letter) && !name.starts_with("fe80:")
}

/// Writes a file that only its owner may read: whole, or not at all.
fn keep(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let temporary = path.with_extension("part");
    let write = || -> std::io::Result<()> {
        drop(std::fs::remove_file(&temporary));
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().with_context(|| format!("failed to write `{}`", path.display()))
}
