//! The guest's filesystem seen as a directory: reading facts out of it and
//! deciding what to change. Works on any directory, so it is tested without a VM.

pub mod apply;
pub mod arguments;
pub mod arrays;
pub mod boot_loader;
pub mod budget;
pub mod changeable;
mod config_text;
mod device_name;
pub mod extract;
pub mod facts;
mod fallback_loader;
pub(crate) mod fstab;
pub mod identity;
mod images;
mod installed;
pub mod kernels;
mod named;
pub mod network;
pub mod plan;
mod rebuilds;
mod room;
pub mod root;
pub mod secrets;
mod selinux;
mod supplements;
mod table_edit;
pub mod unified;
pub mod verify;
mod volumes;
