//! The control centre's name servers (136a, 136b; steps 358 and 362).
//!
//! Records are replaced by one signed update a server (RFC 2136, RFC 8945), so that a server has
//! either all of the old or all of the new ones, with a time to live of zero, so that nobody keeps
//! the old ones; and a server counts as changed only when a question to it shows the new ones.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use hickory_net::NetError;
use hickory_net::client::{Client, ClientHandle};
use hickory_net::runtime::TokioRuntimeProvider;
use hickory_net::tcp::TcpClientStream;
use hickory_net::xfer::{DnsHandle, DnsMultiplexer, FirstAnswer};
use hickory_proto::op::{
    DnsRequest, DnsRequestOptions, Message, OpCode, Query, ResponseCode, UpdateMessage,
};
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType, TSigner};

/// How long a name server may take for each answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How far its clock may be from ours, in seconds.
const FUDGE: u16 = 300;

/// A key that a name server knows (RFC 8945).
#[derive(Clone)]
pub struct Key {
    /// Its name there.
    pub name: String,
    /// `hmac-sha256`, `hmac-sha384` or `hmac-sha512`.
    pub algorithm: String,
    /// The shared secret.
    pub secret: Vec<u8>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {}, secret)", self.name, self.algorithm)
    }
}

/// A name server that is authoritative for the zone.
#[derive(Debug, Clone)]
pub struct NameServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// What signs changes.
    pub key: Key,
}

/// What a record set holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Another name.
    Cname,
    /// Mail servers, as `PREFERENCE NAME`.
    Mx,
}

/// All records of one name and kind.
#[derive(Debug, Clone)]
pub struct RecordSet {
    /// The name, with or without a final dot; always absolute.
    pub name: String,
    /// Their kind.
    pub kind: Kind,
    /// Their values; none removes the set.
    pub values: Vec<String>,
}

/// Why names could not be changed or seen.
#[derive(Debug, thiserror::Error)]
pub enum NamesError {
    /// The operator's configuration.
    #[error("`{value}` is not {expected}")]
    Value {
        /// What was given.
        value: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A name outside of the zone.
    #[error("`{name}` does not lie in the zone `{zone}`")]
    Outside {
        /// The name.
        name: String,
        /// The zone.
        zone: String,
    },
    /// Nobody there, or not in time.
    #[error("name server {server} does not answer")]
    Silent {
        /// Which.
        server: SocketAddr,
        /// What happened.
        #[source]
        source: NetError,
    },
    /// It answers, and does not do it.
    #[error("name server {server} refuses {wanted} with {code}: {remedy}")]
    Refused {
        /// Which.
        server: SocketAddr,
        /// What.
        wanted: String,
        /// Its answer.
        code: ResponseCode,
        /// What to do.
        remedy: &'static str,
    },
    /// It accepted the change and shows something else.
    #[error("name server {server} accepted the change of {name} and still shows {shows}")]
    NotShown {
        /// Which.
        server: SocketAddr,
        /// Whose records.
        name: String,
        /// What it shows.
        shows: String,
    },
}

impl NameServer {
    /// Whether it answers for `zone`: the serial of its zone (358).
    pub async fn serial(&self, zone: &str) -> Result<u32, NamesError> {
        let name = absolute(zone)?;
        let answers = self.ask(&name, RecordType::SOA).await?;
        answers
            .iter()
            .find_map(|record| match &record.data {
                RData::SOA(soa) => Some(soa.serial),
                _ => None,
            })
            .ok_or_else(|| self.refused(format!("the zone {zone}"), ResponseCode::NotZone))
    }

    /// Makes `sets` what the server shows (362). Says whether anything had to be changed.
    pub async fn replace(&self, zone: &str, sets: &[RecordSet]) -> Result<bool, NamesError> {
        let wanted = Wanted::parse(zone, sets)?;
        if self.difference(&wanted).await?.is_none() {
            return Ok(false);
        }
        let mut client = self.connect().await?;
        client.disable_edns();
        let request = DnsRequest::new(wanted.update(), DnsRequestOptions::default());
        let answer = client.send(request).first_answer().await;
        let answer = answer.map_err(|source| self.failed(zone, source))?;
        if answer.response_code != ResponseCode::NoError {
            return Err(self.refused(format!("the change of {zone}"), answer.response_code));
        }
        match self.difference(&wanted).await? {
            None => Ok(true),
            Some((name, shows)) => Err(NamesError::NotShown {
                server: self.address,
                name,
                shows,
            }),
        }
    }

    /// The first set that the server shows otherwise, and what it shows.
    async fn difference(&self, wanted: &Wanted) -> Result<Option<(String, String)>, NamesError> {
        for set in &wanted.sets {
            let shown = self.ask(&set.name, set.kind).await?;
            let mut shown: Vec<&Record> = shown
                .iter()
                .filter(|record| record.record_type() == set.kind && record.name == set.name)
                .collect();
            let long = shown.iter().any(|record| record.ttl > 0);
            let mut values: Vec<String> = shown
                .drain(..)
                .map(|record| record.data.to_string())
                .collect();
            let mut expected: Vec<String> = set.data.iter().map(ToString::to_string).collect();
            values.sort();
            expected.sort();
            if values != expected || long {
                let shows = if values.is_empty() {
                    "nothing".to_owned()
                } else {
                    values.join(", ")
                };
                return Ok(Some((set.name.to_string(), shows)));
            }
        }
        Ok(None)
    }

    async fn ask(&self, name: &Name, kind: RecordType) -> Result<Vec<Record>, NamesError> {
        let mut client = self.connect().await?;
        let asked = client.query(name.clone(), DNSClass::IN, kind).await;
        match asked {
            Ok(answer) => Ok(answer.answers.clone()),
            Err(error) if error.is_no_records_found() => Ok(Vec::new()),
            Err(source) => Err(self.failed(&name.to_string(), source)),
        }
    }

    async fn connect(&self) -> Result<Client<TokioRuntimeProvider>, NamesError> {
        let silent = |source| NamesError::Silent {
            server: self.address,
            source,
        };
        let provider = TokioRuntimeProvider::default();
        let (connecting, handle) =
            TcpClientStream::new(self.address, None, Some(PATIENCE), provider);
        let stream = connecting.await.map_err(silent)?;
        let multiplexer = DnsMultiplexer::new(stream, handle)
            .with_timeout(PATIENCE)
            .with_signer(self.signer()?);
        let (client, background) = Client::from_sender(multiplexer);
        tokio::spawn(background);
        Ok(client)
    }

    fn signer(&self) -> Result<TSigner, NamesError> {
        let algorithm = match self.key.algorithm.to_ascii_lowercase().as_str() {
            "hmac-sha256" => TsigAlgorithm::HmacSha256,
            "hmac-sha384" => TsigAlgorithm::HmacSha384,
            "hmac-sha512" => TsigAlgorithm::HmacSha512,
            _ => {
                return Err(value(
                    &self.key.algorithm,
                    "hmac-sha256, hmac-sha384 or hmac-sha512",
                ));
            }
        };
        let name = absolute(&self.key.name)?;
        TSigner::new(self.key.secret.clone(), algorithm, name, FUDGE)
            .map_err(|_| value(&self.key.name, "a usable key"))
    }

    /// An answer whose signature does not fit is no answer.
    fn failed(&self, wanted: &str, source: NetError) -> NamesError {
        match response_code(&source) {
            Some(code) => self.refused(wanted.to_owned(), code),
            None => NamesError::Silent {
                server: self.address,
                source,
            },
        }
    }

    fn refused(&self, wanted: String, code: ResponseCode) -> NamesError {
        let remedy = match code {
            ResponseCode::Refused => "allow the key to update the zone there (update-policy)",
            ResponseCode::NotAuth | ResponseCode::BADKEY | ResponseCode::BADSIG => {
                "give the same key, algorithm and secret on both sides"
            }
            ResponseCode::BADTIME => "set the clocks of both hosts",
            ResponseCode::NotZone => "make it authoritative for the zone",
            _ => "look into its log",
        };
        NamesError::Refused {
            server: self.address,
            wanted,
            code,
            remedy,
        }
    }
}

fn response_code(error: &NetError) -> Option<ResponseCode> {
    match error {
        // A server that does not take our signature answers with an empty one (RFC 8945, 5.2.2).
        NetError::Proto(_) => Some(ResponseCode::BADSIG),
        NetError::Dns(hickory_net::DnsError::ResponseCode(code)) => Some(*code),
        _ => None,
    }
}

struct Wanted {
    zone: Name,
    sets: Vec<WantedSet>,
}

struct WantedSet {
    name: Name,
    kind: RecordType,
    data: Vec<RData>,
}

impl Wanted {
    fn parse(zone: &str, sets: &[RecordSet]) -> Result<Self, NamesError> {
        let name = absolute(zone)?;
        let sets = sets
            .iter()
            .map(|set| WantedSet::parse(&name, set))
            .collect::<Result<_, _>>()?;
        Ok(Self { zone: name, sets })
    }

    /// One message: every set removed, then its new records added.
    fn update(&self) -> Message {
        let mut zone = Query::new();
        zone.set_name(self.zone.clone())
            .set_query_class(DNSClass::IN)
            .set_query_type(RecordType::SOA);
        let mut message = Message::query();
        message.metadata.op_code = OpCode::Update;
        message.metadata.recursion_desired = false;
        message.add_zone(zone);
        for set in &self.sets {
            let mut delete = Record::update0(set.name.clone(), 0, set.kind);
            delete.dns_class = DNSClass::ANY;
            message.add_update(delete);
            for data in &set.data {
                message.add_update(Record::from_rdata(set.name.clone(), 0, data.clone()));
            }
        }
        message
    }
}

impl WantedSet {
    fn parse(zone: &Name, set: &RecordSet) -> Result<Self, NamesError> {
        let name = absolute(&set.name)?;
        if !zone.zone_of(&name) {
            return Err(NamesError::Outside {
                name: set.name.clone(),
                zone: zone.to_string(),
            });
        }
        let data = set.values.iter().map(|text| data(set.kind, text));
        Ok(Self {
            name,
            kind: record_type(set.kind),
            data: data.collect::<Result<_, _>>()?,
        })
    }
}

fn record_type(kind: Kind) -> RecordType {
    match kind {
        Kind::A => RecordType::A,
        Kind::Aaaa => RecordType::AAAA,
        Kind::Cname => RecordType::CNAME,
        Kind::Mx => RecordType::MX,
    }
}

fn data(kind: Kind, text: &str) -> Result<RData, NamesError> {
    match kind {
        Kind::A => text
            .parse()
            .map(|address| RData::A(A(address)))
            .map_err(|_| value(text, "an IPv4 address")),
        Kind::Aaaa => text
            .parse()
            .map(|address| RData::AAAA(AAAA(address)))
            .map_err(|_| value(text, "an IPv6 address")),
        Kind::Cname => Ok(RData::CNAME(CNAME(absolute(text)?))),
        Kind::Mx => {
            let expected = "a preference and a name, such as `10 mail.example.org`";
            let (preference, name) = text.split_once(' ').ok_or_else(|| value(text, expected))?;
            let preference = preference.parse().map_err(|_| value(text, expected))?;
            Ok(RData::MX(MX::new(preference, absolute(name.trim())?)))
        }
    }
}

fn absolute(name: &str) -> Result<Name, NamesError> {
    let mut parsed = Name::from_str(name).map_err(|_| value(name, "a domain name"))?;
    parsed.set_fqdn(true);
    Ok(parsed)
}

fn value(value: &str, expected: &'static str) -> NamesError {
    NamesError::Value {
        value: value.to_owned(),
        expected,
    }
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
