//! Small real guests for whole tests and measurements: a Debian cloud kernel, busybox, and a
//! shell on the serial console that the test talks to.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

const MODULES: [&str; 9] = [
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci",
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
    "drivers/net/vmxnet3/vmxnet3",
];

const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /www
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s /bin
export PATH=/bin
for module in /modules/*.ko; do insmod $module; done
ip link set lo up
exec </dev/ttyS0 >/dev/ttyS0 2>&1
stty -echo
echo "@@READY@@"
while read -r line; do eval "$line"; status=$?; echo; echo "@@DONE $status@@"; done
"#;

/// What a guest boots from.
pub struct Assets {
    pub kernel: PathBuf,
    pub initramfs: PathBuf,
}

/// Says loudly that a test does not run here.
pub fn skip(reason: &str) {
    eprintln!("SKIPPED (not passed!): {reason}");
}

/// Everything that whole tests need, or what is missing.
pub fn assets(cache: &Path) -> Result<Assets, String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("whole tests of the switch need root".into());
    }
    if Command::new("qemu-system-x86_64")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_err()
    {
        return Err("qemu-system-x86_64 is not installed".into());
    }
    let tree = cache.join("guest");
    if !tree.join("complete").exists() {
        download(cache, &tree)?;
    }
    let kernel = only(&tree.join("boot"), "vmlinuz-")?;
    let initramfs = cache.join("initramfs");
    fs::write(&initramfs, build_initramfs(&tree)?).map_err(|error| error.to_string())?;
    Ok(Assets { kernel, initramfs })
}

fn download(cache: &Path, tree: &Path) -> Result<(), String> {
    let debs = cache.join("debs");
    fs::create_dir_all(&debs).map_err(|error| error.to_string())?;
    let depends = output(Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]))?;
    let kernel = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "));
    let kernel = kernel.ok_or("apt-cache does not know linux-image-cloud-amd64")?;
    output(Command::new("apt-get").current_dir(&debs).args([
        "download",
        kernel,
        "busybox-static",
    ]))?;
    for entry in fs::read_dir(&debs)
        .map_err(|error| error.to_string())?
        .flatten()
    {
        output(
            Command::new("dpkg-deb")
                .arg("-x")
                .arg(entry.path())
                .arg(tree),
        )?;
    }
    fs::remove_dir_all(&debs).map_err(|error| error.to_string())?;
    fs::write(tree.join("complete"), "").map_err(|error| error.to_string())
}

/// Runs a program that must succeed; returns what it printed.
pub fn output(command: &mut Command) -> Result<String, String> {
    let result = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if !result.status.success() {
        return Err(format!(
            "{command:?}: {}",
            String::from_utf8_lossy(&result.stderr)
        ));
    }
    Ok(String::from_utf8_lossy(&result.stdout).into_owned())
}

fn only(directory: &Path, prefix: &str) -> Result<PathBuf, String> {
    let entries =
        fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut found = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    found
        .next()
        .map(|entry| entry.path())
        .ok_or(format!("no {prefix}* in {}", directory.display()))
}

fn build_initramfs(tree: &Path) -> Result<Vec<u8>, String> {
    let modules = only(&tree.join("lib/modules"), "")?.join("kernel");
    let mut archive = Vec::new();
    for directory in ["bin", "dev", "modules", "proc", "sys", "tmp"] {
        add(&mut archive, directory, 0o040_755, &[]);
    }
    add(&mut archive, "init", 0o100_755, INIT.as_bytes());
    let busybox = fs::read(tree.join("bin/busybox")).map_err(|error| error.to_string())?;
    add(&mut archive, "bin/busybox", 0o100_755, &busybox);
    for (index, module) in MODULES.iter().enumerate() {
        let bytes = fs::read(modules.join(format!("{module}.ko")))
            .map_err(|error| format!("{module}: {error}"))?;
        add(
            &mut archive,
            &format!("modules/{index}.ko"),
            0o100_644,
            &bytes,
        );
    }
    add(&mut archive, "TRAILER!!!", 0, &[]);
    Ok(archive)
}

/// Appends an entry to a cpio archive in the `newc` format.
pub fn add(archive: &mut Vec<u8>, name: &str, mode: u32, data: &[u8]) {
    let fields = [
        archive.len() as u32 + 1,
        mode,
        0,
        0,
        1,
        0,
        data.len() as u32,
        0,
        0,
        0,
        0,
        name.len() as u32 + 1,
        0,
    ];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend_from_slice(data);
    pad(archive);
}

fn pad(archive: &mut Vec<u8>) {
    while !archive.len().is_multiple_of(4) {
        archive.push(0);
    }
}

/// How a guest's card is connected.
pub enum Plug {
    /// To a port of the switch, with extra properties of the card.
    Switch {
        socket: PathBuf,
        properties: &'static str,
    },
    /// To a port of the switch that speaks frames, by a card that is not virtio.
    #[allow(dead_code, reason = "the tests use it, the measurement does not")]
    Stream { socket: PathBuf },
    /// To a tap device, for comparison.
    #[allow(dead_code, reason = "only the measurement uses it")]
    Tap { name: String },
}

/// A running guest.
pub struct Guest {
    pub name: String,
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    log: PathBuf,
}

impl Guest {
    /// Boots a guest with these cards; returns when its shell is ready.
    pub fn boot(name: &str, assets: &Assets, directory: &Path, cards: &[(&str, Plug)]) -> Self {
        Self::boot_with(
            Command::new("qemu-system-x86_64"),
            name,
            assets,
            directory,
            cards,
        )
    }

    /// Like [`Self::boot`], with a command that ends in QEMU, such as `ip netns exec ...`.
    pub fn boot_with(
        mut command: Command,
        name: &str,
        assets: &Assets,
        directory: &Path,
        cards: &[(&str, Plug)],
    ) -> Self {
        command.args([
            "-nodefaults",
            "-display",
            "none",
            "-monitor",
            "none",
            "-machine",
            "q35",
            "-accel",
            "tcg",
        ]);
        command.args(["-cpu", "max", "-smp", "1", "-m", "192", "-serial", "stdio"]);
        command.args([
            "-object",
            "memory-backend-memfd,id=ram,size=192M,share=on",
            "-numa",
            "node,memdev=ram",
        ]);
        command
            .arg("-kernel")
            .arg(&assets.kernel)
            .arg("-initrd")
            .arg(&assets.initramfs);
        command.args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off"]);
        for (index, (mac, plug)) in cards.iter().enumerate() {
            card(&mut command, index, mac, plug);
        }
        let log = directory.join(format!("{name}.log"));
        let errors = fs::File::create(directory.join(format!("{name}.qemu"))).unwrap();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let lines = read_lines(child.stdout.take().unwrap(), log.clone());
        let mut guest = Self {
            name: name.into(),
            child,
            input,
            lines,
            log,
        };
        guest.wait_ready();
        guest
    }

    /// Returns when the guest's shell is ready (again).
    pub fn wait_ready(&mut self) {
        self.wait_for("@@READY@@", Duration::from_secs(180));
    }

    fn wait_for(&mut self, mark: &str, limit: Duration) -> Vec<String> {
        let deadline = Instant::now() + limit;
        let mut seen = Vec::new();
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    let found = line.contains(mark);
                    seen.push(line);
                    if found {
                        return seen;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!(
                    "{}: no `{mark}` in {limit:?}; {seen:?}, see {:?}",
                    self.name, self.log
                ),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("{}: QEMU ended; {seen:?}, see {:?}", self.name, self.log)
                }
            }
        }
    }

    /// Types a line without waiting for its end.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
        self.input.flush().unwrap();
    }

    /// Runs a line; returns its status and output.
    pub fn try_run(&mut self, line: &str) -> (i32, String) {
        self.tell(line);
        self.wait_done()
    }

    /// Waits for the end of the line typed last; returns its status and output.
    pub fn wait_done(&mut self) -> (i32, String) {
        let mut lines = self.wait_for("@@DONE ", Duration::from_secs(120));
        let last = lines.pop().unwrap_or_default();
        let status = last
            .split("@@DONE ")
            .nth(1)
            .and_then(|rest| rest.split("@@").next())
            .map(str::parse);
        (status.unwrap().unwrap(), lines.join("\n"))
    }

    /// Runs a line that must succeed; returns its output.
    pub fn run(&mut self, line: &str) -> String {
        let (status, output) = self.try_run(line);
        assert_eq!(status, 0, "{}: `{line}` said: {output}", self.name);
        output
    }

    /// Starts the guest again, from inside.
    #[allow(dead_code, reason = "the tests use it, the measurement does not")]
    pub fn reboot(&mut self) {
        self.tell("reboot -f");
        self.wait_ready();
    }

    /// QEMU's process.
    #[allow(dead_code, reason = "the tests use it, the measurement does not")]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn card(command: &mut Command, index: usize, mac: &str, plug: &Plug) {
    let mut properties = String::new();
    let mut model = "virtio-net-pci";
    match plug {
        Plug::Switch {
            socket,
            properties: extra,
        } => {
            let path = socket.display();
            command
                .arg("-chardev")
                .arg(format!("socket,id=c{index},path={path},reconnect-ms=200"));
            command
                .arg("-netdev")
                .arg(format!("vhost-user,id=n{index},chardev=c{index}"));
            properties.push_str(extra);
        }
        Plug::Stream { socket } => {
            let path = socket.display();
            command.arg("-netdev").arg(format!(
                "stream,id=n{index},server=off,addr.type=unix,addr.path={path},reconnect-ms=200"
            ));
            model = "vmxnet3";
        }
        Plug::Tap { name } => {
            command.arg("-netdev").arg(format!(
                "tap,id=n{index},ifname={name},script=no,downscript=no,vhost=off"
            ));
        }
    }
    command.arg("-device").arg(format!(
        "{model},netdev=n{index},mac={mac},romfile={properties}"
    ));
}

fn read_lines(output: std::process::ChildStdout, log: PathBuf) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let mut log = fs::File::create(log).unwrap();
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        while reader
            .read_until(b'\n', &mut line)
            .is_ok_and(|length| length > 0)
        {
            let _ = log.write_all(&line);
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if sender.send(text).is_err() {
                return;
            }
        }
    });
    lines
}

/// A directory for sockets that QEMU's limit on path lengths allows.
pub fn directory() -> tempfile::TempDir {
    let directory = tempfile::Builder::new()
        .prefix("lifeboat-net-")
        .tempdir()
        .unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    directory
}
