//! Which filesystem, and which subvolume of it, is the guest's root.

use std::io;

use super::disks::Found;
use super::mounts::{Guest, driver, name};
use super::tools::Tools;
use crate::guest::facts::looks_like_root;
use crate::guest::fstab::{is_called, mount_point};
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
    /// Whether its own table names it as the root.
    is_named: bool,
}

/// Finds the root filesystem: the only one, or the only one that names itself
/// in its own table, where others are copies of it.
pub(super) fn find(
    found: &[Found],
    problems: &[Refusal],
    tools: &Tools,
    warnings: &mut Vec<String>,
) -> Result<RootPlace, Refusal> {
    let mut roots = Vec::new();
    let mut failed = None;
    for (index, each) in found.iter().enumerate() {
        match driver(&each.partition) {
            None | Some("vfat") => continue,
            Some(_) => {}
        }
        match roots_on(each, tools) {
            Ok(places) => roots.extend(places.into_iter().map(|(options, is_named)| RootPlace {
                index,
                options,
                is_named,
            })),
            Err(error) => failed = Some((each, error)),
        }
    }
    if let Some(wanted) = tools.wanted_root()
        && !roots.is_empty()
    {
        return the_wanted(found, &roots, wanted);
    }
    match (roots.as_slice(), failed) {
        ([root], _) => Ok(root.clone()),
        ([], Some((each, error))) => Err(Refusal::UnsupportedFilesystem {
            partition: name(&each.partition),
            filesystem: each.partition.filesystem.clone().unwrap_or_default(),
            detail: error.to_string(),
        }),
        ([], None) => Err(container_refusal(found, problems)),
        (several, _) => the_original(found, several, warnings),
    }
}

/// The one that the operator names.
fn the_wanted(found: &[Found], roots: &[RootPlace], wanted: &str) -> Result<RootPlace, Refusal> {
    let mut meant = roots.iter().filter(|root| {
        let each = &found[root.index];
        list(found, std::slice::from_ref(root)) == wanted || is_meant(each, wanted)
    });
    match (meant.next(), meant.next()) {
        (Some(root), None) => Ok(root.clone()),
        _ => Err(Refusal::NoSuchRoot {
            wanted: wanted.to_owned(),
            roots: list(found, roots),
        }),
    }
}

/// Whether a device's name means this very filesystem.
fn is_meant(each: &Found, device: &str) -> bool {
    let mut names = each.partition.names.iter();
    names.any(|name| name == device) || is_called(&each.partition, device)
}

fn the_original(
    found: &[Found],
    several: &[RootPlace],
    warnings: &mut Vec<String>,
) -> Result<RootPlace, Refusal> {
    let mut named = several.iter().filter(|root| root.is_named);
    let (Some(root), None) = (named.next(), named.next()) else {
        return Err(Refusal::SeveralRoots {
            roots: list(found, several),
        });
    };
    warnings.push(format!(
        "several root filesystems were found ({}); {} is taken, the only one that its own fstab names",
        list(found, several),
        list(found, std::slice::from_ref(root))
    ));
    Ok(root.clone())
}

/// Whether a table puts this very filesystem at the root.
fn names_itself(fstab: &str, each: &Found) -> bool {
    let lines = fstab.lines().map(|line| line.split_whitespace());
    let mut lines = lines.map(|fields| fields.take(4).collect::<Vec<_>>());
    let root = lines.find(|fields| mount_point(fields) == "/" && !fields[0].starts_with('#'));
    root.is_some_and(|fields| is_meant(each, fields[0]))
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

/// The mount options of each root on one filesystem, and whether it names itself.
fn roots_on(each: &Found, tools: &Tools) -> io::Result<Vec<(String, bool)>> {
    let named = |root: &Root| names_itself(&root.text("etc/fstab"), each);
    let whole = |root: &Root| looks_like_root(root).then(|| named(root));
    let subvolumes = match look(each, "", tools, whole)? {
        Some(is_named) => return Ok(vec![(String::new(), is_named)]),
        None if driver(&each.partition) == Some("btrfs") => subvolumes(each, tools)?,
        None => Vec::new(),
    };
    let mut roots = Vec::new();
    for (name, options) in subvolumes {
        // What is no subvolume cannot be mounted as one.
        let is_root = look(each, &options, tools, |root| {
            (looks_like_root(root) && is_its_own(root, &name)).then(|| named(root))
        });
        if let Ok(Some(is_named)) = is_root {
            roots.push((options, is_named));
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
    use crate::report::Partition;

    fn filesystem(number: u32, uuid: &str) -> Found {
        Found {
            partition: Partition {
                number,
                uuid: Some(uuid.to_owned()),
                names: vec![format!("/dev/vg/{uuid}")],
                ..Partition::default()
            },
            device: "/dev/none".into(),
            raid: None,
        }
    }

    #[test]
    fn the_operator_chooses() {
        let found = [filesystem(1, "aa"), filesystem(2, "bb")];
        let place = |index| RootPlace {
            index,
            options: String::new(),
            is_named: false,
        };
        let roots = [place(0), place(1)];
        let name = name(&found[1].partition);
        for (wanted, expected) in [
            ("UUID=bb", Some(1)),
            ("/dev/vg/aa", Some(0)),
            (name.as_str(), Some(1)),
            ("UUID=cc", None),
        ] {
            let chosen = the_wanted(&found, &roots, wanted);
            assert_eq!(chosen.map(|root| root.index).ok(), expected, "{wanted}");
        }
        // A subvolume is named with its filesystem, which alone may mean several.
        let mut of_one = [place(0), place(0)];
        for (root, subvolume) in of_one.iter_mut().zip(["@a", "@b"]) {
            root.options = format!("subvol={subvolume}");
        }
        the_wanted(&found, &of_one, "UUID=aa").unwrap_err();
        let whole = list(&found, &of_one[1..]);
        assert_eq!(the_wanted(&found, &of_one, &whole), Ok(of_one[1].clone()));
    }

    #[test]
    fn the_original_is_told_from_its_copies() {
        let found = [filesystem(1, "aa"), filesystem(2, "bb")];
        let places = |fstabs: [&str; 2]| {
            let all = found.iter().zip(fstabs).enumerate();
            let place = |(index, (each, fstab)): (usize, (&Found, &str))| RootPlace {
                index,
                options: String::new(),
                is_named: names_itself(fstab, each),
            };
            all.map(place).collect::<Vec<_>>()
        };
        let own = "# UUID=aa / ext4\nUUID=bb / ext4\nUUID=aa /x ext4\n";
        for (fstabs, expected) in [
            ([own, own], Some(1)),
            (["/dev/vg/aa / ext4\n", "/dev/vg/aa / ext4\n"], Some(0)),
            (["UUID=aa / ext4\n", "UUID=bb / ext4\n"], None),
            (["/dev/sda1 / ext4\n", "/dev/sda1 / ext4\n"], None),
            (["", ""], None),
        ] {
            let mut warnings = Vec::new();
            let chosen = the_original(&found, &places(fstabs), &mut warnings);
            assert_eq!(
                chosen.as_ref().ok().map(|root| root.index),
                expected,
                "{fstabs:?}"
            );
            assert_eq!(warnings.len(), usize::from(expected.is_some()));
        }
    }

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
