//! The catalogue of Windows drivers, images that it is made from, and versions of programs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::io::{self, Cursor, Write};

use lifeboat_drivers::windows::catalogue::collect::{Files, collect};
use lifeboat_drivers::windows::catalogue::{Catalogue, contents, image};
use lifeboat_drivers::windows::trust::file_version;

/// Where drivers and what is none of them may lie.
const PLACES: [&str; 8] = [
    "viostor/w10/amd64/viostor.inf",
    "viostor/w10/amd64/viostor.sys",
    "viostor/w10/amd64/viostor.cat",
    "drivers/by-os/x86/2k8/netkvm.inf",
    "drivers/by-os/x86/2k8/netkvm.sys",
    "fwcfg/w11/amd64/fwcfg.inf",
    "fwcfg/w11/amd64/qemufwcfg.inf",
    "NetKVM/w10/amd64/sriov/x.inf",
];

fuzz_target!(|bytes: &[u8]| {
    let _ = file_version(bytes);
    archive(bytes);
    of_files(bytes);
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("room");
    let mut out = Vec::new();
    if image::extract(file, "x.iso", &[], &mut out).is_ok() {
        archive_is_whole(&out);
    }
});

fn archive(bytes: &[u8]) {
    if let Ok(catalogue) = Catalogue::read(bytes) {
        let _ = contents(Cursor::new(bytes), &catalogue.hashes());
    }
}

fn archive_is_whole(bytes: &[u8]) {
    let catalogue = Catalogue::read(bytes).expect("our own archive");
    contents(Cursor::new(bytes), &catalogue.hashes()).expect("all its files");
}

/// Each part of the input, between zero bytes, is a file: its first byte says which.
fn of_files(bytes: &[u8]) {
    let parts = bytes.split(|byte| *byte == 0).take(PLACES.len());
    let files = parts.filter_map(|part| {
        let (place, content) = part.split_first()?;
        let path = PLACES[usize::from(*place) % PLACES.len()];
        Some((path.to_owned(), content.to_vec()))
    });
    let mut files = Tree(files.collect());
    let Ok(collected) = collect(&mut files, "x", &[]) else {
        return;
    };
    let mut out = Vec::new();
    let mut content = |hash: &str| files.read(&collected.places[hash]);
    let written = collected.catalogue.write(&mut out, &mut content);
    written.expect("files that were read before");
    archive_is_whole(&out);
    let again = Catalogue::read(out.as_slice()).expect("our own archive");
    assert_eq!(again, collected.catalogue);
}

struct Tree(BTreeMap<String, Vec<u8>>);

impl Files for Tree {
    fn list(&mut self) -> io::Result<Vec<(String, u64)>> {
        let files = self.0.iter();
        Ok(files
            .map(|(path, content)| (path.clone(), content.len() as u64))
            .collect())
    }

    fn read(&mut self, path: &str) -> io::Result<Vec<u8>> {
        Ok(self.0.get(path).ok_or(io::ErrorKind::NotFound)?.clone())
    }
}
