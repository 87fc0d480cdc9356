//! The task that owns one application.

use std::sync::Arc;
use std::time::Duration;

use lifeboat_failover::autopilot::{Condition, FencingProof, Wish};
use lifeboat_failover::process::{Action, Actor};
use lifeboat_failover::safety::{Process, safe_to_start};
use lifeboat_failover::state::{DataFlow, Event, Move, State, apply};
use lifeboat_failover::{Side, autopilot as process400};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{AutoPilotView, Order, Progress, Reply, Snapshot};
use crate::alerts::{self, Gravity, Notice};
use crate::application::Application;
use crate::authority::Authority;
use crate::autopilot::{self, Change, Sight};
use crate::centre::{ApplicationHandle, Centre};
use crate::clock;
use crate::error::{CentreError, Chain};
use crate::event::What;
use crate::execution::Running;
use crate::observation::{Degraded, Observed};
use crate::readiness;
use crate::store::{ProcessRecord, StateRecord, TransitionRecord};

/// Orders that wait.
const ORDERS: usize = 1024;
/// How often it looks whether Auto Pilot has something to do.
const LOOK: Duration = Duration::from_secs(1);

/// Everything of one application that changes.
pub(super) struct Owner {
    pub(super) centre: Centre,
    pub(super) application: Arc<Application>,
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) state: StateRecord,
    pub(super) authority: Authority,
    pub(super) watched: super::Watched,
    pub(super) process: Option<Arc<ProcessRecord>>,
    pub(super) running: Option<Running>,
    progress: watch::Receiver<Progress>,
    pub(super) working: Vec<Process>,
    observed: Option<Arc<Observed>>,
    autopilot: autopilot::Kept,
    last_wish: Option<Wish>,
    snapshot: watch::Sender<Arc<Snapshot>>,
}

/// A change of state that is wanted.
pub(super) struct Wanted {
    pub(super) event: Event,
    pub(super) who: String,
    pub(super) why: String,
    pub(super) evidence: Vec<String>,
}

/// Takes an application up where it stands, and starts its owner.
pub(crate) async fn start(
    centre: &Centre,
    application: Application,
) -> Result<ApplicationHandle, CentreError> {
    let application = Arc::new(application);
    let standing = centre.store().standing(&application.name).await?;
    let process = centre.store().processes(&application.name, 1).await?.pop();
    let (authority, watched) = Authority::start(
        centre.clone(),
        application.clone(),
        standing.authority,
        standing.leased,
    );
    let (orders, received) = mpsc::channel(ORDERS);
    let mut kept = standing.autopilot;
    kept.take_up();
    let (_, progress) = watch::channel(Progress::default());
    let mut owner = Owner {
        centre: centre.clone(),
        application: application.clone(),
        orders: orders.clone(),
        state: standing.state,
        authority,
        watched: watched.clone(),
        process: process.map(Arc::new),
        running: None,
        progress: progress.clone(),
        working: Vec::new(),
        observed: None,
        autopilot: kept,
        last_wish: None,
        snapshot: watch::Sender::new(Arc::new(Snapshot {
            state: standing.state,
            process: None,
            progress,
            working: Vec::new(),
            observed: None,
            autopilot: AutoPilotView {
                settings: process400::Settings::DEFAULT,
                locked_out: false,
                wish: String::new(),
            },
        })),
    };
    owner.take_process_up().await?;
    owner.publish();
    let snapshot = owner.snapshot.subscribe();
    centre.spawn(owner.live(received));
    Ok(ApplicationHandle::new(
        application,
        orders,
        watched,
        snapshot,
    ))
}

impl Owner {
    async fn live(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut look = Instant::now() + LOOK;
        loop {
            let until_wake = self.authority.wakes().saturating_sub(clock::now());
            let wake = (Instant::now() + until_wake).min(look);
            let order = tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => Some(order),
                    None => return,
                },
                () = tokio::time::sleep_until(wake) => None,
            };
            let removed = match order {
                Some(Order::Remove(reply)) => self.remove(reply).await,
                Some(order) => {
                    self.obey(order).await;
                    false
                }
                None => false,
            };
            if removed {
                return;
            }
            if self.authority.wakes() <= clock::now() {
                self.authority.tick().await;
            }
            if Instant::now() >= look {
                look = Instant::now() + LOOK;
                self.fly().await;
            }
        }
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Linked => self.authority.meet(),
            Order::Unlinked => {}
            Order::Forgot(side) => self.authority.renew(side).await,
            Order::Lease { side, message } => self.authority.hear(side, message).await,
            Order::Switch(request, reply) => {
                let begun = self.begin_switch(*request).await;
                answer(reply, begun);
            }
            Order::Answer { yes, who, reply } => answer(reply, self.answer(yes, who)),
            Order::Abort { who, reply } => answer(reply, self.abort(who).await),
            Order::TakeUp { who, reply } => answer(reply, self.take_up(who).await),
            Order::Observed(observed) => self.observed(*observed).await,
            Order::Reserve(process, reply) => answer(reply, self.reserve(process)),
            Order::ReserveAgain(process, reply) => answer(reply, self.reserve_again(process)),
            Order::Release(process) => {
                if let Some(place) = self.working.iter().position(|one| *one == process) {
                    self.working.remove(place);
                }
            }
            Order::AutoPilot { change, who, reply } => {
                answer(reply, self.change_autopilot(&change, &who).await);
            }
            Order::Apply {
                event,
                who,
                why,
                evidence,
                reply,
            } => {
                let change = Wanted {
                    event,
                    who,
                    why,
                    evidence,
                };
                answer(reply, self.change(vec![change]).await);
            }
            Order::Replace(to) => self.authority.replace(to).await,
            Order::Abandon(reply) => {
                let given_up = self.authority.abandon().await;
                // Who asked may have ended meanwhile.
                let _ = reply.send(given_up);
            }
            Order::Ended { process, ending } => self.ended(&process, ending).await,
            Order::Update(application) => {
                self.authority.update(application.clone());
                self.application = application;
            }
            Order::Remove(_) => {}
        }
        self.publish();
    }

    pub(super) fn publish(&mut self) {
        let snapshot = Snapshot {
            state: self.state,
            process: self.process.clone(),
            progress: self.progress.clone(),
            working: self.working.clone(),
            observed: self.observed.clone(),
            autopilot: AutoPilotView {
                settings: self.autopilot.settings,
                locked_out: self.autopilot.memory.locked_out,
                wish: self.last_wish.map(autopilot::words).unwrap_or_default(),
            },
        };
        self.snapshot.send_replace(Arc::new(snapshot));
    }

    pub(super) fn follow(&mut self, progress: watch::Receiver<Progress>) {
        self.progress = progress;
    }

    /// What becomes of the state by these events, in order; nothing is changed yet.
    pub(super) fn changes(
        &self,
        wanted: Vec<Wanted>,
    ) -> Result<(StateRecord, Vec<TransitionRecord>), CentreError> {
        let (mut state, mut transitions) = (self.state, Vec::new());
        for one in wanted {
            let from = state.state;
            let moved = apply(from, one.event, state.came_from)?;
            if moved == Move::Stays {
                continue;
            }
            let to = moved.target(from);
            let at = clock::unix();
            let switches = |state: State| matches!(state.data(), DataFlow::Turning);
            state = StateRecord {
                state: to,
                since: at,
                came_from: switches(to).then_some(from),
                announced: false,
            };
            transitions.push(TransitionRecord {
                seq: 0,
                at,
                number: match moved {
                    Move::Numbered(transition) => Some(transition.number()),
                    Move::Back(_) | Move::Stays => None,
                },
                from,
                to,
                event: one.event,
                who: one.who,
                why: one.why,
                evidence: one.evidence,
            });
        }
        Ok((state, transitions))
    }

    /// Changes the state: written down first, shown then.
    async fn change(&mut self, wanted: Vec<Wanted>) -> Result<(), CentreError> {
        let (state, mut transitions) = self.changes(wanted)?;
        if transitions.is_empty() {
            return Ok(());
        }
        let store = self.centre.store();
        let name = &self.application.name;
        store.put_state(name, &state, &mut transitions).await?;
        self.show(state, transitions);
        Ok(())
    }

    /// What was written down is shown.
    pub(super) fn show(&mut self, state: StateRecord, transitions: Vec<TransitionRecord>) {
        self.state = state;
        self.publish();
        for transition in transitions {
            let what = What::Transition(transition);
            self.centre
                .events()
                .tell(Some(&self.application.name), what);
        }
    }

    async fn observed(&mut self, observed: Observed) {
        let (wanted, why) = match wanted_by(self.state, &observed) {
            Some(wanted) => wanted,
            None => {
                self.observed = Some(Arc::new(observed));
                return;
            }
        };
        let change = Wanted {
            event: wanted,
            who: "observation".to_owned(),
            why: why.to_owned(),
            evidence: observed.evidence.clone(),
        };
        self.observed = Some(Arc::new(observed));
        match self.change(vec![change]).await {
            // What is seen has no meaning in every state.
            Ok(()) | Err(CentreError::NotNow(_)) => {}
            Err(error) => {
                tracing::error!(error = %Chain(&error), "a change of state is not written down");
            }
        }
    }

    fn reserve(&mut self, process: Process) -> Result<(), CentreError> {
        safe_to_start(process, &self.in_progress(), self.state.state)?;
        self.working.push(process);
        Ok(())
    }

    /// A restore that was broken off may be in the middle of a switch of its own.
    fn reserve_again(&mut self, process: Process) -> Result<(), CentreError> {
        if let Some(other) = self.working.first() {
            return Err(lifeboat_failover::safety::NotSafe::Running(*other).into());
        }
        self.working.push(process);
        Ok(())
    }

    /// Everything that touches the application's data now.
    pub(super) fn in_progress(&self) -> Vec<Process> {
        let mut all = self.working.clone();
        let switching = self.state.state.active().is_none() || self.running.is_some();
        all.extend(switching.then_some(Process::Switch));
        all
    }

    async fn remove(&mut self, reply: Reply<()>) -> bool {
        let in_progress = self.in_progress();
        if let Some(other) = in_progress.first() {
            let error = lifeboat_failover::safety::NotSafe::Running(*other);
            answer(reply, Err(error.into()));
            return false;
        }
        let removed = self
            .centre
            .store()
            .remove_application(&self.application.name)
            .await;
        let done = removed.is_ok();
        answer(reply, removed.map_err(CentreError::from));
        done
    }

    async fn change_autopilot(&mut self, change: &Change, who: &str) -> Result<(), CentreError> {
        let store = self.centre.store();
        let name = &self.application.name;
        let detail = serde_json::to_string(change).unwrap_or_default();
        store.audit(who, "set auto pilot", name, &detail).await?;
        let mut kept = self.autopilot.clone();
        kept.change(change);
        store.put_autopilot(name, &kept).await?;
        self.autopilot = kept;
        Ok(())
    }

    /// One look of Auto Pilot, and what follows from it.
    async fn fly(&mut self) {
        let Some(sight) = self.sight() else {
            return;
        };
        let (decision, changed) = self.autopilot.look(sight);
        if changed {
            let store = self.centre.store();
            let kept = store.put_autopilot(&self.application.name, &self.autopilot);
            if let Err(error) = kept.await {
                // Without its memory a hold-down would be forgotten by a crash.
                tracing::error!(error = %Chain(&error), "Auto Pilot's memory is not written down: it does nothing");
                return;
            }
        }
        let news = self.last_wish != Some(decision.wish);
        self.last_wish = Some(decision.wish);
        if news {
            self.publish();
            self.say_wish(decision.wish, decision.shadow).await;
        }
        if decision.shadow {
            return;
        }
        match decision.wish {
            Wish::Restart(side) => self.restart(side),
            Wish::Switch { to } => self.switch_by_itself(to).await,
            Wish::Nothing(_) | Wish::Alert(_) => {}
        }
    }

    /// What Auto Pilot sees; nothing while it is not known yet whether somebody is gone.
    fn sight(&self) -> Option<Sight> {
        let active = self.state.state.active().filter(|_| self.running.is_none());
        let serving = active.unwrap_or(self.authority.record().active);
        let host = &self.application.side(serving).host.name;
        let there = self.centre.links().is_there(host);
        let grace = self.application.terms.length;
        if !there && !self.centre.links().is_silent(host, grace) {
            return None;
        }
        let condition = match (&self.observed, there) {
            (_, false) => Condition::Silent,
            (Some(observed), true) => match observed.condition {
                // It was silent when somebody looked, and is back since.
                Condition::Silent => Condition::Well,
                condition => condition,
            },
            (None, true) => Condition::Well,
        };
        Some(Sight {
            active,
            condition,
            proof: self.proof(serving, there),
            other_ready: readiness::obstacles(&self.centre, &self.application, serving.other())
                .is_empty(),
            other_complete: self.observed.as_ref().is_some_and(|seen| seen.complete),
        })
    }

    /// How it could be proved that a side serves no more: its agent answers, or it serves by a
    /// lease of ours, which its watchdog enforces.
    fn proof(&self, serving: Side, there: bool) -> FencingProof {
        let record = self.authority.record();
        match (
            there,
            record.active == serving && self.authority.is_leased(),
        ) {
            (true, _) => FencingProof::ByAgent,
            (false, true) => FencingProof::ByLease,
            (false, false) => FencingProof::None,
        }
    }

    async fn say_wish(&self, wish: Wish, shadow: bool) {
        let words = autopilot::words(wish);
        let name = &self.application.name;
        if matches!(wish, Wish::Nothing(_)) {
            return;
        }
        self.centre.events().tell(
            Some(name),
            What::AutoPilot {
                wish: words.clone(),
                shadow,
            },
        );
        let action = if shadow { "would have" } else { "wants" };
        let kept = self
            .centre
            .store()
            .audit("auto pilot", action, name, &words);
        if let Err(error) = kept.await {
            tracing::error!(error = %Chain(&error), "what Auto Pilot wants is not in the audit trail");
        }
        if let Wish::Alert(_) = wish {
            let text = format!("auto pilot does not switch: {words}");
            self.notify("autopilot", Gravity::Critical, text).await;
        }
    }

    pub(super) async fn notify(&self, subject: &str, gravity: Gravity, text: String) {
        let notice = Notice {
            application: Some(self.application.name.clone()),
            subject: subject.to_owned(),
            gravity,
            text,
            over: false,
        };
        alerts::raise(&self.centre, notice).await;
    }

    /// Step 408, beside the loop.
    fn restart(&self, side: Side) {
        let (centre, name) = (self.centre.clone(), self.application.name.clone());
        self.centre.spawn(async move {
            let actor = Actor::Application(side);
            let done = centre
                .act(&name, actor, Action::StartServices, Default::default())
                .await;
            if let Err(error) = done {
                tracing::warn!(application = name, error = %Chain(&error), "services could not be restarted");
            }
        });
    }
}

/// Which change of state follows from what is seen.
fn wanted_by(state: StateRecord, seen: &Observed) -> Option<(Event, &'static str)> {
    match (state.state, seen.degraded) {
        (State::SecondaryEngaged, _) if seen.replicating => {
            Some((Event::PrimaryReceives, "data flow back to the primary"))
        }
        (State::ResyncPrimary, _) if !seen.replicating => Some((
            Event::PrimaryLost,
            "data no longer flow back to the primary",
        )),
        (_, Some(Degraded::Primary)) => Some((Event::PrimaryDegrades, "the primary degrades")),
        (_, Some(Degraded::UserAccess)) => Some((
            Event::UserAccessDegrades,
            "users do not reach the primary as they should",
        )),
        (State::ResyncSecondary, None) if seen.complete => {
            Some((Event::SecondaryComplete, "the secondary has everything"))
        }
        (State::DegradingPrimary | State::DegradedUserAccess, None) => Some((
            Event::ConditionEnded,
            "everything is within its range again",
        )),
        _ => None,
    }
}

/// Who asked may have gone.
pub(super) fn answer<T>(reply: Reply<T>, result: Result<T, CentreError>) {
    let _ = reply.send(result);
}
