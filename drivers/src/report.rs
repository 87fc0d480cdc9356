//! What goes into the micro-VM and what comes out of it: plain data.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;
use crate::windows::report::WindowsReport;

/// The virtual disk bus that the prepared machine will boot from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Bus {
    /// virtio-blk.
    #[default]
    VirtioBlk,
    /// virtio-scsi.
    VirtioScsi,
    /// SATA, for kernels without virtio.
    Ahci,
    /// NVMe, for kernels with neither virtio nor AHCI.
    Nvme,
}

/// The virtual network card that the prepared machine will have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum NicModel {
    /// virtio-net.
    #[default]
    Virtio,
    /// Intel 82574L, for kernels without virtio.
    E1000e,
}

impl NicModel {
    /// What Linux calls the driver of such a card.
    pub fn linux_driver(self) -> &'static str {
        match self {
            Self::Virtio => "virtio_net",
            Self::E1000e => "e1000e",
        }
    }
}

/// The virtual hardware that a machine is prepared for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Target {
    /// The bus of its disks.
    pub disk: Bus,
    /// The model of its network cards.
    pub nic: NicModel,
}

/// Other virtual hardware that every kernel of a guest can boot on, offered
/// with a refusal: ask again with this as [`InjectRequest::target`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallback {
    /// The bus of its disks.
    pub disk: Bus,
    /// The model of its network cards.
    pub nic: NicModel,
    /// Why the hardware that was asked for cannot be had, for people.
    pub reason: String,
}

impl Fallback {
    /// The hardware to ask for.
    pub fn target(&self) -> Target {
        Target {
            disk: self.disk,
            nic: self.nic,
        }
    }
}

/// One network card of the machine as it will be, and what it must keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicIdentity {
    /// The MAC address that the virtual card will carry.
    pub mac: String,
    /// The static address that belongs to this card, which finds its interface.
    pub address: Option<IpAddr>,
}

/// What to inject into one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InjectRequest {
    /// The machine's name, for messages only.
    pub machine: String,
    /// Its network cards.
    pub nics: Vec<NicIdentity>,
    /// The virtual hardware it will run on.
    #[serde(default)]
    pub target: Target,
    /// Which system is meant where several are found: its root as the refusal
    /// names it, or by `UUID=`, `LABEL=` or the name of its volume.
    #[serde(default)]
    pub root: Option<String>,
}

/// How the captured machine was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// A BIOS with a boot sector.
    #[default]
    Bios,
    /// UEFI with an EFI system partition.
    Uefi,
}

/// The guest's `os-release`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct OperatingSystem {
    /// `ID`, such as `debian`.
    pub id: String,
    /// `VERSION_ID`.
    pub version_id: String,
    /// `PRETTY_NAME`.
    pub pretty_name: String,
}

/// One partition, or a whole disk that carries a filesystem itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Partition {
    /// Which captured disk, counted from 0 in hardware order.
    pub disk: usize,
    /// The partition's number; 0 for a whole disk.
    pub number: u32,
    /// Its size.
    pub bytes: u64,
    /// The filesystem or container: `ext4`, `swap`, `vfat`, `luks`, `lvm2`...
    pub filesystem: Option<String>,
    /// The filesystem's UUID as the guest would write it.
    pub uuid: Option<String>,
    /// The filesystem's label.
    pub label: Option<String>,
    /// `PARTUUID`, when the partition table gives one.
    pub part_uuid: Option<String>,
    /// `PARTLABEL`, when the partition table gives one.
    #[serde(default)]
    pub part_label: Option<String>,
    /// Whether the partition table calls it an EFI system partition.
    pub efi_system: bool,
    /// The guest's name for an array or a logical volume, which has the place of
    /// the first partition that it lies on.
    #[serde(default)]
    pub volume: Option<String>,
    /// All names that an array or a logical volume has by itself, whatever the
    /// hardware.
    #[serde(default)]
    pub names: Vec<String>,
}

/// The guest's root filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct RootFilesystem {
    /// Disk and partition number.
    pub partition: (usize, u32),
    /// The filesystem's UUID.
    pub uuid: String,
    /// The filesystem's kind.
    pub filesystem: String,
    /// `root=` as the boot loader's configuration writes it.
    pub root_argument: Option<String>,
}

/// Which tool built an initramfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Generator {
    /// Debian's initramfs-tools.
    InitramfsTools,
    /// dracut.
    Dracut,
    /// Arch's mkinitcpio.
    Mkinitcpio,
    /// SUSE's mkinitrd, before dracut.
    Mkinitrd,
    /// None of these.
    Unknown,
}

/// One kernel of the guest with one initramfs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelReport {
    /// The kernel's release, the name under `/lib/modules`.
    pub version: String,
    /// The initramfs's path in the guest.
    pub initrd: String,
    /// What built it.
    pub generator: Generator,
    /// The compression of its main part.
    pub compressor: String,
    /// Whether everything needed to boot from virtio is there already.
    pub virtio_present: bool,
}

/// The configuration language an interface is described in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkStyle {
    /// `/etc/network/interfaces`.
    Ifupdown,
    /// systemd-networkd.
    Networkd,
    /// netplan.
    Netplan,
    /// NetworkManager keyfiles.
    NetworkManager,
    /// `ifcfg-*` of Red Hat and SUSE.
    Ifcfg,
    /// The registry of Windows.
    Registry,
}

/// One configured interface of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name; empty when the configuration matches by MAC address only.
    pub name: String,
    /// Where it is configured.
    pub style: NetworkStyle,
    /// Static addresses, `address/prefix` where the prefix is known.
    pub addresses: Vec<String>,
    /// Default gateway.
    pub gateway: Option<String>,
    /// Name servers.
    pub dns: Vec<String>,
    /// The MAC address that the configuration names.
    pub mac: Option<String>,
}

/// Everything the inspection found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct GuestReport {
    /// The operating system.
    pub os: OperatingSystem,
    /// The host name.
    pub hostname: String,
    /// How it was started.
    pub firmware: Firmware,
    /// All partitions of all disks.
    pub partitions: Vec<Partition>,
    /// Whether a volume on them could not be opened all of whose parts are there:
    /// nobody knows what it holds.
    #[serde(default)]
    pub closed_volumes: bool,
    /// The root filesystem.
    pub root: RootFilesystem,
    /// Every kernel that has an initramfs.
    pub kernels: Vec<KernelReport>,
    /// Configured interfaces.
    pub interfaces: Vec<Interface>,
    /// MAC addresses of the requested cards whose names are known, in the order
    /// in which they are best attached: the kernel's own counting (`eth0`,
    /// `eth1`...) then agrees with the names, which could not be swapped later.
    #[serde(default)]
    pub card_order: Vec<String>,
    /// Enabled units, as `target/unit` of the `.wants` and `.requires` links.
    pub enabled_units: Vec<String>,
    /// Units masked by a link to `/dev/null`.
    pub masked_units: Vec<String>,
    /// Names of installed packages, where the package database is cheap to read.
    pub packages: Vec<String>,
    /// Whether cloud-init is installed.
    pub cloud_init: bool,
    /// Windows, when the guest is one.
    #[serde(default)]
    pub windows: Option<WindowsReport>,
    /// Odd things that do not stop an injection.
    pub warnings: Vec<String>,
}

/// What happened to one file of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It did not exist.
    Created,
    /// Bytes were added at its end; truncating to the old size undoes it.
    Appended,
    /// Its content was replaced.
    Replaced,
    /// A symbolic link was made.
    Linked,
    /// It was taken away.
    Removed,
    /// It was moved aside, in the same directory.
    Moved,
    /// A directory was made.
    DirectoryMade,
}

/// The content of a file before it was replaced or taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OldContent {
    /// UTF-8.
    Text(String),
    /// Anything else, as hexadecimal digits.
    Hex(String),
}

impl OldContent {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(error) => {
                let bytes = error.as_bytes().iter();
                Self::Hex(bytes.map(|byte| format!("{byte:02x}")).collect())
            }
        }
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> std::io::Result<Vec<u8>> {
        let digits = match self {
            Self::Text(text) => return Ok(text.clone().into_bytes()),
            Self::Hex(digits) => digits.as_bytes(),
        };
        let pairs = digits.chunks(2).map(|pair| {
            let text = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(text, 16).ok()
        });
        pairs
            .collect::<Option<Vec<u8>>>()
            .ok_or_else(|| std::io::Error::other("the old content is not hexadecimal"))
    }
}

/// One change, enough to prove it and to undo it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Path in the guest.
    pub path: String,
    /// What was done.
    pub action: Action,
    /// Size before, if it existed.
    pub old_size: Option<u64>,
    /// BLAKE3 before, if it existed.
    pub old_hash: Option<String>,
    /// BLAKE3 after, unless it was removed.
    pub new_hash: Option<String>,
    /// The whole old content of a replaced or removed file, for replay backwards.
    pub old_content: Option<OldContent>,
    /// Where a moved file is now.
    #[serde(default)]
    pub moved_to: Option<String>,
    /// Permission bits of a replaced or removed file.
    #[serde(default)]
    pub mode: Option<u32>,
}

/// All changes of one injection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Manifest {
    /// In the order they were made.
    pub changes: Vec<Change>,
}

/// How the name of a check of a whole filesystem ends.
pub(crate) const IS_SOUND: &str = " is sound";

/// One fact proven by looking again after the injection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at.
    pub what: String,
    /// Whether it held.
    pub ok: bool,
    /// What was seen.
    pub detail: String,
}

/// The result of [`prepare`](crate::host::prepare).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrepareReport {
    /// The guest as it was found.
    pub guest: GuestReport,
    /// What was changed.
    pub changes: Manifest,
    /// What was proven afterwards.
    pub verified: Vec<Check>,
    /// Wall-clock time of the whole launch.
    pub seconds: f64,
}

/// What the micro-VM is asked to do; travels into it as `/task.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// How many disks the guest has, attached in hardware order.
    pub disks: usize,
    /// The injection, or nothing for an inspection.
    pub inject: Option<InjectRequest>,
    /// The injection to take back; nothing else is done then.
    #[serde(default)]
    pub undo: Option<Manifest>,
    /// Whether only the filesystems are checked, as they are.
    #[serde(default)]
    pub check: bool,
    /// Whether the machine folder is read out.
    pub machine_folder: bool,
    /// Kernel modules of the micro-VM itself, in loading order.
    pub modules: Vec<String>,
    /// Modules to load before the first mount of a filesystem or the first use
    /// of another part of the kernel, by its name.
    pub filesystems: BTreeMap<String, Vec<String>>,
    /// Whether the disk with the kit of storage tools is attached.
    pub kit: bool,
    /// Whether the disk with the catalogue of Windows drivers is attached.
    #[serde(default)]
    pub drivers: bool,
    /// Whether every disk is an overlay over another, which keeps what was.
    #[serde(default)]
    pub overlaid: bool,
    /// Memory of the micro-VM.
    #[serde(default)]
    pub memory_mib: u32,
    /// Upper bound of the result stream.
    pub output_bytes: u64,
}

/// What the micro-VM answers as `report.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The guest was looked at and nothing was changed.
    Inspected(GuestReport),
    /// The guest was changed, and looked at again.
    Prepared {
        /// The guest as it was found.
        guest: GuestReport,
        /// What was changed.
        changes: Manifest,
        /// What was proven afterwards.
        verified: Vec<Check>,
    },
    /// An injection was taken back.
    Undone {
        /// How many changes.
        changes: usize,
    },
    /// The filesystems were checked, and nothing was changed.
    Checked(Vec<Check>),
    /// The guest cannot be made to boot, and nothing was changed.
    Refused(Refusal),
    /// Something failed on the way.
    Failed {
        /// What was attempted, and the whole chain of causes.
        message: String,
    },
}
