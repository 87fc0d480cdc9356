//! Made-up images that try to make their reader open a file of the host, a device or a
//! connection: in every format that can name one, by every way of naming one that QEMU or the
//! format knows. Each is refused with a reason, and a trace of everything that the reader and all
//! its children do shows that nothing named was ever opened.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use lifeboat_images::{ImageError, RefusalKind, inspect, is_package, read_package};
use tempfile::TempDir;

const CORPUS: &str = "LIFEBOAT_HOSTILE_CORPUS";
const CONTROL: &str = "LIFEBOAT_HOSTILE_CORPUS_CONTROL";
const CANARY: &str = "canary-of-the-host";
/// A device that no program opens by itself.
const DEVICE: &str = "/dev/full";

/// The calls by which something can be opened or reached.
const OPENING: &str = "open,openat,openat2,creat,execve,link,linkat,mount";
const REACHING: &str = "socket,connect,bind";

/// A folder of baits, with the canary outside and a copy of it beside them.
struct Corpus {
    scratch: TempDir,
    listener: TcpListener,
}

impl Corpus {
    fn new() -> Self {
        let corpus = Self {
            scratch: fixture::scratch(),
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
        };
        std::fs::create_dir(corpus.folder()).unwrap();
        fixture::raw_disk(&corpus.canary());
        fixture::raw_disk(&corpus.folder().join(CANARY));
        corpus.listener.set_nonblocking(true).unwrap();
        corpus
    }

    fn folder(&self) -> PathBuf {
        self.scratch.path().join("baits")
    }

    fn canary(&self) -> PathBuf {
        self.scratch.path().join(CANARY)
    }

    fn bait(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// All ways of naming something else, but for the plain name of a file beside.
    fn references(&self) -> Vec<String> {
        let canary = self.canary().display().to_string();
        let folder = self.scratch.path().display().to_string();
        let port = self.listener.local_addr().unwrap().port();
        vec![
            canary.clone(),
            format!("../{CANARY}"),
            format!("./../baits/../{CANARY}"),
            format!("file:{canary}"),
            format!("file://{canary}"),
            format!("json:{{\"driver\":\"file\",\"filename\":\"{canary}\"}}"),
            format!("json:{{\"driver\":\"nbd\",\"host\":\"127.0.0.1\",\"port\":\"{port}\"}}"),
            format!("nbd://127.0.0.1:{port}/x"),
            format!("nbd:127.0.0.1:{port}"),
            format!("nbd+unix:///x?socket={canary}"),
            format!("http://127.0.0.1:{port}/x"),
            format!("https://127.0.0.1:{port}/x"),
            format!("ftp://127.0.0.1:{port}/x"),
            format!("ssh://127.0.0.1:{port}{canary}"),
            format!("nfs://127.0.0.1{canary}"),
            format!("iscsi://127.0.0.1:{port}/a/0"),
            format!("gluster://127.0.0.1:{port}/a/b"),
            "rbd:pool/image".to_owned(),
            format!("fat:{folder}"),
            format!("fat:rw:{folder}"),
            format!("blkdebug::{canary}"),
            format!("blkverify:{canary}:{canary}"),
            format!("host_device:{DEVICE}"),
            format!("host_cdrom:{DEVICE}"),
            DEVICE.to_owned(),
            format!("/proc/self/root{canary}"),
            "/proc/self/fd/0".to_owned(),
            format!("C:\\{CANARY}"),
            format!("\\\\127.0.0.1\\share\\{CANARY}"),
        ]
    }

    fn fill(&self) {
        let beside = [CANARY.to_owned()];
        for (number, reference) in self.references().iter().chain(&beside).enumerate() {
            self.qcow2(number, reference);
            self.vmdk(number, reference);
            self.vhd(number, reference);
            self.vhdx(number, reference);
            self.vmdk_extents(number, reference);
        }
        // A package may name any disk that lies beside it.
        for (number, reference) in self.references().iter().enumerate() {
            self.ovf(number, reference);
        }
        self.links();
    }

    fn qcow2(&self, number: usize, reference: &str) {
        for (version, options) in [("v3", "compat=1.1"), ("v2", "compat=0.10")] {
            let bait = self.bait(&format!("backing-{version}-{number}.qcow2"));
            let words = [
                "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-o", options,
            ];
            let name = ["-b", reference, bait.to_str().unwrap(), "8M"];
            fixture::run("qemu-img", &[&words[..], &name].concat());
        }
        let bait = self.bait(&format!("data-file-{number}.qcow2"));
        fixture::qemu_img("create -q -f qcow2 @ 8M", &bait);
        // The extension that names the data file, then the end of the extensions.
        let mut extension = b"DATA".to_vec();
        extension.extend((reference.len() as u32).to_be_bytes());
        extension.extend(reference.as_bytes());
        extension.resize(extension.len().next_multiple_of(8) + 8, 0);
        let header =
            u32::from_be_bytes(std::fs::read(&bait).unwrap()[100..104].try_into().unwrap());
        fixture::patch(&bait, header.into(), &extension);
        fixture::patch(&bait, 72, &(1_u64 << 2).to_be_bytes());
    }

    fn vmdk(&self, number: usize, reference: &str) {
        let bait = self.bait(&format!("parent-{number}.vmdk"));
        fixture::qemu_img("create -q -f vmdk @ 8M", &bait);
        let bytes = std::fs::read(&bait).unwrap();
        let mark = b"parentCID=ffffffff";
        let place = bytes
            .windows(mark.len())
            .position(|window| window == mark)
            .unwrap();
        let hint = format!("parentCID=01234567\nparentFileNameHint=\"{reference}\"\n");
        fixture::patch(&bait, place as u64, hint.as_bytes());
    }

    fn vmdk_extents(&self, number: usize, reference: &str) {
        for kind in ["FLAT", "SPARSE", "VMFS", "VMFSRDM"] {
            let text = format!(
                "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n\
                 createType=\"custom\"\nRW 16384 {kind} \"{reference}\" 0\n"
            );
            let bait = self.bait(&format!("extent-{}-{number}.vmdk", kind.to_lowercase()));
            std::fs::write(bait, text).unwrap();
        }
    }

    /// A differencing VHD: disk type 4, the name of its parent, a locator of it, right checksums.
    fn vhd(&self, number: usize, reference: &str) {
        let bait = self.bait(&format!("parent-{number}.vhd"));
        fixture::qemu_img("create -q -f vpc @ 8M", &bait);
        let mut bytes = std::fs::read(&bait).unwrap();
        let end = bytes.len() - 512;
        for footer in [0, end] {
            bytes[footer + 60..footer + 64].copy_from_slice(&4_u32.to_be_bytes());
            checksum(&mut bytes[footer..footer + 512], 64);
        }
        let name: Vec<u8> = reference
            .encode_utf16()
            .take(255)
            .flat_map(u16::to_be_bytes)
            .collect();
        let header = 512;
        bytes[header + 64..header + 64 + name.len()].copy_from_slice(&name);
        let locator = header + 576;
        bytes[locator..locator + 4].copy_from_slice(b"W2ku");
        let length = (name.len() as u32).to_be_bytes();
        bytes[locator + 4..locator + 8].copy_from_slice(&512_u32.to_be_bytes());
        bytes[locator + 8..locator + 12].copy_from_slice(&length);
        bytes[locator + 16..locator + 24].copy_from_slice(&(end as u64).to_be_bytes());
        checksum(&mut bytes[header..header + 1024], 36);
        let footer = bytes.split_off(end);
        let mut place: Vec<u8> = reference
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        place.resize(512, 0);
        std::fs::write(bait, [bytes, place, footer].concat()).unwrap();
    }

    /// A VHDX that says it has a parent, and where.
    fn vhdx(&self, number: usize, reference: &str) {
        let bait = self.bait(&format!("parent-{number}.vhdx"));
        fixture::qemu_img("create -q -f vhdx @ 8M", &bait);
        let bytes = std::fs::read(&bait).unwrap();
        let signature = b"metadata";
        let is_table = |at: &usize| bytes[*at..].starts_with(signature);
        let table = (1 << 20..bytes.len())
            .step_by(1 << 16)
            .find(is_table)
            .unwrap();
        let count = u16::from_le_bytes(bytes[table + 10..table + 12].try_into().unwrap());
        let locator = 0x2_0000;
        let key: Vec<u8> = "relative_path"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let value: Vec<u8> = reference
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let mut item = PARENT_LOCATOR_TYPE.to_vec();
        item.extend([0, 0, 1, 0]);
        item.extend(32_u32.to_le_bytes());
        item.extend((32 + key.len() as u32).to_le_bytes());
        item.extend((key.len() as u16).to_le_bytes());
        item.extend((value.len() as u16).to_le_bytes());
        item.extend([key, value].concat());
        let mut entry = PARENT_LOCATOR.to_vec();
        entry.extend((locator as u32).to_le_bytes());
        entry.extend((item.len() as u32).to_le_bytes());
        entry.extend([4, 0, 0, 0, 0, 0, 0, 0]);
        let place = table + 32 + usize::from(count) * 32;
        fixture::patch(&bait, (table + locator) as u64, &item);
        fixture::patch(&bait, place as u64, &entry);
        fixture::patch(&bait, table as u64 + 10, &(count + 1).to_le_bytes());
        // The file parameters are the first item: block size, then the flag "has a parent".
        let parameters = u32::from_le_bytes(bytes[table + 48..table + 52].try_into().unwrap());
        fixture::patch(&bait, table as u64 + u64::from(parameters) + 4, &[2]);
    }

    fn ovf(&self, number: usize, reference: &str) {
        let escaped = reference.replace('&', "&amp;").replace('"', "&quot;");
        let text = format!(
            "<Envelope xmlns:ovf=\"o\"><References><File ovf:href=\"{escaped}\" ovf:id=\"f\"/></References>\
             <DiskSection><Disk ovf:diskId=\"d\" ovf:fileRef=\"f\"/></DiskSection>\
             <VirtualSystem ovf:id=\"v\"><VirtualHardwareSection><Item><InstanceID>1</InstanceID>\
             <ResourceType>17</ResourceType><HostResource>ovf:/disk/d</HostResource></Item>\
             </VirtualHardwareSection></VirtualSystem></Envelope>"
        );
        std::fs::write(self.bait(&format!("href-{number}.ovf")), &text).unwrap();
        let entity = format!("<!DOCTYPE x [<!ENTITY e SYSTEM \"{escaped}\">]>{text}");
        std::fs::write(self.bait(&format!("entity-{number}.ovf")), entity).unwrap();
        archive(
            &self.bait(&format!("href-{number}.ova")),
            &[("a.ovf", text.as_bytes())],
        );
        archive(
            &self.bait(&format!("member-{number}.ova")),
            &[("a.ovf", b"<x/>"), (reference, b"x")],
        );
    }

    /// Members of archives that are links out of them.
    fn links(&self) {
        for (name, kind) in [
            ("symbolic", b'2'),
            ("hard", b'1'),
            ("device", b'3'),
            ("folder", b'5'),
        ] {
            let mut header = tar_header("disk.vmdk", 0, kind);
            let target = self.canary().display().to_string();
            header[157..157 + target.len()].copy_from_slice(target.as_bytes());
            finish_tar_header(&mut header);
            let bytes = [&header[..], &[0; 1024]].concat();
            std::fs::write(self.bait(&format!("{name}-link.ova")), bytes).unwrap();
        }
    }
}

const PARENT_LOCATOR: [u8; 16] = [
    0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c,
];
const PARENT_LOCATOR_TYPE: [u8; 16] = [
    0xb7, 0xef, 0x4a, 0xb0, 0x9e, 0xd1, 0x81, 0x4a, 0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13,
];

/// The one's complement of the sum of all other bytes.
fn checksum(structure: &mut [u8], place: usize) {
    structure[place..place + 4].fill(0);
    let sum: u32 = structure.iter().map(|byte| u32::from(*byte)).sum();
    structure[place..place + 4].copy_from_slice(&(!sum).to_be_bytes());
}

fn archive(path: &Path, members: &[(&str, &[u8])]) {
    let mut bytes = Vec::new();
    for (name, content) in members {
        let mut header = tar_header(name, content.len(), b'0');
        finish_tar_header(&mut header);
        bytes.extend(header);
        bytes.extend(*content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.extend([0; 1024]);
    std::fs::write(path, bytes).unwrap();
}

fn tar_header(name: &str, size: usize, kind: u8) -> [u8; 512] {
    let mut header = [0; 512];
    let name = &name.as_bytes()[..name.len().min(100)];
    header[..name.len()].copy_from_slice(name);
    header[100..107].copy_from_slice(b"0000644");
    header[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    header
}

fn finish_tar_header(header: &mut [u8; 512]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

/// Not a test of its own: looks at the whole corpus, under `strace` in the test below.
#[test]
fn looking_at_the_corpus() {
    let Some(folder) = std::env::var_os(CORPUS) else {
        return;
    };
    if let Some(address) = std::env::var_os(CONTROL) {
        drop(TcpStream::connect(address.to_str().unwrap()));
        drop(std::fs::File::open(
            Path::new(&folder).join("..").join(CANARY),
        ));
        drop(std::fs::File::open(DEVICE));
        return;
    }
    let mut baits: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    baits.sort();
    for bait in baits.iter().filter(|bait| !bait.ends_with(CANARY)) {
        let looked = match is_package(bait) {
            true => read_package(&fixture::confined(), bait).map(drop),
            false => inspect(&fixture::confined(), bait, &[]).map(drop),
        };
        // An import begins as an inspection does: the first bait of each kind is enough.
        let is_first = bait.to_string_lossy().contains("-0.");
        let imported = is_first && fixture::take_in_chain(bait, &[]).is_ok();
        println!(
            "BAIT {}\t{}\t{imported}",
            bait.display(),
            word(looked.as_ref().err())
        );
    }
}

fn word(error: Option<&ImageError>) -> String {
    match error {
        None => "TAKEN".to_owned(),
        Some(error) => match error.refusal() {
            None => format!("NO REFUSAL: {error}"),
            Some(refusal) => format!("{:?}: {error}", refusal.kind),
        },
    }
}

/// Runs [`looking_at_the_corpus`] with all that it starts: what it said, and the trace, if this
/// host has the means for one.
fn look(corpus: &Corpus, control: bool) -> (String, Option<String>) {
    let log = corpus.scratch.path().join("trace");
    let has_strace = Command::new("strace").arg("-V").output().is_ok();
    let program = std::env::current_exe().unwrap();
    let mut command = match has_strace {
        true => {
            let mut command = Command::new("strace");
            let calls = format!("trace={OPENING},{REACHING}");
            command.args(["-f", "-qq", "-s", "4096", "--seccomp-bpf"]);
            command.args(["-e", &calls, "-o"]);
            command.arg(&log).arg(program);
            command
        }
        false => Command::new(program),
    };
    command
        .args(["--exact", "looking_at_the_corpus", "--nocapture"])
        .env(CORPUS, corpus.folder());
    if control {
        command.env(CONTROL, corpus.listener.local_addr().unwrap().to_string());
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    (
        said,
        has_strace.then(|| String::from_utf8_lossy(&std::fs::read(log).unwrap()).into_owned()),
    )
}

/// The system call of a line of the trace.
fn call(line: &str) -> &str {
    let after_pid = line.trim_start_matches(|character: char| character.is_ascii_digit());
    after_pid.trim_start().split('(').next().unwrap_or_default()
}

/// Lines in which something outside of the corpus is opened or reached.
fn escapes(corpus: &Corpus, trace: &str) -> Vec<String> {
    let canary = corpus.canary().display().to_string();
    let opens = |line: &str| OPENING.split(',').any(|one| one == call(line));
    let reaches = |line: &str| REACHING.split(',').any(|one| one == call(line));
    let names = |line: &str| {
        [CANARY, DEVICE, &canary, "/proc/self/root"]
            .iter()
            .any(|name| line.contains(name))
    };
    let escape = |line: &&str| reaches(line) || (opens(line) && names(line));
    trace.lines().filter(escape).map(str::to_owned).collect()
}

#[test]
fn nothing_that_an_image_names_is_opened() {
    let corpus = Corpus::new();
    corpus.fill();
    let (said, trace) = look(&corpus, false);
    let baits: Vec<Vec<&str>> = said
        .lines()
        .filter_map(|line| Some(line.strip_prefix("BAIT ")?.split('\t').collect()))
        .collect();
    let with_any = corpus.references().len() + 1;
    let expected = with_any * 10 + (with_any - 1) * 4 + 4;
    assert_eq!(baits.len(), expected, "a bait was not looked at");
    let refusals = [
        RefusalKind::BackingFile,
        RefusalKind::DataFile,
        RefusalKind::Protocol,
        RefusalKind::SplitOverFiles,
        RefusalKind::UnknownFeature,
        RefusalKind::Damaged,
    ];
    for bait in &baits {
        let is_one = |kind: &RefusalKind| bait[1].starts_with(&format!("{kind:?}: "));
        assert!(refusals.iter().any(is_one), "{bait:?}");
        assert_eq!(bait[2], "false", "imported: {bait:?}");
    }
    assert!(corpus.listener.accept().is_err(), "somebody connected");
    let Some(trace) = trace else {
        eprintln!("SKIPPED: `strace` is not installed, opened files cannot be watched");
        return;
    };
    let escaped = escapes(&corpus, &trace);
    assert!(
        escaped.is_empty(),
        "{:#?}",
        &escaped[..escaped.len().min(5)]
    );

    // The control: the same trace sees each of these where it happens.
    let (_, trace) = look(&corpus, true);
    let seen = escapes(&corpus, &trace.unwrap());
    for word in ["socket", "connect", CANARY, DEVICE] {
        assert!(
            seen.iter().any(|line| line.contains(word)),
            "{word}: {seen:?}"
        );
    }
    assert!(
        corpus.listener.accept().is_ok(),
        "the control did not connect"
    );
}
