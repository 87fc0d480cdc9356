//! The confined reader of images: a program of its own beside this one.

/// Starts the reader.
pub fn launcher() -> lifeboat_images::Confined {
    lifeboat_images::Confined::beside_this_program()
}
