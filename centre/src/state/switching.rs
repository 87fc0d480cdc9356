//! Beginning, steering and ending process 300.

use std::sync::Arc;
use std::time::Duration;

use lifeboat_failover::Side;
use lifeboat_failover::process::{Action, Actor, Ending, Kind, Plan, Request, switch};
use lifeboat_failover::safety::{NotSafe, Process, safe_to_start};
use lifeboat_failover::state::{Event, State};

use super::owner::{Owner, Wanted};
use super::{Order, SwitchRequest};
use crate::alerts::Gravity;
use crate::application::Application;
use crate::clock;
use crate::error::{CentreError, Chain};
use crate::event::What;
use crate::store::{ProcessRecord, StateRecord, TransitionRecord, Wishes};
use crate::{execution, readiness, restore};

/// How long an archive may take to end.
const GIVE_WAY: Duration = Duration::from_secs(5);

/// The plan of a switch, as it would be carried out now.
pub(crate) fn plan(
    application: &Application,
    kind: Kind,
    newest: lifeboat_failover::lease::Epoch,
    confirmation: Option<Duration>,
    replicate_back: Option<bool>,
) -> Plan {
    switch(&Request {
        kind,
        epoch: newest,
        identity: application.identity(),
        stores: application.profile.profile.stores,
        confirmation: confirmation.unwrap_or(application.confirmation),
        replicate_back: replicate_back.unwrap_or(application.replicate_back),
    })
}

/// Which events bring `state` into a switch. In ordinary times the operator's word that planned
/// work is about to begin goes before it (204).
pub(crate) fn events_of(kind: Kind, state: State) -> Vec<Event> {
    match (kind, state) {
        (Kind::SwitchOver, State::Normal | State::ResyncSecondary) => {
            vec![Event::PrimaryDegrades, Event::SwitchOver]
        }
        (Kind::SwitchOver, _) => vec![Event::SwitchOver],
        (Kind::SwitchBack, _) => vec![Event::SwitchBack],
    }
}

impl Owner {
    pub(super) async fn begin_switch(
        &mut self,
        request: SwitchRequest,
    ) -> Result<String, CentreError> {
        if let (Some(process), true) = (&self.process, self.state.state.active().is_none()) {
            return Err(CentreError::SwitchUnderWay(process.id.clone()));
        }
        self.safe_to_switch(request.for_restore)?;
        let announced = self.state.state.active() == Some(Side::Primary)
            && !matches!(
                self.state.state,
                State::DegradingPrimary | State::DegradedUserAccess
            );
        let changes = self.events_for(&request);
        let (mut state, mut transitions) = self.changes(changes)?;
        state.announced = announced;
        let to = request.kind.from().other();
        let mut problems = readiness::obstacles(&self.centre, &self.application, to);
        if !self.authority.is_leased() {
            problems.push(readiness::NO_LEASE.to_owned());
        }
        if !problems.is_empty() {
            return Err(CentreError::NotReady { side: to, problems });
        }
        let process = self.process_for(request, &state);
        let store = self.centre.store();
        let detail = format!(
            "{:?}, process {}: {}",
            process.plan.kind, process.id, process.why
        );
        store
            .audit(&process.who, "switch", &self.application.name, &detail)
            .await?;
        store
            .begin_process(&process, &state, &mut transitions)
            .await?;
        let id = process.id.clone();
        self.show(state, transitions);
        self.run(process, Vec::new());
        Ok(id)
    }

    fn safe_to_switch(&self, for_restore: bool) -> Result<(), CentreError> {
        let restoring = self.working.contains(&Process::Restore);
        if restoring && !for_restore {
            return Err(NotSafe::Running(Process::Restore).into());
        }
        Ok(safe_to_start(
            Process::Switch,
            &self.in_progress(),
            self.state.state,
        )?)
    }

    fn events_for(&self, request: &SwitchRequest) -> Vec<Wanted> {
        let events = events_of(request.kind, self.state.state);
        let change = |event| Wanted {
            event,
            who: request.who.clone(),
            why: request.why.clone(),
            evidence: match event {
                Event::PrimaryDegrades => vec![format!("announced by {}", request.who)],
                _ => Vec::new(),
            },
        };
        events.into_iter().map(change).collect()
    }

    fn process_for(&self, request: SwitchRequest, state: &StateRecord) -> ProcessRecord {
        let mut plan = plan(
            &self.application,
            request.kind,
            self.authority.record().newest,
            request.confirmation_ms.map(Duration::from_millis),
            request.wishes.replicate_back,
        );
        if request.for_restore && request.kind == Kind::SwitchOver {
            restore::keep_the_image(&mut plan);
        }
        ProcessRecord {
            id: format!("{:012x}", fastrand::u64(..) >> 16),
            application: self.application.name.clone(),
            plan,
            wishes: request.wishes,
            came_from: state.came_from.unwrap_or(self.state.state),
            who: request.who,
            why: request.why,
            started_at: clock::unix(),
            abort_by: None,
            ended_at: None,
            ending: None,
        }
    }

    /// Carries a process out from where its journal is.
    fn run(&mut self, process: ProcessRecord, journal: Vec<crate::store::JournalLine>) {
        let process = Arc::new(process);
        let what = What::ProcessBegan {
            process: process.id.clone(),
            plan: process.plan.clone(),
        };
        self.centre
            .events()
            .tell(Some(&self.application.name), what);
        let (running, progress) = execution::start(execution::Begin {
            centre: self.centre.clone(),
            application: self.application.clone(),
            process: process.clone(),
            journal,
            orders: self.orders.clone(),
            authority: self.watched.clone(),
        });
        self.process = Some(process);
        self.running = Some(running);
        self.follow(progress);
        self.publish();
    }

    /// A control centre that starts goes on with what another one had begun.
    pub(super) async fn take_process_up(&mut self) -> Result<(), CentreError> {
        let Some(process) = self.process.clone() else {
            return Ok(());
        };
        let journal = self.centre.store().journal(&process.id).await?;
        if process.ended_at.is_some() {
            self.follow(execution::past(journal));
            return Ok(());
        }
        tracing::warn!(
            application = self.application.name,
            process = process.id,
            "a switch is taken up where it was broken off"
        );
        self.run((*process).clone(), journal);
        Ok(())
    }

    pub(super) fn answer(&mut self, yes: bool, who: String) -> Result<(), CentreError> {
        let running = self.running.as_ref().ok_or(CentreError::NoQuestion)?;
        match running.answer(yes, who) {
            true => Ok(()),
            false => Err(CentreError::NoQuestion),
        }
    }

    pub(super) async fn abort(&mut self, who: String) -> Result<(), CentreError> {
        let (Some(process), Some(running)) = (&self.process, &self.running) else {
            return Err(CentreError::NoProcess("aborted"));
        };
        if self.authority.record().active == process.plan.to {
            return Err(CentreError::TooLate);
        }
        let store = self.centre.store();
        store
            .audit(&who, "abort", &self.application.name, &process.id)
            .await?;
        store.abort_process(&process.id, &who).await?;
        running.abort();
        let mut aborted = (**process).clone();
        aborted.abort_by.get_or_insert(who);
        self.process = Some(Arc::new(aborted));
        Ok(())
    }

    pub(super) async fn take_up(&mut self, who: String) -> Result<(), CentreError> {
        let (Some(process), None) = (&self.process, &self.running) else {
            return Err(CentreError::NoProcess("taken up"));
        };
        let Some(Ending::Stopped(step)) = process.ending else {
            return Err(CentreError::NoProcess("taken up"));
        };
        let store = self.centre.store();
        store
            .audit(&who, "take up", &self.application.name, &process.id)
            .await?;
        store.reopen_process(&process.id, step).await?;
        let journal = store.journal(&process.id).await?;
        let mut process = (**process).clone();
        (process.ended_at, process.ending) = (None, None);
        self.run(process, journal);
        Ok(())
    }

    /// The process ended, or stopped where it can be taken up again.
    pub(super) async fn ended(&mut self, id: &str, ending: Ending) {
        let Some(process) = self.process.clone().filter(|process| process.id == id) else {
            return;
        };
        if let Err(error) = self.end(&process, ending).await {
            tracing::error!(error = %Chain(&error), "the end of a process is not written down, trying again");
            let (orders, process) = (self.orders.clone(), id.to_owned());
            self.centre.spawn(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                // An owner that is gone takes its process up when it is back.
                let _ = orders.send(Order::Ended { process, ending }).await;
            });
            return;
        }
        self.running = None;
        let mut past = (*process).clone();
        (past.ending, past.ended_at) = (Some(ending), Some(clock::unix()));
        self.process = Some(Arc::new(past));
        self.publish();
        let what = What::ProcessEnded {
            process: id.to_owned(),
            ending,
        };
        self.centre
            .events()
            .tell(Some(&self.application.name), what);
        self.tell_ending(&process, ending).await;
    }

    async fn end(&mut self, process: &ProcessRecord, ending: Ending) -> Result<(), CentreError> {
        let changes = self.events_after(process, ending).await?;
        let (mut state, mut transitions): (StateRecord, Vec<TransitionRecord>) =
            self.changes(changes)?;
        if matches!(ending, Ending::Stopped(_)) {
            state = self.state;
            transitions.clear();
        }
        let store = self.centre.store();
        store
            .end_process(process, ending, &state, &mut transitions)
            .await?;
        self.show(state, transitions);
        Ok(())
    }

    /// What the end of a process means for the state.
    async fn events_after(
        &self,
        process: &ProcessRecord,
        ending: Ending,
    ) -> Result<Vec<Wanted>, CentreError> {
        let change = |event, why: &str| Wanted {
            event,
            who: process.who.clone(),
            why: why.to_owned(),
            evidence: vec![format!("process {}", process.id)],
        };
        Ok(match ending {
            Ending::Done => {
                let mut changes = vec![change(Event::SwitchDone, "every step is done")];
                let flows = execution::replicates_back(
                    &process.plan,
                    &self.centre.store().journal(&process.id).await?,
                );
                if flows && process.plan.kind == Kind::SwitchOver {
                    let why = "data flow back to the primary (366)";
                    changes.push(change(Event::PrimaryReceives, why));
                }
                changes
            }
            Ending::Reverted | Ending::HalfReverted(_) => {
                let mut changes = vec![change(Event::SwitchReverted, "the switch was undone")];
                if self.state.announced && ending == Ending::Reverted {
                    changes.push(change(Event::ConditionEnded, "nothing else was wrong"));
                }
                changes
            }
            Ending::Stopped(_) => Vec::new(),
        })
    }

    async fn tell_ending(&self, process: &ProcessRecord, ending: Ending) {
        let step = |index: usize| {
            let step = process.plan.steps.get(index);
            step.map(|step| format!("{} ({})", step.number, step.title))
                .unwrap_or_default()
        };
        let (gravity, text) = match ending {
            Ending::Done => (Gravity::Note, format!("the {} serves", process.plan.to)),
            Ending::Reverted => (
                Gravity::Warning,
                format!(
                    "the switch to the {} was undone, the {} serves as before",
                    process.plan.to, process.plan.from
                ),
            ),
            Ending::HalfReverted(index) => (
                Gravity::Critical,
                format!(
                    "the switch to the {} was undone, but not step {}: see to it by hand",
                    process.plan.to,
                    step(index)
                ),
            ),
            Ending::Stopped(index) => (
                Gravity::Critical,
                format!(
                    "the switch to the {} stopped at step {}: remove the cause and take it up again",
                    process.plan.to,
                    step(index)
                ),
            ),
        };
        self.notify("switch", gravity, text).await;
    }

    /// Users do not wait for an archive: it is given up, and taken again later.
    async fn archive_gives_way(&mut self) {
        if !self.working.contains(&Process::Archive) {
            return;
        }
        let actor = Actor::Application(Side::Secondary);
        let name = self.application.name.clone();
        let asked = self
            .centre
            .act(&name, actor, Action::GiveWay, Default::default());
        if let Ok(Ok(_)) = tokio::time::timeout(GIVE_WAY, asked).await {
            self.working.retain(|process| *process != Process::Archive);
        }
    }

    /// Step 414, or the way back.
    pub(super) async fn switch_by_itself(&mut self, to: Side) {
        self.archive_gives_way().await;
        let kind = match to {
            Side::Secondary => Kind::SwitchOver,
            Side::Primary => Kind::SwitchBack,
        };
        let request = SwitchRequest {
            kind,
            who: "auto pilot".to_owned(),
            why: "the application is unavailable, and restarting did not help".to_owned(),
            wishes: Wishes {
                go_on: Some(true),
                replicate_back: None,
            },
            confirmation_ms: Some(0),
            for_restore: false,
        };
        if let Err(error) = self.begin_switch(request).await {
            let text = format!("auto pilot could not switch: {}", Chain(&error));
            self.notify("autopilot", Gravity::Critical, text).await;
        }
    }
}
