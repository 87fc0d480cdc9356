//! One archive, and what our own writer makes of its names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_drivers::initrd::cpio::{Kind, Reader, Writer};

fuzz_target!(|bytes: &[u8]| {
    let mut input = bytes;
    let mut reader = Reader::new(&mut input);
    let mut writer = Writer::new();
    let mut names = Vec::new();
    while let Ok(Some(entry)) = reader.next_entry() {
        let Ok(content) = reader.content(&entry) else {
            break;
        };
        assert_eq!(content.len(), entry.size as usize);
        if entry.kind == Kind::File && !entry.name.is_empty() && entry.name != "TRAILER!!!" {
            writer.file(&entry.name, 0o644, &content);
            names.push((entry.name, content));
        }
    }
    let written = writer.finish();
    let mut input = written.as_slice();
    let mut reader = Reader::new(&mut input);
    for (name, content) in names {
        let entry = reader
            .next_entry()
            .expect("our own archive")
            .expect("an entry");
        assert_eq!(entry.name, name);
        assert_eq!(reader.content(&entry).expect("its content"), content);
    }
});
