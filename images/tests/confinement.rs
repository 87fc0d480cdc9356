//! The walls around the confined reader, each with a control that shows what it stops.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use lifeboat_images::{Confined, ImageError, Limits, RefusalKind, inspect};

#[test]
fn a_confined_child_can_do_nothing() {
    let directory = fixture::scratch();
    let readable = directory.path().join("readable");
    let writable = directory.path().join("writable");
    std::fs::write(&readable, "secret").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();

    // The control: without walls all of it works.
    assert!(File::open(&readable).is_ok());
    assert!(File::create(&writable).is_ok());
    assert!(TcpStream::connect(address).is_ok());
    let memory = usize::try_from(fixture::confined().limits().memory).unwrap();
    assert!(Vec::<u8>::new().try_reserve_exact(memory).is_ok());
    let nowhere = Command::new("/nowhere").spawn().unwrap_err();
    assert_eq!(nowhere.kind(), std::io::ErrorKind::NotFound);
    let itself = nix::unistd::Pid::from_raw(0);
    assert!(nix::unistd::setpgid(itself, itself).is_ok());

    let proof = fixture::confined()
        .prove(&readable, &writable, address)
        .unwrap();
    assert!(!proof.read_a_file, "{proof:?}");
    assert!(!proof.wrote_a_file, "{proof:?}");
    assert!(!proof.connected, "{proof:?}");
    assert!(!proof.exceeded_memory, "{proof:?}");
    assert!(!proof.started_a_process, "{proof:?}");
    assert!(!proof.left_its_group, "{proof:?}");
    assert!(proof.walls.unprivileged, "{proof:?}");
    if nix::unistd::geteuid().is_root() {
        assert!(proof.walls.network_namespace, "{proof:?}");
        assert_eq!(proof.walls.user, 65_534);
    }
}

fn shell(script: &str, wall_seconds: u64) -> Confined {
    Confined::new("/bin/sh", ["-c", script]).with_limits(Limits {
        wall_seconds,
        answer: 100_000,
        ..Limits::default()
    })
}

#[track_caller]
fn check_reader(script: &str, words: &str) {
    let directory = fixture::scratch();
    let image = directory.path().join("a.raw");
    fixture::raw_disk(&image);
    let started = Instant::now();
    let error = inspect(&shell(script, 2), &image, &[]).unwrap_err();
    assert!(started.elapsed().as_secs() < 20, "{script}");
    let is_late = matches!(error, ImageError::NotDone { .. });
    assert!(is_late || matches!(error, ImageError::ReaderDied { .. }));
    // That it took long says nothing about the image.
    assert_eq!(is_late, !error.to_string().contains("hostile"), "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn a_reader_that_misbehaves_is_an_answer() {
    check_reader("exec sleep 1000", "after 2 s");
    check_reader("sleep 1000 & exec sleep 1000", "after 2 s");
    check_reader("yes", "talked without end");
    check_reader("yes >&2", "after 2 s");
    check_reader("exit 101", "exit code 101");
    check_reader("kill -SEGV $$", "crashed (SIGSEGV)");
    check_reader("echo '{}'", "no readable answer");
    check_reader(":", "no readable answer");
    check_reader("exec >&- 2>&-; exec sleep 1000", "processor time or memory");
}

#[test]
fn a_missing_reader_is_named() {
    let directory = fixture::scratch();
    let image = directory.path().join("a.raw");
    fixture::raw_disk(&image);
    let nowhere = Confined::new(directory.path().join("nowhere"), [""; 0]);
    let error = inspect(&nowhere, &image, &[]).unwrap_err();
    assert!(matches!(error, ImageError::Confinement { .. }), "{error}");
}

const BESIDE: &str = "LIFEBOAT_IMAGE_FOR_THE_READER_BESIDE";

/// Not a test of its own: the body of the copied program in the test below.
#[test]
fn inspection_by_the_reader_beside() {
    if let Some(image) = std::env::var_os(BESIDE) {
        inspect(&Confined::beside_this_program(), Path::new(&image), &[]).unwrap();
    }
}

#[test]
fn the_reader_is_found_beside_the_running_program() {
    let directory = fixture::scratch();
    let program = directory.path().join("program");
    let image = directory.path().join("a.raw");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fixture::raw_disk(&image);
    let run = || {
        let mut command = Command::new(&program);
        command
            .args(["--exact", "inspection_by_the_reader_beside"])
            .env(BESIDE, &image);
        command.output().unwrap()
    };
    // The control: with no reader beside it the same program fails.
    let alone = run();
    assert!(!alone.status.success(), "{alone:?}");
    let reader = env!("CARGO_BIN_EXE_lifeboat-image-reader");
    std::fs::copy(reader, directory.path().join("lifeboat-image-reader")).unwrap();
    let together = run();
    assert!(together.status.success(), "{together:?}");
}

#[test]
fn an_image_that_only_its_owner_may_read_is_read() {
    use std::os::unix::fs::PermissionsExt;
    let directory = fixture::scratch();
    for format in ["raw", "qcow2", "vmdk", "vdi"] {
        let image = directory.path().join(format!("a.{format}"));
        fixture::qemu_img(&format!("create -q -f {format} @ 4M"), &image);
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&image, private).unwrap();
        assert_eq!(
            fixture::look(&image).unwrap().virtual_size,
            4 << 20,
            "{format}"
        );
    }
}

const TRACED: &str = "LIFEBOAT_TRACED_IMAGE";
const NAMED: &str = "LIFEBOAT_TRACED_CHAIN";

/// Not a test of its own: the body that runs under `strace` in the tests below.
#[test]
fn traced_inspection() {
    let Some(image) = std::env::var_os(TRACED) else {
        return;
    };
    let chain: Vec<_> = std::env::var_os(NAMED)
        .map(Into::into)
        .into_iter()
        .collect();
    match inspect(&fixture::confined(), Path::new(&image), &chain) {
        Ok(_) => println!("TAKEN"),
        Err(error) => println!("REFUSED {error}"),
    }
}

/// Runs [`traced_inspection`] with all that it starts; gives the lines of the trace.
fn trace(image: &Path, chain: Option<&Path>) -> Option<(String, String)> {
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("SKIPPED: `strace` is not installed, opened files cannot be watched");
        return None;
    }
    let directory = fixture::scratch();
    let log = directory.path().join("trace");
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-s", "4096", "-e", "trace=%file,execve", "-o"])
        .arg(&log)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "traced_inspection", "--nocapture"])
        .env(TRACED, image);
    if let Some(chain) = chain {
        command.env(NAMED, chain);
    }
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    Some((said, std::fs::read_to_string(log).unwrap()))
}

fn opens<'a>(trace: &'a str, name: &str) -> Vec<&'a str> {
    let opening = |line: &&str| line.contains("open") && line.contains(name);
    trace.lines().filter(opening).collect()
}

#[test]
fn the_canary_behind_an_image_is_never_opened() {
    let directory = fixture::scratch();
    let canary = directory.path().join("canary.raw");
    fixture::raw_disk(&canary);
    let image = directory.path().join("bait.qcow2");
    let create = format!("create -q -f qcow2 -F raw -b {}", canary.display());
    fixture::qemu_img(&create, &image);

    let Some((said, trace_unnamed)) = trace(&image, None) else {
        return;
    };
    assert!(said.contains("REFUSED"), "{said}");
    assert!(
        !opens(&trace_unnamed, "bait.qcow2").is_empty(),
        "the trace sees opened files"
    );
    assert_eq!(opens(&trace_unnamed, "canary.raw"), Vec::<&str>::new());

    // The control: where the operator names the chain, the same trace sees it opened.
    let (said, trace_named) = trace(&image, Some(&canary)).unwrap();
    assert!(said.contains("TAKEN"), "{said}");
    assert!(!opens(&trace_named, "canary.raw").is_empty());
}

#[test]
fn the_canary_behind_a_vmdk_is_never_opened_even_by_qemu() {
    let directory = fixture::scratch();
    let canary = directory.path().join("canary-s001.vmdk");
    let image = directory.path().join("bait.vmdk");
    fixture::qemu_img("create -q -f vmdk @ 4M", &image);
    std::fs::copy(&image, &canary).unwrap();
    let bytes = std::fs::read(&image).unwrap();
    let text = b"ddb.virtualHWVersion";
    let place = bytes
        .windows(text.len())
        .position(|window| window == text)
        .unwrap();
    let hint = format!("parentFileNameHint=\"{}\"\n", canary.display());
    fixture::patch(&image, place as u64, hint.as_bytes());

    fixture::assert_refused(&image, RefusalKind::BackingFile, &["canary-s001.vmdk"]);
    let Some((said, trace)) = trace(&image, None) else {
        return;
    };
    assert!(said.contains("REFUSED"), "{said}");
    assert_eq!(opens(&trace, "canary-s001"), Vec::<&str>::new());
}

#[test]
fn sources_are_only_opened_for_reading() {
    let directory = fixture::scratch();
    for format in ["raw", "qcow2", "vmdk", "vpc", "vhdx", "vdi"] {
        let ending = if format == "vpc" { "vhd" } else { format };
        let image = directory.path().join(format!("source.{ending}"));
        fixture::qemu_img(&format!("create -q -f {format} @ 4M"), &image);
        let before = (
            std::fs::read(&image).unwrap(),
            image.metadata().unwrap().modified().unwrap(),
        );
        let Some((said, trace)) = trace(&image, None) else {
            return;
        };
        assert!(said.contains("TAKEN"), "{said}");
        let opened = opens(&trace, "source.");
        assert!(!opened.is_empty());
        let writing = |line: &&str| line.contains("O_RDWR") || line.contains("O_WRONLY");
        assert!(!opened.iter().any(writing), "{opened:?}");
        let by_descriptor = opens(&trace, "/proc/self/fd/");
        assert!(!by_descriptor.iter().any(writing), "{by_descriptor:?}");
        let after = (
            std::fs::read(&image).unwrap(),
            image.metadata().unwrap().modified().unwrap(),
        );
        assert!(before == after, "{format} was changed");
    }
}
