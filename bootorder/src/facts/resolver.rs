//! Who resolves names: resolv.conf, resolved, networkd, ifupdown, NetworkManager, netplan, ifcfg.

use super::{FactReader, Reference, lines, reference};

pub(super) struct Resolver;

impl FactReader for Resolver {
    fn claims(&self, file: &str) -> bool {
        file == "etc/resolv.conf"
            || file.starts_with("etc/resolvconf/")
            || file.starts_with("etc/systemd/resolved.conf")
            || (file.starts_with("etc/systemd/network/") && file.ends_with(".network"))
            || file.starts_with("etc/network/")
            || file.starts_with("etc/netplan/")
            || file.ends_with(".nmconnection")
            || file.contains("/ifcfg-")
    }

    fn read(&self, file: &str, text: &str, out: &mut Vec<Reference>) {
        let mut in_nameservers = false;
        for (number, line) in lines(text) {
            let (key, value) = split(line);
            if file.starts_with("etc/netplan/") {
                in_nameservers = netplan_state(line, in_nameservers);
            }
            let service = match key.as_str() {
                "nameserver" | "dns" | "fallbackdns" | "dns-nameservers" | "dns-nameserver" => {
                    "dns"
                }
                "ntp" | "fallbackntp" => "time",
                _ if file.contains("/ifcfg-") && is_numbered_dns(&key) => "dns",
                _ if in_nameservers => "dns",
                _ => continue,
            };
            let words = value.split([' ', ',', ';', '\t', '[', ']', '"', '\'']);
            for word in words.map(|w| w.split(['#', '%']).next().unwrap_or(w)) {
                if word
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|a| !a.is_loopback())
                    || service == "time" && super::is_host_like(word)
                {
                    out.push(reference(file, (number, line), word, service));
                }
            }
        }
    }
}

fn split(line: &str) -> (String, &str) {
    let line = line.trim_start_matches("- ");
    let at = line.find([' ', '\t', '=', ':']).unwrap_or(line.len());
    let (key, value) = line.split_at(at);
    let value = value.trim_start_matches([' ', '\t', '=', ':']);
    // A bare list item ("- 10.0.0.1") has no key.
    if value.is_empty() {
        (key.to_ascii_lowercase(), line)
    } else {
        (key.to_ascii_lowercase(), value)
    }
}

fn is_numbered_dns(key: &str) -> bool {
    key.strip_prefix("dns")
        .is_some_and(|number| number.parse::<u8>().is_ok())
}

/// Inside `nameservers:` until another key than `addresses:` follows.
fn netplan_state(line: &str, inside: bool) -> bool {
    if line.starts_with("nameservers:") {
        return true;
    }
    inside
        && (line.starts_with("addresses:") || line.starts_with("- ") || line.starts_with("search:"))
}

#[cfg(test)]
mod tests {
    use crate::facts::tests::check;

    #[test]
    fn every_place_of_a_resolver() {
        check(
            "etc/resolv.conf",
            "search site.example\nnameserver 10.0.0.10\nnameserver 127.0.0.53\n",
            &[("10.0.0.10", "dns", 2)],
        );
        check(
            "etc/systemd/network/lan.network",
            "[Network]\nDNS=10.0.0.10 10.0.0.11\nNTP=dir1\n",
            &[
                ("10.0.0.10", "dns", 2),
                ("10.0.0.11", "dns", 2),
                ("dir1", "time", 3),
            ],
        );
        check(
            "etc/network/interfaces",
            "iface a inet static\n  dns-nameservers 10.0.0.10\n",
            &[("10.0.0.10", "dns", 2)],
        );
        check(
            "etc/netplan/a.yaml",
            "ethernets:\n  a:\n    addresses: [10.0.0.5/24]\n    nameservers:\n      addresses: [10.0.0.10]\n    routes:\n      - to: 10.9.0.1\n",
            &[("10.0.0.10", "dns", 5)],
        );
        check(
            "etc/netplan/b.yaml",
            "nameservers:\n  addresses:\n  - 10.0.0.10\n",
            &[("10.0.0.10", "dns", 3)],
        );
        check(
            "etc/NetworkManager/system-connections/a.nmconnection",
            "[ipv4]\ndns=10.0.0.10;\n",
            &[("10.0.0.10", "dns", 2)],
        );
        check(
            "etc/sysconfig/network-scripts/ifcfg-a",
            "DNS1=\"10.0.0.10\"\n",
            &[("10.0.0.10", "dns", 1)],
        );
    }
}
