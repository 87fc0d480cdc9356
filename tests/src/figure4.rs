//! The example site's captured volumes, made by `tests/figure4/build`.

use std::path::{Path, PathBuf};

use crate::sites::SiteFile;

/// Where the build keeps its captures, a folder for each recipe.
const CACHE: &str = "/var/cache/lifeboat/figure4";
const FILES: [&str; 4] = ["dir1.raw", "data1.qcow2", "web1.qcow2", "site.toml"];

/// The example site.
#[derive(Debug, Clone)]
pub struct Figure4 {
    folder: PathBuf,
    site: SiteFile,
}

impl Figure4 {
    /// The captures that `LIFEBOAT_FIGURE4` names, else the newest built ones.
    pub fn find() -> Result<Self, String> {
        let named = std::env::var_os("LIFEBOAT_FIGURE4").map(PathBuf::from);
        let folder = named.or_else(newest).ok_or_else(|| {
            format!("the captured volumes of the example site are not in {CACHE}: `tests/figure4/build` makes them (`./test` does)")
        })?;
        if let Some(missing) = FILES.iter().find(|file| !folder.join(file).is_file()) {
            return Err(format!("`{}` has no `{missing}`", folder.display()));
        }
        let text = std::fs::read_to_string(folder.join("site.toml"));
        let text = text.map_err(|error| format!("the example's site.toml: {error}"))?;
        let site = SiteFile::parse(&text).with_volumes_of(&folder);
        Ok(Self { folder, site })
    }

    /// The site file as it was written.
    pub fn site_file(&self) -> PathBuf {
        self.folder.join("site.toml")
    }

    /// The site as data, with absolute volumes.
    pub fn site(&self) -> SiteFile {
        self.site.clone()
    }

    /// A machine's captured volume.
    #[track_caller]
    pub fn volume(&self, machine: &str) -> PathBuf {
        self.site.volume(machine)
    }

    /// All captured volumes.
    pub fn volumes(&self) -> Vec<PathBuf> {
        FILES[..3]
            .iter()
            .map(|file| self.folder.join(file))
            .collect()
    }
}

fn newest() -> Option<PathBuf> {
    let folders = std::fs::read_dir(CACHE).ok()?.flatten();
    let whole = folders
        .map(|entry| entry.path())
        .filter(|path| is_recipe_hash(path) && FILES.iter().all(|file| path.join(file).is_file()));
    whole.max_by_key(|path| path.metadata().and_then(|meta| meta.modified()).ok())
}

fn is_recipe_hash(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}
