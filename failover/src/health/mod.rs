//! Health: what is ordinary for a metric, where it is heading, and what departed first.

mod cause;
mod range;
mod tendency;

pub use cause::{Cause, Departure, Dependency, root_causes};
pub use range::{Bad, Level, Limits, Range, Reason, Rule, Sightings, assess, learn};
pub use tendency::{Sample, Tendency, tendency, time_to};
