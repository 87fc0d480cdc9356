//! Log-ins as users do them: by agents on their hosts, and by the control centre from outside.

mod dialogue;
mod login;

use crate::profile::{Filled, Probe};
use dialogue::Dialogue;

/// Does what a user would do. Nothing bounds its time but the servers.
pub async fn log_in(probe: &Probe, values: &Filled) -> Result<(), String> {
    match probe {
        Probe::Smtp(access) => login::smtp(access, values).await,
        Probe::Imap(access) => login::imap(access, values).await,
        Probe::Pop3(access) => login::pop3(access, values).await,
        Probe::Http(page) => login::http(page, values).await,
        Probe::Tcp(access) => Dialogue::open(access, values).await.map(drop),
        Probe::Sql(_) | Probe::Ping(_) | Probe::Snmp(_) | Probe::Command { .. } => {
            Err("this is no log-in by SMTP, IMAP, POP3, HTTP or TCP".to_owned())
        }
    }
}
