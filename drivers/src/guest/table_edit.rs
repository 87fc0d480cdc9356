//! Edits of tables, a line at a time: what is not replaced stays byte for byte.

/// What a text edit did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Edited {
    /// The new text.
    pub text: String,
    /// Volatile names that could not be replaced.
    pub left: Vec<String>,
    /// Mount points without whose filesystem the guest now starts, and what
    /// that was called.
    pub made_optional: Vec<(String, String)>,
}

/// What becomes of one device name.
pub enum Replaced {
    /// Nothing.
    Kept,
    /// This name takes its place.
    By(String),
    /// It ought to be replaced, and nobody knows by what.
    Unknown,
    /// Nothing can be meant: the guest shall start without it.
    Optional,
}

/// Replaces one field (counted from 0) of each line that is no comment.
pub fn edit_lines(
    text: &str,
    field: usize,
    replacement: impl Fn(&str, &[&str]) -> Replaced,
) -> Edited {
    let mut edited = Edited::default();
    for line in text.split_inclusive('\n') {
        // More fields than that no table has.
        let fields: Vec<&str> = line.split_whitespace().take(8).collect();
        let device = fields.get(field).copied().unwrap_or_default();
        if line.trim_start().starts_with('#') || device.is_empty() {
            edited.text.push_str(line);
            continue;
        }
        match replacement(device, &fields) {
            Replaced::Kept => edited.text.push_str(line),
            Replaced::By(stable) => {
                let start = device.as_ptr() as usize - line.as_ptr() as usize;
                edited.text.push_str(&line[..start]);
                edited.text.push_str(&stable);
                edited.text.push_str(&line[start + device.len()..]);
            }
            Replaced::Optional if fields.len() > 2 => {
                let (mount, device) = (fields[1].to_owned(), device.to_owned());
                edited.made_optional.push((mount, device));
                edited.text.push_str(&with_nofail(line, &fields));
            }
            Replaced::Unknown | Replaced::Optional => {
                edited.left.push(device.to_owned());
                edited.text.push_str(line);
            }
        }
    }
    edited
}

/// A line of fstab with one more option.
fn with_nofail(line: &str, fields: &[&str]) -> String {
    let (last, added) = match fields {
        [_, _, _, options, ..] => (*options, ",nofail"),
        _ => (fields[2], " defaults,nofail"),
    };
    let end = last.as_ptr() as usize - line.as_ptr() as usize + last.len();
    format!("{}{added}{}", &line[..end], &line[end..])
}
