//! Windows guests: their registry, their drivers, and what they need to boot on virtio.
//!
//! Like [`crate::guest`] it works on any directory as the guest's root, so it is tested without a
//! VM. [`plan::plan`] reads and decides, [`apply::apply`] writes, [`verify::verify`] looks again.

pub mod apply;
pub mod boot_drivers;
pub mod catalogue;
pub mod extract;
pub mod firstboot;
pub mod hives;
pub mod inf;
pub mod network;
mod oem;
pub mod plan;
pub mod report;
pub mod settings;
pub mod signature;
pub mod system;
pub mod tree;
pub mod trust;
pub mod verify;
