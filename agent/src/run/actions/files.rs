//! Files of stores: read to the end, deleted by the ending of their names.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Did, Executor, Failed, Stepped};
use crate::profile::DeleteFiles;

/// Calls `visit` for every file below a folder that lies on the same filesystem. Links are not
/// followed. Folders wait on a list, so deep trees need no deep stack.
fn walk(root: &Path, mut visit: impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let device = fs::metadata(root)?.dev();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| named(&folder, &error))? {
            let path = entry.map_err(|error| named(&folder, &error))?.path();
            let meta = fs::symlink_metadata(&path).map_err(|error| named(&path, &error))?;
            if meta.is_dir() && meta.dev() == device {
                folders.push(path);
            } else if meta.is_file() {
                visit(&path)?;
            }
        }
    }
    Ok(())
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Reads every file below a folder to its end; says how many, and how many bytes.
pub(super) fn read_all(root: &Path, limit: Duration) -> io::Result<(u64, u64)> {
    let end = Instant::now() + limit;
    let (mut count, mut bytes) = (0, 0);
    let mut buffer = vec![0; 64 * 1024];
    walk(root, |path| {
        let mut file = File::open(path).map_err(|error| named(path, &error))?;
        loop {
            if Instant::now() >= end {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it takes too long"));
            }
            match file
                .read(&mut buffer)
                .map_err(|error| named(path, &error))?
            {
                0 => break,
                more => bytes += u64::try_from(more).unwrap_or_default(),
            }
        }
        count += 1;
        Ok(())
    })?;
    Ok((count, bytes))
}

impl Executor {
    pub(super) async fn delete_files(&self, delete: &DeleteFiles) -> Stepped {
        let under = PathBuf::from(self.values.text(&delete.under)?);
        let ending = self.values.text(&delete.ending)?;
        let work = move || delete_ending(&under, &ending);
        let deleted = tokio::task::spawn_blocking(work).await;
        let deleted = deleted
            .map_err(|error| Failed(error.to_string()))?
            .map_err(|error| Failed(format!("deleting {}: {error}", delete.ending)))?;
        let evidence = format!("{deleted} files that end in {} deleted", delete.ending);
        Ok(if deleted > 0 {
            Did::changed(evidence)
        } else {
            Did::already(evidence)
        })
    }
}

fn delete_ending(under: &Path, ending: &str) -> io::Result<u64> {
    if ending.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no ending"));
    }
    let mut deleted = 0;
    walk(under, |path| {
        if path.to_str().is_some_and(|path| path.ends_with(ending)) {
            fs::remove_file(path).map_err(|error| named(path, &error))?;
            deleted += 1;
        }
        Ok(())
    })?;
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_read_and_only_the_named_ones_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("a/b");
        fs::create_dir_all(&deep).expect("folders");
        fs::write(deep.join("1.lock"), "x").expect("a file");
        fs::write(deep.join("mail"), "12345").expect("a file");
        std::os::unix::fs::symlink("/etc", folder.path().join("link.lock")).expect("a link");
        let minute = Duration::from_secs(60);
        assert_eq!(read_all(folder.path(), minute).expect("read"), (2, 6));
        assert_eq!(delete_ending(folder.path(), ".lock").expect("deleted"), 1);
        assert_eq!(delete_ending(folder.path(), ".lock").expect("again"), 0);
        assert_eq!(read_all(folder.path(), minute).expect("read"), (1, 5));
        assert!(delete_ending(folder.path(), "").is_err());
        assert!(read_all(folder.path(), Duration::ZERO).is_err());
    }
}
