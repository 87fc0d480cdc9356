//! The guest's installed kernels: their releases, and what is built into them.

use super::root::Root;
use crate::initrd::modules::IndexTexts;

/// No machine has more kernels installed.
const MOST_KERNELS: usize = 200;
const LARGEST_INDEX: u64 = 16 << 20;
/// Those that become a tree of names, which takes many times as much memory.
const LARGEST_TREE: u64 = 4 << 20;
const INDEXES: [&str; 6] = [
    "modules.dep",
    "modules.alias",
    "modules.symbols",
    "modules.softdep",
    "modules.devname",
    "modules.builtin",
];

/// Options of a kernel's configuration and the modules they stand for: kernels
/// before 2.6.33 have no list of what is built in.
const OPTIONS: [(&str, &str); 10] = [
    ("CONFIG_VIRTIO", "virtio"),
    ("CONFIG_VIRTIO_RING", "virtio_ring"),
    ("CONFIG_VIRTIO_PCI", "virtio_pci"),
    ("CONFIG_VIRTIO_BLK", "virtio_blk"),
    ("CONFIG_SCSI_VIRTIO", "virtio_scsi"),
    ("CONFIG_VIRTIO_NET", "virtio_net"),
    ("CONFIG_BLK_DEV_SD", "sd_mod"),
    ("CONFIG_SATA_AHCI", "ahci"),
    ("CONFIG_BLK_DEV_NVME", "nvme"),
    ("CONFIG_E1000E", "e1000e"),
];

/// Releases with a module directory.
pub fn versions(root: &Root) -> Vec<String> {
    let names = root.list("lib/modules").into_iter().map(|(name, _)| name);
    names
        .filter(|name| is_release(name))
        .filter(|name| root.exists(&format!("lib/modules/{name}/modules.dep")))
        .take(MOST_KERNELS)
        .collect()
}

/// Whether a name can be a kernel's release.
pub fn is_release(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+~-".contains(&byte);
    (1..=128).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('.')
}

/// The release that an image belongs to: its name decides where it can, then
/// the package it is named for, then what the image holds.
pub fn version_of(
    root: &Root,
    path: &str,
    inside: &[String],
    versions: &[String],
) -> Option<String> {
    let known = |name: &str| versions.iter().find(|version| *version == name).cloned();
    let mut parts = path.rsplit('/');
    let name = parts.next().unwrap_or_default();
    let by_name = known(release_in(name)).or_else(|| parts.find_map(known));
    by_name
        .or_else(|| by_package(root, release_in(name), versions))
        .or_else(|| inside.iter().find_map(|version| known(version)))
}

/// Whether the name of an initramfs says that it is for a kernel.
pub fn is_named_for(path: &str, version: &str) -> bool {
    let mut parts = path.rsplit('/');
    let name = parts.next().unwrap_or_default();
    release_in(name) == version || parts.any(|part| part == version)
}

/// `initramfs-6.1.img` is for `6.1`.
fn release_in(name: &str) -> &str {
    let prefixes = ["initrd.img-", "initramfs-", "initrd-"];
    let rest = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix));
    let rest = rest.unwrap_or(name);
    let rest = [".img.old", ".img", ".gz", ".old"]
        .iter()
        .find_map(|ending| rest.strip_suffix(ending))
        .unwrap_or(rest);
    rest.strip_suffix("-fallback").unwrap_or(rest)
}

/// Arch names images for the package of the kernel.
fn by_package(root: &Root, package: &str, versions: &[String]) -> Option<String> {
    let mut all = versions.iter();
    all.find(|version| root.text(&format!("lib/modules/{version}/pkgbase")).trim() == package)
        .cloned()
}

/// Whether a kernel runs on Xen's own hypercalls only, as SUSE's `kernel-xen`,
/// RHEL 5's `el5xen` and Debian's old `-xen-` kernels do.
pub fn is_xen_only(root: &Root, version: &str) -> bool {
    let configuration = configuration(root, version);
    let forward_port = configuration
        .lines()
        .any(|line| matches!(line, "CONFIG_X86_XEN=y" | "CONFIG_X86_64_XEN=y"));
    let parts = ["xen", "xenU", "xen0", "xenpae"];
    let by_name = version.split('-').any(|part| parts.contains(&part))
        || version.ends_with("el5xen")
        || version.ends_with("xenU");
    forward_port || by_name
}

fn configuration(root: &Root, version: &str) -> String {
    let places = ["boot/config-", "lib/modules/"].map(|place| format!("{place}{version}"));
    let text = root.text(&places[0]);
    if text.is_empty() {
        root.text(&format!("{}/config", places[1]))
    } else {
        text
    }
}

fn largest_index(name: &str) -> u64 {
    match name {
        "modules.dep" | "modules.builtin" => LARGEST_TREE,
        _ => LARGEST_INDEX,
    }
}

/// How much [`index_texts`] reads, in bytes.
pub fn index_size(root: &Root, version: &str) -> u64 {
    let sizes = INDEXES.iter().filter_map(|name| {
        let size = root.size(&format!("lib/modules/{version}/{name}"));
        let size = size.ok().flatten()?;
        (size <= largest_index(name)).then_some(size)
    });
    sizes.sum()
}

/// The indexes of a kernel's modules.
pub fn index_texts(root: &Root, version: &str) -> IndexTexts {
    let text = |name: &str| {
        let path = format!("lib/modules/{version}/{name}");
        root.text_of(&path, largest_index(name))
    };
    let mut builtin = text("modules.builtin");
    if builtin.is_empty() {
        builtin = built_in_by_configuration(&configuration(root, version));
    }
    IndexTexts {
        dep: text("modules.dep"),
        alias: text("modules.alias"),
        symbols: text("modules.symbols"),
        softdep: text("modules.softdep"),
        devname: text("modules.devname"),
        builtin,
    }
}

fn built_in_by_configuration(text: &str) -> String {
    let options = text.lines().filter_map(|line| line.strip_suffix("=y"));
    let modules = options.filter_map(|option| {
        let mut known = OPTIONS.iter();
        known.find(|(name, _)| *name == option)
    });
    modules
        .map(|(_, module)| format!("{module}.ko\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_belongs_to_a_kernel() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        for (version, package) in [("6.10.1-arch1-1", "linux"), ("6.6.9-1-lts", "linux-lts")] {
            let path = format!("lib/modules/{version}/pkgbase");
            root.write(&path, format!("{package}\n").as_bytes())
                .unwrap();
        }
        let versions = [
            "5.4.0-1",
            "5.4.0-1-default",
            "6.10.1-arch1-1",
            "6.6.9-1-lts",
        ]
        .map(str::to_owned);
        let inside = ["5.4.0-1-default".to_owned()];
        let cases = [
            ("boot/initrd.img-5.4.0-1", Some("5.4.0-1")),
            ("boot/initrd-5.4.0-1-default", Some("5.4.0-1-default")),
            ("boot/initramfs-5.4.0-1.img", Some("5.4.0-1")),
            ("boot/initramfs-linux.img", Some("6.10.1-arch1-1")),
            ("boot/initramfs-linux-fallback.img", Some("6.10.1-arch1-1")),
            ("boot/initramfs-linux-lts.img", Some("6.6.9-1-lts")),
            ("boot/efi/0123/5.4.0-1/initrd", Some("5.4.0-1")),
            // A longer name is another kernel, not one that it contains.
            ("boot/initrd.img-5.4.0-10", None),
        ];
        for (path, expected) in cases {
            let found = version_of(&root, path, &[], &versions);
            assert_eq!(found.as_deref(), expected, "{path}");
        }
        let rescue = "boot/initramfs-0-rescue-0123.img";
        let found = version_of(&root, rescue, &inside, &versions);
        assert_eq!(found.as_deref(), Some("5.4.0-1-default"));
    }

    #[test]
    fn kernels_for_xen_only() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        for (version, expected) in [
            ("3.0.101-63-xen", true),
            ("2.6.18-398.el5xen", true),
            ("2.6.26-2-xen-amd64", true),
            ("2.6.18-6-xenU", true),
            ("6.1.0-1-amd64", false),
            ("5.10.0-xenial", false),
        ] {
            assert_eq!(is_xen_only(&root, version), expected, "{version}");
        }
        root.write("boot/config-2.6.32", b"CONFIG_XEN=y\nCONFIG_X86_64_XEN=y\n")
            .unwrap();
        assert!(is_xen_only(&root, "2.6.32"));
        root.write("boot/config-6.1.0", b"CONFIG_XEN=y\nCONFIG_XEN_PV=y\n")
            .unwrap();
        assert!(!is_xen_only(&root, "6.1.0"));
    }

    #[test]
    fn what_is_built_in_is_read_from_the_configuration_of_old_kernels() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        let text = b"CONFIG_VIRTIO_BLK=y\nCONFIG_VIRTIO_NET=m\n# CONFIG_E1000E is not set\nCONFIG_SATA_AHCI=y\n";
        root.write("boot/config-2.6.32", text).unwrap();
        assert_eq!(
            index_texts(&root, "2.6.32").builtin,
            "virtio_blk.ko\nahci.ko\n"
        );
    }
}
