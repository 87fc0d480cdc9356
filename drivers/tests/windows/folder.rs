//! What is read out of a Windows guest for the boot order.

use lifeboat_drivers::guest::root::Root;
use lifeboat_drivers::windows::tree::WindowsTree;

use crate::directory::Bench;
use crate::fixture::WINDOWS_10;

#[test]
fn the_machine_folder_holds_logs_and_hives_and_no_passwords() {
    use std::collections::BTreeMap;
    use std::io::Read;
    struct Names(BTreeMap<String, u64>);
    impl lifeboat_drivers::guest::extract::Sink for Names {
        fn file(&mut self, path: &str, size: u64, _: &mut dyn Read) -> std::io::Result<()> {
            self.0.insert(path.to_owned(), size);
            Ok(())
        }
    }
    let Some(bench) = Bench::new(WINDOWS_10) else {
        return;
    };
    let root = Root::open(bench.guest.path()).unwrap();
    let mut names = Names(BTreeMap::new());
    let limits = lifeboat_drivers::guest::extract::Limits::default();
    lifeboat_drivers::windows::extract::extract(
        &WindowsTree::new(&root),
        "Windows",
        limits,
        &mut names,
    )
    .unwrap();
    let found: Vec<&str> = names.0.keys().map(String::as_str).collect();
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
