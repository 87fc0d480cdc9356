//! The matrix of real Debian guests: each one fails on virtio as it was
//! captured, and boots there prepared, with its disks, names and addresses.
//!
//! `LIFEBOAT_MATRIX` chooses: `all`, `daily` (the default), or names with commas.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use lifeboat_drivers::{
    Disk, Format, InjectRequest, Layer, NicIdentity, PrepareReport, inspect, prepare,
};

use crate::boot::{Boot, Firmware, Hardware, Seen};
use crate::laboratory::Laboratory;
use crate::recipes::{self, Recipe};
use crate::{hash, overlay_disk};

/// What an initramfs says that finds its root no more, or its kernel.
const LOST: [&str; 6] = [
    "Gave up waiting for",
    "timeout, still waiting for following initqueue hooks",
    "Could not boot",
    "Dropping to a shell",
    "Entering emergency mode",
    "Kernel panic - not syncing",
];
/// What firmware says that found no boot loader: then no kernel was asked.
const NO_LOADER: [&str; 2] = ["No bootable option or device was found", "Shell>"];

#[test]
fn guests_of_the_matrix_boot_on_virtio_after_injection() {
    let Some(laboratory) = Laboratory::open("matrix") else {
        return;
    };
    let chosen = chosen();
    assert!(!chosen.is_empty(), "LIFEBOAT_MATRIX names no guest");
    let mut failed = Vec::new();
    for recipe in &chosen {
        let begin = Instant::now();
        let cell = std::panic::catch_unwind(|| Cell::new(&laboratory, recipe).run());
        let verdict = if cell.is_ok() { "ok" } else { "FAILED" };
        laboratory.say(&format!(
            "matrix {}: {verdict} ({}), {:.0} s",
            recipe.name(),
            recipe.values(),
            begin.elapsed().as_secs_f64()
        ));
        if cell.is_err() {
            failed.push(recipe.name());
        }
    }
    assert!(failed.is_empty(), "failed: {}", failed.join(", "));
}

fn chosen() -> Vec<Recipe> {
    let wanted = std::env::var("LIFEBOAT_MATRIX").unwrap_or_default();
    let mut all = recipes::all();
    match wanted.as_str() {
        "all" => {}
        "" | "daily" => all.retain(Recipe::is_daily),
        names => all.retain(|recipe| names.split(',').any(|name| name == recipe.name())),
    }
    all
}

/// One guest on its way.
struct Cell<'a> {
    laboratory: &'a Laboratory,
    recipe: &'a Recipe,
    bases: Vec<PathBuf>,
}

impl<'a> Cell<'a> {
    fn new(laboratory: &'a Laboratory, recipe: &'a Recipe) -> Self {
        let bases = recipe.disks(&laboratory.cache_of("matrix"));
        Self {
            laboratory,
            recipe,
            bases,
        }
    }

    fn run(&self) {
        let before: Vec<String> = self.bases.iter().map(|base| hash(base)).collect();
        self.inspected();
        let overlays = self.overlays("prepared");
        let report = self.prepare(&overlays);
        self.check_report(&report);
        self.lost_when_untouched(&overlays);
        let again = self.prepare(&overlays);
        assert_eq!(again.changes.changes, [], "a second run changes nothing");
        // With its name: what comes after the words may still be on its way when they are seen.
        let done = format!("GUEST-DONE name={}", self.recipe.name());
        self.check_booted(&self.boot(&overlays, &[&done, LOST[0], LOST[1], "Kernel panic"]));
        let after: Vec<String> = self.bases.iter().map(|base| hash(base)).collect();
        assert_eq!(before, after, "captured volumes are as they were");
    }

    fn say(&self, text: &str) {
        self.laboratory
            .say(&format!("matrix {}: {text}", self.recipe.name()));
    }

    /// Shown without anything to write to, and found to lack virtio.
    fn inspected(&self) {
        let disks: Vec<Disk> = self.bases.iter().map(|base| read_only(base)).collect();
        let folder = self.laboratory.directory("inspected");
        let report = inspect(&self.laboratory.micro_vm(), &disks, &folder).unwrap();
        assert_eq!(report.hostname, self.recipe.name());
        // A guest may have got a newer kernel beside the one that it began with.
        let kernels = report.kernels.len();
        assert!(kernels >= self.recipe.kernels(), "{kernels}");
        for kernel in &report.kernels {
            assert!(!kernel.virtio_present, "{} knows virtio", kernel.initrd);
            assert_eq!(kernel.compressor, self.recipe.compressor());
        }
        self.say(&format!("inspected, warnings: {:?}", report.warnings));
    }

    /// The firmware's memory does not travel: with UEFI the fallback loader
    /// comes from the prepared guest, so that a kernel starts, and is lost.
    fn lost_when_untouched(&self, prepared: &[PathBuf]) {
        let overlays = self.overlays("untouched");
        if self.recipe.firmware() != Firmware::Bios {
            self.laboratory
                .copy_efi_system(&self.bases[0], &prepared[0], &overlays[0]);
        }
        let texts = [&LOST[..], &NO_LOADER, &["GUEST-DONE"]].concat();
        let seen = self.boot(&overlays, &texts);
        let sign = sign_of_loss(&seen.text)
            .unwrap_or_else(|problem| panic!("{problem}:\n{}", seen.tail()));
        self.say(&format!("untouched: {sign}"));
    }

    fn overlays(&self, name: &str) -> Vec<PathBuf> {
        let numbered = self.bases.iter().enumerate();
        numbered
            .map(|(number, base)| {
                let name = format!("{}-{name}{number}", self.recipe.name());
                self.laboratory.overlay(base, &name)
            })
            .collect()
    }

    fn prepare(&self, overlays: &[PathBuf]) -> PrepareReport {
        let cards = self.recipe.cards().into_iter();
        let nics = cards.map(|(mac, address)| NicIdentity {
            mac: mac.to_owned(),
            address: address.map(|address| address.parse().unwrap()),
        });
        let request = InjectRequest {
            machine: self.recipe.name().to_owned(),
            nics: nics.collect(),
            target: Default::default(),
            root: None,
        };
        let pairs = self.bases.iter().zip(overlays);
        let disks: Vec<Disk> = pairs.map(|(base, top)| overlay_disk(base, top)).collect();
        let folder = self.laboratory.directory("prepared");
        let report = prepare(&self.laboratory.micro_vm(), &disks, &request, &folder).unwrap();
        self.say(&format!(
            "prepared in {:.2} s, {} changes, warnings: {:?}",
            report.seconds,
            report.changes.changes.len(),
            report.guest.warnings
        ));
        report
    }

    fn check_report(&self, report: &PrepareReport) {
        let broken: Vec<_> = report.verified.iter().filter(|check| !check.ok).collect();
        assert!(broken.is_empty(), "{broken:?}");
        let generator = serde_json::to_value(report.guest.kernels[0].generator).unwrap();
        assert_eq!(generator, self.recipe.generator());
    }

    fn boot(&self, overlays: &[PathBuf], until: &[&str]) -> Seen {
        let disks: Vec<&Path> = overlays.iter().map(PathBuf::as_path).collect();
        let cards = self.recipe.cards();
        let macs: Vec<&str> = cards.iter().map(|(mac, _)| *mac).collect();
        let hardware = Hardware {
            disks: &disks,
            macs: &macs,
            firmware: self.recipe.firmware(),
            memory_mib: 768,
        };
        let seen = Boot::on(&hardware).until(until);
        let console = self
            .laboratory
            .cache_of("matrix")
            .join(format!("{}.booted", self.recipe.name()));
        std::fs::write(console, &seen.text).unwrap();
        seen
    }

    fn check_booted(&self, seen: &Seen) {
        let lines: Vec<&str> = seen.text.lines().map(str::trim).collect();
        let says = |wanted: &str| {
            let found = lines.iter().any(|line| line.ends_with(wanted));
            assert!(found, "no line `{wanted}`:\n{}", seen.tail());
        };
        says(&format!("GUEST-DONE name={}", self.recipe.name()));
        for letter in ["a", "b"].iter().take(self.bases.len()) {
            says(&format!("GUEST-DISK name=vd{letter} driver=virtio_blk"));
        }
        for (name, address) in self.recipe.addresses() {
            says(&format!("GUEST-NIC name={name} address={address}"));
        }
        for name in ["enp9s0", "enp10s0"].iter().take(self.recipe.cards().len()) {
            says(&format!("GUEST-CARD name={name} driver=virtio_net"));
        }
        for (mount, kind) in self.recipe.mounts() {
            let wanted = format!("GUEST-MOUNT at={mount} kind={kind} device=");
            let found = lines.iter().any(|line| line.contains(&wanted));
            assert!(found, "no line `{wanted}`:\n{}", seen.tail());
        }
        let whole = lines
            .iter()
            .filter(|line| line.ends_with("GUEST-MIRROR state=[UU]"));
        assert_eq!(whole.count(), self.recipe.mirrors(), "{}", seen.tail());
        if self.recipe.firmware() == Firmware::Secure {
            // The kernel's own word: real-time kernels show no variables of the firmware.
            says("secureboot: Secure boot enabled");
        }
    }
}

/// The word by which a machine is lost for want of its root; that it only
/// ended proves nothing.
fn sign_of_loss(text: &str) -> Result<&'static str, &'static str> {
    if text.contains("GUEST-DONE") {
        return Err("the untouched guest boots on virtio by itself");
    }
    if NO_LOADER.iter().any(|words| text.contains(words)) {
        return Err("no boot loader was found, so no kernel was asked");
    }
    let mut signs = LOST.into_iter();
    signs
        .find(|sign| text.contains(sign))
        .ok_or("the machine ended without a word of its root")
}

#[test]
fn only_a_kernel_without_its_root_is_lost() {
    let lost = "Begin: Waiting\nGave up waiting for root file system device.  Common problems:\n";
    assert_eq!(sign_of_loss(lost), Ok(LOST[0]));
    let firmware = "BdsDxe: No bootable option or device was found.\n";
    for text in [firmware, "Shell> ", "", "GRUB loading", "GUEST-DONE name=x"] {
        sign_of_loss(text).unwrap_err();
        sign_of_loss(&format!("{text}\nKernel started")).unwrap_err();
    }
}

fn read_only(base: &Path) -> Disk {
    let layer = Layer {
        file: File::open(base).unwrap().into(),
        format: Format::Raw,
    };
    Disk {
        layers: vec![layer],
    }
}
