//! Who may use which route. A route that is missing here is refused over HTTPS; a test names it.
//!
//! `confirmed`: the password is asked for again. That is what cannot be taken back or interrupts
//! others: removing, switching, ending a recovery.

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use lifeboat_access::Role::{Administrator, Operator, Viewer};
use lifeboat_access::Rule;

/// All routes of the API.
pub fn rules() -> &'static [Rule] {
    static ALL: LazyLock<Vec<Rule>> =
        LazyLock::new(|| [RECOVERY, FAILOVER, lifeboat_access::RULES].concat());
    &ALL
}

const RECOVERY: &[Rule] = &[
    // The page's own files, which hold nothing of this machine.
    Rule::open("GET", "/"),
    Rule::open("GET", "/{*file}"),
    Rule::of(Viewer, "status", "GET", "/api/docs"),
    Rule::of(Viewer, "status", "GET", "/api/docs/"),
    Rule::of(Viewer, "status", "GET", "/api/docs/{*file}"),
    Rule::of(Viewer, "status", "GET", "/api/v1/openapi.json"),
    Rule::of(Viewer, "status", "GET", "/api/v1/status"),
    Rule::of(Viewer, "status", "GET", "/api/v1/check"),
    Rule::of(Viewer, "recovery", "GET", "/api/v1/events"),
    Rule::of(Viewer, "recovery", "GET", "/api/v1/operations"),
    Rule::of(Viewer, "recovery", "GET", "/api/v1/operations/{id}"),
    Rule::of(Viewer, "recovery", "GET", "/api/v1/operations/{id}/result"),
    Rule::of(Viewer, "recovery", "GET", "/api/v1/operations/{id}/events"),
    Rule::confirmed(
        Operator,
        "recovery",
        "POST",
        "/api/v1/operations/{id}/cancel",
    ),
    Rule::of(Viewer, "recovery", "GET", "/api/v1/sites"),
    Rule::of(Administrator, "recovery", "POST", "/api/v1/sites"),
    Rule::of(Viewer, "recovery", "GET", "/api/v1/sites/{name}"),
    Rule::confirmed(Administrator, "recovery", "DELETE", "/api/v1/sites/{name}"),
    Rule::of(Operator, "recovery", "POST", "/api/v1/sites/{name}/prepare"),
    Rule::of(Operator, "recovery", "POST", "/api/v1/sites/{name}/order"),
    Rule::of(Viewer, "recovery", "GET", "/api/v1/sites/{name}/operator"),
    Rule::of(
        Operator,
        "recovery",
        "POST",
        "/api/v1/sites/{name}/operator",
    ),
    Rule::of(
        Operator,
        "recovery",
        "POST",
        "/api/v1/sites/{name}/sessions",
    ),
    Rule::of(Operator, "recovery", "POST", "/api/v1/sites/{name}/verify"),
    Rule::of(Viewer, "recovery", "GET", "/api/v1/volumes"),
    Rule::of(Operator, "recovery", "POST", "/api/v1/volumes/verify"),
    Rule::of(Viewer, "recovery", "GET", "/api/v1/sessions"),
    Rule::of(Viewer, "recovery", "GET", "/api/v1/sessions/{id}"),
    Rule::of(Operator, "recovery", "POST", "/api/v1/sessions/{id}/start"),
    Rule::confirmed(Operator, "recovery", "POST", "/api/v1/sessions/{id}/stop"),
    Rule::of(Viewer, "recovery", "GET", "/api/v1/sessions/{id}/report"),
    Rule::confirmed(Operator, "recovery", "DELETE", "/api/v1/schedules/{id}"),
    Rule::of(Viewer, "recovery", "GET", "/api/v1/overview"),
    Rule::of(Viewer, "recovery", "GET", "/api/v1/schedules"),
    Rule::of(Viewer, "recovery", "GET", "/api/v1/schedules/{id}/runs"),
    Rule::of(Viewer, "recovery", "GET", "/api/v1/sessions/{id}/live"),
    Rule::of(
        Viewer,
        "recovery",
        "GET",
        "/api/v1/sessions/{id}/machines/{machine}/console",
    ),
    Rule::of(
        Viewer,
        "recovery",
        "GET",
        "/api/v1/sessions/{id}/machines/{machine}/screen",
    ),
    Rule::of(
        Operator,
        "recovery",
        "GET",
        "/api/v1/sessions/{id}/machines/{machine}/vnc",
    ),
    Rule::of(
        Viewer,
        "recovery",
        "GET",
        "/api/v1/sessions/{id}/report.html",
    ),
    Rule::of(Viewer, "recovery", "GET", "/api/v1/sites/{name}/history"),
    Rule::of(Viewer, "recovery", "GET", "/api/v1/sites/{name}/network"),
    Rule::of(Viewer, "recovery", "GET", "/api/v1/sites/{name}/order"),
    Rule::of(
        Viewer,
        "recovery",
        "GET",
        "/api/v1/sites/{name}/order/graph",
    ),
    Rule::of(Viewer, "recovery", "GET", "/api/v1/sites/{name}/prediction"),
    Rule::of(Viewer, "recovery", "GET", "/api/v1/sites/{name}/schedules"),
    Rule::of(
        Operator,
        "recovery",
        "POST",
        "/api/v1/sites/{name}/schedules",
    ),
    Rule::of(Operator, "recovery", "PUT", "/api/v1/schedules/{id}"),
    Rule::of(Administrator, "recovery", "POST", "/api/v1/sites/text"),
    Rule::of(Viewer, "recovery", "GET", "/api/v1/imports"),
    Rule::of(Viewer, "recovery", "GET", "/api/v1/imports/{import}/files"),
    Rule::of(Viewer, "recovery", "GET", "/api/v1/uploads"),
    Rule::of(Operator, "recovery", "POST", "/api/v1/uploads"),
    Rule::of(Operator, "recovery", "PUT", "/api/v1/uploads/{id}"),
    Rule::confirmed(Operator, "recovery", "DELETE", "/api/v1/uploads/{id}"),
    Rule::of(Operator, "recovery", "POST", "/api/v1/drafts"),
];

const FAILOVER: &[Rule] = &[
    Rule::of(Viewer, "failover", "GET", "/api/v1/failover/openapi.json"),
    Rule::of(Viewer, "failover", "GET", "/api/v1/failover/events"),
    Rule::of(Viewer, "failover", "GET", "/api/v1/failover/applications"),
    Rule::of(
        Administrator,
        "failover",
        "POST",
        "/api/v1/failover/applications",
    ),
    Rule::of(
        Viewer,
        "failover",
        "GET",
        "/api/v1/failover/applications/{name}",
    ),
    Rule::confirmed(
        Administrator,
        "failover",
        "DELETE",
        "/api/v1/failover/applications/{name}",
    ),
    Rule::of(
        Viewer,
        "failover",
        "GET",
        "/api/v1/failover/applications/{name}/ready",
    ),
    Rule::of(
        Viewer,
        "failover",
        "GET",
        "/api/v1/failover/applications/{name}/history",
    ),
    Rule::of(
        Viewer,
        "failover",
        "GET",
        "/api/v1/failover/applications/{name}/events",
    ),
    Rule::of(
        Viewer,
        "failover",
        "GET",
        "/api/v1/failover/applications/{name}/health",
    ),
    Rule::of(
        Viewer,
        "failover",
        "GET",
        "/api/v1/failover/applications/{name}/departures",
    ),
    Rule::of(
        Viewer,
        "failover",
        "GET",
        "/api/v1/failover/applications/{name}/metrics/{host}/{metric}",
    ),
    Rule::of(
        Viewer,
        "failover",
        "GET",
        "/api/v1/failover/applications/{name}/plan/{way}",
    ),
    Rule::confirmed(
        Operator,
        "failover",
        "POST",
        "/api/v1/failover/applications/{name}/switch",
    ),
    Rule::of(
        Operator,
        "failover",
        "POST",
        "/api/v1/failover/applications/{name}/answer",
    ),
    Rule::of(
        Operator,
        "failover",
        "POST",
        "/api/v1/failover/applications/{name}/abort",
    ),
    Rule::of(
        Operator,
        "failover",
        "POST",
        "/api/v1/failover/applications/{name}/take-up",
    ),
    Rule::of(
        Viewer,
        "failover",
        "GET",
        "/api/v1/failover/applications/{name}/processes",
    ),
    Rule::of(Viewer, "failover", "GET", "/api/v1/failover/processes/{id}"),
    Rule::confirmed(
        Operator,
        "failover",
        "POST",
        "/api/v1/failover/applications/{name}/autopilot",
    ),
    Rule::of(
        Viewer,
        "failover",
        "GET",
        "/api/v1/failover/applications/{name}/changes",
    ),
    Rule::of(
        Viewer,
        "failover",
        "GET",
        "/api/v1/failover/applications/{name}/differences",
    ),
    Rule::of(
        Operator,
        "failover",
        "POST",
        "/api/v1/failover/applications/{name}/differences/{id}/accept",
    ),
    Rule::of(
        Viewer,
        "failover",
        "GET",
        "/api/v1/failover/applications/{name}/rules",
    ),
    Rule::of(
        Operator,
        "failover",
        "POST",
        "/api/v1/failover/applications/{name}/rules",
    ),
    Rule::of(
        Operator,
        "failover",
        "DELETE",
        "/api/v1/failover/applications/{name}/rules/{id}",
    ),
    Rule::of(
        Viewer,
        "failover",
        "GET",
        "/api/v1/failover/audit/{subject}",
    ),
    Rule::of(Viewer, "failover", "GET", "/api/v1/failover/alerts"),
    Rule::of(
        Viewer,
        "failover",
        "GET",
        "/api/v1/failover/applications/{name}/autosync",
    ),
    Rule::confirmed(
        Operator,
        "failover",
        "POST",
        "/api/v1/failover/applications/{name}/autosync",
    ),
    Rule::of(
        Viewer,
        "failover",
        "GET",
        "/api/v1/failover/applications/{name}/archive",
    ),
    Rule::confirmed(
        Operator,
        "failover",
        "POST",
        "/api/v1/failover/applications/{name}/archive",
    ),
    Rule::of(
        Operator,
        "failover",
        "POST",
        "/api/v1/failover/applications/{name}/archive/now",
    ),
    Rule::confirmed(
        Operator,
        "failover",
        "POST",
        "/api/v1/failover/applications/{name}/archive/abandon",
    ),
    Rule::of(
        Viewer,
        "failover",
        "GET",
        "/api/v1/failover/applications/{name}/restores",
    ),
    // Puts an earlier state in the place of today's.
    Rule::confirmed(
        Operator,
        "failover",
        "POST",
        "/api/v1/failover/applications/{name}/restores",
    ),
    Rule::confirmed(
        Operator,
        "failover",
        "POST",
        "/api/v1/failover/applications/{name}/restores/take-up",
    ),
    Rule::confirmed(
        Operator,
        "failover",
        "POST",
        "/api/v1/failover/applications/{name}/restores/abandon",
    ),
    Rule::of(
        Operator,
        "failover",
        "POST",
        "/api/v1/failover/alerts/{id}/acknowledge",
    ),
    Rule::of(Viewer, "failover", "GET", "/api/v1/failover/agents"),
    // Whoever holds such a token joins the machines that are protected.
    Rule::confirmed(
        Administrator,
        "failover",
        "POST",
        "/api/v1/failover/agents/{host}/token",
    ),
    Rule::confirmed(
        Administrator,
        "failover",
        "DELETE",
        "/api/v1/failover/agents/{host}",
    ),
];
