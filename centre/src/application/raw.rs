//! The parsed but not yet checked form, with the place of each value.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use crate::observation::Users;
use crate::{alerts, archive, autosync, changes};

pub(super) type Parameters = BTreeMap<String, Spanned<String>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub application: Header,
    #[serde(default)]
    pub lease: Lease,
    #[serde(default)]
    pub reports: Reports,
    #[serde(default)]
    pub parameters: Parameters,
    pub primary: RawSide,
    pub secondary: RawSide,
    pub identity: Option<Identity>,
    #[serde(default)]
    pub switch: Switch,
    pub names: Option<Names>,
    #[serde(default)]
    pub autopilot: Autopilot,
    #[serde(default)]
    pub autosync: autosync::Settings,
    #[serde(default)]
    pub archive: archive::Settings,
    pub alerts: Option<Spanned<alerts::Settings>>,
    #[serde(default)]
    pub changes: changes::Settings,
    pub users: Option<Spanned<Users>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub name: Spanned<String>,
    pub profile: Spanned<String>,
    pub directory_profile: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Lease {
    pub length_s: Option<Spanned<f64>>,
    pub drift_permille: Option<Spanned<u32>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Reports {
    pub every_s: Option<Spanned<f64>>,
    pub inventory_every_s: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSide {
    pub host: Spanned<String>,
    pub address: Spanned<String>,
    pub peer_port: Option<u16>,
    #[serde(default)]
    pub parameters: Parameters,
    pub directory: Option<RawDirectory>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDirectory {
    pub host: Spanned<String>,
    pub address: Spanned<String>,
    #[serde(default)]
    pub parameters: Parameters,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    pub name: Spanned<String>,
    pub temporary: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Switch {
    pub confirmation_s: Option<Spanned<f64>>,
    pub replicate_back: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Names {
    pub zone: Spanned<String>,
    pub servers: Spanned<Vec<Spanned<String>>>,
    pub key_file: Spanned<String>,
    pub record: Vec<RawRecord>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRecord {
    pub name: Spanned<String>,
    pub kind: Spanned<String>,
    pub primary: Spanned<Vec<String>>,
    pub secondary: Spanned<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Autopilot {
    pub enabled: Option<bool>,
    pub shadow: Option<bool>,
    pub wait_s: Option<Spanned<f64>>,
    pub restarts: Option<u32>,
    pub restart_patience_s: Option<Spanned<f64>>,
    pub hold_down_s: Option<Spanned<f64>>,
    pub lock_out_after: Option<u32>,
    pub lock_out_within_s: Option<Spanned<f64>>,
    pub switch_back: Option<bool>,
    pub well_before_back_s: Option<Spanned<f64>>,
}
