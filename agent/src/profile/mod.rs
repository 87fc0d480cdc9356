//! The data file that says how one application is watched and moved.
