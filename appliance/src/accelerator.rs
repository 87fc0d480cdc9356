//! Which accelerator this host really has.
//!
//! `/dev/kvm` that opens and a libvirt that offers `kvm` prove nothing: on a
//! host without `vmx`/`svm` guests hang at their first instruction. Usable is
//! decided by the processor's flag and by booting a tiny guest.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How guests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// Hardware virtualisation.
    Kvm,
    /// QEMU's own emulation: slower, and no isolation boundary.
    Tcg,
}

impl Accelerator {
    /// QEMU's name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// The decision and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = AcceleratorVerdict)]
pub struct Verdict {
    /// What guests will use.
    pub accelerator: Accelerator,
    /// The reason, for people.
    pub reason: String,
}

/// What the host shows about KVM before a guest is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvmSigns {
    /// The processor has `vmx` or `svm`.
    pub cpu_flag: bool,
    /// `/dev/kvm` opens for reading and writing.
    pub device_opens: bool,
}

/// What came of booting the tiny guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TinyGuest {
    /// Its kernel spoke.
    Spoke,
    /// It said nothing within the time.
    Silent(Duration),
    /// It could not be started, or there is no kernel to try.
    NotTried(String),
}

/// Decides from the signs; `boot` runs only when the signs are good.
pub fn decide(signs: KvmSigns, boot: impl FnOnce() -> TinyGuest) -> Verdict {
    let tcg = |reason: String| Verdict {
        accelerator: Accelerator::Tcg,
        reason,
    };
    match signs {
        KvmSigns { device_opens: false, .. } => tcg("/dev/kvm does not open: enable virtualisation in the firmware and load kvm_intel or kvm_amd".into()),
        KvmSigns { cpu_flag: false, .. } => tcg(
            "/dev/kvm opens, but the processor shows neither vmx nor svm: guests would hang. Enable (nested) virtualisation for this host".into(),
        ),
        _ => match boot() {
            TinyGuest::Spoke => Verdict { accelerator: Accelerator::Kvm, reason: "a tiny guest booted under KVM".into() },
            TinyGuest::Silent(time) => tcg(format!("a tiny guest said nothing under KVM within {} s", time.as_secs())),
            TinyGuest::NotTried(why) => tcg(format!("no tiny guest could be tried under KVM: {why}")),
        },
    }
}

/// Looks at the host, and tries a guest when that makes sense.
pub fn detect(kernel_dir: &Path) -> Verdict {
    decide(kvm_signs(), || {
        boot_tiny_guest(kernel_dir, Accelerator::Kvm, Duration::from_secs(10))
    })
}

fn kvm_signs() -> KvmSigns {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let device = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm");
    KvmSigns {
        cpu_flag: has_virtualisation_flag(&cpuinfo),
        device_opens: device.is_ok(),
    }
}

fn has_virtualisation_flag(cpuinfo: &str) -> bool {
    let flags = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("flags"))
        .unwrap_or("");
    flags
        .split_whitespace()
        .any(|flag| flag == "vmx" || flag == "svm")
}

/// Boots the bare kernel and waits for its first words on the serial port.
pub fn boot_tiny_guest(kernel_dir: &Path, accelerator: Accelerator, limit: Duration) -> TinyGuest {
    let Some(kernel) = find_kernel(kernel_dir) else {
        return TinyGuest::NotTried(format!("no kernel in `{}`", kernel_dir.display()));
    };
    let spawned = tiny_guest_command(&kernel, accelerator).spawn();
    match spawned {
        Err(error) => TinyGuest::NotTried(format!("QEMU does not start: {error}")),
        Ok(child) => listen(child, limit),
    }
}

fn tiny_guest_command(kernel: &Path, accelerator: Accelerator) -> Command {
    // A guest that hangs must not outlive this program, however that ends.
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"])
        .args([
            "-machine",
            "q35",
            "-accel",
            accelerator.word(),
            "-m",
            "256",
            "-nodefaults",
        ])
        .args([
            "-no-reboot",
            "-display",
            "none",
            "-nic",
            "none",
            "-serial",
            "stdio",
            "-kernel",
        ])
        .arg(kernel)
        .args(["-append", "console=ttyS0 earlyprintk=ttyS0 panic=-1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0);
    command
}

fn listen(mut child: Child, limit: Duration) -> TinyGuest {
    let (spoke, heard) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        std::thread::spawn(move || {
            let lines = BufReader::new(output).split(b'\n').map_while(Result::ok);
            if lines
                .take(10_000)
                .any(|line| line.windows(13).any(|w| w == b"Linux version"))
            {
                let _ = spoke.send(());
            }
        });
    }
    let result = match heard.recv_timeout(limit) {
        Ok(()) => TinyGuest::Spoke,
        Err(mpsc::RecvTimeoutError::Timeout) => TinyGuest::Silent(limit),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            TinyGuest::NotTried("QEMU ended at once".into())
        }
    };
    drop(child.kill());
    drop(child.wait());
    result
}

/// The kernel of the micro-VM, as the set-up unpacked it.
pub fn find_kernel(kernel_dir: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(kernel_dir.join("boot")).ok()?;
    let mut kernels: Vec<_> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-"))
        })
        .collect();
    kernels.sort();
    kernels.pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn never() -> TinyGuest {
        unreachable!("no guest is tried when the signs are bad")
    }

    #[test]
    fn a_device_without_the_cpu_flag_is_a_trap() {
        let verdict = decide(
            KvmSigns {
                cpu_flag: false,
                device_opens: true,
            },
            never,
        );
        assert_eq!(verdict.accelerator, Accelerator::Tcg);
        assert!(verdict.reason.contains("vmx"));
    }

    #[test]
    fn only_a_guest_that_spoke_proves_kvm() {
        let good = KvmSigns {
            cpu_flag: true,
            device_opens: true,
        };
        assert_eq!(
            decide(good, || TinyGuest::Spoke).accelerator,
            Accelerator::Kvm
        );
        let silent = decide(good, || TinyGuest::Silent(Duration::from_secs(10)));
        assert_eq!(silent.accelerator, Accelerator::Tcg);
    }

    #[test]
    fn flags_are_whole_words() {
        assert!(has_virtualisation_flag("flags\t\t: fpu vmx sse\n"));
        assert!(!has_virtualisation_flag("flags\t\t: fpu avmx svm_lock\n"));
    }
}
