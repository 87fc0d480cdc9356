//! Disks that other machines hold: iSCSI targets.

use std::net::IpAddr;

use super::{Facts, Key};
use crate::facts::Weight;

const ADAPTERS: &str = "Control\\Class\\{4D36E97B-E325-11CE-BFC1-08002BE10318}";
const PLACES: &[&str] = &[ADAPTERS, "Services\\MSiSCSI", "Services\\iScsiPrt"];
const MAX_KEYS: usize = 2_000;
const MAX_DEPTH: usize = 7;

pub(super) fn read(set: Key<'_>, facts: &mut Facts<'_>) {
    for place in PLACES {
        if let Some(key) = set.at(place) {
            portals(key, place, facts);
        }
    }
}

/// Addresses below a place where the initiator keeps its targets; where exactly differs by version.
pub(super) fn portals(top: Key<'_>, place: &str, facts: &mut Facts<'_>) {
    let mut waiting = vec![(place.to_owned(), top, 0)];
    let mut seen = 0;
    while let Some((path, key, depth)) = waiting.pop() {
        seen += 1;
        if seen > MAX_KEYS {
            return;
        }
        if let Some(address) = address_in(&key.name()) {
            facts.refer(
                &path,
                &key.name(),
                &address.to_string(),
                "iscsi",
                Weight::Normal,
            );
        }
        for value in key.values() {
            let text = value.text();
            let name = value.name.to_ascii_lowercase();
            let is_place = ["portal", "target", "address"]
                .iter()
                .any(|word| name.contains(word));
            if let Some(address) = address_in(&text).filter(|_| is_place) {
                let line = format!("{} = {text}", value.name);
                facts.refer(&path, &line, &address.to_string(), "iscsi", Weight::Normal);
            }
        }
        if depth < MAX_DEPTH {
            let below = key.subkeys().into_iter();
            waiting.extend(below.map(|sub| (format!("{path}\\{}", sub.name()), sub, depth + 1)));
        }
    }
}

/// "10.0.0.40 3260", "10.0.0.40,3260", "10.0.0.40:3260".
fn address_in(text: &str) -> Option<IpAddr> {
    let words = text.split([' ', ',', '+', '*', ';', ':', '#']).take(20);
    let mut addresses = words.filter_map(|word| word.parse::<std::net::Ipv4Addr>().ok());
    let usable = addresses.find(|a| !a.is_loopback() && !a.is_unspecified() && !a.is_broadcast());
    usable.map(IpAddr::V4)
}
