//! Who signed a driver's program or catalogue (PKCS #7), and where the certificates that travel
//! with the signature lead.
//!
//! Nothing is proven here: no hash and no signature is computed. It is the question whether the
//! loader of the guest's Windows would even begin to, asked before a driver that it turns away
//! (0xc0000428) keeps the machine from starting.

use cms::cert::CertificateChoices;
use cms::cert::x509::Certificate;
use cms::cert::x509::der::{Decode, Encode, SliceReader, asn1::ObjectIdentifier};
use cms::cert::x509::ext::pkix::ExtendedKeyUsage;
use cms::cert::x509::name::Name;
use cms::content_info::ContentInfo;
use cms::signed_data::{SignedData, SignerIdentifier, SignerInfo};

/// Authorities whose drivers the loader of Windows takes. To the last one lead the certificates
/// by which Microsoft vouched for other authorities until 2021.
const AUTHORITIES: [&str; 4] = [
    "Microsoft Root Authority",
    "Microsoft Root Certificate Authority",
    "Microsoft Root Certificate Authority 2010",
    "Microsoft Code Verification Root",
];
/// Who signs for Microsoft what passed its tests.
const TESTED: &str = "Microsoft Windows Hardware Compatibility Publisher";
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA1_WITH_RSA: [ObjectIdentifier; 2] = [
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.5"),
    ObjectIdentifier::new_unwrap("1.3.14.3.2.29"),
];
const KEY_USES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
/// Microsoft signed without a test.
const ATTESTED: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.10.3.5.1");
/// A second signature inside the first.
const NESTED: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.4.1");
/// Bounds of what is followed: real chains have four certificates.
const DEEPEST: usize = 8;
const MOST_CERTIFICATES: usize = 32;
const MOST_SIGNATURES: usize = 8;
const LONGEST_NAME: usize = 128;
/// Real ones have some ten thousand bytes.
const LARGEST: usize = 4 << 20;

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Who signed: the common name.
    pub signer: String,
    /// Whether its certificates lead to an authority for drivers.
    pub is_known: bool,
    /// Whether they do so by SHA-1 alone, which every Windows understands.
    pub is_sha1: bool,
    /// Whether Microsoft signed without a test, which is for Windows 10 and newer.
    pub is_attested: bool,
}

impl Signature {
    /// Whether it says that Microsoft tested the driver.
    pub fn is_tested(&self) -> bool {
        self.is_known && self.signer == TESTED
    }
}

/// What the loader of a Windows takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// What Microsoft signed without a test.
    pub attested: bool,
    /// Signatures with SHA-2.
    pub sha2: bool,
}

/// Why the loader of a Windows would turn a driver away.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Objection {
    /// No signature.
    #[error("it carries no signature")]
    Unsigned,
    /// The wrong authority.
    #[error("it is signed by {signer}, which no authority for drivers vouches for")]
    UnknownAuthority {
        /// Who signed.
        signer: String,
    },
    /// For newer Windows.
    #[error("Microsoft signed it for Windows 10 and newer only")]
    Attested,
    /// For an updated Windows.
    #[error(
        "it is signed with SHA-2, which this Windows understands only with the update KB4474419"
    )]
    Sha2,
}

impl Rules {
    /// Why none of the signatures would do; nothing when one does.
    pub fn objection(self, signatures: &[Signature]) -> Option<Objection> {
        let objections = signatures.iter().map(|signature| self.to_one(signature));
        // Of several the last in order is the nearest to being good.
        objections
            .min_by_key(|objection| match objection {
                None => (0, None),
                Some(objection) => (1, Some(std::cmp::Reverse(objection.clone()))),
            })
            .unwrap_or(Some(Objection::Unsigned))
    }

    fn to_one(self, signature: &Signature) -> Option<Objection> {
        if !signature.is_known {
            let signer = signature.signer.clone();
            return Some(Objection::UnknownAuthority { signer });
        }
        if signature.is_attested && !self.attested {
            return Some(Objection::Attested);
        }
        (!signature.is_sha1 && !self.sha2).then_some(Objection::Sha2)
    }
}

/// The signatures inside a program (PE).
pub fn of_program(program: &[u8]) -> Vec<Signature> {
    let mut found = Vec::new();
    let mut left = certificate_table(program).unwrap_or_default();
    while let Some(head) = left.get(..8) {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let kind = u16::from_le_bytes([head[6], head[7]]);
        let Some(content) = left.get(8..length) else {
            break;
        };
        if kind == 2 {
            read(content, &mut found);
        }
        left = left.get(length.next_multiple_of(8)..).unwrap_or_default();
    }
    found
}

/// The signatures of a catalogue.
pub fn of_catalogue(catalogue: &[u8]) -> Vec<Signature> {
    let mut found = Vec::new();
    read(catalogue, &mut found);
    found
}

/// The part of a program that lies outside of what is loaded: its signatures.
fn certificate_table(program: &[u8]) -> Option<&[u8]> {
    let number = |at: usize| -> Option<usize> {
        let bytes = program.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    if program.get(..2)? != b"MZ" {
        return None;
    }
    let head = number(0x3c)?;
    if program.get(head..head.checked_add(4)?)? != b"PE\0\0" {
        return None;
    }
    let optional = head + 24;
    let directories = optional
        + match number(optional)? & 0xffff {
            0x10b => 96,
            0x20b => 112,
            _ => return None,
        };
    if number(directories - 4)? < 5 {
        return None;
    }
    let (place, size) = (number(directories + 32)?, number(directories + 36)?);
    program.get(place..place.checked_add(size)?)
}

/// Reads signatures out of PKCS #7 and those inside them; what is no such thing gives none.
fn read(bytes: &[u8], found: &mut Vec<Signature>) {
    if bytes.len() > LARGEST {
        return;
    }
    let mut waiting = vec![bytes.to_vec()];
    while let Some(bytes) = waiting.pop() {
        let Some(data) = signed_data(&bytes) else {
            continue;
        };
        let certificates = certificates(&data);
        for signer in data.signer_infos.0.iter() {
            if found.len() >= MOST_SIGNATURES {
                return;
            }
            found.push(signature(signer, &certificates));
            let attributes = signer.unsigned_attrs.iter().flat_map(|all| all.iter());
            let nested = attributes.filter(|attribute| attribute.oid == NESTED);
            let values = nested.flat_map(|attribute| attribute.values.iter());
            waiting.extend(
                values
                    .take(MOST_SIGNATURES)
                    .filter_map(|value| value.to_der().ok()),
            );
        }
    }
}

/// What follows it in its place is filling.
fn signed_data(bytes: &[u8]) -> Option<SignedData> {
    let mut reader = SliceReader::new(bytes).ok()?;
    let info = ContentInfo::decode(&mut reader).ok()?;
    (info.content_type == SIGNED_DATA).then_some(())?;
    info.content.decode_as().ok()
}

fn certificates(data: &SignedData) -> Vec<&Certificate> {
    let all = data.certificates.iter().flat_map(|all| all.0.iter());
    let certificates = all.filter_map(|choice| match choice {
        CertificateChoices::Certificate(certificate) => Some(certificate),
        CertificateChoices::Other(_) => None,
    });
    certificates.take(MOST_CERTIFICATES).collect()
}

fn signature(signer: &SignerInfo, certificates: &[&Certificate]) -> Signature {
    let own = certificates.iter().copied().find(|certificate| {
        let certificate = &certificate.tbs_certificate;
        match &signer.sid {
            SignerIdentifier::IssuerAndSerialNumber(id) => {
                id.issuer == certificate.issuer && id.serial_number == certificate.serial_number
            }
            SignerIdentifier::SubjectKeyIdentifier(_) => false,
        }
    });
    let Some(own) = own else {
        return Signature {
            signer: "someone unnamed".to_owned(),
            is_known: false,
            is_sha1: false,
            is_attested: false,
        };
    };
    let is_sha1 = signer.digest_alg.oid == SHA1;
    let name = common_name(&own.tbs_certificate.subject);
    Signature {
        signer: name.unwrap_or_else(|| "someone unnamed".to_owned()),
        is_known: leads_to_authority(own, certificates, DEEPEST, &|_| true),
        is_sha1: is_sha1 && leads_to_authority(own, certificates, DEEPEST, &is_by_sha1),
        is_attested: is_attested(own),
    }
}

fn is_by_sha1(certificate: &Certificate) -> bool {
    SHA1_WITH_RSA.contains(&certificate.signature_algorithm.oid)
}

/// Follows the names of issuers, by certificates of which each is wanted; one name may have
/// several certificates.
fn leads_to_authority(
    certificate: &Certificate,
    all: &[&Certificate],
    deepest: usize,
    wanted: &dyn Fn(&Certificate) -> bool,
) -> bool {
    let mut reached = vec![certificate];
    for _ in 0..deepest {
        reached.retain(|certificate| wanted(certificate));
        let issuers: Vec<&Name> = reached
            .iter()
            .map(|certificate| &certificate.tbs_certificate.issuer)
            .collect();
        let names = issuers.iter().filter_map(|name| common_name(name));
        if names
            .into_iter()
            .any(|name| AUTHORITIES.contains(&name.as_str()))
        {
            return true;
        }
        let next = all.iter().copied();
        reached = next
            .filter(|certificate| issuers.contains(&&certificate.tbs_certificate.subject))
            .collect();
    }
    false
}

fn is_attested(certificate: &Certificate) -> bool {
    let extensions = certificate.tbs_certificate.extensions.iter().flatten();
    let mut uses = extensions
        .filter(|extension| extension.extn_id == KEY_USES)
        .filter_map(|extension| ExtendedKeyUsage::from_der(extension.extn_value.as_bytes()).ok());
    uses.any(|uses| uses.0.contains(&ATTESTED))
}

/// Without characters that could forge a line.
fn common_name(name: &Name) -> Option<String> {
    let mut parts = name.0.iter().flat_map(|part| part.0.iter());
    let own = parts.rfind(|part| part.oid == COMMON_NAME)?;
    let text = String::from_utf8_lossy(own.value.value());
    let printable = text.chars().filter(|character| !character.is_control());
    Some(printable.take(LONGEST_NAME).collect())
}
