//! The files of a machine before they are written.

use std::collections::BTreeMap;
use std::io::Result;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Text files and links by relative name.
#[derive(Debug, Default)]
pub struct Tree {
    files: BTreeMap<String, String>,
    links: BTreeMap<String, String>,
}

impl Tree {
    /// Adds to the end of a file.
    pub fn add(&mut self, path: impl Into<String>, text: impl AsRef<str>) {
        let file = self.files.entry(path.into()).or_default();
        file.push_str(text.as_ref());
        if !file.ends_with('\n') {
            file.push('\n');
        }
    }

    /// As `add`, with lines before when the file is new.
    pub fn add_below(&mut self, path: &str, head: &str, text: impl AsRef<str>) {
        if !self.files.contains_key(path) {
            self.add(path, head);
        }
        self.add(path, text);
    }

    /// Writes a file unless it is there already.
    pub fn add_once(&mut self, path: &str, text: &str) {
        if !self.files.contains_key(path) {
            self.add(path, text);
        }
    }

    pub fn link(&mut self, path: impl Into<String>, target: impl Into<String>) {
        self.links.insert(path.into(), target.into());
    }

    pub fn write(&self, folder: &Path) -> Result<()> {
        for (name, text) in &self.files {
            let path = folder.join(name);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(path, text)?;
        }
        for (name, target) in &self.links {
            let path = folder.join(name);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            symlink(target, path)?;
        }
        Ok(())
    }
}
