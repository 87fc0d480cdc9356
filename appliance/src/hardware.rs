//! The virtual hardware of a machine: virtio where its drivers are there or can
//! be injected, otherwise hardware that its own drivers know.

use clap::ValueEnum;
use lifeboat_drivers::{Bus, Fallback, Target};
use serde::{Deserialize, Serialize};

use crate::site::Machine;

/// The bus of a machine's disks.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum DiskBus {
    /// virtio-blk.
    #[default]
    Virtio,
    /// virtio-scsi.
    Scsi,
    /// SATA disks on an AHCI controller.
    Sata,
    /// An NVMe controller a disk.
    Nvme,
}

/// The model of a network card.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum NicModel {
    /// virtio-net.
    #[default]
    Virtio,
    /// Intel 82574L.
    E1000e,
}

/// What the machine's clock shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = MachineClock)]
pub enum Clock {
    /// Universal time.
    #[default]
    Utc,
    /// The host's local time, as most Windows machines expect.
    Localtime,
}

impl DiskBus {
    /// The word of the site file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Virtio => "virtio",
            Self::Scsi => "scsi",
            Self::Sata => "sata",
            Self::Nvme => "nvme",
        }
    }

    /// The same as the injector calls it.
    pub fn for_injector(self) -> Bus {
        match self {
            Self::Virtio => Bus::VirtioBlk,
            Self::Scsi => Bus::VirtioScsi,
            Self::Sata => Bus::Ahci,
            Self::Nvme => Bus::Nvme,
        }
    }
}

impl From<Bus> for DiskBus {
    fn from(bus: Bus) -> Self {
        match bus {
            Bus::VirtioBlk => Self::Virtio,
            Bus::VirtioScsi => Self::Scsi,
            Bus::Ahci => Self::Sata,
            Bus::Nvme => Self::Nvme,
        }
    }
}

impl NicModel {
    /// The word of the site file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Virtio => "virtio",
            Self::E1000e => "e1000e",
        }
    }

    fn for_injector(self) -> lifeboat_drivers::NicModel {
        match self {
            Self::Virtio => lifeboat_drivers::NicModel::Virtio,
            Self::E1000e => lifeboat_drivers::NicModel::E1000e,
        }
    }
}

impl From<lifeboat_drivers::NicModel> for NicModel {
    fn from(model: lifeboat_drivers::NicModel) -> Self {
        match model {
            lifeboat_drivers::NicModel::Virtio => Self::Virtio,
            lifeboat_drivers::NicModel::E1000e => Self::E1000e,
        }
    }
}

/// The hardware that a machine was prepared for, and so boots on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Hardware {
    /// The bus of its disks.
    #[serde(default)]
    pub disk: DiskBus,
    /// The model of each of its cards, in order.
    #[serde(default)]
    pub nics: Vec<NicModel>,
    /// What its clock shows, as the guest itself is set to read it.
    #[serde(default)]
    pub clock: Clock,
    /// Why it is not what was wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_reason: Option<String>,
    /// What was wanted, where it is something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<String>,
}

impl Hardware {
    /// What the site file asks for; virtio where it says nothing.
    pub fn wanted(machine: &Machine) -> Self {
        let nics = machine.nics.iter();
        Self {
            disk: machine.disk_bus.unwrap_or_default(),
            nics: nics.map(|nic| nic.model.unwrap_or_default()).collect(),
            clock: Clock::Utc,
            fallback_reason: None,
            instead_of: None,
        }
    }

    /// What the injector offers instead, unless the site file insists on
    /// something else.
    pub fn instead(machine: &Machine, offer: &Fallback) -> Option<Self> {
        let disk = DiskBus::from(offer.disk);
        if machine.disk_bus.is_some_and(|wanted| wanted != disk) {
            return None;
        }
        let offered = NicModel::from(offer.nic);
        let nics = machine.nics.iter();
        let nics: Vec<_> = nics.map(|nic| nic.model.unwrap_or(offered)).collect();
        let insists = nics.iter().any(|model| *model != offered);
        (!insists).then(|| Self {
            disk,
            nics,
            clock: Clock::Utc,
            fallback_reason: Some(offer.reason.clone()),
            instead_of: Some(Self::wanted(machine).describe()),
        })
    }

    /// What the injector prepares for. A card of another model needs nothing:
    /// its driver is loaded from the guest's own disk.
    pub fn target(&self) -> Target {
        let mixed = self.nics.contains(&NicModel::Virtio) || self.nics.is_empty();
        let nic = if mixed {
            NicModel::Virtio
        } else {
            NicModel::E1000e
        };
        Target {
            disk: self.disk.for_injector(),
            nic: nic.for_injector(),
        }
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        let mut words = vec![format!("{} disks", self.disk.word())];
        let mut models: Vec<_> = self.nics.iter().map(|model| model.word()).collect();
        let mut seen = std::collections::HashSet::new();
        models.retain(|model| seen.insert(*model));
        words.extend(models.iter().map(|model| format!("{model} cards")));
        words.join(", ")
    }

    /// The warning of a machine that does not boot on what was wanted.
    pub fn warning(&self) -> Option<String> {
        let reason = self.fallback_reason.as_ref()?;
        Some(format!(
            "boots on {} instead of {}: {reason}",
            self.describe(),
            self.instead_of.as_deref().unwrap_or("virtio")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Site;

    fn machine(keys: &str, nic_keys: &str) -> Machine {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "").unwrap();
        let text = format!(
            "[site]\nname = \"s\"\n[[network]]\nname = \"lan\"\ncidr = \"10.0.0.0/24\"\n\
             [[machine]]\nname = \"m\"\nvolumes = [\"a\"]\n{keys}\n\
             [[machine.nic]]\nnetwork = \"lan\"\nmac = \"52:54:00:00:00:01\"\n{nic_keys}\n"
        );
        let site = Site::parse(&folder.path().join("site.toml"), &text).unwrap();
        site.machines[0].clone()
    }

    fn offer() -> Fallback {
        Fallback {
            disk: Bus::Ahci,
            nic: lifeboat_drivers::NicModel::E1000e,
            reason: "kernel 2.6.9 has no virtio".into(),
        }
    }

    #[test]
    fn an_offer_is_taken_unless_the_site_file_insists() {
        let taken = Hardware::instead(&machine("", ""), &offer()).unwrap();
        assert_eq!(
            (taken.disk, taken.nics.as_slice()),
            (DiskBus::Sata, &[NicModel::E1000e][..])
        );
        assert_eq!(
            taken.warning().unwrap(),
            "boots on sata disks, e1000e cards instead of virtio disks, virtio cards: kernel 2.6.9 has no virtio"
        );
        let same = machine("disk_bus = \"sata\"", "model = \"e1000e\"");
        assert!(Hardware::instead(&same, &offer()).is_some());
        let half = Hardware::instead(&machine("disk_bus = \"sata\"", ""), &offer()).unwrap();
        let said = half.warning().unwrap();
        assert!(
            said.contains("instead of sata disks, virtio cards:"),
            "{said}"
        );
        for (keys, nic_keys) in [("disk_bus = \"virtio\"", ""), ("", "model = \"virtio\"")] {
            assert_eq!(Hardware::instead(&machine(keys, nic_keys), &offer()), None);
        }
    }

    #[test]
    fn every_model_is_named_once() {
        use NicModel::{E1000e, Virtio};
        let mixed = Hardware {
            nics: vec![Virtio, E1000e, Virtio],
            ..Hardware::default()
        };
        assert_eq!(mixed.describe(), "virtio disks, virtio cards, e1000e cards");
    }

    #[test]
    fn what_is_wanted_is_what_is_prepared_for() {
        let wanted = Hardware::wanted(&machine("disk_bus = \"nvme\"", "model = \"e1000e\""));
        assert_eq!(wanted.target().disk, Bus::Nvme);
        assert_eq!(wanted.target().nic, lifeboat_drivers::NicModel::E1000e);
        let default = Hardware::wanted(&machine("", ""));
        assert_eq!(default.target(), Target::default());
        assert_eq!(default.warning(), None);
    }
}
