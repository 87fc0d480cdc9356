//! The OVF descriptor, versions 0.9 to 2: which machines, which files.
//!
//! The XML reader takes no document type, so there are no entities to expand and nothing to fetch.

use std::collections::BTreeMap;

use roxmltree::{Document, Node, ParsingOptions};

use super::hardware::{Disks, Profile, machine};
use super::{Package, is_plain_file_name};
use crate::error::{Refusal, RefusalKind};
use crate::printable::{printable, printable_bytes};

/// Longer descriptors are refused.
pub(crate) const LONGEST: u64 = 8 << 20;
const MOST_NODES: u32 = 500_000;
const MOST_MACHINES: usize = 200;

/// Reads a descriptor.
pub(crate) fn parse(bytes: &[u8]) -> Result<Package, Refusal> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| damaged("its descriptor is not UTF-8 text".to_owned()))?;
    let options = ParsingOptions {
        nodes_limit: MOST_NODES,
        ..ParsingOptions::default()
    };
    let text = text.trim_start_matches('\u{feff}');
    let document = Document::parse_with_options(text, options).map_err(|error| {
        let words = printable_bytes(error.to_string().as_bytes());
        damaged(format!("its descriptor is no XML that is taken ({words})"))
    })?;
    let root = document.root_element();
    if root.tag_name().name() != "Envelope" {
        return Err(damaged("its descriptor is no OVF envelope".to_owned()));
    }
    package(root)
}

fn damaged(found: String) -> Refusal {
    Refusal::new(RefusalKind::Damaged, found, "export the machine again")
}

fn package(root: Node<'_, '_>) -> Result<Package, Refusal> {
    let mut warnings = Vec::new();
    let disks = disks(root, &files(root)?)?;
    let profile = profile(root);
    let systems: Vec<_> = root.descendants().filter(is_system).collect();
    if systems.is_empty() || systems.len() > MOST_MACHINES {
        let found = format!("its descriptor describes {} machines", systems.len());
        return Err(damaged(found));
    }
    let mut machines = Vec::new();
    for system in systems {
        machines.push(machine(system, &disks, &profile, &mut warnings)?);
    }
    Ok(Package {
        machines,
        warnings,
        ..Package::default()
    })
}

fn is_system(node: &Node<'_, '_>) -> bool {
    let is_typed =
        || attribute(node, "type").is_some_and(|kind| kind.ends_with("VirtualSystem_Type"));
    match node.tag_name().name() {
        "VirtualSystem" => true,
        "Content" => is_typed(),
        _ => false,
    }
}

/// The attribute of that name, in whatever namespace: versions and products disagree on it.
pub(super) fn attribute<'a>(node: &Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.attributes()
        .find(|attribute| attribute.name() == name)
        .map(|found| found.value())
}

/// The first child element of that name, in whatever namespace.
pub(super) fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children()
        .find(|child| child.tag_name().name() == name)
}

/// File names by their ids.
fn files(root: Node<'_, '_>) -> Result<BTreeMap<String, String>, Refusal> {
    let mut files = BTreeMap::new();
    let references = root
        .children()
        .find(|node| node.tag_name().name() == "References");
    let nodes = references.into_iter().flat_map(|node| node.children());
    for node in nodes.filter(|node| node.tag_name().name() == "File") {
        let href = attribute(&node, "href").unwrap_or_default();
        require_plain(href)?;
        if attribute(&node, "compression").is_some_and(|how| !matches!(how, "" | "identity"))
            || attribute(&node, "chunkSize").is_some()
        {
            return Err(Refusal::new(
                RefusalKind::UnsupportedFormat,
                format!("its file `{}` is compressed or in chunks", printable(href)),
                "export the machine again, with plain disk files",
            ));
        }
        let id = attribute(&node, "id").unwrap_or_default();
        if files.insert(id.to_owned(), href.to_owned()).is_some() {
            return Err(damaged(format!(
                "two of its files have the id `{}`",
                printable(id)
            )));
        }
    }
    Ok(files)
}

fn require_plain(href: &str) -> Result<(), Refusal> {
    if is_plain_file_name(href) {
        return Ok(());
    }
    let shown = printable(href);
    let (kind, found) = match href.split_once(':') {
        Some((protocol, _)) if !protocol.contains('/') => (
            RefusalKind::Protocol,
            format!("it refers to `{shown}` by a protocol"),
        ),
        _ => (
            RefusalKind::DataFile,
            format!("it refers to the file `{shown}` elsewhere"),
        ),
    };
    let remedy = "put all files beside the descriptor, and name them there without a path";
    Err(Refusal::new(kind, found, remedy))
}

/// File names of disks by the ids of the disks; `None` for a disk without a file, which is empty.
fn disks(root: Node<'_, '_>, files: &BTreeMap<String, String>) -> Result<Disks, Refusal> {
    let mut disks = Disks::new();
    let is_disk = |node: &Node<'_, '_>| {
        node.tag_name().name() == "Disk" && attribute(node, "diskId").is_some()
    };
    for node in root.descendants().filter(is_disk) {
        let id = attribute(&node, "diskId").unwrap_or_default();
        if let Some(parent) = attribute(&node, "parentRef") {
            return Err(Refusal::new(
                RefusalKind::BackingFile,
                format!(
                    "its disk `{}` needs the disk `{}` below it",
                    printable(id),
                    printable(parent)
                ),
                "consolidate the snapshots and export the machine again",
            ));
        }
        let file = match attribute(&node, "fileRef") {
            None => None,
            Some(reference) => Some(files.get(reference).cloned().ok_or_else(|| {
                damaged(format!(
                    "its disk `{}` refers to a file that it does not list",
                    printable(id)
                ))
            })?),
        };
        disks.insert(id.to_owned(), file);
    }
    Ok(disks)
}

/// The hardware profile that is the default; the first, if none is said to be.
fn profile(root: Node<'_, '_>) -> Profile {
    let is_profile = |node: &Node<'_, '_>| node.tag_name().name() == "Configuration";
    let profiles: Vec<_> = root.descendants().filter(is_profile).collect();
    let is_default = |node: &&Node<'_, '_>| attribute(node, "default") == Some("true");
    let chosen = profiles.iter().find(is_default).or(profiles.first());
    chosen
        .and_then(|node| attribute(node, "id"))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspection::Firmware;
    use crate::package::PackagedNic;
    use proptest::prelude::*;

    const ONE: &str = r#"<Envelope xmlns:ovf="o" xmlns:rasd="r" xmlns:vmw="v">
<References><File ovf:href="a.vmdk" ovf:id="f1"/><File ovf:href="b.vmdk" ovf:id="f2"/><File ovf:href="c.vmdk" ovf:id="f3"/></References>
<DiskSection><Disk ovf:diskId="d1" ovf:fileRef="f1"/><Disk ovf:diskId="d2" ovf:fileRef="f2"/><Disk ovf:diskId="d3" ovf:fileRef="f3"/></DiskSection>
<DeploymentOptionSection><Configuration ovf:id="small"/><Configuration ovf:id="large" ovf:default="true"/></DeploymentOptionSection>
<VirtualSystem ovf:id="vm"><Name>web one</Name><VirtualHardwareSection>
<Item><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>2</rasd:VirtualQuantity></Item>
<Item ovf:configuration="large"><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>4</rasd:VirtualQuantity></Item>
<Item ovf:configuration="small"><rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>1</rasd:VirtualQuantity></Item>
<Item><rasd:AllocationUnits>byte * 2^30</rasd:AllocationUnits><rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>3</rasd:VirtualQuantity></Item>
<Item><rasd:Address>1</rasd:Address><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceType>6</rasd:ResourceType></Item>
<Item><rasd:Address>0</rasd:Address><rasd:InstanceID>4</rasd:InstanceID><rasd:ResourceType>6</rasd:ResourceType></Item>
<Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/d3</rasd:HostResource><rasd:InstanceID>5</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
<Item><rasd:AddressOnParent>10</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/d2</rasd:HostResource><rasd:InstanceID>6</rasd:InstanceID><rasd:Parent>4</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
<Item><rasd:AddressOnParent>9</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/d1</rasd:HostResource><rasd:InstanceID>7</rasd:InstanceID><rasd:Parent>4</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
<Item><rasd:Address>00:50:56:AA:bb:01</rasd:Address><rasd:Connection>LAN</rasd:Connection><rasd:ElementName>eth0</rasd:ElementName><rasd:InstanceID>8</rasd:InstanceID><rasd:ResourceType>10</rasd:ResourceType></Item>
<vmw:Config vmw:key="firmware" vmw:value="efi"/>
</VirtualHardwareSection></VirtualSystem></Envelope>"#;

    #[test]
    fn hardware_is_read_in_its_default_profile_and_disks_in_controller_order() {
        let package = parse(ONE.as_bytes()).unwrap();
        let [machine] = &package.machines[..] else {
            panic!("{package:?}");
        };
        assert_eq!(
            (machine.name.as_str(), machine.firmware),
            ("web one", Some(Firmware::Uefi))
        );
        assert_eq!((machine.vcpus, machine.memory_mib), (Some(4), Some(3072)));
        assert_eq!(machine.disks, ["a.vmdk", "b.vmdk", "c.vmdk"]);
        let nic = PackagedNic {
            name: "eth0".into(),
            network: Some("LAN".into()),
            mac: Some("00:50:56:aa:bb:01".into()),
        };
        assert_eq!(machine.nics, [nic]);
        assert_eq!(package.warnings, [""; 0]);
    }

    #[track_caller]
    fn refused(from: &str, to: &str, kind: RefusalKind, word: &str) {
        let text = ONE.replacen(from, to, 1);
        assert_ne!(text, ONE);
        let refusal = parse(text.as_bytes()).unwrap_err();
        assert_eq!(refusal.kind, kind, "{refusal:?}");
        assert!(refusal.found.contains(word), "{refusal:?}");
    }

    #[test]
    fn references_that_lead_elsewhere_are_refused() {
        use RefusalKind::{BackingFile, Damaged, DataFile, Protocol, UnsupportedFormat};
        for elsewhere in [
            "/etc/shadow",
            "../a.vmdk",
            "sub/a.vmdk",
            "..",
            "a\\b",
            "a&#10;b",
            "-f",
        ] {
            refused("a.vmdk", elsewhere, DataFile, "elsewhere");
        }
        for protocol in [
            "http://host/a",
            "file:///etc/shadow",
            "nbd:host:1",
            "json:{}",
            "C:a",
        ] {
            refused("a.vmdk", protocol, Protocol, "protocol");
        }
        refused(
            "ovf:fileRef=\"f1\"",
            "ovf:fileRef=\"f9\"",
            Damaged,
            "does not list",
        );
        refused(
            "ovf:fileRef=\"f1\"",
            "ovf:parentRef=\"d2\"",
            BackingFile,
            "d2",
        );
        refused("ovf:id=\"f2\"", "ovf:id=\"f1\"", Damaged, "f1");
        refused(
            "ovf:id=\"f1\"",
            "ovf:id=\"f1\" ovf:compression=\"gzip\"",
            UnsupportedFormat,
            "compressed",
        );
        refused("ovf:/disk/d1", "ovf:/disk/d9", Damaged, "d9");
        refused("ovf:/disk/d1", "/etc/shadow", Damaged, "/etc/shadow");
        refused("<Envelope", "<Other", Damaged, "");
    }

    #[test]
    fn entities_and_depth_are_not_followed() {
        let bomb = format!(
            "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]>{}",
            ONE.replace("web one", "&b;")
        );
        let refusal = parse(bomb.as_bytes()).unwrap_err();
        assert!(refusal.found.contains("XML"), "{refusal:?}");
        let foreign = format!("<!DOCTYPE x SYSTEM \"file:///etc/shadow\">{ONE}");
        assert!(parse(foreign.as_bytes()).is_err());
        assert!(parse(ONE.replace("web one", "&undefined;").as_bytes()).is_err());
        assert!(parse(b"\xff\xfe").is_err());
        assert!(parse(b"").is_err());
    }

    proptest! {
        #[test]
        fn any_change_is_read_or_refused(place in 0..ONE.len(), with in prop::collection::vec(any::<u8>(), 0..6)) {
            let mut bytes = ONE.as_bytes().to_vec();
            let end = bytes.len().min(place + with.len());
            bytes.splice(place..end, with);
            for machine in parse(&bytes).unwrap_or_default().machines {
                prop_assert!(machine.disks.iter().all(|name| is_plain_file_name(name)));
            }
        }
    }
}
