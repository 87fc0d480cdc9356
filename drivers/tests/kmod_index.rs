//! The index files we write against those of depmod, both as modprobe reads them.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use lifeboat_drivers::initrd::modules::{IndexTexts, is_module, merged_index, module_name};

/// Modules with dependencies, aliases, symbols and soft dependencies among them.
const SOME: [&str; 12] = [
    "virtio",
    "virtio_ring",
    "virtio_pci",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_blk",
    "virtio_net",
    "net_failover",
    "failover",
    "xfs",
    "libcrc32c",
    "btrfs",
];

fn skip(missing: &str) {
    // Not captured by the test harness, unlike eprintln.
    let _ = writeln!(std::io::stderr(), "\nSKIPPED kmod_index: {missing}");
}

fn find_modules(directory: &Path, found: &mut BTreeMap<String, PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            find_modules(&path, found);
        } else if is_module(&path.to_string_lossy()) {
            found.insert(module_name(&path.to_string_lossy()), path);
        }
    }
}

fn kernel_modules() -> Option<(String, PathBuf)> {
    let directory = std::env::var("LIFEBOAT_KERNEL_DIR")
        .unwrap_or_else(|_| "/var/cache/lifeboat/kernel".to_owned());
    let parents = ["lib/modules", "usr/lib/modules"].map(|path| Path::new(&directory).join(path));
    let parent = parents.into_iter().find(|path| path.is_dir())?;
    let version = std::fs::read_dir(&parent).ok()?.flatten().next()?;
    Some((version.file_name().into_string().ok()?, version.path()))
}

fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .output()
        .ok()?;
    let text = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&text).into_owned())
}

fn modprobe(root: &Path, version: &str, arguments: &[&str]) -> String {
    let root_text = root.display().to_string();
    let all = [&["-d", &root_text, "-S", version], arguments].concat();
    let output = run("modprobe", &all).unwrap();
    output.replace(&root_text, "")
}

fn texts(directory: &Path) -> IndexTexts {
    let text = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap_or_default();
    IndexTexts {
        dep: text("modules.dep"),
        alias: text("modules.alias"),
        symbols: text("modules.symbols"),
        softdep: text("modules.softdep"),
        devname: text("modules.devname"),
        builtin: text("modules.builtin"),
    }
}

#[test]
fn modprobe_reads_our_index_like_depmods() {
    if run("depmod", &["--version"]).is_none() {
        return skip("depmod (package kmod) is not installed");
    }
    let Some((version, modules)) = kernel_modules() else {
        return skip("no unpacked kernel package; set LIFEBOAT_KERNEL_DIR");
    };
    let mut found = BTreeMap::new();
    find_modules(&modules, &mut found);
    let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut present = BTreeMap::new();
    for name in SOME {
        let Some(path) = found.get(name) else {
            continue;
        };
        let relative = path.strip_prefix(&modules).unwrap();
        for root in [&theirs, &ours] {
            let target = root
                .path()
                .join("lib/modules")
                .join(&version)
                .join(relative);
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            std::fs::copy(path, target).unwrap();
        }
        present.insert(name.to_owned(), relative.display().to_string());
    }
    assert!(
        present.len() > 6,
        "the kernel package holds {present:?} only"
    );
    for name in ["modules.builtin", "modules.order"] {
        let target = theirs.path().join("lib/modules").join(&version).join(name);
        std::fs::copy(modules.join(name), target).unwrap();
    }
    run(
        "depmod",
        &["-b", &theirs.path().display().to_string(), &version],
    )
    .unwrap();

    let texts = texts(&theirs.path().join("lib/modules").join(&version));
    for (name, content) in merged_index(&texts, &IndexTexts::default(), &present) {
        let path = ours.path().join("lib/modules").join(&version).join(name);
        std::fs::write(path, content).unwrap();
    }
    let mut questions: Vec<Vec<String>> = present
        .keys()
        .map(|name| vec!["--show-depends".to_owned(), name.clone()])
        .collect();
    for alias in [
        "virtio:d00000001v00001AF4",
        "virtio:d00000002v00001AF4",
        "fs-xfs",
        "pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00",
        "symbol:register_virtio_driver",
    ] {
        questions.push(vec!["-R".to_owned(), alias.to_owned()]);
        questions.push(vec!["--show-depends".to_owned(), alias.to_owned()]);
    }
    for question in questions {
        let question: Vec<&str> = question.iter().map(String::as_str).collect();
        let expected = modprobe(theirs.path(), &version, &question);
        assert!(!expected.is_empty(), "{question:?}");
        assert_eq!(
            modprobe(ours.path(), &version, &question),
            expected,
            "{question:?}"
        );
    }
}
