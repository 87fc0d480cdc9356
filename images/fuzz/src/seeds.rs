//! Makes the first inputs of every fuzz target: by code, and with `qemu-img`.

#![expect(
    clippy::unwrap_used,
    reason = "a seed that cannot be made is worth a panic"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "../../tests/fixture/writers.rs"]
mod writers;

const MIB: usize = 1 << 20;

struct Seeds {
    corpus: PathBuf,
    work: PathBuf,
}

impl Seeds {
    fn put(&self, target: &str, name: &str, bytes: Vec<u8>) {
        let folder = self.corpus.join(target);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), bytes).unwrap();
    }

    fn qemu(&self, name: &str, format: &str, options: &[&str]) -> PathBuf {
        let path = self.work.join(name);
        let done = Command::new("qemu-img")
            .args(["convert", "-f", "raw", "-O", format])
            .args(options)
            .arg(self.work.join("disk.raw"))
            .arg(&path)
            .status();
        assert!(done.unwrap().success());
        path
    }
}

fn with(first: &[u8], bytes: Vec<u8>) -> Vec<u8> {
    [first.to_vec(), bytes].concat()
}

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let work = std::env::temp_dir().join(format!("lifeboat-seeds-{}", std::process::id()));
    fs::create_dir_all(&work).unwrap();
    let seeds = Seeds {
        corpus: root.join("corpus"),
        work: work.clone(),
    };
    let mut disk = vec![0_u8; MIB];
    disk[..4096].copy_from_slice(&writers::disk(1)[..4096]);
    disk[510..512].copy_from_slice(b"\x55\xaa");
    fs::write(work.join("disk.raw"), &disk).unwrap();
    single(&seeds);
    several(&seeds, &disk);
    seeds.put("layout", "mbr", disk[..65_536].to_vec());
    seeds.put("package", "ovf", b"<?xml version=\"1.0\"?><Envelope><References><File id=\"f\" href=\"d.vmdk\"/></References></Envelope>".to_vec());
    seeds.put("package", "manifest", b"SHA256(d.vmdk)= 00\n".to_vec());
    fs::remove_dir_all(work).unwrap();
}

fn single(seeds: &Seeds) {
    let forms: [(&str, &str, &[&str]); 5] = [
        ("a.qcow2", "qcow2", &[]),
        ("a.vmdk", "vmdk", &[]),
        ("a.vhd", "vpc", &["-o", "force_size=on"]),
        ("a.vhdx", "vhdx", &["-o", "log_size=1M,block_size=1M"]),
        ("a.vdi", "vdi", &[]),
    ];
    for (form, (name, format, options)) in (0_u8..).zip(forms) {
        let path = seeds.qemu(name, format, options);
        seeds.put("structure", name, with(&[form], fs::read(&path).unwrap()));
        if format == "vhdx" {
            writers::dirty_vhdx(&path, &[(3 << 20, vec![5; 4096])], Some((4 << 20, 4096)));
            seeds.put(
                "structure",
                "dirty.vhdx",
                with(&[form], fs::read(&path).unwrap()),
            );
        }
    }
}

fn several(seeds: &Seeds, disk: &[u8]) {
    let small = &disk[..128 << 10];
    for segments in [1, 2] {
        let first = writers::ewf(&seeds.work.join("e.x"), small, segments);
        let mut bytes = fs::read(&first).unwrap();
        let cut = bytes.len();
        if segments == 2 {
            bytes.extend(fs::read(first.with_extension("E02")).unwrap());
        }
        let cut = (cut * 255).div_ceil(bytes.len()) as u8;
        seeds.put("ewf", &format!("{segments}"), with(&[cut], bytes));
    }
    let parent = seeds.qemu("p.vhd", "vpc", &["-o", "force_size=on,subformat=dynamic"]);
    let child = seeds.work.join("c.vhd");
    writers::differencing_vhd(&child, &parent, MIB as u64, &[(1, 2), (9, 3)]);
    let child = fs::read(child).unwrap();
    let cut = u16::try_from(child.len() / 512).unwrap().to_le_bytes();
    let both = [child, fs::read(parent).unwrap()].concat();
    seeds.put("vhd", "chain", with(&cut, both));
    let text = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"custom\"\n\
                RW 8 FLAT \"a\" 0\nRW 4 ZERO\nRW 2048 SPARSE \"b\"\n\0";
    let sparse = fs::read(seeds.work.join("a.vmdk")).unwrap();
    seeds.put("vmdk", "two", with(text.as_bytes(), sparse));
    for (form, ending) in (0_u8..).zip(["gz", "xz", "zst", "bz2"]) {
        seeds.put(
            "packed",
            ending,
            with(&[form], writers::pack(ending, small)),
        );
    }
}
