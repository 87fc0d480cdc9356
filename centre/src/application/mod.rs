//! An application on two sites, as its operator describes it (`application.toml`).
//!
//! What is read here is checked once and completely; everything later sees only values that make
//! sense. The control centre keeps the texts of the file and of the profiles, so that a daemon
//! that starts does not depend on files that somebody moved.

mod error;
mod raw;
#[cfg(test)]
mod tests;

mod validate;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lifeboat_agent::names::Kind;
use lifeboat_agent::profile::{IdentityStrategy, Profile};
use lifeboat_agent::wire::Values;
use lifeboat_failover::lease::Terms;
use lifeboat_failover::process::{Actor, Identity};
use lifeboat_failover::{Side, autopilot};
use serde::{Deserialize, Serialize};

pub use error::ApplicationError;
#[cfg(test)]
pub(crate) use tests::example;

use crate::observation::Users;
use crate::{alerts, archive, autosync, changes};

/// An application and everything that is known of it beforehand.
#[derive(Debug, Clone)]
pub struct Application {
    /// Its name.
    pub name: String,
    /// Where its file lies; relative paths in it begin there.
    pub file: PathBuf,
    /// The profile of its hosts.
    pub profile: Loaded,
    /// The profile of the directory servers, where names move in a directory.
    pub directory_profile: Option<Loaded>,
    /// How long leases last.
    pub terms: Terms,
    /// How often agents report.
    pub report_every: Duration,
    /// How often agents send their inventory.
    pub inventory_every: Duration,
    /// The primary environment.
    pub primary: Environment,
    /// The secondary environment.
    pub secondary: Environment,
    /// Which host names move, if any do.
    pub host_names: Option<HostNames>,
    /// How long step 314 waits for a word.
    pub confirmation: Duration,
    /// The answer of silence to step 364.
    pub replicate_back: bool,
    /// The records that point users to a side.
    pub names: Option<Names>,
    /// Process 400, as the file says; the operator may change it later.
    pub autopilot: autopilot::Settings,
    /// Process 500.
    pub autosync: autosync::Settings,
    /// Process 600.
    pub archive: archive::Settings,
    /// Who is told what.
    pub alerts: alerts::Settings,
    /// Which changes matter.
    pub changes: changes::Settings,
    /// What users do, looked at from outside.
    pub users: Users,
}

/// A profile and its hash, by which both sides are known to have the same.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The profile.
    pub profile: Profile,
    /// The SHA-256 of its text.
    pub hash: String,
}

/// One environment.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The application's host (118a, 118b).
    pub host: Host,
    /// The directory server beside it (116a, 116b).
    pub directory: Option<Host>,
}

/// A protected machine.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its name in its certificate.
    pub name: String,
    /// Where users and the other side reach it.
    pub address: IpAddr,
    /// Where its agent listens for the other one, when not where the agent says.
    pub peer_port: Option<u16>,
    /// Values for its profile's parameters.
    pub values: Values,
}

/// The host name that users know, and the one that the side has that does not serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostNames {
    /// Of the side that serves.
    pub name: String,
    /// Of the other one.
    pub temporary: String,
}

/// The control centre's name servers and the records in them that follow the application.
#[derive(Debug, Clone)]
pub struct Names {
    /// The zone.
    pub zone: String,
    /// The servers (136a, 136b).
    pub servers: Vec<SocketAddr>,
    /// The file with the key that signs changes, in BIND's form. Read when it is needed.
    pub key_file: PathBuf,
    /// The records.
    pub records: Vec<Record>,
}

/// A record set that points to the side that serves.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// Its values while the primary serves.
    pub primary: Vec<String>,
    /// Its values while the secondary serves.
    pub secondary: Vec<String>,
}

/// The texts from which an application is read; what the store keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Texts {
    /// `application.toml`.
    pub descriptor: String,
    /// The profile of the application's hosts.
    pub profile: String,
    /// The profile of the directory servers.
    pub directory_profile: Option<String>,
}

impl Application {
    /// Reads an application's file and the profiles that it names.
    pub fn read(file: &Path) -> Result<(Self, Texts), ApplicationError> {
        let descriptor = text_of(file)?;
        let paths = validate::profile_paths(file, &descriptor)?;
        let texts = Texts {
            descriptor,
            profile: text_of(&paths.0)?,
            directory_profile: paths.1.as_deref().map(text_of).transpose()?,
        };
        Ok((Self::parse(file, &texts)?, texts))
    }

    /// Reads an application from texts; `file` is where the descriptor lay.
    pub fn parse(file: &Path, texts: &Texts) -> Result<Self, ApplicationError> {
        validate::application(file, texts)
    }

    /// An environment.
    pub fn side(&self, side: Side) -> &Environment {
        match side {
            Side::Primary => &self.primary,
            Side::Secondary => &self.secondary,
        }
    }

    /// The host of an actor; none for the control centre, or where there is no directory server.
    pub fn host(&self, actor: Actor) -> Option<&Host> {
        match actor {
            Actor::Application(side) => Some(&self.side(side).host),
            Actor::Directory(side) => self.side(side).directory.as_ref(),
            Actor::ControlCentre => None,
        }
    }

    /// Which part a host has.
    pub fn actor(&self, host: &str) -> Option<Actor> {
        let all = Side::BOTH
            .into_iter()
            .flat_map(|side| [Actor::Application(side), Actor::Directory(side)]);
        all.into_iter()
            .find(|actor| self.host(*actor).is_some_and(|one| one.name == host))
    }

    /// Every host, with its part.
    pub fn hosts(&self) -> impl Iterator<Item = (Actor, &Host)> {
        let all = Side::BOTH
            .into_iter()
            .flat_map(|side| [Actor::Application(side), Actor::Directory(side)]);
        all.filter_map(|actor| self.host(actor).map(|host| (actor, host)))
    }

    /// The profile of an actor's host.
    pub fn profile_of(&self, actor: Actor) -> Option<&Loaded> {
        match actor {
            Actor::Application(_) => Some(&self.profile),
            Actor::Directory(_) => self.directory_profile.as_ref(),
            Actor::ControlCentre => None,
        }
    }

    /// How names move, as process 300 knows it.
    pub fn identity(&self) -> Identity {
        match self.profile.profile.identity {
            IdentityStrategy::Rename => Identity::Rename,
            // These move by records and by their own actions.
            IdentityStrategy::NamesOnly
            | IdentityStrategy::RecoverServer
            | IdentityStrategy::DatabasePortability
            | IdentityStrategy::DagMove => Identity::NamesOnly,
        }
    }
}

fn text_of(path: &Path) -> Result<String, ApplicationError> {
    crate::text::read_text(path).map_err(|source| ApplicationError::Read {
        path: path.to_owned(),
        source,
    })
}
