//! What every machine's `etc/` holds, and the configuration of the servers.

use crate::model::{Distribution, Kind, Link, Machine, Site};
use crate::programs::package;
use crate::tree::Tree;

/// Files of a machine that do not depend on single needs.
pub fn write(site: &Site, index: usize, tree: &mut Tree) {
    let machine = &site.machines[index];
    let debian = machine.distribution == Distribution::Debian;
    identity(site, index, tree);
    match debian {
        true => debian_network(site, machine, tree),
        false => rhel_network(site, machine, tree),
    }
    tree.add("etc/fstab", "# /etc/fstab: static file system information.\nUUID=3d2b8c1e-5a44-4f0e-9c11-2f0d5c1b7a10 / ext4 errors=remount-ro 0 1\nUUID=9f5d1c77-0f3b-4c55-b6f0-6f8a1d2e3c44 none swap sw 0 0");
    tree.add("etc/nsswitch.conf", "passwd:         files systemd\ngroup:          files systemd\nhosts:          files dns\nnetworks:       files");
    for program in &machine.programs {
        units(machine, program, tree);
        server(site, index, program.kind, debian, tree);
    }
}

fn identity(site: &Site, index: usize, tree: &mut Tree) {
    let machine = &site.machines[index];
    let debian = machine.distribution == Distribution::Debian;
    let full = site.full_name(index);
    let hostname = if debian {
        machine.name.clone()
    } else {
        full.clone()
    };
    tree.add("etc/hostname", hostname);
    tree.add(
        "etc/machine-id",
        format!("{:016x}{:016x}", site.seed, index + 1),
    );
    tree.add("etc/os-release", match debian {
        true => "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\nHOME_URL=\"https://www.debian.org/\"",
        false => "NAME=\"Rocky Linux\"\nVERSION=\"9.3 (Blue Onyx)\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nHOME_URL=\"https://rockylinux.org/\"",
    });
    tree.add("etc/hosts", match debian {
        true if !machine.dynamic && site.domain.is_some() => format!("127.0.0.1\tlocalhost\n127.0.1.1\t{full}\t{}\n\n::1     localhost ip6-localhost ip6-loopback", machine.name),
        true => format!("127.0.0.1\tlocalhost\n127.0.1.1\t{}\n\n::1     localhost ip6-localhost ip6-loopback", machine.name),
        false => "127.0.0.1   localhost localhost.localdomain localhost4 localhost4.localdomain4\n::1         localhost localhost.localdomain localhost6 localhost6.localdomain6".to_owned(),
    });
    if machine.hosts_file || serves(machine, Kind::Dnsmasq) {
        for (other, entry) in site.machines.iter().enumerate() {
            let alias = entry
                .alias
                .as_deref()
                .map(|a| format!(" {a}"))
                .unwrap_or_default();
            tree.add(
                "etc/hosts",
                format!(
                    "{}\t{} {}{alias}",
                    entry.address,
                    site.full_name(other),
                    entry.name
                ),
            );
        }
    }
    if let Some(domain) = &site.domain {
        tree.add("etc/resolv.conf", format!("search {domain}"));
    }
}

fn serves(machine: &Machine, kind: Kind) -> bool {
    machine.programs.iter().any(|program| program.kind == kind)
}

fn debian_network(site: &Site, machine: &Machine, tree: &mut Tree) {
    let servers = dns_servers(site, machine);
    match machine.network_style {
        1 => netplan(site, machine, &servers, tree),
        2 => networkd(site, machine, &servers, tree),
        style => interfaces(site, machine, &servers, style, tree),
    }
}

fn netplan(site: &Site, machine: &Machine, servers: &[String], tree: &mut Tree) {
    let mut text =
        String::from("network:\n  version: 2\n  renderer: networkd\n  ethernets:\n    eth0:\n");
    match machine.dynamic {
        true => text.push_str("      dhcp4: true\n"),
        false => {
            let (address, network) = (&machine.address, &site.network);
            text.push_str(&format!("      addresses:\n        - {address}/24\n      routes:\n        - to: default\n          via: {network}.1\n"));
            if !servers.is_empty() {
                text.push_str(&format!(
                    "      nameservers:\n        addresses: [{}]\n        search: [{}]\n",
                    servers.join(", "),
                    site.realm()
                ));
            }
        }
    }
    if let Some(second) = &machine.second_address {
        text.push_str(&format!("    eth1:\n      addresses: [{second}/16]\n"));
    }
    tree.add("etc/netplan/50-cloud-init.yaml", text);
}

fn networkd(site: &Site, machine: &Machine, servers: &[String], tree: &mut Tree) {
    let dns: String = servers
        .iter()
        .map(|server| format!("DNS={server}\n"))
        .collect();
    let ip = match machine.dynamic {
        true => "DHCP=yes\n".to_owned(),
        false => format!(
            "Address={}/24\nGateway={}.1\n",
            machine.address, site.network
        ),
    };
    tree.add(
        "etc/systemd/network/10-eth0.network",
        format!("[Match]\nName=eth0\n\n[Network]\n{ip}{dns}"),
    );
    if let Some(second) = &machine.second_address {
        tree.add(
            "etc/systemd/network/20-eth1.network",
            format!("[Match]\nName=eth1\n\n[Network]\nAddress={second}/16"),
        );
    }
}

fn interfaces(site: &Site, machine: &Machine, servers: &[String], style: u8, tree: &mut Tree) {
    let head = "# This file describes the network interfaces available on your system\nsource /etc/network/interfaces.d/*\n\nauto lo\niface lo inet loopback\n\nallow-hotplug eth0";
    match machine.dynamic {
        true => tree.add(
            "etc/network/interfaces",
            format!("{head}\niface eth0 inet dhcp"),
        ),
        false => tree.add(
            "etc/network/interfaces",
            format!(
                "{head}\niface eth0 inet static\n\taddress {}/24\n\tgateway {}.1",
                machine.address, site.network
            ),
        ),
    }
    if style == 3 && !servers.is_empty() {
        tree.add(
            "etc/network/interfaces",
            format!(
                "\tdns-nameservers {}\n\tdns-search {}",
                servers.join(" "),
                site.realm()
            ),
        );
    }
    if let Some(second) = &machine.second_address {
        tree.add(
            "etc/network/interfaces",
            format!(
                "\nauto eth1\niface eth1 inet static\n\taddress {second}\n\tnetmask 255.255.0.0"
            ),
        );
    }
}

fn rhel_network(site: &Site, machine: &Machine, tree: &mut Tree) {
    let servers: Vec<String> = dns_servers(site, machine);
    if machine.network_style < 2 {
        return ifcfg(site, machine, &servers, tree);
    }
    let ipv4 = match machine.dynamic {
        true => "method=auto".to_owned(),
        false => format!(
            "address1={}/24,{}.1\ndns={};\nmethod=manual",
            machine.address,
            site.network,
            servers.join(";")
        ),
    };
    tree.add("etc/NetworkManager/system-connections/ens3.nmconnection", format!("[connection]\nid=ens3\nuuid=0f2f1b5e-3c1a-4a58-9a8f-8e0c5b1d7f11\ntype=ethernet\ninterface-name=ens3\n\n[ethernet]\n\n[ipv4]\n{ipv4}\n\n[ipv6]\nmethod=auto"));
    if let Some(second) = &machine.second_address {
        tree.add("etc/NetworkManager/system-connections/ens4.nmconnection", format!("[connection]\nid=ens4\nuuid=1f2f1b5e-3c1a-4a58-9a8f-8e0c5b1d7f12\ntype=ethernet\ninterface-name=ens4\n\n[ipv4]\naddress1={second}/16\nmethod=manual"));
    }
}

/// As the older releases kept it.
fn ifcfg(site: &Site, machine: &Machine, servers: &[String], tree: &mut Tree) {
    let dns: String = servers
        .iter()
        .enumerate()
        .map(|(number, server)| format!("DNS{}={server}\n", number + 1))
        .collect();
    let ip = match machine.dynamic {
        true => "BOOTPROTO=dhcp\n".to_owned(),
        false => format!(
            "BOOTPROTO=none\nIPADDR={}\nPREFIX=24\nGATEWAY={}.1\n",
            machine.address, site.network
        ),
    };
    tree.add(
        "etc/sysconfig/network-scripts/ifcfg-eth0",
        format!("TYPE=Ethernet\nDEVICE=eth0\nONBOOT=yes\n{ip}{dns}"),
    );
    if let Some(second) = &machine.second_address {
        tree.add(
            "etc/sysconfig/network-scripts/ifcfg-eth1",
            format!(
                "TYPE=Ethernet\nDEVICE=eth1\nONBOOT=yes\nBOOTPROTO=none\nIPADDR={second}\nPREFIX=16"
            ),
        );
    }
}

fn dns_servers(site: &Site, machine: &Machine) -> Vec<String> {
    let index = site.machines.iter().position(|m| m.name == machine.name);
    let needs = site
        .needs
        .iter()
        .filter(|n| Some(n.client.0) == index && n.link == Link::Resolver);
    needs
        .map(|need| site.machines[need.server.0].address.clone())
        .collect()
}

fn units(machine: &Machine, program: &crate::model::Program, tree: &mut Tree) {
    let p = package(program, machine.distribution);
    if program.kind == Kind::System {
        return;
    }
    let (kind, restart) = match program.kind {
        Kind::PythonApp | Kind::NodeApp | Kind::Gitea | Kind::Grafana => {
            ("simple", "Restart=on-failure\nRestartSec=5\n")
        }
        _ => ("notify", ""),
    };
    let text = format!(
        "[Unit]\nDescription={}\nAfter=network-online.target\nWants=network-online.target\n\n[Service]\nType={kind}\nExecStart={}\n{restart}\n[Install]\nWantedBy=multi-user.target",
        p.description,
        executable(program)
    );
    let own = matches!(program.kind, Kind::PythonApp | Kind::NodeApp | Kind::Gitea);
    let place = if own {
        "etc/systemd/system"
    } else {
        "usr/lib/systemd/system"
    };
    tree.add(format!("{place}/{}", p.unit), text);
    tree.link(
        format!("etc/systemd/system/multi-user.target.wants/{}", p.unit),
        format!("/{place}/{}", p.unit),
    );
}

fn executable(program: &crate::model::Program) -> String {
    let label = &program.label;
    match program.kind {
        Kind::PythonApp => format!(
            "/opt/venv/bin/gunicorn --bind 0.0.0.0:8000 {label}.wsgi\nEnvironmentFile=-/etc/default/{label}"
        ),
        Kind::NodeApp => {
            format!("/usr/bin/node /opt/{label}/server.js\nEnvironmentFile=-/etc/default/{label}")
        }
        Kind::Bind => "/usr/sbin/named -f $OPTIONS".into(),
        Kind::Gitea => "/usr/local/bin/gitea web --config /etc/gitea/app.ini".into(),
        kind => format!("/usr/sbin/{}", format!("{kind:?}").to_lowercase()),
    }
}

fn server(site: &Site, index: usize, kind: Kind, debian: bool, tree: &mut Tree) {
    let network = &site.network;
    match kind {
        Kind::Bind => name_server(site, index, debian, tree),
        Kind::Dnsmasq => tree.add("etc/dnsmasq.conf", format!("domain-needed\nbogus-priv\nserver=9.9.9.9\nserver=1.1.1.1\nlocal=/{0}/\ndomain={0}\nexpand-hosts\ndhcp-range={network}.150,{network}.250,12h", site.realm())),
        Kind::Dhcpd => dhcpd(site, tree),
        Kind::Chrony => tree.add(if debian { "etc/chrony/chrony.conf" } else { "etc/chrony.conf" }, format!("pool 2.debian.pool.ntp.org iburst\ndriftfile /var/lib/chrony/chrony.drift\nmakestep 1 3\nrtcsync\nallow {network}.0/24")),
        Kind::Slapd => tree.add(if debian { "etc/default/slapd" } else { "etc/sysconfig/slapd" }, "SLAPD_SERVICES=\"ldap:/// ldapi:///\""),
        Kind::SambaDc => tree.add("etc/samba/smb.conf", format!("# Global parameters\n[global]\n\tdns forwarder = 9.9.9.9\n\tnetbios name = {}\n\trealm = {}\n\tserver role = active directory domain controller\n\tworkgroup = {}\n\n[sysvol]\n\tpath = /var/lib/samba/sysvol\n\tread only = No", site.machines[index].name.to_uppercase(), site.realm().to_uppercase(), site.realm().split('.').next().unwrap_or("CORP").to_uppercase())),
        Kind::Nfs => exports(site, index, tree),
        Kind::Smb => tree.add_below("etc/samba/smb.conf", "[global]", "[share]\n   path = /srv/share\n   browseable = yes\n   read only = no"),
        Kind::Postgres => pg_hba(site, index, debian, tree),
        Kind::Mariadb => tree.add(if debian { "etc/mysql/mariadb.conf.d/50-server.cnf" } else { "etc/my.cnf.d/mariadb-server.cnf" }, "[mysqld]\nbind-address            = 0.0.0.0\nexpire_logs_days        = 10\ncharacter-set-server    = utf8mb4"),
        Kind::Mongo => tree.add("etc/mongod.conf", "net:\n  port: 27017\n  bindIp: 0.0.0.0\nstorage:\n  dbPath: /var/lib/mongodb"),
        Kind::Search => tree.add("etc/elasticsearch/elasticsearch.yml", "cluster.name: search\nnetwork.host: 0.0.0.0\ndiscovery.type: single-node"),
        Kind::Redis => tree.add("etc/redis/redis.conf", format!("bind {} 127.0.0.1\nport 6379\nsave 3600 1", site.machines[index].address)),
        Kind::Nagios => nagios(site, index, debian, tree),
        Kind::Zabbix | Kind::Bacula => backup_clients(site, index, kind, tree),
        Kind::LogHost => tree.add("etc/rsyslog.d/10-server.conf", "module(load=\"imtcp\")\ninput(type=\"imtcp\" port=\"514\")"),
        _ => {}
    }
}

fn name_server(site: &Site, index: usize, debian: bool, tree: &mut Tree) {
    let realm = site.realm();
    let (conf, zone) = match debian {
        true => ("etc/bind/named.conf.local", format!("etc/bind/db.{realm}")),
        false => ("etc/named.conf", format!("var/named/{realm}.zone")),
    };
    if !debian {
        tree.add(conf, "options {\n\tlisten-on port 53 { any; };\n\tdirectory \"/var/named\";\n\trecursion yes;\n\tforwarders { 9.9.9.9; };\n};");
    } else {
        tree.add("etc/bind/named.conf.options", "options {\n\tdirectory \"/var/cache/bind\";\n\tforwarders { 9.9.9.9; };\n\tdnssec-validation auto;\n};");
    }
    let secondary = site
        .needs
        .iter()
        .any(|n| n.client.0 == index && n.link == Link::ZoneTransfer);
    if secondary || site.domain.is_none() {
        return;
    }
    tree.add(
        conf,
        format!("zone \"{realm}\" {{\n\ttype master;\n\tfile \"/{zone}\";\n}};"),
    );
    tree.add(&zone[..], zone_text(site, index, &realm));
}

fn zone_text(site: &Site, index: usize, realm: &str) -> String {
    let own = &site.machines[index].name;
    let mut text = format!(
        "$TTL 86400\n@\tIN\tSOA\t{own}.{realm}. hostmaster.{realm}. (\n\t\t\t2023110501 ; Serial\n\t\t\t604800 86400 2419200 86400 )\n@\tIN\tNS\t{own}\n"
    );
    for machine in &site.machines {
        text.push_str(&format!("{}\tIN\tA\t{}\n", machine.name, machine.address));
        if let Some(alias) = &machine.alias {
            text.push_str(&format!("{alias}\tIN\tCNAME\t{}\n", machine.name));
        }
    }
    text.push_str(&format!(
        "{own}-old\tIN\tA\t{}.251\nprinter\tIN\tA\t{}.252\n",
        site.network, site.network
    ));
    text
}

fn dhcpd(site: &Site, tree: &mut Tree) {
    let n = &site.network;
    let mut text = format!(
        "default-lease-time 600;\nmax-lease-time 7200;\nauthoritative;\nsubnet {n}.0 netmask 255.255.255.0 {{\n  range {n}.150 {n}.250;\n  option routers {n}.1;\n}}\n"
    );
    for (index, machine) in site.machines.iter().enumerate().filter(|(_, m)| m.dynamic) {
        text.push_str(&format!("host {} {{\n  hardware ethernet 52:54:00:12:34:{index:02x};\n  fixed-address {};\n}}\n", machine.name, machine.address));
    }
    tree.add("etc/dhcp/dhcpd.conf", text);
}

/// Servers name their clients too, which says nothing about who needs whom.
fn exports(site: &Site, index: usize, tree: &mut Tree) {
    let clients = site
        .needs
        .iter()
        .filter(|n| n.server.0 == index && matches!(n.link, Link::NfsMount | Link::Automount));
    let mut line = String::from("/srv/export");
    for need in clients {
        line.push_str(&format!(
            " {}(rw,sync,no_subtree_check)",
            site.machines[need.client.0].name
        ));
    }
    tree.add(
        "etc/exports",
        format!("# /etc/exports: the access control list for filesystems\n{line}"),
    );
}

fn pg_hba(site: &Site, index: usize, debian: bool, tree: &mut Tree) {
    let folder = if debian {
        "etc/postgresql/15/main"
    } else {
        "var/lib/pgsql/data"
    };
    let mut text = String::from(
        "local   all             postgres                                peer\nhost    all             all             127.0.0.1/32            scram-sha-256\n",
    );
    for need in site.needs.iter().filter(|n| n.server.0 == index) {
        text.push_str(&format!(
            "host    all             all             {}/32        scram-sha-256\n",
            site.machines[need.client.0].address
        ));
    }
    tree.add(format!("{folder}/pg_hba.conf"), text);
    tree.add(
        format!("{folder}/postgresql.conf"),
        "listen_addresses = '*'\nport = 5432\nmax_connections = 100\n#primary_conninfo = ''",
    );
}

fn nagios(site: &Site, index: usize, debian: bool, tree: &mut Tree) {
    let folder = if debian {
        "etc/nagios4/conf.d"
    } else {
        "etc/nagios/conf.d"
    };
    for (other, machine) in site
        .machines
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != index)
    {
        tree.add(format!("{folder}/{}.cfg", machine.name), format!("define host {{\n    use        generic-host\n    host_name  {}\n    address    {}\n}}\ndefine service {{\n    use                 generic-service\n    host_name           {}\n    service_description SSH\n    check_command       check_ssh\n}}", machine.name, machine.address, site.full_name(other)));
    }
}

fn backup_clients(site: &Site, index: usize, kind: Kind, tree: &mut Tree) {
    if kind != Kind::Bacula {
        return;
    }
    for (other, machine) in site
        .machines
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != index)
    {
        tree.add("etc/bacula/bacula-dir.conf", format!("Client {{\n  Name = {}-fd\n  Address = {}\n  FDPort = 9102\n  Catalog = MyCatalog\n  Password = \"s3cret\"\n}}", machine.name, site.full_name(other)));
    }
}
