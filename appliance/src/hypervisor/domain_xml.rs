//! The definition of a session's domain: standard virtual hardware, as data in,
//! XML out.

use std::path::Path;

use lifeboat_images::Format;
use lifeboat_network::MacAddr;

use crate::accelerator::Accelerator;
use crate::site::Firmware;

/// Everything a domain's definition depends on.
#[derive(Debug)]
pub struct DomainSpec<'a> {
    /// Name in libvirt.
    pub name: &'a str,
    /// KVM or QEMU's own emulation.
    pub accelerator: Accelerator,
    /// Firmware.
    pub firmware: Firmware,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Processors.
    pub vcpus: u32,
    /// Disks in order.
    pub disks: Vec<DiskSpec>,
    /// Network cards in order.
    pub nics: Vec<NicSpec<'a>>,
    /// File that receives the serial console.
    pub console_log: &'a Path,
    /// File of the UEFI variables, made fresh from the firmware's template.
    pub nvram: &'a Path,
    /// Whether the run overlays are thrown away, so that flushes may be skipped.
    pub disposable: bool,
}

/// One disk: its layers, top first, each a descriptor group.
#[derive(Debug)]
pub struct DiskSpec {
    /// Layers, top first.
    pub layers: Vec<LayerSpec>,
}

/// One layer of a disk.
#[derive(Debug)]
pub struct LayerSpec {
    /// `fdgroup` under which libvirt got the descriptor.
    pub group: String,
    /// Path for the log only; QEMU never opens it.
    pub path: String,
    /// Format, explicit.
    pub format: Format,
}

/// One network card.
#[derive(Debug)]
pub struct NicSpec<'a> {
    /// Hardware address.
    pub mac: MacAddr,
    /// Socket on which the switch listens.
    pub socket: &'a Path,
}

/// Writes the definition.
pub fn domain_xml(spec: &DomainSpec) -> String {
    let (kind, cpu) = match spec.accelerator {
        Accelerator::Kvm => ("kvm", "<cpu mode='host-passthrough'/>"),
        Accelerator::Tcg => ("qemu", "<cpu mode='maximum'/>"),
    };
    let firmware = firmware(spec);
    let devices: String = disks(spec).chain(nics(spec)).collect();
    format!(
        "<domain type='{kind}'><name>{name}</name>\
         <memory unit='MiB'>{memory}</memory><vcpu>{vcpus}</vcpu>\
         <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>\
         {firmware}<features><acpi/><apic/></features>{cpu}<clock offset='utc'/>\
         <on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>\
         <devices>{devices}{console}\
         <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>\
         <video><model type='vga'/></video><memballoon model='none'/></devices></domain>",
        name = escape(spec.name),
        memory = spec.memory_mib,
        vcpus = spec.vcpus,
        console = console(spec.console_log),
    )
}

fn firmware(spec: &DomainSpec) -> String {
    let machine = "<type arch='x86_64' machine='q35'>hvm</type>";
    match spec.firmware {
        Firmware::Bios => format!("<os>{machine}<boot dev='hd'/></os>"),
        Firmware::Uefi => format!(
            "<os firmware='efi'>{machine}<firmware><feature enabled='no' name='secure-boot'/></firmware>\
             <nvram>{}</nvram><boot dev='hd'/></os>",
            escape(&spec.nvram.to_string_lossy())
        ),
    }
}

fn disks<'s>(spec: &'s DomainSpec) -> impl Iterator<Item = String> + 's {
    let cache = if spec.disposable {
        "unsafe"
    } else {
        "writeback"
    };
    spec.disks.iter().enumerate().map(move |(index, disk)| {
        format!(
            "<disk type='file' device='disk'>{}{}<target dev='vd{}' bus='virtio'/></disk>",
            format_args!(
                "<driver name='qemu' type='{}' cache='{cache}' discard='unmap'/>",
                disk.layers
                    .first()
                    .map_or("qcow2", |layer| layer.format.qemu_driver())
            ),
            layers(&disk.layers),
            disk_letter(index),
        )
    })
}

/// The source of the top layer and, nested, the backing stores below it. The
/// innermost empty element says that the chain ends here, so that libvirt
/// probes nothing.
fn layers(layers: &[LayerSpec]) -> String {
    let Some((top, below)) = layers.split_first() else {
        return "<backingStore/>".to_owned();
    };
    let inner = match below.first() {
        None => "<backingStore/>".to_owned(),
        Some(next) => format!(
            "<backingStore type='file'><format type='{}'/>{}</backingStore>",
            next.format.qemu_driver(),
            self::layers(below)
        ),
    };
    format!(
        "<source file='{}' fdgroup='{}'/>{inner}",
        escape(&top.path),
        escape(&top.group)
    )
}

fn nics<'s>(spec: &'s DomainSpec) -> impl Iterator<Item = String> + 's {
    spec.nics.iter().map(|nic| {
        format!(
            "<interface type='vhostuser'><mac address='{}'/>\
             <source type='unix' path='{}' mode='client'><reconnect enabled='yes' timeout='1'/></source>\
             <model type='virtio'/><driver rx_queue_size='1024'/></interface>",
            nic.mac,
            escape(&nic.socket.to_string_lossy()),
        )
    })
}

fn console(log: &Path) -> String {
    format!(
        "<serial type='file'><source path='{}' append='on'><seclabel model='dac' relabel='no'/></source>\
         <target port='0'/></serial>",
        escape(&log.to_string_lossy())
    )
}

/// `a` to `z`, then `aa` and on, as libvirt and Linux count disks.
fn disk_letter(index: usize) -> String {
    let letter = char::from(b'a' + u8::try_from(index % 26).unwrap_or(0));
    match index / 26 {
        0 => letter.to_string(),
        more => format!("{}{letter}", disk_letter(more - 1)),
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\'' => escaped.push_str("&apos;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_letters_count_like_linux() {
        let letters: Vec<_> = [0, 1, 25, 26, 27, 701, 702].map(disk_letter).into();
        assert_eq!(letters, ["a", "b", "z", "aa", "ab", "zz", "aaa"]);
    }

    #[test]
    fn a_chain_ends_in_an_empty_backing_store() {
        let layer = |group: &str, format| LayerSpec {
            group: group.into(),
            path: format!("/{group}"),
            format,
        };
        let text = layers(&[layer("run", Format::Qcow2), layer("base", Format::Raw)]);
        assert_eq!(
            text,
            "<source file='/run' fdgroup='run'/><backingStore type='file'><format type='raw'/>\
             <source file='/base' fdgroup='base'/><backingStore/></backingStore>"
        );
    }

    #[test]
    fn hostile_names_stay_text() {
        assert_eq!(escape("a'/><x"), "a&apos;/&gt;&lt;x");
    }
}
