//! Binary module indexes, and the texts they are made from.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;

use lifeboat_drivers::initrd::kmod_index::lookup;
use lifeboat_drivers::initrd::modules::{IndexTexts, ModuleTree, merged_index};

fuzz_target!(|input: (Vec<u8>, String, String, String)| {
    let (index, dep, alias, key) = input;
    let _ = lookup(&index, &key);
    let texts = IndexTexts {
        dep,
        softdep: alias.clone(),
        symbols: alias.clone(),
        devname: alias.clone(),
        alias,
        builtin: key,
    };
    let tree = ModuleTree::parse(&texts);
    let present: BTreeMap<String, String> = tree
        .modules
        .iter()
        .map(|(name, module)| (name.clone(), module.path.clone()))
        .collect();
    let names: Vec<&str> = present.keys().map(String::as_str).collect();
    assert!(tree.closure(&names).len() <= names.len());
    let files = merged_index(&texts, &IndexTexts::default(), &present);
    for (name, path) in &present {
        let storable = |text: &str| text.bytes().all(|byte| byte != 0 && byte < 128);
        if storable(name) && storable(path) {
            let found = lookup(&files["modules.dep.bin"], name).expect("our own index");
            assert!(!found.is_empty());
        }
    }
});
