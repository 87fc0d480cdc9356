//! `lifeboat inject`: one machine's disks, without the daemon.

use std::path::{Path, PathBuf};

use clap::Args;
use lifeboat_drivers::{InjectRequest, NicIdentity, Target};
use serde_json::json;

use super::local::detect;
use super::progress::Progress;
use super::{Format, output};
use crate::daemon::WrongUse;
use crate::events::Events;
use crate::hardware::{DiskBus, Hardware, NicModel};
use crate::host::Host;
use crate::injection::{Injection, Means, Way};
use crate::prepare;
use crate::report::printable;

/// What to inject, and where to.
#[derive(Debug, Args)]
pub struct Inject {
    /// The captured disks of one machine in hardware order; they stay untouched.
    /// What QEMU cannot serve as it is, is converted into `OVERLAY.converted`,
    /// which the overlay then needs.
    /// `-` reads one disk, raw or qcow2, from standard input.
    #[arg(required_unless_present = "undo")]
    disks: Vec<PathBuf>,
    /// A file below the first disk, nearest first; may be repeated.
    #[arg(long)]
    backing: Vec<PathBuf>,
    /// The qcow2 overlay to create; over several disks, the folder to create.
    #[arg(long)]
    overlay: Option<PathBuf>,
    /// With `-`: the file that the stream is written to. Without `--overlay` it
    /// is injected into, too, except with Windows, which needs an overlay.
    #[arg(long)]
    output: Option<PathBuf>,
    /// A network card to keep, as `MAC` or `MAC=ADDRESS`; may be repeated.
    #[arg(long = "nic")]
    nics: Vec<String>,
    /// The bus that the disks will be on.
    #[arg(long, value_enum, default_value_t)]
    bus: DiskBus,
    /// The model that the network cards will be of.
    #[arg(long, value_enum, default_value_t)]
    nic_model: NicModel,
    /// The root filesystem of the system that is meant, where several are
    /// found: as the refusal names it, or `UUID=...`, `LABEL=...`.
    #[arg(long)]
    root: Option<String>,
    /// Show what would be changed, and make nothing.
    #[arg(long, conflicts_with_all = ["overlay", "output"])]
    dry_run: bool,
    /// Take the injection back that this record describes.
    #[arg(long, value_name = "MANIFEST", conflicts_with_all = ["disks", "backing", "overlay", "output", "nics", "bus", "nic_model", "root", "dry_run"])]
    undo: Option<PathBuf>,
}

impl Inject {
    fn way(&self) -> Result<Way, WrongUse> {
        let wrong = |problem: &str| Err(WrongUse(problem.to_owned()));
        let from_stream = self.disks.iter().any(|disk| disk == Path::new("-"));
        if from_stream {
            return match (&self.output, self.disks.as_slice()) {
                _ if self.dry_run => wrong(
                    "a stream can be read only once: write it to a file, and give that to `--dry-run`",
                ),
                _ if !self.backing.is_empty() => wrong(
                    "`-` stands for a whole disk, with nothing below it: leave `--backing` out",
                ),
                (Some(output), _)
                    if self
                        .overlay
                        .as_ref()
                        .is_some_and(|overlay| is_same_place(overlay, output)) =>
                {
                    wrong("`--output` and `--overlay` are the same file: name two")
                }
                (_, [_, _, ..]) => wrong("`-` stands for the only disk: give no others with it"),
                (None, _) => wrong("`-` needs `--output FILE`: where the stream is written to"),
                (Some(output), _) => Ok(Way::Stream {
                    output: output.clone(),
                    overlay: self.overlay.clone(),
                }),
            };
        }
        let disks = self.disks.clone();
        match (&self.overlay, &self.output) {
            (_, Some(_)) => {
                wrong("`--output` is where a stream is written to: give `-` as the disk")
            }
            (None, _) if self.dry_run => Ok(Way::DryRun { disks }),
            (None, _) => wrong("`--overlay OUT` is missing: the disk itself is never written"),
            (Some(overlay), _) => Ok(Way::Overlay {
                disks,
                overlay: overlay.clone(),
            }),
        }
    }

    fn request(&self) -> anyhow::Result<InjectRequest> {
        let nics = self.nics.iter().map(|nic| parse_nic(nic));
        let nics = nics.collect::<anyhow::Result<Vec<_>>>()?;
        let hardware = Hardware {
            disk: self.bus,
            nics: vec![self.nic_model],
            ..Hardware::default()
        };
        let target: Target = hardware.target();
        Ok(InjectRequest {
            machine: "machine".into(),
            nics,
            target,
            root: self.root.clone(),
        })
    }
}

/// Whether two files that need not exist yet would be one.
fn is_same_place(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| {
        let path = std::path::absolute(path).ok()?;
        let folder = std::fs::canonicalize(path.parent()?).ok()?;
        Some(folder.join(path.file_name()?))
    };
    place(a).map_or(a == b, |of_a| place(b) == Some(of_a))
}

/// Runs it.
pub async fn run(state_dir: &Path, inject: Inject, format: Format) -> anyhow::Result<bool> {
    let host = Host::new(state_dir)?;
    let work = match &inject.undo {
        Some(manifest) => Work::Undo(manifest.clone()),
        None => Work::Inject(inject.way()?, inject.request()?),
    };
    let verdict = detect(&host).await?;
    let (events, mut heard) = Events::channel();
    let working = tokio::task::spawn_blocking(move || {
        let vm = prepare::micro_vm(&host, verdict.accelerator);
        let means = Means {
            host: &host,
            backing: &inject.backing,
            vm: &vm,
            events: &events,
        };
        anyhow::Ok(match work {
            Work::Undo(manifest) => Done::Undone(means.undo(&manifest)?),
            Work::Inject(way, request) => Done::Injected(Box::new(means.inject(&way, &request)?)),
        })
    });
    let mut progress = Progress::new();
    // Ends with the work, which holds the other end.
    while let Some(event) = heard.recv().await {
        progress.show(&event);
    }
    progress.finish();
    show(working.await??, format)
}

enum Work {
    Inject(Way, InjectRequest),
    Undo(PathBuf),
}

enum Done {
    Injected(Box<Injection>),
    Undone(usize),
}

fn show(done: Done, format: Format) -> anyhow::Result<bool> {
    match done {
        Done::Injected(injection) => output::print(format, &*injection, || text(&injection)),
        Done::Undone(changes) => output::print(format, &json!({ "undone": changes }), || {
            format!("{changes} changes were taken back\n")
        }),
    }
}

fn text(injection: &Injection) -> String {
    let changes = injection.changes.changes.iter();
    let mut lines: Vec<String> = changes
        .map(|change| format!("{:?}  {}", change.action, printable(&change.path)))
        .collect();
    let checks = injection.verified.iter();
    lines.extend(checks.map(|check| {
        let mark = if check.ok { "ok  " } else { "FAIL" };
        format!(
            "{mark}  {}: {}",
            printable(&check.what),
            printable(&check.detail)
        )
    }));
    let warnings = injection.warnings.iter();
    lines.extend(warnings.map(|warning| format!("warning: {}", printable(warning))));
    let written = injection
        .disks
        .iter()
        .filter_map(|disk| disk.written.as_ref());
    lines.extend(written.map(|written| format!("written  {}", written.display())));
    let manifest = injection.manifest.iter();
    lines.extend(manifest.map(|manifest| format!("record   {}", manifest.display())));
    lines.push(format!("{:.1} s", injection.seconds));
    lines.join("\n") + "\n"
}

fn parse_nic(text: &str) -> anyhow::Result<NicIdentity> {
    let (mac, address) = text
        .split_once('=')
        .map_or((text, None), |(mac, address)| (mac, Some(address)));
    let wrong = || {
        WrongUse(format!(
            "`--nic {text}` is not understood: expected MAC or MAC=ADDRESS"
        ))
    };
    let mac: lifeboat_network::MacAddr = mac.parse().map_err(|_| wrong())?;
    let address = address.map(str::parse).transpose().map_err(|_| wrong())?;
    Ok(NicIdentity {
        mac: mac.to_string(),
        address,
    })
}
