//! Bytes from an image on their way to a person: bounded, and no control characters.

const LONGEST: usize = 200;

/// `text` with control characters and other invisible ones escaped, cut at a bound.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        if out.len() >= LONGEST {
            out.push('…');
            break;
        }
        if character.is_control() || is_invisible(character) {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

/// [`printable`] for bytes that need not be UTF-8.
pub(crate) fn printable_bytes(bytes: &[u8]) -> String {
    let bounded = bytes.get(..LONGEST * 4).unwrap_or(bytes);
    printable(&String::from_utf8_lossy(bounded))
}

fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn terminal_escapes_are_disarmed() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(printable("\u{202e}x"), "\\u{202e}x");
    }

    proptest! {
        #[test]
        fn always_bounded_and_printable(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
            let text = printable_bytes(&bytes);
            prop_assert!(text.len() <= LONGEST + 16);
            prop_assert!(!text.chars().any(char::is_control));
        }
    }
}
