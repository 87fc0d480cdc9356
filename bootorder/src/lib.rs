//! bootorder
