//! VMDK: monolithicSparse and streamOptimized in one file, and descriptors beside their extents.

use std::collections::HashSet;

use super::vmdk_descriptor::{self, ExtentKind};
use super::{Facts, Fields, Serving, Source, plausible_size, refuse_reference};
use crate::confine::Part;
use crate::content::{Content, Joined};
use crate::error::{Refusal, RefusalKind};
use crate::printable::printable;

pub(crate) const SECTOR: u64 = 512;
const DIRECTORY_AT_END: u64 = u64::MAX;
const MOST_TABLES: u64 = 4 << 20;
const LONGEST_DESCRIPTOR: u64 = 64 * 1024;
/// Grains are compressed.
pub(crate) const COMPRESSED: u32 = 1 << 16;
/// Every grain begins with its place on the disk and its length.
const MARKERS: u32 = 1 << 17;
const MARKER: u64 = 12;
const UNCLEAN: &str = "it was not closed by whoever wrote it (`uncleanShutdown`): the machine was \
                       running or had crashed when it was copied";
const KNOWN_FLAGS: u32 = 0b111 | COMPRESSED | MARKERS;

/// The header of a sparse extent; sizes and places in sectors.
pub(crate) struct Header {
    pub flags: u32,
    pub capacity: u64,
    pub grain: u64,
    descriptor: (u64, u64),
    pub table_entries: u64,
    pub directory: u64,
    is_unclean: bool,
}

impl Header {
    /// Bytes of a grain that belong to the disk: the last may be short.
    pub(crate) fn grain_bytes(&self, number: u64) -> u64 {
        let before = number.saturating_mul(self.grain);
        self.capacity.saturating_sub(before).min(self.grain) * SECTOR
    }
}

pub(super) fn check(source: &Source<'_>) -> Result<Facts, Refusal> {
    if !source.length.is_multiple_of(SECTOR) {
        return Err(Refusal::truncated(format!(
            "its length of {} bytes is no multiple of 512",
            source.length
        )));
    }
    let header = read_header(source, 0)?;
    let descriptor = read_descriptor(source, &header)?;
    let variant = check_descriptor(&descriptor)?;
    let directory = match header.directory {
        DIRECTORY_AT_END => footer(source)?.directory,
        offset => offset,
    };
    let mut last_in_file = 0;
    walk(source, &header, directory, &mut |index, table| {
        let first = index * header.table_entries;
        last_in_file = last_in_file.max(check_table(source, &header, first, table)?);
        Ok(())
    })?;
    check_packed(source, &header, last_in_file)?;
    Ok(Facts {
        variant: Some(variant),
        virtual_size: Some(header.capacity * SECTOR),
        cluster_size: Some(header.grain * SECTOR),
        risks: header
            .is_unclean
            .then(|| UNCLEAN.to_owned())
            .into_iter()
            .collect(),
        ..Facts::default()
    })
}

pub(crate) fn read_header(source: &Source<'_>, at: u64) -> Result<Header, Refusal> {
    let fields = source.read(at, SECTOR, "its header")?;
    let version = fields.le32(4);
    if !(1..=3).contains(&version) {
        return Err(unknown(format!("it is VMDK of version {version}")));
    }
    let header = Header {
        flags: fields.le32(8),
        capacity: fields.le64(12),
        grain: fields.le64(20),
        descriptor: (fields.le64(28), fields.le64(36)),
        table_entries: u64::from(fields.le32(44)),
        directory: fields.le64(56),
        is_unclean: fields.bytes(72, 1) != [0],
    };
    check_header(&header, &fields)?;
    Ok(header)
}

fn check_header(header: &Header, fields: &Fields) -> Result<(), Refusal> {
    if fields.bytes(73, 4) != b"\n \r\n" {
        return Err(Refusal::damaged(
            "its header was changed by a text transfer (line ends differ)",
        ));
    }
    if header.flags & !KNOWN_FLAGS != 0 {
        return Err(unknown(format!("it has unknown flags {:#x}", header.flags)));
    }
    if fields.le16(77) > 1 {
        return Err(unknown(format!(
            "it needs compression method {}",
            fields.le16(77)
        )));
    }
    plausible_size(header.capacity.saturating_mul(SECTOR))?;
    let grain = header.grain;
    if !grain.is_power_of_two() || grain > 1 << 21 {
        return Err(Refusal::absurd(format!("its grains have {grain} sectors")));
    }
    if !(1..=512).contains(&header.table_entries) {
        return Err(Refusal::absurd(format!(
            "its grain tables have {} entries",
            header.table_entries
        )));
    }
    Ok(())
}

fn footer(source: &Source<'_>) -> Result<Header, Refusal> {
    let cut =
        || Refusal::truncated("the footer that a stream-optimised VMDK ends with is not there");
    let at = source.length.checked_sub(2 * SECTOR).ok_or_else(cut)?;
    if source.read(at, 4, "its footer")?.all() != b"KDMV" {
        return Err(cut());
    }
    let footer = read_header(source, at)?;
    if footer.directory == DIRECTORY_AT_END {
        return Err(Refusal::damaged(
            "its footer does not say where its tables are",
        ));
    }
    Ok(footer)
}

fn read_descriptor(source: &Source<'_>, header: &Header) -> Result<String, Refusal> {
    let (start, sectors) = header.descriptor;
    if start == 0 || sectors == 0 {
        return Err(only_an_extent());
    }
    let length = sectors.saturating_mul(SECTOR);
    if length > LONGEST_DESCRIPTOR {
        return Err(Refusal::absurd(format!(
            "its descriptor claims {length} bytes"
        )));
    }
    let bytes = source.read(start.saturating_mul(SECTOR), length, "its descriptor")?;
    let text = bytes.all().split(|byte| *byte == 0).next();
    match text.unwrap_or_default() {
        // QEMU leaves room for a descriptor in its extents.
        [] => Err(only_an_extent()),
        text => Ok(String::from_utf8_lossy(text).into_owned()),
    }
}

fn only_an_extent() -> Refusal {
    Refusal::new(
        RefusalKind::SplitOverFiles,
        "it has no descriptor, so it is an extent of a VMDK of several files",
        "give its descriptor, the small text file beside it (`disk.vmdk` of `disk-s001.vmdk`)",
    )
}

/// Refuses every reference to another file; gives the kind of VMDK.
fn check_descriptor(descriptor: &str) -> Result<String, Refusal> {
    refuse_parent(descriptor)?;
    let kind = value(descriptor, "createType").unwrap_or("monolithicSparse");
    let one_extent = extents(descriptor) <= 1;
    let known = ["monolithicSparse", "streamOptimized"]
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(kind));
    match known {
        Some(kind) if one_extent => Ok(kind.to_owned()),
        _ => Err(Refusal::new(
            RefusalKind::SplitOverFiles,
            format!("it is a VMDK of the kind `{}`", printable(kind)),
            "join it into one file with `qemu-img convert -O qcow2`",
        )),
    }
}

/// Refuses a disk that continues in another one, and an encrypted one.
pub(super) fn refuse_parent(descriptor: &str) -> Result<(), Refusal> {
    if let Some(name) = value(descriptor, "parentFileNameHint") {
        return Err(refuse_reference(name.as_bytes(), "parent"));
    }
    let parent = value(descriptor, "parentCID").unwrap_or("ffffffff");
    if !parent.eq_ignore_ascii_case("ffffffff") {
        let found = format!("content {}", printable(parent));
        return Err(refuse_reference(found.as_bytes(), "parent"));
    }
    if value(descriptor, "encryption.keySafe").is_some() {
        return Err(Refusal::new(
            RefusalKind::Encrypted,
            "it is encrypted by VMware",
            "decrypt the machine before exporting it",
        ));
    }
    Ok(())
}

pub(super) fn value<'a>(descriptor: &'a str, key: &str) -> Option<&'a str> {
    descriptor.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case(key)
            .then(|| value.trim().trim_matches('"'))
    })
}

fn extents(descriptor: &str) -> usize {
    let lines = descriptor.lines();
    lines
        .filter(|line| vmdk_descriptor::is_extent(line))
        .count()
}

/// Shows every grain table in use with its number. All of them begin inside the file.
pub(crate) fn walk(
    source: &Source<'_>,
    header: &Header,
    directory: u64,
    visit: &mut dyn FnMut(u64, &Fields) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let reach = header.table_entries * header.grain;
    let tables = header.capacity.div_ceil(reach);
    if tables > MOST_TABLES {
        return Err(Refusal::absurd(format!("it needs {tables} grain tables")));
    }
    let what = "its grain directory";
    let entries = source.read(directory.saturating_mul(SECTOR), tables * 4, what)?;
    let mut seen = HashSet::new();
    for index in 0..tables {
        let table = u64::from(entries.le32(index as usize * 4));
        // Directories point to 0 or 1 where nothing is allocated.
        if table <= 1 {
            continue;
        }
        if !seen.insert(table) {
            return Err(Refusal::damaged(
                "two ranges of the disk share a grain table",
            ));
        }
        let length = header.table_entries * 4;
        visit(
            index,
            &source.read(table * SECTOR, length, "a grain table")?,
        )?;
    }
    Ok(())
}

/// Requires the grains of a table, of which `first` is the number of the first; gives the sector of
/// the one that lies last in the file.
fn check_table(
    source: &Source<'_>,
    header: &Header,
    first: u64,
    table: &Fields,
) -> Result<u64, Refusal> {
    let mut last_in_file = 0;
    for index in 0..header.table_entries {
        let sector = u64::from(table.le32(index as usize * 4));
        if sector <= 1 {
            continue;
        }
        let length = match header.flags & COMPRESSED {
            0 => header.grain_bytes(first + index),
            _ => SECTOR,
        };
        source.require(sector * SECTOR, length, "a grain of data")?;
        last_in_file = last_in_file.max(sector);
    }
    Ok(last_in_file)
}

/// A packed grain says itself how long it is. A file that was cut off lost the end of the last one.
fn check_packed(source: &Source<'_>, header: &Header, sector: u64) -> Result<(), Refusal> {
    if sector == 0 || header.flags & COMPRESSED == 0 || header.flags & MARKERS == 0 {
        return Ok(());
    }
    let what = "a packed grain of data";
    let marker = source.read(sector * SECTOR, MARKER, what)?;
    source.require(sector * SECTOR, MARKER + u64::from(marker.le32(8)), what)
}

/// The text of a descriptor that is a file of its own.
pub(crate) fn read_text(source: &Source<'_>) -> Result<String, Refusal> {
    if source.length > vmdk_descriptor::LONGEST {
        return Err(Refusal::absurd(format!(
            "its descriptor has {} bytes",
            source.length
        )));
    }
    let bytes = source.read(0, source.length, "its descriptor")?;
    Ok(String::from_utf8_lossy(bytes.all()).into_owned())
}

/// Checks a descriptor and the extents that were opened for it.
pub(super) fn check_set(parts: &[Part]) -> Result<Facts, Refusal> {
    let Some(descriptor) = parts.first() else {
        return Err(Refusal::damaged("its descriptor is missing"));
    };
    let found = vmdk_descriptor::parse(&read_text(&descriptor.source())?)?;
    let disk = Joined::of_extents(&found.extents, parts)?;
    let whole_file = match found.extents.as_slice() {
        [only] if only.kind == ExtentKind::Flat && only.offset == 0 => {
            parts.get(1).is_some_and(|part| part.length == only.bytes())
        }
        _ => false,
    };
    Ok(Facts {
        risks: unclean(&found.extents, parts)?,
        variant: Some(found.kind),
        virtual_size: Some(disk.size()),
        extents: found.extents,
        serving: if whole_file {
            Serving::Extent
        } else {
            Serving::Converted
        },
        ..Facts::default()
    })
}

/// One word for all extents.
fn unclean(extents: &[vmdk_descriptor::Extent], parts: &[Part]) -> Result<Vec<String>, Refusal> {
    let sparse = extents
        .iter()
        .filter(|extent| extent.kind == ExtentKind::Sparse);
    for part in sparse.filter_map(|extent| parts.get(extent.file?)) {
        if read_header(&part.source(), 0)?.is_unclean {
            return Ok(vec![UNCLEAN.to_owned()]);
        }
    }
    Ok(Vec::new())
}

fn unknown(found: String) -> Refusal {
    Refusal::new(
        RefusalKind::UnknownFeature,
        found,
        "export it again, or convert it with `qemu-img convert -O qcow2`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(descriptor: &str, expected: Result<&str, RefusalKind>) {
        let found = check_descriptor(descriptor).map_err(|refusal| refusal.kind);
        assert_eq!(found, expected.map(str::to_owned));
    }

    #[test]
    fn references_to_other_files_are_refused() {
        let fine =
            "CID=1\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\nRW 1 SPARSE \"a\"\n";
        check(fine, Ok("monolithicSparse"));
        let two = format!("{fine}RW 1 FLAT \"/etc/shadow\" 0\n");
        check(&two, Err(RefusalKind::SplitOverFiles));
        check("parentCID=01234567\n", Err(RefusalKind::BackingFile));
        check(
            "parentFileNameHint=\"b.vmdk\"\n",
            Err(RefusalKind::BackingFile),
        );
        check(
            "parentFileNameHint=\"nbd:h:1\"\n",
            Err(RefusalKind::Protocol),
        );
        check("createType=\"custom\"\n", Err(RefusalKind::SplitOverFiles));
    }
}
