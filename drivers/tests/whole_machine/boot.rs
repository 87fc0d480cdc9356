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

impl Boot {
    /// virtio-blk and virtio-net at other places than the captured hardware had.
    pub fn on_virtio(disk: &Path, mac: &str) -> Self {
        let mut qemu = Command::new("qemu-system-x86_64")
            .args([
                "-nodefaults",
                "-no-reboot",
                "-display",
                "none",
                "-machine",
                "pc",
            ])
            .args([
                "-accel",
                "tcg",
                "-cpu",
                "max",
                "-m",
                "512",
                "-snapshot",
                "-serial",
                "stdio",
            ])
            .arg("-drive")
            .arg(format!(
                "if=none,id=disk,format=qcow2,file={}",
                disk.display()
            ))
            .args([
                "-device",
                "virtio-blk-pci,drive=disk",
                "-netdev",
                "user,id=net,restrict=on",
            ])
            .args(["-device", &format!("virtio-net-pci,netdev=net,mac={mac}")])
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

impl Drop for Boot {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}
