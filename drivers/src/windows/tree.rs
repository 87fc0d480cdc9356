//! Paths as Windows means them: without regard to case, below the guest's root.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use crate::guest::root::{EntryKind, Root};

type Listing = Rc<Vec<(String, EntryKind)>>;

/// A Windows filesystem seen through its root.
#[derive(Debug)]
pub struct WindowsTree<'r> {
    root: &'r Root,
    /// Listings of directories that were looked into: some hold thousands of names.
    listed: RefCell<HashMap<String, Listing>>,
}

impl<'r> WindowsTree<'r> {
    /// Looks at a root.
    pub fn new(root: &'r Root) -> Self {
        Self {
            root,
            listed: RefCell::default(),
        }
    }

    /// The root itself.
    pub fn root(&self) -> &'r Root {
        self.root
    }

    /// The path of something that exists, as it is written on the disk.
    pub fn find(&self, path: &str) -> Option<String> {
        let mut found = String::new();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let name = self.name_in(&found, name)?;
            found = joined(&found, &name);
        }
        Some(found)
    }

    /// Where something lies or would be made: names that exist as they are written there.
    pub fn place(&self, path: &str) -> String {
        let mut found = String::new();
        let mut exists = true;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let known = if exists {
                self.name_in(&found, name)
            } else {
                None
            };
            exists = known.is_some();
            found = joined(&found, known.as_deref().unwrap_or(name));
        }
        found
    }

    /// Names in a directory.
    pub fn list(&self, path: &str) -> Vec<(String, EntryKind)> {
        let Some(path) = self.find(path) else {
            return Vec::new();
        };
        self.listing(&path).to_vec()
    }

    /// The content of a regular file of at most `limit` bytes.
    pub fn read(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        match self.find(path) {
            Some(path) => self.root.read(&path, limit),
            None => Ok(None),
        }
    }

    /// Whether there is a regular file.
    pub fn is_file(&self, path: &str) -> bool {
        let size = self.find(path).map(|path| self.root.size(&path));
        matches!(size, Some(Ok(Some(_))))
    }

    fn name_in(&self, directory: &str, name: &str) -> Option<String> {
        let names = self.listing(directory);
        let exact = names.iter().find(|(other, _)| other == name);
        let close = || {
            let wanted = name.to_lowercase();
            names
                .iter()
                .find(|(other, _)| other.to_lowercase() == wanted)
        };
        exact.or_else(close).map(|(name, _)| name.clone())
    }

    fn listing(&self, directory: &str) -> Listing {
        let mut listed = self.listed.borrow_mut();
        let list = || {
            let directory = if directory.is_empty() { "." } else { directory };
            Rc::new(self.root.list(directory))
        };
        listed
            .entry(directory.to_owned())
            .or_insert_with(list)
            .clone()
    }
}

fn joined(directory: &str, name: &str) -> String {
    match directory {
        "" => name.to_owned(),
        directory => format!("{directory}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_does_not_count_and_nothing_leads_out() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("secret"), "outside").unwrap();
        let inside = directory.path().join("root");
        std::fs::create_dir_all(inside.join("WINDOWS/system32")).unwrap();
        std::fs::write(inside.join("WINDOWS/system32/Cmd.EXE"), "MZ").unwrap();
        std::os::unix::fs::symlink("../../secret", inside.join("WINDOWS/junction")).unwrap();
        let root = Root::open(&inside).unwrap();
        let tree = WindowsTree::new(&root);
        assert_eq!(
            tree.find("windows/System32/cmd.exe").as_deref(),
            Some("WINDOWS/system32/Cmd.EXE")
        );
        assert_eq!(tree.find("windows/system"), None);
        assert_eq!(tree.place("Windows/Inf/oem1.inf"), "WINDOWS/Inf/oem1.inf");
        assert_eq!(tree.read("windows/junction", 100).unwrap(), None);
        assert_eq!(tree.read("windows/../../secret", 100).unwrap(), None);
        assert!(tree.is_file("windows/system32/cmd.exe"));
        assert!(!tree.is_file("windows/system32"));
    }
}
