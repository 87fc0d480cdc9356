//! Arguments of kernels and of units that name filesystems.

use std::ops::Range;

/// The first value of `root=` in a boot loader's configuration.
pub fn root_argument(text: &str) -> Option<String> {
    let mut all = arguments(text).filter(|(key, _)| &text[key.clone()] == "root");
    let value = all.find(|(_, value)| !value.is_empty())?.1;
    Some(text[value].to_owned())
}

/// Keys and values of all arguments in a line, as far as they have values.
pub(super) fn line_arguments(line: &str) -> impl Iterator<Item = (&str, &str)> {
    arguments(line)
        .map(|(key, value)| (&line[key], &line[value]))
        .filter(|(_, value)| !value.is_empty())
}

/// Where the keys `root`, `resume`, `RESUME` and `What` (of mount units) and
/// their values stand.
pub(super) fn arguments(text: &str) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let end = from + text[from..].find('=')?;
            from = end + 1;
            let Some(key) = key_before(&text[..end]) else {
                continue;
            };
            let length = text[from..]
                .find(|letter: char| letter.is_whitespace() || "\"'\\;".contains(letter))
                .unwrap_or(text.len() - from);
            let value = from..from + length;
            from = value.end;
            return Some((end - key.len()..end, value));
        }
    })
}

/// A key of interest at the end of the text, unless it is part of a longer one.
fn key_before(text: &str) -> Option<&'static str> {
    let key = ["root", "resume", "RESUME", "What"]
        .into_iter()
        .find(|key| text.ends_with(key))?;
    let before = text[..text.len() - key.len()].chars().next_back();
    let longer = before.is_some_and(|letter| letter.is_alphanumeric() || "_-.".contains(letter));
    (!longer).then_some(key)
}
