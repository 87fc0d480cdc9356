//! Which signatures of drivers the guest's Windows takes.

use lifeboat_hive::Hive;

use super::signature::Rules;
use super::system::System;
use super::tree::WindowsTree;

/// Updates that taught older Windows SHA-2.
const SHA2_UPDATES: [&str; 2] = ["package_for_kb3033929~", "package_for_kb4474419~"];
const INSTALLED: u32 = 0x70;
/// A newer one has taken its place.
const SUPERSEDED: u32 = 0x50;
const LARGEST: u64 = 16 << 20;
/// First revisions of Windows 7's `ci.dll` with SHA-2: of the two lines of updates, the second
/// of which all later ones belong to.
const FIRST_REVISIONS: [std::ops::Range<u16>; 2] = [18_741..20_000, 22_948..u16::MAX];

/// What its loader takes; nothing where it asks for no signature.
pub(super) fn rules(tree: &WindowsTree, system: &System, software: &Hive) -> Option<Rules> {
    if system.report.architecture != "amd64" || system.version < (6, 0) {
        return None;
    }
    Some(Rules {
        attested: system.version >= (10, 0),
        sha2: system.version >= (6, 2) || knows_sha2(tree, system, software),
    })
}

fn knows_sha2(tree: &WindowsTree, system: &System, software: &Hive) -> bool {
    let packages = software.root().and_then(|root| {
        root.at("Microsoft\\Windows\\CurrentVersion\\Component Based Servicing\\Packages")
    });
    let mut packages = packages.into_iter().flat_map(|key| key.subkeys());
    let has_update = packages.any(|package| {
        let name = package.name().to_ascii_lowercase();
        SHA2_UPDATES.iter().any(|update| name.starts_with(update))
            && matches!(package.number("CurrentState"), Some(INSTALLED | SUPERSEDED))
    });
    has_update || {
        let path = format!("{}/System32/ci.dll", system.report.system_root);
        let library = tree.read(&path, LARGEST).ok().flatten();
        let version = library.as_deref().and_then(file_version);
        version.is_some_and(|[major, minor, _, revision]| {
            let mut known = FIRST_REVISIONS.iter();
            (major, minor) == (6, 1) && known.any(|range| range.contains(&revision))
        })
    }
}

/// The version that a program's resources give.
pub fn file_version(program: &[u8]) -> Option<[u16; 4]> {
    const MARK: [u8; 4] = 0xfeef_04bd_u32.to_le_bytes();
    let mut places = program.windows(4).enumerate();
    let (place, _) = places.find(|(place, bytes)| place % 4 == 0 && *bytes == MARK)?;
    let half = |at: usize| {
        let bytes = program.get(place + at..place + at + 2)?;
        Some(u16::from_le_bytes(bytes.try_into().ok()?))
    };
    Some([half(10)?, half(8)?, half(14)?, half(12)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_program() {
        let mut program = vec![0; 64];
        program[32..36].copy_from_slice(&0xfeef_04bd_u32.to_le_bytes());
        program[40..44].copy_from_slice(&0x0006_0001_u32.to_le_bytes());
        program[44..48].copy_from_slice(&(7601 << 16 | 18_741_u32).to_le_bytes());
        assert_eq!(file_version(&program), Some([6, 1, 7601, 18_741]));
        assert_eq!(file_version(&program[..46]), None);
        assert_eq!(file_version(b""), None);
    }
}
