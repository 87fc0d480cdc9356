//! QEMU's command line. Every block node is named explicitly, so that nothing
//! which an image says of itself is ever followed.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use serde_json::{Value, json};

use super::{Accelerator, Disk, Format, MicroVm};

/// What every micro-VM's kernel is told: nothing but the injector runs in it, so
/// that it needs no security modules, and waits for nobody when it unmounts.
const KERNEL_WORDS: &str = "console=ttyS0 quiet loglevel=4 panic=-1 reboot=t rdinit=/init \
                            cryptomgr.notests=1 rcupdate.rcu_expedited=1 lsm=none audit=0 \
                            init_on_alloc=0";
/// What only costs time on an emulated processor: interpreting the firmware's
/// tables, rewriting its own code, and measuring time stamps that drift anyway.
const EMULATED: &str = " nokaslr tsc=unstable acpi=off noreplace-smp mitigations=off";

/// All that one launch needs.
pub(super) struct Machine<'a> {
    pub vm: &'a MicroVm,
    pub kernel: OwnedFd,
    pub initramfs: OwnedFd,
    pub disks: &'a [Disk],
    pub writable: bool,
    pub kit: Option<&'a File>,
    pub drivers: Option<&'a File>,
    pub output: &'a File,
}

impl Machine<'_> {
    /// Descriptors that QEMU must inherit.
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let layers = self.disks.iter().flat_map(|disk| &disk.layers);
        layers
            .map(|layer| layer.file.as_fd())
            .chain(self.kit.map(|kit| kit.as_fd()))
            .chain(self.drivers.map(|drivers| drivers.as_fd()))
            .chain([
                self.kernel.as_fd(),
                self.initramfs.as_fd(),
                self.output.as_fd(),
            ])
            .collect()
    }

    /// All arguments.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut arguments = Arguments::default();
        self.isolation(&mut arguments);
        self.hardware(&mut arguments);
        for (number, disk) in self.disks.iter().enumerate() {
            let node = add_layers(&mut arguments, number, disk, self.writable);
            arguments.disk(&node, &format!("lifeboat-{number}"));
        }
        if let Some(kit) = self.kit {
            add_archive(&mut arguments, kit, "kit", crate::init::KIT_SERIAL);
        }
        if let Some(drivers) = self.drivers {
            add_archive(
                &mut arguments,
                drivers,
                "drivers",
                crate::init::DRIVERS_SERIAL,
            );
        }
        arguments.descriptor(self.output.as_fd());
        let set = self.output.as_raw_fd();
        arguments.pair("-blockdev", json!({
            "node-name": "output", "driver": "raw", "discard": "unmap", "detect-zeroes": "unmap",
            "file": {"driver": "file", "filename": format!("/dev/fdset/{set}"), "discard": "unmap",
                     "cache": {"direct": false, "no-flush": true}}
        }));
        arguments.disk("output", crate::init::OUTPUT_SERIAL);
        arguments.words
    }

    fn isolation(&self, arguments: &mut Arguments) {
        arguments.flags(&["-nodefaults", "-no-user-config", "-no-reboot"]);
        arguments.text("-nic", "none");
        arguments.text("-display", "none");
        arguments.text(
            "-sandbox",
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        );
    }

    fn hardware(&self, arguments: &mut Arguments) {
        let (accelerator, processor) = match self.vm.accelerator {
            Accelerator::Kvm => ("kvm", "host"),
            // The fewest features: emulated vector units are slower than none.
            Accelerator::Tcg => ("tcg,tb-size=256", "qemu64"),
        };
        arguments.text(
            "-machine",
            "q35,usb=off,smbus=off,sata=off,vmport=off,hpet=off",
        );
        arguments.text("-accel", accelerator);
        arguments.text("-cpu", processor);
        arguments.text("-m", &format!("{}M", self.vm.memory_mib));
        arguments.text("-chardev", "stdio,id=console,signal=off");
        arguments.text("-serial", "chardev:console");
        // Opened by name, the only way QEMU takes these two; the name leads to
        // memory that QEMU's own user may read.
        let own = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
        arguments.text("-kernel", &own(&self.kernel));
        arguments.text("-initrd", &own(&self.initramfs));
        let only_here = match self.vm.accelerator {
            Accelerator::Kvm => "",
            Accelerator::Tcg => EMULATED,
        };
        arguments.text("-append", &format!("{KERNEL_WORDS}{only_here}"));
    }
}

/// An archive for those guests that need it; nothing of it is read otherwise.
fn add_archive(arguments: &mut Arguments, archive: &File, node: &str, serial: &str) {
    arguments.descriptor(archive.as_fd());
    let set = archive.as_raw_fd();
    arguments.pair(
        "-blockdev",
        json!({
            "node-name": node, "driver": "raw", "read-only": true,
            "file": {"driver": "file", "filename": format!("/dev/fdset/{set}"), "read-only": true}
        }),
    );
    arguments.disk(node, serial);
}

/// Adds the layers of one disk, lowest first; gives the top node's name.
fn add_layers(arguments: &mut Arguments, number: usize, disk: &Disk, writable: bool) -> String {
    let mut below: Option<String> = None;
    for (depth, layer) in disk.layers.iter().enumerate().rev() {
        arguments.descriptor(layer.file.as_fd());
        let name = format!("disk{number}-{depth}");
        let read_only = !(writable && depth == 0);
        let mut node = json!({
            "node-name": name,
            "driver": driver(layer.format),
            "read-only": read_only,
            "file": {
                "driver": "file",
                "filename": format!("/dev/fdset/{}", layer.file.as_raw_fd()),
                "read-only": read_only,
                "cache": {"direct": false, "no-flush": true},
            },
        });
        if layer.format == Format::Qcow2 {
            // `null` is an order too: never what the header says.
            node["backing"] = below.map_or(Value::Null, Value::String);
        }
        arguments.pair("-blockdev", node);
        below = Some(name);
    }
    below.unwrap_or_default()
}

fn driver(format: Format) -> &'static str {
    match format {
        Format::Raw => "raw",
        Format::Qcow2 => "qcow2",
        Format::Vmdk => "vmdk",
        Format::Vpc => "vpc",
        Format::Vhdx => "vhdx",
        Format::Vdi => "vdi",
    }
}

#[derive(Default)]
struct Arguments {
    words: Vec<String>,
}

impl Arguments {
    fn flags(&mut self, flags: &[&str]) {
        self.words
            .extend(flags.iter().map(|flag| (*flag).to_owned()));
    }

    fn text(&mut self, option: &str, value: &str) {
        self.words.extend([option.to_owned(), value.to_owned()]);
    }

    fn pair(&mut self, option: &str, value: Value) {
        self.text(option, &value.to_string());
    }

    fn descriptor(&mut self, fd: BorrowedFd<'_>) {
        let number = fd.as_raw_fd();
        self.text("-add-fd", &format!("fd={number},set={number}"));
    }

    fn disk(&mut self, node: &str, serial: &str) {
        self.pair(
            "-device",
            json!({"driver": "virtio-blk-pci", "drive": node, "serial": serial}),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::super::Layer;
    use super::*;

    fn file() -> OwnedFd {
        tempfile::tempfile().unwrap().into()
    }

    #[test]
    fn nodes_stand_on_one_another_by_name_only() {
        let vm = MicroVm {
            qemu: PathBuf::new(),
            kernel_dir: PathBuf::new(),
            drivers: None,
            injector: PathBuf::new(),
            accelerator: Accelerator::Tcg,
            memory_mib: 512,
            timeout: Duration::from_secs(1),
            run_as: None,
        };
        let layer = |format| Layer {
            file: file(),
            format,
        };
        let disks = [Disk {
            layers: vec![
                layer(Format::Qcow2),
                layer(Format::Qcow2),
                layer(Format::Raw),
            ],
        }];
        let output = tempfile::tempfile().unwrap();
        let (kernel, initramfs) = (file(), file());
        let kit = tempfile::tempfile().unwrap();
        let machine = Machine {
            vm: &vm,
            kernel,
            initramfs,
            disks: &disks,
            writable: true,
            kit: Some(&kit),
            drivers: None,
            output: &output,
        };
        let arguments = machine.arguments();
        let nodes: Vec<Value> = arguments
            .windows(2)
            .filter(|pair| pair[0] == "-blockdev")
            .map(|pair| serde_json::from_str(&pair[1]).unwrap())
            .collect();
        let backing: Vec<&Value> = nodes.iter().map(|node| &node["backing"]).collect();
        assert_eq!(backing[1], "disk0-2");
        assert_eq!(backing[2], "disk0-1");
        let read_only: Vec<bool> = nodes[..3]
            .iter()
            .map(|node| node["read-only"].as_bool().unwrap())
            .collect();
        assert_eq!(read_only, [true, true, false]);
        assert!(arguments.windows(2).any(|pair| pair == ["-nic", "none"]));
        assert_eq!(nodes[3]["read-only"], true, "the kit");
        assert_eq!(machine.descriptors().len(), 7);
    }
}
