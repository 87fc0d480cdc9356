//! What is said of a Windows guest: plain data.

use serde::{Deserialize, Serialize};

use crate::refusal::{Refusal, offer};
use crate::report::Fallback;

/// A Windows guest as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct WindowsReport {
    /// `ProductName`: `Windows Server 2019 Standard`.
    pub product: String,
    /// `EditionID`.
    pub edition: String,
    /// `InstallationType`: `Client`, `Server`, `Server Core`.
    pub installation: String,
    /// Major and minor version.
    pub version: String,
    /// Number of the build.
    pub build: u32,
    /// `amd64` or `x86`.
    pub architecture: String,
    /// The directory of Windows, below the root.
    pub system_root: String,
    /// The set of settings that the next start uses.
    pub control_set: String,
    /// Folders of the driver catalogue that fit, best first.
    pub driver_folders: Vec<String>,
    /// Whether the hardware clock shows local time instead of UTC.
    pub local_clock: bool,
    /// The host name.
    pub host_name: String,
    /// Hives whose transaction logs held changes that were applied.
    pub replayed: Vec<String>,
}

/// Why a Windows guest is not touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "windows", rename_all = "kebab-case")]
pub enum WindowsRefusal {
    /// Something is not where Windows has it.
    #[error("this Windows cannot be prepared: {missing} is not there")]
    Incomplete {
        /// What is missing.
        missing: String,
    },
    /// It sleeps on the disk.
    #[error(
        "Windows is hibernated or was shut down with fast startup, so that a part of its files is in its saved memory; \
         start it, run `powercfg /h off`, shut it down and capture it again"
    )]
    Hibernated,
    /// The filesystem was not closed.
    #[error(
        "{partition} holds NTFS that cannot be mounted safely ({detail}); \
         start the machine, let `chkdsk /f` run, shut it down and capture it again"
    )]
    UncleanNtfs {
        /// Which partition.
        partition: String,
        /// What the driver said.
        detail: String,
    },
    /// A hive cannot be read.
    #[error("reading the registry hive {hive} failed: {detail}")]
    HiveUnreadable {
        /// Its path.
        hive: String,
        /// What the kernel said.
        detail: String,
    },
    /// Hives of a size that the micro-VM has no memory for.
    #[error(
        "the registry hives of this Windows are too large: changing them takes {needed_mib} MiB of memory, \
         more than the injection's micro-VM has"
    )]
    HivesTooLarge {
        /// Memory for the hives, in MiB.
        needed_mib: u32,
    },
    /// A hive cannot be changed safely.
    #[error("the registry hive {hive} is not changed: {detail}")]
    HiveUnusable {
        /// Its path.
        hive: String,
        /// What is wrong, and what to do.
        detail: String,
    },
    /// Windows's own volume manager.
    #[error(
        "{partition} belongs to a dynamic disk of Windows, which Lifeboat does not read; convert it to a basic disk and capture it again"
    )]
    DynamicDisk {
        /// Which partition.
        partition: String,
    },
    /// Storage Spaces.
    #[error(
        "{partition} belongs to Storage Spaces, which Lifeboat does not read; move Windows to a basic disk and capture it again"
    )]
    StorageSpaces {
        /// Which partition.
        partition: String,
    },
    /// Nothing would keep what was.
    #[error(
        "Windows is injected into an overlay only, because the changes to its registry are not taken back otherwise; \
         name one (`--overlay`)"
    )]
    NoOverlay,
    /// It starts by UEFI, and from where is not there.
    #[error(
        "{product} starts by UEFI, and there is not the one EFI system partition with its loader \
         (EFI/Microsoft/Boot/bootmgfw.efi); give all disks of the machine, in hardware order"
    )]
    NoLoader {
        /// Which Windows.
        product: String,
    },
    /// The catalogue has no driver for it.
    #[error("{wanted} for {product} ({folders}) is not in the driver catalogue; add one with `lifeboat drivers add virtio-win.iso`{}", offer(.fallback.as_ref()))]
    NoDriver {
        /// The driver.
        wanted: String,
        /// Which Windows.
        product: String,
        /// Folders of virtio-win that were looked into.
        folders: String,
        /// Other hardware that would do, if there is any.
        fallback: Option<Fallback>,
    },
    /// The catalogue's driver would keep Windows from starting.
    #[error(
        "{product} would turn away the driver {driver} when it starts: {detail}{}",
        offer(.fallback.as_ref())
    )]
    UntrustedDriver {
        /// Which Windows.
        product: String,
        /// The driver, and the image that it came from.
        driver: String,
        /// What is wrong with its signature, and what to do.
        detail: String,
        /// Other hardware that would do, if there is any.
        fallback: Option<Fallback>,
    },
    /// The hardware that was asked for needs a driver that this Windows lacks.
    #[error("{product} has no driver for {wanted} disks{}", offer(.fallback.as_ref()))]
    NoInboxDriver {
        /// Which Windows.
        product: String,
        /// The bus.
        wanted: String,
        /// Other hardware that would do, if there is any.
        fallback: Option<Fallback>,
    },
}

impl From<WindowsRefusal> for Refusal {
    fn from(why: WindowsRefusal) -> Self {
        Self::Windows { why }
    }
}
