//! VHDX of Hyper-V. QEMU checks its headers, regions and block table strictly and refuses a
//! parent; here only the least is looked at before QEMU is let near it.

use super::{Facts, Source};
use crate::error::Refusal;

/// Two headers and two region tables of 64 KiB each follow the file identifier.
const FIXED_PART: u64 = 5 * 64 * 1024;

pub(super) fn check(source: &Source<'_>) -> Result<Facts, Refusal> {
    source.require(0, FIXED_PART, "its headers and region tables")?;
    let valid_header = [1, 2].into_iter().any(|index| {
        let header = source.read(index * 64 * 1024, 4, "its header");
        header.is_ok_and(|header| header.all() == b"head")
    });
    if !valid_header {
        return Err(Refusal::damaged("both of its headers are gone"));
    }
    Ok(Facts::default())
}
