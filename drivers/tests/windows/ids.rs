//! The devices that Windows is told of are those that QEMU presents: a machine that never runs is asked.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use lifeboat_drivers::windows::boot_drivers::{DISK_DEVICES, NET_DEVICES};
use serde_json::Value;

use crate::fixture::{Layout, say, virtio_win};

/// `PCI\VEN_x&DEV_y&SUBSYS_z` of every virtio device, as Windows would name it.
fn presented(arguments: &[&str]) -> Option<Vec<String>> {
    let machine = [
        "-S",
        "-nodefaults",
        "-display",
        "none",
        "-machine",
        "q35",
        "-accel",
        "tcg",
        "-m",
        "64",
        "-qmp",
        "stdio",
    ];
    let child = Command::new("qemu-system-x86_64")
        .args(machine)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        say("SKIPPED the devices that QEMU presents: it is not installed");
        return None;
    };
    let mut asked = child.stdin.take().unwrap();
    // The tree of devices knows them before any firmware has counted the buses.
    let tree =
        "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"info qtree\"}}";
    for question in [
        "{\"execute\":\"qmp_capabilities\"}",
        tree,
        "{\"execute\":\"quit\"}",
    ] {
        writeln!(asked, "{question}").unwrap();
    }
    let mut said = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    child.wait().unwrap();
    let answers = said
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let trees: Vec<String> = answers
        .filter_map(|answer| Some(answer.get("return")?.as_str()?.to_owned()))
        .collect();
    Some(
        trees
            .iter()
            .flat_map(|tree| tree.lines())
            .filter_map(id_of)
            .collect(),
    )
}

/// `class SCSI controller, addr 01:00.0, pci id 1af4:1042 (sub 1af4:1100)`
fn id_of(line: &str) -> Option<String> {
    let (_, id) = line.split_once("pci id 1af4:")?;
    let (device, rest) = id.split_once(" (sub ")?;
    let (vendor, subsystem) = rest.trim_end_matches(')').split_once(':')?;
    let text = format!("PCI\\VEN_1AF4&DEV_{device}&SUBSYS_{subsystem}{vendor}");
    Some(text.to_uppercase())
}

/// Ports as libvirt gives a q35 machine, one device each.
fn on_ports(devices: &[&str]) -> Vec<String> {
    let mut arguments = vec![
        "-blockdev".to_owned(),
        "driver=null-co,node-name=n,size=1048576".to_owned(),
    ];
    for (number, device) in devices.iter().enumerate() {
        let port = format!("pcie-root-port,id=p{number},chassis={number},slot={number}");
        arguments.extend([
            "-device".to_owned(),
            port,
            "-device".to_owned(),
            format!("{device},bus=p{number}"),
        ]);
    }
    arguments
}

#[test]
fn devices_are_those_of_the_virtual_machine() {
    let devices = [
        "virtio-blk-pci,drive=n",
        "virtio-scsi-pci",
        "virtio-net-pci",
    ];
    let modern = on_ports(&devices);
    let modern: Vec<&str> = modern.iter().map(String::as_str).collect();
    let Some(modern) = presented(&modern) else {
        return;
    };
    let old = [
        "-blockdev",
        "driver=null-co,node-name=n,size=1048576",
        "-device",
        "virtio-blk-pci,drive=n",
        "-device",
        "virtio-scsi-pci",
        "-device",
        "virtio-net-pci",
    ];
    let old = presented(&old).unwrap();
    let expected = |place: usize| {
        [
            DISK_DEVICES[0].2[place],
            DISK_DEVICES[1].2[place],
            NET_DEVICES[place],
        ]
    };
    for (presented, place) in [(&modern, 0), (&old, 1)] {
        let mut short: Vec<&str> = presented.iter().map(|id| &id[..21]).collect();
        let mut wanted = expected(place).to_vec();
        short.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(short, wanted, "{presented:?}");
    }
    // The long form stands in the setup information files as well.
    let drivers = tempfile::tempdir().unwrap();
    virtio_win(drivers.path(), Layout::Iso, "1.0.0.0");
    let (catalogue, _) = crate::fixture::catalogue(drivers.path());
    let fitting = catalogue.fitting(&["w10".to_owned()], "amd64");
    let known: Vec<&str> = fitting
        .values()
        .flat_map(|package| &package.inf.devices)
        .map(|device| device.id.as_str())
        .collect();
    for id in modern.iter().chain(&old) {
        assert!(
            known.iter().any(|known| known.starts_with(id.as_str())),
            "{id} is in no setup information file"
        );
    }
}
