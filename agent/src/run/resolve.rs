//! Names to addresses as `/etc/hosts` and `/etc/resolv.conf` say, without the host's C library:
//! the program is one static file, which must not load another system's name service modules.

use std::io;
use std::net::IpAddr;

use hickory_resolver::TokioResolver;
use tokio::net::TcpStream;

/// Connects to `HOST:PORT`.
///
/// # Errors
/// When that is not the form, and those of [`connect`].
pub(crate) async fn dial(place: &str) -> io::Result<TcpStream> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "expected HOST:PORT");
    let (host, port) = place.rsplit_once(':').ok_or_else(wrong)?;
    connect(host, port.parse().map_err(|_| wrong())?).await
}

/// Connects to the first address of a host that answers.
///
/// # Errors
/// When the name has no address, or the last address did not answer.
pub(crate) async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = None;
    for address in addresses(host).await? {
        match TcpStream::connect((address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::from(io::ErrorKind::NotFound)))
}

/// All addresses of a host, at least one.
///
/// # Errors
/// When there is none, or no name server answers.
pub(crate) async fn addresses(host: &str) -> io::Result<Vec<IpAddr>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse() {
        return Ok(vec![address]);
    }
    // Read anew each time: a switch-over changes both files.
    let resolver =
        TokioResolver::builder_tokio().and_then(hickory_resolver::ResolverBuilder::build);
    let found = resolver.map_err(io::Error::other)?.lookup_ip(host).await;
    Ok(found.map_err(io::Error::other)?.iter().collect())
}

#[cfg(test)]
mod tests {
    use super::addresses;

    fn resolved(host: &str) -> std::io::Result<Vec<std::net::IpAddr>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(addresses(host))
    }

    #[test]
    fn addresses_stand_for_themselves() {
        for (text, address) in [("192.0.2.7", "192.0.2.7"), ("[2001:db8::7]", "2001:db8::7")] {
            assert_eq!(
                resolved(text).unwrap(),
                [address.parse::<std::net::IpAddr>().unwrap()]
            );
        }
    }

    #[test]
    fn names_of_the_hosts_file_are_known() {
        let found = resolved("localhost").unwrap();
        assert!(found.iter().all(std::net::IpAddr::is_loopback), "{found:?}");
    }
}
