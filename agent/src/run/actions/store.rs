//! Stores: mounted, made read-only, unmounted, recovered; and proved good by reading.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lifeboat_failover::stores::{Attempt, NextAttempt, Tried, next_attempt};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use super::{Did, Executor, Failed, Stepped, files};
use crate::profile::Store;

/// How long a store may be busy before it is not unmounted.
const BUSY: Duration = Duration::from_secs(10);

/// Something mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) point: PathBuf,
    pub(crate) device: String,
    pub(crate) filesystem: String,
    pub(crate) read_only: bool,
}

/// Everything that is mounted, the last mount at a place last.
pub(crate) fn mounts() -> io::Result<Vec<Mount>> {
    let text = std::fs::read_to_string("/proc/self/mountinfo")?;
    Ok(text.lines().filter_map(parse).collect())
}

/// What is mounted at a place.
pub(crate) fn mount_at(point: &Path) -> io::Result<Option<Mount>> {
    Ok(mounts()?.into_iter().rev().find(|one| one.point == point))
}

fn parse(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let before: Vec<&str> = before.split(' ').collect();
    let after: Vec<&str> = after.split(' ').collect();
    let read_only = |options: &&str| options.split(',').any(|one| one == "ro");
    Some(Mount {
        point: PathBuf::from(unescape(before.get(4)?)),
        device: unescape(after.get(1)?),
        filesystem: (*after.first()?).to_owned(),
        read_only: before.get(5).is_some_and(read_only) || after.get(2).is_some_and(read_only),
    })
}

/// Spaces and the like are written in octal there.
fn unescape(text: &str) -> String {
    let escapes = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    escapes
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// A store with this site's values.
#[derive(Debug, Clone)]
struct Place {
    name: String,
    point: PathBuf,
    device: Option<(String, String)>,
    options: String,
    guard: bool,
    limit: Duration,
}

impl Place {
    fn mounted(&self) -> Result<Option<Mount>, Failed> {
        mount_at(&self.point).map_err(|error| Failed(format!("mounts cannot be listed: {error}")))
    }

    fn failed(&self, what: &str, error: impl std::fmt::Display) -> Failed {
        Failed(format!("{}: {what}: {error}", self.name))
    }

    fn mount(&self) -> Stepped {
        let Some((device, filesystem)) = &self.device else {
            return match self.point.is_dir() {
                true => Ok(Did::already(format!("{}: its folder is there", self.name))),
                false => Err(self.failed("its folder", "is not there")),
            };
        };
        let options = (!self.options.is_empty()).then_some(self.options.as_str());
        let flags = match self.mounted()? {
            Some(mount) if mount.read_only => MsFlags::MS_REMOUNT,
            Some(mount) => {
                return Ok(Did::already(format!(
                    "{}: {} is mounted already",
                    self.name, mount.device
                )));
            }
            None => MsFlags::empty(),
        };
        std::fs::create_dir_all(&self.point).map_err(|error| self.failed("mount point", error))?;
        mount(
            Some(device.as_str()),
            &self.point,
            Some(filesystem.as_str()),
            flags,
            options,
        )
        .map_err(|error| self.failed("mount", error.desc()))?;
        Ok(Did::changed(format!("{}: {device} is mounted", self.name)))
    }

    fn remount_read_only(&self) -> Stepped {
        match self.mounted()? {
            Some(mount) if mount.read_only => {
                Ok(Did::already(format!("{}: read-only already", self.name)))
            }
            None => Ok(Did::already(format!("{}: not mounted", self.name))),
            Some(_) => {
                let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
                mount(None::<&str>, &self.point, None::<&str>, flags, None::<&str>)
                    .map_err(|error| self.failed("read-only", who_writes(&self.point, error)))?;
                Ok(Did::changed(format!("{}: read-only", self.name)))
            }
        }
    }

    /// Who only looks at the store, a check for instance, holds it for moments.
    fn unmount_once(&self) -> Result<(), Failed> {
        let end = Instant::now() + BUSY;
        loop {
            match umount2(&self.point, MntFlags::empty()) {
                Ok(()) => return Ok(()),
                Err(Errno::EBUSY) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(error) => {
                    return Err(self.failed("unmount", who_writes(&self.point, error)));
                }
            }
        }
    }

    fn unmount(&self) -> Stepped {
        if self.device.is_none() {
            return Ok(Did::already(format!("{}: a plain folder", self.name)));
        }
        let mut changed = false;
        // Several mounts may lie one above the other.
        while self.mounted()?.is_some() {
            self.unmount_once()?;
            changed = true;
        }
        if self.guard {
            guard(&self.point)
                .map_err(|error| self.failed("guard of the bare mount point", error))?;
        }
        let evidence = format!("{}: not mounted", self.name);
        Ok(if changed {
            Did::changed(evidence)
        } else {
            Did::already(evidence)
        })
    }
}

/// Nobody can deliver into the folder below the mount point, not even root by accident.
fn guard(point: &Path) -> io::Result<()> {
    std::fs::create_dir_all(point)?;
    let folder = std::fs::File::open(point)?;
    let immutable = |flags: IFlags| flags.contains(IFlags::IMMUTABLE);
    let flags = ioctl_getflags(&folder);
    if flags.is_ok_and(immutable) {
        return Ok(());
    }
    std::fs::set_permissions(point, std::fs::Permissions::from_mode(0o0))?;
    // Some filesystems know no such flag: then closed permissions have to do.
    if let Ok(flags) = flags {
        ioctl_setflags(&folder, flags | IFlags::IMMUTABLE)?;
    }
    Ok(())
}

/// Names the processes that keep a store busy.
fn who_writes(point: &Path, error: Errno) -> String {
    if error != Errno::EBUSY {
        return error.desc().to_owned();
    }
    let Ok(device) = std::fs::metadata(point).map(|meta| meta.dev()) else {
        return error.desc().to_owned();
    };
    let names: Vec<String> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|process| uses(&process.path(), device))
        .filter_map(|process| std::fs::read_to_string(process.path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .take(10)
        .collect();
    format!("busy, used by {}", names.join(", "))
}

fn uses(process: &Path, device: u64) -> bool {
    let on = |path: &Path| std::fs::metadata(path).is_ok_and(|meta| meta.dev() == device);
    let open = std::fs::read_dir(process.join("fd"));
    on(&process.join("cwd"))
        || open
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| on(&entry.path()))
}

impl Executor {
    pub(super) async fn mount(&self, name: &str) -> Stepped {
        let place = self.place(name)?.1;
        blocking(move || place.mount()).await
    }

    pub(super) async fn remount_read_only(&self, name: &str) -> Stepped {
        let place = self.place(name)?.1;
        blocking(move || place.remount_read_only()).await
    }

    pub(super) async fn unmount(&self, name: &str) -> Stepped {
        let place = self.place(name)?.1;
        blocking(move || place.unmount()).await
    }

    /// Steps 344 to 356.
    pub(super) async fn ensure_store(&self, name: &str) -> Stepped {
        let (store, place) = self.place(name)?;
        let (mut tried, mut course, mut changed, mut refill) =
            (Vec::new(), Vec::new(), false, false);
        loop {
            let attempt = match next_attempt(&tried) {
                NextAttempt::Do(attempt) => attempt,
                NextAttempt::Good => {
                    let evidence = course.join("; ");
                    return Ok(Did { changed, evidence });
                }
                NextAttempt::Lost => {
                    return Err(Failed(format!("{name} is lost: {}", course.join("; "))));
                }
            };
            let result = match attempt {
                Attempt::Mount if refill => self.mount_and_refill(store, &place).await,
                Attempt::Mount => self.mount(name).await,
                Attempt::Read => self.read(store, &place).await,
                Attempt::SoftRecovery => self.recover(store, &place, Recovery::Soft).await,
                Attempt::HardRecovery => self.recover(store, &place, Recovery::Hard).await,
            };
            refill |= attempt == Attempt::HardRecovery && result.is_ok();
            tried.push(Tried {
                attempt,
                ok: result.is_ok(),
            });
            match result {
                Ok(did) => {
                    changed |= did.changed;
                    course.push(did.evidence);
                }
                Err(Failed(why)) => course.push(why),
            }
        }
    }

    async fn mount_and_refill(&self, store: &Store, place: &Place) -> Stepped {
        let mounted = self.mount(&store.name).await?;
        let Some(refill) = &store.refill else {
            return Ok(mounted);
        };
        let output = self.command(&self.values.all(refill)?, place.limit).await?;
        match output.code {
            Some(0) => Ok(Did::changed(format!(
                "{}: filled up from the other copy",
                store.name
            ))),
            _ => Err(place.failed("fill up", output.line())),
        }
    }

    /// Every file is read to its end; then the application's own test has its say.
    async fn read(&self, store: &Store, place: &Place) -> Stepped {
        let least = match &store.files_at_least {
            Some(text) => self
                .values
                .text(text)?
                .parse()
                .map_err(|_| place.failed("files_at_least", "is not a number"))?,
            None => 0,
        };
        let (point, limit) = (place.point.clone(), place.limit);
        let read = tokio::task::spawn_blocking(move || files::read_all(&point, limit)).await;
        let (count, bytes) = read
            .map_err(|error| place.failed("read", error))?
            .map_err(|error| place.failed("read", error))?;
        if count < least {
            return Err(place.failed(
                "read",
                format!("{count} files, {least} are expected at least"),
            ));
        }
        if let Some(test) = &store.read_test {
            let output = self.command(&self.values.all(test)?, place.limit).await?;
            if output.code != Some(0) {
                return Err(place.failed("read test", output.line()));
            }
        }
        Ok(Did::already(format!(
            "{}: {count} files, {bytes} bytes read",
            store.name
        )))
    }

    async fn recover(&self, store: &Store, place: &Place, recovery: Recovery) -> Stepped {
        let own = match recovery {
            Recovery::Soft => &store.soft_recovery,
            Recovery::Hard => &store.hard_recovery,
        };
        let what = recovery.title();
        let (argv, good) = match (own, &place.device) {
            (Some(argv), _) => (self.values.all(argv)?, 0),
            (None, Some((device, filesystem))) => recovery
                .tool(device, filesystem)
                .ok_or_else(|| place.failed(what, format!("nothing known for {filesystem}")))?,
            (None, None) => return Err(place.failed(what, "the profile names no command")),
        };
        if own.is_none() {
            self.unmount(&store.name).await?;
        }
        let output = self.command(&argv, place.limit).await?;
        match output.code {
            // Bits of the exit code that mean "repaired".
            Some(code) if code & !good == 0 => Ok(Did::changed(format!(
                "{}: {what}: {}",
                store.name,
                output.line()
            ))),
            _ => Err(place.failed(what, output.line())),
        }
    }

    fn place(&self, name: &str) -> Result<(&Store, Place), Failed> {
        let store = self.loaded.profile.store(name);
        let store =
            store.ok_or_else(|| Failed::new(format!("the profile has no store `{name}`")))?;
        let device = match (&store.device, &store.filesystem) {
            (Some(device), Some(filesystem)) => {
                Some((self.values.text(device)?, self.values.text(filesystem)?))
            }
            _ => None,
        };
        let place = Place {
            name: store.name.clone(),
            point: PathBuf::from(self.values.text(&store.mount_point)?),
            device,
            options: store.options.clone(),
            guard: store.guard,
            limit: Duration::from_secs(store.within_s.into()),
        };
        Ok((store, place))
    }
}

#[derive(Debug, Clone, Copy)]
enum Recovery {
    Soft,
    Hard,
}

impl Recovery {
    fn title(self) -> &'static str {
        match self {
            Self::Soft => "soft recovery",
            Self::Hard => "hard recovery",
        }
    }

    /// The filesystem's own tool, and the bits of its exit code that are no failure.
    fn tool(self, device: &str, filesystem: &str) -> Option<(Vec<String>, i32)> {
        let (words, good): (&[&str], i32) = match (self, filesystem) {
            (Self::Soft, "ext2" | "ext3" | "ext4") => (&["/sbin/e2fsck", "-p"], 1),
            (Self::Hard, "ext2" | "ext3" | "ext4") => (&["/sbin/e2fsck", "-f", "-y"], 1),
            (Self::Soft, "xfs") => (&["/sbin/xfs_repair"], 0),
            (Self::Hard, "xfs") => (&["/sbin/xfs_repair", "-L"], 0),
            (Self::Soft, "btrfs") => (&["/usr/bin/btrfs", "check"], 0),
            _ => return None,
        };
        let mut argv: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        argv.push(device.to_owned());
        Some((argv, good))
    }
}

async fn blocking(work: impl FnOnce() -> Stepped + Send + 'static) -> Stepped {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Failed(format!("it was broken off: {error}"))))
}
