//! Lines that every machine writes, and lines that mislead.

use fastrand::Rng;

use crate::history::{Log, between};
use crate::messages::Said;
use crate::model::{Distribution, Kind, Site};
use crate::parameters::Parameters;

/// What the kernel and the manager write at each boot.
pub fn boot_lines(site: &Site, index: usize, log: &mut Log, kernel: f64, rng: &mut Rng) {
    let machine = &site.machines[index];
    let debian = machine.distribution == Distribution::Debian;
    let version = match debian {
        true => {
            "Linux version 6.1.0-13-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40) #1 SMP PREEMPT_DYNAMIC Debian 6.1.55-1 (2023-09-29)"
        }
        false => {
            "Linux version 5.14.0-362.8.1.el9_3.x86_64 (mockbuild@iad1-prod-build001.bld.equ.rockylinux.org) (gcc (GCC) 11.4.1 20230605 (Red Hat 11.4.1-2), GNU ld version 2.35.2-42.el9) #1 SMP PREEMPT_DYNAMIC Wed Nov 8 17:36:32 UTC 2023"
        }
    };
    let lines = [
        (0.0, version.to_owned()),
        (
            0.0001,
            format!(
                "Command line: BOOT_IMAGE=/boot/vmlinuz root=UUID=3d2b8c1e-5a44-4f0e-9c11-2f0d5c1b7a10 ro {}",
                if debian {
                    "quiet"
                } else {
                    "crashkernel=1G-4G:192M"
                }
            ),
        ),
        (
            0.004,
            "DMI: QEMU Standard PC (Q35 + ICH9, 2009), BIOS 1.16.2-debian-1.16.2-1 04/01/2014"
                .into(),
        ),
        (
            0.4,
            "pci 0000:00:02.0: reg 0x10: [mem 0xfd000000-0xfdffffff pref]".into(),
        ),
        (
            1.2,
            "EXT4-fs (vda1): mounted filesystem with ordered data mode. Quota mode: none.".into(),
        ),
    ];
    for (after, text) in lines {
        log.plain(kernel + after, "kernel", "", text);
    }
    let begin = kernel + machine.kernel_s * 0.4;
    let manager = if debian {
        "systemd 252.19-1~deb12u1 running in system mode (+PAM +AUDIT +SELINUX +APPARMOR +IMA +SMACK +SECCOMP +GCRYPT -GNUTLS +OPENSSL default-hierarchy=unified)"
    } else {
        "systemd 252-18.el9 running in system mode (+PAM +AUDIT +SELINUX -APPARMOR +IMA +SMACK +SECCOMP +GCRYPT +GNUTLS +OPENSSL default-hierarchy=unified)"
    };
    log.plain(begin, "systemd", "", manager);
    log.plain(
        begin + 0.01,
        "systemd",
        "",
        format!("Hostname set to <{}>.", site.full_name(index)),
    );
    log.plain(
        begin + 0.3,
        "systemd",
        "local-fs.target",
        target(debian, "local-fs.target", "Local File Systems"),
    );
    let network = kernel + machine.kernel_s * 0.8;
    log.plain(
        network,
        "kernel",
        "",
        "virtio_net virtio0 eth0: link becomes ready",
    );
    log.plain(
        network + 0.1,
        "systemd",
        "network.target",
        target(debian, "network.target", "Network"),
    );
    log.plain(
        network + 0.2,
        "systemd",
        "network-online.target",
        target(debian, "network-online.target", "Network is Online"),
    );
    let end = kernel + machine.kernel_s + between(rng, 8.0, 20.0);
    log.plain(
        end,
        "systemd",
        "multi-user.target",
        target(debian, "multi-user.target", "Multi-User System"),
    );
    log.plain(
        end + 0.2,
        "systemd",
        "",
        format!(
            "Startup finished in {:.3}s (kernel) + {:.3}s (userspace) = {:.3}s.",
            machine.kernel_s * 0.4,
            end - kernel - machine.kernel_s * 0.4,
            end - kernel
        ),
    );
}

fn target(debian: bool, unit: &str, description: &str) -> String {
    match debian {
        true => format!("Reached target {unit} - {description}."),
        false => format!("Reached target {description}."),
    }
}

/// A time client corrects the clock.
pub fn step_lines(site: &Site, index: usize, log: &mut Log, time: f64, by: f64) {
    let chrony = site.machines[index].distribution == Distribution::Rhel
        || site.machines[index]
            .programs
            .iter()
            .any(|p| p.kind == Kind::Chrony);
    if chrony {
        log.plain(
            time - 0.001,
            "chronyd",
            "chronyd.service",
            format!("System clock wrong by {by:.6} seconds"),
        );
        log.plain(
            time + 0.001,
            "chronyd",
            "chronyd.service",
            format!("System clock was stepped by {by:.6} seconds"),
        );
    } else {
        let now = jiff::Timestamp::from_microsecond((time * 1e6) as i64)
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        log.plain(
            time + 0.001,
            "systemd-timesyncd",
            "systemd-timesyncd.service",
            format!(
                "Initial clock synchronization to {} UTC.",
                now.strftime("%a %Y-%m-%d %H:%M:%S%.6f")
            ),
        );
    }
    log.plain(
        time + 0.002,
        "systemd-resolved",
        "systemd-resolved.service",
        "Clock change detected. Flushing caches.",
    );
    if by < -60.0 {
        log.plain(
            time + 0.003,
            "systemd-journald",
            "systemd-journald.service",
            "Time jumped backwards, rotating.",
        );
    }
}

/// Fills one boot with background and misleading lines.
pub fn fill(
    site: &Site,
    index: usize,
    log: &mut Log,
    span: (f64, f64),
    rng: &mut Rng,
    p: &Parameters,
) {
    let (begin, end) = span;
    if end - begin < 120.0 {
        return;
    }
    for _ in 0..p.noise.lines_per_boot {
        let time = moment(rng, begin, end);
        background(log, time, rng);
    }
    if rng.f64() < p.noise.false_evidence {
        for _ in 0..rng.usize(2..10) {
            let time = moment(rng, begin, end);
            misleading(site, index, log, time, rng);
        }
    }
}

/// Half of the lines soon after the boot, the rest at any time.
fn moment(rng: &mut Rng, begin: f64, end: f64) -> f64 {
    match rng.bool() {
        true => between(rng, begin + 15.0, (begin + 900.0).min(end - 10.0)),
        false => between(rng, begin + 15.0, end - 10.0),
    }
}

fn background(log: &mut Log, time: f64, rng: &mut Rng) {
    let number = rng.u16(1000..60000);
    let (tag, unit, text): (&str, &str, String) = match rng.u8(..10) {
        0 => ("CRON", "cron.service", "(root) CMD (   cd / && run-parts --report /etc/cron.hourly)".into()),
        1 => ("CRON", "cron.service", "pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)".into()),
        2 => ("sshd", "ssh.service", format!("Accepted publickey for admin from 10.200.3.7 port {number} ssh2: ED25519 SHA256:Zk3uYcA1bF")),
        3 => ("systemd-logind", "systemd-logind.service", format!("New session {number} of user admin.")),
        4 => ("systemd", "apt-daily.service", "apt-daily.service: Deactivated successfully.".into()),
        5 => ("systemd", "logrotate.service", "Finished logrotate.service - Rotate log files.".into()),
        6 => ("kernel", "", format!("TCP: request_sock_TCP: Possible SYN flooding on port {}. Sending cookies.", number % 9000)),
        7 => ("dbus-daemon", "dbus.service", "[system] Successfully activated service 'org.freedesktop.hostname1'".into()),
        8 => ("sudo", "", "admin : TTY=pts/0 ; PWD=/home/admin ; USER=root ; COMMAND=/usr/bin/tail /var/log/syslog".into()),
        _ => ("systemd", "fstrim.service", "fstrim.service: Deactivated successfully.".into()),
    };
    log.plain(time, tag, unit, text);
}

/// True lines about others that say nothing about needing them.
fn misleading(site: &Site, index: usize, log: &mut Log, time: f64, rng: &mut Rng) {
    let other = rng.usize(..site.machines.len());
    let (name, address) = (&site.machines[other].name, &site.machines[other].address);
    let full = site.full_name(other);
    let port = rng.u16(30000..60000);
    let internet = format!(
        "{}.{}.{}.{}",
        rng.u8(20..200),
        rng.u8(..),
        rng.u8(..),
        rng.u8(1..250)
    );
    let (tag, unit, text): (&str, &str, String) = match rng.u8(..21) {
        0 => ("sshd", "ssh.service", format!("Failed password for invalid user oracle from {internet} port {port} ssh2")),
        1 => ("sshd", "ssh.service", format!("Connection closed by {address} port {port} [preauth]")),
        2 => ("sshd", "ssh.service", format!("error: kex_exchange_identification: read: Connection reset by peer; Connection reset by {address} port {port}")),
        3 => ("postfix/smtpd", "postfix@-.service", format!("warning: hostname {full} does not resolve to address {internet}")),
        4 => ("postfix/smtp", "postfix@-.service", format!("connect to mx1.example.org[{internet}]:25: Connection timed out")),
        5 => ("apt-helper", "apt-daily.service", "Err:1 http://mirror.example.org/debian bookworm InRelease Could not connect to mirror.example.org:80 (151.101.2.132), connection timed out".into()),
        6 => ("systemd-timesyncd", "systemd-timesyncd.service", format!("Timed out waiting for reply from {internet}:123 (2.debian.pool.ntp.org).")),
        7 => ("postfix/dnsblog", "postfix@-.service", "warning: dnsblog_query: lookup error for DNS query 7.3.200.10.zen.spamhaus.org: Host or domain name not found. Name service error".into()),
        8 => ("kernel", "", format!("[UFW BLOCK] IN=eth0 OUT= MAC=52:54:00:12:34:56 SRC={internet} DST={} LEN=40 TOS=0x00 PREC=0x00 TTL=244 ID=54321 PROTO=TCP SPT={port} DPT=3306 WINDOW=65535 RES=0x00 SYN URGP=0", site.machines[index].address)),
        9 => ("postgres", "postgresql@15-main.service", format!("LOG:  could not receive data from client {address}: Connection reset by peer")),
        10 => ("admin", "session-3.scope", format!("{name} is slow today, see ticket 4711")),
        11 => ("named", "named.service", format!("client @0x7f1c2c0 {address}#{port} (www.example.org): query (cache) 'www.example.org/A/IN' denied")),
        12 => ("rsyncd", "rsync.service", format!("rsync error: error in socket IO (code 10) at clientserver.c(139) [sender=3.2.7] connection from {name} ({address}) lost")),
        13 => ("named", "named.service", format!("client @0x7f2c0801 {address}#{port} (updates.example.org): query failed (timed out) for updates.example.org/IN/A at query.c:7836")),
        14 => ("mariadbd", "mariadb.service", format!("[Warning] IP address '{address}' could not be resolved: Temporary failure in name resolution")),
        15 => ("mariadbd", "mariadb.service", format!("[Warning] Aborted connection 52 to db: 'app' user: 'app' host: '{address}' (Got timeout reading communication packets)")),
        16 => ("nginx", "nginx.service", format!("2026/11/10 06:00:50 [error] 812#812: *3 connect() to unix:/run/php/php8.2-fpm.sock failed (111: Connection refused) while connecting to upstream, client: {address}, server: {name}, request: \"GET / HTTP/1.1\", upstream: \"fastcgi://unix:/run/php/php8.2-fpm.sock:\", host: \"{full}\"")),
        17 => ("proftpd", "proftpd.service", format!("127.0.0.1 ({full}[{address}]) - FTP login timed out, disconnected")),
        18 => ("in.tftpd", "tftpd-hpa.service", format!("tftpd: read(ack): Connection timed out from {address}")),
        19 => ("postfix/smtpd", "postfix@-.service", format!("timeout after DATA from {full}[{address}]: Connection timed out")),
        _ => ("sshd", "ssh.service", format!("refused connect from {full} ({address})")),
    };
    // A server's words belong to machines that run it.
    let runs = |kind: Kind| site.machines[index].programs.iter().any(|p| p.kind == kind);
    let fits = match tag {
        "postgres" => runs(Kind::Postgres),
        "named" => runs(Kind::Bind),
        "mariadbd" => runs(Kind::Mariadb),
        "postfix/smtpd" | "postfix/smtp" | "postfix/dnsblog" => runs(Kind::Postfix),
        _ => true,
    };
    if fits && other != index {
        log.say(
            time,
            Said {
                tag: tag.into(),
                unit: unit.into(),
                priority: 4,
                text,
            },
        );
    }
}

/// Adds so many lines without meaning, spread over all boots.
pub fn pad(log: &mut Log, lines: usize, rng: &mut Rng) {
    let spans: Vec<(f64, f64)> = log
        .boots
        .iter()
        .map(|boot| (boot.kernel, boot.end))
        .collect();
    for number in 0..lines {
        let (begin, end) = spans[number % spans.len()];
        let time = between(rng, begin, end);
        background(log, time, rng);
    }
}
