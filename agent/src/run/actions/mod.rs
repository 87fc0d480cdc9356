//! Carries out the named actions of a profile, and nothing else.

mod files;
mod host;
mod image;
mod ports;
#[cfg(test)]
mod postgresql_tests;
mod service;
mod store;
mod trees;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_failover::process::Action;
use tokio::time::{Instant, sleep};

use super::command::{Given, Output, run};
use super::config::Loaded;
use super::log::Chain;
use crate::profile::{Filled, Run, Step, ValueError, WaitEmpty};
use crate::wire::Outcome;

pub(crate) use service::{is_running, starts_at_boot};
pub(crate) use store::{mount_at, mounts};

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Did {
    changed: bool,
    evidence: String,
}

impl Did {
    fn changed(evidence: impl Into<String>) -> Self {
        Self {
            changed: true,
            evidence: evidence.into(),
        }
    }

    fn already(evidence: impl Into<String>) -> Self {
        Self {
            changed: false,
            evidence: evidence.into(),
        }
    }
}

/// Why a step failed: a sentence for whoever has to help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed(String);

impl Failed {
    fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl From<ValueError> for Failed {
    fn from(error: ValueError) -> Self {
        Self(error.to_string())
    }
}

impl From<super::command::CommandError> for Failed {
    fn from(error: super::command::CommandError) -> Self {
        Self(Chain(&error).to_string())
    }
}

type Stepped = Result<Did, Failed>;

/// Carries out actions of one profile with one set of values.
#[derive(Debug, Clone)]
pub(crate) struct Executor {
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) values: Filled,
    /// Where the process groups of running commands are marked.
    pub(crate) marks: PathBuf,
    /// In which boot of the host the action was first asked for.
    pub(crate) asked_in: String,
}

impl Executor {
    /// Carries an action out.
    pub(crate) async fn perform(&self, action: Action) -> Outcome {
        let Some(steps) = self.loaded.profile.action.get(&action) else {
            let name = &self.loaded.profile.name;
            return Outcome::Refused {
                reason: format!("the profile `{name}` has no action {action:?}"),
            };
        };
        let (mut changed, mut evidence) = (false, Vec::new());
        for step in &steps.steps {
            match self.step(step).await {
                Ok(did) => {
                    changed |= did.changed;
                    evidence.push(did.evidence);
                }
                Err(Failed(reason)) => return Outcome::Failed { reason, evidence },
            }
        }
        evidence.extend(steps.because.clone().filter(|_| steps.steps.is_empty()));
        Outcome::Done { changed, evidence }
    }

    async fn step(&self, step: &Step) -> Stepped {
        match step {
            Step::Run(run) => self.run(run).await,
            Step::Start(name) => self.start(name).await,
            Step::Stop(name) => self.stop(name).await,
            Step::Enable(name) => self.at_boot(name, "enable").await,
            Step::Disable(name) => self.at_boot(name, "disable").await,
            Step::Mount(name) => self.mount(name).await,
            Step::RemountReadOnly(name) => self.remount_read_only(name).await,
            Step::Unmount(name) => self.unmount(name).await,
            Step::EnsureStore(name) => self.ensure_store(name).await,
            Step::WaitEmpty(wait) => self.wait_empty(wait).await,
            Step::ClosePorts(ports) => self.ports(ports, ports::Way::Close).await,
            Step::OpenPorts(ports) => self.ports(ports, ports::Way::Open).await,
            Step::RenameHost(name) => host::rename(&self.values.text(name)?),
            Step::Reboot(_) => self.reboot().await,
            Step::DeleteFiles(delete) => self.delete_files(delete).await,
            Step::TakeImage(_) => self.take_image().await,
            Step::ProveImage(_) => self.prove_image().await,
            Step::PlaceImage(_) => self.place_image().await,
            Step::RestoreImage(_) => self.restore_image().await,
        }
    }

    /// Runs a command that may change something.
    async fn command(&self, argv: &[String], limit: Duration) -> Result<Output, Failed> {
        self.command_with(argv, None, limit).await
    }

    async fn command_with(
        &self,
        argv: &[String],
        input: Option<&str>,
        limit: Duration,
    ) -> Result<Output, Failed> {
        let given = Given {
            input,
            ..Given::changes(limit, Some(&self.marks))
        };
        Ok(run(argv, given).await?)
    }

    async fn run(&self, step: &Run) -> Stepped {
        let argv = self.values.all(&step.argv)?;
        let limit = Duration::from_secs(step.within_s.into());
        let program = argv.first().cloned().unwrap_or_default();
        if let Some(unless) = &step.unless {
            let output = self.command(&self.values.all(unless)?, limit).await?;
            if output.code == Some(0) {
                return Ok(Did::already(format!("{program}: not needed")));
            }
        }
        let input = step
            .input
            .as_ref()
            .map(|input| self.values.text(input))
            .transpose()?;
        let output = self.command_with(&argv, input.as_deref(), limit).await?;
        let evidence = format!("{program}: {}", output.line());
        let says =
            |text: &String| output.printed.contains(text) || output.complained.contains(text);
        match output.code {
            Some(code) if step.already.contains(&code) => Ok(Did::already(evidence)),
            _ if step.already_says.as_ref().is_some_and(says) => Ok(Did::already(evidence)),
            Some(0) if step.only_looks => Ok(Did::already(evidence)),
            Some(0) => Ok(Did::changed(evidence)),
            _ => Err(Failed(evidence)),
        }
    }

    async fn wait_empty(&self, wait: &WaitEmpty) -> Stepped {
        let argv = self.values.all(&wait.argv)?;
        let limit = Duration::from_secs(wait.within_s.into());
        let end = Instant::now() + limit;
        let mut waited = false;
        loop {
            let output = self.command(&argv, limit).await?;
            let says = |text: &String| output.printed.contains(text);
            let empty = output.printed.trim().is_empty() && output.code == Some(0);
            if empty || wait.empty_says.as_ref().is_some_and(says) {
                let evidence = format!("{} has nothing more to say", argv[0]);
                return Ok(if waited {
                    Did::changed(evidence)
                } else {
                    Did::already(evidence)
                });
            }
            if Instant::now() >= end {
                let left = output.line();
                return Err(Failed(format!(
                    "{} still says after {} s: {left}",
                    argv[0], wait.within_s
                )));
            }
            waited = true;
            sleep(Duration::from_millis(100)).await;
        }
    }
}
