//! The user's own services: names, units and ports beside the built-in table.

use std::path::Path;

use lifeboat_bootorder::extend_services;

use crate::daemon::WrongUse;

/// Where an appliance has those that hold for all its sites.
pub const HOST_FILE: &str = "/etc/lifeboat/services.toml";

/// Adds the appliance's own services, where it has any; returns what is wrong
/// with the file. A recovery does not stop for a name.
pub fn add_of_host() -> Option<String> {
    let file = Path::new(HOST_FILE);
    if !file.exists() {
        return None;
    }
    let error = anyhow::Error::from(extend_services(file).err()?);
    let words = crate::events::chain(&error).join(": ");
    Some(format!("{words}; no service of `{HOST_FILE}` is used"))
}

/// Adds the services of a file that the user named.
pub fn add(file: &Path) -> Result<(), WrongUse> {
    extend_services(file).map_err(|error| {
        let words = crate::events::chain(&error.into()).join(": ");
        WrongUse(format!("`--names {}`: {words}", file.display()))
    })
}
