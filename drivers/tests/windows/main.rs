//! Windows guests: made-up ones that carry real SYSTEM hives. No Windows has booted here.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod directory;
mod fixture;
