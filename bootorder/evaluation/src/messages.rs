//! What programs write when a server is back, or goes away while they run.

use crate::failures::failure;
use crate::model::{Distribution, Kind, Link, Need, Site};
use crate::programs::package;

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The machine is up, the program is not.
    Refused,
    /// The machine is down; its neighbours find no hardware address.
    Unreachable,
    /// The machine is down; packets vanish.
    TimedOut,
    /// No name server answered.
    Nameless,
}

impl Cause {
    pub fn words(self) -> &'static str {
        match self {
            Self::Refused => "Connection refused",
            Self::Unreachable => "No route to host",
            Self::TimedOut => "Connection timed out",
            Self::Nameless => "Temporary failure in name resolution",
        }
    }

    pub fn number(self) -> i32 {
        match self {
            Self::Refused => 111,
            Self::Unreachable => 113,
            Self::TimedOut | Self::Nameless => 110,
        }
    }

    fn go(self) -> &'static str {
        match self {
            Self::Refused => "connect: connection refused",
            Self::Unreachable => "connect: no route to host",
            Self::TimedOut | Self::Nameless => "i/o timeout",
        }
    }

    pub fn java(self) -> &'static str {
        match self {
            Self::Refused => "Connection refused",
            Self::Unreachable => "No route to host (Host unreachable)",
            Self::TimedOut | Self::Nameless => "connect timed out",
        }
    }
}

/// One line of a program.
#[derive(Debug, Clone)]
pub struct Said {
    pub tag: String,
    pub unit: String,
    pub priority: u8,
    pub text: String,
}

/// Everything a message can mention.
pub struct Scene<'a> {
    pub site: &'a Site,
    pub need: &'a Need,
    pub cause: Cause,
    pub client: Kind,
    pub label: &'a str,
    pub tag: String,
    pub unit: String,
    /// The server as the configuration names it.
    pub target: String,
    pub short: &'a str,
    pub address: &'a str,
    pub port: u16,
}

impl<'a> Scene<'a> {
    pub fn new(site: &'a Site, need: &'a Need, cause: Cause) -> Self {
        let machine = &site.machines[need.client.0];
        let program = site.program(need.client);
        let client = package(program, machine.distribution);
        let server = &site.machines[need.server.0];
        let served = package(site.program(need.server), server.distribution);
        Self {
            site,
            need,
            cause,
            client: program.kind,
            label: &program.label,
            tag: client.tag,
            unit: client.unit,
            target: site.written(need),
            short: &server.name,
            address: site.address_for(need),
            port: served.port,
        }
    }

    pub fn say(&self, priority: u8, text: String) -> Said {
        Said {
            tag: self.tag.clone(),
            unit: self.unit.clone(),
            priority,
            text,
        }
    }

    pub fn by(&self, tag: &str, unit: &str, priority: u8, text: String) -> Said {
        Said {
            tag: tag.to_owned(),
            unit: unit.to_owned(),
            priority,
            text,
        }
    }

    pub fn debian(&self) -> bool {
        self.site.machines[self.need.client.0].distribution == Distribution::Debian
    }

    /// The server as libpq names it since version 14.
    pub fn libpq(&self) -> String {
        let (target, address, port) = (&self.target, self.address, self.port);
        if self.cause == Cause::Nameless {
            return format!(
                "could not translate host name \"{target}\" to address: Temporary failure in name resolution"
            );
        }
        let shown = match target.as_str() == address {
            true => format!("\"{address}\""),
            false => format!("\"{target}\" ({address})"),
        };
        format!(
            "connection to server at {shown}, port {port} failed: {}",
            self.cause.words()
        )
    }

    pub fn mysql(&self, since_105: bool) -> String {
        let (target, number) = (&self.target, self.cause.number());
        let product = if since_105 { "server" } else { "MySQL server" };
        match self.cause {
            Cause::Nameless => format!("Unknown {product} host '{target}' (-3)"),
            cause if since_105 => format!(
                "Can't connect to server on '{target}' ({number} \"{}\")",
                cause.words()
            ),
            _ => format!("Can't connect to {product} on '{target}' ({number})"),
        }
    }

    pub fn dial(&self) -> String {
        match self.cause {
            Cause::Nameless => format!(
                "dial tcp: lookup {} on 127.0.0.53:53: server misbehaving",
                self.target
            ),
            cause => format!("dial tcp {}:{}: {}", self.address, self.port, cause.go()),
        }
    }

    pub fn node(&self) -> String {
        let (target, address, port) = (&self.target, self.address, self.port);
        match self.cause {
            Cause::Refused => format!("Error: connect ECONNREFUSED {address}:{port}"),
            Cause::Unreachable => format!("Error: connect EHOSTUNREACH {address}:{port}"),
            Cause::TimedOut => format!("Error: connect ETIMEDOUT {address}:{port}"),
            Cause::Nameless => format!("Error: getaddrinfo EAI_AGAIN {target}"),
        }
    }

    pub fn errno(&self) -> String {
        match self.cause {
            Cause::Nameless => "[Errno -3] Temporary failure in name resolution".to_owned(),
            cause => format!("[Errno {}] {}", cause.number(), cause.words()),
        }
    }
}

/// What is written when the server answers, after failures or at once.
pub fn success(site: &Site, need: &Need, after_failures: bool) -> Vec<Said> {
    let s = Scene::new(site, need, Cause::Refused);
    match (need.link, after_failures) {
        (Link::Lease, _) => vec![
            s.by("dhclient", "ifup@eth0.service", 6, format!("DHCPACK of {} from {}", site.machines[need.client.0].address, s.address)),
            s.by("dhclient", "ifup@eth0.service", 6, format!("bound to {} -- renewal in 1543 seconds.", site.machines[need.client.0].address)),
        ],
        (Link::Clock, _) if s.debian() => vec![s.by("systemd-timesyncd", "systemd-timesyncd.service", 6, format!("Contacted time server {}:123 ({}).", s.address, s.target))],
        (Link::Clock, _) => vec![s.by("chronyd", "chronyd.service", 6, match s.target == s.address {
            true => format!("Selected source {}", s.address),
            false => format!("Selected source {} ({})", s.address, s.target),
        })],
        (Link::Directory | Link::DomainMember, true) if s.client == Kind::System => match s.debian() && need.link == Link::Directory {
            true => vec![s.by("nslcd", "nslcd.service", 6, format!("[8b4567] <passwd=\"admin\"> connected to LDAP server ldap://{}/", s.target))],
            false if !s.debian() => vec![s.by("sssd_be", "sssd.service", 6, "Backend is online".into())],
            false => Vec::new(),
        },
        (Link::NfsMount | Link::CifsMount, _) => {
            let point = mount_point(need.link);
            let unit = mount_unit(point);
            vec![s.by("systemd", &unit, 6, format!("Mounted {unit} - {point}."))]
        }
        (Link::IscsiDisk, _) => vec![s.by("iscsid", "iscsid.service", 6, format!(
            "Connection1:0 to [target: iqn.2003-01.org.linux-iscsi.{}:data, portal: {},3260] through [iface: default] is operational now", s.short, s.address
        ))],
        (Link::SqlPostgres | Link::SqlMariadb, true) if s.client == Kind::Zabbix => vec![s.say(5, "database connection re-established".into())],
        (Link::Queue, true) if s.client == Kind::PythonApp => vec![s.say(6, format!("Connected to amqp://{}:**@{}:5672//", s.label, s.target))],
        (Link::Backend, true) if s.client == Kind::Haproxy => vec![s.say(5, format!(
            "[WARNING]  (734) : Server be_web/{} is UP, reason: Layer4 check passed, check duration: 0ms. 2 active and 0 backup servers online. 0 sessions requeued, 0 total in queue.", s.short
        ))],
        (Link::Forward, true) => vec![s.by("rsyslogd", "rsyslog.service", 6, "action 'action-8-builtin:omfwd' resumed (module 'builtin:omfwd') [v8.2302.0 try https://www.rsyslog.com/e/2359 ]".into())],
        (Link::Agent, true) => vec![s.by("zabbix_agentd", "zabbix-agent.service", 4, format!("active check configuration update from [{}:10051] is working again", s.target))],
        (Link::Watch, true) if s.client == Kind::Zabbix => vec![s.say(4, format!("resuming Zabbix agent checks on host \"{}\": connection restored", s.short))],
        (Link::Watch, true) => vec![s.say(6, format!("HOST ALERT: {};UP;SOFT;2;PING OK - Packet loss = 0%, RTA = 0.42 ms", s.short))],
        (Link::ZoneTransfer, _) => vec![s.say(6, format!("transfer of '{}/IN' from {}#53: Transfer status: success", site.realm(), s.address))],
        (Link::ReplicaPostgres, _) => vec![s.say(6, "LOG:  started streaming WAL from primary at 0/3000000 on timeline 1".into())],
        (Link::ReplicaMariadb, _) => vec![s.say(6, format!("[Note] Slave I/O thread: connected to master 'repl@{}:{}',replication started in log 'mysql-bin.000012' at position 342", s.target, s.port))],
        _ => Vec::new(),
    }
}

/// What a running client writes when its server goes away, and when it is back.
pub fn outage(site: &Site, need: &Need) -> (Vec<Said>, Vec<Said>) {
    let s = Scene::new(site, need, Cause::Refused);
    match need.link {
        Link::NfsMount | Link::Automount => (
            vec![s.by("kernel", "", 5, format!("nfs: server {} not responding, still trying", s.target))],
            vec![s.by("kernel", "", 5, format!("nfs: server {} OK", s.target))],
        ),
        Link::IscsiDisk => (
            vec![
                s.by("kernel", "", 6, " connection1:0: detected conn error (1020)".into()),
                s.by("iscsid", "iscsid.service", 4, "Kernel reported iSCSI connection 1:0 error (1020 - ISCSI_ERR_TCP_CONN_CLOSE: TCP connection closed) state (3)".into()),
            ],
            vec![s.by("iscsid", "iscsid.service", 6, "connection1:0 is operational after recovery (4 attempts)".into())],
        ),
        Link::CifsMount => (
            vec![s.by("kernel", "", 5, format!("CIFS: VFS: \\\\{} has not responded in 180 seconds. Reconnecting...", s.target))],
            Vec::new(),
        ),
        Link::Resolver | Link::Clock | Link::Lease => (Vec::new(), Vec::new()),
        _ => (failure(site, need, Cause::Refused, 0), success(site, need, true)),
    }
}

/// A mount point as systemd names its unit.
pub fn mount_unit(path: &str) -> String {
    let name = path
        .trim_matches('/')
        .replace('-', "\\x2d")
        .replace('/', "-");
    format!("{name}.mount")
}

/// Where a need is mounted.
pub fn mount_point(link: Link) -> &'static str {
    match link {
        Link::CifsMount => "/srv/share",
        _ => "/srv/export",
    }
}
