//! `lifeboat drivers`: the drivers that Windows guests are given.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use clap::Subcommand;
use lifeboat_drivers::windows::catalogue::{Catalogue, image};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid};
use serde::Serialize;

use super::{Format, output};
use crate::daemon::WrongUse;
use crate::host::Host;
use crate::report::printable;

const NOBODY: u32 = 65_534;
const MEMORY: u64 = 1 << 30;
const CPU_SECONDS: u64 = 300;

/// Drivers for Windows guests.
#[derive(Debug, Subcommand)]
pub enum DriversCommand {
    /// Take the drivers of a virtio-win image into the catalogue; newer ones take the place of
    /// those for the same Windows and device.
    Add {
        /// The image: virtio-win.iso.
        image: PathBuf,
        /// Only for these Windows, as virtio-win names them (`2k25,w11`): pins a version for them.
        #[arg(long = "for", value_delimiter = ',')]
        only: Vec<String>,
    },
    /// What the catalogue holds.
    List,
    /// Reads the image on standard input; run by `add`, without rights.
    #[command(hide = true)]
    Read {
        /// How the image is called.
        name: String,
        /// As for `add`.
        #[arg(long = "for", value_delimiter = ',')]
        only: Vec<String>,
    },
}

/// Performs one.
pub fn run(state_dir: &Path, command: &DriversCommand, format: Format) -> anyhow::Result<()> {
    let catalogue = Host::new(state_dir)?.driver_catalogue();
    match command {
        DriversCommand::Add { image, only } => {
            add(&catalogue, image, only)?;
            list(&catalogue, format)
        }
        DriversCommand::List => list(&catalogue, format),
        DriversCommand::Read { name, only } => read(name, only),
    }
}

/// The image is read by this program again, as a process that has nothing to lose.
fn add(catalogue: &Path, path: &Path, only: &[String]) -> anyhow::Result<()> {
    let image = File::open(path)
        .map_err(|error| WrongUse(format!("failed to open `{}`: {error}", path.display())))?;
    let mut out = tempfile::tempfile().context("failed to make a scratch file")?;
    let name = path.file_name().unwrap_or(path.as_os_str());
    let mut reader = Command::new(std::env::current_exe()?);
    reader.args(["drivers", "read"]).arg(name);
    if !only.is_empty() {
        reader.arg("--for").arg(only.join(","));
    }
    let status = reader
        .env_clear()
        .stdin(image)
        .stdout(Stdio::from(out.as_fd().try_clone_to_owned()?))
        .status()
        .context("failed to start the reader of images")?;
    anyhow::ensure!(
        status.success(),
        "`{}` was not taken into the catalogue ({status})",
        path.display()
    );
    out.seek(SeekFrom::Start(0))?;
    image::add(catalogue, &mut out)?;
    Ok(())
}

fn read(name: &str, only: &[String]) -> anyhow::Result<()> {
    let image = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    confine().context("failed to give up rights before reading the image")?;
    for warning in image::extract(image, name, only, std::io::stdout().lock())? {
        eprintln!("warning: left out: {}", printable(&warning));
    }
    Ok(())
}

/// No network, no rights of root, little memory, little time.
fn confine() -> nix::Result<()> {
    setrlimit(Resource::RLIMIT_AS, MEMORY, MEMORY)?;
    setrlimit(Resource::RLIMIT_CPU, CPU_SECONDS, CPU_SECONDS)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    if geteuid().is_root() {
        unshare(CloneFlags::CLONE_NEWNET)?;
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        setgroups(&[])?;
        setresgid(group, group, group)?;
        setresuid(user, user, user)?;
    }
    nix::sys::prctl::set_no_new_privs()
}

/// One driver, for people and programs.
#[derive(Debug, Serialize)]
struct Listed<'c> {
    windows: &'c str,
    architecture: &'c str,
    driver: &'c str,
    version: String,
    date: String,
    source: &'c str,
}

fn list(catalogue: &Path, format: Format) -> anyhow::Result<()> {
    let catalogue = image::read(catalogue)?;
    let drivers = listed(&catalogue);
    output::print(format, &drivers, || {
        if drivers.is_empty() {
            return "no drivers for Windows; add them with `lifeboat drivers add virtio-win.iso`\n"
                .to_owned();
        }
        let line = |driver: &Listed| {
            format!(
                "{:<8} {:<6} {:<12} {:<20} {}  {}\n",
                printable(driver.windows),
                printable(driver.architecture),
                printable(driver.driver),
                driver.version,
                driver.date,
                printable(driver.source)
            )
        };
        drivers.iter().map(line).collect()
    })?;
    Ok(())
}

fn listed(catalogue: &Catalogue) -> Vec<Listed<'_>> {
    let packages = catalogue.packages.iter();
    packages
        .map(|package| {
            let (year, month, day) = package.inf.date;
            Listed {
                windows: &package.os,
                architecture: &package.architecture,
                driver: &package.driver,
                version: package.inf.version_text(),
                date: format!("{year:04}-{month:02}-{day:02}"),
                source: &package.source,
            }
        })
        .collect()
}
