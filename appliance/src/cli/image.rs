//! `lifeboat image`: what a captured image is, and whether it is still the same.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use hyper::Method;
use lifeboat_images::{Filesystem, FilesystemKind, Inspection, Partition};
use serde::Serialize;
use serde_json::Value;

use super::remote::{Remote, resolve, watched};
use super::{Format, local, output};
use crate::confined;
use crate::daemon::api::{VerifyFile, VerifySite};
use crate::host::Host;
use crate::integrity::{VolumeStatus, words};
use crate::prepare;
use crate::report::printable;
use crate::scratch::Scratch;

/// What can be asked about images.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Format, size, chain, partitions, operating systems, risks; refuses hostile images.
    Inspect {
        /// The image; of several files the first, or the descriptor.
        file: PathBuf,
        /// A file below the image, nearest first; may be repeated.
        #[arg(long)]
        backing: Vec<PathBuf>,
        /// Leave the operating systems out, which takes no micro-VM.
        #[arg(long)]
        no_os: bool,
    },
    /// Read every byte of captured volumes again and compare with their import.
    Verify {
        /// A registered site, a `site.toml` or its folder, or one captured volume.
        #[arg(required_unless_present = "list")]
        what: Option<String>,
        /// Go on where an unfinished reading stopped.
        #[arg(long)]
        resume: bool,
        /// Read nothing; show what is known about all volumes.
        #[arg(long, conflicts_with_all = ["what", "resume"])]
        list: bool,
    },
}

/// What the micro-VM found on the disk.
#[derive(Debug, Default, Serialize)]
struct Systems {
    /// Each operating system.
    operating_systems: Vec<System>,
    /// Why there are none.
    operating_systems_note: Option<String>,
}

#[derive(Debug, Serialize)]
struct System {
    name: String,
    id: String,
    version: String,
    hostname: String,
    kernels: Vec<String>,
}

/// `lifeboat image inspect`.
pub async fn inspect(
    state_dir: &Path,
    file: &Path,
    backing: Vec<PathBuf>,
    with_systems: bool,
    format: Format,
) -> anyhow::Result<bool> {
    let (path, chain) = (file.to_owned(), backing.clone());
    let look = move || lifeboat_images::inspect(&confined::launcher(), &path, &chain);
    let inspection = tokio::task::spawn_blocking(look).await??;
    let systems = match with_systems {
        true => systems(state_dir, &inspection, backing).await?,
        false => note("not looked for (`--no-os`)"),
    };
    let mut value = serde_json::to_value(&inspection)?;
    if let (Value::Object(keys), Value::Object(found)) =
        (&mut value, serde_json::to_value(&systems)?)
    {
        keys.extend(found);
    }
    output::print(format, &value, || inspection_text(&inspection, &systems))
}

fn note(text: impl Into<String>) -> Systems {
    Systems {
        operating_systems_note: Some(text.into()),
        ..Systems::default()
    }
}

/// Guest filesystems are looked into in the micro-VM only.
async fn systems(
    state_dir: &Path,
    inspection: &Inspection,
    backing: Vec<PathBuf>,
) -> anyhow::Result<Systems> {
    if !may_hold_a_system(inspection) {
        return Ok(note("none: no filesystem on it could hold one"));
    }
    let host = Host::new(state_dir)?;
    if !host.kernel_dir.join("boot").is_dir() {
        let kernel_dir = host.kernel_dir.display();
        return Ok(note(format!(
            "not looked for: the micro-VM that looks into filesystems has no kernel in `{kernel_dir}` (`./setup` fetches it)"
        )));
    }
    let verdict = local::detect(&host).await?;
    let path = inspection.path.clone();
    let scratch = Scratch::beside(&std::env::temp_dir())?;
    let look = move || {
        let layers = lifeboat_images::open_to_look(&confined::launcher(), &path, &backing)?;
        let Some(layers) = layers else {
            return anyhow::Ok(note(
                "not looked for: the image has to be converted first, which its import does",
            ));
        };
        let vm = prepare::micro_vm(&host, verdict.accelerator);
        let disk = prepare::disk_of(layers);
        let folder = scratch.path().join("folder");
        Ok(match lifeboat_drivers::inspect(&vm, &[disk], &folder) {
            Ok(report) => found(&report),
            Err(error) => {
                let why = crate::events::chain(&error.into()).join(": ");
                note(format!("none recognised: {}", printable(&why)))
            }
        })
    };
    tokio::task::spawn_blocking(look).await?
}

fn found(report: &lifeboat_drivers::GuestReport) -> Systems {
    let system = System {
        name: report.os.pretty_name.clone(),
        id: report.os.id.clone(),
        version: report.os.version_id.clone(),
        hostname: report.hostname.clone(),
        kernels: report
            .kernels
            .iter()
            .map(|kernel| kernel.version.clone())
            .collect(),
    };
    Systems {
        operating_systems: vec![system],
        operating_systems_note: None,
    }
}

fn may_hold_a_system(inspection: &Inspection) -> bool {
    use FilesystemKind::{Btrfs, Ext2, Ext3, Ext4, Lvm, Mdraid, Ntfs, Xfs};
    let in_partitions = inspection
        .partitions
        .iter()
        .filter_map(|p| p.filesystem.as_ref());
    let mut all = in_partitions.chain(&inspection.whole_disk);
    all.any(|found| {
        matches!(
            found.kind,
            Ext2 | Ext3 | Ext4 | Xfs | Btrfs | Lvm | Mdraid | Ntfs
        )
    })
}

fn inspection_text(inspection: &Inspection, systems: &Systems) -> String {
    let variant = inspection
        .variant
        .as_deref()
        .map_or(String::new(), |variant| {
            format!(" ({})", printable(variant))
        });
    let cluster = inspection.cluster_size.map_or(String::new(), |size| {
        format!(", clusters of {}", bytes(size))
    });
    let mut lines = vec![
        format!(
            "file        {}",
            printable(&inspection.path.display().to_string())
        ),
        format!("format      {}{variant}", inspection.format),
        format!("disk        {}{cluster}", bytes(inspection.virtual_size)),
        format!(
            "allocated   {} of a file of {}",
            bytes(inspection.allocated_size),
            bytes(inspection.file_size)
        ),
    ];
    for below in &inspection.backing {
        lines.push(format!(
            "chain       {} ({})",
            printable(&below.path.display().to_string()),
            below.format
        ));
    }
    if let Some(firmware) = inspection.firmware_hint {
        lines.push(format!(
            "firmware    {}",
            format!("{firmware:?}").to_lowercase()
        ));
    }
    lines.push(format!(
        "partitions  {}",
        format!("{:?}", inspection.partition_table).to_lowercase()
    ));
    lines.extend(inspection.partitions.iter().map(partition_text));
    lines.extend(
        inspection
            .whole_disk
            .as_ref()
            .map(|found| format!("filesystem  {}", filesystem_text(found))),
    );
    lines.extend(systems.operating_systems.iter().map(system_text));
    lines.extend(
        systems
            .operating_systems_note
            .iter()
            .map(|note| format!("system      {note}")),
    );
    lines.extend(
        inspection
            .risks
            .iter()
            .map(|risk| format!("risk        {}", printable(risk))),
    );
    lines.join("\n") + "\n"
}

fn partition_text(partition: &Partition) -> String {
    let named = partition.name.as_deref().filter(|name| !name.is_empty());
    let words = [
        partition.filesystem.as_ref().map(filesystem_text),
        named.map(|name| format!("`{}`", printable(name))),
        partition.active.then(|| "active".to_owned()),
    ];
    format!(
        "  {:>2}  {:>10} at {:>14}  {}",
        partition.number,
        bytes(partition.size),
        partition.start,
        words.into_iter().flatten().collect::<Vec<_>>().join(", ")
    )
}

fn filesystem_text(filesystem: &Filesystem) -> String {
    let kind = format!("{:?}", filesystem.kind).to_lowercase();
    let label = filesystem
        .label
        .iter()
        .map(|label| format!(", label {}", printable(label)));
    let uuid = filesystem
        .uuid
        .iter()
        .map(|uuid| format!(", UUID {}", printable(uuid)));
    kind + &label.chain(uuid).collect::<String>()
}

fn system_text(system: &System) -> String {
    let hostname = Some(&system.hostname).filter(|name| !name.is_empty());
    let hostname = hostname.map_or(String::new(), |name| format!(", host name {name}"));
    let kernels = match &system.kernels[..] {
        [] => String::new(),
        kernels => format!(", kernels {}", kernels.join(" ")),
    };
    format!(
        "system      {}",
        printable(&format!("{}{hostname}{kernels}", system.name))
    )
}

/// In the largest unit that leaves at least ten of it.
fn bytes(count: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.iter().find(|(shift, _)| count >> shift >= 10);
    unit.map_or_else(
        || format!("{count} bytes"),
        |(shift, name)| format!("{} {name}", count >> shift),
    )
}

impl Remote {
    /// `lifeboat image verify`.
    pub async fn verify(&self, what: &str, resume: bool) -> anyhow::Result<bool> {
        self.with(async |client| {
            let path = Path::new(what);
            let is_site =
                path.is_dir() || what.ends_with(".toml") || !(path.exists() || what.contains('/'));
            let value = if is_site {
                let name = resolve(client, what).await?;
                watched(
                    client,
                    &format!("/sites/{name}/verify"),
                    &VerifySite { resume },
                )
                .await?
            } else {
                let file = std::path::absolute(path)?;
                watched(client, "/volumes/verify", &VerifyFile { file, resume }).await?
            };
            let all: Vec<VolumeStatus> = serde_json::from_value(value)?;
            self.print(&all, || statuses_text(&all))?;
            Ok(all.iter().all(|status| status.ok))
        })
        .await
    }

    /// `lifeboat image verify --list`.
    pub async fn volumes(&self) -> anyhow::Result<bool> {
        self.with(async |client| {
            let all: Vec<VolumeStatus> = client.call(Method::GET, "/volumes", &()).await?;
            self.print(&all, || statuses_text(&all))
        })
        .await
    }
}

fn statuses_text(all: &[VolumeStatus]) -> String {
    all.iter()
        .map(|status| format!("{}\n", status_text(status)))
        .collect()
}

/// One line for the state of a volume.
pub fn status_text(status: &VolumeStatus) -> String {
    let size = bytes(status.bytes);
    let read = status.verified_at.map_or_else(
        || "never read again".to_owned(),
        |at| format!("read {}", moment(at)),
    );
    let half = status.pending.map_or(String::new(), |done| {
        format!(", reading again: {} done", bytes(done))
    });
    let verdict = match &status.problem {
        _ if !status.damaged.is_empty() => format!("DAMAGED  {}", words(&status.damaged)),
        Some(problem) => format!("UNREADABLE  {problem}"),
        None => "ok".to_owned(),
    };
    printable(&format!(
        "{}  {verdict}  ({size}, {read}{half})",
        status.volume.display()
    ))
}

fn moment(seconds: u64) -> String {
    let at = i64::try_from(seconds)
        .ok()
        .and_then(|at| jiff::Timestamp::from_second(at).ok());
    at.map_or_else(
        || seconds.to_string(),
        |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string(),
    )
}
