//! The dependencies as pictures.

mod dot;
mod layout;
mod svg;
