//! The definition of a session's domain: standard virtual hardware, as data in,
//! XML out.

use std::path::Path;

use lifeboat_images::Format;
use lifeboat_network::MacAddr;

use crate::accelerator::Accelerator;
use crate::hardware::{Clock, DiskBus, NicModel};
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
    /// The firmware starts only what is signed.
    pub secure_boot: bool,
    /// The id that the guest sees (SMBIOS). libvirt's own stays another, since a
    /// machine may run in several sessions at once.
    pub uuid: Option<&'a str>,
    /// What its clock shows.
    pub clock: Clock,
    /// The bus of its disks.
    pub disk_bus: DiskBus,
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
    /// QEMU's version, major and minor: options were renamed.
    pub qemu_version: (u32, u32),
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
    /// Its model.
    pub model: NicModel,
}

/// Writes the definition.
pub fn domain_xml(spec: &DomainSpec) -> String {
    let (kind, cpu) = match spec.accelerator {
        Accelerator::Kvm => ("kvm", "<cpu mode='host-passthrough'/>"),
        Accelerator::Tcg => ("qemu", "<cpu mode='maximum'/>"),
    };
    let firmware = firmware(spec);
    let devices: String = controllers(spec)
        .chain(disks(spec))
        .chain(nics(spec))
        .collect();
    format!(
        "<domain type='{kind}' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>{name}</name>\
         <memory unit='MiB'>{memory}</memory><vcpu>{vcpus}</vcpu>\
         <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>\
         {firmware}<features><acpi/><apic/>{smm}</features>{cpu}<clock offset='{clock}'/>\
         <on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>\
         <devices>{devices}{console}\
         <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>\
         <graphics type='vnc'><listen type='none'/></graphics>\
         <video><model type='vga'/></video><memballoon model='none'/></devices>{beyond}</domain>",
        name = escape(spec.name),
        memory = spec.memory_mib,
        vcpus = spec.vcpus,
        console = console(spec.console_log),
        smm = if spec.secure_boot {
            "<smm state='on'/>"
        } else {
            ""
        },
        clock = match spec.clock {
            Clock::Utc => "utc",
            Clock::Localtime => "localtime",
        },
        beyond = beyond_libvirt(spec),
    )
}

fn firmware(spec: &DomainSpec) -> String {
    let machine = "<type arch='x86_64' machine='q35'>hvm</type>";
    match spec.firmware {
        Firmware::Bios => format!("<os>{machine}<boot dev='hd'/></os>"),
        Firmware::Uefi => format!(
            "<os firmware='efi'>{machine}<firmware>{}</firmware><nvram>{}</nvram><boot dev='hd'/></os>",
            match spec.secure_boot {
                true => {
                    "<feature enabled='yes' name='secure-boot'/>\
                     <feature enabled='yes' name='enrolled-keys'/>"
                }
                false => "<feature enabled='no' name='secure-boot'/>",
            },
            escape(&spec.nvram.to_string_lossy())
        ),
    }
}

/// Without the word libvirt would take its oldest SCSI controller.
fn controllers(spec: &DomainSpec) -> impl Iterator<Item = String> {
    let scsi = spec.disk_bus == DiskBus::Scsi;
    scsi.then(|| "<controller type='scsi' index='0' model='virtio-scsi'/>".to_owned())
        .into_iter()
}

fn disks<'s>(spec: &'s DomainSpec) -> impl Iterator<Item = String> + 's {
    let cache = if spec.disposable {
        "unsafe"
    } else {
        "writeback"
    };
    spec.disks.iter().enumerate().map(move |(index, disk)| {
        format!(
            "<disk type='file' device='disk'>{}{}<target dev='{}{}' bus='{}'/>{}</disk>",
            format_args!(
                "<driver name='qemu' type='{}' cache='{cache}' discard='unmap'/>",
                disk.layers
                    .first()
                    .map_or("qcow2", |layer| layer.format.qemu_driver())
            ),
            layers(&disk.layers),
            match spec.disk_bus {
                DiskBus::Virtio | DiskBus::Nvme => "vd",
                DiskBus::Scsi | DiskBus::Sata => "sd",
            },
            disk_letter(index),
            match spec.disk_bus {
                DiskBus::Virtio | DiskBus::Nvme => "virtio",
                DiskBus::Scsi => "scsi",
                DiskBus::Sata => "sata",
            },
            match spec.disk_bus {
                DiskBus::Nvme => format!(
                    "<serial>lifeboat-{index}</serial><alias name='{}'/>",
                    nvme_alias(index)
                ),
                _ => String::new(),
            },
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

fn nvme_alias(index: usize) -> String {
    format!("ua-nvme-{index}")
}

fn nics<'s>(spec: &'s DomainSpec) -> impl Iterator<Item = String> + 's {
    let virtio = |nic: &&NicSpec| nic.model == NicModel::Virtio;
    spec.nics.iter().filter(virtio).map(|nic| {
        format!(
            "<interface type='vhostuser'><mac address='{}'/>\
             <source type='unix' path='{}' mode='client'><reconnect enabled='yes' timeout='1'/></source>\
             <model type='virtio'/><driver rx_queue_size='1024'/></interface>",
            nic.mac,
            escape(&nic.socket.to_string_lossy()),
        )
    })
}

/// What libvirt has no words for: disks on NVMe, cards whose frames go through
/// a stream socket, and an SMBIOS id that is not the domain's own.
fn beyond_libvirt(spec: &DomainSpec) -> String {
    let mut arguments = Vec::new();
    for (index, nic) in spec.nics.iter().enumerate() {
        if nic.model == NicModel::E1000e {
            arguments.extend(stream_card(index, nic, spec.qemu_version));
        }
    }
    if let Some(uuid) = spec.uuid {
        arguments.extend(["-smbios".to_owned(), format!("type=1,uuid={uuid}")]);
    }
    let arguments: String = arguments
        .iter()
        .map(|argument| format!("<qemu:arg value='{}'/>", escape(argument)))
        .collect();
    let mut elements = String::new();
    if !arguments.is_empty() {
        elements = format!("<qemu:commandline>{arguments}</qemu:commandline>");
    }
    if spec.disk_bus == DiskBus::Nvme {
        let disks: String = (0..spec.disks.len()).map(nvme_disk).collect();
        elements.push_str(&format!("<qemu:override>{disks}</qemu:override>"));
    }
    elements
}

/// A card on a stream of frames; QEMU connects again when the switch was away.
fn stream_card(index: usize, nic: &NicSpec, qemu: (u32, u32)) -> [String; 4] {
    let id = format!("lifeboat-{index}");
    let mut network = serde_json::json!({
        "type": "stream", "id": id, "server": false,
        "addr": {"type": "unix", "path": nic.socket.to_string_lossy()},
    });
    match qemu {
        (10.., _) | (9, 2..) => network["reconnect-ms"] = 1000.into(),
        _ => network["reconnect"] = 1.into(),
    }
    let card = serde_json::json!({
        "driver": nic.model.word(), "netdev": id, "mac": nic.mac.to_string(),
    });
    [
        "-netdev".into(),
        network.to_string(),
        "-device".into(),
        card.to_string(),
    ]
}

/// libvirt before 11.5 has no NVMe disks, so that a virtio disk is made one:
/// all but its driver stays, what only virtio knows goes.
fn nvme_disk(index: usize) -> String {
    format!(
        "<qemu:device alias='{}'><qemu:frontend>\
         <qemu:property name='driver' type='string' value='nvme'/>\
         </qemu:frontend></qemu:device>",
        nvme_alias(index)
    )
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

    fn definition(change: impl FnOnce(&mut DomainSpec)) -> String {
        let layer = |number: usize| LayerSpec {
            group: format!("d{number}"),
            path: "/d".into(),
            format: Format::Raw,
        };
        let disk = |number| DiskSpec {
            layers: vec![layer(number)],
        };
        let nic = NicSpec {
            mac: "52:54:00:20:00:10".parse().unwrap(),
            socket: Path::new("/run/a,b.sock"),
            model: NicModel::Virtio,
        };
        let mut spec = DomainSpec {
            name: "m",
            accelerator: Accelerator::Tcg,
            firmware: Firmware::Bios,
            secure_boot: false,
            uuid: None,
            clock: Clock::Utc,
            disk_bus: DiskBus::Virtio,
            memory_mib: 512,
            vcpus: 1,
            disks: vec![disk(0), disk(1)],
            nics: vec![nic],
            console_log: Path::new("/c"),
            nvram: Path::new("/n"),
            qemu_version: (10, 0),
            disposable: true,
        };
        change(&mut spec);
        domain_xml(&spec)
    }

    #[track_caller]
    fn holds(text: &str, parts: &[&str]) {
        for part in parts {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }

    #[test]
    fn virtio_needs_nothing_beyond_libvirt() {
        let text = definition(|_| ());
        assert!(!text.contains("<qemu:"), "{text}");
        holds(&text, &["bus='virtio'", "type='vhostuser'", "dev='vdb'"]);
        // Nothing listens for who wants to see the screen.
        holds(
            &text,
            &["<graphics type='vnc'><listen type='none'/></graphics>"],
        );
    }

    #[test]
    fn each_bus_has_its_disks() {
        let sata = definition(|spec| spec.disk_bus = DiskBus::Sata);
        holds(&sata, &["dev='sda' bus='sata'", "dev='sdb' bus='sata'"]);
        let scsi = definition(|spec| spec.disk_bus = DiskBus::Scsi);
        holds(&scsi, &["model='virtio-scsi'", "dev='sda' bus='scsi'"]);
        let nvme = definition(|spec| spec.disk_bus = DiskBus::Nvme);
        holds(
            &nvme,
            &[
                "<serial>lifeboat-1</serial><alias name='ua-nvme-1'/>",
                "<qemu:device alias='ua-nvme-1'>",
                "value='nvme'",
            ],
        );
    }

    #[test]
    fn a_card_on_a_stream_is_given_to_qemu_itself() {
        let e1000e = |spec: &mut DomainSpec| spec.nics[0].model = NicModel::E1000e;
        let text = definition(e1000e);
        assert!(!text.contains("vhostuser"), "{text}");
        holds(
            &text,
            &[
                "&quot;path&quot;:&quot;/run/a,b.sock&quot;",
                "&quot;reconnect-ms&quot;:1000",
                "&quot;driver&quot;:&quot;e1000e&quot;",
                "&quot;mac&quot;:&quot;52:54:00:20:00:10&quot;",
            ],
        );
        let older = definition(|spec| {
            e1000e(spec);
            spec.qemu_version = (8, 2);
        });
        holds(&older, &["&quot;reconnect&quot;:1"]);
    }

    #[test]
    fn secure_boot_needs_keys_and_protected_variables() {
        let text = definition(|spec| {
            spec.firmware = Firmware::Uefi;
            spec.secure_boot = true;
            spec.uuid = Some("4c4c4544-0042-3510-8053-b4c04f4d3132");
            spec.clock = Clock::Localtime;
        });
        holds(
            &text,
            &[
                "<feature enabled='yes' name='secure-boot'/><feature enabled='yes' name='enrolled-keys'/>",
                "<smm state='on'/>",
                "<clock offset='localtime'/>",
                "'type=1,uuid=4c4c4544-0042-3510-8053-b4c04f4d3132'",
            ],
        );
        let without = definition(|spec| spec.firmware = Firmware::Uefi);
        holds(&without, &["<feature enabled='no' name='secure-boot'/>"]);
        assert!(!without.contains("smm"));
    }

    #[test]
    fn hostile_names_stay_text() {
        assert_eq!(escape("a'/><x"), "a&apos;/&gt;&lt;x");
    }
}
