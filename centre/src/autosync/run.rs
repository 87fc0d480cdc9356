//! Rounds of process 500, for every application, until the control centre closes.

use std::sync::Arc;
use std::time::Instant;

use lifeboat_failover::Side;
use lifeboat_failover::autosync::{Step, round};
use lifeboat_failover::process::{Action, Actor};
use lifeboat_failover::safety::Process;
use tokio::sync::broadcast::error::RecvError;

use super::{Left, ROUND, enabled, unsettled};
use crate::alerts::{self, Gravity, Notice};
use crate::centre::{ApplicationHandle, Centre};
use crate::error::{CentreError, Chain, log};
use crate::event::What;

/// Whether the passive side may have something that nobody else has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Merge {
    /// It was compared when it stopped, or it is to be replaced.
    No,
    /// It served until it was lost.
    First,
}

/// What a round does.
enum Work {
    /// Makes data flow from a side after a switch.
    Settle { process: String, left: Left },
    /// What process 500 says.
    Step(Step),
}

/// Looks at every application again and again.
pub(crate) async fn keep(centre: Centre) {
    let mut events = centre.events().subscribe();
    let mut next = tokio::time::Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(next) => {
                next = tokio::time::Instant::now() + ROUND;
                for handle in centre.all() {
                    log("replication is not looked after", look(&centre, &handle).await);
                }
            }
            event = events.recv() => match event {
                Ok(event) if matches!(event.what, What::ProcessBegan { .. }) => {
                    if let Some(application) = &event.application {
                        give_way(&centre, application);
                    }
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
        }
    }
}

/// A switch does not wait for a mirror that is being made.
fn give_way(centre: &Centre, application: &str) {
    if centre.seen().doing(application).doing.is_none() {
        return;
    }
    let (centre, application) = (centre.clone(), application.to_owned());
    centre.clone().spawn(async move {
        for side in Side::BOTH {
            let actor = Actor::Application(side);
            // An agent that is not there does nothing that could be given up.
            let _ = centre
                .act(&application, actor, Action::GiveWay, Default::default())
                .await;
        }
    });
}

async fn look(centre: &Centre, handle: &Arc<ApplicationHandle>) -> Result<(), CentreError> {
    let (application, snapshot) = (handle.application(), handle.snapshot());
    let name = &application.name;
    // A profile that says nothing of replication has none that could be looked after.
    let (Some(active), Some(_)) = (
        snapshot.state.state.active(),
        &application.profile.profile.replication,
    ) else {
        return Ok(());
    };
    let latest = centre.seen().latest(&application, active);
    let position = latest.as_ref().and_then(|latest| latest.position.clone());
    let doing = centre.seen().doing(name);
    if let Some(position) = position.filter(|new| doing.position.as_ref() != Some(new)) {
        centre.store().put_position(name, active, &position).await?;
        centre
            .seen()
            .change(name, |doing| doing.position = Some(position));
    }
    // A restore has replication in its own hands.
    let busy = doing.doing.is_some() || snapshot.working.contains(&Process::Restore);
    if busy
        || doing
            .not_before
            .is_some_and(|moment| Instant::now() < moment)
    {
        return Ok(());
    }
    let work = match work(centre, handle, latest, doing.memory).await? {
        Some(work) => work,
        None => return Ok(()),
    };
    if centre.seen().begin(name, work.title()) {
        centre.spawn(carry_out(centre.clone(), name.clone(), active, work));
    }
    Ok(())
}

async fn work(
    centre: &Centre,
    handle: &ApplicationHandle,
    latest: Option<super::seen::Latest>,
    memory: lifeboat_failover::autosync::Memory,
) -> Result<Option<Work>, CentreError> {
    let application = handle.application();
    let name = &application.name;
    let (mut on, keeping) = enabled(centre, handle).await?;
    if let Some((process, left)) = unsettled(centre, name, &keeping).await? {
        if left.refused {
            // 368: nothing flows before somebody says so.
            centre.store().set_held(name, true).await?;
            centre.store().set_settled(name, &process).await?;
            on = false;
        } else if on {
            let passive = handle.snapshot().state.state.active().map(Side::other);
            let there = passive
                .and_then(|side| application.host(Actor::Application(side)))
                .is_some_and(|host| centre.links().is_there(&host.name));
            return Ok(there.then_some(Work::Settle { process, left }));
        }
    }
    let session = latest.and_then(|latest| latest.session(&application.autosync));
    let step = session.map(|session| round(on, session, memory));
    if step == Some(Step::Watch) {
        calm(centre, name, on).await;
    }
    Ok(step.filter(|step| *step != Step::Watch).map(Work::Step))
}

/// 514, 522: all is as it should be, and old trouble is over.
async fn calm(centre: &Centre, application: &str, on: bool) {
    let doing = centre.seen().doing(application);
    if !doing.told && doing.trouble.is_none() {
        return;
    }
    centre.seen().change(application, |doing| {
        (doing.trouble, doing.told) = (None, false);
        doing.memory = Default::default();
    });
    if doing.told {
        let text = match on {
            true => "data reach the other side again",
            false => "replication is off, as it was asked for",
        };
        notify(centre, application, text.to_owned(), true).await;
    }
}

async fn carry_out(centre: Centre, application: String, active: Side, work: Work) {
    let title = work.title();
    let result = work.carry_out(&centre, &application, active).await;
    if let Err(CentreError::Closed) = result {
        return;
    }
    let failed = result
        .as_ref()
        .err()
        .map(|error| format!("{title}: {}", Chain(error)));
    let unpause = matches!(work, Work::Step(Step::Unpause));
    let remedy = matches!(work, Work::Step(Step::Remedy));
    let alert = matches!(work, Work::Step(Step::Alert));
    let settings = centre
        .handle(&application)
        .map(|handle| handle.application().autosync.clone());
    let patience = settings.unwrap_or_default().patience();
    centre.seen().change(&application, |doing| {
        doing.doing = None;
        doing.memory.unpause_failed = unpause && failed.is_some();
        doing.memory.remedies += u32::from(remedy);
        let wait = failed.is_some() || remedy || alert;
        // Reports that were made before the work say nothing about what it did.
        doing.not_before = Some(Instant::now() + if wait { patience } else { ROUND * 3 });
        if let Some(failed) = &failed {
            doing.trouble = Some(failed.clone());
        }
    });
    if let Some(text) = failed.or_else(|| alert.then(|| alert_text(&centre, &application))) {
        centre
            .seen()
            .change(&application, |doing| doing.told = true);
        notify(&centre, &application, text, false).await;
    }
    let detail = serde_json::json!({ "did": title, "ok": result.is_ok() });
    centre.events().tell(
        Some(&application),
        What::Told {
            part: "autosync",
            detail,
        },
    );
}

/// 520.
fn alert_text(centre: &Centre, application: &str) -> String {
    let trouble = centre.seen().doing(application).trouble;
    let trouble = trouble.unwrap_or_else(|| "making the session anew did not help".to_owned());
    format!("data do not reach the other side as they should: {trouble}")
}

async fn notify(centre: &Centre, application: &str, text: String, over: bool) {
    let notice = Notice {
        application: Some(application.to_owned()),
        subject: "replication.autosync".to_owned(),
        gravity: if over {
            Gravity::Note
        } else {
            Gravity::Warning
        },
        text,
        over,
    };
    alerts::raise(centre, notice).await;
}

impl Work {
    fn title(&self) -> &'static str {
        match self {
            Self::Settle { .. } => "replicating to the side that served before",
            Self::Step(Step::EstablishAndMirror) => {
                "making a replication session and mirroring everything"
            }
            Self::Step(Step::Pause) => "pausing replication",
            Self::Step(Step::Unpause) => "resuming replication",
            Self::Step(Step::Remedy) => "making the replication session anew",
            Self::Step(Step::Alert | Step::Watch) => "watching replication",
        }
    }

    async fn carry_out(
        &self,
        centre: &Centre,
        application: &str,
        active: Side,
    ) -> Result<(), CentreError> {
        match self {
            Self::Settle { process, left } => {
                let merge = if left.complete {
                    Merge::No
                } else {
                    Merge::First
                };
                establish(centre, application, active, merge).await?;
                Ok(centre.store().set_settled(application, process).await?)
            }
            Self::Step(Step::EstablishAndMirror | Step::Remedy) => {
                establish(centre, application, active, Merge::No).await
            }
            Self::Step(Step::Pause) => {
                act(centre, application, active, Action::PauseReplication).await
            }
            Self::Step(Step::Unpause) => {
                act(centre, application, active.other(), Action::OpenReceiver).await?;
                act(centre, application, active, Action::ResumeReplication).await
            }
            Self::Step(Step::Alert | Step::Watch) => Ok(()),
        }
    }
}

async fn act(
    centre: &Centre,
    application: &str,
    side: Side,
    action: Action,
) -> Result<(), CentreError> {
    let actor = Actor::Application(side);
    centre
        .act(application, actor, action, Default::default())
        .await
        .map(drop)
}

/// 506: a session from `from` to the other side, and everything compared and sent. What a lost side
/// has alone goes first to the side that serves: the mirror would destroy it.
pub(crate) async fn establish(
    centre: &Centre,
    application: &str,
    from: Side,
    merge: Merge,
) -> Result<(), CentreError> {
    act(centre, application, from.other(), Action::OpenReceiver).await?;
    if merge == Merge::First {
        act(centre, application, from, Action::MergeReplica).await?;
    }
    act(centre, application, from, Action::StartReplication).await?;
    act(centre, application, from, Action::ResumeReplication).await?;
    let profile = &centre.handle(application)?.application().profile;
    match profile.profile.action.contains_key(&Action::MirrorReplica) {
        true => act(centre, application, from, Action::MirrorReplica).await,
        false => Ok(()),
    }
}
