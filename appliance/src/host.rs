//! The host: where Lifeboat keeps its things, what memory and disk it has, as
//! which users its processes run.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use lifeboat_images::{ConversionLimits, Conversions};
use lifeboat_network::config::Owner;
use nix::sys::statvfs::statvfs;

use crate::daemon::WrongUse;
use crate::imports::ImportFolder;

/// Memory that stays with the host, MiB.
const RESERVED_MIB: u64 = 768;

/// The user that QEMU processes of libvirt run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QemuUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl QemuUser {
    /// libvirt's own user, by the names that distributions give it.
    pub fn find() -> Option<Self> {
        ["libvirt-qemu", "qemu"].into_iter().find_map(|name| {
            let user = nix::unistd::User::from_name(name).ok()??;
            Some(Self {
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
            })
        })
    }
}

/// Places and limits of this host.
#[derive(Debug, Clone)]
pub struct Host {
    /// Database, prepared images, sessions.
    pub state_dir: PathBuf,
    /// Sockets, gone after a reboot.
    pub run_dir: PathBuf,
    /// Kernel of the micro-VM, laid out as its package.
    pub kernel_dir: PathBuf,
    /// Folder of `lifeboat-switch` and `lifeboat-injector`.
    pub program_dir: PathBuf,
    /// Folders from which volumes may be taken over the network.
    pub imports: Vec<ImportFolder>,
    /// What a captured file may unfold to.
    pub limits: ConversionLimits,
}

/// Everything that lies in a state directory.
const STATE: [&str; 24] = [
    "access.db",
    "access.db-shm",
    "access.db-wal",
    "access.head",
    "access.key",
    "api-tls.pem",
    "api-token",
    "converted",
    "drafts",
    "drivers",
    "failover.db",
    "failover.db-shm",
    "failover.db-wal",
    "lifeboat.db",
    "lifeboat.db-shm",
    "lifeboat.db-wal",
    "lifeboat.sock",
    "lock",
    "prepared",
    "sessions",
    "sites",
    "trees",
    "unpacked",
    "uploads",
];

/// Bounds on what a captured file may unfold to, as the environment sets them:
/// `LIFEBOAT_LARGEST_DISK` in bytes, `LIFEBOAT_UNPACK_RATIO` in bytes of content
/// for each packed byte, `LIFEBOAT_RESERVE` in bytes that stay free.
fn limits(environment: &dyn Fn(&str) -> Option<OsString>) -> anyhow::Result<ConversionLimits> {
    let read = |name: &str, default: u64| {
        let Some(value) = environment(name) else {
            return Ok(default);
        };
        let number = value.to_str().and_then(|value| value.parse().ok());
        number.ok_or_else(|| {
            let value = value.to_string_lossy();
            WrongUse(format!(
                "`{name}` is `{value}`: set it to a whole number, without a unit, or leave it out"
            ))
        })
    };
    let default = ConversionLimits::default();
    Ok(ConversionLimits {
        largest_disk: read("LIFEBOAT_LARGEST_DISK", default.largest_disk)?,
        ratio: read("LIFEBOAT_UNPACK_RATIO", default.ratio)?,
        reserve: read("LIFEBOAT_RESERVE", default.reserve)?,
        ..default
    })
}

/// Takes a state directory that exists away from all but its owner: disks of
/// production lie in it. In a folder that holds other things, too, only what is
/// ours.
pub fn close_to_others(state_dir: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(state_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // Somebody else's: nothing is written there.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
        entries => entries?.collect::<io::Result<Vec<_>>>()?,
    };
    let is_ours = |name: &OsString| STATE.iter().any(|ours| name == ours);
    let names: Vec<_> = entries.iter().map(|entry| entry.file_name()).collect();
    if names.iter().all(is_ours) {
        return take_away(state_dir);
    }
    let ours = names.iter().filter(|name| is_ours(name));
    ours.map(|name| state_dir.join(name))
        .try_for_each(|path| take_away(&path))
}

fn take_away(path: &Path) -> io::Result<()> {
    let metadata = path.symlink_metadata()?;
    let is_own = metadata.uid() == nix::unistd::geteuid().as_raw();
    if metadata.is_symlink() || !is_own || metadata.mode() & 0o077 == 0 {
        return Ok(());
    }
    let mode = metadata.mode() & 0o700;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

impl Host {
    /// The host as the environment and the place of this program describe it.
    pub fn new(state_dir: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let from_environment = |name: &str, default: &str| {
            std::env::var_os(name).map_or_else(|| PathBuf::from(default), PathBuf::from)
        };
        Ok(Self {
            state_dir: std::path::absolute(state_dir)?,
            run_dir: from_environment("LIFEBOAT_RUN_DIR", "/run/lifeboat"),
            kernel_dir: from_environment("LIFEBOAT_KERNEL_DIR", "/var/cache/lifeboat/kernel"),
            program_dir: program.parent().map(Path::to_path_buf).unwrap_or_default(),
            imports: Vec::new(),
            limits: limits(&|name| std::env::var_os(name))?,
        })
    }

    /// Folder of a session.
    pub fn session_dir(&self, id: &str) -> PathBuf {
        self.state_dir.join("sessions").join(id)
    }

    /// Folder of a prepared machine.
    pub fn prepared_dir(&self, key: &str) -> PathBuf {
        self.state_dir.join("prepared").join(key)
    }

    /// The catalogue of Windows drivers, whether it exists or not.
    pub fn driver_catalogue(&self) -> PathBuf {
        self.state_dir.join("drivers").join("catalogue.tar")
    }

    /// Folder of the hash trees of captured volumes.
    pub fn trees_dir(&self) -> PathBuf {
        self.state_dir.join("trees")
    }

    /// Where captured disks lie that had to be converted.
    pub fn conversions(&self) -> Conversions {
        self.conversions_in(&self.state_dir.join("converted"))
    }

    /// The same in another folder, for disks that only one command's result needs.
    pub fn conversions_in(&self, folder: &Path) -> Conversions {
        Conversions::new(folder).with_limits(self.limits.clone())
    }

    /// Folder of the disks of unpacked OVF archives.
    pub fn unpacked_dir(&self) -> PathBuf {
        self.state_dir.join("unpacked")
    }

    /// File of a site that was described over the network.
    pub fn described_site(&self, name: &str) -> PathBuf {
        self.state_dir.join("sites").join(name).join("site.toml")
    }

    /// Folder of what drafts of site files name.
    pub fn drafts_dir(&self) -> PathBuf {
        self.state_dir.join("drafts")
    }

    /// One of the project's own programs, beside this one.
    pub fn program(&self, name: &str) -> PathBuf {
        self.program_dir.join(name)
    }

    /// Tells this boot of the host from all others.
    pub fn boot_id(&self) -> String {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        id.unwrap_or_default().trim().to_owned()
    }

    /// Memory that guests may use now, MiB.
    pub fn memory_for_guests_mib(&self) -> u64 {
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        field_mib(&meminfo, "MemAvailable:").saturating_sub(RESERVED_MIB)
    }

    /// Memory that the QEMU process of a domain holds, MiB; 0 without one.
    pub fn resident_mib(&self, domain: &str) -> u64 {
        let named = format!("guest={domain},");
        let is_its = |argument: &[u8]| argument.starts_with(named.as_bytes());
        processes()
            .find(|pid| any_argument(*pid, is_its))
            .and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).ok())
            .map_or(0, |status| field_mib(&status, "VmRSS:"))
    }

    /// Free space of the state directory, MiB.
    pub fn free_disk_mib(&self) -> u64 {
        statvfs(&self.state_dir).map_or(0, |vfs| {
            (vfs.blocks_available() * vfs.fragment_size()) >> 20
        })
    }

    /// The user that the switch becomes: it owns nothing.
    pub fn switch_user(&self) -> Owner {
        let nobody = nix::unistd::User::from_name("nobody").ok().flatten();
        nobody.map_or(
            Owner {
                uid: 65_534,
                gid: 65_534,
            },
            |user| Owner {
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
            },
        )
    }
}

/// A field of a file of `/proc` that is given in kB.
fn field_mib(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib >> 10)
}

/// A process, told from a later one with the same id by its start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// Process id.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`.
    pub start_time: u64,
}

impl ProcessIdentity {
    /// The identity of a running process.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything, so count from its end.
        let after_name = stat.rsplit_once(')')?.1;
        let mut fields = after_name.split_whitespace();
        let state = fields.next()?;
        let start_time = fields.nth(18)?.parse().ok()?;
        (state != "Z").then_some(Self { pid, start_time })
    }

    /// All processes that carry this word in their command line, but for this
    /// one. The word must be one that only ours carry: a path of a session.
    pub fn with_argument(word: &std::ffi::OsStr) -> Vec<Self> {
        let is_word = |argument: &[u8]| argument == word.as_encoded_bytes();
        processes()
            .filter(|pid| *pid != std::process::id().cast_signed())
            .filter(|pid| any_argument(*pid, is_word))
            .filter_map(Self::of)
            .collect()
    }

    /// Whether it still runs.
    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends a signal, if it still runs.
    pub fn signal(self, signal: nix::sys::signal::Signal) {
        if self.pid > 1 && self.is_alive() {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid), signal);
        }
    }
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn any_argument(pid: i32, is_it: impl Fn(&[u8]) -> bool) -> bool {
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    arguments.split(|byte| *byte == 0).skip(1).any(is_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_mib() {
        assert_eq!(
            field_mib(
                "MemTotal: 1 kB\nMemAvailable:    2097152 kB\n",
                "MemAvailable:"
            ),
            2_048
        );
        assert_eq!(field_mib("nothing", "MemAvailable:"), 0);
    }

    #[test]
    fn limits_that_cannot_be_read_are_named() {
        let set = |value: &'static str| {
            limits(&move |name| (name == "LIFEBOAT_RESERVE").then(|| value.into()))
        };
        assert_eq!(set("7").unwrap().reserve, 7);
        let default = ConversionLimits::default();
        assert_eq!(limits(&|_| None).unwrap(), default);
        for wrong in ["10G", "", "-1", "x"] {
            let error = set(wrong).unwrap_err().to_string();
            assert!(error.starts_with("`LIFEBOAT_RESERVE` is"), "{error}");
        }
    }

    #[test]
    fn a_state_directory_is_closed_to_others() {
        let place = tempfile::tempdir().unwrap();
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
        let open = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let state = place.path().join("state");
        close_to_others(&state).unwrap();
        assert!(!state.exists());
        let (drivers, database) = (state.join("drivers"), state.join("lifeboat.db"));
        std::fs::create_dir_all(&drivers).unwrap();
        std::fs::write(&database, "").unwrap();
        open(&state, 0o755);
        open(&database, 0o644);
        close_to_others(&state).unwrap();
        assert_eq!((mode(&state), mode(&database)), (0o700, 0o644));
        // A folder of other things stays as open as it is.
        open(&state, 0o755);
        std::fs::write(state.join("foreign"), "").unwrap();
        open(&state.join("foreign"), 0o644);
        close_to_others(&state).unwrap();
        assert_eq!((mode(&state), mode(&database)), (0o755, 0o600));
        assert_eq!(
            (mode(&drivers), mode(&state.join("foreign"))),
            (0o700, 0o644)
        );
    }

    #[test]
    fn a_process_is_itself_until_it_ends() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let identity = ProcessIdentity::of(child.id().try_into().unwrap()).unwrap();
        assert!(identity.is_alive());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!identity.is_alive());
    }
}
