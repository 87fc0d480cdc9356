//! Values that only this step of this switch knows: names and addresses that move.

use lifeboat_agent::wire::Values;
use lifeboat_failover::Side;
use lifeboat_failover::process::{Action, Actor, Plan, Step};

use crate::application::Application;

/// Values for a step's action, as far as the profile of its host has parameters for them. Those
/// that the operator set in the application's file are not touched.
pub(super) fn of(application: &Application, plan: &Plan, step: &Step, action: Action) -> Values {
    let Some(side) = step.actor.side() else {
        return Values::new();
    };
    let parameters = application
        .profile_of(step.actor)
        .map(|loaded| &loaded.profile.parameter);
    let known = |name: &str| parameters.is_some_and(|all| all.contains_key(name));
    let mut values = moving(application, plan, step, side, action);
    values.retain(|name, _| known(name));
    values
}

fn moving(
    application: &Application,
    plan: &Plan,
    step: &Step,
    side: Side,
    action: Action,
) -> Values {
    let mut values = Values::new();
    let mut put = |name: &str, value: String| {
        values.insert(name.to_owned(), value);
    };
    let Some(names) = &application.host_names else {
        return values;
    };
    // Before the switch the old side has the name that users know; after it, the new side.
    let new_name = if side == plan.to {
        &names.name
    } else {
        &names.temporary
    };
    let address = application.side(side).host.address.to_string();
    let directory = |side: Side| {
        let host = application.host(Actor::Directory(side));
        host.map(|host| host.address.to_string())
            .unwrap_or_default()
    };
    match action {
        Action::Rename => put("new_name", new_name.clone()),
        Action::Join => {
            put("new_name", new_name.clone());
            put("directory_server", directory(side));
        }
        Action::RemoveName => {
            // 324b: the name that the new side had until now.
            let removed = if step.number == "324b" {
                &names.temporary
            } else {
                &names.name
            };
            put("old_name", removed.clone());
        }
        Action::RemoveAddress => {
            put("old_name", names.name.clone());
            put("address", address);
        }
        Action::AddAddress => {
            put("new_name", new_name.clone());
            put("address", address);
        }
        Action::ReplicateDirectory => put("partner", directory(side.other())),
        _ => {}
    }
    values
}
