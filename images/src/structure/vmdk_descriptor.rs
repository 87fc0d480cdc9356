//! The text of a VMDK that lies in several files: which extents it names, in order.
//!
//! An extent is a plain name beside the descriptor. Whatever leads elsewhere is refused.

use crate::error::{Refusal, RefusalKind};
use crate::printable::printable;
use crate::structure::{protocol, refuse_reference};

const SECTOR: u64 = 512;
/// QEMU's own bound on the text.
pub(crate) const LONGEST: u64 = 64 * 1024;
const MOST_EXTENTS: usize = crate::segments::MOST_FILES - 1;

/// How the bytes of an extent lie in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExtentKind {
    Flat,
    Sparse,
    Zero,
}

/// One line of the descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extent {
    pub kind: ExtentKind,
    pub sectors: u64,
    /// First byte of a flat extent in its file.
    pub offset: u64,
    /// Name beside the descriptor; `None` for zeros.
    pub name: Option<String>,
    /// Its file among those of the image, where 0 is the descriptor.
    pub file: Option<usize>,
}

impl Extent {
    pub(crate) fn bytes(&self) -> u64 {
        self.sectors.saturating_mul(SECTOR)
    }
}

/// What a descriptor says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    /// `createType`.
    pub kind: String,
    pub extents: Vec<Extent>,
    /// The files to open beside the descriptor, each once, in the order of their first use.
    pub files: Vec<String>,
}

/// Reads the text.
pub(crate) fn parse(text: &str) -> Result<Descriptor, Refusal> {
    super::vmdk::refuse_parent(text)?;
    let kind = super::vmdk::value(text, "createType").unwrap_or_default();
    let mut found = Descriptor {
        kind: printable(kind),
        extents: Vec::new(),
        files: Vec::new(),
    };
    for line in text.lines().filter(|line| is_extent(line)) {
        if found.extents.len() == MOST_EXTENTS {
            return Err(Refusal::absurd(format!(
                "its descriptor names more than {MOST_EXTENTS} extents"
            )));
        }
        let mut extent = extent(line)?;
        extent.file = extent.name.as_ref().map(|name| found.number(name));
        found.extents.push(extent);
    }
    if found.extents.is_empty() {
        return Err(Refusal::damaged("its descriptor names no extent"));
    }
    Ok(found)
}

impl Descriptor {
    fn number(&mut self, name: &str) -> usize {
        let known = self.files.iter().position(|file| file == name);
        known.unwrap_or_else(|| {
            self.files.push(name.to_owned());
            self.files.len() - 1
        }) + 1
    }
}

pub(crate) fn is_extent(line: &str) -> bool {
    let access = line.split_whitespace().next().unwrap_or_default();
    ["RW", "RDONLY", "NOACCESS"].contains(&access)
}

/// `RW 4192256 SPARSE "disk-s001.vmdk"`, `RW 4096 FLAT "disk-flat.vmdk" 0`, `RW 63 ZERO`.
fn extent(line: &str) -> Result<Extent, Refusal> {
    let damaged = || Refusal::damaged(format!("its descriptor has the line `{}`", printable(line)));
    let (before, name, after) = match line.split_once('"') {
        None => (line, None, ""),
        Some((before, rest)) => {
            let (name, after) = rest.split_once('"').ok_or_else(damaged)?;
            (before, Some(name), after)
        }
    };
    let mut words = before.split_whitespace();
    let access = words.next().unwrap_or_default();
    let sectors = words.next().and_then(|word| word.parse().ok());
    let kind = kind(words.next().unwrap_or_default())?;
    let offset = match after.split_whitespace().next() {
        None => 0,
        Some(word) => word.parse().map_err(|_| damaged())?,
    };
    if access == "NOACCESS" {
        return Err(Refusal::damaged(
            "one of its extents is marked as not accessible",
        ));
    }
    if name.is_none() != (kind == ExtentKind::Zero) {
        return Err(damaged());
    }
    Ok(Extent {
        kind,
        sectors: sectors.ok_or_else(damaged)?,
        offset: u64::saturating_mul(offset, SECTOR),
        name: name.map(plain).transpose()?,
        file: None,
    })
}

fn kind(word: &str) -> Result<ExtentKind, Refusal> {
    match word {
        "FLAT" | "VMFS" => Ok(ExtentKind::Flat),
        "SPARSE" => Ok(ExtentKind::Sparse),
        "ZERO" => Ok(ExtentKind::Zero),
        other => Err(Refusal::new(
            RefusalKind::UnknownFeature,
            format!("it has an extent of the kind `{}`", printable(other)),
            "consolidate the snapshots and export the disk as one VMDK",
        )),
    }
}

/// A name of a file beside the descriptor, and nothing that leads elsewhere.
fn plain(name: &str) -> Result<String, Refusal> {
    if protocol(name.as_bytes()).is_some() {
        return Err(refuse_reference(name.as_bytes(), "extent"));
    }
    if !is_plain(name) {
        return Err(Refusal::new(
            RefusalKind::SplitOverFiles,
            format!(
                "its extent `{}` is not a plain name beside the descriptor",
                printable(name)
            ),
            "put the extents into the folder of the descriptor and correct their names in it",
        ));
    }
    Ok(name.to_owned())
}

/// Whether a name stays in its folder, whoever reads it.
pub(crate) fn is_plain(name: &str) -> bool {
    let separator =
        |character: char| matches!(character, '/' | '\\' | ':') || character.is_control();
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && !name.contains(separator)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD: &str = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n";

    #[track_caller]
    fn refused(lines: &str, kind: RefusalKind, words: &str) {
        let refusal = parse(&format!("{HEAD}{lines}\n")).unwrap_err();
        assert_eq!(refusal.kind, kind, "{refusal:?}");
        assert!(refusal.found.contains(words), "{refusal:?}");
    }

    #[test]
    fn extents_are_read_in_order() {
        let text = format!(
            "{HEAD}createType=\"twoGbMaxExtentSparse\"\nRW 100 SPARSE \"a b-s001.vmdk\"\n\
             RW 7 ZERO\nRDONLY 9 FLAT \"x-flat.vmdk\" 3\nRW 1 SPARSE \"a b-s001.vmdk\"\n"
        );
        let found = parse(&text).unwrap();
        assert_eq!(found.kind, "twoGbMaxExtentSparse");
        assert_eq!(found.files, ["a b-s001.vmdk", "x-flat.vmdk"]);
        let shape: Vec<_> = found
            .extents
            .iter()
            .map(|extent| (extent.kind, extent.sectors, extent.offset, extent.file))
            .collect();
        assert_eq!(
            shape,
            [
                (ExtentKind::Sparse, 100, 0, Some(1)),
                (ExtentKind::Zero, 7, 0, None),
                (ExtentKind::Flat, 9, 1536, Some(2)),
                (ExtentKind::Sparse, 1, 0, Some(1)),
            ]
        );
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let split = RefusalKind::SplitOverFiles;
        refused("RW 1 FLAT \"/etc/shadow\" 0", split, "/etc/shadow");
        refused("RW 1 FLAT \"../other.raw\" 0", split, "../other.raw");
        refused("RW 1 FLAT \"..\\\\other.raw\" 0", split, "other.raw");
        refused("RW 1 FLAT \".hidden\" 0", split, ".hidden");
        refused("RW 1 FLAT \"\" 0", split, "plain name");
        refused("RW 1 FLAT \"nbd:host:1\" 0", RefusalKind::Protocol, "nbd");
        refused("RW 1 FLAT \"json:{}\" 0", RefusalKind::Protocol, "json");
    }

    #[test]
    fn other_extents_are_named() {
        let unknown = RefusalKind::UnknownFeature;
        refused("RW 1 VMFSSPARSE \"a-delta.vmdk\"", unknown, "VMFSSPARSE");
        refused("RW 1 VMFSRDM \"a-rdm.vmdk\"", unknown, "VMFSRDM");
        refused(
            "NOACCESS 1 FLAT \"a\" 0",
            RefusalKind::Damaged,
            "accessible",
        );
        refused("RW many FLAT \"a\" 0", RefusalKind::Damaged, "line");
        refused("RW 1 FLAT \"a", RefusalKind::Damaged, "line");
        refused("RW 1 FLAT", RefusalKind::Damaged, "line");
        refused("", RefusalKind::Damaged, "no extent");
        refused(
            "parentFileNameHint=\"b.vmdk\"",
            RefusalKind::BackingFile,
            "b.vmdk",
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(lines in prop::collection::vec("(RW|RDONLY) [0-9]{0,22} [A-Z]{4,6} ?\"?.{0,20}\"? ?[0-9]{0,22}", 0..9)) {
            if let Ok(found) = parse(&lines.join("\n")) {
                prop_assert!(found.files.iter().all(|name| is_plain(name)));
            }
        }
    }
}
