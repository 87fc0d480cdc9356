//! Actions: one at a time, each request once.

use lifeboat_failover::process::Action;
use tokio::task::AbortHandle;

use super::Engine;
use crate::run::event::Event;
use crate::run::log::Chain;
use crate::run::results::Known;
use crate::run::watchdog::run_fence;
use crate::wire::{ActionRequest, ActionResult, FromAgent, Outcome};

/// Requests that may wait.
const WAITING: usize = 16;
const ID: usize = 64;

/// The action that is being carried out.
pub(super) struct Running {
    request: ActionRequest,
    task: AbortHandle,
}

impl Engine {
    pub(super) fn asked(&mut self, request: ActionRequest) {
        let waits = |one: &ActionRequest| one.id == request.id;
        let same = self
            .acting
            .as_ref()
            .is_some_and(|running| waits(&running.request));
        if same || self.waiting.iter().any(waits) {
            return;
        }
        if let Known::Ended(result) = self.results.known(&request.id, request.action)
            && !matches!(
                result.outcome,
                Outcome::Failed { .. } | Outcome::Refused { .. }
            )
        {
            return self.say(FromAgent::Result(result));
        }
        if let Err(reason) = self.allowed(&request) {
            return self.refuse(request, reason);
        }
        if request.action == Action::GiveWay {
            return self.give_way(request);
        }
        if self.waiting.len() >= WAITING {
            return self.refuse(request, format!("{WAITING} actions wait already"));
        }
        self.waiting.push_back(request);
        self.act_next();
    }

    fn refuse(&mut self, request: ActionRequest, reason: String) {
        tracing::warn!(action = ?request.action, %reason, "an action is refused");
        self.say(FromAgent::Result(ActionResult {
            id: request.id,
            action: request.action,
            outcome: Outcome::Refused { reason },
        }));
    }

    /// Whether an action may be carried out now.
    fn allowed(&self, request: &ActionRequest) -> Result<(), String> {
        use Action::*;
        if request.id.is_empty() || request.id.len() > ID {
            return Err(format!("a request has an id of 1 to {ID} bytes"));
        }
        if let Known::Other(action) = self.results.known(&request.id, request.action) {
            return Err(format!("this id was another action's: {action:?}"));
        }
        match request.action {
            AwaitFence | Promote | CheckNameServers | PointNames => {
                return Err("that is the control centre's own work".to_owned());
            }
            _ => {}
        }
        let Some(lease) = &self.lease else {
            return Ok(());
        };
        if let Some(epoch) = request.epoch.filter(|epoch| *epoch < lease.newest()) {
            return Err(format!(
                "asked in {epoch}, but {} is known here",
                lease.newest()
            ));
        }
        let serves = || lease.may_serve(crate::run::clock::now());
        match request.action {
            OpenReceiver | RestoreImage if serves() => Err(
                "this host serves: nothing from elsewhere takes the place of its data".to_owned(),
            ),
            EnsureStores | StartServices | OpenEntrance if !self.may_serve() => {
                Err("this host has no lease: it must not serve".to_owned())
            }
            EnsureStores | StartServices | OpenEntrance
                if !self.armed && lease.record().serves.is_some() =>
            {
                Err("the watchdog is not armed: without it this host must not serve".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn act_next(&mut self) {
        if self.acting.is_some() {
            return;
        }
        let Some(request) = self.waiting.pop_front() else {
            return;
        };
        if let Err(reason) = self.allowed(&request) {
            self.refuse(request, reason);
            return self.act_next();
        }
        if request.action == Action::StopServices {
            self.want(false);
        }
        let asked_in = match self.results.known(&request.id, request.action) {
            Known::Begun(boot) => boot,
            _ => self.boot.clone(),
        };
        if let Err(error) = self.results.begin(&request.id, request.action, &asked_in) {
            self.refuse(
                request,
                format!("the request cannot be written down: {}", Chain(&error)),
            );
            return self.act_next();
        }
        let executor = self.executor(&request.values, asked_in);
        let (fence, events) = (self.fence.clone(), self.events.clone());
        let (id, action) = (request.id.clone(), request.action);
        let task = tokio::spawn(async move {
            let outcome = match executor {
                _ if action == Action::Fence => fence_now(fence).await,
                Ok(executor) => executor.perform(action).await,
                Err(reason) => Outcome::Refused { reason },
            };
            let result = ActionResult {
                id,
                action,
                outcome,
            };
            let _ = events.send(Event::Acted(Box::new(result))).await;
        });
        let task = task.abort_handle();
        self.acting = Some(Running { request, task });
    }

    pub(super) fn acted(&mut self, result: ActionResult) {
        // One that was broken off just before it ended was answered already.
        if self
            .acting
            .take_if(|running| running.request.id == result.id)
            .is_none()
        {
            return;
        }
        if result.action == Action::StartServices && matches!(result.outcome, Outcome::Done { .. })
        {
            self.want(true);
        }
        self.answer(result);
        self.act_next();
    }

    fn answer(&mut self, result: ActionResult) {
        if let Err(error) = self.results.end(&result) {
            tracing::error!(error = %Chain(&error), "asked again after a restart, the agent will act again");
        }
        self.say(FromAgent::Result(result));
    }

    /// Ends the action that is being carried out.
    pub(super) fn break_off(&mut self, why: &str) {
        let Some(running) = self.acting.take() else {
            return;
        };
        running.task.abort();
        self.answer(ActionResult {
            id: running.request.id,
            action: running.request.action,
            outcome: Outcome::Failed {
                reason: format!("broken off: {why}"),
                evidence: Vec::new(),
            },
        });
    }

    /// An image or a mirror loses nothing when it is given up: the next one takes over what is there
    /// already.
    fn give_way(&mut self, request: ActionRequest) {
        let patient = |action: Action| {
            use Action::{MirrorReplica, PlaceImage, ProveImage, TakeImage};
            matches!(action, TakeImage | ProveImage | PlaceImage | MirrorReplica)
        };
        let (given_up, left) =
            std::mem::take(&mut self.waiting)
                .into_iter()
                .partition::<std::collections::VecDeque<_>, _>(|one| patient(one.action));
        self.waiting = left;
        let mut changed = false;
        for one in given_up {
            changed = true;
            self.refuse(
                one,
                "the control centre needs the host for something else".to_owned(),
            );
        }
        if self
            .acting
            .as_ref()
            .is_some_and(|running| patient(running.request.action))
        {
            changed = true;
            self.break_off("the control centre needs the host for something else");
        }
        self.say(FromAgent::Result(ActionResult {
            id: request.id,
            action: request.action,
            outcome: Outcome::Done {
                changed,
                evidence: vec!["nothing that can wait is being done here".to_owned()],
            },
        }));
        self.act_next();
    }

    fn want(&mut self, wanted: bool) {
        if let Some(lease) = &mut self.lease {
            lease.want(wanted);
            self.remember_wanted(wanted);
        }
    }
}

async fn fence_now(fence: Option<crate::profile::Fence>) -> Outcome {
    let work = move || fence.as_ref().map(run_fence);
    match tokio::task::spawn_blocking(work).await {
        Ok(Some(true)) => Outcome::Done {
            changed: true,
            evidence: vec!["every fence command succeeded".to_owned()],
        },
        Ok(None) => Outcome::Refused {
            reason: "the profile of this host has no fence".to_owned(),
        },
        _ => Outcome::Failed {
            reason: "a fence command failed".to_owned(),
            evidence: Vec::new(),
        },
    }
}
