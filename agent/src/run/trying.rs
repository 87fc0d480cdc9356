//! One action of the profile, here and now and without a control centre: for whoever writes a
//! profile.

use std::sync::Arc;

use lifeboat_failover::process::Action;

use super::actions::Executor;
use super::config::{Config, ConfigError, Places};
use super::{clock, keep};
use crate::profile::{ValueError, fill};
use crate::wire::{Outcome, Values};

/// Why nothing was tried.
#[derive(Debug, thiserror::Error)]
pub enum TryError {
    /// The settings.
    #[error("failed to use the settings of this host")]
    Config(#[source] ConfigError),
    /// They name no profile.
    #[error("this host has no profile: name one in agent.toml")]
    NoProfile,
    /// A value.
    #[error("failed to fill the profile's parameters")]
    Value(#[source] ValueError),
    /// The folders.
    #[error("failed to make the agent's folders")]
    Places(#[source] std::io::Error),
    /// What was written down.
    #[error("failed to read what the agent wrote down")]
    State(#[source] keep::KeepError),
    /// Somebody else decides here.
    #[error("this host holds a lease of an application: only its control centre may have it act")]
    Leased,
}

/// Carries an action out. Not on a host with a lease: there it would go round the control centre.
pub async fn try_action(
    places: &Places,
    config: &Config,
    action: Action,
    values: &Values,
) -> Result<Outcome, TryError> {
    let lease: Option<lifeboat_failover::authority::AgentRecord> =
        keep::read(&places.lease()).map_err(TryError::State)?;
    if lease.is_some() {
        return Err(TryError::Leased);
    }
    places.make().map_err(TryError::Places)?;
    let loaded = config.load_profile().map_err(TryError::Config)?;
    let loaded = Arc::new(loaded.ok_or(TryError::NoProfile)?);
    let own = Values::from([
        ("application".to_owned(), "trial".to_owned()),
        ("side".to_owned(), "primary".to_owned()),
        ("epoch".to_owned(), "1".to_owned()),
    ]);
    let values =
        fill(&loaded.profile, &own, &config.parameters, values).map_err(TryError::Value)?;
    let executor = Executor {
        loaded,
        values,
        marks: places.groups(),
        asked_in: clock::boot_id(),
    };
    Ok(executor.perform(action).await)
}
