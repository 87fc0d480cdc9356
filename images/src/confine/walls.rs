//! The walls around the confined child. Raised before the first byte of the image is parsed.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope, path_beneath_rules,
};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, getegid, geteuid, setgroups, setresgid, setresuid};

use super::{Landlock, Limits, Walls, calls};

/// What the child has to reach beyond its open descriptors.
pub(super) enum Needs<'a> {
    /// Nothing.
    Nothing,
    /// QEMU's programs, which open the files again by their descriptors.
    Qemu(&'a [&'a File]),
    /// Files up to this length.
    Written(u64),
}

const NOBODY: u32 = 65_534;
/// An image may have 900 files, and its readers hold a second descriptor of each.
const MOST_DESCRIPTORS: u64 = 2048;
/// Bytes. Also what each of the up to 64 threads of QEMU's tools reserves.
const STACK: u64 = 2 << 20;

const ACTIVE_MODULES: &str = "/sys/kernel/security/lsm";

/// Where programs and their libraries lie.
const PROGRAMS: [&str; 6] = [
    "/usr",
    "/bin",
    "/lib",
    "/lib64",
    "/nix/store",
    "/etc/alternatives",
];
const READ_ONLY_FILES: [&str; 2] = ["/etc/ld.so.cache", "/dev/urandom"];

/// Raises all walls. Fails when neither Landlock nor an own user stands between the child and the
/// files of the host.
pub(super) fn raise(limits: &Limits, needs: &Needs<'_>) -> Result<Walls, String> {
    let root = geteuid().is_root();
    let network_namespace = leave_network(root)?;
    limit(limits, needs).map_err(|error| format!("setting resource limits failed ({error})"))?;
    let unprivileged = if root {
        drop_root(needs).map_err(|error| format!("dropping root failed ({error})"))?
    } else {
        true
    };
    prctl::set_no_new_privs().map_err(|error| format!("no_new_privs failed ({error})"))?;
    // Changing the user clears it, so it comes late.
    prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .map_err(|error| format!("following the parent's death failed ({error})"))?;
    // Behind Landlock it cannot be read any more.
    let modules = std::fs::read_to_string(ACTIVE_MODULES).unwrap_or_default();
    let landlock = restrict_files(needs).map_err(|error| format!("Landlock failed ({error})"))?;
    let walls = Walls {
        network_namespace,
        landlock,
        user: geteuid().as_raw(),
        group: getegid().as_raw(),
        unprivileged,
    };
    sufficient(&walls, &modules)?;
    calls::forbid(matches!(needs, Needs::Qemu(_)))?;
    Ok(walls)
}

/// `modules` are the security modules of this kernel, as far as it tells them.
fn sufficient(walls: &Walls, modules: &str) -> Result<(), String> {
    if walls.landlock == Landlock::No && modules.split(',').any(|name| name.trim() == "landlock") {
        return Err(
            "this kernel has Landlock but did not let the reader use it; allow the calls \
             `landlock_*` in the container or service that runs Lifeboat"
                .to_owned(),
        );
    }
    let own_user = (walls.user, walls.group) == (NOBODY, NOBODY);
    if !walls.unprivileged || (walls.landlock == Landlock::No && !own_user) {
        return Err(
            "this kernel offers no Landlock, and no user without rights may read the image; \
             enable Landlock (lsm=landlock) or make the image readable for others"
                .to_owned(),
        );
    }
    Ok(())
}

/// Root leaves directly, and always; others need a user namespace, which some hosts forbid. Gives
/// whether it did.
fn leave_network(root: bool) -> Result<bool, String> {
    let private = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    let flags = if root {
        private
    } else {
        private | CloneFlags::CLONE_NEWUSER
    };
    match unshare(flags) {
        Ok(()) => Ok(true),
        Err(error) if root => Err(format!(
            "leaving the network failed ({error}); let root make network namespaces \
             (`CAP_SYS_ADMIN`, no filter of `unshare`)"
        )),
        Err(_) => Ok(false),
    }
}

fn limit(limits: &Limits, needs: &Needs<'_>) -> nix::Result<()> {
    let longest_file = match needs {
        Needs::Written(length) => *length,
        Needs::Nothing | Needs::Qemu(_) => 0,
    };
    let bounds = [
        (Resource::RLIMIT_AS, limits.memory),
        (Resource::RLIMIT_STACK, STACK),
        (Resource::RLIMIT_CPU, limits.cpu_seconds),
        (Resource::RLIMIT_FSIZE, longest_file),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_NOFILE, MOST_DESCRIPTORS),
        (Resource::RLIMIT_MEMLOCK, 0),
    ];
    for (resource, bound) in bounds {
        setrlimit(resource, bound, bound)?;
    }
    Ok(())
}

/// Becomes `nobody`, or, where QEMU must open the image by its descriptor, the least user that
/// may read it. Gives whether all privileges are gone.
fn drop_root(needs: &Needs<'_>) -> io::Result<bool> {
    let (user, group) = match needs {
        Needs::Nothing | Needs::Written(_) => (NOBODY, NOBODY),
        Needs::Qemu(files) => least_reader_of_all(files)?,
    };
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(group));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    if user != 0 {
        setresuid(uid, uid, uid)?;
        return Ok(true);
    }
    // Only root may read the file. In a user namespace without mappings root is the owner of its
    // files and nothing more.
    unshare(CloneFlags::CLONE_NEWUSER)?;
    Ok(true)
}

/// Where they differ, root within its own namespace is left.
fn least_reader_of_all(files: &[&File]) -> io::Result<(u32, u32)> {
    let mut least = (NOBODY, NOBODY);
    for file in files {
        let reader = least_reader(&file.metadata()?);
        least = match (least, reader) {
            ((NOBODY, NOBODY), reader) => reader,
            (least, (NOBODY, NOBODY)) => least,
            (least, reader) if least == reader => least,
            _ => (0, NOBODY),
        };
    }
    Ok(least)
}

fn least_reader(metadata: &Metadata) -> (u32, u32) {
    let readable = |bit: u32| metadata.mode() & bit != 0;
    if readable(0o004) {
        (NOBODY, NOBODY)
    } else if readable(0o040) && metadata.gid() != 0 {
        (NOBODY, metadata.gid())
    } else {
        (metadata.uid(), NOBODY)
    }
}

fn restrict_files(needs: &Needs<'_>) -> Result<Landlock, landlock::RulesetError> {
    let abi = ABI::V6;
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?;
    let ruleset = match needs {
        Needs::Nothing | Needs::Written(_) => ruleset,
        Needs::Qemu(files) => files
            .iter()
            .try_fold(ruleset, |ruleset, file| {
                ruleset.add_rule(PathBeneath::new(file.as_fd(), AccessFs::ReadFile))
            })?
            .add_rules(path_beneath_rules(PROGRAMS, AccessFs::from_read(abi)))?
            .add_rules(path_beneath_rules(READ_ONLY_FILES, AccessFs::ReadFile))?
            .add_rules(path_beneath_rules(
                ["/dev/null"],
                AccessFs::ReadFile | AccessFs::WriteFile,
            ))?,
    };
    let status = ruleset.restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Landlock::Fully,
        RulesetStatus::PartiallyEnforced => Landlock::Partly,
        RulesetStatus::NotEnforced => Landlock::No,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(landlock: Landlock, user: u32, modules: &str, expected: Result<usize, &str>) {
        let walls = Walls {
            network_namespace: user == NOBODY,
            landlock,
            user,
            group: user,
            unprivileged: true,
        };
        match (sufficient(&walls, modules), expected) {
            (Ok(()), Ok(gaps)) => assert_eq!(walls.gaps().len(), gaps, "{walls:?}"),
            (Err(reason), Err(words)) => assert!(reason.contains(words), "{reason}"),
            (found, _) => panic!("{walls:?}: {found:?}"),
        }
    }

    #[test]
    fn landlock_is_done_without_only_where_there_is_none() {
        check(Landlock::Fully, NOBODY, "lockdown,landlock", Ok(0));
        check(Landlock::Partly, 1000, "lockdown,landlock", Ok(1));
        check(Landlock::No, NOBODY, "lockdown,yama", Ok(1));
        check(Landlock::No, NOBODY, "", Ok(1));
        check(
            Landlock::No,
            NOBODY,
            "lockdown,landlock",
            Err("did not let"),
        );
        check(Landlock::No, 1000, "lockdown", Err("no Landlock"));
    }
}
