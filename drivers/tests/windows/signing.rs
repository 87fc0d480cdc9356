//! Signatures as drivers carry them, made up: every certificate says what it should, and no
//! number in it was computed.

use std::str::FromStr;

use cms::cert::x509::certificate::{TbsCertificateInner, Version};
use cms::cert::x509::der::asn1::{BitString, ObjectIdentifier, OctetString, SetOfVec, UtcTime};
use cms::cert::x509::der::{Any, DateTime, Encode, Tag};
use cms::cert::x509::ext::Extension;
use cms::cert::x509::ext::pkix::ExtendedKeyUsage;
use cms::cert::x509::name::Name;
use cms::cert::x509::serial_number::SerialNumber;
use cms::cert::x509::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use cms::cert::x509::time::{Time, Validity};
use cms::cert::x509::{Certificate, attr::Attribute};
use cms::cert::{CertificateChoices, IssuerAndSerialNumber};
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{
    EncapsulatedContentInfo, SignedData, SignerIdentifier, SignerInfo, SignerInfos,
};

pub const CROSS: &str = "Microsoft Code Verification Root";
pub const ROOT: &str = "Microsoft Root Certificate Authority 2010";
pub const TESTED: &str = "Microsoft Windows Hardware Compatibility Publisher";

const SHA1: [&str; 2] = ["1.3.14.3.2.26", "1.2.840.113549.1.1.5"];
const SHA256: [&str; 2] = ["2.16.840.1.101.3.4.2.1", "1.2.840.113549.1.1.11"];

/// One signature: names from the signer up, and how it was made.
#[derive(Debug, Clone, Copy)]
pub struct Maker<'m> {
    pub names: &'m [&'m str],
    pub sha2: bool,
    pub attested: bool,
}

/// As Microsoft signs what it tested.
pub const BY_MICROSOFT: Maker<'static> = Maker {
    names: &[
        TESTED,
        "Microsoft Windows Third Party Component CA 2014",
        ROOT,
    ],
    sha2: true,
    attested: false,
};

fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

fn algorithm(text: &str) -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned {
        oid: oid(text),
        parameters: None,
    }
}

fn name(text: &str) -> Name {
    Name::from_str(&format!("CN={text}")).unwrap()
}

impl Maker<'_> {
    fn algorithms(&self) -> [&'static str; 2] {
        if self.sha2 { SHA256 } else { SHA1 }
    }

    fn certificate(&self, place: usize) -> Certificate {
        let date = |year| {
            Time::UtcTime(
                UtcTime::from_date_time(DateTime::new(year, 1, 1, 0, 0, 0).unwrap()).unwrap(),
            )
        };
        let uses = ExtendedKeyUsage(vec![oid("1.3.6.1.4.1.311.10.3.5.1")]);
        let extension = Extension {
            extn_id: oid("2.5.29.37"),
            critical: false,
            extn_value: OctetString::new(uses.to_der().unwrap()).unwrap(),
        };
        let bits = BitString::from_bytes(&[1, 2, 3]).unwrap();
        let signed_by = algorithm(self.algorithms()[1]);
        Certificate {
            tbs_certificate: TbsCertificateInner {
                version: Version::V3,
                serial_number: SerialNumber::from(place as u8 + 1),
                signature: signed_by.clone(),
                issuer: name(self.names[place + 1]),
                validity: Validity {
                    not_before: date(2014),
                    not_after: date(2029),
                },
                subject: name(self.names[place]),
                subject_public_key_info: SubjectPublicKeyInfoOwned {
                    algorithm: algorithm("1.2.840.113549.1.1.1"),
                    subject_public_key: bits.clone(),
                },
                issuer_unique_id: None,
                subject_unique_id: None,
                extensions: (self.attested && place == 0).then(|| vec![extension]),
            },
            signature_algorithm: signed_by,
            signature: bits,
        }
    }

    /// PKCS #7, with another signature inside.
    pub fn signature(&self, inside: Option<Maker>) -> Vec<u8> {
        let digest = algorithm(self.algorithms()[0]);
        let attribute = inside.map(|inside| Attribute {
            oid: oid("1.3.6.1.4.1.311.2.4.1"),
            values: SetOfVec::try_from(vec![Any::from_der_of(&inside.signature(None))]).unwrap(),
        });
        let signer = SignerInfo {
            version: CmsVersion::V1,
            sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
                issuer: name(self.names[1]),
                serial_number: SerialNumber::from(1_u8),
            }),
            digest_alg: digest.clone(),
            signed_attrs: None,
            signature_algorithm: algorithm("1.2.840.113549.1.1.1"),
            signature: OctetString::new(vec![9; 8]).unwrap(),
            unsigned_attrs: attribute.map(|one| SetOfVec::try_from(vec![one]).unwrap()),
        };
        let count = self.names.len() - 1;
        let all = (0..count).map(|place| CertificateChoices::Certificate(self.certificate(place)));
        let data = SignedData {
            version: CmsVersion::V1,
            digest_algorithms: SetOfVec::try_from(vec![digest]).unwrap(),
            encap_content_info: EncapsulatedContentInfo {
                econtent_type: oid("1.3.6.1.4.1.311.2.1.4"),
                econtent: Some(Any::new(Tag::Sequence, Vec::new()).unwrap()),
            },
            certificates: Some(all.collect::<Vec<_>>().try_into().unwrap()),
            crls: None,
            signer_infos: SignerInfos(SetOfVec::try_from(vec![signer]).unwrap()),
        };
        let info = ContentInfo {
            content_type: oid("1.2.840.113549.1.7.2"),
            content: Any::encode_from(&data).unwrap(),
        };
        info.to_der().unwrap()
    }
}

trait FromDer {
    fn from_der_of(bytes: &[u8]) -> Self;
}

impl FromDer for Any {
    fn from_der_of(bytes: &[u8]) -> Self {
        use cms::cert::x509::der::Decode;
        Self::from_der(bytes).unwrap()
    }
}

/// A program for amd64 that holds these signatures, one after the other.
pub fn signed(mut program: Vec<u8>, signatures: &[Vec<u8>]) -> Vec<u8> {
    let content = program.split_off(0x86);
    program.resize(0x200, 0);
    program[0x98..0x9a].copy_from_slice(&0x20b_u16.to_le_bytes());
    program[0x104..0x108].copy_from_slice(&16_u32.to_le_bytes());
    program.extend(content);
    program.resize(program.len().next_multiple_of(8), 0);
    let place = program.len() as u32;
    for signature in signatures {
        let length = (signature.len() + 8) as u32;
        program.extend(length.to_le_bytes());
        program.extend([0, 2, 2, 0]);
        program.extend(signature);
        program.resize(program.len().next_multiple_of(8), 0);
    }
    let size = program.len() as u32 - place;
    program[0x128..0x12c].copy_from_slice(&place.to_le_bytes());
    program[0x12c..0x130].copy_from_slice(&size.to_le_bytes());
    program
}
