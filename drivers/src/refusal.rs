//! Why a guest is not touched, and the other hardware that it may be offered.

use serde::{Deserialize, Serialize};

use crate::report::{Bus, Fallback, NicModel};
use crate::windows::report::WindowsRefusal;

pub(crate) fn offer(fallback: Option<&Fallback>) -> String {
    let Some(fallback) = fallback else {
        return ", and no other hardware that Lifeboat offers fits it either".to_owned();
    };
    let disk = match fallback.disk {
        Bus::VirtioBlk => "virtio-blk",
        Bus::VirtioScsi => "virtio-scsi",
        Bus::Ahci => "AHCI",
        Bus::Nvme => "NVMe",
    };
    let nic = match fallback.nic {
        NicModel::Virtio => "virtio-net",
        NicModel::E1000e => "e1000e",
    };
    format!("; it can boot with {disk} disks and {nic} cards instead")
}

impl Refusal {
    /// Other virtual hardware on which the guest would boot, where there is any.
    pub fn fallback(&self) -> Option<&Fallback> {
        match self {
            Self::NoVirtio { fallback, .. } | Self::UnifiedKernelImage { fallback, .. } => {
                fallback.as_ref()
            }
            Self::UnknownInitrd { fallback, .. } => fallback.as_ref(),
            Self::Windows {
                why:
                    WindowsRefusal::NoDriver { fallback, .. }
                    | WindowsRefusal::UntrustedDriver { fallback, .. }
                    | WindowsRefusal::NoInboxDriver { fallback, .. },
            } => fallback.as_ref(),
            _ => None,
        }
    }
}

/// Why a guest is not touched. Every refusal comes before the first change to its
/// files; journals that were not replayed are by then, on the overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Refusal {
    /// No filesystem looks like a root.
    #[error(
        "no partition holds a Linux root filesystem (found: {found}); \
         give all disks of the machine, in hardware order"
    )]
    NoRoot {
        /// What the partitions hold instead.
        found: String,
    },
    /// More than one system, and nothing says which.
    #[error(
        "several root filesystems were found ({roots}); Lifeboat does not guess which one is meant: \
         name it by `root` in site.toml, or by `--root`"
    )]
    SeveralRoots {
        /// Where they are.
        roots: String,
    },
    /// The system that was asked for is not there.
    #[error("no root filesystem is {wanted}, which was asked for; found: {roots}")]
    NoSuchRoot {
        /// What was asked for.
        wanted: String,
        /// Where roots are.
        roots: String,
    },
    /// LUKS.
    #[error("{partition} is encrypted with LUKS, and no key was given")]
    Luks {
        /// Which partition.
        partition: String,
    },
    /// BitLocker.
    #[error("{partition} is encrypted with BitLocker, and no key was given")]
    BitLocker {
        /// Which partition.
        partition: String,
    },
    /// LVM.
    #[error("{partition} is an LVM physical volume that cannot be used: {detail}")]
    Lvm {
        /// Which partition.
        partition: String,
        /// Why not.
        detail: String,
        /// Whether disks that hold parts of it were not given.
        #[serde(default)]
        partial: bool,
    },
    /// Software RAID.
    #[error("{partition} is part of a software RAID that cannot be used: {detail}")]
    Raid {
        /// Which partition.
        partition: String,
        /// Why not.
        detail: String,
        /// Whether disks that hold parts of it were not given.
        #[serde(default)]
        partial: bool,
    },
    /// Windows.
    #[error("{why}")]
    Windows {
        /// What stands against it.
        why: WindowsRefusal,
    },
    /// A filesystem that cannot be mounted by the micro-VM.
    #[error("{partition} holds {filesystem}, which the injector cannot mount ({detail})")]
    UnsupportedFilesystem {
        /// Which partition.
        partition: String,
        /// What it holds.
        filesystem: String,
        /// What the kernel said.
        detail: String,
    },
    /// The micro-VM lacks its tools.
    #[error(
        "{partition} needs the micro-VM's storage tools, which its kernel directory lacks (kit.tar); \
         run ./setup, which completes it"
    )]
    NoKit {
        /// What needs them.
        partition: String,
    },
    /// Files that matter lie on a filesystem that is not there.
    #[error(
        "{mount} of the guest is on {device}, which is on no disk that was given; give all disks of the machine, in hardware order"
    )]
    MissingFilesystem {
        /// Where it belongs.
        mount: String,
        /// As the guest names it.
        device: String,
    },
    /// No kernel with an initramfs.
    #[error(
        "no kernel was found: neither an initramfs (initrd.img-K, initramfs-K.img or initrd-K) nor vmlinuz-K in /boot, and no unified kernel image"
    )]
    NoKernel,
    /// A kernel by itself finds its root by the partition table only.
    #[error(
        "kernel {kernel} starts without an initramfs, so that root={device} leads to nothing on other hardware, and the root lies on no partition with a PARTUUID; install an initramfs before the capture"
    )]
    RootWithoutName {
        /// The kernel's file.
        kernel: String,
        /// What the boot loader says.
        device: String,
    },
    /// Kernels that need Xen's hypercalls.
    #[error(
        "the guest has only kernels that run on Xen alone (such as {version}); install an ordinary kernel before the capture"
    )]
    XenOnly {
        /// One of them.
        version: String,
    },
    /// An initramfs that cannot be understood.
    #[error("{initrd} cannot be extended: {detail}{}", .fallback.as_ref().map(|other| offer(Some(other))).unwrap_or_default())]
    UnknownInitrd {
        /// Its path.
        initrd: String,
        /// What is wrong.
        detail: String,
        /// Other hardware whose drivers are in it, if there is any.
        #[serde(default)]
        fallback: Option<Fallback>,
    },
    /// A kernel was built without a driver that the virtual hardware needs.
    #[error(
        "kernel {version} has no {module}, neither built in nor as a module{}",
        offer(.fallback.as_ref())
    )]
    NoVirtio {
        /// The kernel.
        version: String,
        /// What is missing.
        module: String,
        /// Other hardware that would do, if there is any.
        fallback: Option<Fallback>,
    },
    /// Not enough room.
    #[error("the filesystem holding {path} has {free} bytes free, {needed} are needed")]
    NoSpace {
        /// Where.
        path: String,
        /// How much is needed.
        needed: u64,
        /// How much there is.
        free: u64,
    },
    /// Not an x86-64 system.
    #[error("the guest is built for {architecture}, Lifeboat boots x86-64 only")]
    ForeignArchitecture {
        /// What they are built for.
        architecture: String,
    },
    /// `chattr +i` or `+a`.
    #[error(
        "{path} of the guest has an attribute that forbids any change of it; take it away (chattr -i -a {path}) before the capture"
    )]
    Unchangeable {
        /// The file or directory.
        path: String,
    },
    /// Of a transactional system, or a snapshot.
    #[error(
        "/{path} of the guest lies on a filesystem or in a subvolume that is read-only, as those of transactional systems are; make it writable (for btrfs: `btrfs property set SUBVOLUME ro false`) before the capture"
    )]
    ReadOnly {
        /// The directory.
        path: String,
    },
    /// More than the injector has memory for.
    #[error("the guest's {what} are more than {limit} MiB together, more than any machine has")]
    TooMuch {
        /// Of what there is too much, in the plural or as a mass.
        what: String,
        /// The most that is taken, in MiB.
        limit: u64,
        /// Whether a micro-VM with more memory takes more.
        #[serde(default)]
        by_memory: bool,
    },
    /// Nothing that the firmware starts by itself.
    #[error(
        "the EFI system partition has no EFI/BOOT/BOOTX64.EFI, and the loader to put there is not known (found: {found}); put it there before the capture"
    )]
    NoLoader {
        /// The loaders that were found instead.
        found: String,
    },
    /// A memory image would be resumed with the drivers of the old hardware.
    #[error(
        "{partition} holds the memory of a hibernated machine, which cannot go on with other hardware; start the machine, shut it down and capture it again"
    )]
    Hibernated {
        /// Which partition.
        partition: String,
    },
    /// The same MAC twice.
    #[error("the MAC address {mac} is given to more than one card")]
    DuplicateMac {
        /// Which.
        mac: String,
    },
    /// A unified kernel image.
    #[error(
        "the unified kernel image {path} lacks {lacks} and cannot be changed, because it is signed as a whole{}",
        offer(.fallback.as_ref())
    )]
    UnifiedKernelImage {
        /// Its path.
        path: String,
        /// What is missing.
        lacks: String,
        /// Other hardware that would do, if there is any.
        fallback: Option<Fallback>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_initramfs_that_cannot_be_extended_may_boot_on_other_hardware() {
        let refusal = |fallback| Refusal::UnknownInitrd {
            initrd: "/boot/initrd".to_owned(),
            detail: "why".to_owned(),
            fallback,
        };
        let other = Fallback {
            disk: Bus::Ahci,
            nic: NicModel::E1000e,
            reason: String::new(),
        };
        let offered = refusal(Some(other.clone()));
        assert_eq!(offered.fallback(), Some(&other));
        assert!(offered.to_string().contains("AHCI disks"), "{offered}");
        let text = "/boot/initrd cannot be extended: why";
        assert_eq!(refusal(None).to_string(), text);
    }
}
