//! The part of YAML that netplan files are written in: nested block mappings and
//! sequences, flow sequences and mappings, quoted and plain scalars.

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A scalar, without its quotes.
    Text(String),
    /// A sequence.
    List(Vec<Value>),
    /// A mapping in the file's order.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// The value of a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries()
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value)
    }

    /// The pairs of a mapping; none of anything else.
    pub fn entries(&self) -> &[(String, Value)] {
        if let Value::Map(entries) = self {
            entries
        } else {
            &[]
        }
    }

    /// The scalar.
    pub fn text(&self) -> Option<&str> {
        if let Value::Text(text) = self {
            Some(text)
        } else {
            None
        }
    }

    /// All scalars of a sequence; keys of mappings in it count as scalars, because
    /// an address with options is written `- 10.0.0.1/24: {label: x}`.
    pub fn texts(&self) -> Vec<String> {
        let Value::List(items) = self else {
            return self.text().map(str::to_owned).into_iter().collect();
        };
        items
            .iter()
            .flat_map(|item| match item {
                Value::Text(text) => vec![text.clone()],
                Value::Map(entries) => entries.iter().map(|(key, _)| key.clone()).collect(),
                Value::List(_) => Vec::new(),
            })
            .collect()
    }
}

/// Deeper nesting than this is no netplan file.
const DEEPEST: usize = 32;

struct Line<'a> {
    indent: usize,
    text: &'a str,
}

/// Reads a document; what is not understood is left out.
pub fn parse(text: &str) -> Value {
    let lines: Vec<Line> = text
        .lines()
        .filter_map(|line| {
            let content = without_comment(line).trim_end();
            let text = content.trim_start_matches(' ');
            let skip = text.is_empty() || text == "---" || text == "...";
            (!skip).then_some(Line {
                indent: content.len() - text.len(),
                text,
            })
        })
        .collect();
    let mut lines = lines.into_iter().collect::<std::collections::VecDeque<_>>();
    block(&mut lines, 0, 0)
}

fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (place, letter) in line.char_indices() {
        match quote {
            Some(open) if letter == open => quote = None,
            None if letter == '"' || letter == '\'' => quote = Some(letter),
            None if letter == '#' && before.is_whitespace() => return &line[..place],
            _ => {}
        }
        before = letter;
    }
    line
}

fn block(lines: &mut std::collections::VecDeque<Line>, least: usize, depth: usize) -> Value {
    let Some(indent) = lines
        .front()
        .map(|line| line.indent)
        .filter(|indent| *indent >= least)
    else {
        return Value::Text(String::new());
    };
    if depth > DEEPEST {
        lines.clear();
        return Value::Text(String::new());
    }
    if lines.front().is_some_and(|line| is_item(line.text)) {
        sequence(lines, indent, depth)
    } else {
        mapping(lines, indent, depth)
    }
}

fn is_item(text: &str) -> bool {
    text == "-" || text.starts_with("- ")
}

fn sequence(lines: &mut std::collections::VecDeque<Line>, indent: usize, depth: usize) -> Value {
    let mut items = Vec::new();
    while let Some(line) = lines.pop_front_if(|line| line.indent == indent && is_item(line.text)) {
        let rest = line.text[1..].trim_start();
        if rest.is_empty() {
            items.push(block(lines, indent + 1, depth + 1));
        } else if split_key(rest).is_some() {
            let inner = indent + (line.text.len() - rest.len());
            lines.push_front(Line {
                indent: inner,
                text: rest,
            });
            items.push(mapping(lines, inner, depth + 1));
        } else {
            items.push(flow(rest, depth));
        }
    }
    Value::List(items)
}

fn mapping(lines: &mut std::collections::VecDeque<Line>, indent: usize, depth: usize) -> Value {
    let mut entries = Vec::new();
    while let Some(line) = lines.pop_front_if(|line| line.indent >= indent) {
        if line.indent > indent || is_item(line.text) {
            continue;
        }
        let Some((key, rest)) = split_key(line.text) else {
            continue;
        };
        let value = if rest.is_empty() {
            // A sequence may stand at the same indentation as its key.
            let least = match lines.front() {
                Some(next) if next.indent == indent && is_item(next.text) => indent,
                _ => indent + 1,
            };
            block(lines, least, depth + 1)
        } else {
            flow(rest, depth)
        };
        entries.push((unquoted(key), value));
    }
    Value::Map(entries)
}

/// `key: value` or `key:`; a colon inside an address is no separator.
fn split_key(text: &str) -> Option<(&str, &str)> {
    if text.starts_with(['[', '{']) {
        return None;
    }
    let after_quote = match text.chars().next() {
        Some(quote @ ('"' | '\'')) => text[1..].find(quote)? + 2,
        _ => 0,
    };
    let place = text[after_quote..]
        .match_indices(':')
        .map(|(place, _)| after_quote + place)
        .find(|place| text[place + 1..].is_empty() || text[place + 1..].starts_with(' '))?;
    Some((&text[..place], text[place + 1..].trim()))
}

fn flow(text: &str, depth: usize) -> Value {
    let text = text.trim();
    let inner = |open: char, close: char| text.strip_prefix(open)?.strip_suffix(close);
    if depth > DEEPEST {
        return Value::Text(String::new());
    }
    if let Some(inner) = inner('[', ']') {
        return Value::List(
            split_flow(inner)
                .map(|item| flow(item, depth + 1))
                .collect(),
        );
    }
    if let Some(inner) = inner('{', '}') {
        let pairs = split_flow(inner).filter_map(split_key);
        return Value::Map(
            pairs
                .map(|(key, value)| (unquoted(key), flow(value, depth + 1)))
                .collect(),
        );
    }
    Value::Text(unquoted(text))
}

/// Splits at commas outside brackets.
fn split_flow(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0i32;
    text.split(move |letter| {
        depth += i32::from("[{".contains(letter)) - i32::from("]}".contains(letter));
        letter == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|item| !item.is_empty())
}

fn unquoted(text: &str) -> String {
    text.trim().trim_matches(['"', '\'']).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nested_blocks_and_flow() {
        let value = parse(
            "# c\na:\n  b: {x: 1, y: [2, 3]}  # c\n  'c':\n  - 10.0.0.1/24:\n      label: l\n  - \"fe80::1/64\"\n  - to: default\n    via: 10.0.0.1\nd: e\n",
        );
        let a = value.get("a").unwrap();
        assert_eq!(a.get("b").unwrap().get("y").unwrap().texts(), ["2", "3"]);
        assert_eq!(
            a.get("c").unwrap().texts(),
            ["10.0.0.1/24", "fe80::1/64", "to", "via"]
        );
        assert_eq!(value.get("d").unwrap().text(), Some("e"));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "(- |: |\\[|\\]|\\{|\\}|\n|  |'|\"|[a-c,#])*") {
            parse(&text);
        }

        #[test]
        fn any_string_never_panics(text in any::<String>()) {
            parse(&text);
        }
    }
}
