//! The two environments of an application.

use serde::{Deserialize, Serialize};

/// One of the two environments. Which of them is active changes; these names do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Where the application lives in ordinary times (customer site 102).
    Primary,
    /// Where it goes when it has to (secondary environment 106).
    Secondary,
}

impl Side {
    /// Both, primary first.
    pub const BOTH: [Self; 2] = [Self::Primary, Self::Secondary];

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Primary => Self::Secondary,
            Self::Secondary => Self::Primary,
        }
    }
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        })
    }
}
