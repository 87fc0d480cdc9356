//! This program as the confined reader of images.

/// The hidden subcommand under which this program reads an image.
pub const SUBCOMMAND: &str = "confined-image-reader";

/// Starts this program again, confined.
pub fn launcher() -> lifeboat_images::Confined {
    lifeboat_images::Confined::this_program([SUBCOMMAND])
}
