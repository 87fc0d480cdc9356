//! A filesystem without room: the guest is as it was, or complete.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod fake_guest;

use std::io::Write;
use std::path::Path;

use lifeboat_drivers::guest::apply::{apply, undo};
use lifeboat_drivers::guest::kernels;
use lifeboat_drivers::guest::plan::{self, Edit, Plan};
use lifeboat_drivers::guest::root::Root;
use lifeboat_drivers::{GuestReport, InjectRequest, Partition, Refusal, RootFilesystem};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Runs with a filesystem of 256 KiB that only this thread sees; false where
/// nobody may mount.
fn on_a_small_filesystem(test: impl FnOnce(&Path) + Send) -> bool {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let directory = tempfile::tempdir().unwrap();
            let none = None::<&str>;
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            let mounted = unshare(CloneFlags::CLONE_NEWNS)
                .and_then(|()| mount(none, "/", none, private, none))
                .and_then(|()| {
                    let kind = Some("tmpfs");
                    let flags = MsFlags::empty();
                    mount(kind, directory.path(), kind, flags, Some("size=256k"))
                });
            if mounted.is_err() {
                let _ = writeln!(
                    std::io::stderr(),
                    "\nSKIPPED a full filesystem: mounting is not allowed here"
                );
                return false;
            }
            test(directory.path());
            nix::mount::umount(directory.path()).unwrap();
            true
        });
        thread.join().unwrap()
    })
}

fn edits() -> Vec<Edit> {
    let hash = |bytes: &[u8]| blake3::hash(bytes).to_hex().to_string();
    let image = [b"image".as_slice(), &[1; 4096]].concat();
    vec![
        Edit::Write {
            path: "etc/fstab".into(),
            content: [b'n'; 9000].to_vec(),
        },
        Edit::Write {
            path: "etc/new/file".into(),
            content: b"new".to_vec(),
        },
        Edit::Move {
            path: "etc/devices".into(),
            to: "etc/devices.aside".into(),
        },
        Edit::Remove {
            path: "etc/map".into(),
        },
        Edit::Append {
            path: "boot/initrd".into(),
            size: 5,
            hashes: (hash(b"image"), hash(&image)),
            bytes: vec![1; 4096],
        },
    ]
}

const BEFORE: [(&str, &[u8]); 4] = [
    ("etc/fstab", b"old, with a byte of another time: \xe4"),
    ("etc/devices", b"devices"),
    ("etc/map", b"map"),
    ("boot/initrd", b"image"),
];

fn is_as_before(root: &Root) {
    for (path, content) in BEFORE {
        assert_eq!(
            root.read(path, 1 << 20).unwrap().unwrap(),
            content,
            "{path}"
        );
    }
    assert!(!root.exists("etc/new"));
    assert!(!root.exists("etc/devices.aside"));
}

#[test]
fn without_room_nothing_is_half_done() {
    on_a_small_filesystem(|directory| {
        let root = Root::open(directory).unwrap();
        for (path, content) in BEFORE {
            root.write(path, content).unwrap();
        }
        let mut refused = 0;
        // Ever less is filled, until everything fits.
        for filler in (0..64).rev() {
            let mut file = std::fs::File::create(directory.join("filler")).unwrap();
            // What does not fit any more is not written.
            let _ = (0..filler).try_for_each(|_| file.write_all(&[7; 4096]));
            let plan = Plan {
                edits: edits(),
                ..Plan::default()
            };
            match apply(&root, &plan) {
                Ok(manifest) => {
                    assert!(refused > 2, "the filesystem was full at first");
                    assert_eq!(root.size("boot/initrd").unwrap(), Some(4101));
                    undo(&root, &manifest).unwrap();
                    is_as_before(&root);
                    return;
                }
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
                    refused += 1;
                    is_as_before(&root);
                }
            }
        }
        panic!("the changes never fitted");
    });
}

#[test]
fn a_plan_without_room_is_refused_before_the_first_write() {
    on_a_small_filesystem(|directory| {
        let root = fake_guest::fill(directory, "dracut", "gzip");
        let image = format!("boot/initrd.img-{}", fake_guest::VERSION);
        let before = root.hash(&image).unwrap();
        let kernels = kernels::find(&root, &mut Vec::new()).unwrap();
        let guest = GuestReport {
            partitions: vec![Partition {
                number: 1,
                uuid: Some("11112222-3333-4444-5555-666677778888".to_owned()),
                ..Partition::default()
            }],
            root: RootFilesystem {
                partition: (0, 1),
                ..RootFilesystem::default()
            },
            ..GuestReport::default()
        };
        let request = InjectRequest {
            machine: "guest".into(),
            nics: Vec::new(),
            target: Default::default(),
            root: None,
        };
        let refusal = plan::plan(&root, &guest, &kernels, &request).unwrap_err();
        let Refusal::NoSpace { needed, free, .. } = &refusal else {
            panic!("{refusal}");
        };
        assert!(*needed > 16 << 20 && *free < 256 << 10, "{refusal}");
        assert_eq!(root.hash(&image).unwrap(), before);
    });
}
