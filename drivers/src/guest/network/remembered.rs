//! What a guest remembers of its cards beside their configuration: names given
//! by udev and systemd, and leases of DHCP clients.

use std::net::IpAddr;

use super::keyfile::link;
use super::{MOST_FILES, Texts, normalised_mac};

/// One memory of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Its name.
    pub name: String,
    /// The MAC address of the card that had it.
    pub mac: Option<String>,
    /// The address that it got.
    pub address: Option<IpAddr>,
}

/// Everything remembered.
pub(super) fn all(texts: &Texts) -> Vec<Remembered> {
    let mut found = Vec::new();
    let leases = ["var/lib/dhcp", "var/lib/dhclient", "var/lib/NetworkManager"];
    let places: [(&[&str], &str); 5] = [
        (&["etc/systemd/network"], ".link"),
        (&["etc/udev/rules.d"], ".rules"),
        (&leases, ".leases"),
        (&leases, ".lease"),
        (&["var/lib/wicked"], ".xml"),
    ];
    for (directories, ending) in places {
        for (name, text) in texts.all(directories, ending) {
            found.extend(in_file(&name, &text));
        }
    }
    found.truncate(MOST_FILES);
    found
}

/// What one file remembers; its name says what it is.
pub fn in_file(name: &str, text: &str) -> Vec<Remembered> {
    let ending = name.rsplit('.').next().unwrap_or_default();
    let one = match ending {
        "rules" => return text.lines().filter_map(rule).take(MOST_FILES).collect(),
        "link" => link(text),
        "xml" => wicked_lease(name, text),
        _ => match name.strip_prefix("internal-") {
            Some(rest) => network_manager_lease(rest, text),
            None => dhclient_leases(text),
        },
    };
    one.into_iter().collect()
}

/// One line of `70-persistent-net.rules`.
fn rule(line: &str) -> Option<Remembered> {
    let line = line.trim();
    if line.starts_with('#') || !line.contains("net") {
        return None;
    }
    let value = |keys: &[&str]| {
        let mut keys = keys.iter();
        keys.find_map(|key| {
            let start = line.find(key)? + key.len();
            line[start..].split('"').next()
        })
    };
    let mac = value(&[
        "ATTR{address}==\"",
        "ATTRS{address}==\"",
        "SYSFS{address}==\"",
    ]);
    Some(Remembered {
        name: value(&["NAME=\"", "NAME:=\""])?.to_owned(),
        mac: Some(normalised_mac(mac?)?),
        address: None,
    })
}

/// The file that ISC's client appends its leases to; the last one counts.
fn dhclient_leases(text: &str) -> Option<Remembered> {
    let value = |key: &str| {
        let lines = text.lines().rev().map(str::trim);
        let mut values = lines.filter_map(|line| line.strip_prefix(key)?.strip_suffix(';'));
        values.next().map(|value| value.trim().trim_matches('"'))
    };
    Some(Remembered {
        name: value("interface ")?.to_owned(),
        mac: value("option dhcp-client-identifier ").and_then(client_identifier),
        address: value("fixed-address ")?.parse().ok(),
    })
}

/// `1:52:54:0:0:0:1` is Ethernet and a MAC address.
fn client_identifier(text: &str) -> Option<String> {
    let rest = text.strip_prefix("01:").or(text.strip_prefix("1:"))?;
    let parts = rest.split(':').map(|part| format!("{part:0>2}"));
    normalised_mac(&parts.collect::<Vec<_>>().join(":"))
}

/// `internal-UUID-NAME.lease`.
fn network_manager_lease(name: &str, text: &str) -> Option<Remembered> {
    let interface = name.get(36..)?.strip_prefix('-')?.strip_suffix(".lease")?;
    let mut lines = text.lines();
    let address = lines.find_map(|line| line.strip_prefix("ADDRESS="))?;
    Some(Remembered {
        name: interface.to_owned(),
        mac: None,
        address: address.trim().parse().ok(),
    })
}

/// `lease-NAME-dhcp-ipv4.xml`.
fn wicked_lease(name: &str, text: &str) -> Option<Remembered> {
    let rest = name.strip_prefix("lease-")?;
    let interface = rest
        .strip_suffix("-dhcp-ipv4.xml")
        .or(rest.strip_suffix("-dhcp-ipv6.xml"))?;
    let element = |name: &str| {
        let start = text.find(&format!("<{name}>"))? + name.len() + 2;
        text[start..].split('<').next()
    };
    let address = element("address").or_else(|| element("local"))?;
    Some(Remembered {
        name: interface.to_owned(),
        mac: element("client-id").and_then(client_identifier),
        address: address.split('/').next()?.trim().parse().ok(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::root::Root;
    use super::*;

    fn remembered(name: &str, mac: Option<&str>, address: Option<&str>) -> Remembered {
        Remembered {
            name: name.to_owned(),
            mac: mac.map(str::to_owned),
            address: address.map(|text| text.parse().unwrap()),
        }
    }

    #[test]
    fn everything_that_remembers_a_card() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        let uuid = "5fb06bd0-0bb0-7ffb-45f1-d6edd65f3e03";
        let files = [
            (
                "etc/udev/rules.d/70-persistent-net.rules",
                "# SUBSYSTEM==\"net\", ATTR{address}==\"00:00:00:00:00:01\", NAME=\"no\"\n\
                 SUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"?*\", ATTR{address}==\"00:50:56:AA:00:01\", \
                 ATTR{type}==\"1\", KERNEL==\"eth*\", NAME=\"eth7\"\n"
                    .to_owned(),
            ),
            (
                "etc/systemd/network/10-lan.link",
                "[Match]\nMACAddress=00:50:56:aa:00:02\n[Link]\nName=lan0\n".to_owned(),
            ),
            (
                "var/lib/dhcp/dhclient.ens192.leases",
                "lease {\n  interface \"ens192\";\n  fixed-address 10.0.0.4;\n}\n\
                 lease {\n  interface \"ens192\";\n  fixed-address 10.0.0.5;\n  option dhcp-client-identifier 1:0:50:56:aa:0:3;\n}\n"
                    .to_owned(),
            ),
            (
                &format!("var/lib/NetworkManager/internal-{uuid}-enp3s0.lease"),
                "# x\nADDRESS=10.0.0.6\nNETMASK=255.255.255.0\n".to_owned(),
            ),
            (
                "var/lib/wicked/lease-eth0-dhcp-ipv4.xml",
                "<lease><ipv4:dhcp><client-id>01:00:50:56:aa:00:04</client-id><address>10.0.0.7</address></ipv4:dhcp></lease>"
                    .to_owned(),
            ),
        ];
        for (path, content) in &files {
            root.write(path, content.as_bytes()).unwrap();
        }
        let mut found = all(&Texts::of(&root));
        found.sort_by(|one, other| one.name.cmp(&other.name));
        assert_eq!(
            found,
            [
                remembered("enp3s0", None, Some("10.0.0.6")),
                remembered("ens192", Some("00:50:56:aa:00:03"), Some("10.0.0.5")),
                remembered("eth0", Some("00:50:56:aa:00:04"), Some("10.0.0.7")),
                remembered("eth7", Some("00:50:56:aa:00:01"), None),
                remembered("lan0", Some("00:50:56:aa:00:02"), None),
            ]
        );
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in any::<String>(), known in "(net|NAME=\"|ATTR\\{address\\}==\"|interface |fixed-address |;|<address>|ä|\n|-|1:)*") {
            for text in [&text, &known] {
                let _ = (rule(text), dhclient_leases(text), client_identifier(text));
                let _ = (network_manager_lease(text, text), wicked_lease(text, text));
            }
        }
    }
}
