//! The thread that owns the connection to libvirt.

use std::os::unix::net::UnixStream;

use tokio::sync::mpsc;
use virt::connect::Connect;
use virt::domain::{Domain, DomainStateEnum};
use virt::error::{Error, ErrorNumber};
use virt::stream::Stream;

use super::{DomainStart, DomainState, HostCapabilities, HypervisorError, Request, descriptor};

const URI: &str = "qemu:///system";
/// A screenshot larger than this is refused: the guest chooses its resolution.
const SCREENSHOT_LIMIT: usize = 64 << 20;
const PNG_MAGIC: &[u8] = b"\x89PNG\r\n\x1a\n";

type Answer<T> = Result<T, HypervisorError>;

pub(super) fn run(mut requests: mpsc::Receiver<Request>) {
    // Errors come back as values; libvirt's own habit is to print them too.
    virt::error::clear_error_callback();
    let mut worker = Worker { connection: None };
    while let Some(request) = requests.blocking_recv() {
        worker.serve(request);
    }
}

struct Worker {
    connection: Option<Connect>,
}

impl Worker {
    fn serve(&mut self, request: Request) {
        // An asker that went away is no fault of the worker.
        match request {
            Request::Capabilities(answer) => drop(answer.send(self.capabilities())),
            Request::Start(start, answer) => drop(answer.send(self.start(&start))),
            Request::State(name, answer) => drop(answer.send(self.state(&name))),
            Request::Adopt(name, answer) => drop(answer.send(self.adopt(&name))),
            Request::Destroy(name, answer) => drop(answer.send(self.destroy(&name))),
            Request::Screen(name, answer) => drop(answer.send(self.screen(&name))),
            Request::Display(name, answer) => drop(answer.send(self.display(&name))),
        }
    }

    fn connection(&mut self) -> Answer<Connect> {
        if let Some(connection) = self.connection.take()
            && connection.is_alive().unwrap_or(false)
        {
            self.connection = Some(connection.clone());
            return Ok(connection);
        }
        let connection = Connect::open(Some(URI)).map_err(HypervisorError::Connect)?;
        self.connection = Some(connection.clone());
        Ok(connection)
    }

    fn capabilities(&mut self) -> Answer<HostCapabilities> {
        let connection = self.connection()?;
        let version = |number: u32| {
            format!(
                "{}.{}.{}",
                number / 1_000_000,
                number / 1_000 % 1_000,
                number % 1_000
            )
        };
        let libvirt = connection.lib_version().map_err(HypervisorError::Connect)?;
        let qemu = connection.hyp_version().map_err(HypervisorError::Connect)?;
        Ok(HostCapabilities {
            libvirt_version: version(libvirt),
            qemu_version: version(qemu),
        })
    }

    fn start(&mut self, start: &DomainStart) -> Answer<()> {
        // A definition that was left behind has another identity and is in the way.
        self.adopt(&start.name)?;
        let connection = self.connection()?;
        let domain = connection
            .define_domain_xml(&start.xml)
            .map_err(call("define", &start.name))?;
        let started = associate_all(&domain, start)
            .and_then(|()| domain.create().map_err(call("start", &start.name)));
        // A running domain becomes transient by this, a failed one vanishes.
        let undefined = undefine(&domain).map_err(call("undefine", &start.name));
        started.and(undefined)
    }

    fn state(&mut self, name: &str) -> Answer<DomainState> {
        let connection = self.connection()?;
        let Some(domain) = lookup(&connection, name)? else {
            return Ok(DomainState::Absent);
        };
        match domain.state() {
            Ok((state, _)) => Ok(domain_state(state)),
            Err(error) if is_absent(&error) => Ok(DomainState::Absent),
            Err(error) => Err(call("query", name)(error)),
        }
    }

    fn adopt(&mut self, name: &str) -> Answer<DomainState> {
        let connection = self.connection()?;
        if let Some(domain) = lookup(&connection, name)? {
            gone_is_fine(undefine(&domain), ()).map_err(call("undefine", name))?;
        }
        self.state(name)
    }

    /// Another daemon's last request may be ending the same domain just now, so
    /// it may be gone at every step.
    fn destroy(&mut self, name: &str) -> Answer<bool> {
        let connection = self.connection()?;
        let Some(domain) = lookup(&connection, name)? else {
            return Ok(false);
        };
        let active = gone_is_fine(domain.is_active(), false).map_err(call("query", name))?;
        if active {
            gone_is_fine(domain.destroy(), ()).map_err(call("destroy", name))?;
        }
        gone_is_fine(undefine(&domain), ()).map_err(call("undefine", name))?;
        Ok(true)
    }

    fn screen(&mut self, name: &str) -> Answer<Vec<u8>> {
        let connection = self.connection()?;
        let picture = read_screen(&connection, name).map_err(call("photograph", name))?;
        as_png(picture).map_err(|source| HypervisorError::Picture {
            domain: name.to_owned(),
            source,
        })
    }

    fn display(&mut self, name: &str) -> Answer<UnixStream> {
        let connection = self.connection()?;
        let opened = connection
            .lookup_domain_by_name(name)
            .and_then(|domain| descriptor::open_display(&domain));
        Ok(UnixStream::from(
            opened.map_err(call("open the screen of", name))?,
        ))
    }
}

fn domain_state(state: DomainStateEnum) -> DomainState {
    use virt::domain::DomainState as State;
    let is = |other: State| state == other.into();
    if is(State::Paused) {
        DomainState::Paused
    } else if is(State::Shutoff) || is(State::Crashed) {
        DomainState::Ended
    } else {
        DomainState::Running
    }
}

fn associate_all(domain: &Domain, start: &DomainStart) -> Answer<()> {
    for (group, file) in start.disks.iter().flat_map(|disk| &disk.layers) {
        descriptor::associate(domain, group, file).map_err(call("give a disk to", &start.name))?;
    }
    Ok(())
}

fn undefine(domain: &Domain) -> Result<(), Error> {
    if domain.is_persistent()? {
        domain.undefine_flags(virt::sys::VIR_DOMAIN_UNDEFINE_KEEP_NVRAM)?;
    }
    Ok(())
}

/// The answer, or `gone` for a domain that ended or vanished in between.
fn gone_is_fine<T>(result: Result<T, Error>, gone: T) -> Result<T, Error> {
    result.or_else(|error| {
        let ended = error.code() == ErrorNumber::OperationInvalid.into();
        if is_absent(&error) || ended {
            Ok(gone)
        } else {
            Err(error)
        }
    })
}

fn lookup(connection: &Connect, name: &str) -> Answer<Option<Domain>> {
    match connection.lookup_domain_by_name(name) {
        Ok(domain) => Ok(Some(domain)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(call("find", name)(error)),
    }
}

fn is_absent(error: &Error) -> bool {
    error.code() == ErrorNumber::NoDomain.into()
}

fn call(what: &'static str, domain: &str) -> impl FnOnce(Error) -> HypervisorError {
    let domain = domain.to_owned();
    move |source| HypervisorError::Call {
        what,
        domain,
        source,
    }
}

fn read_screen(connection: &Connect, name: &str) -> Result<Vec<u8>, Error> {
    let domain = connection.lookup_domain_by_name(name)?;
    let stream = Stream::new(connection, 0)?;
    domain.screenshot(&stream, 0, 0)?;
    let mut picture = Vec::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = usize::try_from(stream.recv(&mut buffer)?).unwrap_or(0);
        if count == 0 || picture.len() > SCREENSHOT_LIMIT {
            break;
        }
        picture.extend_from_slice(&buffer[..count]);
    }
    stream.finish()?;
    Ok(picture)
}

/// Newer QEMU hands the screen out as PNG, older as a binary portable pixmap.
fn as_png(picture: Vec<u8>) -> std::io::Result<Vec<u8>> {
    if picture.starts_with(PNG_MAGIC) {
        return Ok(picture);
    }
    let (width, height, pixels) = parse_pixmap(&picture)
        .ok_or_else(|| std::io::Error::other("it is neither PNG nor a binary pixmap"))?;
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(png)
}

pub(super) fn parse_pixmap(bytes: &[u8]) -> Option<(u32, u32, &[u8])> {
    let mut rest = bytes.strip_prefix(b"P6")?;
    let mut fields = [0u32; 3];
    for field in &mut fields {
        rest = skip_blank_and_comments(rest);
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        *field = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
        rest = &rest[digits..];
    }
    let [width, height, depth] = fields;
    let pixels = rest.get(1..)?;
    let size = (width as usize)
        .checked_mul(height as usize)?
        .checked_mul(3)?;
    (depth == 255 && width > 0 && height > 0).then_some(())?;
    Some((width, height, pixels.get(..size)?))
}

fn skip_blank_and_comments(mut bytes: &[u8]) -> &[u8] {
    loop {
        bytes = bytes.trim_ascii_start();
        if bytes.first() != Some(&b'#') {
            return bytes;
        }
        let end = bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(bytes.len());
        bytes = &bytes[end..];
    }
}
