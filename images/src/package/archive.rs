//! The members of an OVA. Nothing is extracted here; what the archive says is only listed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use super::{Member, Package, descriptor, is_plain_file_name, manifest};
use crate::error::{Refusal, RefusalKind};
use crate::printable::printable_bytes;

/// A package has a descriptor, a manifest, a certificate and some disks.
const MOST_MEMBERS: usize = 1000;

/// Reads the archive in `file`, which is `length` bytes long.
pub(crate) fn read(file: &File, length: u64) -> Result<Package, Refusal> {
    let members = members(file, length)?;
    let descriptor = only(&members, "ovf")?.ok_or_else(|| {
        Refusal::new(
            RefusalKind::UnsupportedFormat,
            "the archive contains no OVF descriptor",
            "give an OVA, or unpack it and give the disk image that is inside",
        )
    })?;
    let text = content(file, descriptor, descriptor::LONGEST)?;
    let mut package = descriptor::parse(&text)?;
    if let Some(found) = only(&members, "mf")? {
        package.digests = manifest::parse(&content(file, found, manifest::LONGEST)?)?;
    }
    for disk in package.machines.iter().flat_map(|machine| &machine.disks) {
        if !members.iter().any(|member| member.name == *disk) {
            return Err(Refusal::new(
                RefusalKind::Missing,
                format!("its descriptor names the disk `{disk}`, which is not in the archive"),
                "export the machine again",
            ));
        }
    }
    package.members = members;
    Ok(package)
}

fn members(file: &File, length: u64) -> Result<Vec<Member>, Refusal> {
    let damaged = |error: std::io::Error| {
        let words = printable_bytes(error.to_string().as_bytes());
        Refusal::damaged(format!("the archive cannot be read ({words})"))
    };
    let mut archive = tar::Archive::new(file);
    let mut members: Vec<Member> = Vec::new();
    for entry in archive.entries_with_seek().map_err(damaged)? {
        let entry = entry.map_err(damaged)?;
        let member = member(&entry)?;
        if member
            .offset
            .checked_add(member.size)
            .is_none_or(|end| end > length)
        {
            return Err(Refusal::truncated(format!(
                "the member `{}` ends beyond the end of the archive",
                member.name
            )));
        }
        if members
            .iter()
            .any(|other| other.name.eq_ignore_ascii_case(&member.name))
        {
            return Err(hostile(format!(
                "the member `{}` is in it twice",
                member.name
            )));
        }
        if members.len() == MOST_MEMBERS {
            return Err(hostile(format!(
                "the archive has more than {MOST_MEMBERS} members"
            )));
        }
        members.push(member);
    }
    Ok(members)
}

fn member<R: Read>(entry: &tar::Entry<'_, R>) -> Result<Member, Refusal> {
    let bytes = entry.path_bytes();
    let name = bytes.strip_prefix(b"./").unwrap_or(&bytes);
    let shown = printable_bytes(name);
    if !entry.header().entry_type().is_file() {
        return Err(hostile(format!(
            "its member `{shown}` is a link, a folder or a device"
        )));
    }
    let name = std::str::from_utf8(name)
        .ok()
        .filter(|name| is_plain_file_name(name));
    let Some(name) = name else {
        return Err(hostile(format!(
            "its member `{shown}` has a name that leads elsewhere"
        )));
    };
    Ok(Member {
        name: name.to_owned(),
        offset: entry.raw_file_position(),
        size: entry.size(),
    })
}

fn hostile(found: String) -> Refusal {
    Refusal::new(
        RefusalKind::Damaged,
        found,
        "check where the file comes from: no hypervisor exports such an archive",
    )
}

fn only<'a>(members: &'a [Member], ending: &str) -> Result<Option<&'a Member>, Refusal> {
    let is_it = |member: &&Member| {
        let found = member.name.rsplit_once('.');
        found.is_some_and(|(_, found)| found.eq_ignore_ascii_case(ending))
    };
    let mut found = members.iter().filter(is_it);
    match (found.next(), found.next()) {
        (Some(_), Some(_)) => Err(hostile(format!(
            "the archive has several files `.{ending}`"
        ))),
        (first, _) => Ok(first),
    }
}

fn content(mut file: &File, member: &Member, longest: u64) -> Result<Vec<u8>, Refusal> {
    if member.size > longest {
        return Err(Refusal::absurd(format!(
            "`{}` has {} bytes, more than {longest}",
            member.name, member.size
        )));
    }
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(member.offset))
        .and_then(|_| file.take(member.size).read_to_end(&mut bytes))
        .map_err(|error| Refusal::damaged(format!("`{}` cannot be read ({error})", member.name)))?;
    Ok(bytes)
}
