//! Finding the daemon, or starting a private one for the life of a command.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::daemon::client::Client;
use crate::daemon::{FAREWELL, IN_USE, socket_path};

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
        let private = start(&client, &state_dir).await?;
        Ok(Self { client, private })
    }

    /// The client of a daemon that runs already: what protects an application must not end with
    /// one command.
    pub async fn existing(state_dir: &Path) -> anyhow::Result<Client> {
        let state_dir = std::path::absolute(state_dir)?;
        let client = Client::new(&socket_path(&state_dir));
        anyhow::ensure!(
            client.is_served().await,
            "no daemon serves the state directory `{}`: start `lifeboat serve --agents ADDRESS:PORT`",
            state_dir.display()
        );
        Ok(client)
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

/// Starts a private daemon; none is left where another one serves by now.
async fn start(client: &Client, state_dir: &Path) -> anyhow::Result<Option<Child>> {
    let deadline = tokio::time::Instant::now() + START;
    loop {
        let mut daemon = spawn(state_dir)?;
        match wait_served(client, &mut daemon).await? {
            Served::ByOurs => return Ok(Some(daemon)),
            Served::ByAnother => return Ok(None),
            // The daemon of a command that was killed is still tidying up.
            Served::InUse if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Served::InUse => anyhow::bail!(
                "another daemon uses the state directory `{}` and does not answer",
                state_dir.display()
            ),
        }
    }
}

/// Who answers on the socket.
enum Served {
    ByOurs,
    ByAnother,
    /// Nobody, but the state directory is taken.
    InUse,
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

async fn wait_served(client: &Client, daemon: &mut Child) -> anyhow::Result<Served> {
    let deadline = tokio::time::Instant::now() + START;
    while !client.is_served().await {
        if let Some(status) = daemon.try_wait()? {
            if client.is_served().await {
                return Ok(Served::ByAnother);
            }
            if status.code() == Some(i32::from(IN_USE)) {
                return Ok(Served::InUse);
            }
            anyhow::bail!("the private daemon ended at once ({status}); its own words are above");
        }
        anyhow::ensure!(
            tokio::time::Instant::now() < deadline,
            "the private daemon does not listen after {} s",
            START.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // It may have answered in the moment in which ours found the place taken.
    Ok(match daemon.try_wait()? {
        None => Served::ByOurs,
        Some(_) => Served::ByAnother,
    })
}
