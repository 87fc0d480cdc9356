//! The name by which the browser asks. A page of somebody else can have its own name point to
//! this machine (DNS rebinding) and would then count as ours; with an address it cannot.

use std::net::{IpAddr, Ipv6Addr};

use axum::extract::Request;
use axum::http::{header, uri::Authority};

use crate::error::{AccessError, Reason, refused};

pub(super) fn check(request: &Request, names: &[String]) -> Result<(), AccessError> {
    let unknown = || {
        refused(
            Reason::Host,
            "this machine is not known by that name: use its host name or address, or give the name to `lifeboat serve --name`",
        )
    };
    let asked = authority(request).ok_or_else(unknown)?;
    // A request line with another name than the header is a trick.
    let in_line = request.uri().authority();
    if in_line.is_some_and(|line| line.as_str() != asked.as_str()) {
        return Err(unknown());
    }
    match is_ours(asked.host(), names) {
        true => Ok(()),
        false => Err(unknown()),
    }
}

/// The one `Host` of a request.
pub(super) fn authority(request: &Request) -> Option<Authority> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, None) = (hosts.next()?, hosts.next()) else {
        return None;
    };
    let host: Authority = host.to_str().ok()?.parse().ok()?;
    (!host.as_str().contains('@')).then_some(host)
}

fn is_ours(host: &str, names: &[String]) -> bool {
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match bracketed {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            let name = host.strip_suffix('.').unwrap_or(host);
            let is = |known: &str| known.eq_ignore_ascii_case(name);
            name.parse::<IpAddr>().is_ok() || is("localhost") || names.iter().any(|known| is(known))
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn only_addresses_and_known_names_are_ours() {
        let names = ["boat.example".to_owned()];
        let check = |host: &str| {
            let request = Request::builder().uri("/").header("host", host);
            check(&request.body(Body::empty()).unwrap(), &names).is_ok()
        };
        for good in [
            "localhost",
            "localhost:8443",
            "127.0.0.1:8443",
            "[::1]:8443",
            "10.0.0.7",
            "boat.example:8443",
            "BOAT.example.",
        ] {
            assert!(check(good), "{good}");
        }
        for bad in [
            "evil.example",
            "boat.example.evil.example",
            "evil.example@127.0.0.1",
            "127.0.0.1.nip.example",
            "",
            "0x7f000001",
            "[::1",
        ] {
            assert!(!check(bad), "{bad}");
        }
        let two = Request::builder().uri("/");
        let two = two.header("host", "localhost").header("host", "localhost");
        assert!(super::check(&two.body(Body::empty()).unwrap(), &names).is_err());
    }
}
