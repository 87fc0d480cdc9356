//! Why the control centre does not do what was asked.

use lifeboat_agent::ca::{CaError, ReceptionError};
use lifeboat_agent::tls::TlsError;
use lifeboat_failover::safety::NotSafe;
use lifeboat_failover::state::NotNow;

use crate::application::ApplicationError;
use crate::store::StoreError;

/// Why something was not done. Whatever it was: nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum CentreError {
    /// No such application.
    #[error("no application `{0}` is known here: `lifeboat failover application list` names them")]
    UnknownApplication(String),
    /// No such host.
    #[error("no host `{0}` is known here: `lifeboat failover agent list` names them")]
    UnknownHost(String),
    /// No such process.
    #[error("no process `{0}` is known here")]
    UnknownProcess(String),
    /// Not a name.
    #[error("`{0}` is not a name for a host: use 1 to 63 of a-z, 0-9 and -")]
    HostName(String),
    /// Somebody elsewhere names a file of this host.
    #[error(
        "an application is described by files of the control centre's host, and registered there: `lifeboat failover application add FILE`"
    )]
    OnTheHost,
    /// A file does not describe an application.
    #[error("failed to read the application's file")]
    Application(#[source] Box<ApplicationError>),
    /// A host belongs to another application.
    #[error("the host `{host}` belongs to the application `{owner}` already")]
    HostTaken {
        /// The host.
        host: String,
        /// Its application.
        owner: String,
    },
    /// The state does not allow it.
    #[error(transparent)]
    NotNow(#[from] NotNow),
    /// Something else is in progress.
    #[error(transparent)]
    NotSafe(#[from] NotSafe),
    /// The side that should serve could not.
    #[error("the {side} cannot take over: {}", .problems.join("; "))]
    NotReady {
        /// Which.
        side: lifeboat_failover::Side,
        /// Why.
        problems: Vec<String>,
    },
    /// A switch was asked for twice.
    #[error("a switch is under way already (process {0}): wait for it, or abort it")]
    SwitchUnderWay(String),
    /// Nothing to answer, abort or take up.
    #[error("there is no process that could be {0}")]
    NoProcess(&'static str),
    /// Nobody asked.
    #[error("nothing is being asked right now")]
    NoQuestion,
    /// Beyond the point of no return.
    #[error(
        "the new side serves already: this switch can no longer be aborted, switch back instead"
    )]
    TooLate,
    /// An action was not carried out.
    #[error("{action:?} on {host} was not carried out: {reason}")]
    NotDone {
        /// Which.
        action: lifeboat_failover::process::Action,
        /// Where.
        host: String,
        /// Why.
        reason: String,
    },
    /// Asked of a part of the control centre that refuses for its own reasons.
    #[error("{0}")]
    Refused(String),
    /// The control centre ends.
    #[error("the control centre is closing")]
    Closed,
    /// The store.
    #[error("failed to use the failover database")]
    Store(#[from] StoreError),
    /// The CA.
    #[error("failed to use the CA")]
    Ca(#[from] CaError),
    /// The reception.
    #[error("failed to open the reception")]
    Reception(#[source] Box<ReceptionError>),
    /// The port.
    #[error("failed to listen for agents at {address}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// What kind of failure it is; for status codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is not there.
    NotFound,
    /// It cannot be done now.
    Conflict,
    /// It makes no sense.
    Invalid,
    /// Something broke.
    Internal,
}

impl CentreError {
    /// What kind of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::UnknownApplication(_) | Self::UnknownHost(_) | Self::UnknownProcess(_) => {
                Kind::NotFound
            }
            Self::HostName(_) | Self::Application(_) | Self::OnTheHost => Kind::Invalid,
            Self::HostTaken { .. }
            | Self::NotNow(_)
            | Self::NotSafe(_)
            | Self::NotReady { .. }
            | Self::SwitchUnderWay(_)
            | Self::NoProcess(_)
            | Self::NoQuestion
            | Self::TooLate
            | Self::NotDone { .. }
            | Self::Refused(_) => Kind::Conflict,
            Self::Closed
            | Self::Store(_)
            | Self::Ca(_)
            | Self::Reception(_)
            | Self::Listen { .. } => Kind::Internal,
        }
    }
}

impl From<ApplicationError> for CentreError {
    fn from(error: ApplicationError) -> Self {
        Self::Application(Box::new(error))
    }
}

impl From<ReceptionError> for CentreError {
    fn from(error: ReceptionError) -> Self {
        Self::Reception(Box::new(error))
    }
}

impl From<TlsError> for CentreError {
    fn from(error: TlsError) -> Self {
        Self::Reception(Box::new(ReceptionError::Tls(error)))
    }
}

/// An error with everything that caused it, for logs.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Says what could not be done where nobody waits for it.
pub(crate) fn log(what: &str, result: Result<(), CentreError>) {
    if let Err(error) = result {
        tracing::error!(error = %Chain(&error), "{what}");
    }
}
