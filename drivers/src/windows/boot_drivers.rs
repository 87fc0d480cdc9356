//! Drivers that Windows needs before it can read its own disk: services, and what tells the
//! device manager of the next start that they fit.

use lifeboat_hive::{EditError, Editor, Key, kind};

use super::catalogue::Package;
use super::signature::Signature;
use crate::report::Bus;

/// Identifications of the virtual disk controllers, as QEMU presents them to a machine of today
/// (modern) and of old (transitional).
pub const DISK_DEVICES: [(Bus, &str, [&str; 2]); 2] = [
    (
        Bus::VirtioBlk,
        "viostor",
        ["PCI\\VEN_1AF4&DEV_1042", "PCI\\VEN_1AF4&DEV_1001"],
    ),
    (
        Bus::VirtioScsi,
        "vioscsi",
        ["PCI\\VEN_1AF4&DEV_1048", "PCI\\VEN_1AF4&DEV_1004"],
    ),
];
/// Identifications of the virtual network card.
pub const NET_DEVICES: [&str; 2] = ["PCI\\VEN_1AF4&DEV_1041", "PCI\\VEN_1AF4&DEV_1000"];

/// Services that a former start may have put aside because their device was not there.
const OVERRIDDEN: [&str; 6] = [
    "viostor", "vioscsi", "storahci", "stornvme", "partmgr", "msahci",
];

/// What Windows makes of a signature: Microsoft's tests, any other signature, none.
const TESTED: u32 = 0x0d00_0005;
const SIGNED: u32 = 0x0f00_0000;
const UNSIGNED: u32 = 0x8000_0000;

/// Text as the registry keeps it.
pub fn wide(text: &str) -> Vec<u8> {
    let units = text.encode_utf16().chain([0]);
    units.flat_map(u16::to_le_bytes).collect()
}

/// Several texts as the registry keeps them.
pub fn wide_list<'t>(texts: impl IntoIterator<Item = &'t str>) -> Vec<u8> {
    let mut bytes: Vec<u8> = texts.into_iter().flat_map(wide).collect();
    bytes.extend([0, 0]);
    bytes
}

/// Writes values below one key.
pub struct Writer<'e> {
    /// The hive.
    pub editor: &'e mut Editor,
    /// The key, below the root.
    pub key: String,
}

impl Writer<'_> {
    /// A number.
    pub fn number(&mut self, name: &str, value: u32) -> Result<(), EditError> {
        self.editor
            .set(&self.key, name, kind::NUMBER, &value.to_le_bytes())
    }

    /// Text.
    pub fn text(&mut self, name: &str, value: &str) -> Result<(), EditError> {
        self.editor.set(&self.key, name, kind::TEXT, &wide(value))
    }

    /// Text with variables.
    pub fn expandable(&mut self, name: &str, value: &str) -> Result<(), EditError> {
        self.editor
            .set(&self.key, name, kind::EXPANDABLE, &wide(value))
    }

    /// Several texts.
    pub fn texts<'t>(
        &mut self,
        name: &str,
        values: impl IntoIterator<Item = &'t str>,
    ) -> Result<(), EditError> {
        self.editor
            .set(&self.key, name, kind::TEXTS, &wide_list(values))
    }

    /// Bytes.
    pub fn bytes(&mut self, name: &str, value: &[u8]) -> Result<(), EditError> {
        self.editor.set(&self.key, name, kind::BINARY, value)
    }
}

/// A key of a hive to write below.
pub fn below<'e>(editor: &'e mut Editor, key: impl Into<String>) -> Writer<'e> {
    Writer {
        editor,
        key: key.into(),
    }
}

/// A driver that starts with the machine.
pub fn add_boot_service(
    editor: &mut Editor,
    set: &str,
    package: &Package,
    owner: Option<&str>,
) -> Result<(), EditError> {
    let Some((service, program)) = package.inf.service() else {
        return Ok(());
    };
    let bus_type = if service.eq_ignore_ascii_case("vioscsi") {
        0xa
    } else {
        1
    };
    let key = format!("{set}\\Services\\{service}");
    let mut writer = below(editor, key.as_str());
    writer.number("Type", 1)?;
    writer.number("Start", 0)?;
    writer.number("ErrorControl", 1)?;
    writer.text("Group", "SCSI miniport")?;
    writer.number("Tag", 0x21)?;
    writer.expandable("ImagePath", &format!("System32\\drivers\\{program}"))?;
    if let Some(owner) = owner {
        writer.texts("Owners", [owner])?;
    }
    below(editor, format!("{key}\\Parameters")).number("BusType", bus_type)?;
    below(editor, format!("{key}\\Parameters\\PnpInterface")).number("5", 1)
}

/// Lets drivers start that Windows put aside.
pub fn remove_overrides(editor: &mut Editor, set: &str) -> Result<(), EditError> {
    for service in OVERRIDDEN {
        editor.remove_key(&format!("{set}\\Services\\{service}\\StartOverride"))?;
    }
    Ok(())
}

/// Up to Windows 7: which service drives a device of the first moments.
pub fn add_critical_devices(
    editor: &mut Editor,
    set: &str,
    package: &Package,
) -> Result<(), EditError> {
    let Some((service, _)) = package.inf.service() else {
        return Ok(());
    };
    for device in &package.inf.devices {
        let id = device.id.replace('\\', "#");
        let key = format!("{set}\\Control\\CriticalDeviceDatabase\\{id}");
        let mut writer = below(editor, key);
        writer.text("Service", service)?;
        writer.text("ClassGUID", &package.inf.class_guid.to_ascii_uppercase())?;
    }
    Ok(())
}

/// Name of a driver in Windows's own store: of the file, the processor, and what it holds.
pub fn store_name(package: &Package) -> String {
    let mut hasher = blake3::Hasher::new();
    for file in &package.files {
        hasher.update(file.hash.as_bytes());
    }
    let hash = hasher.finalize().to_hex();
    format!(
        "{}.inf_{}_{}",
        package.driver,
        package.architecture,
        &hash[..16]
    )
}

/// From Windows 8 on: a driver as if Windows had taken it up itself.
pub fn add_to_database(
    editor: &mut Editor,
    package: &Package,
    oem: u32,
    signer: Option<&Signature>,
) -> Result<(), EditError> {
    let (inf, store) = (&package.inf, store_name(package));
    let name = oem_name(oem);
    for device in &inf.devices {
        let flags = if device.id.contains("&SUBSYS_") { 1 } else { 2 };
        below(editor, format!("DriverDatabase\\DeviceIds\\{}", device.id))
            .bytes(&name, &[flags, 0xff, 0, 0])?;
    }
    let class = format!(
        "DriverDatabase\\DeviceIds\\{}",
        inf.class_guid.to_ascii_lowercase()
    );
    editor.set(&class, &name, kind::NONE, &[])?;
    let sections = sections(package);
    let mut file = below(editor, format!("DriverDatabase\\DriverInfFiles\\{name}"));
    file.texts("", [store.as_str()])?;
    file.text("Active", &store)?;
    file.texts("Configurations", sections.iter().copied())?;
    add_package(editor, package, &store, &name)?;
    add_signer(editor, &store, signer)?;
    mark_oem(editor, oem)
}

/// Names of the sections that install it.
fn sections(package: &Package) -> Vec<&str> {
    let mut sections: Vec<&str> = Vec::new();
    for device in &package.inf.devices {
        if !sections.contains(&device.section.as_str()) {
            sections.push(&device.section);
        }
    }
    sections
}

fn add_package(
    editor: &mut Editor,
    package: &Package,
    store: &str,
    name: &str,
) -> Result<(), EditError> {
    let inf = &package.inf;
    let top = format!("DriverDatabase\\DriverPackages\\{store}");
    let mut writer = below(editor, top.as_str());
    writer.text("", name)?;
    writer.text("Catalog", &inf.catalog)?;
    writer.text("InfName", &format!("{}.inf", package.driver))?;
    writer.text("Provider", &inf.provider)?;
    writer.number("StatusFlags", 0x12)?;
    writer.bytes("Version", &version_bytes(package))?;
    for section in sections(package) {
        let mut writer = below(editor, format!("{top}\\Configurations\\{section}"));
        writer.number("ConfigFlags", 0)?;
        writer.number("ConfigScope", 7)?;
        if let Some((service, _)) = inf.service() {
            writer.text("Service", service)?;
        }
    }
    let lower = |key: &str| key.trim_matches('"').to_ascii_lowercase();
    for device in &inf.devices {
        let mut writer = below(editor, format!("{top}\\Descriptors\\{}", device.id));
        writer.text("Configuration", &device.section)?;
        writer.text("Description", &lower(&device.description_key))?;
        writer.text("Manufacturer", &lower(&inf.manufacturer_key))?;
    }
    let described = inf
        .devices
        .iter()
        .map(|device| lower(&device.description_key));
    for key in described.chain([lower(&inf.manufacturer_key)]) {
        let key = key.trim_matches('%');
        if let Some(text) = inf.strings.get(key) {
            below(editor, format!("{top}\\Strings")).text(key, text)?;
        }
    }
    Ok(())
}

/// Who signed the catalogue, and how much Windows makes of it.
fn add_signer(
    editor: &mut Editor,
    store: &str,
    signer: Option<&Signature>,
) -> Result<(), EditError> {
    let mut writer = below(editor, format!("DriverDatabase\\DriverPackages\\{store}"));
    let Some(signer) = signer else {
        return writer.number("SignerScore", UNSIGNED);
    };
    writer.text("SignerName", &signer.signer)?;
    let score = if signer.is_tested() { TESTED } else { SIGNED };
    writer.number("SignerScore", score)
}

/// The value that compares drivers: kind, class, date and version.
fn version_bytes(package: &Package) -> Vec<u8> {
    let mut bytes = vec![0x00, 0xff, 0x09, 0x00, 0, 0, 0, 0];
    bytes.extend(guid_bytes(&package.inf.class_guid));
    bytes.extend(file_time(package.inf.date).to_le_bytes());
    let reversed = package.inf.version.iter().rev();
    bytes.extend(reversed.flat_map(|number| number.to_le_bytes()));
    bytes.extend([0; 8]);
    bytes
}

/// A GUID as Windows keeps it: the first three parts turned round.
fn guid_bytes(guid: &str) -> [u8; 16] {
    let digits: String = guid.chars().filter(char::is_ascii_hexdigit).collect();
    let number = u128::from_str_radix(&digits, 16).unwrap_or(0);
    let mut bytes = number.to_be_bytes();
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes
}

/// Midnight of a day in tenths of microseconds since 1601.
fn file_time((year, month, day): (u16, u8, u8)) -> u64 {
    // Years begin in March, so that the day that some have more comes last.
    let (year, month) = (u64::from(year), u64::from(month));
    let shifted = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let days = shifted * 365 + shifted / 4 - shifted / 100
        + shifted / 400
        + (month * 153 + 2) / 5
        + u64::from(day);
    /// The same count for 1 January 1601.
    const FIRST: u64 = 584_695;
    days.saturating_sub(FIRST) * 864_000_000_000
}

/// `oem7.inf`
pub fn oem_name(number: u32) -> String {
    format!("oem{number}.inf")
}

/// Marks a number as taken, the highest bit of each byte first.
fn mark_oem(editor: &mut Editor, number: u32) -> Result<(), EditError> {
    let root = editor.hive().root();
    let now = root.and_then(|key: Key<'_>| key.at("DriverDatabase")?.value("OemInfMap"));
    let mut map = now.map(|value| value.data).unwrap_or_default();
    let place = (number / 8) as usize;
    if map.len() <= place {
        map.resize(place + 1, 0);
    }
    map[place] |= 0x80 >> (number % 8);
    below(editor, "DriverDatabase").bytes("OemInfMap", &map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::inf::Inf;

    #[test]
    fn values_as_windows_writes_them() {
        assert_eq!(file_time((1601, 1, 1)), 0);
        assert_eq!(file_time((1970, 1, 1)), 116_444_736_000_000_000);
        assert_eq!(file_time((2000, 2, 29)), 125_962_560_000_000_000);
        // From a real driver of the real SYSTEM hive: vmci 9.8.16.0 of 2019-07-11.
        let package = Package {
            driver: "vmci".to_owned(),
            os: String::new(),
            architecture: String::new(),
            source: String::new(),
            files: Vec::new(),
            inf: Inf {
                class_guid: "{4d36e97d-e325-11ce-bfc1-08002be10318}".to_owned(),
                date: (2019, 7, 11),
                version: [9, 8, 16, 0],
                ..Inf::default()
            },
        };
        let real = [
            0x00, 0xff, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x7d, 0xe9, 0x36, 0x4d, 0x25, 0xe3,
            0xce, 0x11, 0xbf, 0xc1, 0x08, 0x00, 0x2b, 0xe1, 0x03, 0x18, 0x00, 0x80, 0x24, 0x95,
            0x7b, 0x37, 0xd5, 0x01, 0x00, 0x00, 0x10, 0x00, 0x08, 0x00, 0x09, 0x00, 0, 0, 0, 0, 0,
            0, 0, 0,
        ];
        assert_eq!(version_bytes(&package), real);
    }
}
