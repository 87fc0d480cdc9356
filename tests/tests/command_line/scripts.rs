//! The scripts that fetch what the micro-VM runs.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// apt and dpkg that only note who may write where apt downloads to.
const STANDINS: [(&str, &str); 2] = [
    (
        "apt-get",
        "#!/bin/sh\nstat -c '%a %U' . >\"$NOTES\"\n: >a.deb\n",
    ),
    ("dpkg-deb", "#!/bin/sh\nexit 0\n"),
];

#[test]
fn nobody_else_writes_where_packages_are_downloaded() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in STANDINS {
        let program = folder.path().join(name);
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let (notes, work) = (folder.path().join("notes"), folder.path().join("work"));
    std::fs::create_dir(&work).unwrap();
    let path = std::env::var("PATH").unwrap();
    let status = Command::new("bash")
        .args([
            "-euc",
            "source scripts/lib.sh; unpack_packages \"$1\" any",
            "-",
        ])
        .arg(&work)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .env("PATH", format!("{}:{path}", folder.path().display()))
        .env("NOTES", &notes)
        .status()
        .unwrap();
    assert!(status.success());
    let noted = std::fs::read_to_string(notes).unwrap();
    assert!(noted.starts_with("700 "), "{noted}");
}
