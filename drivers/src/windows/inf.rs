//! Setup information files: what a driver is, which devices it serves, which files it needs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// No driver's file is longer.
const LONGEST: usize = 4 << 20;
const MOST_LINES: usize = 100_000;
const MOST_DEVICES: usize = 1_000;

/// Why a setup information file is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InfError {
    /// Larger than any.
    #[error("it is larger than {} MiB", LONGEST >> 20)]
    TooLarge,
    /// Not such a file.
    #[error("it has no [Version] section with a class and a version")]
    NoVersion,
}

/// One device that a driver serves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Device {
    /// Its identification, in capitals: `PCI\VEN_1AF4&DEV_1001`.
    pub id: String,
    /// The section that installs the driver for it.
    pub section: String,
    /// What people see.
    pub description: String,
    /// The description as the file writes it: `%name%`, or text.
    pub description_key: String,
}

/// What a setup information file says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Inf {
    /// Class of devices: `SCSIAdapter`, `Net`...
    pub class: String,
    /// Its GUID, with braces.
    pub class_guid: String,
    /// Who provides it.
    pub provider: String,
    /// Year, month, day.
    pub date: (u16, u8, u8),
    /// Four numbers of the version.
    pub version: [u16; 4],
    /// The catalogue of signatures.
    pub catalog: String,
    /// Who makes the devices, as the file writes it.
    pub manufacturer_key: String,
    /// Its services: name, and file name of the program.
    pub services: BTreeMap<String, String>,
    /// Files that the driver consists of, without the file itself and the catalogue.
    pub files: Vec<String>,
    /// Devices it serves.
    pub devices: Vec<Device>,
    /// Its texts by name, lower case.
    pub strings: BTreeMap<String, String>,
}

/// Lines of each section, by the section's name in lower case.
type Sections = BTreeMap<String, Vec<String>>;

impl Inf {
    /// Understands a file, UTF-16 or ANSI, for one processor (`amd64`, `x86`).
    pub fn parse(bytes: &[u8], architecture: &str) -> Result<Self, InfError> {
        if bytes.len() > LONGEST {
            return Err(InfError::TooLarge);
        }
        let sections = sections(&decode(bytes));
        let version = sections.get("version").ok_or(InfError::NoVersion)?;
        let strings = strings(&sections);
        let text = |key: &str| value(version, key).map(|found| expand(&found, &strings));
        let (date, numbers) = driver_version(&text("DriverVer").ok_or(InfError::NoVersion)?)
            .ok_or(InfError::NoVersion)?;
        let special = format!("CatalogFile.{}", platform(architecture));
        let mut inf = Self {
            class: text("Class").ok_or(InfError::NoVersion)?,
            class_guid: text("ClassGuid").unwrap_or_default(),
            provider: text("Provider").unwrap_or_default(),
            date,
            version: numbers,
            catalog: text(&special)
                .or_else(|| text("CatalogFile"))
                .unwrap_or_default(),
            ..Self::default()
        };
        inf.devices(&sections, &strings, architecture);
        inf.services = services(&sections, &strings);
        inf.files = files(&sections, architecture);
        inf.strings = strings;
        Ok(inf)
    }

    /// The service that serves devices from a section: that of most drivers is the only one.
    pub fn service(&self) -> Option<(&str, &str)> {
        let (name, program) = self.services.iter().next()?;
        Some((name, program))
    }

    /// The version as people write it.
    pub fn version_text(&self) -> String {
        self.version.map(|number| number.to_string()).join(".")
    }

    fn devices(
        &mut self,
        sections: &Sections,
        strings: &BTreeMap<String, String>,
        architecture: &str,
    ) {
        for line in sections.get("manufacturer").into_iter().flatten() {
            let (name, models) = line.split_once('=').unwrap_or((line, line));
            if self.manufacturer_key.is_empty() {
                self.manufacturer_key = name.trim().to_owned();
            }
            for section in model_sections(models, architecture) {
                let lines = sections.get(&section).into_iter().flatten();
                for device in lines.flat_map(|line| devices_of(line, strings)) {
                    let known = self.devices.iter().any(|other| other.id == device.id);
                    if !known && self.devices.len() < MOST_DEVICES {
                        self.devices.push(device);
                    }
                }
            }
        }
    }
}

/// UTF-16 with a mark at its beginning, else one byte a character.
fn decode(bytes: &[u8]) -> String {
    let wide = |read: fn([u8; 2]) -> u16| {
        let units = bytes[2..]
            .chunks_exact(2)
            .map(|pair| read([pair[0], pair[1]]));
        char::decode_utf16(units)
            .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect()
    };
    match bytes {
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        narrow => narrow.iter().map(|byte| char::from(*byte)).collect(),
    }
}

fn sections(text: &str) -> Sections {
    let mut sections = Sections::new();
    let mut current = String::new();
    let mut continued = String::new();
    for line in text.lines().take(MOST_LINES) {
        let line = without_comment(line);
        if let Some(part) = line.strip_suffix('\\').filter(|_| !line.starts_with('[')) {
            continued.push_str(part);
            continue;
        }
        let line = std::mem::take(&mut continued) + line;
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.split(']').next())
        {
            current = name.trim().to_ascii_lowercase();
            sections.entry(current.clone()).or_default();
        } else if !line.is_empty() {
            sections.entry(current.clone()).or_default().push(line);
        }
    }
    sections
}

/// A semicolon begins a comment unless it stands between quotation marks.
fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    let end = line.find(|character| {
        quoted ^= character == '"';
        character == ';' && !quoted
    });
    line[..end.unwrap_or(line.len())].trim()
}

fn unquoted(text: &str) -> String {
    let text = text.trim();
    let inner = text
        .strip_prefix('"')
        .map(|rest| rest.strip_suffix('"').unwrap_or(rest));
    inner.unwrap_or(text).replace("\"\"", "\"")
}

fn key_and_value(line: &str) -> Option<(String, String)> {
    let (key, value) = line.split_once('=')?;
    Some((unquoted(key), value.trim().to_owned()))
}

fn value(lines: &[String], key: &str) -> Option<String> {
    let mut pairs = lines.iter().filter_map(|line| key_and_value(line));
    pairs
        .find(|(name, _)| name.eq_ignore_ascii_case(key))
        .map(|(_, value)| unquoted(&value))
}

/// The texts in the file's main language; others stand in sections of their own.
fn strings(sections: &Sections) -> BTreeMap<String, String> {
    let lines = sections.get("strings").into_iter().flatten();
    lines
        .filter_map(|line| key_and_value(line))
        .map(|(name, text)| (name.to_ascii_lowercase(), unquoted(&text)))
        .collect()
}

/// Puts texts in place of `%names%`; one level, so that nothing grows without end.
fn expand(text: &str, strings: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut parts = text.split('%');
    out.push_str(parts.next().unwrap_or_default());
    let mut inside = true;
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        let closed = parts.peek().is_some();
        match strings.get(&part.to_ascii_lowercase()) {
            Some(found) if inside && closed => {
                out.push_str(found);
                inside = false;
            }
            _ if inside => {
                out.push('%');
                out.push_str(part);
            }
            _ => {
                out.push_str(part);
                inside = true;
            }
        }
    }
    out
}

/// `mm/dd/yyyy,w.x.y.z`
fn driver_version(text: &str) -> Option<((u16, u8, u8), [u16; 4])> {
    let (date, version) = text.split_once(',').unwrap_or((text, "0"));
    let mut parts = date
        .trim()
        .split(['/', '-'])
        .map(|part| part.trim().parse::<u16>());
    let (month, day, year) = (
        parts.next()?.ok()?,
        parts.next()?.ok()?,
        parts.next()?.ok()?,
    );
    let is_date =
        (1..=12).contains(&month) && (1..=31).contains(&day) && (1601..=9999).contains(&year);
    let mut numbers = [0; 4];
    for (place, part) in numbers.iter_mut().zip(version.trim().split('.')) {
        *place = part.trim().parse().ok()?;
    }
    is_date.then_some(((year, month as u8, day as u8), numbers))
}

fn platform(architecture: &str) -> &'static str {
    match architecture {
        "amd64" => "ntamd64",
        "arm64" => "ntarm64",
        _ => "ntx86",
    }
}

/// `Section,NTamd64,NTamd64.10.0`: the sections that hold for one processor.
fn model_sections(models: &str, architecture: &str) -> Vec<String> {
    let mut parts = models
        .split(',')
        .map(|part| part.trim().to_ascii_lowercase());
    let name = parts.next().unwrap_or_default();
    let own = platform(architecture);
    let mut found: Vec<String> = parts
        .filter(|decoration| {
            let first = decoration.split('.').next().unwrap_or_default();
            first == own || first == "nt"
        })
        .map(|decoration| format!("{name}.{decoration}"))
        .collect();
    // Without decoration it holds for the processor that was first.
    if architecture == "x86" || found.is_empty() {
        found.push(name);
    }
    found
}

/// `description = section, id, compatible id...`
fn devices_of(line: &str, strings: &BTreeMap<String, String>) -> Vec<Device> {
    let Some((description, rest)) = line.split_once('=') else {
        return Vec::new();
    };
    let mut parts = rest.split(',').map(unquoted);
    let section = parts.next().unwrap_or_default();
    let key = description.trim();
    parts
        .filter(|id| !id.is_empty())
        .map(|id| Device {
            id: id.to_ascii_uppercase(),
            section: section.clone(),
            description: expand(&unquoted(key), strings),
            description_key: key.to_owned(),
        })
        .collect()
}

/// Services by name with the file name of their program.
fn services(sections: &Sections, strings: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let added = sections
        .iter()
        .filter(|(name, _)| name.ends_with(".services"))
        .flat_map(|(_, lines)| lines);
    for line in added {
        let Some((key, rest)) = key_and_value(line) else {
            continue;
        };
        let parts: Vec<String> = rest.split(',').map(unquoted).collect();
        if let ("addservice", [name, _, section, ..]) =
            (key.to_ascii_lowercase().as_str(), parts.as_slice())
        {
            let lines = sections.get(&section.to_ascii_lowercase());
            let program = lines.and_then(|lines| value(lines, "ServiceBinary"));
            let program = program
                .map(|program| file_name(&program))
                .unwrap_or_default();
            found.insert(expand(name, strings), program);
        }
    }
    found
}

fn file_name(path: &str) -> String {
    path.rsplit(['\\', '/'])
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn files(sections: &Sections, architecture: &str) -> Vec<String> {
    let special = format!(
        "sourcedisksfiles.{}",
        platform(architecture).trim_start_matches("nt")
    );
    let lines = [special.as_str(), "sourcedisksfiles"];
    let lines = lines
        .iter()
        .filter_map(|name| sections.get(*name))
        .flatten();
    let mut files: Vec<String> = Vec::new();
    for line in lines {
        let name = unquoted(line.split('=').next().unwrap_or_default());
        if !name.is_empty() && !files.iter().any(|other| other.eq_ignore_ascii_case(&name)) {
            files.push(name);
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "; a comment\r\n[Version]\r\nSignature=\"$Windows NT$\"\r\nClass=SCSIAdapter\r\n\
        ClassGUID={4D36E97B-E325-11CE-BFC1-08002BE10318}\r\nProvider=%VENDOR%\r\n\
        DriverVer=07/15/2024,100.95.104.26200\r\nCatalogFile=viostor.cat\r\n\
        [SourceDisksFiles]\r\nviostor.sys = 1,,\r\n[Manufacturer]\r\n%VENDOR% = Acme,NTamd64,NTamd64.10.0\r\n\
        [Acme.NTamd64.10.0]\r\n%Disk% = scsi_inst, PCI\\VEN_1AF4&DEV_1001&SUBSYS_00021AF4&REV_00, \\\r\n\
        PCI\\VEN_1AF4&DEV_1001\r\n\"Plain; text\" = scsi_inst, pci\\ven_1af4&dev_1042\r\n\
        [Acme.NTx86]\r\n%Disk% = other, PCI\\VEN_0000\r\n\
        [scsi_inst.Services]\r\nAddService = viostor, 0x00000002 , scsi_Service_Inst, log\r\n\
        [scsi_Service_Inst]\r\nServiceBinary = %12%\\viostor.sys\r\n\
        [Strings]\r\nVENDOR = \"Acme, Inc.\"\r\nDisk = \"Acme \"\"VirtIO\"\" disk\"\r\n";

    fn check(inf: &Inf) {
        assert_eq!(inf.class, "SCSIAdapter");
        assert_eq!(inf.provider, "Acme, Inc.");
        assert_eq!(inf.date, (2024, 7, 15));
        assert_eq!(inf.version_text(), "100.95.104.26200");
        assert_eq!(inf.catalog, "viostor.cat");
        assert_eq!(inf.files, ["viostor.sys"]);
        assert_eq!(inf.service(), Some(("viostor", "viostor.sys")));
        let ids: Vec<&str> = inf
            .devices
            .iter()
            .map(|device| device.id.as_str())
            .collect();
        assert_eq!(
            ids,
            [
                "PCI\\VEN_1AF4&DEV_1001&SUBSYS_00021AF4&REV_00",
                "PCI\\VEN_1AF4&DEV_1001",
                "PCI\\VEN_1AF4&DEV_1042"
            ]
        );
        assert_eq!(inf.devices[0].description, "Acme \"VirtIO\" disk");
        assert_eq!(inf.devices[0].description_key, "%Disk%");
        assert_eq!(inf.devices[2].description, "Plain; text");
    }

    #[test]
    fn a_driver_in_every_encoding() {
        check(&Inf::parse(TEXT.as_bytes(), "amd64").unwrap());
        let mut marked = vec![0xef, 0xbb, 0xbf];
        marked.extend(TEXT.as_bytes());
        check(&Inf::parse(&marked, "amd64").unwrap());
        let little: Vec<u8> = [0xfeff]
            .into_iter()
            .chain(TEXT.encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect();
        check(&Inf::parse(&little, "amd64").unwrap());
        let big: Vec<u8> = [0xfeff]
            .into_iter()
            .chain(TEXT.encode_utf16())
            .flat_map(u16::to_be_bytes)
            .collect();
        check(&Inf::parse(&big, "amd64").unwrap());
    }

    #[test]
    fn what_is_no_such_file_is_refused() {
        assert_eq!(
            Inf::parse(b"[Strings]\na=b\n", "x86"),
            Err(InfError::NoVersion)
        );
        let without = TEXT.replace("DriverVer", "Else");
        assert_eq!(
            Inf::parse(without.as_bytes(), "x86"),
            Err(InfError::NoVersion)
        );
        let odd = TEXT.replace("07/15/2024", "15/15/2024");
        assert_eq!(Inf::parse(odd.as_bytes(), "x86"), Err(InfError::NoVersion));
        assert_eq!(
            Inf::parse(&vec![b' '; LONGEST + 1], "x86"),
            Err(InfError::TooLarge)
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = Inf::parse(&bytes, "amd64");
        }

        #[test]
        fn changed_files_never_panic(place in 0..TEXT.len(), put in "[\\[\\]=%\",;\\\\\n]{0,4}") {
            let mut text = TEXT.to_owned();
            text.insert_str(place, &put);
            let _ = Inf::parse(text.as_bytes(), "amd64");
        }
    }
}
