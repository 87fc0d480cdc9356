//! An image and what the operator named below it: how the disk is put together.

use std::fs::File;
use std::path::Path;

use super::child::Given;
use super::{Part, Question, Serving};
use crate::content::packed_disk::PackedDisk;
use crate::content::{self, Content, ContentDisk};
use crate::disk::{Disk, LayeredDisk, Qcow2Disk, QemuIoDisk, RawDisk};
use crate::error::{Refusal, RefusalKind};
use crate::format::{Container, Format};
use crate::structure::{self, Facts, Serving as Kind};

/// Layers whose structure was checked, nearest first.
pub(super) struct Chain<'a> {
    layers: Vec<Layer<'a>>,
}

struct Layer<'a> {
    container: Container,
    parts: &'a [Part],
    facts: Facts,
}

impl<'a> Chain<'a> {
    /// Checks every layer, and that each continues where the operator says.
    pub(super) fn check(question: &Question, given: &'a Given) -> Result<Self, Refusal> {
        let asked = question.layers.iter().zip(&given.layers);
        let layers = asked.map(|(layer, parts)| {
            Ok(Layer {
                container: layer.container,
                parts,
                facts: structure::check(layer.container, parts)?,
            })
        });
        let chain = Self {
            layers: layers.collect::<Result<_, Refusal>>()?,
        };
        chain.check_links()?;
        Ok(chain)
    }

    fn check_links(&self) -> Result<(), Refusal> {
        if self.layers.is_empty() {
            return Err(Refusal::damaged("it consists of no file"));
        }
        for (index, layer) in self.layers.iter().enumerate() {
            let below = self.layers.get(index + 1);
            match layer.facts.serving {
                // Parents are known by their identity, which is better than a name.
                Kind::WithParents if below.is_none() => {
                    return Err(structure::refuse_lonely(
                        layer.facts.backing_name.as_deref(),
                    ));
                }
                Kind::WithParents => {}
                _ => matches_name(&layer.facts, below.map(|below| &*below.parts[0].name))?,
            }
        }
        Ok(())
    }

    pub(super) fn top(&self) -> &Facts {
        &self.layers[0].facts
    }

    pub(super) fn risks(&self) -> Vec<String> {
        let risks = self.layers.iter().flat_map(|layer| &layer.facts.risks);
        risks.cloned().collect()
    }

    pub(super) fn needs_qemu(&self) -> bool {
        self.layers.iter().any(Layer::needs_qemu)
    }

    /// What QEMU is given.
    pub(super) fn serving(&self) -> Vec<Serving> {
        let mut serving = Vec::new();
        let mut index = 0;
        while let Some(layer) = self.layers.get(index) {
            let count = self.read_together(index);
            serving.push(match (layer.facts.serving, layer.container.format()) {
                (Kind::AsItIs, Some(format)) => Serving::File { index: 0, format },
                (Kind::Extent, _) => Serving::File {
                    index: 1,
                    format: Format::Raw,
                },
                _ => Serving::Converted {
                    with_below: count - 1,
                },
            });
            index += count;
        }
        serving
    }

    /// How many layers from `index` on are read by one reader.
    fn read_together(&self, index: usize) -> usize {
        match self.layers.get(index).map(|layer| layer.facts.serving) {
            // A parent that is no VHD is refused by the reader.
            Some(Kind::WithParents) => self.layers.len() - index,
            _ => 1,
        }
    }

    /// The disk of a chain that is converted.
    pub(super) fn content(&self) -> Result<Box<dyn Content>, Refusal> {
        self.content_from(0)
    }

    fn content_from(&self, index: usize) -> Result<Box<dyn Content>, Refusal> {
        let together = &self.layers[index..index + self.read_together(index)];
        if let Some(other) = together
            .iter()
            .find(|layer| layer.container != together[0].container)
        {
            return Err(Refusal::new(
                RefusalKind::BackingFile,
                format!(
                    "its chain goes on with an image of the format {}",
                    other.container
                ),
                "name the parents as they were when the disk was made",
            ));
        }
        let parts: Vec<&[Part]> = together.iter().map(|layer| layer.parts).collect();
        content::open(together[0].container, &parts, &together[0].facts)
    }

    /// The disk that a guest would see.
    pub(super) fn open(&self) -> Result<Box<dyn Disk>, Refusal> {
        self.open_from(0)
    }

    fn open_from(&self, index: usize) -> Result<Box<dyn Disk>, Refusal> {
        let layer = &self.layers[index];
        let last = index + self.read_together(index) == self.layers.len();
        match (layer.facts.serving, layer.container) {
            (Kind::AsItIs, Container::Qcow2) if layer.facts.plain_qcow2 => {
                let top = open_qcow2(layer.parts[0].copy()?)?;
                if last {
                    return Ok(Box::new(top));
                }
                let below = self.open_from(index + 1)?;
                Ok(Box::new(LayeredDisk::new(top, below)))
            }
            (Kind::AsItIs, Container::Qcow2) => self.open_with_qemu(index),
            _ if !last => Err(Refusal::new(
                RefusalKind::BackingFile,
                format!("nothing can lie below this {} image", layer.container),
                "name only the files that the image continues in",
            )),
            (Kind::AsItIs, Container::Raw) => raw(&layer.parts[0]),
            (Kind::Extent, _) => raw(&layer.parts[1]),
            (Kind::AsItIs, _) => self.open_with_qemu(index),
            (_, container) if container.is_packed() => {
                Ok(Box::new(PackedDisk::open(container, &layer.parts[0])?))
            }
            _ => Ok(Box::new(ContentDisk(self.content_from(index)?))),
        }
    }

    /// All layers from `index` on in one process of QEMU.
    fn open_with_qemu(&self, index: usize) -> Result<Box<dyn Disk>, Refusal> {
        let layers = self.layers[index..].iter().map(Layer::for_qemu);
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        match QemuIoDisk::open(&layers) {
            Ok(disk) => Ok(Box::new(disk)),
            Err(refusal) => Err(self.layers[index].in_our_words(refusal)),
        }
    }
}

impl Layer<'_> {
    /// What QEMU calls invalid in a VHDX, our own reader can often name.
    fn in_our_words(&self, refusal: Refusal) -> Refusal {
        match (self.container, self.parts.first()) {
            (Container::Vhdx, Some(part)) if refusal.kind == RefusalKind::Damaged => {
                content::Vhdx::open(part).err().unwrap_or(refusal)
            }
            _ => refusal,
        }
    }

    fn needs_qemu(&self) -> bool {
        match (self.facts.serving, self.container) {
            (Kind::AsItIs, Container::Raw) => false,
            (Kind::AsItIs, Container::Qcow2) => !self.facts.plain_qcow2,
            (serving, _) => serving == Kind::AsItIs,
        }
    }

    fn for_qemu(&self) -> Result<(Format, &File), Refusal> {
        match (self.facts.serving, self.container.format()) {
            (Kind::AsItIs, Some(format)) => Ok((format, &self.parts[0].file)),
            (Kind::Extent, _) => Ok((Format::Raw, &self.parts[1].file)),
            _ => Err(Refusal::new(
                RefusalKind::BackingFile,
                format!(
                    "it lies over an image of the form {}, which QEMU cannot read",
                    self.container
                ),
                "give a flattened image, made with `qemu-img convert -O qcow2`",
            )),
        }
    }
}

fn raw(part: &Part) -> Result<Box<dyn Disk>, Refusal> {
    Ok(Box::new(RawDisk::new(part.copy()?, part.length)))
}

fn open_qcow2(file: File) -> Result<Qcow2Disk, Refusal> {
    Qcow2Disk::open(file)
        .map_err(|error| Refusal::damaged(format!("its metadata are unreadable ({error})")))
}

/// The chain is the operator's word; the name in the image only has to agree with it.
fn matches_name(facts: &Facts, named: Option<&str>) -> Result<(), Refusal> {
    let inside = facts.backing_name.as_deref();
    match (inside, named) {
        (None, None) => Ok(()),
        (Some(path), Some(named)) if is_name_of(path, named) => Ok(()),
        (Some(path), _) => Err(structure::refuse_reference(path.as_bytes(), "backing file")),
        (None, Some(named)) => Err(Refusal::new(
            RefusalKind::BackingFile,
            format!(
                "it has no backing file, but `{}` was named as one",
                crate::printable::printable(named)
            ),
            "leave the chain out",
        )),
    }
}

/// A packed file has one ending more than what was packed.
fn is_name_of(path: &str, named: &str) -> bool {
    let inside = Path::new(path).file_name();
    let named = Path::new(named);
    inside.is_some() && (inside == named.file_name() || inside == named.file_stem())
}
