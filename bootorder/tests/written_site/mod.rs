//! A site written by hand, one folder a machine.

use std::fs;

use tempfile::TempDir;

/// Its folders; they vanish with it.
pub struct Site(pub TempDir);

impl Site {
    pub fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// A file of a machine.
    pub fn file(self, machine: &str, file: &str, text: &str) -> Self {
        let path = self.0.path().join(machine).join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// A machine with a name and a static address.
    pub fn machine(self, machine: &str, address: &str) -> Self {
        let interfaces = format!("iface eth0 inet static\n  address {address}/24\n");
        self.file(machine, "etc/hostname", &format!("{machine}\n"))
            .file(machine, "etc/network/interfaces", &interfaces)
    }
}
