//! What is looked at.

use serde::Deserialize;

/// Something that is looked at every now and then, within a time of its own.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The metric's name: words between dots.
    pub name: String,
    /// What is done.
    pub probe: Probe,
    /// When it makes sense.
    #[serde(default)]
    pub when: When,
    /// How long it may take, in seconds.
    #[serde(default = "ten")]
    pub limit_s: u32,
    /// The least value that is good.
    pub good_from: Option<f64>,
    /// The greatest value that is good.
    pub good_to: Option<f64>,
}

/// When a check makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Always.
    #[default]
    Always,
    /// While this host serves.
    Serving,
}

/// How to look. Those that log in measure the seconds that it takes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// Greets a mail server, and logs in where a user is named.
    Smtp(Access),
    /// Logs in to a mailbox and opens its inbox.
    Imap(Access),
    /// Logs in to a mailbox.
    Pop3(Access),
    /// Fetches a page.
    Http(Http),
    /// Logs in to PostgreSQL and asks something.
    Sql(Sql),
    /// Connects.
    Tcp(Access),
    /// Sends an ICMP echo.
    Ping(String),
    /// Asks a network device (SNMP v2c).
    Snmp(Snmp),
    /// Runs a command, which prints a number.
    Command {
        /// Program (absolute path) and arguments.
        argv: Vec<String>,
        /// The number's unit.
        unit: String,
    },
}

/// Where and as whom to log in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// Name or address.
    pub host: String,
    /// The port.
    pub port: String,
    /// How the connection is protected.
    #[serde(default)]
    pub tls: Tls,
    /// The CA that the server's certificate has to come from (PEM file); needed with TLS.
    pub trust: Option<String>,
    /// Who logs in.
    pub user: Option<String>,
    /// With what.
    pub password: Option<String>,
}

/// How a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// Not at all.
    #[default]
    None,
    /// TLS from the first byte.
    Wrapped,
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Where.
    pub access: Access,
    /// The page, beginning with `/`.
    pub path: String,
    /// The status that is good.
    #[serde(default = "ok")]
    pub status: u16,
    /// A text that the page has to hold.
    pub contains: Option<String>,
}

/// A question to PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sql {
    /// Where and as whom.
    pub access: Access,
    /// Which database.
    pub database: String,
    /// What is asked; a single number in the answer becomes the value, else the seconds it took.
    pub query: String,
    /// The number's unit.
    pub unit: Option<String>,
}

/// A question to a network device.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snmp {
    /// Name or address.
    pub host: String,
    /// The port.
    #[serde(default = "snmp_port")]
    pub port: String,
    /// The community.
    pub community: String,
    /// What is asked, as in `1.3.6.1.2.1.1.3.0`.
    pub oid: String,
    /// The number's unit.
    pub unit: String,
}

fn ten() -> u32 {
    10
}

fn ok() -> u16 {
    200
}

fn snmp_port() -> String {
    "161".to_owned()
}
