//! What is read out of a Windows guest for the boot order.

use std::collections::BTreeMap;
use std::io::Read;

use lifeboat_drivers::guest::extract::Limits;
use lifeboat_drivers::guest::root::Root;
use lifeboat_drivers::windows::boot_drivers::wide;
use lifeboat_drivers::windows::extract::extract;
use lifeboat_drivers::windows::system::identify;
use lifeboat_drivers::windows::tree::WindowsTree;
use lifeboat_hive::{Editor, kind};

use crate::directory::Bench;
use crate::fixture::WINDOWS_10;

struct Names(BTreeMap<String, u64>);
impl lifeboat_drivers::guest::extract::Sink for Names {
    fn file(&mut self, path: &str, size: u64, _: &mut dyn Read) -> std::io::Result<()> {
        self.0.insert(path.to_owned(), size);
        Ok(())
    }
}

/// Names of what is read out, and warnings.
fn read_out(bench: &Bench) -> (Vec<String>, Vec<String>) {
    let root = Root::open(bench.guest.path()).unwrap();
    let tree = WindowsTree::new(&root);
    let (_, hives) = identify(&tree).unwrap();
    let mut names = Names(BTreeMap::new());
    let software = hives.software.editor.hive();
    let warnings = extract(&tree, "Windows", software, Limits::default(), &mut names).unwrap();
    (names.0.into_keys().collect(), warnings)
}

#[test]
fn the_machine_folder_holds_logs_and_hives_and_no_passwords() {
    let Some(bench) = Bench::new(WINDOWS_10) else {
        return;
    };
    let (found, warnings) = read_out(&bench);
    assert_eq!(warnings, [""; 0]);
    assert_eq!(
        found,
        [
            "Windows/System32/config/SOFTWARE",
            "Windows/System32/config/SYSTEM",
            "Windows/System32/config/SYSTEM.LOG1",
            "Windows/System32/config/SYSTEM.LOG2",
            "Windows/System32/drivers/etc/hosts",
            "Windows/System32/winevt/Logs/System.evtx",
        ]
    );
}

#[test]
fn a_hive_with_the_password_of_a_log_in_stays() {
    let Some(bench) = Bench::new(WINDOWS_10) else {
        return;
    };
    let path = bench.path("Windows/System32/config/SOFTWARE");
    let mut editor = Editor::open(std::fs::read(&path).unwrap(), &[]).unwrap();
    let key = "Microsoft\\Windows NT\\CurrentVersion\\Winlogon";
    let mut set = |password: &str| {
        editor
            .set(key, "DefaultPassword", kind::TEXT, &wide(password))
            .unwrap();
    };
    set("");
    set("hunter2");
    std::fs::write(&path, editor.finish()).unwrap();
    std::fs::write(path.with_extension("LOG1"), b"").unwrap();
    let (found, warnings) = read_out(&bench);
    assert!(
        found.iter().all(|name| !name.contains("SOFTWARE")),
        "{found:?}"
    );
    assert!(found.iter().any(|name| name.ends_with("config/SYSTEM")));
    assert!(warnings[0].contains("DefaultPassword") && !warnings[0].contains("hunter2"));
}
