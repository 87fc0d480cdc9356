//! Where things lie on the host, and what its operator set.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::profile::{Profile, ProfileError};
use crate::wire::Values;

/// The operator's settings on this host (`agent.toml`).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The profile's file. Without one the agent watches the host and acts on nothing.
    pub profile: Option<PathBuf>,
    /// Where the other side's agent finds this one, as in `0.0.0.0:7444`.
    pub peer_listen: Option<String>,
    /// Values for parameters of the profile, secrets among them.
    #[serde(default)]
    pub parameters: Values,
}

/// Where the agent keeps things.
#[derive(Debug, Clone)]
pub struct Places {
    /// Survives a reboot.
    pub state: PathBuf,
    /// Does not.
    pub run: PathBuf,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file.
    #[error("failed to read {}", .path.display())]
    Read {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its contents.
    #[error("failed to understand {}", .path.display())]
    Content {
        /// Where.
        path: PathBuf,
        /// Why; names line and key.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// The profile.
    #[error("failed to use the profile")]
    Profile(#[source] Box<ProfileError>),
}

/// A profile and its hash.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) profile: Profile,
    pub(crate) hash: String,
}

impl Config {
    /// Reads the settings; none at all when the file is not there.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(unreadable(path, source)),
        };
        toml::from_str(&text).map_err(|source| ConfigError::Content {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    pub(crate) fn load_profile(&self) -> Result<Option<Loaded>, ConfigError> {
        let Some(path) = &self.profile else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(path).map_err(|source| unreadable(path, source))?;
        let profile =
            Profile::parse(path, &text).map_err(|error| ConfigError::Profile(Box::new(error)))?;
        let hash = Profile::hash(&text);
        Ok(Some(Loaded { profile, hash }))
    }
}

fn unreadable(path: &Path, source: io::Error) -> ConfigError {
    ConfigError::Read {
        path: path.to_owned(),
        source,
    }
}

impl Places {
    pub(crate) fn identity(&self) -> PathBuf {
        self.state.join("identity.json")
    }
    pub(crate) fn centre(&self) -> PathBuf {
        self.state.join("centre.json")
    }
    pub(crate) fn lease(&self) -> PathBuf {
        self.state.join("lease.json")
    }
    pub(crate) fn part(&self) -> PathBuf {
        self.state.join("part.json")
    }
    pub(crate) fn wanted(&self) -> PathBuf {
        self.state.join("wanted.json")
    }
    pub(crate) fn results(&self) -> PathBuf {
        self.state.join("results.json")
    }
    pub(crate) fn armed(&self) -> PathBuf {
        self.run.join("armed.json")
    }
    pub(crate) fn fence(&self) -> PathBuf {
        self.run.join("fence.json")
    }
    /// One empty file for each process group that carries an action out now.
    pub(crate) fn groups(&self) -> PathBuf {
        self.run.join("groups")
    }
    pub(crate) fn socket(&self) -> PathBuf {
        self.run.join("watchdog.sock")
    }

    /// Makes both folders, open to this user alone.
    pub(crate) fn make(&self) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        for folder in [&self.state, &self.run, &self.groups()] {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        Ok(())
    }
}
