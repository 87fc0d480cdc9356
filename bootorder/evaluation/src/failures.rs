//! What programs write when a server is not there.

use crate::messages::{Cause, Said, Scene, mount_point, mount_unit};
use crate::model::{Kind, Link, Need, Site};

/// What is written when an attempt fails; `attempt` counts from 0.
pub fn failure(site: &Site, need: &Need, cause: Cause, attempt: usize) -> Vec<Said> {
    let s = Scene::new(site, need, cause);
    match need.link {
        Link::Resolver => resolver(&s, attempt),
        Link::Lease => lease(&s, attempt),
        Link::Clock => clock(&s, attempt),
        Link::Directory => directory(&s, attempt),
        Link::DomainMember => member(&s, attempt),
        Link::NfsMount => nfs(&s),
        Link::Automount => automount(&s),
        Link::CifsMount => cifs(&s),
        Link::IscsiDisk => iscsi(&s),
        Link::SqlPostgres => postgres(&s, attempt),
        Link::SqlMariadb => mariadb(&s, attempt),
        Link::Cache => cache(&s),
        Link::Queue => queue(&s, attempt),
        Link::MailRelay => relay(&s),
        Link::Backend => backend(&s, attempt),
        Link::ZoneTransfer => zone(&s),
        Link::ReplicaPostgres => vec![s.say(3, format!("FATAL:  could not connect to the primary server: {}", s.libpq()))],
        Link::ReplicaMariadb => vec![s.say(3, format!(
            "[ERROR] Slave I/O: error connecting to master 'repl@{}:{}' - retry-time: 60  maximum-retries: 86400  message: {}, Internal MariaDB error code: 2003",
            s.target, s.port, s.mysql(true)
        ))],
        Link::DirectorySync => sync(&s),
        Link::GitRemote => vec![s.say(4, format!(
            "WARNING: Checking for jobs... failed               runner=Yx3kq9Az status=couldn't execute POST against http://{0}:{1}/api/v4/jobs/request: Post \"http://{0}:{1}/api/v4/jobs/request\": {2}",
            s.target, s.port, s.dial()
        ))],
        Link::Document => document(&s),
        Link::Search => search(&s),
        Link::Forward | Link::Agent | Link::Watch | Link::Fetch => contact_failed(&s, attempt),
    }
}

fn resolver(s: &Scene, attempt: usize) -> Vec<Said> {
    if attempt > 0 {
        return Vec::new();
    }
    let text = match s.debian() {
        true => format!(
            "Using degraded feature set UDP instead of UDP+EDNS0 for DNS server {}.",
            s.address
        ),
        false => return Vec::new(),
    };
    vec![s.by("systemd-resolved", "systemd-resolved.service", 5, text)]
}

fn lease(s: &Scene, attempt: usize) -> Vec<Said> {
    let unit = "ifup@eth0.service";
    let mut said = vec![s.by(
        "dhclient",
        unit,
        6,
        format!(
            "DHCPDISCOVER on eth0 to 255.255.255.255 port 67 interval {}",
            3 + attempt * 4
        ),
    )];
    if attempt % 4 == 3 {
        said.push(s.by("dhclient", unit, 6, "No DHCPOFFERS received.".into()));
    }
    said
}

fn clock(s: &Scene, attempt: usize) -> Vec<Said> {
    if attempt > 1 {
        return Vec::new();
    }
    match s.debian() {
        true => {
            let named = if s.target == s.address {
                s.address.to_owned()
            } else {
                s.target.clone()
            };
            let text = format!(
                "Timed out waiting for reply from {}:123 ({named}).",
                s.address
            );
            vec![s.by("systemd-timesyncd", "systemd-timesyncd.service", 6, text)]
        }
        false => vec![s.by(
            "chronyd",
            "chronyd.service",
            4,
            "Can't synchronise: no selectable sources".into(),
        )],
    }
}

fn directory(s: &Scene, attempt: usize) -> Vec<Said> {
    let (target, words) = (&s.target, s.cause.words());
    match s.client {
        Kind::Postfix => vec![
            s.by("postfix/trivial-rewrite", &s.unit, 4, format!("warning: dict_ldap_connect: Unable to bind to server ldap://{target}:389 with dn cn=mail,{}: -1 (Can't contact LDAP server)", s.site.base_dn())),
        ],
        Kind::Dovecot => vec![
            s.by("dovecot", &s.unit, 3, format!("auth: Error: LDAP /etc/dovecot/dovecot-ldap.conf.ext: Can't connect to server: {target}")),
        ],
        _ if s.debian() => vec![
            s.by("nslcd", "nslcd.service", 4, format!("[8b4567] <passwd=\"admin\"> failed to bind to LDAP server ldap://{target}/: Can't contact LDAP server: {words}")),
            s.by("nslcd", "nslcd.service", 4, format!("[8b4567] <passwd=\"admin\"> no available LDAP server found, sleeping {} seconds", attempt + 1)),
        ],
        _ => {
            if attempt > 0 {
                return Vec::new();
            }
            vec![s.by("sssd_be", "sssd.service", 4, "Backend is offline".into())]
        }
    }
}

fn member(s: &Scene, attempt: usize) -> Vec<Said> {
    let realm = s.site.realm().to_uppercase();
    match s.debian() {
        true => vec![s.by("winbindd", "winbind.service", 3, format!(
            "ads_sasl_spnego_bind: kinit succeeded but SPNEGO bind with Kerberos failed for ldap/{} - user[{}$], realm[{realm}]: Can't contact LDAP server",
            s.site.full_name(s.need.server.0), s.site.machines[s.need.client.0].name.to_uppercase()
        ))],
        false if attempt == 0 => vec![
            s.by("krb5_child", "sssd.service", 3, format!("Cannot contact any KDC for realm '{realm}'")),
            s.by("sssd_be", "sssd.service", 4, "Backend is offline".into()),
        ],
        false => Vec::new(),
    }
}

fn nfs(s: &Scene) -> Vec<Said> {
    let point = mount_point(s.need.link);
    let unit = mount_unit(point);
    let reason = match (s.cause, s.debian()) {
        (Cause::Nameless, _) => format!(
            "mount.nfs: Failed to resolve server {}: Temporary failure in name resolution",
            s.target
        ),
        (cause, true) => format!("mount.nfs: {}", cause.words()),
        (cause, false) => format!(
            "mount.nfs: {} for {}:{point} on {point}",
            cause.words(),
            s.target
        ),
    };
    let mut said = vec![s.by("mount", &unit, 3, reason)];
    said.extend(mount_failed(s, &unit, point));
    said
}

fn mount_failed(s: &Scene, unit: &str, point: &str) -> Vec<Said> {
    vec![
        s.by(
            "systemd",
            unit,
            5,
            format!("{unit}: Mount process exited, code=exited, status=32/n/a"),
        ),
        s.by(
            "systemd",
            unit,
            4,
            format!("{unit}: Failed with result 'exit-code'."),
        ),
        s.by(
            "systemd",
            unit,
            3,
            format!("Failed to mount {unit} - {point}."),
        ),
        s.by(
            "systemd",
            "remote-fs.target",
            4,
            "Dependency failed for remote-fs.target - Remote File Systems.".into(),
        ),
    ]
}

fn automount(s: &Scene) -> Vec<Said> {
    vec![
        s.by(
            "automount",
            "autofs.service",
            3,
            format!(">> mount.nfs: {}", s.cause.words()),
        ),
        s.by(
            "automount",
            "autofs.service",
            3,
            format!(
                "mount(nfs): nfs: mount failure {}:/srv/export on /home/export",
                s.target
            ),
        ),
        s.by(
            "automount",
            "autofs.service",
            3,
            "failed to mount /home/export".into(),
        ),
    ]
}

fn cifs(s: &Scene) -> Vec<Said> {
    let point = mount_point(s.need.link);
    let unit = mount_unit(point);
    let number = s.cause.number();
    if s.cause == Cause::Nameless {
        let mut said = vec![s.by(
            "mount",
            &unit,
            3,
            format!(
                "mount error: could not resolve address for {}: Unknown error",
                s.target
            ),
        )];
        said.extend(mount_failed(s, &unit, point));
        return said;
    }
    let mut said = vec![
        s.by(
            "kernel",
            "",
            6,
            format!("CIFS: Attempting to mount \\\\{}\\share", s.target),
        ),
        s.by(
            "kernel",
            "",
            3,
            "CIFS: VFS: Error connecting to socket. Aborting operation.".into(),
        ),
        s.by(
            "kernel",
            "",
            3,
            format!("CIFS: VFS: cifs_mount failed w/return code = -{number}"),
        ),
        s.by(
            "mount",
            &unit,
            3,
            format!(
                "mount error({number}): could not connect to {}Unable to find suitable address.",
                s.address
            ),
        ),
    ];
    said.extend(mount_failed(s, &unit, point));
    said
}

fn iscsi(s: &Scene) -> Vec<Said> {
    let unit = match s.debian() {
        true => "open-iscsi.service",
        false => "iscsi.service",
    };
    let place = format!(
        "[iface: default, target: iqn.2003-01.org.linux-iscsi.{}:data, portal: {},3260]",
        s.short, s.address
    );
    vec![
        s.by(
            "iscsid",
            "iscsid.service",
            4,
            format!("connect to {}:3260 failed ({})", s.address, s.cause.words()),
        ),
        s.by(
            "iscsiadm",
            unit,
            3,
            format!("iscsiadm: Could not login to {place}."),
        ),
        s.by(
            "iscsiadm",
            unit,
            3,
            "iscsiadm: initiator reported error (8 - connection timed out)".into(),
        ),
    ]
}

fn document(s: &Scene) -> Vec<Said> {
    match s.client {
        Kind::NodeApp => vec![s.say(6, format!("MongoServerSelectionError: {}", s.node().trim_start_matches("Error: ")))],
        Kind::JavaApp => vec![s.say(6, format!("com.mongodb.MongoSocketOpenException: Exception opening socket: {{address={}:27017, type=UNKNOWN, state=CONNECTING, exception={{java.net.ConnectException: {}}}}}", s.target, s.cause.java()))],
        _ => vec![s.say(6, format!("pymongo.errors.ServerSelectionTimeoutError: {}:27017: {} (configured timeouts: socketTimeoutMS: 20000.0ms, connectTimeoutMS: 20000.0ms), Timeout: 30s", s.target, s.errno()))],
    }
}

fn search(s: &Scene) -> Vec<Said> {
    match s.client {
        Kind::NodeApp => vec![s.say(6, format!("ConnectionError: {}", s.node().trim_start_matches("Error: ")))],
        Kind::JavaApp => vec![s.say(6, format!("java.net.ConnectException: {}", s.cause.java()))],
        _ => vec![s.say(6, format!("elastic_transport.ConnectionError: Connection error caused by: NewConnectionError(<urllib3.connection.HTTPConnection object at 0x7f3c51d0>: Failed to establish a new connection: {})", s.errno()))],
    }
}

fn contact_failed(s: &Scene, attempt: usize) -> Vec<Said> {
    let (target, words, number) = (&s.target, s.cause.words(), s.cause.number());
    let own = &s.site.machines[s.need.client.0].name;
    match s.need.link {
        Link::Forward if attempt == 0 => vec![
            s.by("rsyslogd", "rsyslog.service", 3, format!("cannot connect to {target}:514: {words} [v8.2302.0 try https://www.rsyslog.com/e/2027 ]")),
            s.by("rsyslogd", "rsyslog.service", 4, "action 'action-8-builtin:omfwd' suspended (module 'builtin:omfwd'), retry 0. There should be messages before this one giving the reason for suspension. [v8.2302.0 try https://www.rsyslog.com/e/2007 ]".into()),
        ],
        Link::Agent if attempt == 0 => vec![s.by("zabbix_agentd", "zabbix-agent.service", 4, format!(
            "active check configuration update from [{target}:10051] started to fail (cannot connect to [[{target}]:10051]: [{number}] {words})"
        ))],
        Link::Watch if s.client == Kind::Zabbix => vec![s.say(4, format!(
            "Zabbix agent item \"system.cpu.load[all,avg1]\" on host \"{}\" failed: first network error, wait for 15 seconds", s.short
        ))],
        Link::Watch if s.cause == Cause::Refused => vec![s.say(4, format!(
            "SERVICE ALERT: {};SSH;CRITICAL;SOFT;{};connect to address {} and port 22: Connection refused", s.short, attempt + 1, s.address
        ))],
        Link::Watch => vec![s.say(4, format!("HOST ALERT: {};DOWN;SOFT;{};CRITICAL - Host Unreachable ({})", s.short, attempt + 1, s.address))],
        Link::Fetch if attempt == 0 => vec![s.say(3, format!(
            "{own}-dir JobId 812: Fatal error: bsockcore.c:208 Unable to connect to Client: {}-fd on {target}:9102. ERR={words}", s.short
        ))],
        _ => Vec::new(),
    }
}

fn postgres(s: &Scene, attempt: usize) -> Vec<Said> {
    match s.client {
        Kind::PythonApp => vec![
            s.say(6, "Traceback (most recent call last):".into()),
            s.say(6, "  File \"/opt/venv/lib/python3.11/site-packages/psycopg2/__init__.py\", line 122, in connect".into()),
            s.say(6, format!("psycopg2.OperationalError: {}", s.libpq())),
            s.say(6, "\tIs the server running on that host and accepting TCP/IP connections?".into()),
        ],
        Kind::JavaApp => vec![
            s.say(6, "HikariPool-1 - Exception during pool initialization.".into()),
            s.say(6, match s.cause {
                Cause::Nameless => format!("Caused by: java.net.UnknownHostException: {}", s.target),
                Cause::Refused => format!("org.postgresql.util.PSQLException: Connection to {}:{} refused. Check that the hostname and port are correct and that the postmaster is accepting TCP/IP connections.", s.target, s.port),
                cause => format!("org.postgresql.util.PSQLException: The connection attempt failed. Caused by: java.net.SocketTimeoutException: {}", cause.java()),
            }),
        ],
        Kind::NodeApp => vec![s.say(6, s.node()), s.say(6, "    at TCPConnectWrap.afterConnect [as oncomplete] (node:net:1494:16) {".into())],
        Kind::PhpSite => vec![s.say(3, "[php:error] [pid 812] PHP Fatal error:  Uncaught PDOException: SQLSTATE[08006] [7] could not connect to server in /var/www/html/lib/db.php:21".into())],
        Kind::Gitea => gitea(s, attempt),
        Kind::Grafana => grafana(s),
        Kind::Zabbix => zabbix(s, "0", s.libpq(), attempt),
        Kind::Bacula => vec![s.say(3, format!("{}-dir ERROR TERMINATION at postgresql.c:192 Unable to connect to PostgreSQL server. Database=bacula User=bacula: {}", s.site.machines[s.need.client.0].name, s.libpq()))],
        _ => vec![s.say(4, format!("warning: connect to pgsql server {}: {}", s.target, s.libpq()))],
    }
}

fn mariadb(s: &Scene, attempt: usize) -> Vec<Said> {
    match s.client {
        Kind::PythonApp => vec![
            s.say(6, "Traceback (most recent call last):".into()),
            s.say(6, format!("pymysql.err.OperationalError: (2003, \"Can't connect to MySQL server on '{}' ({})\")", s.target, s.errno())),
        ],
        Kind::JavaApp => vec![s.say(6, match s.cause {
            Cause::Nameless => format!("Caused by: java.net.UnknownHostException: {}", s.target),
            cause => format!("java.sql.SQLNonTransientConnectionException: Socket fail to connect to host:address=(host={})(port={})(type=primary). {}", s.target, s.port, cause.java()),
        })],
        Kind::NodeApp => vec![s.say(6, s.node())],
        Kind::PhpSite => vec![s.say(3, format!("[php:error] [pid 812] PHP Fatal error:  Uncaught mysqli_sql_exception: {} in /var/www/html/lib/db.php:21", s.cause.words()))],
        Kind::Gitea => gitea(s, attempt),
        Kind::Grafana => grafana(s),
        Kind::Zabbix => zabbix(s, if s.cause == Cause::Nameless { "2005" } else { "2002" }, s.mysql(true), attempt),
        Kind::Dovecot => vec![s.by("dovecot", &s.unit, 3, format!("auth: Error: mysql({}): Connect failed to database (mail): {} - waiting for {} seconds before retry", s.target, s.mysql(false), 1 << attempt.min(5)))],
        Kind::Postfix => vec![
            s.by("postfix/trivial-rewrite", &s.unit, 4, format!("warning: connect to mysql server {}: {}", s.target, s.mysql(false))),
            s.by("postfix/trivial-rewrite", &s.unit, 4, "warning: virtual_mailbox_domains: mysql:/etc/postfix/mysql-virtual-domains.cf: table lookup problem".into()),
        ],
        _ => vec![s.say(3, s.mysql(false))],
    }
}

fn grafana(s: &Scene) -> Vec<Said> {
    vec![s.say(3, format!("logger=sqlstore t=2023-11-05T08:12:01.1+00:00 level=error msg=\"Failed to connect to database\" error=\"{}\"", s.dial()))]
}

fn gitea(s: &Scene, attempt: usize) -> Vec<Said> {
    vec![
        s.say(3, format!("2023/11/05 08:11:40 routers/common/db.go:36:InitDBEngine() [E] ORM engine initialization attempt #{}/10 failed. Error: {}", attempt + 1, s.dial())),
        s.say(6, "2023/11/05 08:11:40 routers/common/db.go:37:InitDBEngine() [I] Backing off for 3 seconds".into()),
    ]
}

fn zabbix(s: &Scene, code: &str, text: String, attempt: usize) -> Vec<Said> {
    let mut said = Vec::new();
    if attempt == 0 {
        said.push(s.say(
            3,
            format!("[Z3001] connection to database 'zabbix' failed: [{code}] {text}"),
        ));
    }
    said.push(s.say(4, "database is down: reconnecting in 10 seconds".into()));
    said
}

fn cache(s: &Scene) -> Vec<Said> {
    match s.client {
        Kind::JavaApp => vec![s.say(6, format!("io.lettuce.core.RedisConnectionException: Unable to connect to {}/<unresolved>:6379", s.target))],
        Kind::NodeApp => vec![s.say(6, format!("[ioredis] Unhandled error event: {}", s.node()))],
        Kind::PhpSite => vec![s.say(3, format!("[php:error] [pid 812] PHP Fatal error:  Uncaught RedisException: {} in /var/www/html/lib/session.php:12", s.cause.words()))],
        _ => vec![s.say(6, match s.cause {
            Cause::Nameless => format!("redis.exceptions.ConnectionError: Error -3 connecting to {}:6379. Temporary failure in name resolution.", s.target),
            cause => format!("redis.exceptions.ConnectionError: Error {} connecting to {}:6379. {}.", cause.number(), s.target, cause.words()),
        })],
    }
}

fn queue(s: &Scene, attempt: usize) -> Vec<Said> {
    match s.client {
        Kind::PythonApp => vec![s.say(6, format!(
            "[ERROR/MainProcess] consumer: Cannot connect to amqp://{}:**@{}:5672//: {}. Trying again in {}.00 seconds... ({}/100)",
            s.label, s.target, s.errno(), 2 * (attempt + 1), attempt + 1
        ))],
        Kind::JavaApp => vec![s.say(6, format!(
            "WARN o.s.a.r.l.SimpleMessageListenerContainer : Consumer raised exception, processing can restart if the connection factory supports it. Exception summary: org.springframework.amqp.AmqpConnectException: java.net.ConnectException: {}",
            s.cause.java()
        ))],
        Kind::NodeApp => vec![s.say(6, s.node())],
        _ => vec![s.say(3, format!("[php:error] [pid 812] PHP Fatal error:  Uncaught PhpAmqpLib\\Exception\\AMQPIOException: stream_socket_client(): Unable to connect to tcp://{}:5672 ({})", s.target, s.cause.words()))],
    }
}

fn relay(s: &Scene) -> Vec<Said> {
    let error = match s.cause {
        Cause::Nameless => format!(
            "smtplib: socket.gaierror: [Errno -3] Temporary failure in name resolution: {}",
            s.target
        ),
        cause => format!(
            "connect to {}[{}]:25: {}",
            s.target,
            s.address,
            cause.words()
        ),
    };
    vec![s.by("postfix/smtp", "postfix@-.service", 6, error)]
}

fn backend(s: &Scene, attempt: usize) -> Vec<Said> {
    match s.client {
        Kind::Haproxy if attempt == 0 => vec![s.say(4, format!(
            "[WARNING]  (734) : Server be_web/{} is DOWN, reason: Layer4 {}, check duration: {}ms. 1 active and 0 backup servers left. 0 sessions active, 0 requeued, 0 remaining in queue.",
            s.short,
            match s.cause { Cause::Refused => "connection problem, info: \"Connection refused\"", _ => "timeout" },
            if s.cause == Cause::Refused { 0 } else { 2001 },
        ))],
        Kind::Nginx if s.cause == Cause::Nameless && attempt == 0 => vec![s.say(3, format!(
            "nginx: [emerg] host not found in upstream \"{}\" in /etc/nginx/conf.d/{}.conf:5", s.target, s.short
        ))],
        Kind::Nginx if s.cause != Cause::Nameless && attempt.is_multiple_of(5) => vec![s.say(3, format!(
            "2023/11/05 08:11:42 [error] 733#733: *{} connect() failed ({}: {}) while connecting to upstream, client: 10.200.3.7, server: _, request: \"GET / HTTP/1.1\", upstream: \"http://{}:{}/\", host: \"www\"",
            attempt + 3, s.cause.number(), s.cause.words(), s.address, s.port
        ))],
        _ => Vec::new(),
    }
}

fn zone(s: &Scene) -> Vec<Said> {
    let realm = s.site.realm();
    let reason = match s.cause {
        Cause::Refused => "connection refused",
        Cause::Unreachable => "host unreachable",
        _ => "timed out",
    };
    vec![
        s.say(6, format!("zone {realm}/IN: refresh: retry limit for primary {}#53 exceeded (source 0.0.0.0#0)", s.address)),
        s.say(3, format!("transfer of '{realm}/IN' from {}#53: failed to connect: {reason}", s.address)),
    ]
}

fn sync(s: &Scene) -> Vec<Said> {
    match s.client {
        Kind::SambaDc => vec![s.say(3, format!(
            "Failed to connect host {0} on port 135 - NT_STATUS_CONNECTION_REFUSED. Failed to bind to uuid e3514235-4b06-11d1-ab04-00c04fc2dcd2 for ncacn_ip_tcp:{0}", s.address
        ))],
        _ => vec![
            s.say(3, format!("slap_client_connect: URI=ldap://{} ldap_sasl_bind_s failed (-1)", s.target)),
            s.say(3, "do_syncrepl: rid=001 rc -1 retrying".into()),
        ],
    }
}
