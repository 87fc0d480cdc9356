//! Pictures of what guests show. Their size and content are the guest's: they are
//! bounded, and never anything but pictures.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;
use std::time::{Duration, Instant};

use image::{ImageFormat, ImageReader, Limits};
use tokio::sync::Mutex;

use crate::hypervisor::{Hypervisor, HypervisorError};

/// However many ask, a guest's screen is taken no more often.
const FRESH: Duration = Duration::from_secs(1);
/// Pictures older than this are forgotten.
const STALE: Duration = Duration::from_secs(60);
/// Guests choose their resolution.
const LARGEST: u32 = 8192;
const MOST_MEMORY: u64 = 512 << 20;

/// A picture as a PNG file, and its name for caches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// The file.
    pub png: Arc<[u8]>,
    /// Changes with the picture.
    pub tag: String,
}

impl Picture {
    /// Of a PNG file.
    pub fn new(png: Vec<u8>) -> Self {
        let hash = blake3::hash(&png).to_hex();
        Self {
            tag: format!("\"{}\"", &hash[..24]),
            png: png.into(),
        }
    }

    /// The same, at most so wide.
    pub fn at_most(&self, width: u32) -> Result<Self, image::ImageError> {
        let mut reader = ImageReader::with_format(Cursor::new(&self.png[..]), ImageFormat::Png);
        let mut limits = Limits::default();
        limits.max_image_width = Some(LARGEST);
        limits.max_image_height = Some(LARGEST);
        limits.max_alloc = Some(MOST_MEMORY);
        reader.limits(limits);
        let picture = reader.decode()?;
        if picture.width() <= width {
            return Ok(self.clone());
        }
        let mut png = Cursor::new(Vec::new());
        let small = picture.thumbnail(width, LARGEST);
        small.to_rgb8().write_to(&mut png, ImageFormat::Png)?;
        Ok(Self::new(png.into_inner()))
    }
}

/// The newest picture of each domain; cheap to clone.
#[derive(Clone, Default)]
pub struct Screens {
    taken: Arc<Mutex<HashMap<String, (Instant, Picture)>>>,
}

impl Screens {
    /// What a domain shows now, or showed a moment ago.
    pub async fn take(
        &self,
        hypervisor: &Hypervisor,
        domain: &str,
    ) -> Result<Picture, HypervisorError> {
        // One at a time: there is one thread for libvirt.
        let mut taken = self.taken.lock().await;
        taken.retain(|_, (at, _)| at.elapsed() < STALE);
        if let Some((at, picture)) = taken.get(domain)
            && at.elapsed() < FRESH
        {
            return Ok(picture.clone());
        }
        let picture = Picture::new(hypervisor.screen(domain).await?);
        taken.insert(domain.to_owned(), (Instant::now(), picture.clone()));
        Ok(picture)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(width: u32, height: u32) -> Picture {
        let mut png = Cursor::new(Vec::new());
        let picture = image::RgbImage::from_pixel(width, height, image::Rgb([200, 10, 10]));
        picture.write_to(&mut png, ImageFormat::Png).unwrap();
        Picture::new(png.into_inner())
    }

    fn size(picture: &Picture) -> (u32, u32) {
        let decoded = image::load_from_memory(&picture.png).unwrap();
        (decoded.width(), decoded.height())
    }

    #[test]
    fn thumbnails_keep_the_shape_and_small_pictures_stay() {
        let screen = plain(1280, 800);
        let small = screen.at_most(320).unwrap();
        assert_eq!(size(&small), (320, 200));
        assert_ne!(small.tag, screen.tag);
        assert_eq!(plain(200, 100).at_most(320).unwrap(), plain(200, 100));
    }

    #[test]
    fn what_is_no_picture_or_too_large_is_refused() {
        assert!(
            Picture::new(b"<svg onload=alert(1)>".to_vec())
                .at_most(320)
                .is_err()
        );
        assert!(plain(LARGEST + 1, 1).at_most(320).is_err());
        let mut cut = plain(64, 64).png.to_vec();
        cut.truncate(60);
        assert!(Picture::new(cut).at_most(32).is_err());
    }
}
