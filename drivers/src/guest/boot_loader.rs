//! Where boot loaders keep their configuration, and the edits they need.

use super::identity::{DeviceMap, Edited, root_argument};
use super::root::Root;

const GRUB_ENVIRONMENT: &str = "# GRUB Environment Block";
const GRUB_ENVIRONMENT_SIZE: usize = 1024;

/// Text files that may hold `root=` or `resume=`.
pub fn argument_files(root: &Root) -> Vec<String> {
    let fixed = [
        "boot/grub/grub.cfg",
        "boot/grub2/grub.cfg",
        "boot/grub/grub.conf",
        "boot/grub/menu.lst",
        "boot/grub/grubenv",
        "boot/grub2/grubenv",
        "boot/extlinux/extlinux.conf",
        "boot/syslinux/syslinux.cfg",
        "etc/default/grub",
        "etc/kernel/cmdline",
        "etc/initramfs-tools/conf.d/resume",
    ];
    let mut files: Vec<String> = fixed.iter().map(|path| (*path).to_owned()).collect();
    for directory in [
        "boot/loader/entries",
        "boot/efi/loader/entries",
        "etc/default/grub.d",
    ] {
        files.extend(below(root, directory));
    }
    for vendor in below(root, "boot/efi/EFI") {
        files.push(format!("{vendor}/grub.cfg"));
    }
    files.retain(|path| root.exists(path));
    files
}

fn below(root: &Root, directory: &str) -> Vec<String> {
    root.list(directory)
        .into_iter()
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
