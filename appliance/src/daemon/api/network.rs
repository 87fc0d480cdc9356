//! The network of a site as a picture.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Answer, ApiError};
use crate::daemon::Appliance;
use crate::report::UnansweredLine;
use crate::site::{Firmware, Machine, Network, Site};

/// Networks, machines, what ties them together, and what lies outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NetworkGraph {
    /// The networks.
    pub networks: Vec<Network>,
    /// The machines.
    pub machines: Vec<NetworkMachine>,
    /// A card each.
    pub links: Vec<NetworkLink>,
    /// What machines asked for outside of the site in the newest session with a report.
    pub outside: Vec<UnansweredLine>,
    /// That session.
    pub session: Option<String>,
}

/// A machine of the picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetworkMachine {
    /// Its name.
    pub name: String,
    /// What it boots with.
    pub firmware: Firmware,
}

/// A card of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetworkLink {
    /// The machine.
    pub machine: String,
    /// The network.
    pub network: String,
    /// The card's own address.
    pub mac: String,
    /// Its static address, when it has one.
    pub address: Option<String>,
}

/// The network of a site.
#[utoipa::path(get, path = "/sites/{name}/network", operation_id = "site_network", tag = "sites",
    params(("name" = String, Path)),
    responses((status = 200, body = NetworkGraph), (status = 404, body = ApiError)))]
pub(super) async fn site_network(
    State(appliance): State<Appliance>,
    Path(name): Path<String>,
) -> Answer<NetworkGraph> {
    let site = appliance.site(&name).await?;
    let newest = appliance.store.reports(&site.name, 1).await?.pop();
    let newest = newest.map(|(_, report)| report);
    Ok(Json(NetworkGraph {
        machines: site.machines.iter().map(machine).collect(),
        links: links(&site),
        networks: site.networks,
        session: newest.as_ref().map(|report| report.session.clone()),
        outside: newest.map_or_else(Vec::new, |report| report.network.unanswered),
    }))
}

fn machine(machine: &Machine) -> NetworkMachine {
    NetworkMachine {
        name: machine.name.clone(),
        firmware: machine.firmware,
    }
}

fn links(site: &Site) -> Vec<NetworkLink> {
    let cards = site.machines.iter().flat_map(|machine| {
        machine.nics.iter().map(|nic| NetworkLink {
            machine: machine.name.clone(),
            network: nic.network.clone(),
            mac: nic.mac.to_string(),
            address: nic.address.map(|address| address.to_string()),
        })
    });
    cards.collect()
}
