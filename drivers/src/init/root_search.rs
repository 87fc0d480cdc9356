//! Which filesystem, and which subvolume of it, is the guest's root.

use std::io;

use super::disks::Found;
use super::mounts::{Guest, driver, name};
use super::tools::Tools;
use crate::guest::facts::looks_like_root;
use crate::guest::root::{EntryKind, Root};
use crate::partition_table;
use crate::refusal::Refusal;
use crate::windows::report::WindowsRefusal;

/// How many directories of a btrfs filesystem are tried.
const MOST_SUBVOLUMES: usize = 64;

/// Where the root is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RootPlace {
    /// Its index among all partitions.
    pub index: usize,
    /// What its mount needs: the subvolume, if it is not the default one.
    pub options: String,
}

/// Finds the one root filesystem.
pub(super) fn find(
    found: &[Found],
    problems: &[Refusal],
    tools: &Tools,
) -> Result<RootPlace, Refusal> {
    let mut roots = Vec::new();
    let mut failed = None;
    for (index, each) in found.iter().enumerate() {
        match driver(&each.partition) {
            None | Some("vfat") => continue,
            Some(_) => {}
        }
        match roots_on(each, tools) {
            Ok(options) => roots.extend(
                options
                    .into_iter()
                    .map(|options| RootPlace { index, options }),
            ),
            Err(error) => failed = Some((each, error)),
        }
    }
    match (roots.as_slice(), failed) {
        ([root], _) => Ok(root.clone()),
        ([], Some((each, error))) => Err(Refusal::UnsupportedFilesystem {
            partition: name(&each.partition),
            filesystem: each.partition.filesystem.clone().unwrap_or_default(),
            detail: error.to_string(),
        }),
        ([], None) => Err(container_refusal(found, problems)),
        (several, _) => Err(Refusal::SeveralRoots {
            roots: list(found, several),
        }),
    }
}

fn list(found: &[Found], roots: &[RootPlace]) -> String {
    let names = roots.iter().map(|root| {
        let name = name(&found[root.index].partition);
        match root.options.strip_prefix("subvol=") {
            Some(subvolume) => format!("subvolume {subvolume} of {name}"),
            None => name,
        }
    });
    names.collect::<Vec<_>>().join(", ")
}

/// The mount options of each root on one filesystem.
fn roots_on(each: &Found, tools: &Tools) -> io::Result<Vec<String>> {
    let subvolumes = match look(each, "", tools, looks_like_root)? {
        true => return Ok(vec![String::new()]),
        false if driver(&each.partition) == Some("btrfs") => subvolumes(each, tools)?,
        false => Vec::new(),
    };
    let mut roots = Vec::new();
    for (name, options) in subvolumes {
        // What is no subvolume cannot be mounted as one.
        let is_root = look(each, &options, tools, |root| {
            looks_like_root(root) && is_its_own(root, &name)
        });
        if is_root.unwrap_or(false) {
            roots.push(options);
        }
    }
    Ok(roots)
}

/// Names in the top level, which is not always the default subvolume.
fn subvolumes(each: &Found, tools: &Tools) -> io::Result<Vec<(String, String)>> {
    look(each, "subvolid=5", tools, |root| {
        let names = root.list(".").into_iter();
        names
            .filter(|(name, kind)| *kind == EntryKind::Directory && !name.contains(','))
            .take(MOST_SUBVOLUMES)
            .map(|(name, _)| {
                let options = format!("subvol={name}");
                (name, options)
            })
            .collect()
    })
}

fn look<T>(
    each: &Found,
    options: &str,
    tools: &Tools,
    question: impl FnOnce(&Root) -> T,
) -> io::Result<T> {
    let probe = Guest::probe(each, options, tools)?;
    let answer = probe.open().map(|root| question(&root));
    probe.unmount()?;
    answer
}

/// A snapshot of a root holds the fstab of what it was taken from.
fn is_its_own(root: &Root, subvolume: &str) -> bool {
    match root_subvolume(&root.text("etc/fstab")) {
        Some(named) => named.trim_start_matches('/') == subvolume,
        None => true,
    }
}

/// The subvolume that an fstab mounts as root.
fn root_subvolume(fstab: &str) -> Option<String> {
    let lines = fstab
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.get(1) == Some(&"/"))
        .find_map(|fields| {
            let mut options = fields.get(3)?.split(',');
            options.find_map(|option| option.strip_prefix("subvol=").map(str::to_owned))
        })
}

fn container_refusal(found: &[Found], problems: &[Refusal]) -> Refusal {
    let holding = |kind: &str| {
        let mut all = found.iter().map(|each| &each.partition);
        all.find(|partition| partition.filesystem.as_deref() == Some(kind))
            .map(name)
    };
    if let Some(partition) = holding("luks") {
        return Refusal::Luks { partition };
    }
    if let Some(problem) = problems.first() {
        return problem.clone();
    }
    if let Some(partition) = holding(partition_table::DYNAMIC) {
        return WindowsRefusal::DynamicDisk { partition }.into();
    }
    if let Some(partition) = holding(partition_table::STORAGE_SPACES) {
        return WindowsRefusal::StorageSpaces { partition }.into();
    }
    if let Some(partition) = holding("bitlocker") {
        return Refusal::BitLocker { partition };
    }
    if let Some(partition) = holding("ntfs") {
        return Refusal::NoRoot {
            found: format!("{partition} holds NTFS without Windows"),
        };
    }
    let kinds: Vec<&str> = found
        .iter()
        .filter_map(|each| each.partition.filesystem.as_deref())
        .collect();
    let found = if kinds.is_empty() {
        "nothing known".to_owned()
    } else {
        kinds.join(", ")
    };
    Refusal::NoRoot { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_told_from_its_origin() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        assert!(is_its_own(&root, "@"), "no fstab, no objection");
        let fstab = "# UUID=x / btrfs subvol=@old\nUUID=x / btrfs defaults,subvol=/@ 0 0\n\
                     UUID=x /home btrfs subvol=@home\n";
        root.write("etc/fstab", fstab.as_bytes()).unwrap();
        assert!(is_its_own(&root, "@"));
        assert!(!is_its_own(&root, "@before-upgrade"));
        root.write("etc/fstab", b"UUID=x / btrfs defaults 0 0\n")
            .unwrap();
        assert!(is_its_own(&root, "@"));
    }
}
