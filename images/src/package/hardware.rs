//! The virtual hardware of one machine of a descriptor.

use std::collections::BTreeMap;

use roxmltree::Node;

use super::descriptor::{attribute, child};
use super::{PackagedMachine, PackagedNic};
use crate::error::{Refusal, RefusalKind};
use crate::inspection::Firmware;
use crate::printable::printable;

/// File names of disks by the ids of the disks; `None` for an empty disk.
pub(super) type Disks = BTreeMap<String, Option<String>>;
/// Id of the hardware profile that counts.
pub(super) type Profile = Option<String>;

const PROCESSOR: u32 = 3;
const MEMORY: u32 = 4;
const ETHERNET: u32 = 10;
const DISK: u32 = 17;

/// One piece of hardware: the values of its element by their names.
struct Item<'a> {
    kind: u32,
    values: BTreeMap<&'a str, &'a str>,
}

impl<'a> Item<'a> {
    fn of(node: Node<'a, '_>) -> Option<Self> {
        let text = |child: Node<'a, '_>| Some((child.tag_name().name(), child.text()?.trim()));
        let elements = node.children().filter(Node::is_element);
        let values: BTreeMap<_, _> = elements.filter_map(text).collect();
        let kind = values.get("ResourceType")?.parse().ok()?;
        Some(Self { kind, values })
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        self.values
            .get(name)
            .copied()
            .filter(|text| !text.is_empty())
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    fn id(&self) -> Option<&'a str> {
        self.text("InstanceID").or(self.text("InstanceId"))
    }

    fn name(&self) -> String {
        let name = self.text("ElementName").or(self.text("Caption"));
        printable(name.unwrap_or_default())
    }
}

/// Reads one machine.
pub(super) fn machine(
    system: Node<'_, '_>,
    disks: &Disks,
    profile: &Profile,
    warnings: &mut Vec<String>,
) -> Result<PackagedMachine, Refusal> {
    let name = child(system, "Name")
        .and_then(|node| node.text())
        .or(attribute(&system, "id"));
    let name = printable(name.unwrap_or_default().trim());
    let items = items(system, profile);
    let first = |kind| items.iter().find(|item| item.kind == kind);
    let vcpus = first(PROCESSOR).and_then(|item| item.number("VirtualQuantity"));
    let files = disk_files(&items, disks, &name, warnings)?;
    Ok(PackagedMachine {
        firmware: firmware(system),
        memory_mib: first(MEMORY).and_then(memory_mib),
        vcpus: vcpus.and_then(|count| u32::try_from(count).ok()),
        disks: files,
        nics: nics(system, &items),
        name,
    })
}

/// The items of the profile, in the order of the descriptor. One that is meant for the profile
/// stands in the place of the general one with its id.
fn items<'a>(system: Node<'a, '_>, profile: &Profile) -> Vec<Item<'a>> {
    let mut items: Vec<(Item<'a>, bool)> = Vec::new();
    let is_item = |node: &Node<'_, '_>| {
        matches!(
            node.tag_name().name(),
            "Item" | "StorageItem" | "EthernetPortItem"
        )
    };
    for node in system.descendants().filter(is_item) {
        let meant_for = attribute(&node, "configuration");
        let counts = meant_for.is_none_or(|names| {
            names
                .split_whitespace()
                .any(|name| Some(name) == profile.as_deref())
        });
        let Some(item) = Item::of(node).filter(|_| counts) else {
            continue;
        };
        let same = items
            .iter_mut()
            .find(|(other, _)| item.id().is_some() && other.id() == item.id());
        match same {
            Some(place) if meant_for.is_some() || !place.1 => *place = (item, meant_for.is_some()),
            Some(_) => {}
            None => items.push((item, meant_for.is_some())),
        }
    }
    items.into_iter().map(|(item, _)| item).collect()
}

/// `byte * 2^20` and its older spellings; memory without a unit is in MiB.
fn memory_mib(item: &Item<'_>) -> Option<u64> {
    let quantity = item.number("VirtualQuantity")?;
    let unit = item.text("AllocationUnits").unwrap_or("MegaBytes");
    let unit: String = unit
        .chars()
        .filter(|character| !character.is_whitespace())
        .collect();
    let bytes = match unit.to_ascii_lowercase().as_str() {
        "byte" | "bytes" => 1,
        "kilobytes" | "kb" => 1 << 10,
        "megabytes" | "mb" => 1 << 20,
        "gigabytes" | "gb" => 1 << 30,
        power => 1_u64.checked_shl(power.strip_prefix("byte*2^")?.parse().ok()?)?,
    };
    Some(quantity.checked_mul(bytes)? >> 20)
}

/// Controllers in the order in which their kinds appear with a disk, then by their bus number,
/// then by the place on them.
fn disk_files(
    items: &[Item<'_>],
    disks: &Disks,
    machine: &str,
    warnings: &mut Vec<String>,
) -> Result<Vec<String>, Refusal> {
    let mut kinds: Vec<u32> = Vec::new();
    let mut found = Vec::new();
    for item in items.iter().filter(|item| item.kind == DISK) {
        let parent = item.text("Parent");
        let controller = items
            .iter()
            .find(|other| parent.is_some() && other.id() == parent);
        let kind = controller.map_or(u32::MAX, |controller| controller.kind);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
        let rank = kinds.iter().position(|other| *other == kind);
        let bus = controller.and_then(|controller| controller.number("Address"));
        match file_of(item, disks)? {
            Some(file) => found.push((rank, bus, item.number("AddressOnParent"), file)),
            None => warnings.push(format!(
                "machine `{machine}`: its disk `{}` has no file and is left out",
                item.name()
            )),
        }
    }
    // Stable: disks without places stay as they stand.
    found.sort_by_key(|(rank, bus, place, _)| (*rank, *bus, *place));
    Ok(found.into_iter().map(|(.., file)| file).collect())
}

fn file_of(item: &Item<'_>, disks: &Disks) -> Result<Option<String>, Refusal> {
    let resource = item.text("HostResource").unwrap_or_default();
    let id = resource.strip_prefix("ovf:").unwrap_or(resource);
    let id = id.strip_prefix('/').unwrap_or(id).strip_prefix("disk/");
    match id.and_then(|id| disks.get(id)) {
        Some(file) => Ok(file.clone()),
        None => Err(Refusal::new(
            RefusalKind::Damaged,
            format!(
                "its disk `{}` refers to `{}`, which the descriptor does not list",
                item.name(),
                printable(resource)
            ),
            "export the machine again",
        )),
    }
}

fn nics(system: Node<'_, '_>, items: &[Item<'_>]) -> Vec<PackagedNic> {
    let cards: Vec<_> = items.iter().filter(|item| item.kind == ETHERNET).collect();
    let mut adapters = virtualbox_macs(system).into_iter();
    let nic = |item: &&Item<'_>| PackagedNic {
        name: item.name(),
        network: item.text("Connection").map(printable),
        mac: item
            .text("Address")
            .and_then(mac)
            .or_else(|| adapters.next().flatten()),
    };
    cards.iter().map(nic).collect()
}

/// VirtualBox keeps them in a section of its own, by the slots of the adapters that are on.
fn virtualbox_macs(system: Node<'_, '_>) -> Vec<Option<String>> {
    let is_on = |node: &Node<'_, '_>| {
        node.tag_name().name() == "Adapter" && attribute(node, "enabled") == Some("true")
    };
    let adapters = system.descendants().filter(is_on);
    adapters
        .map(|node| attribute(&node, "MACAddress").and_then(mac))
        .collect()
}

/// Six bytes in hexadecimal digits, with or without colons or dashes.
fn mac(text: &str) -> Option<String> {
    let digits: String = text
        .chars()
        .filter(|character| !matches!(character, ':' | '-'))
        .collect();
    let is_mac = digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let digits = is_mac.then(|| digits.to_ascii_lowercase())?;
    let pairs: Vec<_> = (0..6)
        .filter_map(|pair| digits.get(2 * pair..2 * pair + 2))
        .collect();
    Some(pairs.join(":"))
}

fn firmware(system: Node<'_, '_>) -> Option<Firmware> {
    let said = system
        .descendants()
        .find_map(|node| match node.tag_name().name() {
            "Config" if attribute(&node, "key") == Some("firmware") => attribute(&node, "value"),
            "Firmware" => attribute(&node, "type"),
            _ => None,
        })?;
    match said.to_ascii_lowercase().as_str() {
        "bios" => Some(Firmware::Bios),
        said if said.starts_with("efi") => Some(Firmware::Uefi),
        _ => None,
    }
}
