//! What the operator may ask for.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_agent::tls::agent_name;
use lifeboat_failover::authority::CentreRecord;
use lifeboat_failover::process::{Actor, Kind};
use lifeboat_failover::state::{Event, State, apply};

use super::{ApplicationHandle, Centre};
use crate::application::Application;
use crate::autopilot::{self, Change};
use crate::clock;
use crate::error::CentreError;
use crate::readiness::{self, Readiness};
use crate::state::{self, Order, PlanView, SwitchRequest};
use crate::store::{
    AuditRecord, KeptApplication, ProcessRecord, Standing, StateRecord, TransitionRecord,
};
use crate::view::{AgentView, ApplicationView, MadeToken, ProcessView, ServingView, Status};

/// How long a token counts.
const TOKEN: Duration = Duration::from_secs(600);

impl Centre {
    /// Makes a token by which the agent of `host` joins: one use, ten minutes.
    pub async fn make_token(&self, host: &str, who: &str) -> Result<MadeToken, CentreError> {
        agent_name(host).map_err(|_| CentreError::HostName(host.to_owned()))?;
        let ca = self.load_ca().await?;
        let mut random = [0; 16];
        let generator = ring::rand::SystemRandom::new();
        ring::rand::SecureRandom::fill(&generator, &mut random)
            .map_err(|_| CentreError::Refused("no random numbers can be had".to_owned()))?;
        let token = ca.token(random);
        let life = u64::try_from(TOKEN.as_millis()).unwrap_or(u64::MAX);
        let expires = clock::unix().saturating_add(life);
        self.store().audit(who, "make a token", host, "").await?;
        let hash = token.secret.hash();
        self.store().put_token(hash, host, expires).await?;
        Ok(MadeToken {
            host: host.to_owned(),
            token: token.to_string(),
            expires,
        })
    }

    /// Every host that belongs to an application or whose agent joined.
    pub async fn agents(&self) -> Result<Vec<AgentView>, CentreError> {
        let mut views: Vec<AgentView> = Vec::new();
        for handle in self.all() {
            views.extend(self.agents_of(&handle));
        }
        for host in self.store().hosts().await? {
            match views.iter_mut().find(|view| view.host == host.name) {
                Some(view) => view.joined_at = Some(host.joined_at),
                None => {
                    let mut view = self.agent(&host.name, None);
                    view.joined_at = Some(host.joined_at);
                    views.push(view);
                }
            }
        }
        views.sort_by(|one, other| one.host.cmp(&other.host));
        Ok(views)
    }

    /// Forgets a host: its certificate counts no more.
    pub async fn remove_agent(&self, host: &str, who: &str) -> Result<(), CentreError> {
        if let Some((handle, _)) = self.part_of(host) {
            return Err(CentreError::HostTaken {
                host: host.to_owned(),
                owner: handle.application().name.clone(),
            });
        }
        self.store().audit(who, "remove an agent", host, "").await?;
        match self.store().remove_host(host).await? {
            true => Ok(()),
            false => Err(CentreError::UnknownHost(host.to_owned())),
        }
    }

    /// Reads an application's file and takes the application up; a known one goes on from where it
    /// stands, with what the file says now. Says its name.
    pub async fn add_application(&self, file: &Path, who: &str) -> Result<String, CentreError> {
        let (application, texts) = Application::read(file)?;
        let name = application.name.clone();
        self.hosts_are_free(&application)?;
        let known = self.handle(&name).ok();
        if let Some(handle) = &known
            && handle.snapshot().state.state.active().is_none()
        {
            let process = lifeboat_failover::safety::Process::Switch;
            return Err(lifeboat_failover::safety::NotSafe::Running(process).into());
        }
        let detail = file.display().to_string();
        self.store()
            .audit(who, "add an application", &name, &detail)
            .await?;
        let kept = KeptApplication {
            name: name.clone(),
            file: file.to_owned(),
            texts,
        };
        let standing = first_standing(&application);
        self.store().put_application(&kept, &standing).await?;
        match known {
            Some(handle) => handle.update(Arc::new(application)).await,
            None => self.put_handle(state::start(self, application).await?),
        }
        self.welcome_again(&name);
        Ok(name)
    }

    fn hosts_are_free(&self, application: &Application) -> Result<(), CentreError> {
        for (_, host) in application.hosts() {
            let taken = self.part_of(&host.name);
            let owner = taken.map(|(handle, _)| handle.application().name.clone());
            if let Some(owner) = owner.filter(|owner| *owner != application.name) {
                let host = host.name.clone();
                return Err(CentreError::HostTaken { host, owner });
            }
        }
        Ok(())
    }

    /// Agents that are connected already come again, to hear of their part.
    fn welcome_again(&self, application: &str) {
        if let Ok(handle) = self.handle(application) {
            for (_, host) in handle.application().hosts() {
                self.links().hang_up(&host.name);
            }
        }
    }

    /// Forgets an application; nothing on its hosts is touched, and its history stays.
    pub async fn remove_application(&self, name: &str, who: &str) -> Result<(), CentreError> {
        let handle = self.handle(name)?;
        self.store()
            .audit(who, "remove an application", name, "")
            .await?;
        handle.ask(Order::Remove).await?;
        self.write_handles().remove(name);
        for (_, host) in handle.application().hosts() {
            self.links().hang_up(&host.name);
        }
        Ok(())
    }

    /// Every application.
    pub async fn applications(&self) -> Vec<ApplicationView> {
        let view = |handle: &Arc<ApplicationHandle>| {
            let application = handle.application();
            ApplicationView {
                name: application.name.clone(),
                file: application.file.clone(),
                profile: application.profile.profile.name.clone(),
                unproven: application.profile.profile.unproven.clone(),
                state: handle.snapshot().state.into(),
                hosts: application
                    .hosts()
                    .map(|(_, host)| host.name.clone())
                    .collect(),
            }
        };
        self.all().iter().map(view).collect()
    }

    /// Where an application stands.
    pub async fn status(&self, application: &str) -> Result<Status, CentreError> {
        let handle = self.handle(application)?;
        let snapshot = handle.snapshot();
        let authority = handle.authority();
        let progress = snapshot.progress.borrow().clone();
        let process = snapshot.process.as_ref().map(|record| ProcessView {
            record: (**record).clone(),
            journal: progress.journal,
        });
        Ok(Status {
            application: application.to_owned(),
            state: snapshot.state.into(),
            epoch: authority.grantor.epoch,
            holder: authority.active,
            process,
            question: progress.question,
            working: snapshot.working.clone(),
            observed: snapshot.observed.as_deref().cloned(),
            autopilot: snapshot.autopilot.clone(),
            agents: self.agents_of(&handle),
        })
    }

    fn agents_of(&self, handle: &ApplicationHandle) -> Vec<AgentView> {
        let application = handle.application();
        let part = |(actor, host): (Actor, &crate::application::Host)| {
            self.agent(&host.name, Some((application.name.clone(), actor)))
        };
        application.hosts().map(part).collect()
    }

    fn agent(&self, host: &str, part: Option<(String, Actor)>) -> AgentView {
        let seen = self.links().seen(host);
        let (application, part) = part.unzip();
        AgentView {
            host: host.to_owned(),
            application,
            part,
            joined_at: None,
            connected_since: seen.as_ref().map(|seen| seen.since),
            version: seen.as_ref().map(|seen| seen.hello.version.clone()),
            serving: seen
                .and_then(|seen| seen.serving)
                .map(|(serving, at)| ServingView { serving, at }),
        }
    }

    /// Whether the other side could take over now.
    pub async fn ready(&self, application: &str) -> Result<Readiness, CentreError> {
        let handle = self.handle(application)?;
        Ok(readiness::look(self, &handle.application()).await)
    }

    /// What a switch would do now; nothing is done.
    pub async fn plan(&self, application: &str, kind: Kind) -> Result<PlanView, CentreError> {
        let handle = self.handle(application)?;
        let described = handle.application();
        let state = handle.snapshot().state.state;
        let newest = handle.authority().newest;
        let plan = state::plan(&described, kind, newest, None, None);
        let old = &described.side(plan.from).host.name;
        let there = self.links().is_there(old);
        let mut obstacles = readiness::obstacles(self, &described, plan.to);
        if let Err(error) = apply(state, state::events_of(kind, state)[0], None) {
            obstacles.insert(0, error.to_string());
        }
        Ok(PlanView {
            bypassed: plan
                .steps
                .iter()
                .map(|step| step.needs_old_side && !there)
                .collect(),
            plan,
            obstacles,
        })
    }

    /// Begins process 300; says the process's id.
    pub async fn switch(
        &self,
        application: &str,
        request: SwitchRequest,
    ) -> Result<String, CentreError> {
        let handle = self.handle(application)?;
        handle
            .ask(|reply| Order::Switch(Box::new(request), reply))
            .await
    }

    /// Answers the question that a process asks.
    pub async fn answer(&self, application: &str, yes: bool, who: &str) -> Result<(), CentreError> {
        let who = who.to_owned();
        let handle = self.handle(application)?;
        handle.ask(|reply| Order::Answer { yes, who, reply }).await
    }

    /// Has the running switch undone.
    pub async fn abort(&self, application: &str, who: &str) -> Result<(), CentreError> {
        let who = who.to_owned();
        let handle = self.handle(application)?;
        handle.ask(|reply| Order::Abort { who, reply }).await
    }

    /// Takes a switch that stopped up again, at the step where it stopped.
    pub async fn take_up(&self, application: &str, who: &str) -> Result<(), CentreError> {
        let who = who.to_owned();
        let handle = self.handle(application)?;
        handle.ask(|reply| Order::TakeUp { who, reply }).await
    }

    /// Changes Auto Pilot.
    pub async fn set_autopilot(
        &self,
        application: &str,
        change: Change,
        who: &str,
    ) -> Result<(), CentreError> {
        let who = who.to_owned();
        let handle = self.handle(application)?;
        handle
            .ask(|reply| Order::AutoPilot { change, who, reply })
            .await
    }

    /// The newest transitions of an application, newest first.
    pub async fn history(
        &self,
        application: &str,
        at_most: u32,
    ) -> Result<Vec<TransitionRecord>, CentreError> {
        Ok(self.store().transitions(application, at_most).await?)
    }

    /// The newest processes of an application, newest first.
    pub async fn processes(
        &self,
        application: &str,
        at_most: u32,
    ) -> Result<Vec<ProcessRecord>, CentreError> {
        Ok(self.store().processes(application, at_most).await?)
    }

    /// A process with its journal.
    pub async fn process(&self, id: &str) -> Result<ProcessView, CentreError> {
        let record = self.store().process(id).await?;
        Ok(ProcessView {
            record: record.ok_or_else(|| CentreError::UnknownProcess(id.to_owned()))?,
            journal: self.store().journal(id).await?,
        })
    }

    /// Who asked for what of an application or host, newest first.
    pub async fn audit(
        &self,
        subject: &str,
        at_most: u32,
    ) -> Result<Vec<AuditRecord>, CentreError> {
        Ok(self.store().audit_of(subject, at_most).await?)
    }

    /// Something that another part of the control centre found out changes the state.
    pub async fn apply(
        &self,
        application: &str,
        event: Event,
        who: &str,
        why: &str,
        evidence: Vec<String>,
    ) -> Result<(), CentreError> {
        let (who, why) = (who.to_owned(), why.to_owned());
        let handle = self.handle(application)?;
        handle
            .ask(|reply| Order::Apply {
                event,
                who,
                why,
                evidence,
                reply,
            })
            .await
    }
}

pub(crate) fn first_standing(application: &Application) -> Standing {
    Standing {
        state: StateRecord {
            state: State::Normal,
            since: clock::unix(),
            came_from: None,
            announced: false,
        },
        authority: CentreRecord::first(),
        leased: lifeboat_failover::lease::Epoch(0),
        autopilot: autopilot::Kept::new(application.autopilot),
    }
}
