//! Errors in log lines carry all their causes.

use std::error::Error;
use std::fmt::{self, Display};

/// Shows an error with everything that led to it.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn Error + 'a));

impl Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
