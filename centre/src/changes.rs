//! What changed on either side, and whether it endangers recoverability.

use serde::{Deserialize, Serialize};

/// The section `[changes]` of an application's file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {}
