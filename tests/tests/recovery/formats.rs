//! Volumes in forms that QEMU does not serve as they are.

use lifeboat_tests::run_tool;

use crate::bench::{Bench, machine};

/// The directory server of the example, captured as a VMDK of several extents
/// and as a packed raw image: converted once, booted from that, sources as they were.
pub fn a_converted_volume_boots(bench: &Bench) {
    let captured = bench.figure4.volume("dir1").to_string_lossy().into_owned();
    let folder = bench.appliance.path("captured");
    std::fs::create_dir(&folder).unwrap();
    let [vmdk, packed] =
        ["dir1.vmdk", "dir1.raw.zst"].map(|name| folder.join(name).to_string_lossy().into_owned());
    let extents = ["-O", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"];
    let convert = [&["convert", "-f", "raw"], &extents[..], &[&captured, &vmdk]];
    run_tool("qemu-img", &convert.concat());
    run_tool("zstd", &["--quiet", "-1", "-o", &packed, &captured]);
    for (name, volume) in [("extents", vmdk), ("packed", packed)] {
        eprintln!("    {name}: {volume}");
        let site = bench.dir1(name).set("dir1", "volumes", vec![volume]);
        let outcome = bench.session("test", &site).json().run();
        outcome.expect_code(0);
        let report = outcome.json();
        assert_eq!(report["ok"], true, "{:#}", report["problems"]);
        assert_eq!(machine(&report, "dir1")["outcome"], "ready");
        assert_eq!(report["sources_unchanged"], true);
    }
    std::fs::remove_dir_all(folder).unwrap();
}
