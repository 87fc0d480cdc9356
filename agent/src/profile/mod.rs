//! A profile: the data file that says how one application is watched and moved.
//!
//! It lies on the protected machine, and what it does not name is never executed there. The
//! control centre sends the name of an action and values for parameters that the profile declares;
//! a value replaces `{name}` inside one argument, never by a shell. See `profiles/README.md`.

mod action;
mod archive;
mod check;
mod error;
mod parameter;
#[cfg(test)]
mod tests;
mod validate;

use std::collections::BTreeMap;
use std::path::Path;

use lifeboat_failover::process::{Action, Stores};
use serde::{Deserialize, Serialize};

pub use action::{ActionSteps, DeleteFiles, Fence, Nothing, Run, Step, WaitEmpty};
pub use archive::Archive;
pub use check::{Access, Check, Http, Probe, Snmp, Sql, Tls, When};
pub use error::ProfileError;
pub use parameter::{
    Filled, Kind, Parameter, ValueError, fill, own_parameters, request_parameters,
};

/// What a host is to an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The application runs here.
    #[default]
    Application,
    /// A directory server.
    Directory,
}

/// How the new side becomes what users look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum IdentityStrategy {
    /// Records of the control centre's name servers are enough.
    #[default]
    NamesOnly,
    /// It takes the old side's host name in the directory (steps 322-336).
    Rename,
    /// The application is set up again under the old name (`setup /m:RecoverServer`).
    RecoverServer,
    /// Databases move, servers keep their names.
    DatabasePortability,
    /// A cluster of its own moves the active copy.
    DagMove,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Its name in this profile.
    pub name: String,
    /// The systemd unit; without one all three commands are needed.
    pub unit: Option<String>,
    /// Starts it.
    pub start: Option<Vec<String>>,
    /// Stops it.
    pub stop: Option<Vec<String>>,
    /// Exits with 0 when it runs, otherwise when it does not.
    pub status: Option<Vec<String>>,
    /// How long start and stop may take, in seconds.
    #[serde(default = "minute")]
    pub within_s: u32,
}

/// A store.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// Its name in this profile.
    pub name: String,
    /// Where it is mounted.
    pub mount_point: String,
    /// What is mounted; without it the store is a plain folder that is never mounted.
    pub device: Option<String>,
    /// `ext4`, `xfs`, ...
    pub filesystem: Option<String>,
    /// Mount options for the filesystem, separated by commas.
    #[serde(default)]
    pub options: String,
    /// Whether the bare mount point is closed to everybody while nothing is mounted on it.
    #[serde(default)]
    pub guard: bool,
    /// How many files a good store holds at least; fewer than that is damage.
    pub files_at_least: Option<String>,
    /// Reads the application's contents; exits with 0 when they are good.
    pub read_test: Option<Vec<String>>,
    /// Tries to repair gently, instead of the filesystem's own tool.
    pub soft_recovery: Option<Vec<String>>,
    /// Repairs at any price, instead of the filesystem's own tool.
    pub hard_recovery: Option<Vec<String>>,
    /// After a hard recovery: fills up from the other side's copy.
    pub refill: Option<Vec<String>>,
    /// How long one of these may take, in seconds.
    #[serde(default = "hour")]
    pub within_s: u32,
}

/// How data get to the other side.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replication {
    /// The engine's name.
    pub engine: String,
    /// Prints how many changes wait.
    pub queue: Option<Vec<String>>,
    /// Prints by how many seconds the other side is behind.
    pub lag: Option<Vec<String>>,
    /// Prints `absent`, `running` or `paused`.
    pub state: Option<Vec<String>>,
    /// On the side that serves, prints how far its data are (without blanks). The last one that was
    /// seen is `{seen}` in every action.
    pub position: Option<Vec<String>>,
}

/// Things that are listed so that their changes are told, as the objects of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// Its name in this profile.
    pub name: String,
    /// Prints one thing a line; what follows a tab belongs to the thing and may change.
    pub argv: Vec<String>,
    /// How long it may take, in seconds.
    #[serde(default = "minute")]
    pub within_s: u32,
}

/// A profile.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// One line about it.
    pub title: String,
    /// What nobody has seen work, if so.
    pub unproven: Option<String>,
    /// What the host is to the application.
    #[serde(default)]
    pub role: Role,
    /// How names move.
    #[serde(default)]
    pub identity: IdentityStrategy,
    /// Whether stores are mounted before services start or by them.
    #[serde(default = "before_services")]
    pub stores: Stores,
    /// What may be different at every site.
    #[serde(default)]
    pub parameter: BTreeMap<String, Parameter>,
    /// Texts that stand in several places, by the name that stands for them.
    #[serde(default)]
    pub text: BTreeMap<String, String>,
    /// Its services, in the order in which they start.
    #[serde(default)]
    pub service: Vec<Service>,
    /// Its stores.
    #[serde(default)]
    pub store: Vec<Store>,
    /// How data get to the other side.
    pub replication: Option<Replication>,
    /// What images are taken of, and where they are kept.
    pub archive: Option<Archive>,
    /// What is looked at.
    #[serde(default)]
    pub check: Vec<Check>,
    /// Files and folders whose changes are told.
    #[serde(default)]
    pub configuration: Vec<String>,
    /// What else is listed so that its changes are told.
    #[serde(default)]
    pub listing: Vec<Listing>,
    /// How the actions of switch-over are carried out.
    #[serde(default)]
    pub action: BTreeMap<Action, ActionSteps>,
    /// How the application is stopped when the host must not serve.
    pub fence: Option<Fence>,
}

impl Profile {
    /// Reads and checks the text of a profile; `file` is for errors.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ProfileError> {
        let profile: Self =
            toml::from_str(text).map_err(|source| error::of_toml(file, text, &source))?;
        validate::validate(&profile, file, text)?;
        Ok(profile)
    }

    /// The SHA-256 of a profile's text, in hexadecimal.
    pub fn hash(text: &str) -> String {
        crate::wire::hexadecimal(&crate::wire::sha256(text.as_bytes()))
    }

    /// A service by its name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.service.iter().find(|one| one.name == name)
    }

    /// A store by its name.
    pub fn store(&self, name: &str) -> Option<&Store> {
        self.store.iter().find(|one| one.name == name)
    }

    /// The actions that a profile like this has to say how to do. Those of the control centre
    /// itself, and those that the lease does, are not among them.
    pub fn required(&self) -> Vec<Action> {
        use Action::*;
        match self.role {
            Role::Directory => vec![RemoveName, ReplicateDirectory, RemoveAddress, AddAddress],
            Role::Application => {
                let mut required = vec![
                    CloseEntrance,
                    OpenEntrance,
                    DismountStores,
                    MountStores,
                    StopServices,
                    StartServices,
                    DrainReplication,
                    VerifyReplica,
                    StopReplication,
                    StartReplication,
                    StartReplicationPaused,
                    PauseReplication,
                    ResumeReplication,
                    CloseReceiver,
                    OpenReceiver,
                    EnsureStores,
                ];
                if self.replication.is_some() {
                    required.extend([MirrorReplica, MergeReplica]);
                }
                if self.archive.is_some() {
                    required.extend([TakeImage, ProveImage, PlaceImage, RestoreImage]);
                }
                if self.identity == IdentityStrategy::Rename {
                    required.extend([Rename, Reboot, Join]);
                }
                required
            }
        }
    }
}

fn minute() -> u32 {
    60
}

fn hour() -> u32 {
    3600
}

fn before_services() -> Stores {
    Stores::BeforeServices
}
