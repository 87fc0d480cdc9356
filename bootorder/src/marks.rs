//! Which words of a failure name the other party: hosts, not clients, users, databases or files.

use std::net::IpAddr;

/// What a message says when it complains about a client. Whoever serves depends on nobody whom it
/// serves.
const ABOUT_CLIENTS: &[&str] = &[
    "from client",
    "client connection",
    "ftp login",
    "login timed out",
    "can't verify hostname",
    "does not resolve to address",
    "in.tftpd",
    "aborted connection",
    "lost connection after",
    "timeout after ",
    "reverse mapping",
    "reverse lookup",
    "break-in attempt",
    "handshake failed",
    "query failed",
    "query (cache)",
    "invalid user",
    "ip address '",
];
/// What stands before a client, quotes and brackets aside.
const CLIENTS: &[&str] = &[
    "from",
    "client",
    "client:",
    "client=",
    "from=",
    "rip=",
    "lip=",
    "rhost=",
    "ruser=",
    "peer",
    "peer:",
    "remote:",
    "ip address",
    "address:",
    "hostname",
    "referrer:",
    "request:",
];
/// What stands before the name of something that is no host.
const NO_HOSTS: &[&str] = &[
    "user",
    "user=",
    "database",
    "database=",
    "dbname=",
    "repo",
    "repository",
    "pool",
    "interface",
    "table",
    "role",
    "zone",
    "job",
    "queue",
    "module",
    "backend",
    "listener",
    "server:",
    "unit",
];
/// Characters and keys after which a host stands.
const SIGNS: &[&str] = &["//", "\"", "'", "@", "host=", "server=", "[", "`"];
const INTRODUCTIONS: &[&str] = &["host ", "server ", "name ", "to ", "at ", "resolve "];
const LOOPBACK: &[&str] = &["localhost", "127.0.0.", "[::1]", "unix:", ".sock"];

/// The hosts that a failure talks about as its other party, in the order of the message.
pub(crate) fn other_parties(message: &str) -> Vec<&str> {
    let lower = message.to_ascii_lowercase();
    // A proxy names its client, itself, and at the end whom it asked.
    let (message, lower) = match lower.find("upstream: ") {
        Some(at) if lower.len() == message.len() => (&message[at..], &lower[at..]),
        _ if lower.contains(", client: ") => return Vec::new(),
        _ => (message, lower.as_str()),
    };
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(ABOUT_CLIENTS) || has(LOOPBACK) {
        return Vec::new();
    }
    let end = lower.find(", host: ").unwrap_or(message.len());
    words(message.get(..end).unwrap_or(message))
}

fn words(message: &str) -> Vec<&str> {
    let separators = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':'));
    let mut found = Vec::new();
    let mut at = 0;
    for word in message.split(separators).take(200) {
        let before = &message[..at];
        at += word.len();
        at += message[at..].chars().next().map_or(0, char::len_utf8);
        let name = word.trim_end_matches([':', '.']);
        let host = match name.parse::<IpAddr>() {
            Ok(_) => name,
            Err(_) => name.split(':').next().unwrap_or(name),
        };
        if host.len() >= 2 && is_party(before) && is_marked(before, word, host) {
            found.push(host);
        }
    }
    found
}

/// Whether what stands before a word leaves it the other party.
fn is_party(before: &str) -> bool {
    let before = before
        .trim_end_matches(['"', '\'', '[', '(', '<', '`', ' '])
        .to_ascii_lowercase();
    let ends = |marks: &[&str]| {
        marks.iter().any(|mark| {
            let rest = before.strip_suffix(mark);
            // "agent" ends with "agent", not with a mark inside a longer word.
            rest.is_some_and(|rest| !rest.ends_with(|c: char| c.is_ascii_alphanumeric()))
        })
    };
    // BIND: "client @0x7f2c08 10.0.0.9#4401".
    let last = before.rsplit(' ').next().unwrap_or("");
    !ends(CLIENTS) && !ends(NO_HOSTS) && !last.starts_with("@0x")
}

/// Machines are often called like ordinary words ("data", "mail"): such a word must be marked as
/// a host, and a word that messages use themselves ("to server: refused") doubly so.
fn is_marked(before: &str, word: &str, host: &str) -> bool {
    if host.contains(|c: char| c.is_ascii_digit() || c == '.' || c == '-') {
        return true;
    }
    let port = word
        .strip_prefix(host)
        .and_then(|rest| rest.strip_prefix(':'));
    let with_port = port.is_some_and(|port| port.starts_with(|c: char| c.is_ascii_digit()));
    if with_port || is_balanced(before) || SIGNS.iter().any(|mark| before.ends_with(mark)) {
        return true;
    }
    let is_own_word = OWN_WORDS.contains(&host.to_ascii_lowercase().as_str());
    let introduced = port.is_some() || INTRODUCTIONS.iter().any(|mark| before.ends_with(mark));
    introduced && !is_own_word
}

/// What messages call the other party without naming it.
const OWN_WORDS: &[&str] = &[
    "server",
    "servers",
    "host",
    "hosts",
    "client",
    "database",
    "db",
    "backend",
    "service",
    "socket",
    "peer",
    "remote",
    "master",
    "primary",
    "replica",
    "slave",
    "node",
    "cluster",
    "address",
    "port",
    "network",
    "upstream",
    "proxy",
    "gateway",
    "broker",
    "queue",
    "cache",
    "store",
    "storage",
    "directory",
    "domain",
    "controller",
    "resolver",
    "machine",
    "system",
    "daemon",
    "manager",
    "agent",
    "local",
    "other",
    "this",
    "the",
    "any",
    "all",
    "log",
    "mail",
    "web",
    "file",
    "share",
    "name",
    "user",
    "root",
    "test",
    "bus",
    "session",
    "display",
    "api",
    "endpoint",
    "instance",
    "kernel",
];

/// HAProxy: "Server BACKEND/NAME is DOWN"; the name is that of the machine as a rule.
fn is_balanced(before: &str) -> bool {
    let mut words = before.rsplit(' ');
    let backend = words.next().is_some_and(|word| word.ends_with('/'));
    backend && words.next() == Some("Server")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words that are machines of the site of these tests.
    const MACHINES: &[&str] = &[
        "data1",
        "10.0.0.2",
        "data",
        "10.0.0.7",
        "10.0.0.9",
        "www",
        "www1",
        "web1",
        "web1.lan",
        "192.168.7.21",
        "172.20.1.5",
        "server",
        "bus",
        "base",
        "postgres",
        "localhost",
    ];

    #[track_caller]
    fn check(message: &str, expected: &[&str]) {
        let mut found = other_parties(message);
        found.retain(|host| MACHINES.contains(host));
        assert_eq!(found, expected, "{message}");
    }

    #[test]
    fn the_other_party_is_found() {
        check(
            "connection to server at \"data1\" (10.0.0.2), port 5432 failed: Connection refused",
            &["data1", "10.0.0.2"],
        );
        check(
            "dial tcp 10.0.0.2:6379: connect: connection refused",
            &["10.0.0.2"],
        );
        check(
            "connect to host data port 22: Connection refused",
            &["data"],
        );
        check(
            "connect() failed (111: Connection refused) while connecting to upstream, client: 10.0.0.9, server: www, request: \"GET / HTTP/1.1\", upstream: \"http://10.0.0.7:80/\", host: \"www.example\"",
            &["10.0.0.7"],
        );
    }

    #[test]
    fn load_balancers_name_their_servers() {
        check(
            "[WARNING]  (734) : Server be_web/data is DOWN, reason: Layer4 timeout, check duration: 2001ms.",
            &["data"],
        );
    }

    #[test]
    fn clients_are_not_the_other_party() {
        for message in [
            "client @0x7f2c0801 192.168.7.21#44012 (updates.example.org): query failed (timed out)",
            "IP address '192.168.7.21' could not be resolved: Temporary failure in name resolution",
            "[warn] Client \"192.168.7.21\", \"Connection timed out\"",
            "warning: hostname web1.lan does not resolve to address 192.168.7.21: Name or service not known",
            "host=192.168.7.21 could not receive data from client: Connection timed out",
            "srv (web1[192.168.7.21]): FTP login timed out, disconnected",
            "can't verify hostname: getaddrinfo(web1, AF_INET) failed",
            "Connection timed out from 192.168.7.21",
            "connect() to unix:/run/php/php8.2-fpm.sock failed (111: Connection refused) while connecting to upstream, client: 172.20.1.5, server: _, upstream: \"fastcgi://unix:/run/php/php8.2-fpm.sock:\", host: \"www1\"",
            "upstream timed out, client: 172.20.1.5, server: www1",
        ] {
            check(message, &[]);
        }
    }

    #[test]
    fn ordinary_words_need_a_mark_and_names_of_things_are_no_hosts() {
        check("the data could not be sent: Connection refused", &[]);
        check("could not connect to server: Connection refused", &[]);
        check("Failed to connect to bus: Connection refused", &[]);
        check("repo [base]: Could not resolve host", &[]);
        check(
            "connection to server at \"localhost\" (127.0.0.1), port 5432 failed for user \"postgres\"",
            &[],
        );
    }

    proptest::proptest! {
        #[test]
        fn hostile_messages_never_panic(message in "(client |upstream: |host: |\"|'|\\[|@0x| |\\PC|[a-z0-9.:]{1,9}){0,60}") {
            let _ = other_parties(&message);
        }
    }
}
