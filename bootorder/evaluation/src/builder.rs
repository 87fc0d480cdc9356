//! The parts of which topologies are built: machines, programs, needs.

use fastrand::Rng;

use crate::model::{
    Distribution, Handling, Kind, Link, LogForm, Machine, Need, Program, Reference, Site,
};
use crate::names::Namer;
use crate::parameters::Parameters;
use crate::programs::start_range;

/// Where in the site something runs.
pub type Place = (usize, usize);

/// What later machines can need.
#[derive(Default)]
pub struct Servers {
    pub dns: Vec<Place>,
    pub time: Vec<Place>,
    pub dhcp: Vec<Place>,
    pub directory: Vec<Place>,
    pub domain: Vec<Place>,
    pub nfs: Vec<Place>,
    pub smb: Vec<Place>,
    pub iscsi: Vec<Place>,
    pub postgres: Vec<Place>,
    pub mariadb: Vec<Place>,
    pub redis: Vec<Place>,
    pub rabbit: Vec<Place>,
    pub mongo: Vec<Place>,
    pub search: Vec<Place>,
    pub mail: Vec<Place>,
    pub git: Vec<Place>,
    pub backends: Vec<Place>,
}

pub struct Builder<'a> {
    pub rng: Rng,
    pub namer: Namer,
    pub p: &'a Parameters,
    pub site: Site,
    pub servers: Servers,
    pub labels: Vec<String>,
    pub dynamic_site: bool,
    /// Storage traffic has a network of its own.
    pub storage_network: bool,
}

impl Builder<'_> {
    pub fn chance(&mut self, share: f64) -> bool {
        self.rng.f64() < share
    }

    pub fn between(&mut self, least: f64, most: f64) -> f64 {
        least + self.rng.f64() * (most - least)
    }

    pub fn choose(&mut self, places: &[Place]) -> Option<Place> {
        (!places.is_empty()).then(|| places[self.rng.usize(..places.len())])
    }

    /// A machine with what every machine has.
    pub fn machine(&mut self, function: &str) -> usize {
        let index = self.site.machines.len();
        let form = self.rng.f64();
        let t = &self.p.traces;
        let log = if form < t.journal {
            LogForm::Journal
        } else if form < t.journal + t.traditional {
            LogForm::Traditional
        } else if form < t.journal + t.traditional + t.rsyslog {
            LogForm::Rsyslog
        } else {
            LogForm::Rfc5424
        };
        let (rhel, hosts, alias) = (self.p.site.rhel, self.p.site.hosts_file, self.p.site.alias);
        let machine = Machine {
            name: self.namer.next(function),
            address: address(&self.site.network, index),
            alias: self.chance(alias).then(|| format!("{function}-svc{index}")),
            distribution: if self.chance(rhel) {
                Distribution::Rhel
            } else {
                Distribution::Debian
            },
            log,
            programs: Vec::new(),
            firmware_s: self.between(5.0, 90.0),
            kernel_s: self.between(2.0, 12.0),
            dynamic: false,
            // Without a domain nothing else knows the names.
            network_style: self.rng.u8(..6),
            second_address: None,
            hosts_file: self.chance(hosts) || self.site.domain.is_none(),
        };
        self.site.machines.push(machine);
        self.program(index, Kind::System);
        self.basics(index);
        index
    }

    pub fn program(&mut self, machine: usize, kind: Kind) -> Place {
        let (least, most) = start_range(kind);
        let start_s = self.between(least, most);
        let label = match kind {
            Kind::PythonApp | Kind::NodeApp | Kind::JavaApp | Kind::PhpSite => self.label(),
            _ => String::new(),
        };
        // RHEL ships neither.
        if matches!(kind, Kind::SambaDc | Kind::Slapd) {
            self.site.machines[machine].distribution = Distribution::Debian;
        }
        let programs = &mut self.site.machines[machine].programs;
        programs.push(Program {
            kind,
            start_s,
            label,
        });
        (machine, programs.len() - 1)
    }

    pub fn label(&mut self) -> String {
        match self.labels.len() {
            0 => format!("service{}", self.rng.u16(..)),
            many => self.labels.remove(self.rng.usize(..many)),
        }
    }

    pub fn need(&mut self, client: Place, server: Place, link: Link) {
        if client.0 == server.0 {
            return;
        }
        let handling = self.handling(link);
        let reference = self.reference(server.0, link);
        let (configured, logged) = (self.p.traces.configured, self.p.traces.logged);
        let always = matches!(link, Link::Resolver | Link::NfsMount | Link::CifsMount);
        let configured = always || self.chance(configured);
        let logged = self.chance(logged);
        self.site.needs.push(Need {
            client,
            server,
            link,
            handling,
            reference,
            // These are kept in the database, or nowhere.
            configured: configured && !matches!(link, Link::Lease | Link::ReplicaMariadb),
            logged,
            peer: false,
        });
    }

    pub fn peers(&mut self, one: Place, other: Place, link: Link) {
        for (client, server) in [(one, other), (other, one)] {
            self.need(client, server, link);
            if let Some(need) = self.site.needs.last_mut() {
                need.peer = true;
                need.handling = Handling::Background(10.0);
            }
        }
    }

    pub fn handling(&mut self, link: Link) -> Handling {
        let interval = self.between(2.0, 15.0);
        match link {
            Link::Resolver => Handling::Background(5.0),
            Link::Clock => Handling::Background(64.0),
            Link::Lease => Handling::Waits(interval),
            Link::Directory | Link::DomainMember => Handling::Background(interval * 4.0),
            Link::Automount | Link::MailRelay => Handling::Background(interval * 6.0),
            Link::Backend | Link::GitRemote => Handling::Background(2.0),
            Link::ZoneTransfer | Link::ReplicaMariadb => Handling::Background(60.0),
            Link::ReplicaPostgres | Link::DirectorySync => Handling::Background(5.0),
            Link::Forward | Link::Agent | Link::Watch | Link::Fetch => Handling::Background(30.0),
            Link::NfsMount | Link::CifsMount => match self.chance(0.4) {
                true => Handling::Waits(interval),
                false => Handling::StaysDown,
            },
            Link::IscsiDisk => match self.chance(0.6) {
                true => Handling::Waits(interval / 2.0),
                false => Handling::StaysDown,
            },
            Link::SqlPostgres
            | Link::SqlMariadb
            | Link::Cache
            | Link::Queue
            | Link::Document
            | Link::Search => {
                let share = self.rng.f64();
                let h = &self.p.handling;
                if share < h.waits {
                    Handling::Waits(interval)
                } else if share < h.waits + h.restarts {
                    Handling::Restarts(interval)
                } else {
                    Handling::StaysDown
                }
            }
        }
    }

    pub fn reference(&mut self, server: usize, link: Link) -> Reference {
        if matches!(link, Link::Resolver | Link::ZoneTransfer | Link::Lease) {
            return Reference::Address;
        }
        let has_alias = self.site.machines[server].alias.is_some();
        let r = self.p.references.clone();
        // An alias lives in the zone, so a site without a domain has none.
        if has_alias && self.site.domain.is_some() && self.chance(r.alias) {
            return Reference::Alias;
        }
        let share = self.rng.f64();
        if share < r.address {
            Reference::Address
        } else if share < r.address + r.short {
            Reference::Short
        } else {
            Reference::Full
        }
    }

    /// What every machine needs: names, time, an address, accounts.
    pub fn basics(&mut self, machine: usize) {
        let system = (machine, 0);
        for server in self.servers.dns.clone() {
            self.need(system, server, Link::Resolver);
        }
        let time = self.servers.time.clone();
        if let Some(server) = self.choose(&time)
            && self.chance(0.8)
        {
            self.need(system, server, Link::Clock);
        }
        let (domain, directory) = (self.servers.domain.clone(), self.servers.directory.clone());
        if !domain.is_empty() && self.chance(0.4) {
            for server in domain {
                self.need(system, server, Link::DomainMember);
            }
        } else if !directory.is_empty() && self.chance(0.5) {
            for server in directory {
                self.need(system, server, Link::Directory);
            }
        }
    }
}

/// Large sites go on in the next networks.
fn address(network: &str, index: usize) -> String {
    let (head, third) = network.rsplit_once('.').unwrap_or((network, "0"));
    let third: usize = third.parse().unwrap_or(0);
    format!(
        "{head}.{}.{}",
        (third + index / 140) % 250,
        10 + index % 140
    )
}
