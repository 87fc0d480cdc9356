//! Which modules a guest needs for which virtual hardware.

use std::collections::BTreeSet;

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
    let mut seen = BTreeSet::new();
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
    names.push(target.nic.linux_driver());
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

/// The modules that a later rebuild by the guest itself must include.
pub fn rebuilt(target: Target) -> Vec<&'static str> {
    let mut names = essential(target);
    if names.contains(&"virtio_blk") {
        names.push("virtio_scsi");
    }
    names
}

/// What one kernel can boot on.
pub struct Drivers<'a> {
    /// The modules of the kernel.
    pub tree: &'a ModuleTree,
    /// The modules in its initramfs, by name, where nothing can be added to it.
    pub fixed: Option<BTreeSet<String>>,
}

impl Drivers<'_> {
    /// The first module without which the root cannot be mounted.
    pub fn lacking(&self, disk: Bus) -> Option<&'static str> {
        let virtio = matches!(disk, Bus::VirtioBlk | Bus::VirtioScsi);
        let mut names = virtio
            .then_some("virtio_pci")
            .into_iter()
            .chain(disk_modules(disk).iter().copied());
        names.find(|name| match &self.fixed {
            None => !self.tree.offers(name),
            Some(present) => !self.tree.builtin.contains(*name) && !self.is_whole(name, present),
        })
    }

    /// Whether a module is present with all that it needs.
    fn is_whole(&self, name: &str, present: &BTreeSet<String>) -> bool {
        let needs = self.tree.modules.get(name).map(|module| &module.needs);
        let mut needs = needs.into_iter().flatten();
        present.contains(name)
            && needs.all(|need| present.contains(need) || self.tree.builtin.contains(need))
    }

    /// Cards are needed after the root is mounted only.
    fn drives(&self, model: NicModel) -> bool {
        let virtio = (model == NicModel::Virtio).then_some("virtio_pci");
        let mut names = virtio.into_iter().chain([model.linux_driver()]);
        names.all(|name| self.tree.offers(name))
    }
}

/// Hardware that every one of these kernels has drivers for, the best first.
pub fn fallback(kernels: &[Drivers], reason: String) -> Option<Fallback> {
    let disks = [Bus::VirtioBlk, Bus::Ahci, Bus::Nvme];
    let disk = disks
        .into_iter()
        .find(|bus| kernels.iter().all(|kernel| kernel.lacking(*bus).is_none()))?;
    let nics = [NicModel::Virtio, NicModel::E1000e];
    let nic = nics
        .into_iter()
        .find(|model| kernels.iter().all(|kernel| kernel.drives(*model)))?;
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
            let drivers = trees.iter().map(|tree| Drivers { tree, fixed: None });
            let found = fallback(&drivers.collect::<Vec<_>>(), String::new());
            assert_eq!(
                found.map(|found| (found.disk, found.nic)),
                expected,
                "{kernels:?}"
            );
        }
    }
}
