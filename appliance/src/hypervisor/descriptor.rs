//! Descriptors given to libvirt and taken from it: `virDomainFDAssociate`, which the
//! `virt` crate does not wrap, and the owner of a number.
#![expect(unsafe_code, reason = "two calls at libvirt's C interface")]

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

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

/// A connection to the first screen of a domain; QEMU holds the other end.
pub(super) fn open_display(domain: &Domain) -> Result<OwnedFd, Error> {
    let flags = virt_sys::VIR_DOMAIN_OPEN_GRAPHICS_SKIPAUTH;
    let number = domain.open_graphics_fd(0, flags)?;
    let number = RawFd::try_from(number).map_err(|_| Error::last_error())?;
    // SAFETY: libvirt has just opened this descriptor for its caller, who owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
