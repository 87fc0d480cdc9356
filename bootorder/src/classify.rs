//! Which log records matter, told by the words that programs really use.

use crate::event::Record;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum What {
    /// The service manager finished starting a unit.
    Started,
    /// A unit failed.
    UnitFailed,
    /// A start-up failure that has to do with somebody else.
    Failure(Failure),
    /// A program says that it serves now.
    Ready,
    /// An interruption is over (NFS "OK" and the like).
    Cleared,
    /// The boot as a whole is through.
    BootDone,
    /// The machine goes down: what fails from here on says nothing about starting.
    Stopping,
    /// The kernel names a network card.
    Card,
    /// A DHCP client got an address.
    Lease,
}

/// How the other party was missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Failure {
    /// A name could not be resolved.
    Resolution,
    /// The directory did not answer.
    Directory,
    /// A network filesystem did not answer or could not be mounted.
    Mount,
    /// Nobody listened.
    Refused,
    /// Nobody was there.
    Unreachable,
}

// First match wins: the specific before the general.
const FAILURES: &[(&str, Failure)] = &[
    ("can't contact ldap server", Failure::Directory),
    ("ldap server is down", Failure::Directory),
    ("no available ldap server", Failure::Directory),
    ("ldap server unavailable", Failure::Directory),
    ("failed to bind to ldap", Failure::Directory),
    ("could not connect to ldap", Failure::Directory),
    ("cannot contact any kdc", Failure::Directory),
    ("backend is offline", Failure::Directory),
    ("slap_client_connect", Failure::Directory),
    (
        "could not start tls encryption. can't contact",
        Failure::Directory,
    ),
    ("could not translate host name", Failure::Resolution),
    ("temporary failure in name resolution", Failure::Resolution),
    ("name or service not known", Failure::Resolution),
    ("failed to resolve server", Failure::Resolution),
    ("failed to resolve", Failure::Resolution),
    ("could not resolve", Failure::Resolution),
    ("couldn't resolve", Failure::Resolution),
    ("cannot resolve", Failure::Resolution),
    ("can't resolve", Failure::Resolution),
    ("unable to resolve", Failure::Resolution),
    ("host not found", Failure::Resolution),
    ("unknown host", Failure::Resolution),
    ("getaddrinfo", Failure::Resolution),
    ("no such host", Failure::Resolution),
    ("mount.nfs", Failure::Mount),
    ("mount(2)", Failure::Mount),
    ("mount failure", Failure::Mount),
    ("mount error(", Failure::Mount),
    ("not responding, still trying", Failure::Mount),
    ("not responding, timed out", Failure::Mount),
    ("cifs: vfs", Failure::Mount),
    ("no route to host", Failure::Unreachable),
    ("host is unreachable", Failure::Unreachable),
    ("network is unreachable", Failure::Unreachable),
    ("connection timed out", Failure::Unreachable),
    ("operation timed out", Failure::Unreachable),
    ("connection refused", Failure::Refused),
    ("layer4 connection problem", Failure::Refused),
    ("layer4 timeout", Failure::Unreachable),
    ("econnrefused", Failure::Refused),
    ("ehostunreach", Failure::Unreachable),
    ("etimedout", Failure::Unreachable),
    ("enotfound", Failure::Resolution),
    ("eai_again", Failure::Resolution),
    ("cannot make a connection to", Failure::Refused),
    ("connect error", Failure::Refused),
    ("connect failed", Failure::Refused),
    ("could not connect to", Failure::Refused),
    ("couldn't connect to", Failure::Refused),
    ("can't connect to", Failure::Refused),
    ("cannot connect to", Failure::Refused),
    ("unable to connect to", Failure::Refused),
    ("failed to connect to", Failure::Refused),
    ("connection to server at", Failure::Refused),
    ("is the server running", Failure::Refused),
    ("timed out", Failure::Unreachable),
];

const READY: &[&str] = &[
    "ready to accept connections",
    "ready for connections",
    "listening on",
    "all zones loaded",
    "slapd starting",
    "start worker process",
    "resuming normal operations",
    "ready to handle connections",
    "server startup complete",
];

const UNIT_DONE: &[&str] = &["started ", "mounted ", "finished "];
const UNIT_FAILED: &[&str] = &[
    "failed to start ",
    "failed to mount ",
    "dependency failed for ",
    "timed out starting ",
];

/// What the record says, or `None` when it does not matter.
pub(crate) fn classify(record: &Record<'_>) -> Option<What> {
    if record.code != 0 {
        return crate::windows_events::windows(record);
    }
    let text = record
        .message
        .get(..600)
        .unwrap_or(record.message)
        .to_ascii_lowercase();
    if crate::leases::in_log(record.identifier, record.message).is_some() {
        return Some(What::Lease);
    }
    match record.identifier {
        // The manager of a user's session starts nothing that others wait for.
        "systemd" if record.logger_unit.starts_with("user@") => None,
        "systemd" => manager(&text),
        "kernel" => kernel(&text),
        _ => program(&text),
    }
}

fn manager(text: &str) -> Option<What> {
    if text.starts_with("startup finished in") || text.starts_with("reached target multi-user") {
        return Some(What::BootDone);
    }
    if text.starts_with("stopped target multi-user") || text.starts_with("reached target shutdown")
    {
        return Some(What::Stopping);
    }
    if UNIT_DONE.iter().any(|word| text.starts_with(word)) {
        return Some(What::Started);
    }
    let failed = UNIT_FAILED.iter().any(|word| text.starts_with(word))
        || text.contains(": failed with result ")
        || text.ends_with("entered failed state.");
    failed.then_some(What::UnitFailed)
}

fn kernel(text: &str) -> Option<What> {
    if text.contains("renamed from eth") || is_card(text) {
        return Some(What::Card);
    }
    if text.contains("nfs: server ") && text.ends_with(" ok") {
        return Some(What::Cleared);
    }
    failure(text)
        .filter(|f| *f == Failure::Mount)
        .map(What::Failure)
}

/// A network driver introduces its card: "... eth0: ... 52:54:00:20:00:10".
fn is_card(text: &str) -> bool {
    text.contains("eth") && text.split_whitespace().any(crate::identity::is_mac)
}

fn program(text: &str) -> Option<What> {
    if let Some(failure) = failure(text) {
        return Some(What::Failure(failure));
    }
    READY
        .iter()
        .any(|word| text.contains(word))
        .then_some(What::Ready)
}

fn failure(text: &str) -> Option<Failure> {
    if text.contains("connection to ") && text.contains(" refused") {
        return Some(Failure::Refused);
    }
    FAILURES
        .iter()
        .find(|(words, _)| text.contains(words))
        .map(|(_, failure)| *failure)
}

impl What {
    /// The unit named in a message of the service manager ("Started x.service - ...").
    pub fn unit_in_text(self, message: &str) -> Option<&str> {
        if !matches!(self, Self::Started | Self::UnitFailed) {
            return None;
        }
        message
            .split_whitespace()
            .map(|word| word.trim_end_matches([':', '.', ',']))
            .find(|word| word.ends_with(".service") || word.ends_with(".mount"))
    }
}

impl Failure {
    /// How the evidence calls it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Resolution => "name resolution failed",
            Self::Directory => "the directory did not answer",
            Self::Mount => "the network filesystem was missing",
            Self::Refused => "the connection was refused",
            Self::Unreachable => "the host was unreachable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(identifier: &str, message: &str, expected: Option<What>) {
        let record = Record {
            identifier,
            message,
            ..Record::default()
        };
        assert_eq!(classify(&record), expected, "{identifier}: {message}");
    }

    #[test]
    fn the_words_of_real_programs() {
        use super::Failure::*;
        check(
            "systemd",
            "Started nginx.service - A high performance web server.",
            Some(What::Started),
        );
        check(
            "systemd",
            "Mounted srv-share.mount - /srv/share.",
            Some(What::Started),
        );
        check(
            "systemd",
            "Failed to mount srv-share.mount - /srv/share.",
            Some(What::UnitFailed),
        );
        check(
            "systemd",
            "nslcd.service: Failed with result 'exit-code'.",
            Some(What::UnitFailed),
        );
        check("systemd", "Starting nginx.service...", None);
        check(
            "systemd",
            "Startup finished in 3.1s (kernel) + 9s (userspace) = 12.1s.",
            Some(What::BootDone),
        );
        check(
            "kernel",
            "nfs: server data1 not responding, still trying",
            Some(What::Failure(Mount)),
        );
        check("kernel", "nfs: server data1 OK", Some(What::Cleared));
        check(
            "kernel",
            "e1000e 0000:00:02.0 eth0: (PCI Express:2.5GT/s:Width x1) 52:54:00:20:00:10",
            Some(What::Card),
        );
        check(
            "kernel",
            "e1000e 0000:00:02.0 enp0s2: renamed from eth0",
            Some(What::Card),
        );
        check(
            "mount",
            "mount.nfs: Failed to resolve server data1: Name or service not known",
            Some(What::Failure(Resolution)),
        );
        check(
            "nslcd",
            "[8b4567] <passwd> failed to bind to LDAP server ldap://dir1/: Can't contact LDAP server",
            Some(What::Failure(Directory)),
        );
        check(
            "app",
            "could not translate host name \"data1\" to address: Temporary failure in name resolution",
            Some(What::Failure(Resolution)),
        );
        check(
            "app",
            "connection to server at \"data1\" (10.0.0.2), port 5432 failed: Connection refused",
            Some(What::Failure(Refused)),
        );
        check(
            "postgres",
            "database system is ready to accept connections",
            Some(What::Ready),
        );
        check(
            "php",
            "Unable to connect to PostgreSQL server: connection to server at \"data1\" (10.0.0.2), port 5432 failed: No route to host",
            Some(What::Failure(Unreachable)),
        );
        check(
            "systemd",
            "Stopped target multi-user.target - Multi-User System.",
            Some(What::Stopping),
        );
        check("cron", "(root) CMD (run-parts)", None);
    }
}
