//! Commands that the daemon carries out.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use hyper::Method;
use lifeboat_bootorder::OperatorWord;
use serde::Serialize;
use serde_json::{Value, json};

use super::connect::Connection;
use super::order::{Answer, OrderArguments};
use super::progress::Progress;
use super::{Format, Run, SessionCommand, SiteCommand, output};
use crate::daemon::WrongUse;
use crate::daemon::api::{AddSite, OrderRequest, SessionRequest};
use crate::daemon::client::Client;
use crate::events::Event;
use crate::integrity::VolumeStatus;
use crate::prepare::{PrepareOptions, PreparedMachine};
use crate::report::{Mode, Report};
use crate::session::plan::QEMU_OVERHEAD_MIB;
use crate::site::Site;

/// Where the daemon is and how to show its answers.
pub struct Remote {
    /// The state directory, which names the daemon.
    pub state_dir: PathBuf,
    /// How results are printed.
    pub format: Format,
}

impl Remote {
    pub async fn site(&self, command: SiteCommand) -> anyhow::Result<bool> {
        self.with(async |client| match command {
            SiteCommand::Add { file } => {
                let site = add(client, &file).await?;
                self.print(&site, || {
                    format!(
                        "site `{}` registered: {} machines\n",
                        site.name,
                        site.machines.len()
                    )
                })
            }
            SiteCommand::List => {
                let sites: Vec<crate::store::SiteRecord> =
                    client.call(Method::GET, "/sites", &()).await?;
                self.print(&sites, || output::sites(&sites))
            }
            SiteCommand::Show { site } => {
                let name = resolve(client, &site).await?;
                let site: Site = client
                    .call(Method::GET, &format!("/sites/{name}"), &())
                    .await?;
                let words: Vec<OperatorWord> = client
                    .call(Method::GET, &format!("/sites/{name}/operator"), &())
                    .await?;
                let mut captured: Vec<VolumeStatus> =
                    client.call(Method::GET, "/volumes", &()).await?;
                let of_site =
                    |path: &PathBuf| site.machines.iter().any(|m| m.volumes.contains(path));
                captured.retain(|status| of_site(&status.volume));
                let mut value = serde_json::to_value(&site)?;
                if let Value::Object(keys) = &mut value {
                    keys.insert("operator".into(), serde_json::to_value(&words)?);
                    keys.insert("captured_volumes".into(), serde_json::to_value(&captured)?);
                }
                self.print(&value, || output::site(&site, &words, &captured))
            }
            SiteCommand::Remove { name } => {
                let () = client
                    .call(Method::DELETE, &format!("/sites/{}", plain(&name)?), &())
                    .await?;
                self.print(&json!({ "removed": name }), || {
                    format!("site `{name}` forgotten; its volumes stay, what was converted or unpacked for it alone is gone\n")
                })
            }
            SiteCommand::Draft { .. } => Ok(false),
        })
        .await
    }

    pub async fn prepare(&self, site: &str, accept_changed: bool) -> anyhow::Result<bool> {
        self.with(async |client| {
            let name = resolve(client, site).await?;
            let options = PrepareOptions {
                accept_changed,
                ..PrepareOptions::default()
            };
            let value = watched(client, &format!("/sites/{name}/prepare"), &options).await?;
            let prepared: Vec<PreparedMachine> = serde_json::from_value(value)?;
            self.print(&prepared, || output::prepared(&prepared))
        })
        .await
    }

    pub async fn order(&self, asked: &OrderArguments) -> anyhow::Result<bool> {
        let literal = asked.literal()?;
        self.with(async |client| {
            let name = resolve(client, asked.site.as_deref().unwrap_or_default()).await?;
            let site: Site = client
                .call(Method::GET, &format!("/sites/{name}"), &())
                .await?;
            asked.check(&site.machine_names(), self.format)?;
            keep(client, &site, asked).await?;
            let request = OrderRequest {
                explain: asked.explain().map(|(a, b)| (a.to_owned(), b.to_owned())),
                literal,
                ..OrderRequest::default()
            };
            let value = watched(client, &format!("/sites/{name}/order"), &request).await?;
            let machines = site.machines.iter();
            let host =
                asked.host(machines.map(|m| (m.name.clone(), m.memory_mib + QEMU_OVERHEAD_MIB)));
            asked.show(answer(value)?, &host, self.format)
        })
        .await
    }

    pub async fn session(&self, run: Run, mode: Mode) -> anyhow::Result<bool> {
        if let Some(path) = &run.report {
            writable(path)?;
        }
        self.with(async |client| {
            let name = resolve(client, &run.site).await?;
            let prepare = PrepareOptions {
                accept_changed: run.accept_changed,
                verify: run.verify,
            };
            let value = watched(
                client,
                &format!("/sites/{name}/sessions"),
                &SessionRequest { mode, prepare },
            )
            .await?;
            let report: Report = serde_json::from_value(value)?;
            if let Some(path) = &run.report {
                let text = serde_json::to_vec_pretty(&report)?;
                std::fs::write(path, text)
                    .with_context(|| format!("failed to write report `{}`", path.display()))?;
            }
            self.print(&report, || crate::report::to_text(&report))?;
            Ok(report.ok)
        })
        .await
    }

    pub async fn sessions(&self, command: SessionCommand) -> anyhow::Result<bool> {
        self.with(async |client| match command {
            SessionCommand::List => {
                let sessions: Vec<crate::store::SessionRecord> =
                    client.call(Method::GET, "/sessions", &()).await?;
                self.print(&sessions, || output::sessions(&sessions))
            }
            SessionCommand::Show { session } => {
                let value: Value = client
                    .call(Method::GET, &format!("/sessions/{}", plain(&session)?), &())
                    .await?;
                self.print(&value, || {
                    serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"
                })
            }
            SessionCommand::Start {
                session,
                accept_changed,
                verify,
            } => {
                let options = PrepareOptions {
                    accept_changed,
                    verify,
                };
                let value = left_alone(client, &session, &options).await?;
                let report: Report = serde_json::from_value(value)?;
                self.print(&report, || crate::report::to_text(&report))?;
                Ok(report.ok)
            }
            SessionCommand::Stop { session } => {
                let what: String = client
                    .call(
                        Method::POST,
                        &format!("/sessions/{}/stop", plain(&session)?),
                        &(),
                    )
                    .await?;
                self.print(&json!({ "session": session, "result": what }), || {
                    format!("session {session}: {what}\n")
                })
            }
            SessionCommand::Console { session, machine } => {
                let value: Value = client
                    .call(Method::GET, &format!("/sessions/{}", plain(&session)?), &())
                    .await?;
                console(&value, plain(&machine)?)
            }
        })
        .await
    }

    pub async fn report(&self, session: &str) -> anyhow::Result<bool> {
        self.with(async |client| {
            let report: Report = client
                .call(
                    Method::GET,
                    &format!("/sessions/{}/report", plain(session)?),
                    &(),
                )
                .await?;
            self.print(&report, || crate::report::to_text(&report))
        })
        .await
    }

    pub async fn with(
        &self,
        work: impl AsyncFnOnce(&Client) -> anyhow::Result<bool>,
    ) -> anyhow::Result<bool> {
        let connection = Connection::open(&self.state_dir).await?;
        let result = work(&connection.client).await;
        connection.close().await;
        result
    }

    pub fn print(
        &self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> anyhow::Result<bool> {
        output::print(self.format, value, text)
    }
}

/// Shows events until the result. An interrupt asks the session to stop and
/// goes on waiting for its end, so that nothing is left behind.
pub async fn watched(client: &Client, path: &str, body: &impl Serialize) -> anyhow::Result<Value> {
    let session = Arc::new(Mutex::new(None::<String>));
    let mut progress = Progress::new();
    let noted = session.clone();
    let work = client.watch(path, body, move |event| {
        if let Event::Session { id } = event {
            *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(id.clone());
        }
        progress.show(event);
    });
    tokio::pin!(work);
    loop {
        tokio::select! {
            result = &mut work => return result,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                let id = session.lock().unwrap_or_else(PoisonError::into_inner).clone();
                match id {
                    None => anyhow::bail!("interrupted before a session began; nothing was started"),
                    Some(id) => {
                        eprintln!("interrupted: stopping session {id} and removing what it made");
                        let _: String = client.call(Method::POST, &format!("/sessions/{id}/stop"), &()).await?;
                    }
                }
            }
        }
    }
}

/// Shows events until the result. An interrupt ends the showing only: a kept
/// recovery is ended by nobody's impatience.
async fn left_alone(
    client: &Client,
    session: &str,
    options: &PrepareOptions,
) -> anyhow::Result<Value> {
    let path = format!("/sessions/{}/start", plain(session)?);
    let mut progress = Progress::new();
    tokio::select! {
        result = client.watch(&path, options, move |event| progress.show(event)) => result,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            anyhow::bail!("interrupted: session {session} goes on by itself; `lifeboat session show {session}` tells how far it is")
        }
    }
}

/// The operator's words are kept before the order is worked out, so that
/// nothing that fails later loses them.
async fn keep(client: &Client, site: &Site, asked: &OrderArguments) -> anyhow::Result<()> {
    let changes = asked.changes();
    if changes.is_empty() {
        return Ok(());
    }
    let path = format!("/sites/{}/operator", site.name);
    let words: Vec<OperatorWord> = client.call(Method::POST, &path, &changes).await?;
    eprintln!("{}", super::order::kept_line(&site.name, &words));
    Ok(())
}

fn answer(mut value: Value) -> anyhow::Result<Answer> {
    let mut take = |key: &str| match &mut value {
        Value::Object(keys) => keys.remove(key).unwrap_or_default(),
        _ => Value::Null,
    };
    let (explanation, literal) = (take("explanation"), take("literal"));
    Ok(Answer {
        explanation: serde_json::from_value(explanation)?,
        literal: serde_json::from_value(literal)?,
        order: serde_json::from_value(value)?,
    })
}

/// A file is registered and becomes its name; a name stays.
pub async fn resolve(client: &Client, site: &str) -> anyhow::Result<String> {
    let path = Path::new(site);
    if path.exists() {
        return Ok(add(client, path).await?.name);
    }
    if site.contains('/') || site.ends_with(".toml") {
        return Err(WrongUse(format!("site file `{site}` does not exist")).into());
    }
    Ok(plain(site)?.to_owned())
}

async fn add(client: &Client, file: &Path) -> anyhow::Result<Site> {
    let file = std::path::absolute(file)?;
    client.call(Method::POST, "/sites", &AddSite { file }).await
}

/// Names and ids go into paths of the API as they are.
fn plain(name: &str) -> anyhow::Result<&str> {
    if crate::site::is_plain_name(name) {
        return Ok(name);
    }
    Err(WrongUse(format!(
        "`{}` is not a name: names have letters, digits, `-`, `_` and `.`",
        crate::report::printable(name)
    ))
    .into())
}

/// Before hours of work, not after.
fn writable(path: &Path) -> anyhow::Result<()> {
    let folder = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if folder.is_dir() && !path.is_dir() {
        return Ok(());
    }
    Err(WrongUse(format!(
        "the report cannot be written to `{}`: its folder does not exist, or it is a folder",
        path.display()
    ))
    .into())
}

fn console(session: &Value, machine: &str) -> anyhow::Result<bool> {
    let folder = session
        .get("folder")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let path = Path::new(folder).join(format!("{machine}.log"));
    let bytes = std::fs::read(&path).with_context(|| {
        format!(
            "no console of machine `{machine}` was recorded (`{}`)",
            path.display()
        )
    })?;
    let text: String = crate::report::console_lines(&bytes)
        .into_iter()
        .map(|line| line + "\n")
        .collect();
    output::write_out(&text)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use lifeboat_bootorder::{Analysis, Literal, MachineFolder, Moment, Options};

    use super::*;
    use crate::daemon::api::order_answer;

    #[test]
    fn an_order_comes_back_from_the_daemon_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let machine = |name: &str, file: &str, text: &str| {
            let path = folder.path().join(name).join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
            MachineFolder {
                name: name.into(),
                folder: folder.path().join(name),
                addresses: Vec::new(),
                names: Vec::new(),
            }
        };
        let machines = [
            machine("data1", "etc/hostname", "data1\n"),
            machine("web1", "etc/app.env", "URL=postgres://data1/x\n"),
        ];
        let analysis = Analysis::new(&machines, &[], &Options::default());
        let request = OrderRequest {
            accept_changed: false,
            explain: Some(("data1".into(), "web1".into())),
            literal: Some(Literal {
                options: Options::default(),
                moment: Moment::At(1.5),
                half_life_s: 60.0,
            }),
        };
        let sent: OrderRequest =
            serde_json::from_str(&serde_json::to_string(&request).unwrap()).unwrap();
        assert_eq!(sent.literal, request.literal);
        let found = answer(order_answer(&analysis, &sent).unwrap()).unwrap();
        assert_eq!(&found.order, analysis.order());
        assert_eq!(found.explanation, analysis.explain("data1", "web1").ok());
        assert_eq!(found.explanation.unwrap().facts.len(), 1);
        assert!(found.literal.is_some());
        let plain = answer(order_answer(&analysis, &OrderRequest::default()).unwrap()).unwrap();
        assert!(plain.explanation.is_none() && plain.literal.is_none());
        let unknown = OrderRequest {
            explain: Some(("data1".into(), "nobody".into())),
            ..OrderRequest::default()
        };
        let error = order_answer(&analysis, &unknown).unwrap_err();
        assert!(crate::daemon::is_wrong_use(&error), "{error}");
    }
}
