//! Interface names that must survive new hardware, by MAC address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Configured, Knowledge, normalised_mac};
use crate::refusal::Refusal;
use crate::report::{NicIdentity, NicModel};

/// `.link` files by name, and what could not be decided.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// File name to content.
    pub files: BTreeMap<String, String>,
    /// MAC address and name of each card, in the order in which the kernel's
    /// own counting of cards gives these names.
    pub cards: Vec<(String, String)>,
    /// Cards whose interface is not known.
    pub warnings: Vec<String>,
}

/// Decides which interface each card of this model is.
pub fn decide(
    knowledge: &Knowledge,
    nics: &[NicIdentity],
    model: NicModel,
) -> Result<Links, Refusal> {
    let mut links = Links::default();
    let mut cards = Vec::new();
    for nic in nics {
        let Some(mac) = normalised_mac(&nic.mac) else {
            links
                .warnings
                .push(format!("{:?} is not a MAC address", nic.mac));
            continue;
        };
        if cards.iter().any(|card: &Card| card.mac == mac) {
            return Err(Refusal::DuplicateMac { mac });
        }
        cards.push(Card {
            mac,
            address: nic.address,
            name: None,
        });
    }
    let mut assignment = Assignment { knowledge, cards };
    assignment.by_mac();
    assignment.by_address();
    assignment.members_of_bonds();
    assignment.the_only_one();
    assignment.finish(model, &mut links);
    Ok(links)
}

struct Card {
    mac: String,
    address: Option<IpAddr>,
    name: Option<String>,
}

struct Assignment<'a> {
    knowledge: &'a Knowledge,
    cards: Vec<Card>,
}

impl Assignment<'_> {
    /// What names the very card needs no other sign.
    fn by_mac(&mut self) {
        for place in 0..self.cards.len() {
            let mac = Some(self.cards[place].mac.as_str());
            let configured = self.knowledge.configured.iter();
            let configured = configured
                .filter(|found| found.interface.mac.as_deref() == mac && is_card(found))
                .map(|found| &found.interface.name);
            let remembered = self.knowledge.remembered.iter();
            let remembered = remembered
                .filter(|found| found.mac.as_deref() == mac)
                .map(|found| &found.name);
            let name = configured
                .chain(remembered)
                .find(|name| self.is_free(name))
                .cloned();
            self.cards[place].name = name;
        }
    }

    /// An address finds the interface that has it, and the card below that.
    fn by_address(&mut self) {
        for place in 0..self.cards.len() {
            let card = &self.cards[place];
            let (Some(address), None) = (card.address, &card.name) else {
                continue;
            };
            let configured = self.knowledge.configured.iter();
            let above = configured
                .filter(|found| has_address(found, address))
                .map(|found| &found.interface.name);
            let remembered = self.knowledge.remembered.iter();
            let leased = remembered
                .filter(|found| found.address == Some(address))
                .map(|found| &found.name);
            let mut names = above.chain(leased).flat_map(|name| self.cards_below(name));
            let name = names.find(|name| self.is_free(name));
            self.cards[place].name = name;
        }
    }

    /// The other members of a bond of which one member is known are as good as
    /// each other.
    fn members_of_bonds(&mut self) {
        let configured = &self.knowledge.configured;
        let bonds: BTreeSet<&str> = configured
            .iter()
            .filter(|found| found.interface.name.contains("bond") || found.lower.len() > 1)
            .map(|found| found.interface.name.as_str())
            .collect();
        for bond in bonds {
            let members = self.cards_below(bond);
            let taken = |name: &String| !self.is_free(name) && is_plain_name(name);
            if !bond.contains("bond") || !members.iter().any(taken) {
                continue;
            }
            let free: Vec<String> = members
                .into_iter()
                .filter(|name| self.is_free(name))
                .collect();
            let unknown = self
                .cards
                .iter_mut()
                .filter(|card| card.name.is_none() && card.address.is_none());
            for (card, name) in unknown.zip(free) {
                card.name = Some(name);
            }
        }
    }

    /// One card left and one name left belong together.
    fn the_only_one(&mut self) {
        let uppers: BTreeSet<&String> = self
            .knowledge
            .configured
            .iter()
            .flat_map(|found| &found.lower)
            .collect();
        let physical = self
            .knowledge
            .configured
            .iter()
            .filter(|found| is_card(found));
        let names = physical.map(|found| &found.interface.name).chain(uppers);
        let free: BTreeSet<String> = names
            .filter(|name| self.is_free(name) && !self.is_virtual(name))
            .cloned()
            .collect();
        let mut unknown = self.cards.iter_mut().filter(|card| card.name.is_none());
        let (Some(card), None) = (unknown.next(), unknown.next()) else {
            return;
        };
        let mut free = free.into_iter();
        if let (Some(name), None) = (free.next(), free.next()) {
            card.name = Some(name);
        }
    }

    fn finish(self, model: NicModel, links: &mut Links) {
        for card in &self.cards {
            match &card.name {
                Some(name) => {
                    let file = link_file(&card.mac, name, model);
                    links.files.insert(format!("10-keep-{name}.link"), file);
                    links.cards.push((card.mac.clone(), name.clone()));
                    links.warnings.extend(self.expected_another(card, name));
                }
                None => links.warnings.extend(self.unknown(card)),
            }
        }
        links.cards.sort_by_key(|(_, name)| natural_order(name));
        let kernel_names = links
            .cards
            .iter()
            .filter(|(_, name)| name.starts_with("eth"));
        if kernel_names.count() > 1 {
            links.warnings.push(
                "several cards are called eth*, names that the kernel gives itself: \
                 the cards must be attached in the order of these names"
                    .to_owned(),
            );
        }
    }

    /// Configuration that is bound to another MAC address leaves the interface down.
    fn expected_another(&self, card: &Card, name: &str) -> Option<String> {
        let mut all = self.knowledge.configured.iter();
        let known = all.find_map(|found| {
            let mac = found.interface.mac.as_deref()?;
            (found.interface.name == name && is_card(found)).then_some(mac)
        })?;
        (known != card.mac).then(|| {
            format!(
                "the configuration of {name} expects the MAC address {known}, the card has {}",
                card.mac
            )
        })
    }

    fn unknown(&self, card: &Card) -> Option<String> {
        let mut all = self.knowledge.configured.iter();
        let by_mac = |found: &Configured| found.interface.mac.as_deref() == Some(&card.mac);
        if all.any(by_mac) {
            // The guest finds it by the address, whatever its name.
            return None;
        }
        let address = card.address.map(|address| format!(" with {address}"));
        Some(format!(
            "no configured interface fits the card {}{}; its name may change",
            card.mac,
            address.unwrap_or_default()
        ))
    }

    fn is_free(&self, name: &str) -> bool {
        is_plain_name(name)
            && !self
                .cards
                .iter()
                .any(|card| card.name.as_deref() == Some(name))
    }

    fn is_virtual(&self, name: &str) -> bool {
        let mut all = self.knowledge.configured.iter();
        has_virtual_name(name) || all.any(|found| found.interface.name == name && !is_card(found))
    }

    /// Goes down through bridges, VLANs and bonds.
    fn cards_below(&self, name: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut pending = vec![name.to_owned()];
        let mut seen = BTreeSet::new();
        while let Some(name) = pending.pop() {
            if seen.len() > MOST_STEPS || !seen.insert(name.clone()) {
                continue;
            }
            let all = self.knowledge.configured.iter();
            let lower = all
                .filter(|found| found.interface.name == name)
                .flat_map(|found| &found.lower);
            let before = pending.len();
            pending.extend(lower.rev().cloned());
            if pending.len() == before && !self.is_virtual(&name) {
                found.push(name);
            }
        }
        found
    }
}

/// No stack of interfaces is larger.
const MOST_STEPS: usize = 64;

fn is_card(found: &Configured) -> bool {
    found.lower.is_empty() && !found.is_virtual && !has_virtual_name(&found.interface.name)
}

fn has_virtual_name(name: &str) -> bool {
    [
        "br", "bond", "team", "virbr", "docker", "veth", "tun", "tap", "wg", "dummy",
    ]
    .iter()
    .any(|prefix| name.starts_with(prefix))
}

/// `eth10` comes after `eth9`.
fn natural_order(name: &str) -> (String, u64) {
    let stem = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let number = name[stem.len()..].parse().unwrap_or(0);
    (stem.to_owned(), number)
}

fn has_address(found: &Configured, wanted: IpAddr) -> bool {
    let addresses = found.interface.addresses.iter();
    let mut plain = addresses.filter_map(|text| text.split('/').next()?.parse::<IpAddr>().ok());
    plain.any(|address| address == wanted)
}

/// A real interface name, neither a pattern nor an alias.
fn is_plain_name(name: &str) -> bool {
    let letters = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    letters && (1..16).contains(&name.len()) && name != "." && name != ".."
}

/// The driver tells the card from the bonds, bridges and VLANs on it, which
/// have its address. What it is would not: before systemd 245 a card has no
/// type, and the file would never be used.
fn link_file(mac: &str, name: &str, model: NicModel) -> String {
    let driver = model.linux_driver();
    format!("[Match]\nMACAddress={mac}\nDriver={driver}\n\n[Link]\nName={name}\n")
}

/// `70-persistent-net.rules` for guests whose udev knows no `.link` files: the
/// lines of other cards stay.
pub fn persistent_rules(text: &str, cards: &[(String, String)]) -> String {
    let ours = |line: &str| {
        let lower = line.to_ascii_lowercase();
        let named = |name: &str| line.contains(&format!("NAME=\"{name}\""));
        !line.trim_start().starts_with('#')
            && cards
                .iter()
                .any(|(mac, name)| lower.contains(mac.as_str()) || named(name))
    };
    let mut rules: String = text
        .split_inclusive('\n')
        .filter(|line| !ours(line))
        .collect();
    if !rules.is_empty() && !rules.ends_with('\n') {
        rules.push('\n');
    }
    for (mac, name) in cards {
        rules.push_str(&format!(
            "SUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"?*\", ATTR{{address}}==\"{mac}\", \
             ATTR{{type}}==\"1\", NAME=\"{name}\"\n"
        ));
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::super::Remembered;
    use super::*;
    use crate::report::NetworkStyle;

    fn known(configured: &[Configured]) -> Knowledge {
        Knowledge {
            configured: configured.to_vec(),
            remembered: Vec::new(),
        }
    }

    fn interface(name: &str, address: &str, lower: &[&str]) -> Configured {
        let mut found = Configured::new(name, NetworkStyle::Ifupdown);
        found.interface.addresses = vec![address.to_owned()];
        found.lower = lower.iter().map(|name| (*name).to_owned()).collect();
        found
    }

    fn nic(mac: &str, address: Option<&str>) -> NicIdentity {
        NicIdentity {
            mac: mac.into(),
            address: address.map(|text| text.parse().unwrap()),
        }
    }

    #[test]
    fn the_address_finds_the_interface() {
        let configured = [
            interface("enp9s0", "10.0.0.5/24", &[]),
            interface("br0", "10.1.0.5/24", &["enp8s0"]),
        ];
        let nics = [
            nic("52:54:00:00:00:01", Some("10.1.0.5")),
            nic("52:54:00:00:00:02", Some("10.0.0.5")),
            nic("52:54:00:00:00:03", Some("10.9.0.5")),
        ];
        let links = decide(&known(&configured), &nics, NicModel::Virtio).unwrap();
        assert!(links.files["10-keep-enp8s0.link"].contains("MACAddress=52:54:00:00:00:01\n"));
        assert!(links.files["10-keep-enp9s0.link"].contains("MACAddress=52:54:00:00:00:02\n"));
        assert_eq!(links.warnings.len(), 1);
    }

    /// What a rule of udev sees of an interface.
    struct Device {
        driver: &'static str,
        /// DEVTYPE, which Ethernet cards do not have.
        devtype: Option<&'static str>,
    }

    /// Whether a file is for a device, as systemd before 245 decides it; the
    /// versions since take a card for `ether` and are else the same.
    fn old_udev_matches(file: &str, device: &Device) -> bool {
        let matches = file.split("[Link]").next().unwrap().lines().skip(1);
        let mut matches = matches.filter(|line| !line.is_empty());
        matches.all(|line| match line.split_once('=').unwrap() {
            ("MACAddress", mac) => mac == "52:54:00:00:00:01",
            ("Driver", driver) => driver == device.driver,
            ("Type", kind) => device.devtype == Some(kind),
            (key, _) => panic!("{key}"),
        })
    }

    #[test]
    fn every_udev_gives_the_name_to_the_card_and_to_nothing_on_it() {
        let configured = [interface("ens192", "10.0.0.5/24", &[])];
        for (model, driver) in [
            (NicModel::Virtio, "virtio_net"),
            (NicModel::E1000e, "e1000e"),
        ] {
            let nics = [nic("52:54:00:00:00:01", None)];
            let links = decide(&known(&configured), &nics, model).unwrap();
            let file = &links.files["10-keep-ens192.link"];
            let card = Device {
                driver,
                devtype: None,
            };
            assert!(old_udev_matches(file, &card), "{file}");
            for (driver, devtype) in [
                ("bonding", Some("bond")),
                ("bridge", Some("bridge")),
                ("802.1Q VLAN Support", Some("vlan")),
                ("macvlan", None),
            ] {
                let above = Device { driver, devtype };
                assert!(!old_udev_matches(file, &above), "{driver}: {file}");
            }
        }
    }

    #[test]
    fn the_only_card_is_the_only_interface() {
        let configured = [interface("ens192", "10.0.0.5/24", &[])];
        let links = decide(
            &known(&configured),
            &[nic("52:54:00:00:00:01", None)],
            NicModel::Virtio,
        )
        .unwrap();
        assert!(links.files.contains_key("10-keep-ens192.link"));
    }

    #[test]
    fn hostile_names_make_no_file() {
        for name in ["../../etc/x", "en*", "a b", ""] {
            let configured = [interface(name, "10.0.0.5/24", &[])];
            let links = decide(
                &known(&configured),
                &[nic("52:54:00:00:00:01", None)],
                NicModel::Virtio,
            )
            .unwrap();
            assert!(links.files.is_empty(), "{name}");
        }
    }

    fn names(links: &Links) -> Vec<(&str, &str)> {
        let cards = links.cards.iter();
        cards
            .map(|(mac, name)| (&mac[15..], name.as_str()))
            .collect()
    }

    #[test]
    fn members_of_a_bond_below_a_vlan() {
        let mut bond = interface("bond0", "10.0.0.5/24", &["ens1", "ens2"]);
        bond.is_virtual = true;
        let vlan = interface("bond0.7", "10.7.0.5/24", &["bond0"]);
        let configured = [bond, vlan, interface("ens3", "10.9.0.5/24", &[])];
        let nics = [
            nic("52:54:00:00:00:01", Some("10.7.0.5")),
            nic("52:54:00:00:00:02", None),
            nic("52:54:00:00:00:03", Some("10.9.0.5")),
        ];
        let links = decide(&known(&configured), &nics, NicModel::Virtio).unwrap();
        assert_eq!(
            names(&links),
            [("01", "ens1"), ("02", "ens2"), ("03", "ens3")]
        );
        assert_eq!(links.warnings, Vec::<String>::new());
    }

    #[test]
    fn a_known_mac_address_counts_more_than_an_address() {
        let mut second = interface("ens2", "10.0.0.5/24", &[]);
        second.interface.mac = Some("52:54:00:00:00:01".to_owned());
        let configured = [interface("ens1", "10.0.0.5/24", &[]), second];
        let nics = [
            nic("52:54:00:00:00:01", Some("10.0.0.5")),
            nic("52:54:00:00:00:02", Some("10.0.0.5")),
        ];
        let links = decide(&known(&configured), &nics, NicModel::Virtio).unwrap();
        assert_eq!(names(&links), [("02", "ens1"), ("01", "ens2")]);
    }

    #[test]
    fn leases_and_old_names_count_where_nothing_is_configured() {
        let remembered = |name: &str, mac: Option<&str>, address: Option<&str>| Remembered {
            name: name.to_owned(),
            mac: mac.map(str::to_owned),
            address: address.map(|text| text.parse().unwrap()),
        };
        let knowledge = Knowledge {
            configured: Vec::new(),
            remembered: vec![
                remembered("eth10", Some("52:54:00:00:00:01"), None),
                remembered("eth9", None, Some("10.0.0.5")),
            ],
        };
        let nics = [
            nic("52:54:00:00:00:01", None),
            nic("52:54:00:00:00:02", Some("10.0.0.5")),
        ];
        let links = decide(&knowledge, &nics, NicModel::Virtio).unwrap();
        // The order of attachment, in which the kernel would name them so itself.
        assert_eq!(names(&links), [("02", "eth9"), ("01", "eth10")]);
        assert!(links.warnings[0].contains("order"), "{:?}", links.warnings);
    }

    #[test]
    fn a_configuration_bound_to_another_card_is_reported() {
        let mut bound = interface("ens1", "10.0.0.5/24", &[]);
        bound.interface.mac = Some("00:50:56:00:00:09".to_owned());
        let nics = [nic("52:54:00:00:00:01", Some("10.0.0.5"))];
        let links = decide(&known(&[bound]), &nics, NicModel::Virtio).unwrap();
        assert_eq!(names(&links), [("01", "ens1")]);
        assert!(links.warnings[0].contains("expects the MAC address 00:50:56:00:00:09"));
    }

    #[test]
    fn interfaces_that_stand_on_each_other_in_a_circle() {
        let configured = [
            interface("br0", "10.0.0.5/24", &["br1"]),
            interface("br1", "10.0.0.5/24", &["br0", "br1"]),
        ];
        let nics = [nic("52:54:00:00:00:01", Some("10.0.0.5"))];
        let links = decide(&known(&configured), &nics, NicModel::Virtio).unwrap();
        assert!(links.files.is_empty());
        assert_eq!(links.warnings.len(), 1);
    }

    #[test]
    fn rules_of_old_guests() {
        let card = |mac: &str, name: &str| (format!("52:54:00:00:00:{mac}"), name.to_owned());
        let cards = [card("01", "eth0"), card("02", "eth1")];
        let old = "# PCI device\nATTR{address}==\"00:50:56:00:00:01\", NAME=\"eth0\"\n\
                   ATTR{address}==\"00:50:56:00:00:09\", NAME=\"eth9\"";
        let rules = persistent_rules(old, &cards);
        let lines: Vec<&str> = rules.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[0].starts_with('#') && lines[1].ends_with("NAME=\"eth9\""));
        assert!(lines[2].contains("52:54:00:00:00:01") && lines[2].ends_with("NAME=\"eth0\""));
        assert_eq!(persistent_rules(&rules, &cards), rules, "once is enough");
    }

    #[test]
    fn one_mac_twice_is_refused() {
        let nics = [
            nic("52:54:00:00:00:0A", None),
            nic("52:54:00:00:00:0a", None),
        ];
        assert!(decide(&known(&[]), &nics, NicModel::Virtio).is_err());
    }
}
