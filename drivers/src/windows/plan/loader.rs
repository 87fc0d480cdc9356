//! The loader of Windows on the EFI system partition, and its configuration.

use lifeboat_hive::{EditError, Editor};

use super::super::hives::{open_hive, refusal};
use super::super::tree::WindowsTree;
use super::{LOADER, Planner, Volume};
use crate::refusal::Refusal;

const VENDOR: &str = "EFI/Microsoft/Boot/bootmgfw.efi";
const FALLBACK: &str = "EFI/Boot/bootx64.efi";

/// Whether a machine can start from an EFI system partition, once it is prepared.
pub fn has_loader(esp: &WindowsTree) -> bool {
    esp.is_file(VENDOR) || esp.is_file(FALLBACK)
}

impl Planner<'_> {
    /// The firmware's memory does not travel with the disks: without the
    /// fallback path it finds no loader.
    pub(super) fn boot_loader(&mut self) -> Result<(), Refusal> {
        let Some(esp) = self.input.esp else {
            return Ok(());
        };
        let is_there = esp.is_file(FALLBACK);
        match esp.read(VENDOR, LOADER).ok().flatten() {
            Some(loader) if !is_there => {
                self.write(Volume::Esp, esp.place(FALLBACK), loader);
                self.plan.fallback_loader = true;
            }
            Some(_) => self.plan.fallback_loader = true,
            None => {
                self.plan.fallback_loader = is_there;
                let text = "the EFI system partition has no loader of Windows";
                self.plan.warnings.push(text.to_owned());
            }
        }
        // What it says of the screen of the old hardware keeps the new one dark.
        match open_hive(esp, "EFI/Microsoft/Boot/BCD") {
            Ok(Some(mut hive)) => {
                let done = drop_screen(&mut hive.editor);
                done.map_err(|error| refusal(&hive.path, &error))?;
                self.put_hive(Volume::Esp, hive)?;
            }
            Ok(None) => {}
            Err(why) => self.plan.warnings.push(why.to_string()),
        }
        Ok(())
    }
}

/// Takes the elements that fix the graphics mode out of the boot configuration.
fn drop_screen(bcd: &mut Editor) -> Result<(), EditError> {
    let objects = bcd.hive().root().and_then(|root| root.subkey("Objects"));
    let objects = objects.into_iter().flat_map(|key| key.subkeys());
    let names: Vec<String> = objects.map(|key| key.name()).collect();
    for name in names {
        bcd.remove_key(&format!("Objects\\{name}\\Elements\\16000046"))?;
    }
    Ok(())
}
