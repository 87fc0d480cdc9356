//! Injection as one command, without daemon and libvirt: into overlays over
//! disks that stay untouched, or into a disk that arrives as a stream.
//!
//! Everything is made in a scratch folder beside its place and moved there in
//! one step, after it was verified and is on the medium. So there is nothing or
//! everything under a final name, whenever this process is killed. Only disks
//! that QEMU cannot serve as they are lie in a folder of their own from the
//! beginning, where a next try goes on with their conversion.

mod place;
mod record;
mod stream;
mod undo;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use lifeboat_drivers::{Disk, InjectRequest, Layer, PrepareReport};
use lifeboat_images::{
    CapturedVolume, Container, Conversions, Format, SparseFile, identify_beginning,
};

use crate::confined;
use crate::daemon::WrongUse;
use crate::events::Events;
use crate::host::Host;
use crate::prepare;
use crate::scratch::Scratch;
use crate::session::making::replace_file;

use place::{
    BesideResult, MANIFEST, folder_of, new_place, new_result, publish, publish_with_record,
};
pub use record::{InjectedDisk, Injection};

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

/// The micro-VM, and who hears of progress.
pub struct Means<'a> {
    /// What bounds conversions.
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
                let converted = self.host.conversions_in(&scratch.path().join("converted"));
                let captured = self.import_all(disks, &converted)?;
                let report = self.inject_overlays(&captured, scratch.path(), request)?;
                let disks = captured
                    .into_iter()
                    .map(|base| InjectedDisk::over(base, None));
                Ok(Injection::new(disks.collect(), request, report))
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
        let several = disks.len() > 1;
        let place = match several {
            true => new_place(overlay, "folder")?,
            false => new_result(overlay, "overlay")?,
        };
        let converted = BesideResult::new(self.host, &place);
        let captured = self.import_all(disks, converted.conversions())?;
        let scratch = Scratch::beside(folder_of(&place))?;
        let made = scratch.path().join("made");
        std::fs::create_dir(&made)?;
        let report = self.inject_overlays(&captured, &made, request)?;
        let written = |number| match several {
            true => place.join(overlay_name(number)),
            false => place.clone(),
        };
        let disks = captured.into_iter().enumerate();
        let disks = disks.map(|(number, base)| InjectedDisk::over(base, Some(written(number))));
        let mut injection = Injection::new(disks.collect(), request, report);
        let published = if several {
            publish_folder(&made, &place, &mut injection)
        } else {
            publish_with_record(&made.join(overlay_name(0)), &place, &mut injection)
        };
        published?;
        converted.keep();
        Ok(injection)
    }

    fn stream(
        &self,
        output: &Path,
        overlay: Option<&Path>,
        request: &InjectRequest,
    ) -> anyhow::Result<Injection> {
        let place = match overlay {
            Some(overlay) => {
                new_result(overlay, "overlay")?;
                new_place(output, "file").map_err(|error| {
                    let hint = going_on(output, overlay);
                    WrongUse(format!("{error}; if it holds the whole stream, {hint}"))
                })?
            }
            None => new_result(output, "file")?,
        };
        let scratch = Scratch::beside(folder_of(&place))?;
        // Its ending tells its format.
        let file = scratch.path().join(place.file_name().unwrap_or_default());
        self.receive(&file, &place, overlay.is_some())?;
        if let Some(overlay) = overlay {
            publish(&file, &place)?;
            let injected = self.overlay(&[place], overlay, request);
            return injected.with_context(|| {
                let hint = going_on(output, overlay);
                format!("failed to inject over the stream, which was received whole: {hint}")
            });
        }
        let converted = self.host.conversions_in(&scratch.path().join("converted"));
        let captured = self
            .import(&file, &[], &converted)
            .with_context(|| format!("what was received for `{}` is no use", place.display()))?;
        let format = writable_format(&captured)?;
        let report = lifeboat_drivers::inject(self.vm, &[itself(&file, format)?], request)?;
        prepare::require_checks(&report)?;
        let disk = InjectedDisk::itself(place.clone(), format);
        let mut injection = Injection::new(vec![disk], request, report);
        publish_with_record(&file, &place, &mut injection)?;
        Ok(injection)
    }

    /// What can be seen at once is refused before hours of receiving.
    fn receive(&self, file: &Path, place: &Path, with_overlay: bool) -> anyhow::Result<()> {
        self.events.step("receive", "standard input");
        let mut stream = std::io::stdin().lock();
        let beginning = stream::beginning(&mut stream).context("failed to read standard input")?;
        anyhow::ensure!(
            !beginning.is_empty(),
            "standard input was empty: nothing was made"
        );
        let found = identify_beginning(place, &beginning)
            .context("standard input is not what the name of `--output` promises")?;
        if !with_overlay && let Some(found) = found {
            writable(found)?;
        }
        let target = File::create_new(file)
            .with_context(|| format!("failed to make `{}`", file.display()))?;
        let progress = |done| self.events.progress("receive", "standard input", done, 0);
        let target = SparseFile::new(&target, self.host.limits.reserve);
        let mut stream = beginning.as_slice().chain(stream);
        let length = stream::receive_into(&mut stream, target, &progress)
            .context("failed to write the stream to its file")?;
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
        let mut report = lifeboat_drivers::inject(self.vm, &disks, request)?;
        report.verified.push(prepare::base_check(captured));
        prepare::require_checks(&report)?;
        self.events.done(
            "inject drivers",
            &request.machine,
            format!("{:.1} s", report.seconds),
        );
        Ok(report)
    }

    fn import_all(
        &self,
        disks: &[PathBuf],
        converted: &Conversions,
    ) -> anyhow::Result<Vec<CapturedVolume>> {
        let disks = disks.iter().enumerate();
        let chain = |number| if number == 0 { self.backing } else { &[] };
        disks
            .map(|(number, disk)| self.import(disk, chain(number), converted))
            .collect()
    }

    fn import(
        &self,
        disk: &Path,
        chain: &[PathBuf],
        converted: &Conversions,
    ) -> anyhow::Result<CapturedVolume> {
        let name = disk.display().to_string();
        self.events.step("examine", &name);
        let volume = confined::import(converted, disk, chain)?;
        self.events
            .done("examine", &name, volume.format.to_string());
        Ok(volume)
    }
}

/// What was received is not thrown away, whatever comes after.
fn going_on(output: &Path, overlay: &Path) -> String {
    let (output, overlay) = (output.display(), overlay.display());
    format!("`lifeboat inject {output} --overlay {overlay}` goes on from it")
}

fn publish_folder(made: &Path, place: &Path, injection: &mut Injection) -> anyhow::Result<()> {
    injection.manifest = Some(place.join(MANIFEST));
    replace_file(&made.join(MANIFEST), &serde_json::to_vec_pretty(injection)?)?;
    File::open(made)?.sync_all()?;
    publish(made, place)
}

fn overlay_name(number: usize) -> String {
    format!("disk-{number}.qcow2")
}

/// The format of a disk that can be written itself, not through an overlay.
fn writable_format(volume: &CapturedVolume) -> anyhow::Result<Format> {
    writable(volume.format)
}

fn writable(container: Container) -> anyhow::Result<Format> {
    match container {
        Container::Raw => Ok(Format::Raw),
        Container::Qcow2 => Ok(Format::Qcow2),
        other => anyhow::bail!(
            "the stream holds {other}: raw and qcow2 can be injected into directly, for others name an `--overlay`"
        ),
    }
}

/// A disk that is written itself, as the micro-VM takes it.
fn itself(path: &Path, format: Format) -> anyhow::Result<Disk> {
    let file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .with_context(|| format!("failed to open `{}`", path.display()))?;
    Ok(Disk {
        layers: vec![Layer {
            file: file.into(),
            format: prepare::driver_format(format),
        }],
    })
}

#[cfg(test)]
pub mod tests {
    use std::os::unix::fs::MetadataExt;

    use lifeboat_images::{ServedLayer, SourceFile};

    use super::*;

    /// A raw file as its import describes it.
    pub fn raw_volume(path: &Path) -> CapturedVolume {
        let metadata = path.metadata().unwrap();
        let file = SourceFile {
            path: path.to_owned(),
            file_size: metadata.len(),
            modified_ns: metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec(),
            device: metadata.dev(),
            inode: metadata.ino(),
            changed_ns: Some(metadata.ctime() * 1_000_000_000 + metadata.ctime_nsec()),
            blake3: String::new(),
        };
        CapturedVolume {
            path: path.to_owned(),
            format: Container::Raw,
            virtual_size: metadata.len(),
            blake3: String::new(),
            sources: vec![file.clone()],
            served: vec![ServedLayer {
                file,
                format: Format::Raw,
            }],
        }
    }

    #[test]
    fn a_base_that_was_written_to_fails_the_injection() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("base.raw");
        std::fs::write(&path, vec![1; 4096]).unwrap();
        let volume = [raw_volume(&path)];
        let check = prepare::base_check(&volume);
        assert!(check.ok && check.what == "base unchanged", "{check:?}");
        let times = path.metadata().unwrap().modified().unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[2], 0).unwrap();
        // Size and modification time can be set back; the change time cannot.
        file.set_modified(times).unwrap();
        let check = prepare::base_check(&volume);
        assert!(!check.ok && check.detail.contains("base.raw"), "{check:?}");
    }
}
