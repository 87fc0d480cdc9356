//! Follows a switch to its end, step by step; also over a restart of the daemon.

use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::text;
use crate::daemon::client::Client;
use crate::report::printable;

/// How long nothing may be heard before the daemon is asked.
const SILENCE: Duration = Duration::from_secs(2);
/// How long a daemon that went away may take to come back.
const RETURN: Duration = Duration::from_secs(120);
const AGAIN: Duration = Duration::from_millis(500);

/// Server-sent events of one application.
pub(super) struct Events {
    body: Incoming,
    pending: Vec<u8>,
}

impl Events {
    pub(super) async fn of(client: &Client, path: &str) -> anyhow::Result<Self> {
        let body = client.open(&format!("/failover{path}/events")).await?;
        let pending = Vec::new();
        Ok(Self { body, pending })
    }

    /// The next event; nothing when there are no more.
    async fn next(&mut self) -> Option<Value> {
        loop {
            while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                let data = line.strip_prefix(b"data:").unwrap_or_default();
                if let Ok(event) = serde_json::from_slice(data) {
                    return Some(event);
                }
            }
            let frame = self.body.frame().await?.ok()?;
            self.pending
                .extend_from_slice(frame.data_ref().map_or(&[][..], |bytes| bytes));
        }
    }
}

/// Shows the steps of a process until it ends; the process with its journal.
pub(super) async fn to_the_end(
    client: &Client,
    path: &str,
    id: &str,
    events: Events,
) -> anyhow::Result<Value> {
    let mut shown = Shown {
        begin: Instant::now(),
        lines: 0,
        asked: None,
    };
    let mut events = Some(events);
    let mut gone = None;
    loop {
        let heard = match &mut events {
            Some(events) => timeout(SILENCE, events.next()).await,
            None => Ok(None),
        };
        match heard {
            Ok(Some(event)) if event["detail"]["process"] != id => continue,
            Ok(Some(_)) | Err(_) => {}
            Ok(None) => {
                events = Events::of(client, path).await.ok();
                if events.is_none() {
                    sleep(AGAIN).await;
                }
            }
        }
        let looked: anyhow::Result<Value> = client
            .call(Method::GET, &format!("/failover/processes/{id}"), &())
            .await;
        match looked {
            Ok(process) => {
                gone = None;
                shown.show(&process);
                if !process["record"]["ending"].is_null() {
                    return Ok(process);
                }
                shown.ask(client, path).await?;
            }
            Err(error) => {
                let since = *gone.get_or_insert_with(Instant::now);
                if since.elapsed() > RETURN {
                    return Err(error.context("the daemon went away in the middle of the switch and did not come back; it goes on when it is started again"));
                }
                events = None;
            }
        }
    }
}

/// What was shown already.
struct Shown {
    begin: Instant,
    lines: usize,
    asked: Option<u64>,
}

impl Shown {
    fn show(&mut self, process: &Value) {
        let journal = process["journal"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        for line in journal.iter().skip(self.lines) {
            if let Some(said) = text::step_line(process, line) {
                eprintln!(
                    "{:>7.1} s  {}",
                    self.begin.elapsed().as_secs_f64(),
                    printable(&said)
                );
            }
        }
        self.lines = self.lines.max(journal.len());
    }

    /// Passes a question on, once.
    async fn ask(&mut self, client: &Client, path: &str) -> anyhow::Result<()> {
        let status: Value = client
            .call(Method::GET, &format!("/failover{path}"), &())
            .await?;
        let question = &status["question"];
        let step = question["step"].as_u64();
        if step.is_none() || self.asked == step {
            return Ok(());
        }
        self.asked = step;
        let silence = if question["silence_means"] == true {
            "yes"
        } else {
            "no"
        };
        eprint!(
            "{} [silence means {silence}] ",
            printable(text::word(&question["text"]))
        );
        if !std::io::stdin().is_terminal() {
            eprintln!("(answer with `lifeboat failover answer yes|no`)");
            return Ok(());
        }
        drop(std::io::stderr().flush());
        let (client, path) = (client.clone(), format!("/failover{path}/answer"));
        tokio::spawn(async move {
            let line = tokio::task::spawn_blocking(|| {
                let mut line = String::new();
                std::io::stdin().lock().read_line(&mut line).map(|_| line)
            });
            let Ok(Ok(line)) = line.await else { return };
            let yes = match line.trim() {
                "y" | "yes" => true,
                "n" | "no" => false,
                _ => return,
            };
            let said: anyhow::Result<Value> = client
                .call(Method::POST, &path, &json!({ "yes": yes }))
                .await;
            if let Err(error) = said {
                eprintln!("not answered: {error:#}");
            }
        });
        Ok(())
    }
}
