//! What images are taken of, and where they are kept (processes 600 and 700).

use serde::Deserialize;

/// The archive of an application: a repository of restic (deduplicated, compressed, encrypted).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// Where the repository is, as restic names it: a path, `sftp:...`, `rest:...`.
    pub repository: String,
    /// The repository's password: a secret parameter. Without it nobody reads an image.
    pub password: String,
    /// What an image holds: this folder.
    pub folder: String,
    /// Where an image is restored to in earnest; without it to `folder`.
    pub into: Option<String>,
    /// Names of files that are left out: a name, or `*` and an ending.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Trial restores go below this folder; it needs room for one image.
    pub scratch: String,
    /// A command that exits with 0 when the restored image in `{folder}` is good to the
    /// application; its bytes were compared before.
    pub proof: Option<Vec<String>>,
    /// The program; restic 0.14 or newer.
    #[serde(default = "restic")]
    pub program: String,
    /// How long one run of it may take, in seconds.
    #[serde(default = "day")]
    pub within_s: u32,
}

fn restic() -> String {
    "/usr/bin/restic".to_owned()
}

fn day() -> u32 {
    86_400
}
