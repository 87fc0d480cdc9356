//! Keeping the switch of a session alive: guests reconnect to it by themselves.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lifeboat_network::client::{ClientError, SwitchClient};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::making;
use super::plan::SessionPlan;
use super::wire::Wire;
use crate::daemon::{AllSeen, Appliance};
use crate::events::Events;
use crate::host::ProcessIdentity;
use crate::store::Resource;

const LOOK: Duration = Duration::from_millis(500);
/// Longest pause between two tries to start a switch that does not start.
const LONGEST: Duration = Duration::from_secs(60);

/// A running watch over a switch; it ends between two looks after this is
/// dropped, never in the middle of a start.
pub struct Supervisor {
    alive: watch::Sender<()>,
    looking: JoinHandle<()>,
    wire: Arc<Mutex<Wire>>,
    seen: AllSeen,
    session: String,
}

impl Supervisor {
    /// What the switch saw so far, in all its lives.
    pub fn wire(&self) -> Arc<Mutex<Wire>> {
        self.wire.clone()
    }

    /// Ends the watch; no switch is started after this returns.
    pub async fn end(self) {
        drop(self.alive);
        // A watch that broke off looks no more either.
        let _ = self.looking.await;
        self.seen.forget(&self.session);
    }
}

/// Restarts the switch whenever it is gone, until the supervisor is dropped.
/// The new process is written to the store like the first.
pub fn supervise(appliance: Appliance, plan: Arc<SessionPlan>, events: Events) -> Supervisor {
    let (alive, mut dropped) = watch::channel(());
    let wire = appliance.seen.of(&plan.id).wire;
    let noted = wire.clone();
    let (seen, session) = (appliance.seen.clone(), plan.id.clone());
    let looking = tokio::spawn(async move {
        let client = SwitchClient::new(&plan.switch.control_socket);
        let mut pause = LOOK;
        loop {
            tokio::select! {
                _ = dropped.changed() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = look(&appliance, &plan, &events, pause).await;
            // A switch that does not answer now is asked again at the next look.
            let _ = note(&client, &noted).await;
        }
    });
    Supervisor {
        alive,
        looking,
        wire,
        seen,
        session,
    }
}

/// Asks the switch what it saw and adds it to the record.
pub async fn note(client: &SwitchClient, wire: &Mutex<Wire>) -> Result<(), ClientError> {
    let status = client.status().await?;
    let unanswered = client.unanswered().await?;
    let mut wire = wire.lock().unwrap_or_else(PoisonError::into_inner);
    wire.note(&status, unanswered);
    Ok(())
}

/// Looks once; returns the pause until the next look.
async fn look(
    appliance: &Appliance,
    plan: &SessionPlan,
    events: &Events,
    pause: Duration,
) -> Duration {
    match ensure_switch(appliance, plan).await {
        Ok(false) => LOOK,
        Ok(true) => {
            events.warning("the switch had ended; it was started again");
            LOOK
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "failed to restart the switch");
            (pause * 2).min(LONGEST)
        }
    }
}

/// Starts the switch unless it runs; says whether it had to.
pub async fn ensure_switch(appliance: &Appliance, plan: &SessionPlan) -> anyhow::Result<bool> {
    for (number, resource) in appliance.store.resources(&plan.id).await? {
        if let Resource::Switch {
            pid, start_time, ..
        } = resource
        {
            if (ProcessIdentity { pid, start_time }).is_alive() {
                return Ok(false);
            }
            appliance.store.resource_removed(number).await?;
        }
    }
    // After a reboot of the host the folder of sockets is gone.
    making::ensure_run_dir(plan)?;
    making::start_switch(&appliance.store, &appliance.host, plan).await?;
    Ok(true)
}
