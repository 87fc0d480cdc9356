//! Finding the daemon, or starting a private one for the life of a command.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::daemon::client::Client;
use crate::daemon::{FAREWELL, socket_path};

/// How long a daemon may take to listen: it may have to tear down what an
/// earlier one left.
const START: Duration = Duration::from_secs(60);

/// A daemon to talk to.
pub struct Connection {
    /// Its client.
    pub client: Client,
    /// The private daemon. It ends when its standard input does, which is when
    /// this process lets go of it, however this process ends.
    private: Option<Child>,
}

impl Connection {
    /// The daemon of a state directory.
    pub async fn open(state_dir: &Path) -> anyhow::Result<Self> {
        let state_dir = std::path::absolute(state_dir)?;
        let client = Client::new(&socket_path(&state_dir));
        if client.is_served().await {
            return Ok(Self {
                client,
                private: None,
            });
        }
        let mut daemon = spawn(&state_dir)?;
        wait_served(&client, &mut daemon).await?;
        Ok(Self {
            client,
            private: Some(daemon),
        })
    }

    /// Lets a private daemon end, and waits for it.
    pub async fn close(mut self) {
        if let Some(daemon) = &mut self.private {
            if let Some(mut input) = daemon.stdin.take() {
                // A daemon that is gone already needs no farewell.
                let _ = input.write_all(FAREWELL).await;
            }
            drop(daemon.wait().await);
        }
    }
}

fn spawn(state_dir: &Path) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("failed to find this program")?;
    Command::new(program)
        .args(["serve", "--private", "--state-dir"])
        .arg(state_dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        // A group of its own: an interrupt from the keyboard is for the
        // command, which asks the daemon to stop in order.
        .process_group(0)
        .spawn()
        .context("failed to start a private daemon")
}

async fn wait_served(client: &Client, daemon: &mut Child) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + START;
    while !client.is_served().await {
        if let Some(status) = daemon.try_wait()? {
            anyhow::bail!("the private daemon ended at once ({status}); its own words are above");
        }
        anyhow::ensure!(
            tokio::time::Instant::now() < deadline,
            "the private daemon does not listen after {} s",
            START.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
