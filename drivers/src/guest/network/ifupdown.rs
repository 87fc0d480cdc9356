//! `/etc/network/interfaces` and what it includes.

use std::collections::BTreeSet;

use super::super::root::Root;
use super::{Configured, Texts, normalised_mac, with_prefix};
use crate::report::NetworkStyle;

/// Included files are few and small.
const MOST_FILES: usize = 500;

/// The main file, what it includes, and the directory that Debian includes.
pub(super) fn whole_text(texts: &Texts) -> String {
    let root = texts.root;
    let mut text = String::new();
    let mut seen = BTreeSet::new();
    let mut pending = vec!["etc/network/interfaces".to_owned()];
    let names = files_in(root, "etc/network/interfaces.d", "*");
    pending.extend(names);
    while let Some(path) = pending.pop() {
        if seen.len() >= MOST_FILES || !seen.insert(path.clone()) {
            continue;
        }
        let own = texts.one(&path);
        for line in own.lines() {
            pending.extend(included(root, line));
        }
        text.push_str(&own);
        text.push('\n');
    }
    text
}

/// `source PATTERN` and `source-directory DIRECTORY`.
fn included(root: &Root, line: &str) -> Vec<String> {
    let mut words = line.split_whitespace();
    let keyword = words.next().unwrap_or_default();
    let from_here = |path: &str| match path.strip_prefix('/') {
        Some(absolute) => absolute.to_owned(),
        None => format!("etc/network/{path}"),
    };
    let paths = words.map(from_here);
    match keyword {
        "source" => paths
            .flat_map(|path| match path.rsplit_once('/') {
                Some((directory, pattern)) => files_in(root, directory, pattern),
                None => Vec::new(),
            })
            .collect(),
        "source-directory" => paths
            .flat_map(|path| files_in(root, path.trim_end_matches('/'), "*"))
            .collect(),
        _ => Vec::new(),
    }
}

fn files_in(root: &Root, directory: &str, pattern: &str) -> Vec<String> {
    let (start, end) = pattern.split_once('*').unwrap_or((pattern, ""));
    let fits = |name: &str| {
        if pattern.contains('*') {
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        } else {
            name == pattern
        }
    };
    let names = root.list(directory).into_iter().map(|(name, _)| name);
    names
        .filter(|name| fits(name))
        .take(MOST_FILES)
        .map(|name| format!("{directory}/{name}"))
        .collect()
}

/// Every `iface` stanza, whether `auto`, `allow-hotplug` or neither brings it up.
pub fn parse(text: &str) -> Vec<Configured> {
    let mut all: Vec<Configured> = Vec::new();
    let mut netmask: Option<String> = None;
    let mut uppers = Vec::new();
    for line in text.replace("\\\n", " ").lines() {
        let mut words = line.split_whitespace();
        let Some(keyword) = words.next() else {
            continue;
        };
        let rest: Vec<&str> = words.collect();
        if keyword == "iface" {
            finish(&mut all, &mut netmask);
            let name = rest.first().copied().unwrap_or_default();
            let name = name.split(':').next().unwrap_or_default();
            let mut found = Configured::new(name, NetworkStyle::Ifupdown);
            if let Some((parent, _)) = name.split_once('.') {
                found.lower.push(parent.to_owned());
            }
            all.push(found);
        } else if matches!(keyword, "auto" | "mapping" | "source") || keyword.starts_with("allow-")
        {
            finish(&mut all, &mut netmask);
        } else if let Some(current) = all.last_mut() {
            if keyword == "netmask" {
                netmask = rest.first().map(|mask| (*mask).to_owned());
            }
            let upper = option(current, &keyword.replace('_', "-"), &rest);
            if let Some(upper) = upper {
                let lower = vec![current.interface.name.clone()];
                uppers.push(Configured::above(&upper, lower, NetworkStyle::Ifupdown));
            }
        }
    }
    finish(&mut all, &mut netmask);
    all.extend(uppers);
    all
}

fn finish(all: &mut [Configured], netmask: &mut Option<String>) {
    let mask = netmask.take();
    if let Some(address) = all
        .last_mut()
        .and_then(|last| last.interface.addresses.last_mut())
    {
        *address = with_prefix(address, mask.as_deref());
    }
}

/// Takes one line of a stanza; gives the interface above that it names.
fn option(current: &mut Configured, keyword: &str, rest: &[&str]) -> Option<String> {
    let first = rest.first().map(|word| (*word).to_owned());
    let interface = &mut current.interface;
    match keyword {
        "address" => interface.addresses.extend(first),
        "gateway" => interface.gateway = first,
        "dns-nameservers" | "dns-nameserver" => {
            interface
                .dns
                .extend(rest.iter().map(|word| (*word).to_owned()));
        }
        "hwaddress" => interface.mac = rest.last().and_then(|word| normalised_mac(word)),
        "bond-master" => return first,
        "bridge-ports" | "bond-slaves" | "slaves" | "vlan-raw-device" => {
            let names = rest.iter().filter(|word| **word != "none");
            current.lower.extend(names.map(|word| (*word).to_owned()));
            current.is_virtual = true;
        }
        "bond-mode" | "bridge-stp" => current.is_virtual = true,
        _ => {}
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stanzas() {
        let text = "auto lo\niface lo inet loopback\n# x\nallow-hotplug enp9s0\n\
            iface enp9s0 inet static\n\taddress 10.0.0.5\n\tnetmask 255.255.255.0\n\
            \tgateway 10.0.0.1\n\tdns-nameservers 10.0.0.2 10.0.0.3\n\thwaddress ether 52:54:00:AA:bb:01\n\
            iface br0 inet static\n address 10.1.0.5/16\n bridge_ports enp3s0 enp4s0\n\
            iface enp9s0.7 inet manual\n";
        let all = parse(text);
        assert_eq!(all.len(), 4);
        let card = &all[1].interface;
        assert_eq!(card.addresses, ["10.0.0.5/24"]);
        assert_eq!(card.gateway.as_deref(), Some("10.0.0.1"));
        assert_eq!(card.dns, ["10.0.0.2", "10.0.0.3"]);
        assert_eq!(card.mac.as_deref(), Some("52:54:00:aa:bb:01"));
        assert_eq!(all[2].lower, ["enp3s0", "enp4s0"]);
        assert_eq!(all[3].lower, ["enp9s0"]);
    }

    #[test]
    fn included_files_and_members_of_bonds() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        for (path, content) in [
            (
                "etc/network/interfaces",
                "source /etc/network/extra/*.cfg\nsource-directory more\nsource interfaces\n",
            ),
            (
                "etc/network/interfaces.d/50-cloud-init",
                "iface a inet dhcp\n",
            ),
            (
                "etc/network/extra/b.cfg",
                "allow-hotplug b\niface b inet manual\n bond-master bond0\n",
            ),
            ("etc/network/extra/ignored", "iface x inet dhcp\n"),
            (
                "etc/network/more/c",
                "iface bond0 inet dhcp\n bond-slaves none\n bond-mode 1\n",
            ),
        ] {
            root.write(path, content.as_bytes()).unwrap();
        }
        let all = parse(&whole_text(&Texts::of(&root)));
        let mut names: Vec<&str> = all
            .iter()
            .map(|found| found.interface.name.as_str())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["a", "b", "bond0", "bond0"]);
        let bond = all.iter().find(|found| !found.lower.is_empty()).unwrap();
        assert_eq!(
            (bond.interface.name.as_str(), &bond.lower[0][..]),
            ("bond0", "b")
        );
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "(iface|address|netmask|hwaddress|[ \n.:0-9a-z])*") {
            parse(&text);
        }
    }
}
