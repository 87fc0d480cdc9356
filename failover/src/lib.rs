//! Two sites, one truth.

pub mod authority;
pub mod lease;
pub mod process;
mod side;
pub mod state;

pub use side::Side;
