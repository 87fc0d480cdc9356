//! Windows registry hives: reading them, applying their transaction logs, and changing them.
//!
//! [`Hive`] reads forgivingly: what is damaged is taken as absent. [`Editor`] changes a hive and is
//! strict: a hive that is damaged, or whose pending changes cannot be applied, is refused. No
//! library with a fitting licence edits hives in place; hivex also loses what the logs hold.

mod check;
mod compare;
mod edit;
mod format;
mod replay;

pub use compare::compare;
pub use edit::{Action, EditError, Edited, Editor, LARGEST_VALUE};
pub use format::{Hive, HiveError, Key, Value};
pub use replay::hash as log_hash;

/// Types of registry values.
pub mod kind {
    /// No type.
    pub const NONE: u32 = 0;
    /// Text.
    pub const TEXT: u32 = 1;
    /// Text with `%variables%`.
    pub const EXPANDABLE: u32 = 2;
    /// Bytes.
    pub const BINARY: u32 = 3;
    /// A 32-bit number.
    pub const NUMBER: u32 = 4;
    /// Several texts.
    pub const TEXTS: u32 = 7;
}
