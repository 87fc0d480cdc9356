//! Whether the other side could take over now (`lifeboat failover ready`).

use lifeboat_failover::Side;
use lifeboat_failover::process::{Action, Actor, Identity, Kind, Task};
use serde::Serialize;

use crate::application::Application;
use crate::centre::Centre;
use crate::names;
use crate::state::events_of;

/// Why nobody may be promoted while the side that serves never asked for a lease.
pub(crate) const NO_LEASE: &str = "the side that serves does not hold a lease yet, so nothing would stop it: start its agent and wait for its first report";

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Looked {
    /// What.
    pub what: String,
    /// Whether it is as it has to be.
    pub good: bool,
    /// Whether a switch is refused without it.
    pub needed: bool,
    /// What was seen, and what to do.
    pub text: String,
}

/// Everything that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// The side that would take over.
    pub to: Side,
    /// Whether a switch would begin.
    pub ready: bool,
    /// What was looked at.
    pub looked: Vec<Looked>,
}

impl Looked {
    pub(crate) fn new(what: impl Into<String>, needed: bool, seen: Result<String, String>) -> Self {
        let good = seen.is_ok();
        Self {
            what: what.into(),
            good,
            needed,
            text: seen.unwrap_or_else(|problem| problem),
        }
    }
}

/// What keeps `side` from taking over, of what is known without asking anybody.
pub(crate) fn obstacles(centre: &Centre, application: &Application, side: Side) -> Vec<String> {
    let looked = hosts(centre, application, side);
    let needed = looked.into_iter().filter(|one| one.needed && !one.good);
    needed
        .map(|one| format!("{}: {}", one.what, one.text))
        .collect()
}

/// Looks at everything.
pub(crate) async fn look(centre: &Centre, application: &Application) -> Readiness {
    let handle = centre.handle(&application.name).ok();
    let active = handle
        .as_ref()
        .map_or(Side::Primary, |handle| handle.authority().active);
    let to = active.other();
    let mut looked = hosts(centre, application, to);
    looked.extend(
        hosts(centre, application, active)
            .into_iter()
            .map(|one| Looked {
                needed: false,
                ..one
            }),
    );
    if let Some(handle) = &handle {
        looked.push(state(handle, active));
        looked.push(replication(handle));
        looked.push(lease(centre, application, active));
        looked.push(second_word(centre, application, handle));
    }
    if let Some(names) = &application.names {
        looked.push(name_servers(names).await);
    }
    looked.push(changes(centre, application).await);
    looked.push(actions(application));
    Readiness {
        to,
        ready: looked.iter().all(|one| one.good || !one.needed),
        looked,
    }
}

fn hosts(centre: &Centre, application: &Application, side: Side) -> Vec<Looked> {
    let renames = application.identity() == Identity::Rename;
    [Actor::Application(side), Actor::Directory(side)]
        .into_iter()
        .filter_map(|actor| Some((actor, application.host(actor)?)))
        .map(|(actor, host)| {
            let needed = matches!(actor, Actor::Application(_)) || renames;
            let what = format!("agent of {} ({side})", host.name);
            Looked::new(what, needed, agent(centre, application, actor, &host.name))
        })
        .collect()
}

fn agent(
    centre: &Centre,
    application: &Application,
    actor: Actor,
    host: &str,
) -> Result<String, String> {
    let seen = centre
        .links()
        .seen(host)
        .ok_or("is not connected: start it, and look at its log there")?;
    let wanted = application
        .profile_of(actor)
        .ok_or("no profile is known for it")?;
    let theirs = seen
        .hello
        .profile
        .as_ref()
        .ok_or("has no profile: name one in its agent.toml")?;
    if theirs.hash != wanted.hash {
        return Err(format!(
            "has another text of the profile `{}` than the control centre: copy the file there and restart the agent, or add the application again",
            theirs.name
        ));
    }
    if seen.serving.is_some_and(|(serving, _)| serving.cannot_stop) {
        return Err("cannot stop the application there: do it by hand".to_owned());
    }
    Ok(format!("is connected, version {}", seen.hello.version))
}

/// In what the sites differ. A switch is not refused for that: the operator may know better.
async fn changes(centre: &Centre, application: &Application) -> Looked {
    let seen = match centre.changes().endangering(&application.name).await {
        Err(error) => Err(error.to_string()),
        Ok(found) if found.is_empty() => Ok("no difference that matters".to_owned()),
        Ok(found) => {
            let names = found
                .iter()
                .map(|one| format!("{}: {}", one.difference.name, one.why));
            Err(names.collect::<Vec<_>>().join("; "))
        }
    };
    Looked::new("differences of the sites", false, seen)
}

fn state(handle: &crate::centre::ApplicationHandle, active: Side) -> Looked {
    let state = handle.snapshot().state.state;
    let kind = match active {
        Side::Primary => Kind::SwitchOver,
        Side::Secondary => Kind::SwitchBack,
    };
    let event = events_of(kind, state)[0];
    let seen = match lifeboat_failover::state::apply(state, event, None) {
        Ok(_) => Ok(format!("{} ({})", state.number(), state.title())),
        Err(error) => Err(error.to_string()),
    };
    Looked::new("state", true, seen)
}

fn replication(handle: &crate::centre::ApplicationHandle) -> Looked {
    let snapshot = handle.snapshot();
    let seen = match &snapshot.observed {
        None => Err("nothing was seen of it yet".to_owned()),
        Some(seen) if !seen.replicating => Err("no data flow to the other side".to_owned()),
        Some(seen) if !seen.complete => {
            Err("the other side does not have everything yet".to_owned())
        }
        Some(_) => Ok("the other side has everything".to_owned()),
    };
    Looked::new("replication", false, seen)
}

fn lease(centre: &Centre, application: &Application, active: Side) -> Looked {
    let host = &application.side(active).host.name;
    let serving = centre.links().seen(host).and_then(|seen| seen.serving);
    let seen = match serving {
        Some((serving, _)) if serving.lease_left_ms > 0 => Ok(format!("{host} serves by a lease")),
        Some(_) => Err(format!("{host} has no lease")),
        None => Err(format!("{host} did not report yet")),
    };
    Looked::new("lease", false, seen)
}

/// Whether the application goes on when the control centre is lost.
fn second_word(
    centre: &Centre,
    application: &Application,
    handle: &crate::centre::ApplicationHandle,
) -> Looked {
    let record = handle.authority();
    let [passive, active] =
        [record.active.other(), record.active].map(|side| &application.side(side).host.name);
    let serving = centre.links().seen(passive).and_then(|seen| seen.serving);
    let renews = serving.and_then(|(serving, _)| serving.renews);
    let seen = match renews == Some(record.grantor.epoch) {
        true => Ok(format!("{passive} renews the lease of {active} as well")),
        false => Err(format!(
            "only the control centre renews the lease of {active} now: without it the application would stop; look at the agent of {passive}"
        )),
    };
    Looked::new("second word on the lease", false, seen)
}

async fn name_servers(names: &crate::application::Names) -> Looked {
    let seen = match names::check(names).await {
        Err(error) => Err(crate::error::Chain(&error).to_string()),
        Ok(said) if said.good.is_empty() => Err(said.bad.join("; ")),
        Ok(said) if said.bad.is_empty() => Ok(said.good.join("; ")),
        // One of them is enough; the other one is set right when it comes back.
        Ok(said) => Ok([said.good, said.bad].concat().join("; ")),
    };
    Looked::new("name servers", true, seen)
}

/// Whether the profiles know every action of the plan.
fn actions(application: &Application) -> Looked {
    let plan = crate::state::plan(
        application,
        Kind::SwitchOver,
        lifeboat_failover::lease::Epoch(0),
        None,
        None,
    );
    let known = |actor: Actor, action: Action| {
        let leases = matches!(action, Action::Fence | Action::Promote);
        let profile = application.profile_of(actor);
        leases || profile.is_none_or(|loaded| loaded.profile.action.contains_key(&action))
    };
    let missing = plan.steps.iter().find_map(|step| match step.task {
        Task::Act { action, undo } => [Some(action), undo]
            .into_iter()
            .flatten()
            .find(|action| !known(step.actor, *action)),
        _ => None,
    });
    let seen = match missing {
        None => Ok("the profiles name every action of the plan".to_owned()),
        Some(action) => Err(format!("the profile does not say how to do {action:?}")),
    };
    Looked::new("profile", true, seen)
}
