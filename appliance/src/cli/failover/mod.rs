//! `lifeboat failover`: two sites, watched and switched by the daemon.

mod following;
mod keeping;
mod text;
mod watching;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;
use serde_json::{Value, json};

use super::connect::Connection;
use super::remote::Remote;
use super::{Span, span};
use crate::daemon::WrongUse;
use crate::daemon::client::Client;

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum FailoverCommand {
    /// Where an application stands: state, who serves, process, hosts, what is seen.
    Status(Which),
    /// Could the other side take over now, and if not, why.
    Ready(Which),
    /// Switch from the primary to the secondary.
    SwitchOver(Switch),
    /// Switch back to the primary.
    SwitchBack(Switch),
    /// Answer the question that a running switch asks.
    Answer {
        /// The answer.
        #[arg(value_enum)]
        answer: YesNo,
        #[command(flatten)]
        which: Which,
    },
    /// Have a running switch taken back, as long as the new side does not serve.
    Abort(Which),
    /// Take a switch that stopped up again, where it stopped.
    TakeUp(Which),
    /// Auto Pilot: switches without being asked.
    Autopilot(AutoPilot),
    /// AutoSync: data flow to the other side, and only when they may.
    Autosync(keeping::AutoSync),
    /// Images of the data, by levels.
    Archive(keeping::Archive),
    /// An image takes the place of the data.
    Restore(keeping::Restore),
    /// What somebody had to be told, and whether it was delivered.
    Alerts(watching::Alerts),
    /// What changed on the hosts, and in what the sites differ.
    Changes(watching::Changes),
    /// What happened: changes of state; switches with their steps; who asked for what.
    History(History),
    /// The applications that this control centre knows.
    #[command(subcommand)]
    Application(ApplicationCommand),
    /// The agents of their hosts.
    #[command(subcommand)]
    Agent(AgentCommand),
}

/// Which application.
#[derive(Debug, Args)]
pub struct Which {
    /// Its name; may be left out when there is only one.
    application: Option<String>,
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum YesNo {
    /// Yes.
    Yes,
    /// No.
    No,
}

impl YesNo {
    fn is_yes(self) -> bool {
        self == Self::Yes
    }
}

/// A switch.
#[derive(Debug, Args)]
pub struct Switch {
    #[command(flatten)]
    which: Which,
    /// Print the plan and what is in its way; do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Why, for the history.
    #[arg(long, default_value = "")]
    why: String,
    /// Go on without asking (step 314).
    #[arg(long)]
    yes: bool,
    /// Whether data may flow back to the old side afterwards (step 364), without asking.
    #[arg(long, value_enum)]
    replicate_back: Option<YesNo>,
    /// How long step 314 waits for a word, for example `10s`.
    #[arg(long, value_parser = span)]
    confirmation: Option<Span>,
    /// Only begin; `status` tells how far it is.
    #[arg(long)]
    no_wait: bool,
}

/// Auto Pilot's settings.
#[derive(Debug, Args)]
pub struct AutoPilot {
    /// What to do; nothing: show it.
    #[arg(value_enum)]
    word: Option<AutoPilotWord>,
    /// The application; may be left out when there is only one.
    #[arg(long)]
    application: Option<String>,
    /// How long it waits before it acts, for example `30s`.
    #[arg(long, value_parser = span)]
    wait: Option<Span>,
    /// How often it restarts services first.
    #[arg(long)]
    restarts: Option<u32>,
    /// Whether it also switches back.
    #[arg(long, value_enum)]
    switch_back: Option<YesNo>,
}

/// What Auto Pilot is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AutoPilotWord {
    /// Act.
    On,
    /// Do not act.
    Off,
    /// Only say what it would do.
    Shadow,
    /// End a lock-out.
    Unlock,
}

/// A history.
#[derive(Debug, Args)]
pub struct History {
    #[command(flatten)]
    which: Which,
    /// At most so many, the newest first.
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// The switches instead.
    #[arg(long, conflicts_with_all = ["process", "audit"])]
    switches: bool,
    /// The steps of one switch instead, by its id; `last` is the newest.
    #[arg(long, conflicts_with = "audit")]
    process: Option<String>,
    /// Who asked for what instead.
    #[arg(long)]
    audit: bool,
}

/// Applications.
#[derive(Debug, Subcommand)]
pub enum ApplicationCommand {
    /// Register an application by its file; a known one goes on with what the file says now.
    Add {
        /// Its `application.toml`.
        file: PathBuf,
    },
    /// All of them.
    List,
    /// Forget one; nothing on its hosts is touched.
    Remove {
        /// Its name.
        name: String,
    },
}

/// Agents.
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Make a token by which the agent of a host joins: one use, ten minutes.
    Token {
        /// The host.
        host: String,
    },
    /// All of them.
    List,
    /// Forget a host: its certificate counts no more.
    Remove {
        /// The host.
        host: String,
    },
}

/// Carries one command out.
pub async fn run(remote: &Remote, command: FailoverCommand) -> anyhow::Result<bool> {
    let client = &Connection::existing(&remote.state_dir).await?;
    let asked = Asked { remote, client };
    match command {
        FailoverCommand::Status(which) => asked.status(&which).await,
        FailoverCommand::Ready(which) => asked.ready(&which).await,
        FailoverCommand::SwitchOver(switch) => asked.switch("switch-over", &switch).await,
        FailoverCommand::SwitchBack(switch) => asked.switch("switch-back", &switch).await,
        FailoverCommand::Answer { answer, which } => {
            let body = json!({ "yes": answer.is_yes() });
            asked.word(&which, "answer", &body, "answered").await
        }
        FailoverCommand::Abort(which) => {
            asked
                .word(&which, "abort", &(), "is being taken back")
                .await
        }
        FailoverCommand::TakeUp(which) => asked.take_up(&which).await,
        FailoverCommand::Autopilot(words) => asked.autopilot(words).await,
        FailoverCommand::Autosync(words) => asked.autosync(&words).await,
        FailoverCommand::Archive(words) => asked.archive(&words).await,
        FailoverCommand::Restore(words) => asked.restore(&words).await,
        FailoverCommand::Alerts(words) => asked.alerts(&words).await,
        FailoverCommand::Changes(words) => asked.changes(&words).await,
        FailoverCommand::History(history) => asked.history(&history).await,
        FailoverCommand::Application(command) => asked.application(command).await,
        FailoverCommand::Agent(command) => asked.agent(command).await,
    }
}

struct Asked<'a> {
    remote: &'a Remote,
    client: &'a Client,
}

impl Asked<'_> {
    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let path = format!("/failover{path}");
        self.client.call(Method::GET, &path, &()).await
    }

    async fn post(&self, path: &str, body: &impl serde::Serialize) -> anyhow::Result<Value> {
        let path = format!("/failover{path}");
        self.client.call(Method::POST, &path, body).await
    }

    /// The path of the application that is meant.
    async fn path(&self, named: Option<&str>) -> anyhow::Result<String> {
        let name = match named {
            Some(name) => plain(name)?.to_owned(),
            None => self.only_one().await?,
        };
        Ok(format!("/applications/{name}"))
    }

    async fn only_one(&self) -> anyhow::Result<String> {
        let all = self.get("/applications").await?;
        let names: Vec<&str> = all
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| one["name"].as_str())
            .collect();
        match names[..] {
            [name] => Ok(name.to_owned()),
            [] => Err(WrongUse("no application is known here: register one by `lifeboat failover application add FILE`".into()).into()),
            _ => Err(WrongUse(format!("there are several applications, name one: {}", names.join(", "))).into()),
        }
    }

    async fn status(&self, which: &Which) -> anyhow::Result<bool> {
        let path = self.path(which.application.as_deref()).await?;
        let status = self.get(&path).await?;
        self.remote.print(&status, || text::status(&status))
    }

    async fn ready(&self, which: &Which) -> anyhow::Result<bool> {
        let path = self.path(which.application.as_deref()).await?;
        let readiness = self.get(&format!("{path}/ready")).await?;
        self.remote
            .print(&readiness, || text::readiness(&readiness))?;
        Ok(readiness["ready"] == true)
    }

    async fn switch(&self, way: &str, asked: &Switch) -> anyhow::Result<bool> {
        let path = self.path(asked.which.application.as_deref()).await?;
        if asked.dry_run {
            let plan = self.get(&format!("{path}/plan/{way}")).await?;
            self.remote.print(&plan, || text::plan(&plan))?;
            return Ok(plan["obstacles"].as_array().is_some_and(Vec::is_empty));
        }
        let patience = asked.confirmation.and_then(|span| span.0);
        let body = json!({
            "way": way,
            "why": asked.why,
            "go_on": asked.yes.then_some(true),
            "replicate_back": asked.replicate_back.map(YesNo::is_yes),
            "confirmation_ms": patience.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        });
        // Before it begins, so that nothing of it is missed.
        let events = following::Events::of(self.client, &path).await?;
        let process = self.post(&format!("{path}/switch"), &body).await?;
        if asked.no_wait {
            let id = text::word(&process);
            return self.remote.print(&json!({ "process": process }), || {
                format!("process {id} has begun\n")
            });
        }
        self.follow(&path, text::word(&process), events).await
    }

    async fn take_up(&self, which: &Which) -> anyhow::Result<bool> {
        let path = self.path(which.application.as_deref()).await?;
        let events = following::Events::of(self.client, &path).await?;
        self.post(&format!("{path}/take-up"), &()).await?;
        let status = self.get(&path).await?;
        let id = text::word(&status["process"]["record"]["id"]).to_owned();
        self.follow(&path, &id, events).await
    }

    async fn follow(
        &self,
        path: &str,
        id: &str,
        events: following::Events,
    ) -> anyhow::Result<bool> {
        let process = following::to_the_end(self.client, path, id, events).await?;
        let result = text::result(&process);
        self.remote.print(&result, || text::result_line(&result))?;
        Ok(result["ending"] == "done")
    }

    async fn word(
        &self,
        which: &Which,
        word: &str,
        body: &impl serde::Serialize,
        said: &str,
    ) -> anyhow::Result<bool> {
        let path = self.path(which.application.as_deref()).await?;
        self.post(&format!("{path}/{word}"), body).await?;
        let name = path.rsplit('/').next().unwrap_or_default();
        self.remote
            .print(&json!({ "application": name, "result": said }), || {
                format!("{name}: {said}\n")
            })
    }

    async fn autopilot(&self, words: AutoPilot) -> anyhow::Result<bool> {
        let path = self.path(words.application.as_deref()).await?;
        let change = words.change()?;
        if let Some(change) = change {
            self.post(&format!("{path}/autopilot"), &change).await?;
        }
        let status = self.get(&path).await?;
        self.remote.print(&status["autopilot"], || {
            text::autopilot(&status["autopilot"])
        })
    }

    async fn history(&self, asked: &History) -> anyhow::Result<bool> {
        let path = self.path(asked.which.application.as_deref()).await?;
        let limit = asked.limit;
        if let Some(id) = &asked.process {
            let id = match id.as_str() {
                "last" => {
                    let newest = self.get(&format!("{path}/processes?limit=1")).await?;
                    text::word(&newest[0]["id"]).to_owned()
                }
                id => plain(id)?.to_owned(),
            };
            anyhow::ensure!(!id.is_empty(), "nothing was ever switched");
            let process = self.get(&format!("/processes/{id}")).await?;
            return self.remote.print(&process, || text::process(&process));
        }
        if asked.switches {
            let list = self.get(&format!("{path}/processes?limit={limit}")).await?;
            return self.remote.print(&list, || text::processes(&list));
        }
        if asked.audit {
            let name = path.rsplit('/').next().unwrap_or_default();
            let list = self.get(&format!("/audit/{name}?limit={limit}")).await?;
            return self.remote.print(&list, || text::audit(&list));
        }
        let list = self.get(&format!("{path}/history?limit={limit}")).await?;
        self.remote.print(&list, || text::history(&list))
    }

    async fn application(&self, command: ApplicationCommand) -> anyhow::Result<bool> {
        match command {
            ApplicationCommand::Add { file } => {
                let body = json!({ "file": std::path::absolute(file)? });
                let name = self.post("/applications", &body).await?;
                self.remote.print(&json!({ "application": name }), || {
                    format!("application `{}` registered\n", text::word(&name))
                })
            }
            ApplicationCommand::List => {
                let all = self.get("/applications").await?;
                self.remote.print(&all, || text::applications(&all))
            }
            ApplicationCommand::Remove { name } => {
                let path = format!("/failover/applications/{}", plain(&name)?);
                let _: Value = self.client.call(Method::DELETE, &path, &()).await?;
                self.remote.print(&json!({ "removed": name }), || {
                    format!("application `{name}` forgotten; nothing on its hosts was touched\n")
                })
            }
        }
    }

    async fn agent(&self, command: AgentCommand) -> anyhow::Result<bool> {
        match command {
            AgentCommand::Token { host } => {
                let made = self
                    .post(&format!("/agents/{}/token", plain(&host)?), &())
                    .await?;
                self.remote
                    .print(&made, || format!("{}\n", text::word(&made["token"])))
            }
            AgentCommand::List => {
                let all = self.get("/agents").await?;
                self.remote.print(&all, || text::agents(&all))
            }
            AgentCommand::Remove { host } => {
                let path = format!("/failover/agents/{}", plain(&host)?);
                let _: Value = self.client.call(Method::DELETE, &path, &()).await?;
                self.remote.print(&json!({ "removed": host }), || {
                    format!("agent of `{host}` forgotten\n")
                })
            }
        }
    }
}

impl AutoPilot {
    /// What changes; nothing when it is only to be shown.
    fn change(&self) -> anyhow::Result<Option<Value>> {
        let (enabled, shadow, unlock) = match self.word {
            Some(AutoPilotWord::On) => (Some(true), Some(false), false),
            Some(AutoPilotWord::Off) => (Some(false), None, false),
            Some(AutoPilotWord::Shadow) => (Some(true), Some(true), false),
            Some(AutoPilotWord::Unlock) => (None, None, true),
            None => (None, None, false),
        };
        let nothing = self.word.is_none()
            && self.wait.is_none()
            && self.restarts.is_none()
            && self.switch_back.is_none();
        if nothing {
            return Ok(None);
        }
        let wait = match self.wait {
            Some(Span(None)) => {
                return Err(WrongUse(
                    "Auto Pilot cannot wait for ever: switch it off instead".into(),
                )
                .into());
            }
            Some(Span(Some(time))) => Some(time.as_secs()),
            None => None,
        };
        Ok(Some(json!({
            "enabled": enabled,
            "shadow": shadow,
            "unlock": unlock,
            "wait_s": wait,
            "restarts": self.restarts,
            "switch_back": self.switch_back.map(YesNo::is_yes),
        })))
    }
}

/// Names and ids go into paths of the API as they are.
fn plain(name: &str) -> anyhow::Result<&str> {
    if crate::site::is_plain_name(name) {
        return Ok(name);
    }
    Err(WrongUse(format!("`{}` is no name", crate::report::printable(name))).into())
}
