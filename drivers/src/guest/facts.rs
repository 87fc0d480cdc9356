//! Small facts of a guest: what it is, what it is called, what it starts.

use std::collections::BTreeMap;

use super::root::{EntryKind, Root};
use crate::report::OperatingSystem;

/// More is a filled directory.
const MOST_UNITS: usize = 10_000;
const MOST_PACKAGES: usize = 100_000;

/// What a root has of its own, `/usr` being another filesystem. Links count
/// wherever they lead: `os-release` is one into `/usr`.
const SIGNS_OF_A_ROOT: [&str; 7] = [
    "etc/os-release",
    "usr/lib/os-release",
    "etc/system-release",
    "etc/redhat-release",
    "etc/SuSE-release",
    "etc/debian_version",
    "sbin/init",
];

/// Systems from before `os-release`: the file that says the release, what the
/// system is where the text does not begin with that, and its name.
const OLD_RELEASES: [(&str, &str, &str); 3] = [
    ("etc/redhat-release", "", ""),
    ("etc/SuSE-release", "sles", ""),
    ("etc/debian_version", "debian", "Debian "),
];

/// Whether this is the root of a Linux system, before anything else of the
/// system is mounted on it.
pub fn looks_like_root(root: &Root) -> bool {
    let there = |path: &str| root.exists(path) || root.link_target(path).is_some();
    let has_tables = root.exists("etc/fstab");
    let has_modules = root.is_directory("etc") && root.exists("lib/modules");
    has_tables && SIGNS_OF_A_ROOT.into_iter().any(there)
        || has_modules && operating_system(root).is_some()
}

/// Reads `os-release`, or what was there before it; nothing where the guest
/// does not say what it is.
pub fn operating_system(root: &Root) -> Option<OperatingSystem> {
    let text = ["etc/os-release", "usr/lib/os-release"]
        .into_iter()
        .map(|path| root.text(path))
        .find(|text| !text.is_empty());
    let Some(text) = text else {
        return OLD_RELEASES.iter().find_map(|old| old_release(root, old));
    };
    let values = shell_assignments(&text);
    let value = |key: &str| values.get(key).cloned().unwrap_or_default();
    Some(OperatingSystem {
        id: value("ID"),
        version_id: value("VERSION_ID"),
        pretty_name: value("PRETTY_NAME"),
    })
}

/// What the system is called, and what it descends from, as directories of
/// boot loaders are named: the nearest first.
pub fn kinship(root: &Root) -> Vec<String> {
    let id = operating_system(root).unwrap_or_default().id;
    let mut names = match id.as_str() {
        "" => Vec::new(),
        // The vendor gave its own name.
        "rhel" | "ol" => vec![id.clone(), "redhat".to_owned()],
        _ => vec![id.clone()],
    };
    let values = shell_assignments(&root.text("etc/os-release"));
    let like = values
        .get("ID_LIKE")
        .map(String::as_str)
        .unwrap_or_default();
    names.extend(like.split_whitespace().map(str::to_owned));
    names
}

fn old_release(root: &Root, (path, id, name): &(&str, &str, &str)) -> Option<OperatingSystem> {
    let text = root.text(path);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    let mut words = line.split_whitespace();
    let id = match *id {
        "" if line.starts_with("Red Hat Enterprise") => "rhel",
        "" => words.next()?,
        id => id,
    };
    let is_number = |word: &&str| word.starts_with(|letter: char| letter.is_ascii_digit());
    Some(OperatingSystem {
        id: id.to_ascii_lowercase(),
        version_id: line
            .split_whitespace()
            .find(is_number)
            .unwrap_or_default()
            .to_owned(),
        pretty_name: format!("{name}{line}"),
    })
}

/// `KEY=value` lines with optional quotes, as in `os-release` and `ifcfg` files.
pub fn shell_assignments(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.trim().split_once('='))
        .filter(|(key, _)| !key.starts_with('#'))
        .map(|(key, value)| {
            let value = value.trim().trim_matches(['"', '\'']);
            (key.trim().to_owned(), value.to_owned())
        })
        .collect()
}

/// The host name.
pub fn hostname(root: &Root) -> String {
    let text = root.text("etc/hostname");
    let name = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'));
    name.unwrap_or_default().to_owned()
}

/// Enabled units as `target.wants/unit`, and units masked by `/dev/null`.
pub fn units(root: &Root) -> (Vec<String>, Vec<String>) {
    let directory = "etc/systemd/system";
    let mut enabled = Vec::new();
    let mut masked = Vec::new();
    for (name, kind) in root.list(directory) {
        let path = format!("{directory}/{name}");
        let wants = name.ends_with(".wants") || name.ends_with(".requires");
        if kind == EntryKind::Directory && wants {
            enabled.extend(
                root.list(&path)
                    .into_iter()
                    .take(MOST_UNITS.saturating_sub(enabled.len()))
                    .map(|(unit, _)| format!("{name}/{unit}")),
            );
        } else if kind == EntryKind::Symlink
            && root.link_target(&path).as_deref() == Some("/dev/null")
        {
            masked.push(name);
        }
    }
    masked.truncate(MOST_UNITS);
    (enabled, masked)
}

/// Installed packages by dpkg's own list.
pub fn packages(root: &Root) -> Vec<String> {
    let status = root.text_of("var/lib/dpkg/status", 32 << 20);
    let mut names = Vec::new();
    let mut name = "";
    for line in status.lines() {
        if let Some(value) = line.strip_prefix("Package: ") {
            name = value.trim();
        } else if line.starts_with("Status: ") && line.ends_with(" installed") {
            names.push(name.to_owned());
        }
    }
    names.truncate(MOST_PACKAGES);
    names
}

/// Whether cloud-init would rewrite the network configuration.
pub fn has_cloud_init(root: &Root) -> bool {
    root.exists("etc/cloud/cloud.cfg") && !root.exists("etc/cloud/cloud-init.disabled")
}

/// What the guest's programs are built for, when it is not x86-64.
pub fn foreign_architecture(root: &Root) -> Option<String> {
    let programs = ["usr/lib/systemd/systemd", "sbin/init", "bin/sh", "bin/bash"];
    let head = programs.into_iter().find_map(|path| {
        let mut head = [0u8; 20];
        let mut file = root.open_file(path).ok()??;
        std::io::Read::read_exact(&mut file, &mut head).ok()?;
        Some(head)
    })?;
    let machine = u16::from_le_bytes([head[18], head[19]]);
    match (&head[..4], machine) {
        (b"\x7fELF", 62) => None,
        (b"\x7fELF", 3) => Some("32-bit x86".to_owned()),
        (b"\x7fELF", 183) => Some("64-bit ARM".to_owned()),
        (b"\x7fELF", other) => Some(format!("ELF machine {other}")),
        _ => None,
    }
}

/// What the guest's firmware must be, when it is none that is offered: loaders
/// for 32-bit UEFI only.
pub fn foreign_firmware(root: &Root) -> Option<String> {
    let mut known = Vec::new();
    for mount in ["boot/efi/EFI", "efi/EFI", "boot/EFI"] {
        for (vendor, _) in root.list(mount).into_iter().take(MOST_UNITS) {
            let names = root.list(&format!("{mount}/{vendor}")).into_iter();
            known.extend(
                names
                    .map(|(name, _)| name.to_ascii_lowercase())
                    .take(MOST_UNITS),
            );
        }
    }
    let any = |ending: &str| known.iter().any(|name| name.ends_with(ending));
    (any("ia32.efi") && !any("x64.efi")).then(|| "32-bit UEFI".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_a_small_guest() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        assert_eq!(operating_system(&root), None);
        root.write("usr/lib/os-release", b"ID=debian\nVERSION_ID=\"12\"\n# x\n")
            .unwrap();
        root.symlink("../usr/lib/os-release", "etc/os-release")
            .unwrap();
        root.write("etc/hostname", b"# name\nweb1\n").unwrap();
        root.symlink("/dev/null", "etc/systemd/system/bad.service")
            .unwrap();
        root.symlink(
            "/lib/x",
            "etc/systemd/system/multi-user.target.wants/good.service",
        )
        .unwrap();
        let status = "Package: a\nStatus: install ok installed\n\nPackage: b\nStatus: deinstall ok config-files\n";
        root.write("var/lib/dpkg/status", status.as_bytes())
            .unwrap();
        let system = operating_system(&root).unwrap();
        assert_eq!(
            (system.id.as_str(), system.version_id.as_str()),
            ("debian", "12")
        );
        assert_eq!(hostname(&root), "web1");
        let (enabled, masked) = units(&root);
        assert_eq!(enabled, ["multi-user.target.wants/good.service"]);
        assert_eq!(masked, ["bad.service"]);
        assert_eq!(packages(&root), ["a"]);
    }

    fn guest(files: &[&str], links: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        for path in files {
            root.write(path, b"6.10\n").unwrap();
        }
        for (path, target) in links {
            root.symlink(target, path).unwrap();
        }
        (directory, root)
    }

    #[test]
    fn a_root_is_known_before_the_rest_is_mounted() {
        let check = |files: &[&str], links: &[(&str, &str)], expected: bool| {
            let (_directory, root) = guest(files, links);
            assert_eq!(looks_like_root(&root), expected, "{files:?} {links:?}");
        };
        let os_release = ("etc/os-release", "../usr/lib/os-release");
        let library = ("lib", "usr/lib");
        // `/usr` is a filesystem of its own: both links lead to nothing yet.
        check(&["etc/fstab"], &[os_release, library], true);
        check(&["etc/fstab"], &[library], false);
        // What there was before os-release.
        for sign in ["etc/redhat-release", "etc/SuSE-release", "sbin/init"] {
            check(&["etc/fstab", sign], &[], true);
        }
        // Without fstab, the partitions' types say what is mounted.
        check(&["etc/os-release", "lib/modules/6/modules.dep"], &[], true);
        check(&["etc/os-release"], &[], false);
        check(&["sbin/init", "lib/modules/6/modules.dep"], &[], false);
        // `/usr` itself, and data.
        check(&["lib/os-release", "lib/modules/6/x", "etc/x"], &[], false);
        check(&["x"], &[], false);
    }

    #[test]
    fn systems_from_before_os_release() {
        for (path, text, expected) in [
            (
                "etc/redhat-release",
                "CentOS release 6.10 (Final)\n",
                ["centos", "6.10", "CentOS release 6.10 (Final)"],
            ),
            (
                "etc/redhat-release",
                "Red Hat Enterprise Linux Server release 6.9 (Santiago)\n",
                [
                    "rhel",
                    "6.9",
                    "Red Hat Enterprise Linux Server release 6.9 (Santiago)",
                ],
            ),
            (
                "etc/SuSE-release",
                "SUSE Linux Enterprise Server 11 (x86_64)\nVERSION = 11\n",
                ["sles", "11", "SUSE Linux Enterprise Server 11 (x86_64)"],
            ),
            (
                "etc/debian_version",
                "6.0.10\n",
                ["debian", "6.0.10", "Debian 6.0.10"],
            ),
        ] {
            let (_directory, root) = guest(&[], &[]);
            root.write(path, text.as_bytes()).unwrap();
            let system = operating_system(&root).unwrap();
            assert_eq!(
                [&*system.id, &*system.version_id, &*system.pretty_name],
                expected
            );
        }
    }

    #[test]
    fn loaders_for_32_bit_firmware_only() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        assert_eq!(foreign_firmware(&root), None);
        root.write("boot/efi/EFI/BOOT/BOOTIA32.EFI", b"").unwrap();
        assert_eq!(foreign_firmware(&root).as_deref(), Some("32-bit UEFI"));
        root.write("boot/efi/EFI/debian/grubx64.efi", b"").unwrap();
        assert_eq!(foreign_firmware(&root), None);
    }

    #[test]
    fn architecture_is_read_from_a_program() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        let mut program = b"\x7fELF".to_vec();
        program.resize(18, 0);
        program.extend_from_slice(&183u16.to_le_bytes());
        root.write("bin/sh", &program).unwrap();
        assert_eq!(foreign_architecture(&root).as_deref(), Some("64-bit ARM"));
        program[18..].copy_from_slice(&62u16.to_le_bytes());
        root.write("bin/sh", &program).unwrap();
        assert_eq!(foreign_architecture(&root), None);
    }
}
