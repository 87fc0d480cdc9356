//! Process 700: an archived image comes back.
