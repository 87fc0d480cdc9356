//! A later rebuild of an initramfs by the guest itself must keep the drivers.

use std::collections::BTreeSet;

use super::kernels::KernelImage;
use super::plan::Plan;
use super::root::Root;
use super::table_edit::Edited;
use crate::initrd::modules::ModuleTree;
use crate::initrd::supplement::{MARKER, with_assigned, with_lines};
use crate::initrd::target::rebuilt;
use crate::report::{Generator, Target};

/// Plans the configuration of every tool that built one of the images, and of
/// those whose configuration is there.
pub(super) fn plan(root: &Root, kernels: &[KernelImage], target: Target, plan: &mut Plan) {
    let modules = offered(kernels, target);
    let generators: BTreeSet<&str> = kernels
        .iter()
        .map(|kernel| match kernel.report.generator {
            Generator::InitramfsTools => "initramfs-tools",
            Generator::Dracut => "dracut",
            Generator::Mkinitcpio => "mkinitcpio",
            Generator::Mkinitrd | Generator::Unknown => "",
        })
        .collect();
    let lines = "etc/initramfs-tools/modules";
    if generators.contains("initramfs-tools") || root.exists(lines) {
        plan.edit_or_create(root, lines, |text| with_lines(text, &modules));
    }
    if generators.contains("dracut") || root.is_directory("etc/dracut.conf.d") {
        let line = format!("{MARKER}\nadd_drivers+=\" {} \"\n", modules.join(" "));
        plan.ensure(root, "etc/dracut.conf.d/90-lifeboat.conf", line.as_bytes());
    }
    for (path, variable) in [
        ("etc/mkinitcpio.conf", "MODULES"),
        ("etc/sysconfig/kernel", "INITRD_MODULES"),
    ] {
        plan.edit(root, path, |text| Edited {
            text: if text.lines().any(|line| line.starts_with(variable)) {
                with_assigned(text, variable, &modules)
            } else {
                text.to_owned()
            },
            ..Edited::default()
        });
    }
}

/// A tool may refuse to build an image with a module that it does not find.
fn offered(kernels: &[KernelImage], target: Target) -> Vec<&'static str> {
    let trees: Vec<ModuleTree> = kernels
        .iter()
        .map(|kernel| ModuleTree::parse(&kernel.texts))
        .collect();
    let mut modules = rebuilt(target);
    modules.retain(|name| trees.iter().all(|tree| tree.offers(name)));
    modules
}
