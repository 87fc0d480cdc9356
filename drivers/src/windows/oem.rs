//! Which `oemN.inf` a driver is.

use std::collections::{BTreeMap, BTreeSet};

use lifeboat_hive::Hive;

use super::boot_drivers::store_name;
use super::catalogue::Package;
use super::hives::Hives;
use super::tree::WindowsTree;

/// Numbers of `oemN.inf` files.
pub(super) struct OemNumbers {
    by_store: BTreeMap<String, u32>,
    /// Files that no hive knows of, by hash: an injection that was stopped leaves such.
    by_content: BTreeMap<String, u32>,
    taken: BTreeSet<u32>,
}

impl OemNumbers {
    /// Those that are taken, on the disk and in the hives.
    pub(super) fn taken(tree: &WindowsTree, root: &str, hives: &Hives) -> Self {
        let mut numbers = Self {
            by_store: BTreeMap::new(),
            by_content: BTreeMap::new(),
            taken: BTreeSet::new(),
        };
        for hive in [Some(&hives.system), hives.drivers.as_ref()]
            .into_iter()
            .flatten()
        {
            numbers.add_hive(hive.editor.hive());
        }
        for (name, _) in tree.list(&format!("{root}/INF")) {
            let number = oem_number(&name).filter(|number| !numbers.taken.contains(number));
            if let Some(number) = number {
                let hash = tree.root().hash(&format!("{root}/INF/{name}"));
                let hash = hash.ok().flatten().unwrap_or_default();
                numbers.by_content.insert(hash, number);
            }
        }
        let on_disk = numbers.by_content.values().copied();
        numbers.taken.extend(on_disk);
        numbers
    }

    fn add_hive(&mut self, hive: &Hive) {
        let Some(database) = hive.root().and_then(|root| root.subkey("DriverDatabase")) else {
            return;
        };
        let map = database.value("OemInfMap").map(|value| value.data);
        let map = map.unwrap_or_default();
        let bits = (0..).take(map.len() * 8);
        self.taken.extend(
            bits.filter(|bit| map[bit / 8] & (0x80 >> (bit % 8)) != 0)
                .map(|bit| bit as u32),
        );
        let files = database.subkey("DriverInfFiles");
        for key in files.into_iter().flat_map(|key| key.subkeys()) {
            if let Some(number) = oem_number(&key.name()) {
                self.taken.insert(number);
                let store = key.text("Active").unwrap_or_default();
                self.by_store.insert(store, number);
            }
        }
    }

    /// The number of a package: the one that it has already, else the next free one.
    pub(super) fn number_of(&mut self, package: &Package) -> u32 {
        let store = store_name(package);
        if let Some(number) = self.by_store.get(&store) {
            return *number;
        }
        let left = package
            .inf_file()
            .and_then(|inf| self.by_content.remove(&inf.hash));
        let free = || {
            (0..)
                .find(|number| !self.taken.contains(number))
                .unwrap_or(0)
        };
        let number = left.unwrap_or_else(free);
        self.taken.insert(number);
        self.by_store.insert(store, number);
        number
    }
}

fn oem_number(name: &str) -> Option<u32> {
    let lower = name.to_ascii_lowercase();
    lower
        .strip_prefix("oem")?
        .strip_suffix(".inf")?
        .parse()
        .ok()
}
