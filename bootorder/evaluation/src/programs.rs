//! What the programs are called where: units, tags, ports, the lines they write when ready.

use crate::model::{Distribution, Kind, Program};

/// One program as a distribution packages it.
pub struct Package {
    pub unit: String,
    pub description: String,
    pub tag: String,
    pub port: u16,
}

/// Seconds to become ready, least and most.
pub fn start_range(kind: Kind) -> (f64, f64) {
    match kind {
        Kind::System => (0.5, 2.0),
        Kind::Bind | Kind::Dnsmasq | Kind::Dhcpd | Kind::Chrony => (0.3, 4.0),
        Kind::Slapd | Kind::SambaDc => (2.0, 15.0),
        Kind::Nfs | Kind::Smb | Kind::Iscsi => (1.0, 8.0),
        Kind::Postgres | Kind::Mariadb => (2.0, 45.0),
        Kind::Redis | Kind::LogHost => (0.2, 5.0),
        Kind::Rabbit | Kind::Mongo => (3.0, 30.0),
        Kind::Postfix | Kind::Dovecot | Kind::Nginx | Kind::Haproxy => (0.3, 4.0),
        Kind::PhpSite => (0.5, 3.0),
        Kind::PythonApp | Kind::NodeApp | Kind::Gitea | Kind::Grafana => (1.0, 12.0),
        Kind::JavaApp | Kind::Search => (10.0, 90.0),
        Kind::Runner | Kind::Zabbix | Kind::Nagios | Kind::Bacula => (0.5, 6.0),
    }
}

/// Words of which one appears in any sensible name of the service.
pub fn service_words(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::System => &[],
        Kind::Bind => &["dns", "bind", "named"],
        Kind::Dnsmasq => &["dns", "dhcp"],
        Kind::Dhcpd => &["dhcp"],
        Kind::Chrony => &["time", "ntp", "chrony"],
        Kind::Slapd => &["directory", "ldap", "slapd"],
        Kind::SambaDc => &["directory", "kerberos", "dns", "samba", "ldap"],
        Kind::Nfs => &["nfs"],
        Kind::Smb => &["smb", "samba", "cifs"],
        Kind::Iscsi => &["iscsi"],
        Kind::Postgres => &["postgres"],
        Kind::Mariadb => &["mysql", "maria"],
        Kind::Redis => &["redis"],
        Kind::Rabbit => &["rabbit", "amqp"],
        Kind::Postfix => &["mail transfer", "postfix", "smtp"],
        Kind::Dovecot => &["mailbox", "dovecot", "imap"],
        Kind::Nginx | Kind::PhpSite => &[
            "web", "nginx", "apache", "httpd", "php", "balancer", "proxy",
        ],
        Kind::Haproxy => &["balancer", "haproxy", "proxy"],
        Kind::JavaApp => &["application", "tomcat", "java", "web"],
        Kind::PythonApp | Kind::NodeApp => &["web", "application"],
        Kind::Gitea => &["git", "web", "source", "repositor"],
        Kind::Mongo => &["mongo"],
        Kind::Search => &["elastic"],
        Kind::Grafana => &["grafana", "monitor", "web"],
        Kind::Runner => &["runner", "build", "integration"],
        Kind::Zabbix | Kind::Nagios => &["monitor", "zabbix", "nagios"],
        Kind::Bacula => &["backup", "bacula"],
        Kind::LogHost => &["log"],
    }
}

/// How a program is packaged.
pub fn package(program: &Program, distribution: Distribution) -> Package {
    let debian = distribution == Distribution::Debian;
    let pick = |deb: &'static str, rhel: &'static str| if debian { deb } else { rhel };
    let (unit, description, tag, port): (&str, &str, &str, u16) = match program.kind {
        Kind::System => (
            "systemd-logind.service",
            "User Login Management",
            "systemd-logind",
            22,
        ),
        Kind::Bind => (
            "named.service",
            pick(
                "BIND Domain Name Server",
                "Berkeley Internet Name Domain (DNS)",
            ),
            "named",
            53,
        ),
        Kind::Dnsmasq => (
            "dnsmasq.service",
            pick(
                "dnsmasq - A lightweight DHCP and caching DNS server",
                "DNS caching server.",
            ),
            "dnsmasq",
            53,
        ),
        Kind::Dhcpd => (
            pick("isc-dhcp-server.service", "dhcpd.service"),
            pick("LSB: DHCP server", "DHCPv4 Server Daemon"),
            "dhcpd",
            67,
        ),
        Kind::Chrony => (
            pick("chrony.service", "chronyd.service"),
            pick("chrony, an NTP client/server", "NTP client/server"),
            "chronyd",
            123,
        ),
        Kind::Slapd => (
            "slapd.service",
            pick(
                "LSB: OpenLDAP standalone server (Lightweight Directory Access Protocol)",
                "OpenLDAP Server Daemon",
            ),
            "slapd",
            389,
        ),
        Kind::SambaDc => ("samba-ad-dc.service", "Samba AD Daemon", "samba", 389),
        Kind::Nfs => (
            "nfs-server.service",
            "NFS server and services",
            "rpc.mountd",
            2049,
        ),
        Kind::Smb => (
            pick("smbd.service", "smb.service"),
            "Samba SMB Daemon",
            "smbd",
            445,
        ),
        Kind::Iscsi => (
            pick("rtslib-fb-targetctl.service", "target.service"),
            "Restore LIO kernel target configuration",
            "target",
            3260,
        ),
        Kind::Postgres => (
            pick("postgresql@15-main.service", "postgresql.service"),
            pick("PostgreSQL Cluster 15-main", "PostgreSQL database server"),
            pick("postgresql@15-main", "postgres"),
            5432,
        ),
        Kind::Mariadb => (
            "mariadb.service",
            pick(
                "MariaDB 10.11.6 database server",
                "MariaDB 10.5 database server",
            ),
            "mariadbd",
            3306,
        ),
        Kind::Redis => (
            pick("redis-server.service", "redis.service"),
            pick(
                "Advanced key-value store",
                "Redis persistent key-value database",
            ),
            "redis-server",
            6379,
        ),
        Kind::Rabbit => (
            "rabbitmq-server.service",
            pick("RabbitMQ Messaging Server", "RabbitMQ broker"),
            "rabbitmq-server",
            5672,
        ),
        Kind::Postfix => (
            pick("postfix@-.service", "postfix.service"),
            pick(
                "Postfix Mail Transport Agent (instance -)",
                "Postfix Mail Transport Agent",
            ),
            "postfix/master",
            25,
        ),
        Kind::Dovecot => (
            "dovecot.service",
            "Dovecot IMAP/POP3 email server",
            "dovecot",
            143,
        ),
        Kind::PhpSite => (
            pick("apache2.service", "httpd.service"),
            "The Apache HTTP Server",
            pick("apachectl", "httpd"),
            80,
        ),
        Kind::Gitea => (
            "gitea.service",
            "Gitea (Git with a cup of tea)",
            "gitea",
            3000,
        ),
        Kind::Mongo => ("mongod.service", "MongoDB Database Server", "mongod", 27017),
        Kind::Search => (
            "elasticsearch.service",
            "Elasticsearch",
            "elasticsearch",
            9200,
        ),
        Kind::Grafana => (
            "grafana-server.service",
            "Grafana instance",
            "grafana-server",
            3000,
        ),
        Kind::Runner => (
            "gitlab-runner.service",
            "GitLab Runner",
            "gitlab-runner",
            9252,
        ),
        Kind::Nginx => (
            "nginx.service",
            pick(
                "A high performance web server and a reverse proxy server",
                "The nginx HTTP and reverse proxy server",
            ),
            "nginx",
            80,
        ),
        Kind::Haproxy => ("haproxy.service", "HAProxy Load Balancer", "haproxy", 443),
        Kind::Zabbix => (
            "zabbix-server.service",
            "Zabbix Server",
            "zabbix_server",
            10051,
        ),
        Kind::Nagios => (
            pick("nagios4.service", "nagios.service"),
            pick("nagios4", "Nagios Core 4.4.14"),
            "nagios",
            5667,
        ),
        Kind::Bacula => (
            pick("bacula-director.service", "bacula-dir.service"),
            pick(
                "Bacula Director service",
                "Bacula-Director, the Backup-server",
            ),
            "bacula-dir",
            9101,
        ),
        Kind::LogHost => ("rsyslog.service", "System Logging Service", "rsyslogd", 514),
        Kind::JavaApp => (
            pick("tomcat10.service", "tomcat.service"),
            pick(
                "Apache Tomcat 10 Web Application Server",
                "Apache Tomcat Web Application Container",
            ),
            pick("tomcat10", "server"),
            8080,
        ),
        Kind::PythonApp | Kind::NodeApp => return own_application(program),
    };
    Package {
        unit: unit.to_owned(),
        description: description.to_owned(),
        tag: tag.to_owned(),
        port,
    }
}

fn own_application(program: &Program) -> Package {
    let (tag, port) = match program.kind {
        Kind::NodeApp => ("node", 3000),
        _ => ("gunicorn", 8000),
    };
    Package {
        unit: format!("{}.service", program.label),
        description: format!("{} application", program.label),
        tag: tag.to_owned(),
        port,
    }
}

/// What the program itself writes once it serves.
pub fn ready_lines(kind: Kind, domain: &str, port: u16) -> Vec<String> {
    match kind {
        Kind::Bind => vec![
            format!("zone {domain}/IN: loaded serial 2023110501"),
            "all zones loaded".into(),
            "running".into(),
        ],
        Kind::Dnsmasq => vec!["started, version 2.89 cachesize 150".into(), "read /etc/hosts - 8 names".into()],
        Kind::Dhcpd => vec!["Server starting service.".into()],
        Kind::Chrony => vec!["chronyd version 4.3 starting (+CMDMON +NTP +REFCLOCK +RTC +PRIVDROP +SCFILTER +SIGND +ASYNCDNS +NTS +SECHASH +IPV6 -DEBUG)".into(), "Frequency -12.313 +/- 0.055 ppm read from /var/lib/chrony/chrony.drift".into()],
        Kind::Slapd => vec!["slapd starting".into()],
        Kind::SambaDc => vec!["samba version 4.17.12-Debian started.".into()],
        Kind::Nfs => vec!["Version 2.6.2 starting".into()],
        Kind::Smb => vec!["smbd version 4.17.12-Debian started.".into()],
        Kind::Postgres => vec![
            "LOG:  listening on IPv4 address \"0.0.0.0\", port 5432".into(),
            "LOG:  database system is ready to accept connections".into(),
        ],
        Kind::Mariadb => vec![
            "[Note] InnoDB: log sequence number 46830294; transaction id 512".into(),
            "[Note] /usr/sbin/mariadbd: ready for connections.".into(),
        ],
        Kind::Redis => vec!["Ready to accept connections".into()],
        Kind::Rabbit => vec!["completed with 3 plugins.".into()],
        Kind::Postfix => vec!["daemon started -- version 3.7.10, configuration /etc/postfix".into()],
        Kind::Dovecot => vec!["master: Dovecot v2.3.19.1 (9b53102964) starting up for imap, lmtp, sieve (core dumps disabled)".into()],
        Kind::PythonApp => vec![format!("[INFO] Listening at: http://0.0.0.0:{port} (1021)"), "[INFO] Booting worker with pid: 1044".into()],
        Kind::NodeApp => vec![format!("Server listening on port {port}")],
        Kind::JavaApp => vec!["INFO [main] org.apache.coyote.AbstractProtocol.start Starting ProtocolHandler [\"http-nio-8080\"]".into(), "INFO [main] org.apache.catalina.startup.Catalina.start Server startup in [8231] milliseconds".into()],
        Kind::Gitea => vec!["2023/11/05 08:12:01 cmd/web.go:304:listen() [I] Listen: http://0.0.0.0:3000".into()],
        Kind::Mongo => vec!["{\"t\":{\"$date\":\"2023-11-05T08:12:01.123+00:00\"},\"s\":\"I\",  \"c\":\"NETWORK\",  \"id\":23016,   \"ctx\":\"listener\",\"msg\":\"Waiting for connections\",\"attr\":{\"port\":27017,\"ssl\":\"off\"}}".into()],
        Kind::Search => vec!["[INFO ][o.e.n.Node               ] [search] started".into()],
        Kind::Grafana => vec!["logger=http.server t=2023-11-05T08:12:01.1+00:00 level=info msg=\"HTTP Server Listen\" address=[::]:3000 protocol=http".into()],
        Kind::Runner => vec!["Configuration loaded                                builds=0 max_builds=4".into()],
        Kind::Haproxy => vec!["Loading success.".into()],
        Kind::Zabbix => vec!["server #0 started [main process]".into()],
        Kind::Nagios => vec!["Nagios 4.4.6 starting... (PID=812)".into(), "LOG VERSION: 2.0".into()],
        Kind::LogHost => vec!["[origin software=\"rsyslogd\" swVersion=\"8.2302.0\" x-pid=\"612\" x-info=\"https://www.rsyslog.com\"] start".into()],
        Kind::System | Kind::Iscsi | Kind::Nginx | Kind::PhpSite | Kind::Bacula => Vec::new(),
    }
}
