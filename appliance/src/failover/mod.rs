//! Switch-over between two sites: what acts for the decisions of `lifeboat-failover`.

pub mod names;
