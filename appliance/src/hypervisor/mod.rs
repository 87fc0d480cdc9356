//! libvirt, and nothing else: domains of sessions on `qemu:///system`.
//!
//! Calls of libvirt block, so one worker thread owns the connection and the
//! rest of the daemon talks to it through [`Hypervisor`]. Domains are defined,
//! given their disks as file descriptors, started and then undefined, so that a
//! running domain leaves nothing behind when it ends or when the host reboots.

mod descriptor;
pub mod domain_xml;
mod worker;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use tokio::sync::{mpsc, oneshot};

/// Prefix of the names of all domains that Lifeboat starts.
pub const DOMAIN_PREFIX: &str = "lifeboat-";

/// What libvirt could not do.
#[derive(Debug, thiserror::Error)]
pub enum HypervisorError {
    /// No connection.
    #[error(
        "failed to connect to libvirt (`qemu:///system`)\nhint: start it with `systemctl start libvirtd`, or, without systemd, `virtlogd -d && libvirtd -d`"
    )]
    Connect(#[source] virt::error::Error),
    /// A call failed.
    #[error("libvirt failed to {what} domain `{domain}`")]
    Call {
        /// The verb.
        what: &'static str,
        /// Name of the domain.
        domain: String,
        /// libvirt's own error.
        #[source]
        source: virt::error::Error,
    },
    /// The picture is none.
    #[error("QEMU's picture of domain `{domain}` is not understood")]
    Picture {
        /// Name of the domain.
        domain: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The screenshot cannot be written.
    #[error("failed to write screenshot `{path}`")]
    Screenshot {
        /// Destination.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The worker thread is gone.
    #[error("the libvirt worker has ended")]
    WorkerGone,
}

/// What libvirt and the host offer.
#[derive(Debug, Clone, serde::Serialize)]
pub struct HostCapabilities {
    /// libvirt's version, `major.minor.release`.
    pub libvirt_version: String,
    /// QEMU's version.
    pub qemu_version: String,
}

impl HostCapabilities {
    /// QEMU's version, major and minor.
    pub fn qemu(&self) -> (u32, u32) {
        let mut numbers = self
            .qemu_version
            .split('.')
            .map(|word| word.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }
}

/// One disk of a domain: a chain of descriptors, top layer first.
pub struct DiskDescriptors {
    /// Group name used in the XML, one for each layer, in the layers' order.
    pub layers: Vec<(String, OwnedFd)>,
}

/// A domain to start.
pub struct DomainStart {
    /// Its name.
    pub name: String,
    /// Its definition.
    pub xml: String,
    /// Descriptors of its disks.
    pub disks: Vec<DiskDescriptors>,
}

/// Whether a domain runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DomainState {
    /// It runs.
    Running,
    /// QEMU halted it, as on a full disk or a disk error of the host.
    Paused,
    /// It crashed or was stopped by its guest.
    Ended,
    /// libvirt does not know it.
    Absent,
}

enum Request {
    Capabilities(oneshot::Sender<Result<HostCapabilities, HypervisorError>>),
    Start(
        Box<DomainStart>,
        oneshot::Sender<Result<(), HypervisorError>>,
    ),
    State(
        String,
        oneshot::Sender<Result<DomainState, HypervisorError>>,
    ),
    Adopt(
        String,
        oneshot::Sender<Result<DomainState, HypervisorError>>,
    ),
    Destroy(String, oneshot::Sender<Result<bool, HypervisorError>>),
    Screen(String, oneshot::Sender<Result<Vec<u8>, HypervisorError>>),
    Display(String, oneshot::Sender<Result<UnixStream, HypervisorError>>),
}

/// Handle to the libvirt worker; cheap to clone.
#[derive(Clone)]
pub struct Hypervisor {
    requests: mpsc::Sender<Request>,
}

impl Hypervisor {
    /// Starts the worker. It connects on first use, and again after libvirt
    /// restarted.
    pub fn start() -> Self {
        let (requests, receiver) = mpsc::channel(64);
        std::thread::Builder::new()
            .name("libvirt".to_owned())
            .spawn(move || worker::run(receiver))
            .map_or_else(|error| tracing::error!(%error, "no libvirt worker"), drop);
        Self { requests }
    }

    /// Versions of libvirt and QEMU; fails when libvirt does not run.
    pub async fn capabilities(&self) -> Result<HostCapabilities, HypervisorError> {
        self.ask(Request::Capabilities).await
    }

    /// Defines and starts a domain; nothing is left defined when it fails.
    pub async fn start_domain(&self, start: DomainStart) -> Result<(), HypervisorError> {
        self.ask(|answer| Request::Start(Box::new(start), answer))
            .await
    }

    /// State of a domain.
    pub async fn state(&self, domain: &str) -> Result<DomainState, HypervisorError> {
        self.ask(|answer| Request::State(domain.to_owned(), answer))
            .await
    }

    /// Finishes a start that the end of an earlier daemon cut off: one that runs
    /// becomes transient, one that does not is forgotten. The state after that.
    pub async fn adopt(&self, domain: &str) -> Result<DomainState, HypervisorError> {
        self.ask(|answer| Request::Adopt(domain.to_owned(), answer))
            .await
    }

    /// Ends a domain; says whether there was one.
    pub async fn destroy(&self, domain: &str) -> Result<bool, HypervisorError> {
        self.ask(|answer| Request::Destroy(domain.to_owned(), answer))
            .await
    }

    /// Writes a picture of the domain's first screen as PNG.
    pub async fn screenshot(&self, domain: &str, png: PathBuf) -> Result<(), HypervisorError> {
        let picture = self.screen(domain).await?;
        let part = png.with_extension("png.part");
        let written = std::fs::write(&part, picture).and_then(|()| std::fs::rename(&part, &png));
        written.map_err(|source| HypervisorError::Screenshot { path: png, source })
    }

    /// A picture of the domain's first screen, as PNG.
    pub async fn screen(&self, domain: &str) -> Result<Vec<u8>, HypervisorError> {
        self.ask(|answer| Request::Screen(domain.to_owned(), answer))
            .await
    }

    /// A connection to the domain's screen and keyboard, which speaks RFB. Any number may be open.
    pub async fn open_display(&self, domain: &str) -> Result<UnixStream, HypervisorError> {
        self.ask(|answer| Request::Display(domain.to_owned(), answer))
            .await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, HypervisorError>>) -> Request,
    ) -> Result<T, HypervisorError> {
        let (answer, result) = oneshot::channel();
        self.requests
            .send(request(answer))
            .await
            .map_err(|_| HypervisorError::WorkerGone)?;
        result.await.map_err(|_| HypervisorError::WorkerGone)?
    }
}

#[cfg(test)]
mod tests;
