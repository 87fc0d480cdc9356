//! Site files, written as data.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// A site file in the making.
#[derive(Debug, Clone)]
pub struct SiteFile {
    table: Table,
}

impl SiteFile {
    /// Parses the text of a site file.
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        let table = text
            .parse()
            .unwrap_or_else(|error| panic!("not TOML ({error}): {text}"));
        Self { table }
    }

    /// Gives it another name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.child_mut("site").insert("name".into(), name.into());
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        let name = self
            .table
            .get("site")
            .and_then(|site| site.get("name")?.as_str());
        name.unwrap_or_default()
    }

    /// Leaves only these machines.
    #[must_use]
    pub fn only(mut self, names: &[&str]) -> Self {
        self.machines_mut()
            .retain(|machine| names.contains(&name_of(machine)));
        self
    }

    /// Replaces a machine's gates by those in `text`, `[[gate]]` tables.
    #[track_caller]
    #[must_use]
    pub fn gates(mut self, machine: &str, text: &str) -> Self {
        let gates = Self::parse(text).table.remove("gate");
        let table = self.machine_mut(machine);
        table.remove("gate");
        table.extend(gates.map(|gates| ("gate".to_owned(), gates)));
        self
    }

    /// Changes a key of a machine.
    #[track_caller]
    #[must_use]
    pub fn set(mut self, machine: &str, key: &str, value: impl Into<Value>) -> Self {
        self.machine_mut(machine).insert(key.into(), value.into());
        self
    }

    /// Changes the hardware address of a machine's cards.
    #[track_caller]
    #[must_use]
    pub fn mac(self, machine: &str, mac: &str) -> Self {
        self.set_nics(machine, "mac", mac)
    }

    /// Changes a key of each of a machine's cards.
    #[track_caller]
    #[must_use]
    pub fn set_nics(mut self, machine: &str, key: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        for nic in self.nics_mut(machine) {
            nic.insert(key.into(), value.clone());
        }
        self
    }

    /// Takes the address of a machine's cards away.
    #[track_caller]
    #[must_use]
    pub fn without_address(mut self, machine: &str) -> Self {
        for nic in self.nics_mut(machine) {
            nic.remove("address");
        }
        self
    }

    /// Says that `after` needs `before`.
    #[must_use]
    pub fn dependency(mut self, before: &str, after: &str) -> Self {
        let said: Table = [("before", before), ("after", after)]
            .map(|(key, name)| (key.to_owned(), Value::from(name)))
            .into_iter()
            .collect();
        let all = self
            .table
            .entry("dependency")
            .or_insert(Value::Array(vec![]));
        if let Some(all) = all.as_array_mut() {
            all.push(said.into());
        }
        self
    }

    /// Makes volumes absolute, as seen from `folder`.
    #[must_use]
    pub fn with_volumes_of(mut self, folder: &Path) -> Self {
        for machine in self.machines_mut().iter_mut() {
            let volumes = machine.get_mut("volumes").and_then(Value::as_array_mut);
            for volume in volumes.into_iter().flatten() {
                let path = folder.join(volume.as_str().unwrap_or_default());
                *volume = path.to_string_lossy().into_owned().into();
            }
        }
        self
    }

    /// Its machines.
    pub fn machines(&self) -> &[Value] {
        let machines = self.table.get("machine").and_then(Value::as_array);
        machines.map_or(&[], Vec::as_slice)
    }

    /// First volume of a machine.
    #[track_caller]
    pub fn volume(&self, machine: &str) -> PathBuf {
        let found = self.machines().iter().find(|m| name_of(m) == machine);
        let volume = found.and_then(|machine| machine.get("volumes")?.get(0)?.as_str());
        volume
            .unwrap_or_else(|| panic!("no machine `{machine}` with a volume"))
            .into()
    }

    /// The text.
    #[track_caller]
    pub fn text(&self) -> String {
        toml::to_string(&self.table).unwrap_or_else(|error| panic!("not writable: {error}"))
    }

    fn child_mut(&mut self, key: &str) -> &mut Table {
        let child = self.table.get_mut(key).and_then(Value::as_table_mut);
        child.unwrap_or_else(|| panic!("no table `{key}`"))
    }

    fn machines_mut(&mut self) -> &mut Vec<Value> {
        let machines = self.table.get_mut("machine").and_then(Value::as_array_mut);
        machines.unwrap_or_else(|| panic!("no machines"))
    }

    #[track_caller]
    fn nics_mut(&mut self, machine: &str) -> impl Iterator<Item = &mut Table> {
        let nics = self.machine_mut(machine).get_mut("nic");
        let nics = nics.and_then(Value::as_array_mut).into_iter().flatten();
        nics.filter_map(Value::as_table_mut)
    }

    #[track_caller]
    fn machine_mut(&mut self, name: &str) -> &mut Table {
        let machine = self.machines_mut().iter_mut().find(|m| name_of(m) == name);
        let table = machine.and_then(Value::as_table_mut);
        table.unwrap_or_else(|| panic!("no machine `{name}`"))
    }
}

fn name_of(machine: &Value) -> &str {
    let name = machine.get("name").and_then(Value::as_str);
    name.unwrap_or_default()
}
