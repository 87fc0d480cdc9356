//! The host's side: building, launching and hearing the micro-VM.

mod captured_damage;
mod initramfs;
mod kernel_image;
mod launch;
mod program;
mod qemu;
mod results;
pub use results::read as read_answer;
mod spawn_unsafe;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use crate::refusal::Refusal;
use crate::report::{GuestReport, InjectRequest, Manifest, Outcome, PrepareReport, Task};
use crate::windows::report::WindowsRefusal;

/// Upper bound of what a guest can make the micro-VM write out.
const OUTPUT_BYTES: u64 = 768 << 20;
/// The same when no machine folder is read out.
const REPORT_BYTES: u64 = 80 << 20;

/// What no guest can make the host give to its micro-VM.
const MOST_MEMORY_MIB: u32 = 2560;
/// For guests with more kernels than the usual memory holds: a hundred.
const MANY_KERNELS_MIB: u32 = 1536;

/// How often a large micro-VM looks whether the one before it has ended.
const TURN_LOOK: Duration = Duration::from_millis(100);

static NEVER: AtomicBool = AtomicBool::new(false);

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
    /// Its memory; Windows with large hives gets more.
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
    /// The caller asked to stop.
    #[error("the injection was cancelled")]
    Cancelled,
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
    match perform(vm, disks, Work::Inspect, Some(out_dir), &NEVER)? {
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
    prepare_unless(vm, disks, request, out_dir, &NEVER)
}

/// Like [`prepare`], but ends soon with [`MicroVmError::Cancelled`] when
/// `cancelled` becomes true.
pub fn prepare_unless(
    vm: &MicroVm,
    disks: &[Disk],
    request: &InjectRequest,
    out_dir: &Path,
    cancelled: &AtomicBool,
) -> Result<PrepareReport, MicroVmError> {
    injected(vm, disks, request, Some(out_dir), cancelled)
}

/// Injects and verifies, and nothing else: for a disk on the way to another
/// place, or on the machine that it belongs to.
///
/// Give every disk of the machine, in hardware order, the top layer of each
/// opened for writing. It may be the disk itself or an overlay over it; Windows
/// is refused without an overlay, because nothing else takes its changes back. When
/// this returns, what was written is on the medium. On any error throw the top
/// layers away: after a refusal they are as they were, but a failure in the
/// middle may leave them half done. What was changed is in the report; keep it,
/// [`undo`] needs it.
///
/// Blocks for some seconds and needs neither the daemon nor libvirt, only QEMU
/// and the files that [`MicroVm`] names.
///
/// ```no_run
/// use std::fs::File;
/// use std::time::Duration;
/// use lifeboat_drivers::{Accelerator, Disk, Format, InjectRequest, Layer, MicroVm, inject};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let vm = MicroVm {
///     qemu: "qemu-system-x86_64".into(),
///     kernel_dir: "/var/cache/lifeboat/kernel".into(),
///     injector: "/usr/lib/lifeboat/lifeboat-injector".into(),
///     accelerator: Accelerator::Tcg,
///     memory_mib: 512,
///     timeout: Duration::from_secs(600),
///     run_as: None,
///     drivers: None,
/// };
/// let file = File::options().read(true).write(true).open("copy.raw")?;
/// let disk = Disk { layers: vec![Layer { file: file.into(), format: Format::Raw }] };
/// let request = InjectRequest {
///     machine: "web1".into(),
///     nics: Vec::new(),
///     target: Default::default(),
///     root: None,
/// };
/// let report = inject(&vm, &[disk], &request)?;
/// assert!(report.verified.iter().all(|check| check.ok));
/// # Ok(())
/// # }
/// ```
pub fn inject(
    vm: &MicroVm,
    disks: &[Disk],
    request: &InjectRequest,
) -> Result<PrepareReport, MicroVmError> {
    injected(vm, disks, request, None, &NEVER)
}

/// Takes an injection back: every file of the guest that it changed gets its
/// old bytes again. Fails when one of them was changed since; throw the top
/// layers away then. Gives the number of changes.
pub fn undo(vm: &MicroVm, disks: &[Disk], manifest: &Manifest) -> Result<usize, MicroVmError> {
    match perform(vm, disks, Work::Undo(manifest), None, &NEVER)? {
        Outcome::Undone { changes } => {
            sync_top_layers(disks)?;
            Ok(changes)
        }
        other => Err(unexpected(other)),
    }
}

fn injected(
    vm: &MicroVm,
    disks: &[Disk],
    request: &InjectRequest,
    out_dir: Option<&Path>,
    cancelled: &AtomicBool,
) -> Result<PrepareReport, MicroVmError> {
    let start = Instant::now();
    match perform(vm, disks, Work::Inject(request), out_dir, cancelled)? {
        Outcome::Prepared {
            guest,
            changes,
            verified,
        } => {
            sync_top_layers(disks)?;
            let mut report = PrepareReport {
                guest,
                changes,
                verified,
                seconds: 0.0,
            };
            captured_damage::tell(vm, disks, &mut report, cancelled)?;
            report.seconds = start.elapsed().as_secs_f64();
            Ok(report)
        }
        other => Err(unexpected(other)),
    }
}

enum Work<'a> {
    Inspect,
    /// Only the filesystems, as they are.
    Check,
    Inject(&'a InjectRequest),
    Undo(&'a Manifest),
}

impl Work<'_> {
    fn task(&self) -> Task {
        let (inject, undo) = match *self {
            Self::Inspect | Self::Check => (None, None),
            Self::Inject(request) => (Some(request.clone()), None),
            Self::Undo(manifest) => (None, Some(manifest.clone())),
        };
        Task {
            disks: 0,
            inject,
            undo,
            check: matches!(self, Self::Check),
            machine_folder: false,
            modules: Vec::new(),
            filesystems: Default::default(),
            kit: false,
            drivers: false,
            overlaid: false,
            memory_mib: 0,
            output_bytes: 0,
        }
    }
}

/// Once more with more memory, where the size of what the guest holds asks for it: it says so
/// before it changes anything, and what was read out by then is read out again.
fn perform(
    vm: &MicroVm,
    disks: &[Disk],
    work: Work,
    out_dir: Option<&Path>,
    cancelled: &AtomicBool,
) -> Result<Outcome, MicroVmError> {
    let outcome = perform_once(vm, disks, &work, out_dir, cancelled)?;
    let larger = match &outcome {
        Outcome::Refused(refusal) => larger(vm, refusal),
        _ => None,
    };
    match larger {
        Some(vm) => {
            let _alone = the_only_large_one(cancelled)?;
            perform_once(&vm, disks, &work, out_dir, cancelled)
        }
        None => Ok(outcome),
    }
}

/// Callers count their micro-VMs by the usual memory, so only one at a time may have more.
fn the_only_large_one(cancelled: &AtomicBool) -> Result<MutexGuard<'static, ()>, MicroVmError> {
    static TURN: Mutex<()> = Mutex::new(());
    loop {
        match TURN.try_lock() {
            Ok(turn) => return Ok(turn),
            // It guards no data.
            Err(TryLockError::Poisoned(turn)) => return Ok(turn.into_inner()),
            Err(TryLockError::WouldBlock) if cancelled.load(Ordering::Relaxed) => {
                return Err(MicroVmError::Cancelled);
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(TURN_LOOK),
        }
    }
}

fn larger(vm: &MicroVm, refusal: &Refusal) -> Option<MicroVm> {
    let memory_mib = match refusal {
        Refusal::Windows {
            why: WindowsRefusal::HivesTooLarge { needed_mib },
        } => vm.memory_mib.checked_add(*needed_mib)?,
        Refusal::TooMuch {
            by_memory: true, ..
        } => MANY_KERNELS_MIB,
        _ => return None,
    };
    let is_larger = memory_mib > vm.memory_mib && memory_mib <= MOST_MEMORY_MIB;
    is_larger.then(|| MicroVm {
        memory_mib,
        ..vm.clone()
    })
}

fn perform_once(
    vm: &MicroVm,
    disks: &[Disk],
    work: &Work,
    out_dir: Option<&Path>,
    cancelled: &AtomicBool,
) -> Result<Outcome, MicroVmError> {
    if disks.iter().any(|disk| disk.layers.is_empty()) {
        return Err(MicroVmError::EmptyDisk);
    }
    let output_bytes = out_dir.map_or(REPORT_BYTES, |_| OUTPUT_BYTES);
    let output = output_file(out_dir, output_bytes)?;
    let kernel = initramfs::KernelPackage::open(&vm.kernel_dir)?;
    let kit = kernel.kit()?;
    let drivers = vm.drivers.as_deref().map(open_catalogue).transpose()?;
    let task = Task {
        disks: disks.len(),
        machine_folder: out_dir.is_some(),
        kit: kit.is_some(),
        drivers: drivers.is_some(),
        overlaid: disks.iter().all(|disk| disk.layers.len() > 1),
        memory_mib: vm.memory_mib,
        output_bytes,
        ..work.task()
    };
    let initramfs = kernel.initramfs(&vm.injector, task)?;
    let machine = qemu::Machine {
        vm,
        kernel: kernel.image()?,
        initramfs: launch::in_memory("lifeboat-initramfs", &initramfs)
            .map_err(host("keeping the initramfs in memory"))?,
        disks,
        writable: matches!(work, Work::Inject(_) | Work::Undo(_)),
        kit: kit.as_ref(),
        drivers: drivers.as_ref(),
        output: &output,
    };
    let end = launch::run(&machine, cancelled)?;
    match results::read(output, out_dir, output_bytes)? {
        Some(outcome) => Ok(outcome),
        None => Err(MicroVmError::NoReport {
            status: end.status,
            console: end.console,
        }),
    }
}

fn open_catalogue(path: &Path) -> Result<File, MicroVmError> {
    File::open(path).map_err(host(format!("opening {}", path.display())))
}

/// Beside the machine folder, or in memory when only a report comes.
fn output_file(out_dir: Option<&Path>, bytes: u64) -> Result<File, MicroVmError> {
    let Some(out_dir) = out_dir else {
        let made = launch::in_memory("lifeboat-answer", &[]).and_then(|memory| {
            let file = File::from(memory);
            file.set_len(bytes)?;
            Ok(file)
        });
        return made.map_err(host("making room for the micro-VM's answer"));
    };
    std::fs::create_dir_all(out_dir).map_err(host(format!("making {}", out_dir.display())))?;
    results::output_file(out_dir, bytes).map_err(host("making the file for the micro-VM's answer"))
}

fn unexpected(outcome: Outcome) -> MicroVmError {
    match outcome {
        Outcome::Refused(refusal) => MicroVmError::Refused(refusal),
        Outcome::Failed { message } => MicroVmError::Injector { message },
        Outcome::Inspected(_)
        | Outcome::Prepared { .. }
        | Outcome::Undone { .. }
        | Outcome::Checked(_) => MicroVmError::BadAnswer {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_micro_vms_take_turns_and_waiting_for_one_can_be_cancelled() {
        let first = the_only_large_one(&NEVER).unwrap();
        let refused = the_only_large_one(&AtomicBool::new(true));
        assert!(matches!(refused, Err(MicroVmError::Cancelled)));
        let (sent, taken) = std::sync::mpsc::channel();
        let second = std::thread::spawn(move || {
            let _turn = the_only_large_one(&NEVER);
            sent.send(()).unwrap();
        });
        taken.recv_timeout(3 * TURN_LOOK).unwrap_err();
        drop(first);
        taken.recv_timeout(Duration::from_secs(60)).unwrap();
        second.join().unwrap();
    }

    #[test]
    fn only_what_is_large_asks_for_more_memory_and_not_for_any() {
        let vm = MicroVm {
            qemu: PathBuf::new(),
            kernel_dir: PathBuf::new(),
            drivers: None,
            injector: PathBuf::new(),
            accelerator: Accelerator::Tcg,
            memory_mib: 512,
            timeout: Duration::from_secs(1),
            run_as: None,
        };
        let asked = |vm: &MicroVm, refusal| larger(vm, &refusal).map(|vm| vm.memory_mib);
        let given = |why: WindowsRefusal| asked(&vm, why.into());
        let hives = |needed_mib| given(WindowsRefusal::HivesTooLarge { needed_mib });
        assert_eq!(hives(600), Some(1112));
        assert_eq!(hives(MOST_MEMORY_MIB - 511), None);
        assert_eq!(hives(u32::MAX), None);
        assert_eq!(hives(0), None);
        assert_eq!(given(WindowsRefusal::Hibernated), None);
        let images = |by_memory| Refusal::TooMuch {
            what: "images".to_owned(),
            limit: 144,
            by_memory,
        };
        assert_eq!(asked(&vm, images(true)), Some(MANY_KERNELS_MIB));
        assert_eq!(asked(&vm, images(false)), None);
        let second = MicroVm {
            memory_mib: MANY_KERNELS_MIB,
            ..vm.clone()
        };
        assert_eq!(asked(&second, images(true)), None);
    }
}
