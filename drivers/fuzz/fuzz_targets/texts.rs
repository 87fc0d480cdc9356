//! Edits of fstab, crypttab and boot loaders: done once, they are done.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_drivers::Partition;
use lifeboat_drivers::guest::arguments::root_argument;
use lifeboat_drivers::guest::boot_loader;
use lifeboat_drivers::guest::identity::{DeviceMap, is_volatile};

fuzz_target!(|input: (u8, &str, Option<&str>)| {
    let (hidden, text, root_name) = input;
    let partition = |disk, number, uuid: &str, label: &str| Partition {
        disk,
        number,
        uuid: Some(uuid.to_owned()),
        label: Some(label.to_owned()),
        ..Partition::default()
    };
    let partitions = [
        partition(0, 1, "aaaa", "a"),
        partition(0, 2, "bbbb", "a"),
        // What may hide a filesystem that is not seen.
        Partition {
            filesystem: (hidden % 3 == 1).then(|| "luks".to_owned()),
            bytes: u64::from(hidden) << 24,
            ..partition(1, 1, "cccc", "c")
        },
    ];
    let map = DeviceMap::new(&partitions, (0, 1))
        .knowing_root_name(root_name)
        .knowing_closed_volumes(hidden % 3 == 2);
    let edits: [&dyn Fn(&str) -> String; 4] = [
        &|text| map.edit_fstab(text).text,
        &|text| map.edit_crypttab(text).text,
        &|text| map.edit_arguments(text).text,
        &|text| boot_loader::edit(&map, text).text,
    ];
    for edit in edits {
        let once = edit(text);
        assert_eq!(edit(&once), once);
        assert_eq!(once.lines().count(), text.lines().count());
    }
    let edited = map.edit_arguments(text).text;
    if let Some(argument) = root_argument(&edited) {
        assert!(!is_volatile(&argument));
    }
});
