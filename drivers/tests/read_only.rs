//! A guest that cannot be written although it is mounted for writing: on a real
//! btrfs, in a mount namespace of its own; skipped where that is not allowed.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use lifeboat_drivers::Refusal;
use lifeboat_drivers::guest::changeable::check_writable;
use lifeboat_drivers::guest::plan::{Edit, Plan};
use lifeboat_drivers::guest::root::Root;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn on_btrfs(test: impl FnOnce(&Path) + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let directory = tempfile::tempdir().unwrap();
            let image = directory.path().join("image");
            let target = directory.path().join("target");
            std::fs::create_dir(&target).unwrap();
            let file = std::fs::File::create(&image).unwrap();
            file.set_len(128 << 20).unwrap();
            let (image, at) = (image.to_str().unwrap(), target.to_str().unwrap());
            let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
            let nothing: Option<&str> = None;
            let alone = unshare(CloneFlags::CLONE_NEWNS)
                .and_then(|()| mount(nothing, "/", nothing, private, nothing));
            if alone.is_err()
                || !succeeds("mkfs.btrfs", &["-q", image])
                || !succeeds("mount", &["-o", "loop", image, at])
            {
                let text = "\nSKIPPED a read-only subvolume: btrfs cannot be mounted here";
                let _ = writeln!(std::io::stderr(), "{text}");
                return;
            }
            test(&target);
            assert!(succeeds("umount", &[at]));
        });
        thread.join().unwrap();
    });
}

fn judged(root: &Root, path: &str) -> Result<(), Refusal> {
    let edits = vec![Edit::Write {
        path: path.to_owned(),
        content: Vec::new(),
    }];
    check_writable(
        root,
        &Plan {
            edits,
            ..Plan::default()
        },
    )
}

#[test]
fn read_only_subvolumes_are_refused() {
    on_btrfs(|directory| {
        let subvolume = |path: &Path| {
            assert!(succeeds(
                "btrfs",
                &["subvolume", "create", path.to_str().unwrap()]
            ));
        };
        let read_only = |path: &Path, answer: &str| {
            let words = ["property", "set", path.to_str().unwrap(), "ro", answer];
            assert!(succeeds("btrfs", &words));
        };
        let own = directory.join("guest");
        subvolume(&own);
        subvolume(&own.join("snapshot"));
        let root = Root::open(&own).unwrap();
        root.write("etc/fstab", b"").unwrap();
        root.write("snapshot/grub.cfg", b"").unwrap();
        root.symlink("/snapshot/grub.cfg", "boot/grub.cfg").unwrap();
        let paths = ["etc/fstab", "etc/new/file", "boot/grub.cfg"];
        let refused = || paths.map(|path| judged(&root, path).is_err());
        assert_eq!(refused(), [false; 3]);
        read_only(&own.join("snapshot"), "true");
        assert_eq!(refused(), [false, false, true]);
        read_only(&own, "true");
        assert_eq!(refused(), [true; 3]);
        let text = judged(&root, "etc/fstab").unwrap_err().to_string();
        assert!(text.contains("/etc of the guest lies on"), "{text}");
        read_only(&own, "false");
        read_only(&own.join("snapshot"), "false");
        assert_eq!(refused(), [false; 3]);
    });
}
