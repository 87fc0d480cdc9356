//! Machines that do not boot on virtio.

use std::path::Path;

use lifeboat_tests::{SiteFile, run_tool};
use serde_json::Value;

use crate::bench::{Bench, machine};

/// The directory server of the example on AHCI and e1000e, and on NVMe: its
/// gates turn green, and the report says what it booted on.
pub fn a_machine_boots_on_other_hardware(bench: &Bench) {
    for (disk, nic) in [("sata", "e1000e"), ("nvme", "virtio")] {
        eprintln!("    {disk} and {nic}");
        let site = bench
            .dir1(&format!("on-{disk}"))
            .set("dir1", "disk_bus", disk)
            .set_nics("dir1", "model", nic)
            .set("dir1", "uuid", "4c4c4544-0042-3510-8053-b4c04f4d3132")
            .set("dir1", "clock", "localtime");
        let report = recovered(bench, &site);
        let hardware = &machine(&report, "dir1")["hardware"];
        assert_eq!(hardware["disk"], disk, "{hardware}");
        assert_eq!(hardware["nics"][0], nic, "{hardware}");
        assert!(hardware["fallback_reason"].is_null(), "{hardware}");
    }
}

/// The same machine without the modules that its kernel has for virtio: nobody
/// says what else it is to boot on.
pub fn a_machine_without_virtio_falls_back(bench: &Bench) {
    let disk = bench.appliance.path("bare-metal.raw");
    let from = bench.figure4.volume("dir1");
    let paths = [&from, &disk].map(|path| path.to_string_lossy().into_owned());
    run_tool("cp", &["--sparse=always", &paths[0], &paths[1]]);
    remove_virtio(bench, &disk);
    let volumes = vec![paths[1].clone()];
    let site = bench.dir1("bare-metal").set("dir1", "volumes", volumes);
    let prepared = bench.lifeboat(&["prepare"]).words([bench.write(&site)]);
    let prepared = prepared.json().run();
    prepared.expect_code(0);
    let prepared = prepared.json();
    let hardware = &prepared[0]["hardware"];
    assert_ne!(hardware["disk"], "virtio", "{hardware}");
    let reason = hardware["fallback_reason"].as_str().unwrap();
    eprintln!("    said: {reason}");
    assert!(reason.contains("virtio"), "{reason}");
    let report = recovered(bench, &site);
    let booted = &machine(&report, "dir1")["hardware"];
    assert_eq!(booted, hardware);
    assert_eq!(booted["nics"][0], "e1000e");
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("instead of virtio"), "{warnings}");
    let insisting = site.named("insisting").set("dir1", "disk_bus", "virtio");
    let refused = bench
        .lifeboat(&["prepare"])
        .words([bench.write(&insisting)]);
    refused.run().expect_code(1).expect_said(&["virtio"]);
    std::fs::remove_file(disk).unwrap();
}

fn recovered(bench: &Bench, site: &SiteFile) -> Value {
    let outcome = bench.session("test", site).json().run();
    outcome.expect_code(0);
    let report = outcome.json();
    assert_eq!(report["ok"], true, "{:#}", report["problems"]);
    assert_eq!(machine(&report, "dir1")["outcome"], "ready");
    assert_eq!(report["sources_unchanged"], true);
    report
}

/// Takes every virtio module out of the guest, and out of the list of modules.
fn remove_virtio(bench: &Bench, disk: &Path) {
    let table = run_tool("sfdisk", &["--json", &disk.to_string_lossy()]);
    let table: Value = serde_json::from_slice(&table.stdout).unwrap();
    let partitions = table["partitiontable"]["partitions"].as_array().unwrap();
    let largest = partitions.iter().max_by_key(|part| part["size"].as_u64());
    let offset = largest.unwrap()["start"].as_u64().unwrap() * 512;
    let filesystem = format!("{}?offset={offset}", disk.display());
    let debugfs = |words: &str| {
        let output = run_tool("debugfs", &["-w", "-R", words, &filesystem]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let kernels = debugfs("ls -p /lib/modules");
    let kernels = kernels
        .lines()
        .filter_map(|line| line.split('/').nth(5).filter(|name| name.contains("amd64")));
    let local = bench.appliance.path("modules.dep");
    let mut removed = 0;
    for kernel in kernels {
        let list = format!("/lib/modules/{kernel}/modules.dep");
        debugfs(&format!("dump {list} {}", local.display()));
        let text = std::fs::read_to_string(&local).unwrap();
        let (virtio, others): (Vec<_>, Vec<_>) = text
            .lines()
            .partition(|line| line.split(':').next().unwrap().contains("virtio"));
        for module in &virtio {
            let file = module.split(':').next().unwrap();
            debugfs(&format!("rm /lib/modules/{kernel}/{file}"));
        }
        removed += virtio.len();
        std::fs::write(&local, others.join("\n") + "\n").unwrap();
        debugfs(&format!("rm {list}"));
        debugfs(&format!("write {} {list}", local.display()));
    }
    assert!(removed > 3, "only {removed} modules for virtio were found");
}
