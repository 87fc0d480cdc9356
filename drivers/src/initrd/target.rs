//! Which modules a guest needs for which virtual hardware.

use super::modules::ModuleTree;
use crate::report::{Bus, Fallback, NicModel, Target};

/// Modules that a guest may use before its root is mounted. Those a kernel does
/// not have are passed over: older ones hold the `_dev` parts in `virtio_pci` itself.
pub fn wanted(target: Target) -> Vec<&'static str> {
    let mut names = Vec::new();
    let virtio = [
        "virtio",
        "virtio_ring",
        "virtio_pci_modern_dev",
        "virtio_pci_legacy_dev",
        "virtio_pci",
    ];
    match target.disk {
        Bus::VirtioBlk | Bus::VirtioScsi => {
            names.extend(virtio);
            names.extend(["virtio_blk", "virtio_scsi", "sd_mod"]);
        }
        Bus::Ahci => names.extend(["ahci", "sd_mod"]),
        Bus::Nvme => names.extend(["nvme"]),
    }
    match target.nic {
        NicModel::Virtio => names.extend(virtio.into_iter().chain(["virtio_net"])),
        NicModel::E1000e => names.push("e1000e"),
    }
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(*name));
    names
}

/// The modules without which the guest cannot boot.
pub fn essential(target: Target) -> Vec<&'static str> {
    let mut names = Vec::new();
    if matches!(target.disk, Bus::VirtioBlk | Bus::VirtioScsi) || target.nic == NicModel::Virtio {
        names.push("virtio_pci");
    }
    names.extend(disk_modules(target.disk));
    names.extend(nic_modules(target.nic));
    names
}

fn disk_modules(bus: Bus) -> &'static [&'static str] {
    match bus {
        Bus::VirtioBlk => &["virtio_blk"],
        Bus::VirtioScsi => &["virtio_scsi", "sd_mod"],
        Bus::Ahci => &["ahci", "sd_mod"],
        Bus::Nvme => &["nvme"],
    }
}

fn nic_modules(model: NicModel) -> &'static [&'static str] {
    match model {
        NicModel::Virtio => &["virtio_net"],
        NicModel::E1000e => &["e1000e"],
    }
}

/// The modules that a later rebuild by the guest itself must include.
pub fn rebuilt(target: Target) -> Vec<&'static str> {
    let mut names = essential(target);
    if names.contains(&"virtio_blk") {
        names.push("virtio_scsi");
    }
    names
}

/// Hardware that every one of these kernels has drivers for, the best first.
pub fn fallback(trees: &[&ModuleTree], reason: String) -> Option<Fallback> {
    let offered = |modules: &[&str]| {
        trees
            .iter()
            .all(|tree| modules.iter().all(|name| tree.offers(name)))
    };
    let virtio = offered(&["virtio_pci"]);
    let disks = [Bus::VirtioBlk, Bus::Ahci, Bus::Nvme];
    let disk = disks
        .into_iter()
        .find(|bus| offered(disk_modules(*bus)) && (virtio || *bus != Bus::VirtioBlk))?;
    let nics = [NicModel::Virtio, NicModel::E1000e];
    let nic = nics
        .into_iter()
        .find(|model| offered(nic_modules(*model)) && (virtio || *model != NicModel::Virtio))?;
    Some(Fallback { disk, nic, reason })
}

#[cfg(test)]
mod tests {
    use super::super::modules::IndexTexts;
    use super::*;

    fn tree(builtin: &str) -> ModuleTree {
        ModuleTree::parse(&IndexTexts {
            builtin: builtin.replace(' ', ".ko\n"),
            ..IndexTexts::default()
        })
    }

    #[test]
    fn the_best_hardware_that_all_kernels_know() {
        let cases = [
            (
                vec!["ahci sd_mod e1000e nvme "],
                Some((Bus::Ahci, NicModel::E1000e)),
            ),
            (
                vec!["ahci sd_mod e1000e ", "nvme e1000e ahci sd_mod "],
                Some((Bus::Ahci, NicModel::E1000e)),
            ),
            (
                vec!["nvme e1000e ahci "],
                Some((Bus::Nvme, NicModel::E1000e)),
            ),
            (
                vec!["virtio_pci virtio_blk e1000e "],
                Some((Bus::VirtioBlk, NicModel::E1000e)),
            ),
            (vec!["virtio_blk virtio_net "], None),
            (vec!["ahci sd_mod e1000e ", "nvme e1000e "], None),
            (vec!["ahci sd_mod "], None),
        ];
        for (kernels, expected) in cases {
            let trees: Vec<ModuleTree> = kernels.iter().map(|text| tree(text)).collect();
            let found = fallback(&trees.iter().collect::<Vec<_>>(), String::new());
            assert_eq!(
                found.map(|found| (found.disk, found.nic)),
                expected,
                "{kernels:?}"
            );
        }
    }
}
