//! The host's side: building, launching and hearing the micro-VM.

mod initramfs;
mod kernel_image;
mod launch;
mod program;
mod qemu;
mod results;
mod spawn_unsafe;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::report::{GuestReport, InjectRequest, Outcome, PrepareReport, Refusal, Task};

/// Upper bound of what a guest can make the micro-VM write out.
const OUTPUT_BYTES: u64 = 768 << 20;

/// What executes the micro-VM's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The kernel's virtualisation.
    Kvm,
    /// QEMU's own emulation.
    Tcg,
}

/// The format of one layer, decided at import and never guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Plain bytes.
    Raw,
    /// qcow2; its own idea of a backing file is never followed.
    Qcow2,
    /// VMDK with everything in one file.
    Vmdk,
    /// VHD.
    Vpc,
    /// VHDX.
    Vhdx,
    /// VDI.
    Vdi,
}

/// One file of a disk.
#[derive(Debug)]
pub struct Layer {
    /// Already opened: `O_RDWR` for the top layer in [`prepare`], else `O_RDONLY`.
    /// QEMU refuses a descriptor that allows more than it is meant for.
    pub file: OwnedFd,
    /// Its format.
    pub format: Format,
}

/// One disk of the guest: the top layer first, each standing on the next.
#[derive(Debug)]
pub struct Disk {
    /// At least one.
    pub layers: Vec<Layer>,
}

/// How to run the micro-VM.
#[derive(Debug, Clone)]
pub struct MicroVm {
    /// The QEMU program.
    pub qemu: PathBuf,
    /// A distribution's kernel package, unpacked: `boot/vmlinuz-*`, `lib/modules/*`,
    /// and beside them `kit.tar`, the tools that LVM, RAID and NTFS need.
    pub kernel_dir: PathBuf,
    /// The catalogue of Windows drivers, if there is one.
    pub drivers: Option<PathBuf>,
    /// The static `lifeboat-injector`.
    pub injector: PathBuf,
    /// What executes it.
    pub accelerator: Accelerator,
    /// Its memory.
    pub memory_mib: u32,
    /// When to give up.
    pub timeout: Duration,
    /// User and group that QEMU becomes.
    pub run_as: Option<(u32, u32)>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum MicroVmError {
    /// The guest cannot be prepared; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The kernel directory lacks something.
    #[error("the kernel directory {path} has no {missing}")]
    KernelMissing {
        /// Which directory.
        path: PathBuf,
        /// What is not there.
        missing: String,
    },
    /// Something on the host.
    #[error("{attempted} failed")]
    Host {
        /// What was attempted.
        attempted: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A disk without layers.
    #[error("a disk without any file was given")]
    EmptyDisk,
    /// It took too long.
    #[error(
        "the injection micro-VM did not finish within {seconds} s; its console ends with:\n{console}"
    )]
    Timeout {
        /// How long was waited.
        seconds: u64,
        /// The console's last lines.
        console: String,
    },
    /// It ended without a whole report.
    #[error(
        "the injection micro-VM ended without a report ({status}); its console ends with:\n{console}"
    )]
    NoReport {
        /// How QEMU ended.
        status: String,
        /// The console's last lines.
        console: String,
    },
    /// The injector reported a failure.
    #[error("the injector failed: {message}")]
    Injector {
        /// What it said.
        message: String,
    },
    /// The result stream breaks its rules.
    #[error("the injection micro-VM's answer is not acceptable: {rule}")]
    BadAnswer {
        /// Which rule.
        rule: String,
    },
}

pub(crate) fn host(attempted: impl Into<String>) -> impl FnOnce(io::Error) -> MicroVmError {
    let attempted = attempted.into();
    move |source| MicroVmError::Host { attempted, source }
}

/// Looks at a guest without any way to write it, and puts its machine folder
/// into `out_dir`.
pub fn inspect(vm: &MicroVm, disks: &[Disk], out_dir: &Path) -> Result<GuestReport, MicroVmError> {
    match perform(vm, disks, None, out_dir)? {
        Outcome::Inspected(report) => Ok(report),
        other => Err(unexpected(other)),
    }
}

/// Inspects, reads out the machine folder, injects and verifies in one launch.
/// The top layer of each disk is written; `out_dir` receives the machine folder.
pub fn prepare(
    vm: &MicroVm,
    disks: &[Disk],
    request: &InjectRequest,
    out_dir: &Path,
) -> Result<PrepareReport, MicroVmError> {
    let start = Instant::now();
    match perform(vm, disks, Some(request), out_dir)? {
        Outcome::Prepared {
            guest,
            changes,
            verified,
        } => {
            sync_top_layers(disks)?;
            let seconds = start.elapsed().as_secs_f64();
            Ok(PrepareReport {
                guest,
                changes,
                verified,
                seconds,
            })
        }
        other => Err(unexpected(other)),
    }
}

fn perform(
    vm: &MicroVm,
    disks: &[Disk],
    request: Option<&InjectRequest>,
    out_dir: &Path,
) -> Result<Outcome, MicroVmError> {
    if disks.iter().any(|disk| disk.layers.is_empty()) {
        return Err(MicroVmError::EmptyDisk);
    }
    std::fs::create_dir_all(out_dir).map_err(host(format!("making {}", out_dir.display())))?;
    let output = results::output_file(out_dir, OUTPUT_BYTES)
        .map_err(host("making the file for the micro-VM's answer"))?;
    let kernel = initramfs::KernelPackage::open(&vm.kernel_dir)?;
    let kit = kernel.kit()?;
    let drivers = vm.drivers.as_deref().map(open_catalogue).transpose()?;
    let task = Task {
        disks: disks.len(),
        inject: request.cloned(),
        modules: Vec::new(),
        filesystems: Default::default(),
        kit: kit.is_some(),
        drivers: drivers.is_some(),
        output_bytes: OUTPUT_BYTES,
    };
    let initramfs = kernel.initramfs(&vm.injector, task)?;
    let machine = qemu::Machine {
        vm,
        kernel: kernel.image()?,
        initramfs: launch::in_memory("lifeboat-initramfs", &initramfs)
            .map_err(host("keeping the initramfs in memory"))?,
        disks,
        writable: request.is_some(),
        kit: kit.as_ref(),
        drivers: drivers.as_ref(),
        output: &output,
    };
    let end = launch::run(&machine)?;
    answer(output, out_dir, end)
}

fn open_catalogue(path: &Path) -> Result<File, MicroVmError> {
    File::open(path).map_err(host(format!("opening {}", path.display())))
}

fn answer(output: File, out_dir: &Path, end: launch::End) -> Result<Outcome, MicroVmError> {
    match results::read(output, out_dir, OUTPUT_BYTES)? {
        Some(outcome) => Ok(outcome),
        None => Err(MicroVmError::NoReport {
            status: end.status,
            console: end.console,
        }),
    }
}

fn unexpected(outcome: Outcome) -> MicroVmError {
    match outcome {
        Outcome::Refused(refusal) => MicroVmError::Refused(refusal),
        Outcome::Failed { message } => MicroVmError::Injector { message },
        Outcome::Inspected(_) | Outcome::Prepared { .. } => MicroVmError::BadAnswer {
            rule: "it answers another question".to_owned(),
        },
    }
}

/// QEMU ran without flushing each write; one flush here makes the overlay durable.
fn sync_top_layers(disks: &[Disk]) -> Result<(), MicroVmError> {
    for disk in disks {
        nix::unistd::fsync(&disk.layers[0].file)
            .map_err(|error| host("writing the overlay to disk")(error.into()))?;
    }
    Ok(())
}
