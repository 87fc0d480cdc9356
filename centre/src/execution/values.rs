//! Values that only this step of this switch knows: names and addresses that move.

use lifeboat_agent::wire::Values;
use lifeboat_failover::Side;
use lifeboat_failover::process::{Action, Actor, Plan, Step};

use crate::application::Application;

/// Servers of the directory, by address; where that is not enough the operator names them.
const SERVERS: [&str; 2] = ["directory_server", "partner"];

/// Values for a step's action, as far as the profile of its host has parameters for them.
pub(super) fn of(application: &Application, plan: &Plan, step: &Step, action: Action) -> Values {
    let Some(side) = step.actor.side() else {
        return Values::new();
    };
    let parameters = application
        .profile_of(step.actor)
        .map(|loaded| &loaded.profile.parameter);
    let known = |name: &str| parameters.is_some_and(|all| all.contains_key(name));
    let named = |name: &str| {
        let host = application.host(step.actor);
        SERVERS.contains(&name) && host.is_some_and(|host| host.values.contains_key(name))
    };
    let mut values = moving(application, plan, step, side, action);
    values.retain(|name, _| known(name) && !named(name));
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

#[cfg(test)]
mod tests {
    use lifeboat_failover::lease::Epoch;
    use lifeboat_failover::process::{Kind, Task};

    use super::*;
    use crate::application::example;

    /// What every step of a switch is told, in its order.
    fn told(kind: Kind) -> Vec<String> {
        let application = example();
        let plan = crate::state::plan(&application, kind, Epoch(1), None, None);
        let mut lines = Vec::new();
        for step in &plan.steps {
            let Task::Act { action, .. } = step.task else {
                continue;
            };
            let values = of(&application, &plan, step, action);
            if !values.is_empty() {
                let values: Vec<String> = values
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                lines.push(format!("{} {}", step.number, values.join(" ")));
            }
        }
        lines
    }

    #[test]
    fn names_and_addresses_move_as_the_reference_says() {
        assert_eq!(
            told(Kind::SwitchOver),
            [
                "322 old_name=mail",
                "324a old_name=mail",
                "324b old_name=mailtmp",
                "324+ partner=10.62.1.10",
                "326a new_name=mailtmp",
                "326b new_name=mail",
                "330a directory_server=10.61.1.10 new_name=mailtmp",
                "330b directory_server=10.62.1.10 new_name=mail",
                "332 partner=10.61.1.10",
                "334 address=10.61.1.20 old_name=mail",
                "336a address=10.61.1.20 new_name=mailtmp",
                "336b address=10.62.1.20 new_name=mail",
            ]
        );
    }

    #[test]
    fn the_way_back_is_its_mirror_image() {
        let over = told(Kind::SwitchOver).join("\n");
        let mirrored = over.replace("10.61.", "10.60.").replace("10.62.", "10.61.");
        assert_eq!(
            told(Kind::SwitchBack).join("\n"),
            mirrored.replace("10.60.", "10.62.")
        );
    }
}
