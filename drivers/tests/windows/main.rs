//! Windows guests: made-up ones that carry real SYSTEM hives. No Windows has booted here.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod directory;
mod fixture;
mod folder;
mod ids;
mod iso;
#[path = "../whole_machine/laboratory.rs"]
#[expect(dead_code, reason = "the guests of the Linux tests are not built here")]
mod laboratory;
mod signatures;
mod signing;
mod unusual;
mod vm;
