//! Inventories as lists of named things, of which two compare simply.

use std::collections::BTreeMap;

use lifeboat_agent::wire::{Inventory, ProfileId};
use serde::{Deserialize, Serialize};

/// What kind of thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    /// The operating system and its kernel.
    System,
    /// An installed package.
    Package,
    /// A file of configuration.
    Configuration,
    /// A mounted volume.
    Volume,
    /// A service of the profile.
    Service,
    /// A port that something listens at.
    Listener,
    /// Something that the profile lists, as objects of a directory.
    Object,
    /// The profile itself.
    Profile,
    /// What could not be looked at.
    Gap,
}

impl Category {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::System,
        Self::Package,
        Self::Configuration,
        Self::Volume,
        Self::Service,
        Self::Listener,
        Self::Object,
        Self::Profile,
        Self::Gap,
    ];
}

/// What is told of a thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// In words.
    pub value: String,
    /// Its size in bytes, where it has one that matters.
    pub size: Option<u64>,
}

/// Things by their names.
pub type List = BTreeMap<String, Item>;

/// A host's things.
pub type Lists = BTreeMap<Category, List>;

/// However much an agent tells: so many things of a category, with so long names and values.
const THINGS: usize = 20_000;
const LENGTH: usize = 300;

/// What an inventory says. Whether a service runs is no change of the host, and where a file was
/// written is no change of its contents.
pub(super) fn lists(inventory: &Inventory, profile: Option<&ProfileId>) -> Lists {
    let mut lists = Lists::new();
    let mut put = |category: Category, name: &str, value: &str, size: Option<u64>| {
        let list = lists.entry(category).or_default();
        if list.len() < THINGS {
            let value = short(value);
            list.insert(short(name), Item { value, size });
        }
    };
    put(Category::System, "system", &inventory.system, None);
    put(Category::System, "kernel", &inventory.kernel, None);
    for package in &inventory.packages {
        put(Category::Package, &package.name, &package.version, None);
    }
    for file in &inventory.configuration {
        // A listed file that is not there is as if it were not listed: it is told as missing.
        if let Some(hash) = &file.hash {
            let value = format!("{} bytes, sha256 {hash}", file.size);
            put(Category::Configuration, &file.path, &value, None);
        }
    }
    for volume in &inventory.volumes {
        let size = Some(volume.size);
        put(
            Category::Volume,
            &volume.mount_point,
            &volume.filesystem,
            size,
        );
    }
    for service in &inventory.services {
        let value = match service.starts_at_boot {
            Some(true) => "starts at boot",
            Some(false) => "does not start at boot",
            None => "there",
        };
        put(Category::Service, &service.name, value, None);
    }
    for listener in &inventory.listeners {
        let name = format!(
            "{}/{} at {}",
            listener.protocol, listener.port, listener.address
        );
        put(Category::Listener, &name, "listens", None);
    }
    for object in &inventory.objects {
        let name = format!("{}: {}", object.listing, object.name);
        put(Category::Object, &name, &object.value, None);
    }
    for gap in &inventory.gaps {
        put(Category::Gap, gap, "could not be looked at", None);
    }
    if let Some(profile) = profile {
        put(Category::Profile, &profile.name, &profile.hash, None);
    }
    lists
}

fn short(text: &str) -> String {
    let signs = text.chars().filter(|sign| !sign.is_control());
    signs.take(LENGTH).collect()
}

/// A thing that two lists tell differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// What kind of thing.
    pub category: Category,
    /// Its name.
    pub name: String,
    /// What the one says: the earlier inventory, or the side that serves.
    pub one: Option<Item>,
    /// What the other says: the later inventory, or the side that does not serve.
    pub other: Option<Item>,
}

/// All that `one` and `other` tell differently, by category and name.
pub(super) fn compare(one: &Lists, other: &Lists) -> Vec<Difference> {
    let nothing = List::new();
    let mut found = Vec::new();
    for category in Category::ALL {
        let ours = one.get(&category).unwrap_or(&nothing);
        let theirs = other.get(&category).unwrap_or(&nothing);
        let gone_or_other = ours
            .iter()
            .map(|(name, item)| (name, Some(item), theirs.get(name)))
            .filter(|(_, item, other)| item != other);
        let new = theirs
            .iter()
            .filter(|(name, _)| !ours.contains_key(*name))
            .map(|(name, item)| (name, None, Some(item)));
        let mut all: Vec<Difference> = gone_or_other
            .chain(new)
            .map(|(name, one, other)| Difference {
                category,
                name: name.clone(),
                one: one.cloned(),
                other: other.cloned(),
            })
            .collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        found.extend(all);
    }
    found
}

#[cfg(test)]
mod tests {
    use lifeboat_agent::wire::{Configuration, Package, ServiceState};
    use proptest::prelude::*;

    use super::*;

    fn packages(list: &[(&str, &str)]) -> Inventory {
        let package = |(name, version): &(&str, &str)| Package {
            name: (*name).to_owned(),
            version: (*version).to_owned(),
        };
        Inventory {
            packages: list.iter().map(package).collect(),
            ..Inventory::default()
        }
    }

    #[test]
    fn what_is_new_gone_and_other_is_found() {
        let before = lists(&packages(&[("a", "1"), ("b", "1"), ("c", "1")]), None);
        let after = lists(&packages(&[("b", "2"), ("c", "1"), ("d", "1")]), None);
        let found = compare(&before, &after);
        let words: Vec<_> = found
            .iter()
            .map(|one| {
                let value = |item: &Option<Item>| item.as_ref().map(|item| item.value.clone());
                (one.name.as_str(), value(&one.one), value(&one.other))
            })
            .collect();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            words,
            [
                ("a", text("1"), None),
                ("b", text("1"), text("2")),
                ("d", None, text("1"))
            ]
        );
        assert!(compare(&before, &before).is_empty());
    }

    #[test]
    fn running_and_touching_are_no_changes() {
        let inventory = |running, modified| Inventory {
            services: vec![ServiceState {
                name: "dovecot".to_owned(),
                running,
                starts_at_boot: Some(false),
            }],
            configuration: vec![Configuration {
                path: "/etc/a".to_owned(),
                hash: Some("00".to_owned()),
                size: 1,
                modified,
            }],
            ..Inventory::default()
        };
        let (one, other) = (
            lists(&inventory(true, 1), None),
            lists(&inventory(false, 2), None),
        );
        assert_eq!(one, other);
    }

    #[test]
    fn an_endless_inventory_has_an_end() {
        let long = "x".repeat(100_000);
        let many = (0..30_000).map(|index| Package {
            name: format!("{index}{long}").chars().take(400).collect(),
            version: "1\n2".to_owned(),
        });
        let inventory = Inventory {
            packages: many.collect(),
            system: long.clone(),
            ..Inventory::default()
        };
        let lists = lists(&inventory, None);
        let packages = &lists[&Category::Package];
        assert_eq!(packages.len(), THINGS);
        assert!(
            packages
                .iter()
                .all(|(name, item)| name.len() <= LENGTH && item.value == "12")
        );
        assert_eq!(lists[&Category::System]["system"].value.len(), LENGTH);
    }

    fn any_lists() -> impl Strategy<Value = Lists> {
        let item =
            ("[ab]", prop::option::of(0..3u64)).prop_map(|(value, size)| Item { value, size });
        let list = prop::collection::btree_map("[a-e]", item, 0..5);
        let category = prop::sample::select(Category::ALL.to_vec());
        prop::collection::btree_map(category, list, 0..4)
    }

    proptest! {
        /// Differences applied to the one give the other.
        #[test]
        fn a_comparison_is_complete(one in any_lists(), other in any_lists()) {
            let mut made = one.clone();
            for difference in compare(&one, &other) {
                prop_assert_ne!(&difference.one, &difference.other);
                let list = made.entry(difference.category).or_default();
                match difference.other {
                    Some(item) => list.insert(difference.name, item),
                    None => list.remove(&difference.name),
                };
            }
            let full = |lists: Lists| -> Lists {
                lists.into_iter().filter(|(_, list)| !list.is_empty()).collect()
            };
            prop_assert_eq!(full(made), full(other.clone()));
            let back = compare(&other, &one);
            prop_assert_eq!(back.len(), compare(&one, &other).len());
        }
    }
}
