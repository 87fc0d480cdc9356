//! Injection as one command, without daemon and libvirt: into overlays over
//! disks that stay untouched, or into a disk that arrives as a stream.
//!
//! Everything is made in a scratch folder beside its place and moved there in
//! one step, after it was verified and is on the medium. So there is nothing or
//! everything under a final name, whenever this process is killed.

mod stream;

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;
use lifeboat_drivers::{Check, Disk, InjectRequest, Layer, Manifest, PrepareReport};
use lifeboat_images::CapturedVolume;
use serde::{Deserialize, Serialize};

use crate::confined;
use crate::daemon::WrongUse;
use crate::events::Events;
use crate::host::Host;
use crate::prepare;
use crate::scratch::Scratch;
use crate::session::making::replace_file;

/// Where the disks of one machine come from, and where the result goes.
#[derive(Debug, Clone)]
pub enum Way {
    /// Overlays over disks that stay untouched: a file over one disk, a new
    /// folder of `disk-0.qcow2` and on over several, in hardware order.
    Overlay {
        /// The disks.
        disks: Vec<PathBuf>,
        /// The file or folder to make.
        overlay: PathBuf,
    },
    /// The same, shown and thrown away.
    DryRun {
        /// The disks.
        disks: Vec<PathBuf>,
    },
    /// One disk from standard input, written once, and injected.
    Stream {
        /// The file to make: a raw or qcow2 disk.
        output: PathBuf,
        /// An overlay to inject into, so that the file is what came.
        overlay: Option<PathBuf>,
    },
}

/// What one disk was made from, and what was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InjectedDisk {
    /// The captured disk; none when the stream itself was injected into.
    pub source: Option<PathBuf>,
    /// What holds the changes; none after a dry run.
    pub written: Option<PathBuf>,
}

/// The record of one injection, kept outside of the disks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Injection {
    /// Version of this record.
    pub version: u32,
    /// The disks in hardware order.
    pub disks: Vec<InjectedDisk>,
    /// What was asked for.
    pub request: InjectRequest,
    /// What runs on the machine.
    pub operating_system: String,
    /// Every file that was changed: old size, old hash, new hash, action.
    pub changes: Manifest,
    /// What was proven by looking again.
    pub verified: Vec<Check>,
    /// Odd things that were seen.
    pub warnings: Vec<String>,
    /// Wall-clock time of the micro-VM.
    pub seconds: f64,
    /// Where this record lies.
    pub manifest: Option<PathBuf>,
}

const VERSION: u32 = 1;

/// The micro-VM, and who hears of progress.
pub struct Means<'a> {
    /// Where conversions go.
    pub host: &'a Host,
    /// Files below the first disk, nearest first.
    pub backing: &'a [PathBuf],
    /// How to run it.
    pub vm: &'a lifeboat_drivers::MicroVm,
    /// Who hears.
    pub events: &'a Events,
}

impl Means<'_> {
    /// Injects one machine.
    pub fn inject(&self, way: &Way, request: &InjectRequest) -> anyhow::Result<Injection> {
        match way {
            Way::Overlay { disks, overlay } => self.overlay(disks, overlay, request),
            Way::DryRun { disks } => {
                let scratch = Scratch::beside(&std::env::temp_dir())?;
                let captured = self.import_all(disks)?;
                let report = self.inject_overlays(&captured, scratch.path(), request)?;
                let disks = captured.iter().map(|volume| InjectedDisk {
                    source: Some(volume.path.clone()),
                    written: None,
                });
                Ok(record(disks.collect(), request, report))
            }
            Way::Stream { output, overlay } => self.stream(output, overlay.as_deref(), request),
        }
    }

    fn overlay(
        &self,
        disks: &[PathBuf],
        overlay: &Path,
        request: &InjectRequest,
    ) -> anyhow::Result<Injection> {
        let place = new_place(overlay, "overlay")?;
        let captured = self.import_all(disks)?;
        let scratch = Scratch::beside(folder_of(&place))?;
        let made = scratch.path().join("made");
        std::fs::create_dir(&made)?;
        let report = self.inject_overlays(&captured, &made, request)?;
        let several = disks.len() > 1;
        let written = |number| match several {
            true => place.join(overlay_name(number)),
            false => place.clone(),
        };
        let disks = captured.iter().enumerate();
        let disks = disks.map(|(number, volume)| InjectedDisk {
            source: Some(volume.path.clone()),
            written: Some(written(number)),
        });
        let mut injection = record(disks.collect(), request, report);
        if several {
            injection.manifest = Some(place.join(MANIFEST));
            replace_file(
                &made.join(MANIFEST),
                &serde_json::to_vec_pretty(&injection)?,
            )?;
            File::open(&made)?.sync_all()?;
            publish(&made, &place)?;
        } else {
            self.publish_one(&made.join(overlay_name(0)), &place, &mut injection)?;
        }
        Ok(injection)
    }

    fn stream(
        &self,
        output: &Path,
        overlay: Option<&Path>,
        request: &InjectRequest,
    ) -> anyhow::Result<Injection> {
        let place = new_place(output, "file")?;
        overlay
            .map(|overlay| new_place(overlay, "overlay"))
            .transpose()?;
        let scratch = Scratch::beside(folder_of(&place))?;
        // Its ending tells its format.
        let file = scratch.path().join(place.file_name().unwrap_or_default());
        self.receive(&file)?;
        if let Some(overlay) = overlay {
            publish(&file, &place)?;
            return self.overlay(&[place], overlay, request);
        }
        let captured = self.import(&file, &[])?;
        let report = lifeboat_drivers::inject(self.vm, &[itself(&captured)?], request)?;
        prepare::require_checks(&report)?;
        let disk = InjectedDisk {
            source: None,
            written: Some(place.clone()),
        };
        let mut injection = record(vec![disk], request, report);
        self.publish_one(&file, &place, &mut injection)?;
        Ok(injection)
    }

    fn receive(&self, file: &Path) -> anyhow::Result<()> {
        self.events.step("receive", "standard input");
        let target = File::create_new(file)
            .with_context(|| format!("failed to make `{}`", file.display()))?;
        let progress = |done| self.events.progress("receive", "standard input", done, 0);
        let length = stream::receive(&mut std::io::stdin().lock(), &target, &progress)
            .context("failed to write the stream to its file")?;
        anyhow::ensure!(length > 0, "standard input was empty: nothing was made");
        self.events
            .done("receive", "standard input", format!("{} MiB", length >> 20));
        Ok(())
    }

    fn inject_overlays(
        &self,
        captured: &[CapturedVolume],
        folder: &Path,
        request: &InjectRequest,
    ) -> anyhow::Result<PrepareReport> {
        let mut disks = Vec::new();
        for (number, volume) in captured.iter().enumerate() {
            let overlay = folder.join(overlay_name(number));
            prepare::overlay_over(volume, &overlay)?;
            disks.push(prepare::disk(volume, &overlay)?);
        }
        self.events.step("inject drivers", &request.machine);
        let report = lifeboat_drivers::inject(self.vm, &disks, request)?;
        prepare::require_checks(&report)?;
        self.events.done(
            "inject drivers",
            &request.machine,
            format!("{:.1} s", report.seconds),
        );
        Ok(report)
    }

    /// Takes an injection back. The written disks are replaced in one step by
    /// copies in which that was done.
    pub fn undo(&self, manifest: &Path) -> anyhow::Result<usize> {
        let text = std::fs::read(manifest)
            .with_context(|| format!("failed to read `{}`", manifest.display()))?;
        let injection: Injection = serde_json::from_slice(&text)
            .with_context(|| format!("`{}` is no record of an injection", manifest.display()))?;
        let [disk] = injection.disks.as_slice() else {
            anyhow::bail!(
                "the injection has {} overlays over untouched disks: remove their folder to take it back",
                injection.disks.len()
            );
        };
        let place = disk.written.as_deref().context("this was a dry run")?;
        let scratch = Scratch::beside(folder_of(place))?;
        let copy = scratch.path().join(place.file_name().unwrap_or_default());
        let mut original =
            File::open(place).with_context(|| format!("failed to open `{}`", place.display()))?;
        stream::receive(&mut original, &File::create_new(&copy)?, &|_| ())?;
        let undone = match &disk.source {
            Some(source) => prepare::disk(&self.import(source, self.backing)?, &copy)?,
            None => itself(&self.import(&copy, &[])?)?,
        };
        let changes = lifeboat_drivers::undo(self.vm, &[undone], &injection.changes)?;
        publish(&copy, place)?;
        std::fs::remove_file(manifest)
            .with_context(|| format!("failed to remove `{}`", manifest.display()))?;
        Ok(changes)
    }

    fn import_all(&self, disks: &[PathBuf]) -> anyhow::Result<Vec<CapturedVolume>> {
        let disks = disks.iter().enumerate();
        let chain = |number| if number == 0 { self.backing } else { &[] };
        disks
            .map(|(number, disk)| self.import(disk, chain(number)))
            .collect()
    }

    fn import(&self, disk: &Path, chain: &[PathBuf]) -> anyhow::Result<CapturedVolume> {
        let name = disk.display().to_string();
        self.events.step("examine", &name);
        let volume = confined::import(self.host, disk, chain)?;
        self.events
            .done("examine", &name, volume.format.to_string());
        Ok(volume)
    }

    /// The record first: no disk is there without the way back.
    fn publish_one(
        &self,
        made: &Path,
        place: &Path,
        injection: &mut Injection,
    ) -> anyhow::Result<()> {
        let mut name = place.file_name().unwrap_or_default().to_owned();
        name.push(".");
        name.push(MANIFEST);
        let manifest = place.with_file_name(name);
        injection.manifest = Some(manifest.clone());
        let text = serde_json::to_vec_pretty(injection)?;
        let draft = made.with_file_name(MANIFEST);
        replace_file(&draft, &text)?;
        publish(&draft, &manifest)?;
        publish(made, place)
    }
}

const MANIFEST: &str = "manifest.json";

fn overlay_name(number: usize) -> String {
    format!("disk-{number}.qcow2")
}

fn record(disks: Vec<InjectedDisk>, request: &InjectRequest, report: PrepareReport) -> Injection {
    Injection {
        version: VERSION,
        disks,
        request: request.clone(),
        operating_system: report.guest.os.pretty_name,
        changes: report.changes,
        verified: report.verified,
        warnings: report.guest.warnings,
        seconds: report.seconds,
        manifest: None,
    }
}

/// A disk that is written itself, not through an overlay.
fn itself(volume: &CapturedVolume) -> anyhow::Result<Disk> {
    let [layer] = volume.served.as_slice() else {
        anyhow::bail!(
            "`{}` has a backing chain and cannot be written alone",
            volume.path.display()
        );
    };
    let format = prepare::driver_format(layer.format);
    anyhow::ensure!(
        layer.file.path == volume.path
            && matches!(
                format,
                lifeboat_drivers::Format::Raw | lifeboat_drivers::Format::Qcow2
            ),
        "the stream holds {}: raw and qcow2 can be injected into directly, for others name an `--overlay`",
        volume.format
    );
    let file = File::options()
        .read(true)
        .write(true)
        .open(&volume.path)
        .with_context(|| format!("failed to open `{}`", volume.path.display()))?;
    Ok(Disk {
        layers: vec![Layer {
            file: file.into(),
            format,
        }],
    })
}

/// An absolute path at which nothing is yet.
fn new_place(path: &Path, kind: &str) -> anyhow::Result<PathBuf> {
    if path.symlink_metadata().is_ok() {
        let problem = format!("{kind} `{}` exists already: name a new one", path.display());
        return Err(WrongUse(problem).into());
    }
    Ok(std::path::absolute(path)?)
}

fn folder_of(place: &Path) -> &Path {
    place.parent().unwrap_or(Path::new("/"))
}

/// Moves what is finished, and on the medium, to its place.
fn publish(made: &Path, place: &Path) -> anyhow::Result<()> {
    let publish = || {
        std::fs::rename(made, place)?;
        File::open(folder_of(place))?.sync_all()
    };
    publish().with_context(|| format!("failed to move the result to `{}`", place.display()))
}
