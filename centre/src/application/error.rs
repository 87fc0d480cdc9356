//! What is wrong with an application's file, and where.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use lifeboat_agent::profile::ProfileError;

/// Why a file does not describe an application.
#[derive(Debug, thiserror::Error)]
pub enum ApplicationError {
    /// It, or a file that it names, cannot be read.
    #[error("failed to read `{}`", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not TOML, or has an unknown or missing key.
    #[error("{}:{line}: {problem}", .file.display())]
    Parse {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong; names the key.
        problem: String,
    },
    /// A value makes no sense.
    #[error("{}:{line}: `{key}`: {problem}", .file.display())]
    Value {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// What is wrong, and what is expected.
        problem: String,
    },
    /// A profile.
    #[error("failed to use the profile `{}`", .path.display())]
    Profile {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<ProfileError>,
    },
}

/// A file's text, for telling where something stands.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
}

impl Place<'_> {
    fn line(self, offset: usize) -> usize {
        let before = self.text.get(..offset).unwrap_or(self.text);
        before.matches('\n').count() + 1
    }

    pub(super) fn parse(self, error: &toml::de::Error) -> ApplicationError {
        ApplicationError::Parse {
            file: self.file.to_owned(),
            line: self.line(error.span().map_or(0, |span| span.start)),
            problem: error.message().trim().replace('\n', " "),
        }
    }

    pub(super) fn value(self, span: Range<usize>, key: &str, problem: &str) -> ApplicationError {
        ApplicationError::Value {
            file: self.file.to_owned(),
            line: self.line(span.start),
            key: key.to_owned(),
            problem: problem.to_owned(),
        }
    }
}
