//! The control centre's name servers.

use super::{Bed, Host, ZONE};

/// One of the two.
#[derive(Debug)]
pub struct NameServer<'a> {
    bed: &'a Bed,
    /// Where it runs.
    pub host: Host<'a>,
}

/// A dynamic update that the server did not take.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused(pub String);

impl<'a> NameServer<'a> {
    pub(super) fn new(bed: &'a Bed, number: u8) -> Self {
        Self {
            bed,
            host: bed.host(&format!("ns{number}")),
        }
    }

    /// The addresses that it gives for a name of the zone.
    #[track_caller]
    pub fn addresses(&self, name: &str) -> Vec<String> {
        let at = format!("@{}", self.host.address());
        let name = format!("{name}.{ZONE}");
        let words = ["dig", "+short", "+time=2", "+tries=1", &at, &name, "A"];
        let said = self.bed.host("centre").ask(&words);
        said.stdout.lines().map(str::to_owned).collect()
    }

    /// Gives a name one address, with the control centre's key.
    pub fn point(&self, name: &str, address: &str) -> Result<(), Refused> {
        self.update(&["-k", "/etc/bed/tsig.key"], name, address)
    }

    /// Tries the same without a key.
    pub fn point_without_key(&self, name: &str, address: &str) -> Result<(), Refused> {
        self.update(&[], name, address)
    }

    fn update(&self, key: &[&str], name: &str, address: &str) -> Result<(), Refused> {
        let centre = self.bed.host("centre");
        let lines = format!(
            "server {}\nzone {ZONE}\nupdate delete {name}.{ZONE} A\nupdate add {name}.{ZONE} 0 A {address}\nsend\n",
            self.host.address()
        );
        centre.write("/tmp/update", &lines);
        let words = [&["nsupdate", "-t", "3"], key, &["/tmp/update"]].concat();
        let said = centre.ask(&words);
        if said.status.success() {
            Ok(())
        } else {
            Err(Refused(said.stderr))
        }
    }
}
