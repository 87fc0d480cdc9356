//! The table of guests.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::boot::Firmware;

/// One guest of the table.
#[derive(Debug, Clone)]
pub struct Recipe {
    line: String,
}

/// All guests, in the order of the table.
pub fn all() -> Vec<Recipe> {
    let text = std::fs::read_to_string(folder().join("recipes")).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines
        .map(|line| Recipe {
            line: line.to_owned(),
        })
        .collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/matrix")
}

impl Recipe {
    fn field(&self, number: usize) -> &str {
        self.line.split_whitespace().nth(number).unwrap()
    }

    pub fn name(&self) -> &str {
        self.field(0)
    }

    pub fn is_daily(&self) -> bool {
        self.field(1) == "daily"
    }

    /// All values, for people.
    pub fn values(&self) -> String {
        let fields: Vec<&str> = self.line.split_whitespace().skip(2).collect();
        fields.join(" ")
    }

    pub fn generator(&self) -> &str {
        self.field(3)
    }

    pub fn compressor(&self) -> &str {
        self.field(4)
    }

    pub fn firmware(&self) -> Firmware {
        match self.field(7) {
            "bios" => Firmware::Bios,
            "uefi" => Firmware::Uefi,
            _ => Firmware::Secure,
        }
    }

    pub fn kernels(&self) -> usize {
        if self.field(10) == "two" { 2 } else { 1 }
    }

    /// What the root filesystem is, and what else is mounted.
    pub fn mounts(&self) -> Vec<(&'static str, &'static str)> {
        let mut mounts = match self.field(5) {
            "xfs" | "mirrorlvm" => vec![("/", "xfs")],
            "btrfs" => vec![("/", "btrfs"), ("/home", "btrfs"), ("/var", "btrfs")],
            "split" => vec![("/", "ext4"), ("/boot", "ext4"), ("/usr", "ext4")],
            "lvm" | "segments" => vec![("/", "ext4"), ("/var", "ext4")],
            "mirrorboot" => vec![("/", "ext4"), ("/boot", "ext4")],
            _ => vec![("/", "ext4")],
        };
        if self.firmware() != Firmware::Bios {
            mounts.push(("/boot/efi", "vfat"));
        }
        mounts
    }

    /// How many mirrors the machine has.
    pub fn mirrors(&self) -> usize {
        match self.field(5) {
            "mirror" | "mirrorlvm" => 1,
            "mirrorboot" => 2,
            _ => 0,
        }
    }

    /// Interface and address, as the captured machine had them.
    pub fn addresses(&self) -> Vec<(&'static str, &'static str)> {
        match self.field(9) {
            "two" => vec![("enp9s0", "10.77.0.5/24"), ("enp10s0", "10.78.0.5/24")],
            "vlan" => vec![("enp9s0", "10.77.0.5/24"), ("enp9s0.10", "10.79.0.5/24")],
            "bond" => vec![("bond0", "10.77.0.5/24")],
            _ => vec![("enp9s0", "10.77.0.5/24")],
        }
    }

    /// Cards as the site's description names them: MAC address and address.
    pub fn cards(&self) -> Vec<(&'static str, Option<&'static str>)> {
        let first = "52:54:00:77:00:05";
        let second = "52:54:00:77:00:06";
        match self.field(9) {
            "two" => vec![(first, Some("10.77.0.5")), (second, Some("10.78.0.5"))],
            "bond" => vec![(first, Some("10.77.0.5")), (second, None)],
            _ => vec![(first, Some("10.77.0.5"))],
        }
    }

    /// The captured disks, built when the recipe is new.
    pub fn disks(&self, cache: &Path) -> Vec<PathBuf> {
        let built = Command::new(folder().join("build"))
            .args([cache.as_os_str(), self.name().as_ref()])
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(built.status.success(), "building {} failed", self.name());
        let directory = PathBuf::from(String::from_utf8(built.stdout).unwrap().trim());
        let disks = ["disk0.raw", "disk1.raw"].map(|name| directory.join(name));
        disks.into_iter().filter(|disk| disk.exists()).collect()
    }
}
