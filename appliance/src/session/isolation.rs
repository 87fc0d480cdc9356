//! The proof that nothing of a session reaches the host's network: marked
//! frames inside, a watcher on every interface outside, and a control frame
//! that the watcher must see.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lifeboat_network::client::SwitchClient;
use lifeboat_network::isolation::{CanaryWatcher, IsolationReport};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::report::IsolationLine;

/// Between two rounds of canaries while machines boot.
const ROUND: Duration = Duration::from_secs(5);

/// The running proof.
pub struct Isolation {
    rounds: JoinHandle<anyhow::Result<IsolationLine>>,
    stop: watch::Sender<bool>,
}

impl Isolation {
    /// Starts the watcher, proves that it sees, and sends the first canaries
    /// before any machine runs.
    /// `seen` tells others how far it is.
    pub async fn start(
        client: SwitchClient,
        seen: Arc<Mutex<Option<IsolationLine>>>,
    ) -> anyhow::Result<Self> {
        let mut watcher = CanaryWatcher::start(&format!(
            "lifeboat-canary-{}",
            uuid::Uuid::new_v4().simple()
        ))?;
        watcher.challenge(&client).await?;
        note(&seen, &watcher);
        let (stop, stopped) = watch::channel(false);
        Ok(Self {
            rounds: tokio::spawn(rounds(watcher, client, stopped, seen)),
            stop,
        })
    }

    /// Ends the proof and says what was seen.
    pub async fn finish(self) -> anyhow::Result<IsolationLine> {
        let _ = self.stop.send(true);
        self.rounds.await?
    }
}

async fn rounds(
    mut watcher: CanaryWatcher,
    client: SwitchClient,
    mut stopped: watch::Receiver<bool>,
    seen: Arc<Mutex<Option<IsolationLine>>>,
) -> anyhow::Result<IsolationLine> {
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            () = tokio::time::sleep(ROUND) => {
                challenge(&mut watcher, &client).await;
                note(&seen, &watcher);
            }
        }
    }
    challenge(&mut watcher, &client).await;
    // The control comes last: that it was seen proves that all before it was
    // looked at.
    let report = tokio::task::spawn_blocking(move || {
        let controlled = watcher.positive_control();
        controlled.map(|_| watcher.finish())
    })
    .await??;
    Ok(line(report))
}

fn note(seen: &Mutex<Option<IsolationLine>>, watcher: &CanaryWatcher) {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    *seen = Some(line(watcher.so_far()));
}

fn line(report: IsolationReport) -> IsolationLine {
    IsolationLine {
        host_interfaces: report.host_interfaces,
        canaries_sent: report.canaries_sent,
        canaries_escaped: report.canaries_escaped,
        control_seen: report.control_seen,
    }
}

/// The switch may be restarting; other rounds will be answered.
async fn challenge(watcher: &mut CanaryWatcher, client: &SwitchClient) {
    if let Err(error) = watcher.challenge(client).await {
        tracing::warn!(%error, "a round of canaries was not sent");
    }
}
