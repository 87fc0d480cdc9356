//! What is commented out, in the ways of many formats.

/// The text with what is commented out replaced by nothing, line by line.
pub(super) fn without_comments(file: &str, text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut closing: Option<&str> = None;
    let has_blocks = [
        ".php",
        ".xml",
        ".js",
        ".conf",
        ".java",
        ".properties",
        ".cfg",
    ]
    .iter()
    .any(|end| file.ends_with(end));
    for line in text.lines() {
        let mut rest = line;
        if let Some(mark) = closing {
            match rest.split_once(mark) {
                Some((_, after)) => {
                    rest = after;
                    closing = None;
                }
                None => rest = "",
            }
        }
        let blocks = [("<!--", "-->"), ("/*", "*/")];
        if let Some((_, close)) = blocks
            .iter()
            .find(|(open, _)| rest.trim_start().starts_with(open))
            && has_blocks
        {
            match rest.split_once(close) {
                Some((_, after)) => rest = after,
                None => {
                    closing = Some(close);
                    rest = "";
                }
            }
        }
        let end = [" #", "\t#", " // "]
            .iter()
            .filter_map(|mark| rest.find(mark))
            .min();
        out.push_str(&rest[..end.unwrap_or(rest.len())]);
        out.push('\n');
    }
    out
}

pub(super) fn is_comment(line: &str) -> bool {
    ["#", ";", "//", "/*", "* ", "--", "<!--", "!"]
        .iter()
        .any(|mark| line.starts_with(mark))
}
