//! Name and address servers that lean on others: forwarders, secondaries, relays, leases.

use super::{FactReader, Reference, is_host_like, lines, reference};
use crate::order::Kind;

pub(super) struct Forwarders;

impl FactReader for Forwarders {
    fn claims(&self, file: &str) -> bool {
        let name = file.rsplit('/').next().unwrap_or(file);
        (file.starts_with("etc/bind/") && name.starts_with("named.conf"))
            || file.starts_with("etc/named.conf")
            || file.starts_with("etc/named/")
            || file.starts_with("etc/unbound/")
            || file.starts_with("etc/dnsmasq")
            || is_lease(file)
    }

    fn read(&self, file: &str, text: &str, out: &mut Vec<Reference>) {
        if is_lease(file) {
            lease(file, text, out);
        } else if file.starts_with("etc/unbound/") || file.starts_with("etc/dnsmasq") {
            for (number, line) in lines(text) {
                if let Some(host) = forwarder(line) {
                    out.push(reference(file, (number, line), host, "dns"));
                }
            }
        } else {
            statements(file, text, out);
        }
    }
}

fn is_lease(file: &str) -> bool {
    file.starts_with("var/lib/dhcp/dhclient")
        || file.starts_with("var/lib/dhclient/")
        || file.starts_with("var/lib/NetworkManager/")
        || file.starts_with("run/systemd/netif/leases/")
}

/// The last lease tells who gave the address, and who resolves names.
fn lease(file: &str, text: &str, out: &mut Vec<Reference>) {
    let marks = [
        ("option dhcp-server-identifier ", "dhcp"),
        ("SERVER_ADDRESS=", "dhcp"),
        ("option domain-name-servers ", "dns"),
        ("DNS=", "dns"),
    ];
    for (mark, service) in marks {
        let all: Vec<(usize, &str)> = lines(text)
            .filter(|(_, line)| line.starts_with(mark))
            .collect();
        let Some((number, line)) = all.last() else {
            continue;
        };
        let hosts = line[mark.len()..].split([',', ' ', ';']);
        for host in hosts.filter(|host| host.parse::<std::net::IpAddr>().is_ok()) {
            out.push(reference(file, (*number, line), host, service));
        }
    }
}

/// "forward-addr: 10.0.0.10@53" of Unbound, "server=/site/10.0.0.10#53" of dnsmasq.
fn forwarder(line: &str) -> Option<&str> {
    let value = line
        .strip_prefix("forward-addr:")
        .or_else(|| line.strip_prefix("stub-addr:"))
        .or_else(|| line.strip_prefix("server="))?;
    let host = value.trim().rsplit('/').next()?.split(['#', '@']).next()?;
    let address: std::net::IpAddr = host.parse().ok()?;
    (!address.is_loopback()).then_some(host)
}

/// `forwarders { 10.0.0.10; };` and `masters { 10.0.0.10; };` of BIND, over any number of lines.
fn statements(file: &str, text: &str, out: &mut Vec<Reference>) {
    let mut wanted = None;
    for (number, line) in lines(text).filter(|(_, line)| !line.starts_with("//")) {
        for word in line.split([' ', '\t', ';']).filter(|word| !word.is_empty()) {
            match word.trim_end_matches('{') {
                "forwarders" => wanted = Some(None),
                // A secondary serves the copy that it has.
                "masters" | "primaries" => wanted = Some(Some(Kind::Soft)),
                _ if word.contains('}') => wanted = None,
                host => {
                    if let Some(kind) = wanted
                        && is_host_like(host)
                        && host.parse::<std::net::IpAddr>().is_ok()
                    {
                        let found = reference(file, (number, line), host, "dns");
                        out.push(Reference { kind, ..found });
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::facts::tests::check;

    #[test]
    fn servers_of_servers() {
        check(
            "etc/bind/named.conf.options",
            "options {\n forwarders { 10.0.0.10; };\n listen-on { 10.0.0.2; };\n};\nzone \"x\" {\n masters {\n  10.0.0.11;\n };\n};\n",
            &[("10.0.0.10", "dns", 2), ("10.0.0.11", "dns", 7)],
        );
        check(
            "etc/unbound/unbound.conf",
            "forward-addr: 10.0.0.10@53\n",
            &[("10.0.0.10", "dns", 1)],
        );
        check(
            "etc/dnsmasq.d/a",
            "server=/site/10.0.0.10#53\nserver=127.0.0.1#5353\ndhcp-host=web1,10.0.0.30\n",
            &[("10.0.0.10", "dns", 1)],
        );
        check(
            "var/lib/dhcp/dhclient.leases",
            "lease {\n  option dhcp-server-identifier 10.0.0.1;\n}\nlease {\n  option dhcp-server-identifier 10.0.0.10;\n  option domain-name-servers 10.0.0.10,10.0.0.11;\n}\n",
            &[
                ("10.0.0.10", "dhcp", 5),
                ("10.0.0.10", "dns", 6),
                ("10.0.0.11", "dns", 6),
            ],
        );
    }

    proptest::proptest! {
        #[test]
        fn hostile_servers_never_panic(text in "(forwarders|masters|[{};#@/ \n]|server=|DNS=|option domain-name-servers |é|[0-9.:]{1,9}){0,60}") {
            for file in ["etc/bind/named.conf", "etc/dnsmasq.conf", "etc/unbound/a", "var/lib/dhclient/a"] {
                let _ = crate::facts::tests::found(file, &text);
            }
        }
    }
}
