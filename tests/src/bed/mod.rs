//! The test bed of two sites: hosts that are namespaces with a root of their own, see
//! `tests/bed/README.md`. Directory servers, mail hosts, name servers, a sender with a ledger
//! and a database pair run for real; so do reboots, power cuts and cut lines.
//!
//! ```no_run
//! use lifeboat_tests::bed::{Bed, Direction, Part, Site};
//!
//! let bed = Bed::up(&[Part::Mail]);
//! let sender = bed.sender();
//! sender.start(20.0, 2_000);
//! bed.cut(Site::A, Direction::Both);
//! bed.heal(Site::A);
//! sender.stop();
//! sender.count().expect_whole();
//! ```

mod directory;
mod faults;
mod host;
mod mail;
mod names;
mod protected;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

pub use directory::Directory;
pub use faults::{Damage, Direction, Site, Slowed};
pub use host::{Host, Said};
pub use mail::{Ledger, Outage, Protocol, Sender};
pub use names::{NameServer, Refused};
pub use protected::{Protected, Switched};

/// The password of every account in the bed, the domain's administrator included.
pub const PASSWORD: &str = "bed-Passw0rd";
/// The zone that the control centre's name servers answer for.
pub const ZONE: &str = "bed.example";
/// The domain of the directory.
pub const REALM: &str = "ad.bed.example";

/// What a bed can consist of; the control centre's own host is always there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Directory, mail and name servers, and the sender.
    Mail,
    /// A primary and its standby.
    Postgresql,
}

/// A running bed. Dropping it removes everything; if this process is killed, the next bed to
/// start does.
#[derive(Debug)]
pub struct Bed {
    id: String,
    folder: PathBuf,
    /// How long it took until the last service ran.
    pub start: Duration,
}

impl Bed {
    /// Starts a bed; builds the base of its hosts and sets them up once for each recipe.
    #[track_caller]
    pub fn up(parts: &[Part]) -> Self {
        Self::up_with(parts, &[])
    }

    /// The same with settings of `tests/bed/up`: `BED_MAIL_FS`, `BED_MAIL_MIB`, `BED_ACCOUNTS`.
    #[track_caller]
    pub fn up_with(parts: &[Part], settings: &[(&str, &str)]) -> Self {
        let begin = Instant::now();
        let mut command = Command::new(script("up"));
        command.args(["--owner", &std::process::id().to_string()]);
        command.envs(settings.iter().copied());
        command.args(parts.iter().map(|part| match part {
            Part::Mail => "mail",
            Part::Postgresql => "postgresql",
        }));
        command.stderr(std::process::Stdio::inherit());
        let said = expect_success(&mut command);
        let folder = PathBuf::from(String::from_utf8_lossy(&said.stdout).trim());
        let id = folder.file_name().unwrap_or_default().to_string_lossy();
        Self {
            id: id.into_owned(),
            start: begin.elapsed(),
            folder,
        }
    }

    /// Its id, part of the names of everything that it made outside its folder.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where its hosts and stores lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A host by its place: `dc-a`, `mail-b`, `ns1`, `mta`, `centre`, `pg-a`...
    pub fn host(&self, place: &str) -> Host<'_> {
        Host::new(self, place)
    }

    /// All its hosts.
    pub fn hosts(&self) -> Vec<Host<'_>> {
        let entries = std::fs::read_dir(self.folder.join("hosts"));
        let mut places: Vec<String> = entries
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        places.sort();
        places.iter().map(|place| self.host(place)).collect()
    }

    /// The sending mail server with its ledger, and the users' mail programs.
    pub fn sender(&self) -> Sender<'_> {
        Sender::new(self.host("mta"))
    }

    /// One of the control centre's name servers, 1 or 2.
    pub fn name_server(&self, number: u8) -> NameServer<'_> {
        NameServer::new(self, number)
    }

    /// The directory server of a site.
    pub fn directory(&self, site: Site) -> Directory<'_> {
        Directory::new(self, site)
    }

    /// Which mail host serves now, and which does not: who is called `mail`.
    pub fn mail_hosts(&self) -> (Host<'_>, Host<'_>) {
        let (a, b) = (self.host("mail-a"), self.host("mail-b"));
        if a.read("/etc/hostname").trim() == "mail" {
            (a, b)
        } else {
            (b, a)
        }
    }

    /// The switch-over that somebody wrote by hand, to the other side than the one that serves:
    /// its time, and how long nobody could log in. Fails if mail is lost or doubled.
    #[track_caller]
    pub fn switch_over_by_hand(&self) -> (Duration, Duration) {
        let output = expect_success(self.script("by-hand").arg("switch-over"));
        let said = String::from_utf8_lossy(&output.stdout);
        eprintln!("{said}");
        let result: serde_json::Value = said
            .lines()
            .last()
            .and_then(|line| serde_json::from_str(line).ok())
            .unwrap_or_else(|| panic!("by-hand ends with its result:\n{said}"));
        let seconds = |value: &serde_json::Value| {
            Duration::from_secs_f64(value.as_f64().unwrap_or_else(|| panic!("{result}")))
        };
        (
            seconds(&result["total_s"]),
            seconds(&result["imap"]["outage_s"]),
        )
    }

    /// One of the bed's scripts, about this bed.
    pub fn script(&self, name: &str) -> Command {
        let mut command = Command::new(script(name));
        command.env("LIFEBOAT_BED", &self.id);
        command
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let gone = Command::new(script("down")).arg(&self.id).status();
        if !gone.is_ok_and(|status| status.success()) {
            eprintln!("bed {} could not be removed: tests/bed/down {0}", self.id);
        }
    }
}

/// Where the bed's scripts lie.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bed").join(name)
}

#[track_caller]
fn expect_success(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
