//! Small and medium firms: which machines there are, what they run, whom they need.

use fastrand::Rng;

use crate::builder::{Builder, Place, Servers};
use crate::model::{Handling, Kind, Link, Site};
use crate::names::{Namer, domain};
use crate::parameters::Parameters;

const LABELS: &[&str] = &[
    "shop",
    "billing",
    "crm",
    "wiki",
    "intranet",
    "booking",
    "tickets",
    "reports",
    "stockroom",
    "portal",
    "payroll",
    "survey",
    "planner",
    "invoices",
    "catalog",
];

/// Builds the structure of a site; logs come later.
pub fn build(seed: u64, machines: usize, parameters: &Parameters) -> Site {
    let mut rng = Rng::with_seed(seed);
    let domain = (rng.f64() < parameters.site.domain).then(|| domain(&mut rng));
    let namer = Namer::new(
        &mut rng,
        parameters.site.named_by_function,
        parameters.site.named_by_theme,
    );
    let network = match rng.u8(..3) {
        0 => format!("10.{}.{}", rng.u8(1..250), rng.u8(0..250)),
        1 => format!("192.168.{}", rng.u8(1..250)),
        _ => format!("172.{}.{}", rng.u8(16..32), rng.u8(0..250)),
    };
    let mut builder = Builder {
        namer,
        p: parameters,
        site: Site {
            seed,
            domain,
            network,
            machines: Vec::new(),
            needs: Vec::new(),
            contacts: Vec::new(),
        },
        servers: Servers::default(),
        labels: LABELS.iter().map(|l| (*l).to_owned()).collect(),
        storage_network: rng.f64() < parameters.site.storage_network,
        dynamic_site: rng.f64() < parameters.site.dynamic,
        rng,
    };
    builder.infrastructure(machines);
    builder.storage(machines);
    builder.data(machines);
    builder.applications(machines);
    builder.contacts();
    builder.second_addresses();
    builder.site
}

impl Builder<'_> {
    fn infrastructure(&mut self, machines: usize) {
        let style = self.rng.u8(..4);
        let pair = machines >= 10 && self.chance(0.7);
        let first = match style {
            0 => self.domain_controller(),
            1 if machines < 12 => self.small_office(),
            _ => self.name_server(),
        };
        if pair
            && !self.site.machines[first]
                .programs
                .iter()
                .any(|p| p.kind == Kind::Dnsmasq)
        {
            match style {
                0 => self.second_controller(),
                _ => self.second_name_server(),
            }
        }
        if style != 0 && machines >= 7 && self.chance(0.6) {
            self.directory_servers(machines);
        }
    }

    fn domain_controller(&mut self) -> usize {
        let machine = self.machine("dc");
        let place = self.program(machine, Kind::SambaDc);
        let clock = self.program(machine, Kind::Chrony);
        self.servers.dns.push(place);
        self.servers.domain.push(place);
        self.servers.time.push(clock);
        machine
    }

    fn second_controller(&mut self) {
        let first = self.servers.domain[0];
        let machine = self.machine("dc");
        let place = self.program(machine, Kind::SambaDc);
        self.drop_basics(machine);
        self.peers(first, place, Link::DirectorySync);
        self.servers.dns.push(place);
        self.servers.domain.push(place);
    }

    /// One of a pair serves itself.
    fn drop_basics(&mut self, machine: usize) {
        self.site.needs.retain(|need| need.client != (machine, 0));
    }

    fn small_office(&mut self) -> usize {
        let machine = self.machine("gw");
        let place = self.program(machine, Kind::Dnsmasq);
        self.servers.dns.push(place);
        self.servers.dhcp.push(place);
        if self.chance(0.6) {
            let clock = self.program(machine, Kind::Chrony);
            self.servers.time.push(clock);
        }
        machine
    }

    fn name_server(&mut self) -> usize {
        let machine = self.machine("ns");
        let place = self.program(machine, Kind::Bind);
        self.servers.dns.push(place);
        if self.chance(0.5) {
            let clock = self.program(machine, Kind::Chrony);
            self.servers.time.push(clock);
        }
        if self.dynamic_site || self.chance(0.3) {
            let dhcp = self.program(machine, Kind::Dhcpd);
            self.servers.dhcp.push(dhcp);
        }
        machine
    }

    fn second_name_server(&mut self) {
        let first = self.servers.dns[0];
        let machine = self.machine("ns");
        let place = self.program(machine, Kind::Bind);
        self.need(place, first, Link::ZoneTransfer);
        self.servers.dns.push(place);
    }

    fn directory_servers(&mut self, machines: usize) {
        let first = self.machine("ldap");
        let one = self.program(first, Kind::Slapd);
        self.servers.directory.push(one);
        if machines >= 12 && self.chance(0.5) {
            let second = self.machine("ldap");
            self.site
                .needs
                .retain(|n| n.client != (second, 0) || n.server.0 != first);
            let other = self.program(second, Kind::Slapd);
            self.peers(one, other, Link::DirectorySync);
            self.servers.directory.push(other);
        }
    }

    fn storage(&mut self, machines: usize) {
        if machines >= 9 && self.chance(0.4) {
            let machine = self.machine("san");
            let place = self.program(machine, Kind::Iscsi);
            self.servers.iscsi.push(place);
        }
        if self.chance(0.75) {
            let machine = self.machine("files");
            let both = self.chance(0.4);
            if both || self.chance(0.6) {
                let place = self.program(machine, Kind::Nfs);
                self.servers.nfs.push(place);
            }
            if both || self.servers.nfs.is_empty() {
                let place = self.program(machine, Kind::Smb);
                self.servers.smb.push(place);
            }
            self.disk(machine);
        }
    }

    /// Some servers keep their data on the storage network.
    fn disk(&mut self, machine: usize) {
        let targets = self.servers.iscsi.clone();
        if let Some(target) = self.choose(&targets)
            && self.chance(0.6)
        {
            let last = self.site.machines[machine].programs.len() - 1;
            self.need((machine, last), target, Link::IscsiDisk);
        }
    }

    fn data(&mut self, machines: usize) {
        let rounds = 1 + machines / 14;
        for _ in 0..rounds {
            match self.chance(0.55) {
                true => self.database(Kind::Postgres),
                false => self.database(Kind::Mariadb),
            }
        }
        if machines >= 8 && self.chance(0.5) {
            let machine = self.machine("cache");
            let place = self.program(machine, Kind::Redis);
            self.servers.redis.push(place);
        }
        if machines >= 12 && self.chance(0.4) {
            let machine = self.machine("mq");
            let place = self.program(machine, Kind::Rabbit);
            self.servers.rabbit.push(place);
        }
        if machines >= 10 {
            self.documents();
        }
    }

    fn documents(&mut self) {
        if self.chance(0.25) {
            let machine = self.machine("mongo");
            let place = self.program(machine, Kind::Mongo);
            self.servers.mongo.push(place);
        }
        if self.chance(0.25) {
            let machine = self.machine("search");
            let place = self.program(machine, Kind::Search);
            self.servers.search.push(place);
        }
    }

    fn database(&mut self, kind: Kind) {
        let machine = self.machine("db");
        let place = self.program(machine, kind);
        self.disk(machine);
        let (list, link) = match kind {
            Kind::Postgres => (&mut self.servers.postgres, Link::ReplicaPostgres),
            _ => (&mut self.servers.mariadb, Link::ReplicaMariadb),
        };
        list.push(place);
        if self.chance(0.3) {
            let second = self.machine("db");
            let replica = self.program(second, kind);
            self.need(replica, place, link);
        }
    }

    fn applications(&mut self, machines: usize) {
        let mut singles = vec!["mail", "git", "monitor", "backup", "log", "proxy"];
        self.rng.shuffle(&mut singles);
        singles.truncate(machines / 4);
        let late = singles.contains(&"proxy");
        singles.retain(|single| *single != "proxy");
        while self.site.machines.len() + usize::from(late) < machines {
            match singles.pop() {
                Some("mail") => self.mail(),
                Some("git") => self.git(),
                Some("monitor") => self.monitor(),
                Some("backup") => self.backup(),
                Some("log") => self.log_host(),
                _ => self.application(),
            }
        }
        if late && !self.servers.backends.is_empty() {
            self.balancer();
        }
    }

    fn sql(&mut self, client: Place) {
        let mut both: Vec<(Place, Link)> = Vec::new();
        both.extend(
            self.servers
                .postgres
                .iter()
                .map(|p| (*p, Link::SqlPostgres)),
        );
        both.extend(self.servers.mariadb.iter().map(|p| (*p, Link::SqlMariadb)));
        if !both.is_empty() {
            let (server, link) = both[self.rng.usize(..both.len())];
            self.need(client, server, link);
        }
    }

    fn application(&mut self) {
        let kinds = [
            ("web", Kind::PhpSite),
            ("app", Kind::PythonApp),
            ("app", Kind::JavaApp),
            ("app", Kind::NodeApp),
            ("dash", Kind::Grafana),
            ("ws", Kind::System),
            ("build", Kind::Runner),
        ];
        let (function, kind) = kinds[self.rng.usize(..kinds.len())];
        let git = self.servers.git.clone();
        if kind == Kind::Runner {
            match self.choose(&git) {
                None => return self.front(),
                Some(server) => {
                    let machine = self.machine(function);
                    let runner = self.program(machine, kind);
                    return self.need(runner, server, Link::GitRemote);
                }
            }
        }
        let machine = self.machine(function);
        self.dynamic(machine);
        if kind == Kind::System {
            return self.files((machine, 0), 0.9);
        }
        let place = self.program(machine, kind);
        if self.chance(0.85) {
            self.sql(place);
        }
        let own = matches!(
            kind,
            Kind::PythonApp | Kind::NodeApp | Kind::JavaApp | Kind::PhpSite
        );
        let s = &self.servers;
        let further = [
            (s.redis.clone(), Link::Cache, 0.5),
            (s.rabbit.clone(), Link::Queue, 0.5),
            (s.mongo.clone(), Link::Document, 0.4),
            (s.search.clone(), Link::Search, 0.4),
            (s.mail.clone(), Link::MailRelay, 0.2),
        ];
        for (servers, link, share) in further.into_iter().filter(|_| own) {
            if let Some(server) = self.choose(&servers)
                && self.chance(share)
            {
                self.need(place, server, link);
            }
        }
        self.files((machine, 0), 0.3);
        self.servers.backends.push(place);
    }

    /// A reverse proxy in front of one or two applications, or a plain application.
    fn front(&mut self) {
        let backends = self.servers.backends.clone();
        let machine = self.machine("www");
        let place = self.program(machine, Kind::Nginx);
        let mut behind: Vec<Place> = Vec::new();
        for _ in 0..2 {
            behind.extend(self.choose(&backends));
        }
        behind.sort_unstable();
        behind.dedup();
        for server in behind {
            self.need(place, server, Link::Backend);
        }
    }

    fn balancer(&mut self) {
        let machine = self.machine("lb");
        let place = self.program(machine, Kind::Haproxy);
        for server in self.servers.backends.clone().into_iter().take(6) {
            self.need(place, server, Link::Backend);
        }
    }

    fn dynamic(&mut self, machine: usize) {
        let dhcp = self.servers.dhcp.clone();
        if self.dynamic_site
            && let Some(server) = self.choose(&dhcp)
        {
            self.site.machines[machine].dynamic = true;
            self.need((machine, 0), server, Link::Lease);
        }
    }

    fn files(&mut self, client: Place, share: f64) {
        let (nfs, smb) = (self.servers.nfs.clone(), self.servers.smb.clone());
        if !self.chance(share) {
            return;
        }
        if let Some(server) = self.choose(&nfs) {
            let link = match self.chance(0.25) {
                true => Link::Automount,
                false => Link::NfsMount,
            };
            self.need(client, server, link);
        } else if let Some(server) = self.choose(&smb) {
            self.need(client, server, Link::CifsMount);
        }
    }

    fn mail(&mut self) {
        let machine = self.machine("mail");
        let postfix = self.program(machine, Kind::Postfix);
        let dovecot = self.program(machine, Kind::Dovecot);
        let directory = self.servers.directory.clone();
        match self.choose(&directory) {
            Some(server) if self.chance(0.5) => {
                self.need(postfix, server, Link::Directory);
                self.need(dovecot, server, Link::Directory);
            }
            _ => {
                let mariadb = self.servers.mariadb.clone();
                if let Some(server) = self.choose(&mariadb) {
                    self.need(postfix, server, Link::SqlMariadb);
                    self.need(dovecot, server, Link::SqlMariadb);
                    let count = self.site.needs.len();
                    for need in &mut self.site.needs[count - 2..] {
                        need.handling = Handling::Background(20.0);
                    }
                }
            }
        }
        self.disk(machine);
        self.servers.mail.push(postfix);
    }

    fn git(&mut self) {
        let machine = self.machine("git");
        let gitea = self.program(machine, Kind::Gitea);
        self.sql(gitea);
        self.servers.git.push(gitea);
        self.servers.backends.push(gitea);
    }

    fn monitor(&mut self) {
        let machine = self.machine("mon");
        match self.chance(0.5) {
            true => {
                let zabbix = self.program(machine, Kind::Zabbix);
                self.sql(zabbix);
                if let Some(need) = self.site.needs.last_mut().filter(|n| n.client == zabbix) {
                    need.handling = Handling::Waits(10.0);
                }
            }
            false => {
                self.program(machine, Kind::Nagios);
            }
        }
    }

    fn backup(&mut self) {
        let machine = self.machine("backup");
        let place = self.program(machine, Kind::Bacula);
        let postgres = self.servers.postgres.clone();
        if let Some(server) = self.choose(&postgres)
            && self.chance(0.5)
        {
            self.need(place, server, Link::SqlPostgres);
        }
    }

    fn log_host(&mut self) {
        let machine = self.machine("log");
        self.program(machine, Kind::LogHost);
    }

    /// Who contacts everybody, or is told by everybody, without being needed.
    fn contacts(&mut self) {
        let count = self.site.machines.len();
        for watcher in 0..count {
            for program in 0..self.site.machines[watcher].programs.len() {
                let place = (watcher, program);
                for other in (0..count).filter(|other| *other != watcher) {
                    match self.site.program(place).kind {
                        Kind::LogHost => self.contact((other, 0), place, Link::Forward),
                        Kind::Zabbix => {
                            self.contact((other, 0), place, Link::Agent);
                            self.contact(place, (other, 0), Link::Watch);
                        }
                        Kind::Nagios => self.contact(place, (other, 0), Link::Watch),
                        Kind::Bacula => self.contact(place, (other, 0), Link::Fetch),
                        _ => {}
                    }
                }
            }
        }
    }

    fn contact(&mut self, client: Place, server: Place, link: Link) {
        let count = self.site.needs.len();
        self.need(client, server, link);
        let contact = self.site.needs.split_off(count);
        self.site
            .contacts
            .extend(contact.into_iter().map(|mut need| {
                need.reference = crate::model::Reference::Full;
                need
            }));
    }

    /// Storage servers and their clients meet in a network of their own.
    fn second_addresses(&mut self) {
        if !self.storage_network {
            return;
        }
        let needs = self.site.needs.clone();
        let storage = needs
            .iter()
            .filter(|need| matches!(need.link, Link::NfsMount | Link::IscsiDisk));
        for machine in storage.flat_map(|need| [need.client.0, need.server.0]) {
            let address = format!("10.99.{}.{}", machine / 200, 10 + machine % 200);
            self.site.machines[machine].second_address = Some(address);
        }
    }
}
