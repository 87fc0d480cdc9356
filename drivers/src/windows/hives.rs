//! The hives of a guest that an injection changes, with their transaction logs.

use lifeboat_hive::{EditError, Edited, Editor, compare};

use super::report::WindowsRefusal;
use super::tree::WindowsTree;
use crate::refusal::Refusal;

/// Larger than any hive that Windows loads.
const LARGEST: u64 = 384 << 20;
const NAMES: [&str; 3] = ["SYSTEM", "SOFTWARE", "DRIVERS"];
/// Files of drivers, and the injection itself.
const BESIDES: u64 = 64 << 20;
/// Where there are the other two, the first is empty and of no use.
const LOGS: [&str; 3] = [".LOG", ".LOG1", ".LOG2"];

/// One hive, its logs applied.
#[derive(Debug)]
pub struct GuestHive {
    /// Its path in the guest.
    pub path: String,
    /// Paths of its logs.
    pub logs: Vec<String>,
    /// What is to be written.
    pub editor: Editor,
}

/// All hives that are changed.
#[derive(Debug)]
pub struct Hives {
    /// Settings of the machine, services, devices.
    pub system: GuestHive,
    /// Settings of programs.
    pub software: GuestHive,
    /// Drivers that are not needed to start, in a hive of their own from some Windows 10 on.
    pub drivers: Option<GuestHive>,
}

impl Hives {
    /// Names of hives whose logs held changes.
    pub fn replayed(&self) -> Vec<String> {
        let drivers = self.drivers.as_ref();
        [&self.system, &self.software]
            .into_iter()
            .chain(drivers)
            .filter(|hive| hive.editor.is_replayed())
            .map(|hive| hive.path.clone())
            .collect()
    }
}

/// Opens them.
pub fn open_hives(tree: &WindowsTree, system_root: &str) -> Result<Hives, Refusal> {
    let config = format!("{system_root}/System32/config");
    let needed = |name: &str| {
        let path = format!("{config}/{name}");
        let hive = open_hive(tree, &path)?;
        hive.ok_or_else(|| Refusal::from(WindowsRefusal::Incomplete { missing: path }))
    };
    Ok(Hives {
        system: needed(NAMES[0])?,
        software: needed(NAMES[1])?,
        drivers: open_hive(tree, &format!("{config}/{}", NAMES[2]))?,
    })
}

/// Memory for a whole injection, in bytes: every hive lies there as it is planned and as it is
/// read again, and while one is compared, as it was, with its logs.
pub fn memory_needed(tree: &WindowsTree, system_root: &str) -> u64 {
    let size = |path: &str| {
        let size = tree.find(path).map(|path| tree.root().size(&path));
        size.and_then(|size| size.ok().flatten()).unwrap_or(0)
    };
    let sizes = NAMES.map(|name| {
        let path = format!("{system_root}/System32/config/{name}");
        let logs = LOGS.iter().map(|end| size(&format!("{path}{end}")));
        (size(&path), logs.sum::<u64>())
    });
    let all: u64 = sizes.iter().map(|(hive, _)| hive).sum();
    let largest = sizes.iter().map(|(hive, logs)| hive + logs).max();
    2 * all + largest.unwrap_or(0) + BESIDES
}

/// Refuses what would not fit, before anything of it is read.
pub fn require_memory(needed: u64, available: u64) -> Result<(), Refusal> {
    if needed <= available {
        return Ok(());
    }
    let mib = u32::try_from(needed.div_ceil(1 << 20)).unwrap_or(u32::MAX);
    Err(WindowsRefusal::HivesTooLarge { needed_mib: mib }.into())
}

/// Opens one hive with the logs beside it.
pub fn open_hive(tree: &WindowsTree, path: &str) -> Result<Option<GuestHive>, Refusal> {
    let Some(path) = tree.find(path) else {
        return Ok(None);
    };
    let unreadable = |error: std::io::Error| {
        Refusal::from(WindowsRefusal::HiveUnreadable {
            hive: path.clone(),
            detail: error.to_string(),
        })
    };
    let Some(bytes) = tree.root().read(&path, LARGEST).map_err(unreadable)? else {
        return Ok(None);
    };
    let mut logs = Vec::new();
    let mut contents = Vec::new();
    for end in LOGS {
        let Some(log) = tree.find(&format!("{path}{end}")) else {
            continue;
        };
        if end == LOGS[1] || end == LOGS[2] {
            contents.retain(|(end, _)| *end != LOGS[0]);
        }
        let content = tree.root().read(&log, LARGEST).map_err(unreadable)?;
        contents.extend(content.map(|content| (end, content)));
        logs.push(log);
    }
    let contents: Vec<Vec<u8>> = contents.into_iter().map(|(_, content)| content).collect();
    let editor = Editor::open(bytes, &contents).map_err(|error| refusal(&path, &error))?;
    Ok(Some(GuestHive { path, logs, editor }))
}

/// What differs between a hive as it lies in the guest, its logs applied, and
/// the bytes that shall take its place: both are read anew, and nothing of what
/// an editor says of its work is believed. Gives the bytes back.
pub fn compared(
    tree: &WindowsTree,
    path: &str,
    content: Vec<u8>,
) -> Result<(Vec<Edited>, Vec<u8>), Refusal> {
    let before = open_hive(tree, path)?.ok_or_else(|| {
        Refusal::from(WindowsRefusal::Incomplete {
            missing: path.to_owned(),
        })
    })?;
    let compared = Editor::open(content, &[]).and_then(|after| {
        let differences = compare(before.editor.hive(), after.hive())?;
        Ok((differences, after.finish()))
    });
    compared.map_err(|error| refusal(path, &error))
}

/// The sentence for the operator.
pub fn refusal(hive: &str, error: &EditError) -> Refusal {
    let (hive, detail) = (hive.to_owned(), error.to_string());
    WindowsRefusal::HiveUnusable { hive, detail }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::root::Root;

    #[test]
    fn hives_that_do_not_fit_are_refused_by_their_size_alone() {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("Windows/System32/config");
        std::fs::create_dir_all(&config).unwrap();
        let root = Root::open(directory.path()).unwrap();
        let needed = || memory_needed(&WindowsTree::new(&root), "Windows");
        assert_eq!(needed(), BESIDES);
        for (name, mib) in [("SYSTEM", 20), ("SOFTWARE", 380), ("SOFTWARE.LOG2", 300)] {
            let file = std::fs::File::create(config.join(name)).unwrap();
            file.set_len(mib << 20).unwrap();
        }
        let hostile = needed();
        assert_eq!(hostile, BESIDES + ((2 * 400 + 680) << 20));
        require_memory(hostile, hostile).unwrap();
        let refusal = require_memory(hostile, hostile - 1).unwrap_err();
        let text = refusal.to_string();
        assert!(text.contains("1544 MiB") && !text.contains('\n'), "{text}");
    }
}
