//! What an agent says of an image.

use serde::{Deserialize, Serialize};

use super::UnixMillis;

/// What is known of an image. The actions about images carry it in their evidence, as a line of
/// JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageFacts {
    /// The name that the control centre gave it.
    pub image: String,
    /// When it began, by the clock of the host.
    pub began: UnixMillis,
    /// How many files it holds.
    pub files: u64,
    /// How many bytes these have.
    pub bytes: u64,
    /// How many bytes the repository grew by, where the image was taken.
    pub added: Option<u64>,
    /// The SHA-256 of everything in it, where it was restored.
    pub digest: Option<String>,
    /// How many files were compared with what the image was taken of, where it was proved.
    pub compared: Option<u64>,
    /// How many changed meanwhile and could not be compared.
    pub moved_on: Option<u64>,
}

impl ImageFacts {
    /// As a line of evidence.
    pub fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Out of the evidence of an action: the last line that is one.
    pub fn find(evidence: &[String]) -> Option<Self> {
        let facts = |line: &String| serde_json::from_str(line).ok();
        evidence.iter().rev().find_map(facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_found_among_other_evidence() {
        let facts = ImageFacts {
            image: "i".to_owned(),
            began: 1,
            files: 2,
            bytes: 3,
            added: Some(4),
            digest: None,
            compared: None,
            moved_on: None,
        };
        let evidence = [facts.line(), "mail: is mounted already".to_owned()];
        assert_eq!(ImageFacts::find(&evidence), Some(facts));
        assert_eq!(ImageFacts::find(&evidence[1..]), None);
    }
}
