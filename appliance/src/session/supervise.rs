//! Keeping the switch of a session alive: guests reconnect to it by themselves.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::making;
use super::plan::SessionPlan;
use crate::daemon::Appliance;
use crate::events::Events;
use crate::host::ProcessIdentity;
use crate::store::Resource;

const LOOK: Duration = Duration::from_millis(500);

/// Restarts the switch whenever it is gone, until the handle is aborted. The
/// new process is written to the store like the first.
pub fn supervise(appliance: Appliance, plan: Arc<SessionPlan>, events: Events) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(LOOK).await;
            match ensure_switch(&appliance, &plan).await {
                Ok(false) => {}
                Ok(true) => events.warning("the switch had ended; it was started again"),
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "failed to restart the switch")
                }
            }
        }
    })
}

/// Starts the switch unless it runs; says whether it had to.
pub async fn ensure_switch(appliance: &Appliance, plan: &SessionPlan) -> anyhow::Result<bool> {
    for (number, resource) in appliance.store.resources(&plan.id).await? {
        if let Resource::Switch { pid, start_time } = resource {
            if (ProcessIdentity { pid, start_time }).is_alive() {
                return Ok(false);
            }
            appliance.store.resource_removed(number).await?;
        }
    }
    making::start_switch(&appliance.store, &appliance.host, plan).await?;
    Ok(true)
}
