//! The directory servers.

use super::{Bed, Host, REALM, Site};

/// A site's directory server.
#[derive(Debug)]
pub struct Directory<'a> {
    /// Where it runs.
    pub host: Host<'a>,
}

impl<'a> Directory<'a> {
    pub(super) fn new(bed: &'a Bed, site: Site) -> Self {
        Self {
            host: bed.host(&format!("dc-{}", site.word())),
        }
    }

    /// Fetches at once all that the other server has, its DNS records too.
    #[track_caller]
    pub fn replicate_from(&self, other: &Self) {
        self.host.run(&["replicate-from", other.host.place()]);
    }

    /// Makes an account of a user.
    #[track_caller]
    pub fn create_user(&self, name: &str) {
        self.host
            .run(&["samba-tool", "user", "create", name, super::PASSWORD]);
    }

    /// Whether it knows an account, user or computer (with `$`).
    #[track_caller]
    pub fn knows(&self, account: &str) -> bool {
        let filter = format!("(sAMAccountName={account})");
        let words = ["ldbsearch", "-H", "/var/lib/samba/private/sam.ldb"];
        let said = self
            .host
            .run(&[&words[..], &[filter.as_str(), "dn"]].concat());
        said.lines().any(|line| line.starts_with("dn: "))
    }

    /// The addresses that its own DNS gives for a host of the domain.
    #[track_caller]
    pub fn addresses(&self, name: &str) -> Vec<String> {
        let name = format!("{name}.{REALM}");
        let words = ["dig", "+short", "+time=2", "+tries=1", "@127.0.0.1", &name];
        let said = self.host.ask(&words);
        said.stdout.lines().map(str::to_owned).collect()
    }
}
