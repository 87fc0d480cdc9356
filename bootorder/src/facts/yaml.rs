//! As much of YAML as lists of hosts need: which key the item of a list belongs to.

use super::comments::is_comment;

/// The key above each item of a block list ("hosts:" above "- es1:9200"), by line number.
pub(super) fn list_keys<'a>(all: &[&'a str]) -> Vec<Option<&'a str>> {
    let mut keys: Vec<(usize, &str)> = Vec::new();
    let mut found = Vec::with_capacity(all.len());
    for line in all {
        let trimmed = line.trim();
        let indent = line.len() - line.trim_start().len();
        if trimmed.is_empty() || is_comment(trimmed) {
            found.push(None);
            continue;
        }
        let is_item = trimmed.starts_with("- ");
        // An item may stand as far left as its key does.
        keys.retain(|(at, _)| *at < indent || (is_item && *at == indent));
        found.push(keys.last().filter(|_| is_item).map(|(_, key)| *key));
        if let Some(key) = trimmed.strip_suffix(':') {
            keys.push((indent, key.trim_matches(['"', '\''])));
        }
        if keys.len() > 64 {
            keys.remove(0);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_know_their_key() {
        let text = "output:\n  hosts:\n    - es1:9200\n  # no\n  other: 1\nseeds:\n- k1\n- k2\nend: x\n- y";
        let all: Vec<&str> = text.lines().collect();
        let keys = list_keys(&all);
        assert_eq!(keys[2], Some("hosts"));
        assert_eq!((keys[6], keys[7]), (Some("seeds"), Some("seeds")));
        assert_eq!((keys[4], keys[9]), (None, None));
    }
}
