//! Configuration by which programs name the servers they use.

use crate::application_files;
use crate::messages::{mount_point, mount_unit};
use crate::model::{Distribution, Kind, Link, Need, Reference, Site};
use crate::programs::package;
use crate::tree::Tree;

/// Writes what one need leaves behind in the files of its client.
pub fn write(site: &Site, need: &Need, tree: &mut Tree) {
    if !need.configured {
        return;
    }
    let machine = &site.machines[need.client.0];
    let program = site.program(need.client);
    let c = Client {
        site,
        need,
        debian: machine.distribution == Distribution::Debian,
        kind: program.kind,
        label: &program.label,
        target: site.written(need),
        port: package(
            site.program(need.server),
            site.machines[need.server.0].distribution,
        )
        .port,
    };
    match need.link {
        Link::Resolver => resolver(&c, tree),
        Link::Lease | Link::Forward | Link::Agent | Link::Watch | Link::Fetch => {}
        Link::Clock => clock(&c, tree),
        Link::Directory => directory(&c, tree),
        Link::DomainMember => member(&c, tree),
        Link::NfsMount | Link::CifsMount => mount(&c, tree),
        Link::Automount => automount(&c, tree),
        Link::IscsiDisk => iscsi(&c, tree),
        Link::SqlPostgres
        | Link::SqlMariadb
        | Link::Cache
        | Link::Queue
        | Link::Document
        | Link::Search
        | Link::MailRelay => application_files::write(&c, tree),
        Link::Backend => backend(&c, tree),
        Link::ZoneTransfer => zone(&c, tree),
        Link::ReplicaPostgres => replica(&c, tree),
        Link::ReplicaMariadb => {}
        Link::DirectorySync => sync(&c, tree),
        Link::GitRemote => runner(&c, tree),
    }
}

/// A client that is being configured.
pub struct Client<'a> {
    pub site: &'a Site,
    pub need: &'a Need,
    pub debian: bool,
    pub kind: Kind,
    pub label: &'a str,
    pub target: String,
    pub port: u16,
}

/// The ways in which distributions and administrators set name servers.
fn resolver(c: &Client, tree: &mut Tree) {
    let machine = &c.site.machines[c.need.client.0];
    let stub = "# This is /run/systemd/resolve/stub-resolv.conf managed by man:systemd-resolved(8).\nnameserver 127.0.0.53\noptions edns0 trust-ad";
    match (c.debian, machine.network_style) {
        (true, 0) => {
            tree.add_once("etc/resolv.conf", stub);
            tree.add_below(
                "etc/systemd/resolved.conf",
                "[Resolve]",
                format!("DNS={}", c.target),
            );
        }
        // The network's own file names them; see `server_files`.
        (true, 1 | 2) => tree.add_once("etc/resolv.conf", stub),
        _ => tree.add("etc/resolv.conf", format!("nameserver {}", c.target)),
    }
}

fn clock(c: &Client, tree: &mut Tree) {
    match c.debian {
        true => tree.add_below("etc/systemd/timesyncd.conf", "[Time]\n#NTP=\n#FallbackNTP=0.debian.pool.ntp.org 1.debian.pool.ntp.org", format!("NTP={}", c.target)),
        false => tree.add_below("etc/chrony.conf", "# Use public servers from the pool.ntp.org project.\n#pool 2.rhel.pool.ntp.org iburst\ndriftfile /var/lib/chrony/drift\nmakestep 1.0 3\nrtcsync", format!("server {} iburst", c.target)),
    }
}

fn directory(c: &Client, tree: &mut Tree) {
    let (base, target) = (c.site.base_dn(), &c.target);
    match c.kind {
        Kind::Postfix => {
            tree.add_below("etc/postfix/main.cf", POSTFIX, "virtual_alias_maps = ldap:/etc/postfix/ldap-aliases.cf");
            tree.add("etc/postfix/ldap-aliases.cf", format!("server_host = ldap://{target}:389\nsearch_base = ou=people,{base}\nquery_filter = (mailAlternateAddress=%s)\nresult_attribute = mail\nbind = yes\nbind_dn = cn=mail,{base}\nbind_pw = s3cret"));
        }
        Kind::Dovecot => tree.add("etc/dovecot/dovecot-ldap.conf.ext", format!("hosts = {target}\ndn = cn=dovecot,{base}\ndnpass = s3cret\nldap_version = 3\nbase = ou=people,{base}\nuser_filter = (&(objectClass=posixAccount)(uid=%n))")),
        _ if c.debian => {
            tree.add_below("etc/nslcd.conf", &format!("# /etc/nslcd.conf\nuid nslcd\ngid nslcd\nbase {base}"), format!("uri ldap://{target}/"));
            tree.add_below("etc/ldap/ldap.conf", &format!("#\n# LDAP Defaults\n#\nBASE\t{base}"), "TLS_CACERT\t/etc/ssl/certs/ca-certificates.crt");
        }
        _ => tree.add(
            "etc/sssd/sssd.conf",
            format!("[sssd]\nservices = nss, pam\ndomains = {0}\n\n[domain/{0}]\nid_provider = ldap\nauth_provider = ldap\nldap_uri = ldap://{target}\nldap_search_base = {base}\ncache_credentials = True", c.site.realm()),
        ),
    }
}

pub const POSTFIX: &str = "# See /usr/share/postfix/main.cf.dist for a commented, more complete version\nsmtpd_banner = $myhostname ESMTP $mail_name\nbiff = no\nappend_dot_mydomain = no\ncompatibility_level = 3.6\nmydestination = $myhostname, localhost\ninet_interfaces = all";

fn member(c: &Client, tree: &mut Tree) {
    let realm = c.site.realm();
    let upper = realm.to_uppercase();
    tree.add_below(
        "etc/krb5.conf",
        &format!(
            "[libdefaults]\n\tdefault_realm = {upper}\n\trdns = false\n\n[realms]\n\t{upper} = {{"
        ),
        format!("\t\tkdc = {0}\n\t\tadmin_server = {0}", c.target),
    );
    match c.debian {
        true => tree.add_below("etc/samba/smb.conf", "[global]", format!("   workgroup = {}\n   security = ads\n   realm = {upper}\n   winbind use default domain = yes", first_label(&upper))),
        false => tree.add_below("etc/sssd/sssd.conf", "", format!("[sssd]\ndomains = {realm}\nconfig_file_version = 2\nservices = nss, pam\n\n[domain/{realm}]\nad_domain = {realm}\nad_server = {}\nkrb5_realm = {upper}\nid_provider = ad\nldap_id_mapping = True", c.site.full_name(c.need.server.0))),
    }
}

fn first_label(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

fn mount(c: &Client, tree: &mut Tree) {
    let point = mount_point(c.need.link);
    let line = match c.need.link {
        Link::CifsMount => format!(
            "//{}/share {point} cifs credentials=/etc/cifs.credentials,iocharset=utf8,_netdev 0 0",
            c.target
        ),
        _ => format!("{}:{point} {point} nfs4 rw,hard,_netdev 0 0", c.target),
    };
    // Some sites write mount units rather than lines in fstab.
    if c.need.client.0 % 5 == 4 {
        let (what, kind) = match c.need.link {
            Link::CifsMount => (format!("//{}/share", c.target), "cifs"),
            _ => (format!("{}:{point}", c.target), "nfs4"),
        };
        let unit = mount_unit(point);
        tree.add(format!("etc/systemd/system/{unit}"), format!("[Unit]\nDescription={point}\n\n[Mount]\nWhat={what}\nWhere={point}\nType={kind}\nOptions=_netdev\n\n[Install]\nWantedBy=remote-fs.target"));
        tree.link(
            format!("etc/systemd/system/remote-fs.target.wants/{unit}"),
            format!("/etc/systemd/system/{unit}"),
        );
    } else {
        tree.add("etc/fstab", line);
    }
}

fn automount(c: &Client, tree: &mut Tree) {
    tree.add(
        "etc/auto.master",
        "#\n# Sample auto.master file\n#\n/home\t/etc/auto.home --timeout=300\n+auto.master",
    );
    tree.add(
        "etc/auto.home",
        format!("export\t-rw,soft,intr\t{}:/srv/export", c.target),
    );
}

fn iscsi(c: &Client, tree: &mut Tree) {
    let server = &c.site.machines[c.need.server.0];
    let iqn = format!("iqn.2003-01.org.linux-iscsi.{}:data", server.name);
    let root = if c.debian {
        "etc/iscsi"
    } else {
        "var/lib/iscsi"
    };
    let portal = c.site.address_for(c.need);
    let record = format!(
        "# BEGIN RECORD 2.1.8\nnode.name = {iqn}\nnode.tpgt = 1\nnode.startup = automatic\nnode.leading_login = No\niface.iscsi_ifacename = default\nnode.discovery_address = {0}\nnode.discovery_port = 3260\nnode.discovery_type = send_targets\nnode.conn[0].address = {0}\nnode.conn[0].port = 3260\nnode.conn[0].startup = manual\n# END RECORD",
        portal
    );
    tree.add(
        format!("{root}/nodes/{iqn}/{portal},3260,1/default"),
        record,
    );
    tree.add(
        "etc/iscsi/initiatorname.iscsi",
        format!(
            "InitiatorName=iqn.1993-08.org.debian:01:{:x}",
            c.need.client.0 * 7919
        ),
    );
    tree.add(
        "etc/fstab",
        "UUID=7c1d2b34-9a0e-4f3e-8d61-1b6f1f2c0a55 /srv/data ext4 _netdev 0 2",
    );
}

fn backend(c: &Client, tree: &mut Tree) {
    let (target, port) = (&c.target, c.port);
    let short = &c.site.machines[c.need.server.0].name;
    match c.kind {
        Kind::Haproxy => tree.add_below(
            "etc/haproxy/haproxy.cfg",
            "global\n\tlog /dev/log\tlocal0\n\tdaemon\n\ndefaults\n\tlog\tglobal\n\tmode\thttp\n\ttimeout connect 5000\n\ttimeout client  50000\n\ttimeout server  50000\n\nfrontend www\n\tbind *:443\n\tdefault_backend be_web\n\nbackend be_web\n\tbalance roundrobin",
            format!("\tserver {short} {target}:{port} check"),
        ),
        _ => {
            let file = if c.debian { format!("etc/nginx/sites-available/{short}") } else { format!("etc/nginx/conf.d/{short}.conf") };
            tree.add(file, format!("server {{\n    listen 80;\n    server_name {short}.{};\n    location / {{\n        proxy_set_header Host $host;\n        proxy_pass http://{target}:{port};\n    }}\n}}", c.site.realm()));
            if c.debian {
                tree.link(format!("etc/nginx/sites-enabled/{short}"), format!("/etc/nginx/sites-available/{short}"));
            }
        }
    }
}

fn zone(c: &Client, tree: &mut Tree) {
    let file = if c.debian {
        "etc/bind/named.conf.local"
    } else {
        "etc/named.conf"
    };
    let realm = c.site.realm();
    tree.add(file, format!("zone \"{realm}\" {{\n\ttype secondary;\n\tfile \"db.{realm}\";\n\tprimaries {{ {}; }};\n}};", c.target));
}

fn replica(c: &Client, tree: &mut Tree) {
    let line = format!(
        "primary_conninfo = 'host={} port=5432 user=replicator application_name=standby'",
        c.target
    );
    match c.debian {
        true => tree.add("etc/postgresql/15/main/conf.d/standby.conf", line),
        false => tree.add("var/lib/pgsql/data/postgresql.auto.conf", line),
    }
}

fn sync(c: &Client, tree: &mut Tree) {
    if c.kind == Kind::Slapd {
        let base = c.site.base_dn();
        let name = if c.debian {
            "etc/ldap/slapd.d/cn=config/olcDatabase={1}mdb.ldif"
        } else {
            "etc/openldap/slapd.d/cn=config/olcDatabase={2}mdb.ldif"
        };
        tree.add(name, format!("dn: olcDatabase={{1}}mdb\nobjectClass: olcDatabaseConfig\nolcSuffix: {base}\nolcSyncrepl: {{0}}rid=001 provider=ldap://{} bindmethod=simple\n  binddn=\"cn=sync,{base}\" credentials=s3cret searchbase=\"{base}\" type=refreshAndPersist retry=\"5 +\"\nolcMirrorMode: TRUE", c.target));
    }
}

fn runner(c: &Client, tree: &mut Tree) {
    tree.add("etc/gitlab-runner/config.toml", format!("concurrent = 4\ncheck_interval = 0\n\n[[runners]]\n  name = \"build\"\n  url = \"http://{}:{}/\"\n  token = \"Yx3kq9Az\"\n  executor = \"shell\"", c.target, c.port));
}

/// Whether a need goes through a name that only the name servers know.
pub fn by_name(need: &Need) -> bool {
    need.reference != Reference::Address
}
