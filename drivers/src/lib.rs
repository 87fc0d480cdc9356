//! Offline injection of virtio drivers into captured machines, Linux and Windows.
//!
//! The host side ([`host`]) boots a purpose-built micro-VM on the volumes; the
//! injector ([`init`]) is its only process. What it decides is pure logic over
//! bytes ([`initrd`]) and directories ([`guest`]). Facts travel as plain data
//! ([`report`]).

use std::fmt::Display;

pub mod guest;
#[cfg(feature = "host")]
pub mod host;
pub mod init;
pub mod initrd;
pub mod module_file;
pub mod partition_table;
pub mod refusal;
pub mod report;
pub mod windows;

#[cfg(feature = "host")]
pub use host::{
    Accelerator, Disk, Format, Layer, MicroVm, MicroVmError, inject, inspect, prepare,
    prepare_unless, undo,
};
pub use refusal::Refusal;
pub use report::*;

/// An I/O error with what was attempted.
#[derive(Debug, thiserror::Error)]
#[error("{attempted} failed")]
pub struct Described {
    attempted: String,
    #[source]
    source: std::io::Error,
}

/// Adds what was attempted to an I/O error.
pub(crate) fn describe<E: Into<std::io::Error>>(
    attempted: impl Display,
) -> impl FnOnce(E) -> Described {
    move |source| Described {
        attempted: attempted.to_string(),
        source: source.into(),
    }
}

/// An error with all its causes on one line.
pub(crate) fn cause_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
