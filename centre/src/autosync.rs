//! Process 500: data flow from the active to the passive side, and only when they may.

use serde::{Deserialize, Serialize};

/// The section `[autosync]` of an application's file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {}
