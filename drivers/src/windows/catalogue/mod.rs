//! The catalogue of Windows drivers: what operators gave, one driver for each Windows and processor.
//!
//! It is one tar archive: `catalogue.json`, then each different file once, named by its hash. The
//! micro-VM gets it as a disk and reads only what its guest needs.

pub mod collect;
#[cfg(feature = "host")]
pub mod image;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek, Write};

use serde::{Deserialize, Serialize};

use super::inf::Inf;

const INDEX: &str = "catalogue.json";
const LARGEST_INDEX: u64 = 64 << 20;
/// No file of a driver is larger.
pub const LARGEST_FILE: u64 = 64 << 20;
const MOST_PACKAGES: usize = 20_000;

/// Why a catalogue cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// Reading or writing failed.
    #[error("{attempted} failed")]
    Io {
        /// What was attempted.
        attempted: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It is not one.
    #[error("the driver catalogue is damaged ({what}); make it anew with `lifeboat drivers add`")]
    Damaged {
        /// What is wrong.
        what: String,
    },
    /// Nothing was found.
    #[error(
        "no driver was found in {source_name}: expected folders such as viostor/w10/amd64 or by-os/amd64/w10"
    )]
    Empty {
        /// Where was looked.
        source_name: String,
    },
}

pub(crate) fn doing(attempted: impl Into<String>) -> impl FnOnce(io::Error) -> CatalogueError {
    let attempted = attempted.into();
    move |source| CatalogueError::Io { attempted, source }
}

pub(crate) fn damaged(what: impl Into<String>) -> CatalogueError {
    CatalogueError::Damaged { what: what.into() }
}

/// One file of a driver.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DriverFile {
    /// Its name, as the source writes it.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// BLAKE3.
    pub hash: String,
}

/// One driver for one Windows and one processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Name of its setup information file without ending, lower case: `viostor`.
    pub driver: String,
    /// Which Windows, as virtio-win names it, lower case: `w10`, `2k19`...
    pub os: String,
    /// `amd64` or `x86`.
    pub architecture: String,
    /// Name of the image that it came from.
    pub source: String,
    /// What its setup information file says.
    pub inf: Inf,
    /// All its files, the setup information file first.
    pub files: Vec<DriverFile>,
}

impl Package {
    /// Its setup information file.
    pub fn inf_file(&self) -> Option<&DriverFile> {
        self.files.first()
    }

    /// A file of it, by name in any case.
    pub fn file(&self, name: &str) -> Option<&DriverFile> {
        self.files
            .iter()
            .find(|file| file.name.eq_ignore_ascii_case(name))
    }

    fn key(&self) -> (&str, &str, &str) {
        (&self.os, &self.architecture, &self.driver)
    }
}

/// All drivers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Catalogue {
    /// Sorted by Windows, processor and driver.
    pub packages: Vec<Package>,
}

impl Catalogue {
    /// Reads the index at the beginning of an archive.
    pub fn read(archive: impl Read) -> Result<Self, CatalogueError> {
        let mut archive = tar::Archive::new(archive);
        let mut entries = archive
            .entries()
            .map_err(doing("reading the driver catalogue"))?;
        let Some(Ok(entry)) = entries.next() else {
            return Err(damaged("it has no index"));
        };
        Self::read_index(entry)
    }

    fn read_index(entry: tar::Entry<'_, impl Read>) -> Result<Self, CatalogueError> {
        if entry.path_bytes().as_ref() != INDEX.as_bytes() || entry.size() > LARGEST_INDEX {
            return Err(damaged("it does not begin with its index"));
        }
        let index: Self =
            serde_json::from_reader(entry).map_err(|error| damaged(error.to_string()))?;
        if index.packages.len() > MOST_PACKAGES {
            return Err(damaged("it has too many drivers"));
        }
        Ok(index)
    }

    /// Drivers for one Windows, by name; for each the first folder that has it.
    pub fn fitting<'c>(
        &'c self,
        folders: &[String],
        architecture: &str,
    ) -> BTreeMap<&'c str, &'c Package> {
        let mut found = BTreeMap::new();
        for folder in folders {
            let fitting = self
                .packages
                .iter()
                .filter(|package| &package.os == folder && package.architecture == architecture);
            for package in fitting {
                found.entry(package.driver.as_str()).or_insert(package);
            }
        }
        found
    }

    /// Takes packages in the place of those for the same Windows, processor and device.
    pub fn take(&mut self, packages: Vec<Package>) {
        let new: BTreeSet<_> = packages.iter().map(|package| package.key()).collect();
        self.packages
            .retain(|package| !new.contains(&package.key()));
        self.packages.extend(packages.iter().cloned());
        self.packages.sort_by(|a, b| a.key().cmp(&b.key()));
    }

    /// Every different file.
    pub fn hashes(&self) -> BTreeSet<&str> {
        let files = self.packages.iter().flat_map(|package| &package.files);
        files.map(|file| file.hash.as_str()).collect()
    }

    /// Writes an archive; `content` gives each file by its hash.
    pub fn write(
        &self,
        out: impl Write,
        content: &mut dyn FnMut(&str) -> io::Result<Vec<u8>>,
    ) -> Result<(), CatalogueError> {
        let index =
            serde_json::to_vec(self).map_err(|error| doing("writing the index")(error.into()))?;
        let mut archive = tar::Builder::new(out);
        let writing = || doing("writing the driver catalogue");
        append(&mut archive, INDEX, &index).map_err(writing())?;
        for hash in self.hashes() {
            let bytes = content(hash).map_err(writing())?;
            append(&mut archive, hash, &bytes).map_err(writing())?;
        }
        archive
            .into_inner()
            .and_then(|mut out| out.flush())
            .map_err(writing())
    }
}

fn append(archive: &mut tar::Builder<impl Write>, name: &str, content: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, content)
}

/// The content of files in an archive, by hash; each is proven to be what its name says.
pub fn contents(
    archive: impl Read + Seek,
    wanted: &BTreeSet<&str>,
) -> Result<BTreeMap<String, Vec<u8>>, CatalogueError> {
    let reading = || doing("reading the driver catalogue");
    let mut archive = tar::Archive::new(archive);
    let mut found = BTreeMap::new();
    for entry in archive.entries_with_seek().map_err(reading())? {
        let mut entry = entry.map_err(reading())?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !wanted.contains(name.as_str()) {
            continue;
        }
        let mut bytes = Vec::new();
        (&mut entry)
            .take(LARGEST_FILE)
            .read_to_end(&mut bytes)
            .map_err(reading())?;
        if blake3::hash(&bytes).to_hex().as_str() != name {
            return Err(damaged(format!("file {name} has another content")));
        }
        found.insert(name, bytes);
        if found.len() == wanted.len() {
            break;
        }
    }
    match wanted.iter().find(|hash| !found.contains_key(**hash)) {
        Some(missing) => Err(damaged(format!("file {missing} is missing"))),
        None => Ok(found),
    }
}
