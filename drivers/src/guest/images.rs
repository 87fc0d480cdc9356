//! Where a guest keeps its initramfs images, kernels and unified kernel images.

use std::collections::BTreeSet;

use super::boot_loader;
use super::config_text::ConfigText;
use super::root::{EntryKind, Root};

/// No machine keeps more images than this.
const MOST_IMAGES: usize = 128;
/// Where the partitions of boot loaders are mounted.
const BOOT_DIRECTORIES: [&str; 3] = ["boot", "boot/efi", "efi"];

/// All initramfs images: rescue images and those only a boot loader names too.
pub fn initramfs_images(root: &Root) -> Vec<String> {
    let mut found = Vec::new();
    for directory in BOOT_DIRECTORIES {
        for (name, kind) in root.list(directory) {
            let path = format!("{directory}/{name}");
            match kind {
                EntryKind::File if is_initrd_name(&name) => found.push(path),
                EntryKind::Directory if is_entry_token(root, &path, &name) => {
                    found.extend(below_entry_token(root, &path));
                }
                _ => {}
            }
        }
    }
    found.extend(named_by_boot_loaders(root));
    once_each(root, found)
}

/// Unified kernel images.
pub fn unified_images(root: &Root) -> Vec<String> {
    let mut found = Vec::new();
    for directory in BOOT_DIRECTORIES {
        let linux = format!("{directory}/EFI/Linux");
        let names = root.list(&linux).into_iter();
        let names = names.filter(|(name, _)| name.to_ascii_lowercase().ends_with(".efi"));
        found.extend(names.map(|(name, _)| format!("{linux}/{name}")));
        found.push(format!("{directory}/EFI/BOOT/BOOTX64.EFI"));
    }
    once_each(root, found)
}

/// Kernels in /boot with their versions.
pub fn kernels(root: &Root) -> Vec<(String, String)> {
    let names = root.list("boot").into_iter();
    let versions = names.filter(|(_, kind)| *kind == EntryKind::File);
    let mut found = versions.filter_map(|(name, _)| {
        let prefixes = ["vmlinuz-", "vmlinux-", "kernel-", "bzImage-"];
        let version = prefixes
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix))?;
        Some((format!("boot/{name}"), version.to_owned()))
    });
    found.by_ref().take(MOST_IMAGES).collect()
}

/// One path for each file: a second name of the same file, by a link of either
/// kind, would have it extended twice.
fn once_each(root: &Root, paths: Vec<String>) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for path in paths {
        let Ok(Some(file)) = root.open_file(&path) else {
            continue;
        };
        let Ok(data) = file.metadata() else { continue };
        if seen.insert((data.dev(), data.ino())) && found.len() < MOST_IMAGES {
            found.push(root.real_path(&file).unwrap_or(path));
        }
    }
    found
}

/// A directory of boot loader entries: `/boot/TOKEN/VERSION/initrd`.
fn is_entry_token(root: &Root, path: &str, name: &str) -> bool {
    let machine_id = name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    machine_id || root.text("etc/kernel/entry-token").trim() == name && root.is_directory(path)
}

fn below_entry_token(root: &Root, directory: &str) -> Vec<String> {
    let versions = root.list(directory).into_iter().take(MOST_IMAGES);
    let versions = versions.map(|(name, _)| format!("{directory}/{name}"));
    versions
        .flat_map(|version| {
            let names = root.list(&version).into_iter().map(|(name, _)| name);
            let names: Vec<String> = names.filter(|name| is_initrd_name(name)).collect();
            names
                .into_iter()
                .map(move |name| format!("{version}/{name}"))
        })
        .collect()
}

/// Crash-dump images are left alone: they run beside the kernel that crashed.
fn is_initrd_name(name: &str) -> bool {
    let begins = name.starts_with("initrd") || name.starts_with("initramfs-");
    let other = [".old-dkms", ".dpkg-bak", ".bak", "kdump", ".sha256", ".sig"];
    begins && !other.iter().any(|part| name.contains(part))
}

fn named_by_boot_loaders(root: &Root) -> Vec<String> {
    let mut found = Vec::new();
    for path in boot_loader::argument_files(root) {
        let Ok(Some(file)) = ConfigText::read(root, &path) else {
            continue;
        };
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        for named in initrds_in(&file.text) {
            if found.len() >= MOST_IMAGES {
                return found;
            }
            found.extend(resolve(root, directory, named));
        }
    }
    found
}

/// What lines such as `initrd /initramfs-linux.img` and `APPEND initrd=x` name.
fn initrds_in(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| {
        let mut words = line.split_whitespace();
        let keyword = words.next().unwrap_or_default();
        let whole = ["initrd", "initrd16", "initrdefi"]
            .iter()
            .any(|known| keyword.eq_ignore_ascii_case(known));
        let values = words.flat_map(move |word| {
            let value = if whole {
                Some(word)
            } else {
                word.strip_prefix("initrd=")
            };
            value.into_iter().flat_map(|value| value.split(','))
        });
        values.filter(|name| !name.is_empty() && !name.contains("ucode"))
    })
}

/// Boot loaders count paths from their own filesystem.
fn resolve(root: &Root, directory: &str, named: &str) -> Option<String> {
    // `(hd0,1)/initrd` and `($root)/initrd`.
    let named = named.strip_prefix('(').map_or(named, |rest| {
        rest.split_once(')').map_or(named, |(_, path)| path)
    });
    let backslashes = named.replace('\\', "/");
    let path = backslashes.trim_start_matches('/');
    // The name of a btrfs subvolume that is the root.
    let inner = path.strip_prefix("@/").unwrap_or(path);
    let mut places = vec![
        format!("boot/{path}"),
        format!("boot/efi/{path}"),
        format!("efi/{path}"),
        path.to_owned(),
        inner.to_owned(),
    ];
    if !named.starts_with('/') {
        places.insert(0, format!("{directory}/{path}"));
    }
    places
        .into_iter()
        .find(|place| matches!(root.open_file(place), Ok(Some(_))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        for (path, content) in files {
            root.write(path, content.as_bytes()).unwrap();
        }
        (directory, root)
    }

    #[test]
    fn images_lie_in_many_places() {
        let machine = "0123456789abcdef0123456789abcdef";
        let (directory, root) = guest(&[
            ("boot/initrd.img-6.1", ""),
            ("boot/initramfs-5.14.0.img", ""),
            ("boot/initramfs-5.14.0kdump.img", ""),
            ("boot/initrd-6.4-default", ""),
            (&format!("boot/efi/{machine}/6.9/initrd"), ""),
            ("etc/kernel/entry-token", "arch\n"),
            ("efi/arch/6.10/initrd", ""),
            ("efi/other/6.10/initrd", ""),
            (
                "boot/loader/entries/a.conf",
                "title A\ninitrd /amd-ucode.img\ninitrd /own/image.img\n",
            ),
            ("boot/own/image.img", ""),
            ("boot/amd-ucode.img", ""),
            (
                "boot/extlinux/extlinux.conf",
                "LINUX ../vmlinuz\nAPPEND root=UUID=1 initrd=../syslinux.gz ro\n",
            ),
            ("boot/syslinux.gz", ""),
            (
                "boot/grub/menu.lst",
                "initrd (hd0,0)/old.img\ninitrd /../../../../etc/passwd\n",
            ),
            ("boot/old.img", ""),
        ]);
        root.symlink("initrd.img-6.1", "boot/initrd.img").unwrap();
        std::fs::hard_link(
            directory.path().join("boot/old.img"),
            directory.path().join("boot/initrd-again"),
        )
        .unwrap();
        let expected = [
            "boot/initramfs-5.14.0.img",
            "boot/initrd-6.4-default",
            "boot/initrd-again",
            "boot/initrd.img-6.1",
            "boot/efi/0123456789abcdef0123456789abcdef/6.9/initrd",
            "efi/arch/6.10/initrd",
            "boot/syslinux.gz",
            "boot/own/image.img",
        ];
        let mut found = initramfs_images(&root);
        found.sort();
        let mut expected = expected.map(str::to_owned);
        expected.sort();
        assert_eq!(found, expected);
    }
}
