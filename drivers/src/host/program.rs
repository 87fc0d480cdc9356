//! The injector's program file without what is only there for debuggers.

use super::kernel_image::number;

/// The bytes of a 64-bit ELF file that are loaded when it runs: debug
/// information may be ten times as much, and each launch would carry it.
/// Anything that is not understood is passed on whole.
pub(super) fn loaded_part(mut program: Vec<u8>) -> Vec<u8> {
    let Some(end) = end_of_segments(&program) else {
        return program;
    };
    program.truncate(end);
    // The section table lay behind: offset, entry size, count and name index.
    program[0x28..0x30].fill(0);
    program[0x3a..0x40].fill(0);
    program
}

fn end_of_segments(program: &[u8]) -> Option<usize> {
    if !program.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = number(program, 0x20, 8)?;
    let (size, count) = (number(program, 0x36, 2)?, number(program, 0x38, 2)?);
    let mut end = table.checked_add(size.checked_mul(count)?)?.max(0x40);
    for index in 0..count {
        let header = table.checked_add(index * size)?;
        let offset = number(program, header.checked_add(8)?, 8)?;
        end = end.max(offset.checked_add(number(program, header.checked_add(32)?, 8)?)?);
    }
    (end <= program.len()).then_some(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_program_stays_whole() {
        assert_eq!(loaded_part(b"#!/bin/sh".to_vec()), b"#!/bin/sh");
    }

    #[test]
    fn this_very_test_loses_its_debug_information() {
        let program = std::fs::read("/proc/self/exe").unwrap();
        let loaded = loaded_part(program.clone());
        assert!(loaded.len() < program.len());
        assert_eq!(loaded[0x40..], program[0x40..loaded.len()]);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let program = [b"\x7fELF\x02\x01".as_slice(), &bytes].concat();
            loaded_part(program);
        }
    }
}
