//! Address records of BIND zone files found on any machine of the site.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::folder::ConfigFiles;

const PLACES: &[&str] = &[
    "etc/bind/",
    "etc/named",
    "var/lib/bind/",
    "var/cache/bind/",
    "var/named/",
    "var/lib/named/",
    "etc/dnsmasq",
    "etc/unbound/",
];
const MAX_RECORDS: usize = 20_000;
const MAX_ALIASES: usize = 8;

/// Names with their addresses, and the zones they are in.
pub(crate) fn read_zones(config: &ConfigFiles) -> (Vec<(String, IpAddr)>, Vec<String>) {
    let of_windows = config.iter().filter(|(name, _)| {
        let name = name.to_ascii_lowercase();
        name.contains("system32/dns/") && name.ends_with(".dns")
    });
    let files: Vec<(&str, &str)> = PLACES
        .iter()
        .flat_map(|place| config.below(place))
        .chain(of_windows)
        .collect();
    let declared: Vec<(String, String)> = files
        .iter()
        .flat_map(|(_, text)| declarations(text))
        .collect();
    let mut records = Vec::new();
    let mut domains = Vec::new();
    for (name, text) in &files {
        if crate::facts::is_stale(name) {
            continue;
        }
        records.extend(dnsmasq(text));
        records.extend(unbound(text));
        if !text.contains("SOA") {
            continue;
        }
        let base = name.rsplit('/').next().unwrap_or(name);
        let of_file = declared
            .iter()
            .find(|(_, file)| file.rsplit('/').next() == Some(base));
        let zone = of_file.map(|(zone, _)| zone.clone()).unwrap_or_else(|| {
            base.trim_start_matches("db.")
                .trim_end_matches(".zone")
                .trim_end_matches(".dns")
                .to_ascii_lowercase()
        });
        if !zone.ends_with(".arpa") {
            records.extend(zone_records(text, &zone));
            domains.push(zone);
        }
    }
    records.truncate(MAX_RECORDS);
    (records, domains)
}

/// `zone "x" { ... file "y"; }` statements of named.conf.
fn declarations(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for part in text.split("zone ").skip(1) {
        let mut quoted = part.split('"');
        let Some(zone) = quoted.nth(1) else { continue };
        let file = part
            .split_once("file")
            .and_then(|(_, rest)| rest.split('"').nth(1));
        if let Some(file) = file {
            found.push((
                zone.trim_end_matches('.').to_ascii_lowercase(),
                file.to_owned(),
            ));
        }
    }
    found
}

fn zone_records(text: &str, zone: &str) -> Vec<(String, IpAddr)> {
    let mut origin = zone.to_owned();
    let mut owner = origin.clone();
    let mut records: Vec<(String, IpAddr)> = Vec::new();
    let mut aliases = Vec::new();
    for line in text.lines() {
        let line = line.split(';').next().unwrap_or("");
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["$ORIGIN", name, ..] = words.as_slice() {
            origin = absolute(name, &origin);
            continue;
        }
        let Some(first) = words
            .first()
            .filter(|word| !word.starts_with('$') && records.len() < MAX_RECORDS)
        else {
            continue;
        };
        if !line.starts_with([' ', '\t']) {
            owner = absolute(first, &origin);
        }
        for pair in words.windows(2) {
            match pair {
                ["A" | "AAAA", address] => {
                    records.extend(address.parse().ok().map(|address| (owner.clone(), address)));
                }
                ["CNAME", target] => aliases.push((owner.clone(), absolute(target, &origin))),
                _ => {}
            }
        }
    }
    records.extend(through_aliases(aliases, &records));
    records
}

/// Addresses of aliases, also of aliases of aliases.
fn through_aliases(
    aliases: Vec<(String, String)>,
    records: &[(String, IpAddr)],
) -> Vec<(String, IpAddr)> {
    let mut known: BTreeMap<&str, IpAddr> = BTreeMap::new();
    for (name, address) in records {
        known.entry(name).or_insert(*address);
    }
    let targets: BTreeMap<&str, &str> = aliases
        .iter()
        .map(|(alias, target)| (alias.as_str(), target.as_str()))
        .collect();
    let address_of = |alias: &str| {
        let mut name = alias;
        for _ in 0..MAX_ALIASES {
            name = targets.get(name)?;
            if let Some(address) = known.get(name) {
                return Some(*address);
            }
        }
        None
    };
    let found = targets
        .keys()
        .filter_map(|alias| Some(((*alias).to_owned(), address_of(alias)?)));
    found.collect()
}

/// `local-data: "db.site. IN A 10.0.0.20"` of Unbound.
fn unbound(text: &str) -> Vec<(String, IpAddr)> {
    let lines = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("local-data:"));
    let records = lines.filter_map(|line| {
        let words: Vec<&str> = line
            .trim()
            .trim_matches(['"', '\''])
            .split_whitespace()
            .collect();
        let (name, address) = (words.first()?, words.last()?.parse().ok()?);
        Some((name.trim_end_matches('.').to_ascii_lowercase(), address))
    });
    records.take(MAX_RECORDS).collect()
}

fn absolute(name: &str, origin: &str) -> String {
    let name = name.to_ascii_lowercase();
    match name.strip_suffix('.') {
        Some(whole) => whole.to_owned(),
        None if name == "@" => origin.to_owned(),
        None => format!("{name}.{origin}"),
    }
}

/// `address=/name/1.2.3.4` and `host-record=name,1.2.3.4` of dnsmasq.
fn dnsmasq(text: &str) -> Vec<(String, IpAddr)> {
    let mut records = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("address=/") {
            let parts: Vec<&str> = rest.split('/').collect();
            if let [names @ .., address] = parts.as_slice()
                && let Ok(address) = address.parse::<IpAddr>()
            {
                records.extend(names.iter().map(|n| (n.to_ascii_lowercase(), address)));
            }
        } else if let Some(rest) = line.strip_prefix("host-record=") {
            let parts: Vec<&str> = rest.split(',').map(str::trim).collect();
            let address = parts.iter().find_map(|part| part.parse::<IpAddr>().ok());
            let names = parts.iter().filter(|part| part.parse::<IpAddr>().is_err());
            if let Some(address) = address {
                records.extend(names.map(|n| (n.to_ascii_lowercase(), address)));
            }
        }
    }
    let alias = |line: &str| {
        let mut parts = line
            .trim()
            .strip_prefix("cname=")?
            .split(',')
            .map(str::trim);
        Some((
            parts.next()?.to_ascii_lowercase(),
            parts.next()?.to_ascii_lowercase(),
        ))
    };
    let aliases: Vec<(String, String)> = text.lines().filter_map(alias).take(MAX_RECORDS).collect();
    records.extend(through_aliases(aliases, &records));
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZONE: &str = "$TTL 3600\n@ IN SOA dir1 root (1 2 3 4 5)\n  IN NS dir1\ndir1 IN A 10.20.0.10\ndata1 3600 IN A 10.20.0.20 ; the database\ndb CNAME data1\nsql CNAME db\nloop CNAME loop\n$ORIGIN sub.site.example.\nx AAAA fd00::1\n";

    #[test]
    fn addresses_and_aliases_of_a_zone() {
        let config = ConfigFiles::of(&[
            (
                "etc/bind/named.conf.local",
                "zone \"site.example\" { type master; file \"/var/lib/bind/db.site\"; };",
            ),
            ("var/lib/bind/db.site", ZONE),
        ]);
        let (records, domains) = read_zones(&config);
        assert_eq!(domains, ["site.example"]);
        let found = |name: &str| {
            records
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, a)| a.to_string())
        };
        assert_eq!(found("dir1.site.example").as_deref(), Some("10.20.0.10"));
        assert_eq!(found("db.site.example").as_deref(), Some("10.20.0.20"));
        assert_eq!(found("sql.site.example").as_deref(), Some("10.20.0.20"));
        assert_eq!(found("loop.site.example"), None);
        assert_eq!(found("x.sub.site.example").as_deref(), Some("fd00::1"));
    }

    #[test]
    fn records_of_the_other_servers() {
        let config = ConfigFiles::of(&[
            (
                "etc/dnsmasq.conf",
                "host-record=data1,10.0.0.20\ncname=db,data1\n",
            ),
            (
                "etc/unbound/a.conf",
                "server:\n  local-data: \"web.site. IN A 10.0.0.30\"\n",
            ),
            (
                "Windows/System32/dns/site.example.dns",
                "@ IN SOA a b (1 2 3 4 5)\nmail A 10.0.0.40\n",
            ),
        ]);
        let (records, domains) = read_zones(&config);
        assert_eq!(domains, ["site.example"]);
        for (name, address) in [
            ("db", "10.0.0.20"),
            ("web.site", "10.0.0.30"),
            ("mail.site.example", "10.0.0.40"),
        ] {
            let expected = (name.to_owned(), address.parse().unwrap());
            assert!(records.contains(&expected), "{name}: {records:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn hostile_zones_never_panic(text in "(SOA|A|CNAME|@|\\$ORIGIN|é|[ \t\n\".;/=]|[a-z0-9.]{1,9}){0,60}") {
            let _ = read_zones(&ConfigFiles::of(&[("etc/bind/db.x", &text), ("etc/bind/named.conf", &text)]));
        }
    }
}
