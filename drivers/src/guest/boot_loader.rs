//! Where boot loaders keep their configuration, and the edits they need.

use super::arguments::root_argument;
use super::identity::DeviceMap;
use super::root::Root;
use super::table_edit::Edited;

const GRUB_ENVIRONMENT: &str = "# GRUB Environment Block";
const GRUB_ENVIRONMENT_SIZE: usize = 1024;

/// Configuration of boot loaders, and what makes it anew.
const ARGUMENT_FILES: [&str; 28] = [
    "boot/grub/grub.cfg",
    "boot/grub/custom.cfg",
    "boot/grub/grub.conf",
    "boot/grub/menu.lst",
    "boot/grub/grubenv",
    "boot/grub2/grub.cfg",
    "boot/grub2/custom.cfg",
    "boot/grub2/grubenv",
    "boot/extlinux/extlinux.conf",
    "boot/extlinux.conf",
    "boot/syslinux/syslinux.cfg",
    "boot/syslinux.cfg",
    "boot/efi/syslinux/syslinux.cfg",
    "extlinux.conf",
    "boot/refind_linux.conf",
    "boot/limine.conf",
    "etc/default/grub",
    "etc/grub.d/40_custom",
    "etc/kernel/cmdline",
    "usr/lib/kernel/cmdline",
    "etc/sysconfig/bootloader",
    "etc/sysconfig/grub",
    "etc/default/extlinux",
    "etc/default/u-boot",
    "etc/kernel-img.conf",
    "etc/initramfs-tools/conf.d/resume",
    "etc/uswsusp.conf",
    "etc/grub.conf",
];

/// Directories of such files.
const ARGUMENT_DIRECTORIES: [&str; 6] = [
    "boot/loader/entries",
    "boot/efi/loader/entries",
    "efi/loader/entries",
    "etc/default/grub.d",
    "etc/kernel/cmdline.d",
    "etc/cmdline.d",
];

/// Entries of boot loaders are few; more is a filled directory.
const MOST_ENTRIES: usize = 200;

/// Text files that may hold `root=` or `resume=`, each once.
pub fn argument_files(root: &Root) -> Vec<String> {
    let mut files: Vec<String> = ARGUMENT_FILES.map(str::to_owned).into();
    for directory in ARGUMENT_DIRECTORIES {
        files.extend(below(root, directory));
    }
    for directory in ["boot/efi/EFI", "efi/EFI", "boot/EFI"] {
        for vendor in below(root, directory) {
            files.extend(["grub.cfg", "grubenv"].map(|name| format!("{vendor}/{name}")));
        }
    }
    // Links such as /boot/grub2/grubenv lead to files that are listed, too.
    let mut seen = std::collections::BTreeSet::new();
    files.retain_mut(|path| {
        let Ok(Some(file)) = root.open_file(path) else {
            return false;
        };
        if let Some(real) = root.real_path(&file) {
            *path = real;
        }
        seen.insert(path.clone())
    });
    files
}

/// What the guest itself calls its root.
pub fn name_of_root(root: &Root) -> Option<String> {
    let fstab = root.text("etc/fstab");
    let mut lines = fstab.lines().map(str::split_whitespace);
    let by_fstab = lines.find_map(|mut fields| {
        let device = fields.next().filter(|device| !device.starts_with('#'))?;
        (fields.next()? == "/").then(|| device.to_owned())
    });
    let written = || written_root(root);
    by_fstab
        .filter(|name| super::identity::is_volatile(name))
        .or_else(written)
}

fn below(root: &Root, directory: &str) -> Vec<String> {
    root.list(directory)
        .into_iter()
        .take(MOST_ENTRIES)
        .map(|(name, _)| format!("{directory}/{name}"))
        .collect()
}

/// `root=` as the boot loader's own configuration says it.
pub fn written_root(root: &Root) -> Option<String> {
    argument_files(root)
        .iter()
        .find_map(|path| root_argument(&root.text(path)))
}

/// The edit of one such file; GRUB's environment block keeps its exact size.
pub fn edit(map: &DeviceMap, text: &str) -> Edited {
    let mut edited = map.edit_arguments(text);
    if !text.starts_with(GRUB_ENVIRONMENT) || edited.text == text {
        return edited;
    }
    let body = edited.text.trim_end_matches('#').to_owned();
    if body.len() > GRUB_ENVIRONMENT_SIZE {
        edited
            .left
            .push("the GRUB environment block is full".to_owned());
        edited.text = text.to_owned();
    } else {
        let padding = "#".repeat(GRUB_ENVIRONMENT_SIZE - body.len());
        edited.text = body + &padding;
    }
    edited
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Partition;

    #[test]
    fn the_environment_block_keeps_its_size() {
        let partitions = [Partition {
            number: 1,
            uuid: Some("a-b".into()),
            ..Partition::default()
        }];
        let map = DeviceMap::new(&partitions, (0, 1));
        let mut text = format!("{GRUB_ENVIRONMENT}\nkernelopts=root=/dev/sda1 ro\n");
        text.push_str(&"#".repeat(GRUB_ENVIRONMENT_SIZE - text.len()));
        let edited = edit(&map, &text);
        assert_eq!(edited.text.len(), GRUB_ENVIRONMENT_SIZE);
        assert!(edited.text.contains("kernelopts=root=UUID=a-b ro\n####"));
    }
}
