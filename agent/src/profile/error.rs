//! What is wrong with a profile, and where.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

/// What is wrong with a profile, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}, line {line}, `{key}`: {what}", file.display())]
pub struct ProfileError {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The key.
    pub key: String,
    /// What is wrong.
    pub what: String,
}

/// A piece of a path into a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Key(String),
    Place(usize),
}

pub(super) fn key(name: &str) -> Piece {
    Piece::Key(name.to_owned())
}

/// An error of the parser. It knows bytes; the key is on the line.
pub(super) fn of_toml(file: &Path, text: &str, error: &toml::de::Error) -> ProfileError {
    let line = line_at(text, error.span().unwrap_or(0..0));
    let on_it = text.lines().nth(line - 1).unwrap_or_default();
    let key = on_it.split('=').next().unwrap_or_default().trim();
    ProfileError {
        file: file.to_owned(),
        line,
        key: key.trim_matches(['[', ']']).to_owned(),
        what: error.message().replace('\n', " "),
    }
}

/// An error of meaning, at a path into the file.
pub(super) fn at(file: &Path, text: &str, path: &[Piece], what: String) -> ProfileError {
    ProfileError {
        file: file.to_owned(),
        line: line_at(text, find(text, path)),
        key: written(path),
        what,
    }
}

fn written(path: &[Piece]) -> String {
    let mut written = String::new();
    for piece in path {
        match piece {
            Piece::Key(key) if written.is_empty() => written.push_str(key),
            Piece::Key(key) => written.push_str(&format!(".{key}")),
            Piece::Place(place) => written.push_str(&format!("[{place}]")),
        }
    }
    written
}

/// Where a path leads; as far as it does.
fn find(text: &str, path: &[Piece]) -> Range<usize> {
    let Ok(root) = DeTable::parse(text) else {
        return 0..0;
    };
    let mut span = 0..0;
    let Some((Piece::Key(first), rest)) = path.split_first() else {
        return span;
    };
    let Some(mut value) = root.get_ref().get(first.as_str()) else {
        return span;
    };
    span = value.span();
    for piece in rest {
        let next = match (value.get_ref(), piece) {
            (DeValue::Table(table), Piece::Key(key)) => table.get(key.as_str()),
            (DeValue::Array(array), Piece::Place(place)) => array.get(*place),
            _ => None,
        };
        let Some(next) = next else { break };
        value = next;
        span = value.span();
    }
    span
}

fn line_at(text: &str, span: Range<usize>) -> usize {
    let before = text.get(..span.start).unwrap_or(text);
    before.matches('\n').count() + 1
}
