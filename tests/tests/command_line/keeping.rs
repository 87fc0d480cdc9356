//! What lies in the state directory: for whose eyes, and for how long.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lifeboat_tests::{Appliance, Outcome, require, run_tool};

use crate::raw_disk;

/// A package of one machine with `disk.raw`.
pub const DESCRIPTOR: &str = r#"<Envelope xmlns:ovf="o"><References><File ovf:href="disk.raw" ovf:id="f1"/></References>
<DiskSection><Disk ovf:diskId="d1" ovf:fileRef="f1"/></DiskSection><VirtualSystem ovf:id="one"><VirtualHardwareSection>
<Item><InstanceID>1</InstanceID><ResourceType>17</ResourceType><HostResource>ovf:/disk/d1</HostResource></Item>
</VirtualHardwareSection></VirtualSystem></Envelope>"#;

/// An appliance with `x.ova` beside its state.
fn with_package() -> Appliance {
    require(&[("tar", "tar")]);
    let appliance = Appliance::new();
    appliance.write("x.ovf", DESCRIPTOR);
    appliance.write("disk.raw", raw_disk());
    let (folder, ova) = (appliance.path(""), appliance.path("x.ova"));
    let (folder, ova) = (folder.to_str().unwrap(), ova.to_str().unwrap());
    let words = ["--format=ustar", "-cf", ova, "-C", folder];
    run_tool("tar", &[&words[..], &["x.ovf", "disk.raw"]].concat());
    std::fs::copy(ova, appliance.path("y.ova")).unwrap();
    appliance
}

/// Without a micro-VM: what the descriptor says is enough.
fn draft(appliance: &Appliance, package: &str) -> Outcome {
    let package = appliance.path(package);
    let draft = appliance.lifeboat(["site", "draft"]).words([package]);
    let drafted = draft.variable("LIFEBOAT_KERNEL_DIR", "/nowhere").run();
    drafted.expect_code(0);
    drafted
}

fn all_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    found.extend(entries.flat_map(|entry| all_below(&entry.path())));
    found
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn disks_of_production_are_for_their_owner_alone() {
    let appliance = with_package();
    let state = appliance.state();
    std::fs::create_dir(&state).unwrap();
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o755)).unwrap();
    draft(&appliance, "x.ova");
    let found = all_below(&state);
    let is_disk = |path: &&PathBuf| path.ends_with("disk.raw");
    assert!(found.iter().any(|path| is_disk(&path)), "{found:?}");
    for path in found {
        assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
    }
}

#[test]
fn a_limit_that_cannot_be_read_is_named() {
    let appliance = with_package();
    let draft = |reserve: &str| {
        let draft = appliance.lifeboat(["site", "draft"]);
        let draft = draft.words([appliance.path("x.ova")]);
        let draft = draft.variable("LIFEBOAT_KERNEL_DIR", "/nowhere");
        draft.variable("LIFEBOAT_RESERVE", reserve).run()
    };
    let refused = draft("10G");
    refused.expect_code(2).expect_one_error();
    refused.expect_said(&["`LIFEBOAT_RESERVE`", "`10G`"]);
    assert!(!appliance.state().exists());
    draft("1000").expect_code(0);
}

/// The folder of each unpacked archive.
fn unpacked(appliance: &Appliance) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(appliance.state().join("unpacked"));
    let entries = entries.into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

#[test]
fn unpacked_disks_stay_as_long_as_something_names_them() {
    let appliance = with_package();
    let start_daemon = || {
        let listed = appliance.lifeboat(["site", "list"]).run();
        listed.expect_code(0);
    };
    let site = draft(&appliance, "x.ova").stdout;
    let file = appliance.write("site.toml", &site);
    let [of_site] = &unpacked(&appliance)[..] else {
        panic!("not one archive");
    };
    draft(&appliance, "y.ova");
    assert_eq!(unpacked(&appliance).len(), 2);
    let half = of_site.join(".1.part");
    std::fs::write(&half, "half").unwrap();
    let forsaken = appliance.state().join("unpacked/0123456789abcdef");
    std::fs::create_dir(&forsaken).unwrap();
    let foreign = ["unpacked/mine/disk", "converted/mine.raw", "drafts/my.json"]
        .map(|name| appliance.write(&format!("state/{name}"), "of somebody else"));
    start_daemon();
    assert!(!half.exists() && !forsaken.exists());
    for foreign in foreign {
        std::fs::remove_file(foreign).unwrap();
    }
    std::fs::remove_dir(appliance.state().join("unpacked/mine")).unwrap();
    // What drafts name stays.
    assert_eq!(unpacked(&appliance).len(), 2);
    let site = |words: [&str; 2]| appliance.lifeboat(["site"]).words(words).run();
    site(["add", file.to_str().unwrap()]).expect_code(0);
    for draft in std::fs::read_dir(appliance.state().join("drafts")).unwrap() {
        let draft = draft.unwrap().path();
        if std::fs::read_to_string(&draft)
            .unwrap()
            .contains(of_site.to_str().unwrap())
        {
            std::fs::remove_file(draft).unwrap();
        }
    }
    start_daemon();
    // What a site names stays without its draft, and goes with the site.
    assert!(of_site.exists());
    site(["remove", "site"]).expect_code(0);
    assert!(!of_site.exists());
    assert_eq!(unpacked(&appliance).len(), 1);
}

#[test]
fn a_conversion_goes_with_the_last_site_that_names_it() {
    let appliance = with_package();
    require(&[("gzip", "gzip")]);
    let disk = appliance.path("disk.raw");
    run_tool("gzip", &[disk.to_str().unwrap()]);
    let site = crate::SITE.replace("disk.raw", "disk.raw.gz");
    let file = appliance.write("site.toml", &site);
    let prepare = appliance.lifeboat(["prepare"]).words([&file]);
    // There is nothing on the disk; it is converted before that is known.
    prepare
        .variable("LIFEBOAT_KERNEL_DIR", "/nowhere")
        .run()
        .expect_code(1);
    let converted = || {
        let found = all_below(&appliance.state().join("converted"));
        found
            .iter()
            .filter(|path| path.extension().is_some_and(|it| it == "raw"))
            .count()
    };
    assert_eq!(converted(), 1);
    // The next daemon keeps what the catalogue names.
    appliance.lifeboat(["site", "list"]).run().expect_code(0);
    assert_eq!(converted(), 1);
    let second = appliance.write(
        "second/site.toml",
        site.replace("\"small\"", "\"second\"")
            .replace("disk.raw.gz", "../disk.raw.gz"),
    );
    appliance
        .lifeboat(["site", "add"])
        .words([&second])
        .run()
        .expect_code(0);
    appliance
        .lifeboat(["site", "remove", "small"])
        .run()
        .expect_code(0);
    assert_eq!(converted(), 1);
    appliance
        .lifeboat(["site", "remove", "second"])
        .run()
        .expect_code(0);
    assert_eq!(converted(), 0);
}
