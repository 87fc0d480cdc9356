//! Facts from configuration files: which other machine a file names, and for what.
//!
//! A new kind of file is one reader here and one line in `READERS`; the first that claims a file
//! reads it.

mod application;
mod directory;
mod mounts;
mod resolver;
mod time;

use crate::event::printable;
use crate::folder::ConfigFiles;
use crate::order::Kind;
use crate::services;

const MAX_REFERENCES: usize = 2_000;
const MAX_LINE: usize = 4_096;

/// One mention of another host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    pub file: String,
    pub line: usize,
    pub text: String,
    /// Host name or address as written.
    pub target: String,
    /// Role that is wanted there, by key.
    pub service: Option<String>,
    pub port: Option<u16>,
    /// Where the line itself tells whether its user survives without.
    pub kind: Option<Kind>,
}

/// One kind of configuration file.
trait FactReader {
    /// Whether this reader understands the file.
    fn claims(&self, file: &str) -> bool;
    /// Appends a reference for each host that the text names; must not panic on any text.
    fn read(&self, file: &str, text: &str, out: &mut Vec<Reference>);
}

const READERS: &[&dyn FactReader] = &[
    &resolver::Resolver,
    &mounts::Mounts,
    &directory::PostgresAccess,
    &directory::Directory,
    &time::Time,
    &application::Application,
];

/// Every reference of a machine, by file and line.
pub(crate) fn read_references(config: &ConfigFiles) -> Vec<Reference> {
    let mut references = Vec::new();
    for (file, text) in config.iter() {
        if let Some(reader) = READERS.iter().find(|reader| reader.claims(file)) {
            reader.read(file, text, &mut references);
        }
        if references.len() >= MAX_REFERENCES {
            references.truncate(MAX_REFERENCES);
            break;
        }
    }
    references
}

/// Lines with their numbers, without comments and empty ones.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.trim()))
        .filter(|(_, line)| {
            !line.is_empty() && line.len() <= MAX_LINE && !line.starts_with(['#', ';'])
        })
}

fn reference(file: &str, (line, text): (usize, &str), target: &str, service: &str) -> Reference {
    Reference {
        file: file.to_owned(),
        line,
        text: printable(&without_secrets(text)),
        target: target.to_owned(),
        service: Some(service.to_owned()),
        port: services::by_key(service).and_then(|s| s.ports.first().copied()),
        kind: None,
    }
}

/// Evidence is printed and stored: passwords in it are blanked.
fn without_secrets(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mut out = text.to_owned();
    if lower.is_ascii() && lower.len() == text.len() {
        for word in ["password", "passwd", "bindpw", "secret", "pwd"] {
            if let Some(at) = lower.find(word) {
                let end = (at + word.len()).min(out.len());
                out.truncate(end);
                out.push_str("=…");
                break;
            }
        }
    }
    blank_url_password(&out)
}

fn blank_url_password(text: &str) -> String {
    let Some((before, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let authority_end = rest.find(['/', ' ', '"', '\'']).unwrap_or(rest.len());
    let (authority, after) = rest.split_at(authority_end);
    match authority
        .rsplit_once('@')
        .and_then(|(user, host)| Some((user.split_once(':')?.0, host)))
    {
        Some((user, host)) => format!("{before}://{user}:…@{host}{after}"),
        None => text.to_owned(),
    }
}

/// Host and port of `scheme://user:password@host:port/path`, with the scheme.
fn url_parts(word: &str) -> Option<(&str, &str, Option<u16>)> {
    let (scheme, rest) = word.split_once("://")?;
    let begins = scheme.rfind(|c: char| !(c.is_ascii_alphanumeric() || "+:-.".contains(c)));
    let scheme = &scheme[begins.map_or(0, |at| {
        at + scheme[at..].chars().next().map_or(1, char::len_utf8)
    })..];
    let authority = rest
        .split(['/', '?', '"', '\'', ' ', ',', ';', ')', '>', '<'])
        .next()?;
    let host_port = authority.rsplit('@').next()?;
    let (host, port) = host_and_port(host_port);
    (!host.is_empty()).then_some((scheme, host, port))
}

fn host_and_port(text: &str) -> (&str, Option<u16>) {
    if let Some(rest) = text.strip_prefix('[')
        && let Some((host, after)) = rest.split_once(']')
    {
        return (host, after.strip_prefix(':').and_then(|p| p.parse().ok()));
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, port.parse().ok()),
        _ => (text, None),
    }
}

/// Whether a word could be a host name or an address.
fn is_host_like(word: &str) -> bool {
    let fits = !word.is_empty() && word.len() <= 253;
    let characters = word
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c));
    fits && characters && word.contains(|c: char| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (target, service, line) of every reference in one file.
    pub(super) fn found(file: &str, text: &str) -> Vec<(String, String, usize)> {
        read_references(&ConfigFiles::of(&[(file, text)]))
            .into_iter()
            .map(|r| (r.target, r.service.unwrap_or_default(), r.line))
            .collect()
    }

    pub(super) fn check(file: &str, text: &str, expected: &[(&str, &str, usize)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(t, s, l)| ((*t).to_owned(), (*s).to_owned(), *l))
            .collect();
        assert_eq!(found(file, text), expected, "{file}:\n{text}");
    }

    #[test]
    fn urls_give_their_parts() {
        assert_eq!(
            url_parts("url=\"postgres://u:p@db:5433/x\""),
            Some(("postgres", "db", Some(5433)))
        );
        assert_eq!(
            url_parts("ldap://[fd00::1]:389/"),
            Some(("ldap", "fd00::1", Some(389)))
        );
        assert_eq!(
            url_parts("jdbc:postgresql://db/x"),
            Some(("jdbc:postgresql", "db", None))
        );
        assert_eq!(url_parts("ldapi:///"), None);
    }

    #[test]
    fn evidence_holds_no_password() {
        assert_eq!(
            without_secrets("postgres://u:geheim@db/x"),
            "postgres://u:…@db/x"
        );
        assert_eq!(
            without_secrets("host=db password=geheim"),
            "host=db password=…"
        );
    }

    proptest::proptest! {
        #[test]
        fn hostile_files_never_panic(text in "(host|server|://|=|:|@|\\[|\\]|ldap|url|é|password|nfs|\\PC|[ \t\n\"',;/=]|[a-z0-9.]{1,9}){0,40}") {
            for file in ["etc/resolv.conf", "etc/fstab", "etc/ldap.conf", "etc/pg_hba.conf", "etc/chrony.conf", "etc/app.conf", "etc/netplan/a.yaml", "etc/auto.nfs"] {
                let _ = found(file, &text);
            }
        }
    }
}
