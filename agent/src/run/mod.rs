//! The agent itself.
