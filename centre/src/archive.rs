//! Process 600: images of the data, by levels.

use serde::{Deserialize, Serialize};

/// The section `[archive]` of an application's file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {}
