//! Boot order from evidence: events and configuration to dependencies to a plan.
//!
//! The way of the data: `readers` turn logs into boots with events, `facts` turn configuration
//! into references, both become a site; `estimators` make claims about it; `combine` makes edges
//! of the claims; `plan` breaks cycles and orders. Nothing here runs, mounts or connects anything.

mod analysis;
mod classify;
mod clock;
mod combine;
mod descriptions;
mod estimators;
mod event;
mod explain;
mod facts;
mod folder;
mod gates;
mod graph;
mod groups;
mod hive;
mod identity;
mod leases;
mod literal;
mod machine;
mod marks;
mod model;
mod names;
mod operator;
mod options;
mod order;
mod picture;
mod plan;
mod prediction;
mod readers;
mod reasons;
mod retention;
pub mod schedule;
mod services;
mod simulate;
mod site;
mod strangers;
mod targets;
mod text;
mod what_if;
mod windows_events;
mod zones;

pub use analysis::Analysis;
pub use estimators::reference::{
    Cell, Dependency, Initialization, Reference, chains, correlation, dependencies,
    initialization_order, machine_order, reference_method,
};
pub use explain::{Explanation, Fact, Fate};
pub use facts::survey_configuration;
pub use folder::{MachineFolder, read_directory};
pub use hive::{HiveError, HiveSurvey, survey_hive};
pub use identity::{Identity, Interface, machine_identity};
pub use literal::{Literal, Moment};
pub use model::{Feature, Features};
pub use operator::{OperatorError, OperatorWord, Verdict, validate};
pub use options::{EstimatorName, Options, Recency, Threshold, Unit, Weighting};
pub use order::{
    Edge, Evidence, Group, Kind, LearnedGate, Order, PlanEntry, Readiness, ServiceOrder, Source,
};
pub use prediction::{HostBudget, Prediction};
pub use readers::{LogSurvey, survey_bytes, survey_log};
pub use services::{ServicesError, extend_services};
pub use what_if::{Consequence, WhatIf};

/// Works out the order of a site; [`Analysis`] explains it too.
///
/// Never fails as a whole: what is wrong with one machine becomes a warning, and the machine is
/// ordered by what else is known. The result depends on the machines, not on their sequence.
pub fn order(machines: &[MachineFolder], operator: &[OperatorWord], options: &Options) -> Order {
    Analysis::new(machines, operator, options).into_order()
}

/// Every start of a well-known service that the logs show: what the reference method reads.
pub fn initializations(machines: &[MachineFolder]) -> Vec<Initialization> {
    estimators::initializations(&site::Site::read(machines, &mut Vec::new()))
}
