//! Which files belong to an image that is cut into numbered parts, by their names alone.
//!
//! ```text
//! split raw   NAME.000 NAME.001 ... or NAME.001 NAME.002 ...
//! E01         NAME.E01 ... NAME.E99 NAME.EAA ... NAME.EZZ NAME.FAA ... NAME.ZZZ
//! ```

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::error::{ImageError, Refusal, RefusalKind};
use crate::format::{Container, is_part_number};

/// More files than any capture has; every one of them is an open descriptor.
pub(crate) const MOST_FILES: usize = 900;
const LAST_NUMBER: u32 = 99;

/// All files of the image whose first part is `path`, in order; a missing one is refused.
pub(crate) fn parts(container: Container, path: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let number: fn(&str) -> Option<u32> = match container {
        Container::SplitRaw => part_number,
        Container::Ewf => segment_number,
        _ => return Ok(vec![path.to_owned()]),
    };
    let siblings = siblings(path, number)?;
    run(path, &siblings, number).map_err(|refusal| ImageError::refused(path, refusal))
}

fn part_number(extension: &str) -> Option<u32> {
    if !is_part_number(extension) {
        return None;
    }
    extension.parse().ok()
}

/// `E01` is 1, `E99` is 99, `EAA` is 100.
fn segment_number(extension: &str) -> Option<u32> {
    let [first, second, third] =
        <[u8; 3]>::try_from(extension.to_ascii_uppercase().into_bytes()).ok()?;
    let letter = |byte: u8| byte.is_ascii_uppercase().then(|| u32::from(byte - b'A'));
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u32::from(byte - b'0'));
    let head = letter(first)?.checked_sub(u32::from(b'E' - b'A'))?;
    if let (Some(tens), Some(ones)) = (digit(second), digit(third)) {
        return (head == 0 && tens + ones > 0).then_some(tens * 10 + ones);
    }
    Some(LAST_NUMBER + 1 + head * 676 + letter(second)? * 26 + letter(third)?)
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(OsStr::to_str).unwrap_or_default()
}

fn siblings(
    path: &Path,
    number: fn(&str) -> Option<u32>,
) -> Result<BTreeMap<u32, PathBuf>, ImageError> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let entries = std::fs::read_dir(folder).map_err(ImageError::io("list", folder))?;
    let mut found = BTreeMap::new();
    for entry in entries {
        let name = entry.map_err(ImageError::io("list", folder))?.file_name();
        let sibling = path.with_file_name(&name);
        if sibling.file_stem() == path.file_stem()
            && let Some(number) = number(extension(&sibling))
        {
            found.entry(number).or_insert(sibling);
        }
    }
    if let Some(own) = number(extension(path)) {
        found.insert(own, path.to_owned());
    }
    Ok(found)
}

/// The parts from `path` on, if it is the first and none is missing between it and the last.
fn run(
    path: &Path,
    siblings: &BTreeMap<u32, PathBuf>,
    number: fn(&str) -> Option<u32>,
) -> Result<Vec<PathBuf>, Refusal> {
    let Some(own) = number(extension(path)) else {
        // One segment under a name of its own; whether more follow is written in it.
        return Ok(vec![path.to_owned()]);
    };
    if own > 1 || (own == 1 && siblings.contains_key(&0)) {
        return Err(Refusal::new(
            RefusalKind::SplitOverFiles,
            "it is not the first part of the image",
            "give the first part (`.000`, `.001` or `.E01`); the others are found beside it",
        ));
    }
    let mut parts = Vec::new();
    while let Some(part) = siblings.get(&(own + parts.len() as u32)) {
        parts.push(part.clone());
    }
    let next = own + parts.len() as u32;
    if let Some(later) = siblings.range(next..).map(|(_, path)| path).next()
        && !is_another_kind(next, later)
    {
        return Err(missing(next, later));
    }
    if parts.len() > MOST_FILES {
        return Err(Refusal::new(
            RefusalKind::AbsurdSize,
            format!("it has more than {MOST_FILES} parts"),
            "join the parts in order and give the whole",
        ));
    }
    Ok(parts)
}

/// `NAME.EXE` beside `NAME.E01` is no segment: letters only follow `E99`.
fn is_another_kind(next: u32, later: &Path) -> bool {
    let lettered =
        !is_part_number(extension(later)) && !extension(later).ends_with(char::is_numeric);
    lettered && next <= LAST_NUMBER
}

fn missing(number: u32, later: &Path) -> Refusal {
    let later = later.file_name().unwrap_or_default().to_string_lossy();
    Refusal::new(
        RefusalKind::SplitOverFiles,
        format!(
            "part number {number} is missing, though there is a later part `{}`",
            crate::printable::printable(&later)
        ),
        "copy all parts into one folder",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_count_on_in_letters() {
        let numbers = [
            "E01", "e99", "EAA", "EAB", "EZZ", "FAA", "E00", "D01", "E1", "F01",
        ];
        let expected = [
            Some(1),
            Some(99),
            Some(100),
            Some(101),
            Some(775),
            Some(776),
            None,
            None,
            None,
            None,
        ];
        assert_eq!(numbers.map(segment_number), expected);
        assert_eq!(
            ["000", "017", "1", "01a"].map(part_number),
            [Some(0), Some(17), None, None]
        );
    }

    #[track_caller]
    fn check(container: Container, names: &[&str], expected: Result<usize, RefusalKind>) {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::write(folder.path().join(name), b"x").unwrap();
        }
        let found = parts(container, &folder.path().join(names[0]));
        let found = found.map(|parts| parts.len());
        assert_eq!(
            found.map_err(|error| error.refusal().unwrap().kind),
            expected
        );
    }

    #[test]
    fn a_set_is_whole_or_refused() {
        let split = Container::SplitRaw;
        check(split, &["d.000", "d.001", "d.002", "e.003"], Ok(3));
        check(split, &["d.001", "d.002"], Ok(2));
        let refused = Err(RefusalKind::SplitOverFiles);
        check(split, &["d.001", "d.000"], refused);
        check(split, &["d.002", "d.001"], refused);
        check(split, &["d.000", "d.001", "d.003"], refused);
        check(split, &["d.000", "d.001", "d.999"], refused);
        let ewf = Container::Ewf;
        check(ewf, &["d.E01", "d.E02", "d.EXE"], Ok(2));
        check(ewf, &["d.E01", "d.E03"], refused);
        check(ewf, &["d.E02", "d.E01"], refused);
        check(ewf, &["picture", "d.E02"], Ok(1));
    }
}
