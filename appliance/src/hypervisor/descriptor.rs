//! `virDomainFDAssociate`, which the `virt` crate does not wrap.
#![expect(unsafe_code, reason = "one call of libvirt's C interface")]

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};

use virt::domain::Domain;
use virt::error::Error;

/// Gives libvirt a descriptor for the disk layers whose `fdgroup` is `group`.
///
/// libvirt duplicates the descriptor; ours may be closed afterwards.
pub(super) fn associate(domain: &Domain, group: &str, descriptor: &OwnedFd) -> Result<(), Error> {
    let group = CString::new(group)?;
    let mut descriptors = [descriptor.as_raw_fd()];
    // SAFETY: the domain pointer is valid while `domain` lives; name and array
    // outlive the call, and the length is that of the array.
    let result = unsafe {
        virt_sys::virDomainFDAssociate(
            domain.as_ptr(),
            group.as_ptr(),
            1,
            descriptors.as_mut_ptr(),
            0,
        )
    };
    if result < 0 {
        Err(Error::last_error())
    } else {
        Ok(())
    }
}
