//! A synthetic site: machines, what runs on them, and who truly needs whom.

/// Whose customs the files of a machine follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// Debian and Ubuntu.
    Debian,
    /// RHEL, Rocky, Alma.
    Rhel,
}

/// In which form a machine keeps its logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogForm {
    /// Binary journal, written by `systemd-journal-remote`.
    Journal,
    /// `Nov 22 10:11:12 host tag[pid]: message`, no year.
    Traditional,
    /// `2026-11-22T10:11:12.345678+01:00 host tag[pid]: message`.
    Rsyslog,
    /// `<30>1 2026-11-22T10:11:12.345678+01:00 host tag pid - - message`.
    Rfc5424,
}

/// A program that serves, or that only uses others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    System,
    Bind,
    Dnsmasq,
    Dhcpd,
    Chrony,
    Slapd,
    SambaDc,
    Nfs,
    Smb,
    Iscsi,
    Postgres,
    Mariadb,
    Redis,
    Rabbit,
    Mongo,
    Search,
    Postfix,
    Dovecot,
    PythonApp,
    JavaApp,
    NodeApp,
    PhpSite,
    Gitea,
    Runner,
    Nginx,
    Haproxy,
    Zabbix,
    Nagios,
    Grafana,
    Bacula,
    LogHost,
}

/// How a client reaches a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Link {
    Resolver,
    Lease,
    Clock,
    Directory,
    DomainMember,
    NfsMount,
    Automount,
    CifsMount,
    IscsiDisk,
    SqlPostgres,
    SqlMariadb,
    Cache,
    Queue,
    MailRelay,
    Backend,
    ZoneTransfer,
    ReplicaPostgres,
    ReplicaMariadb,
    DirectorySync,
    GitRemote,
    Document,
    Search,
    /// Log lines sent to a log host; nobody waits for it.
    Forward,
    /// An agent that reports to its monitoring server.
    Agent,
    /// Monitoring looks whether a machine is there.
    Watch,
    /// Backup fetches from a machine.
    Fetch,
}

/// What a client does when the server is not there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Handling {
    /// Tries again every so many seconds and is not ready until it works.
    Waits(f64),
    /// Is ready without it and goes on trying every so many seconds.
    Background(f64),
    /// Exits; systemd starts it again after so many seconds, a few times.
    Restarts(f64),
    /// Stays failed until an operator comes.
    StaysDown,
}

/// How a configuration or a message names the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    Address,
    Short,
    Full,
    Alias,
}

/// A true dependency of one program on another.
#[derive(Debug, Clone)]
pub struct Need {
    pub client: (usize, usize),
    pub server: (usize, usize),
    pub link: Link,
    pub handling: Handling,
    pub reference: Reference,
    /// Whether a configuration file that a capture holds names the server.
    pub configured: bool,
    /// Whether the program's messages reach the log.
    pub logged: bool,
    /// Both need each other: no order between them is right or wrong.
    pub peer: bool,
}

/// A program on a machine.
#[derive(Debug, Clone)]
pub struct Program {
    pub kind: Kind,
    /// Seconds from its start to ready, without waiting for others.
    pub start_s: f64,
    /// Name of the application, its unit and its database.
    pub label: String,
}

/// One machine.
#[derive(Debug, Clone)]
pub struct Machine {
    pub name: String,
    pub address: String,
    pub alias: Option<String>,
    pub distribution: Distribution,
    pub log: LogForm,
    pub programs: Vec<Program>,
    /// Seconds from power to the kernel's first line.
    pub firmware_s: f64,
    /// Seconds from the kernel's first line to the first service.
    pub kernel_s: f64,
    /// Gets its address by DHCP.
    pub dynamic: bool,
    /// Names of the site are in `/etc/hosts`.
    pub hosts_file: bool,
    /// Which of the ways to configure the network its administrators took.
    pub network_style: u8,
    /// Address in the storage network.
    pub second_address: Option<String>,
}

/// The whole site.
#[derive(Debug, Clone)]
pub struct Site {
    pub seed: u64,
    pub domain: Option<String>,
    pub network: String,
    pub machines: Vec<Machine>,
    pub needs: Vec<Need>,
    /// Contacts that nobody depends on: monitoring, backup, forwarded logs.
    pub contacts: Vec<Need>,
}

impl Site {
    /// The name with the domain, where the site has one.
    pub fn full_name(&self, machine: usize) -> String {
        self.qualified(&self.machines[machine].name)
    }

    pub fn qualified(&self, short: &str) -> String {
        match &self.domain {
            Some(domain) => format!("{short}.{domain}"),
            None => short.to_owned(),
        }
    }

    /// The server of a need as its client writes it.
    pub fn written(&self, need: &Need) -> String {
        let server = &self.machines[need.server.0];
        match (need.reference, &server.alias) {
            (Reference::Address, _) => self.address_for(need).to_owned(),
            (Reference::Alias, Some(alias)) => self.qualified(alias),
            (Reference::Short, _) => server.name.clone(),
            _ => self.full_name(need.server.0),
        }
    }

    /// The address under which the client of a need reaches its server.
    pub fn address_for(&self, need: &Need) -> &str {
        let server = &self.machines[need.server.0];
        let storage = matches!(need.link, Link::NfsMount | Link::IscsiDisk);
        match &server.second_address {
            Some(second) if storage && need.reference == Reference::Address => second,
            _ => &server.address,
        }
    }

    pub fn program(&self, place: (usize, usize)) -> &Program {
        &self.machines[place.0].programs[place.1]
    }

    pub fn needs_of(&self, place: (usize, usize)) -> impl Iterator<Item = &Need> {
        self.needs.iter().filter(move |need| need.client == place)
    }

    /// The realm of the directory: the domain, or a made-up one.
    pub fn realm(&self) -> String {
        self.domain
            .clone()
            .unwrap_or_else(|| "local.lan".to_owned())
    }

    pub fn base_dn(&self) -> String {
        let parts: Vec<String> = self.realm().split('.').map(|p| format!("dc={p}")).collect();
        parts.join(",")
    }
}
