//! Booting a disk on plain virtio hardware and listening to its serial port.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Emulated guests on a busy machine take their time.
const PATIENCE: Duration = Duration::from_secs(600);

/// A running guest; ended when dropped.
pub struct Boot {
    qemu: Child,
    console: Receiver<Vec<u8>>,
}

/// What the serial port said.
pub struct Seen {
    /// All of it.
    pub text: String,
}

impl Seen {
    /// Its end.
    pub fn tail(&self) -> String {
        let lines: Vec<&str> = self.text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

/// What a machine starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS.
    Bios,
    /// OVMF with empty variables.
    Uefi,
    /// OVMF that starts nothing unsigned.
    Secure,
}

/// Virtual hardware without anything that the captured machine had.
pub struct Hardware<'a> {
    /// qcow2 files, each a virtio-blk disk.
    pub disks: &'a [&'a Path],
    /// MAC addresses, each a virtio-net card.
    pub macs: &'a [&'a str],
    /// What it starts with.
    pub firmware: Firmware,
    /// Memory in MiB.
    pub memory_mib: u32,
}

impl Boot {
    /// virtio-blk and virtio-net at other places than the captured hardware had.
    pub fn on_virtio(disk: &Path, mac: &str) -> Self {
        Self::on(&Hardware {
            disks: &[disk],
            macs: &[mac],
            firmware: Firmware::Bios,
            memory_mib: 512,
        })
    }

    /// Starts a machine; what it writes to its disks is thrown away.
    pub fn on(hardware: &Hardware) -> Self {
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(["-nodefaults", "-no-reboot", "-display", "none"])
            .args(["-accel", "tcg", "-cpu", "max", "-snapshot"])
            .args(["-m", &hardware.memory_mib.to_string(), "-serial", "stdio"])
            .args(firmware(hardware.firmware));
        for (number, disk) in hardware.disks.iter().enumerate() {
            let file = disk.display();
            command
                .args([
                    "-drive",
                    &format!("if=none,id=disk{number},format=qcow2,file={file}"),
                ])
                .args([
                    "-device",
                    &format!("virtio-blk-pci,drive=disk{number},bootindex={}", number + 1),
                ]);
        }
        for (number, mac) in hardware.macs.iter().enumerate() {
            command
                .args(["-netdev", &format!("user,id=net{number},restrict=on")])
                .args([
                    "-device",
                    &format!("virtio-net-pci,netdev=net{number},mac={mac}"),
                ]);
        }
        let mut qemu = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = qemu.stdout.take().unwrap();
        let (sender, console) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { qemu, console }
    }

    /// Listens until one of the texts appears or the guest ends.
    pub fn until(self, texts: &[&str]) -> Seen {
        let end = Instant::now() + PATIENCE;
        let mut heard = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&heard).into_owned();
            if texts.iter().any(|wanted| text.contains(wanted)) {
                return Seen { text };
            }
            match self
                .console
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(bytes) => heard.extend(bytes),
                Err(RecvTimeoutError::Disconnected) => return Seen { text },
                Err(RecvTimeoutError::Timeout) => {
                    let seen = Seen { text };
                    panic!("none of {texts:?} within {PATIENCE:?}:\n{}", seen.tail());
                }
            }
        }
    }
}

/// Each start gets the firmware's variables as they come from the factory.
fn firmware(firmware: Firmware) -> Vec<String> {
    let (code, variables, machine, more): (_, _, _, &[&str]) = match firmware {
        Firmware::Bios => return vec!["-machine".into(), "pc".into()],
        Firmware::Uefi => ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd", "q35", &[]),
        Firmware::Secure => (
            "OVMF_CODE_4M.secboot.fd",
            "OVMF_VARS_4M.ms.fd",
            "q35,smm=on",
            &["-global", "driver=cfi.pflash01,property=secure,value=on"],
        ),
    };
    let flash =
        |file: &str, rest: &str| format!("if=pflash,format=raw,file=/usr/share/OVMF/{file}{rest}");
    let mut words = vec![
        "-machine".to_owned(),
        machine.to_owned(),
        "-drive".to_owned(),
        flash(code, ",readonly=on"),
        "-drive".to_owned(),
        flash(variables, ",snapshot=on"),
    ];
    words.extend(more.iter().map(|word| (*word).to_owned()));
    words
}

impl Drop for Boot {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}
