//! The host itself: its name, its restart.

use std::path::Path;
use std::time::Duration;

use nix::sys::reboot::{RebootMode, reboot};
use nix::unistd::{gethostname, sethostname};

use super::{Did, Executor, Failed, Stepped};
use crate::profile::Kind;
use crate::run::{clock, keep};

const HOSTNAME: &str = "/etc/hostname";

/// Sets the host's name now and for later boots.
pub(super) fn rename(name: &str) -> Stepped {
    Kind::Name
        .check(name)
        .map_err(|why| Failed(format!("the host's new name {why}")))?;
    let failed =
        |error: &dyn std::fmt::Display| Failed(format!("renaming the host to {name}: {error}"));
    let now = gethostname().map_err(|error| failed(&error))?;
    let later = std::fs::read_to_string(HOSTNAME).unwrap_or_default();
    if now.to_str() == Some(name) && later.trim() == name {
        return Ok(Did::already(format!("the host is called {name} already")));
    }
    let line = format!("{name}\n");
    keep::replace(Path::new(HOSTNAME), line.as_bytes()).map_err(|error| failed(&error))?;
    sethostname(name).map_err(|error| failed(&error))?;
    Ok(Did::changed(format!(
        "the host is called {name}, before {}",
        now.to_string_lossy()
    )))
}

impl Executor {
    /// Restarts the host. The answer comes from the agent of the next boot, which is asked again.
    pub(super) async fn reboot(&self) -> Stepped {
        let boot = clock::boot_id();
        if boot != self.asked_in {
            return Ok(Did::changed(format!("the host runs in boot {boot} since")));
        }
        if Path::new("/run/systemd/system").exists() {
            let argv = ["/bin/systemctl", "reboot"].map(str::to_owned);
            let output = self.command(&argv, Duration::from_secs(60)).await?;
            if output.code != Some(0) {
                return Err(Failed(format!(
                    "the host does not restart: {}",
                    output.line()
                )));
            }
        } else {
            rustix::fs::sync();
            reboot(RebootMode::RB_AUTOBOOT)
                .map_err(|error| Failed(format!("the host does not restart: {error}")))?;
        }
        tokio::time::sleep(Duration::from_secs(600)).await;
        Err(Failed::new(
            "the host was told to restart and still runs after 10 minutes",
        ))
    }
}
