//! Makes the first inputs of every fuzz target, by code alone.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let text = text();
    for (target, name, bytes) in [
        ("journal", "regular", journal(false)),
        ("journal", "compact", journal(true)),
        ("evtx", "one_record", evtx()),
        ("evt", "two_boots", evt()),
        ("syslog", "rfc3164", text.clone()),
        ("syslog", "rfc5424", text5424()),
        ("packed", "gzip", gzip(&text)?),
        ("hive", "one_key", hive()),
        (
            "facts",
            "connection",
            b"\0url = postgres://app@data1:5432/x\n".to_vec(),
        ),
        (
            "facts",
            "mounts",
            b"\x01data1:/srv /mnt nfs4 _netdev,nofail 0 0\n".to_vec(),
        ),
        (
            "facts",
            "project",
            b"\x13services:\n  web:\n    depends_on: [db]\n  db:\n    image: postgres\n".to_vec(),
        ),
    ] {
        let folder: PathBuf = corpus.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}

fn words(out: &mut Vec<u8>, values: &[u64]) {
    values
        .iter()
        .for_each(|value| out.extend(value.to_le_bytes()));
}

/// A journal with two data objects and one entry that refers to both.
fn journal(compact: bool) -> Vec<u8> {
    let mut out = b"LPKSHHRH".to_vec();
    out.extend(0_u32.to_le_bytes());
    out.extend(u32::to_le_bytes(if compact { 16 } else { 0 }));
    out.resize(88, 0);
    words(&mut out, &[272, 0]);
    out.resize(272, 0);
    let mut places = Vec::new();
    for field in [
        "MESSAGE=connection refused by 10.0.0.2",
        "SYSLOG_IDENTIFIER=app",
    ] {
        places.push(out.len() as u64);
        let start = if compact { 72 } else { 64 };
        words(&mut out, &[1, (start + field.len()) as u64]);
        out.resize(out.len() + start - 16, 0);
        out.extend(field.bytes());
        out.resize(out.len().next_multiple_of(8), 0);
    }
    let entry = out.len() as u64;
    let items = if compact { 8 } else { 32 };
    words(
        &mut out,
        &[3, 64 + items, 1, 1_700_000_000_000_000, 5_000_000, 7, 7, 0],
    );
    for place in places {
        if compact {
            out.extend((place as u32).to_le_bytes());
        } else {
            words(&mut out, &[place, 0]);
        }
    }
    out.resize(out.len().next_multiple_of(8), 0);
    let arena = out.len() as u64 - 272;
    out[96..104].copy_from_slice(&arena.to_le_bytes());
    out[136..144].copy_from_slice(&entry.to_le_bytes());
    out
}

/// A log with one chunk and one record whose markup is empty.
fn evtx() -> Vec<u8> {
    let mut out = b"ElfFile\0".to_vec();
    words(&mut out, &[0, 0, 2]);
    out.extend(128_u32.to_le_bytes());
    out.extend([1_u16, 3, 4096, 1].map(u16::to_le_bytes).concat());
    out.resize(4096, 0);
    let mut chunk = b"ElfChnk\0".to_vec();
    words(&mut chunk, &[1, 1, 1, 1]);
    chunk.extend([128_u32, 512, 560, 0].map(u32::to_le_bytes).concat());
    chunk.resize(512, 0);
    chunk.extend([0x2a2a_u32, 48].map(u32::to_le_bytes).concat());
    words(&mut chunk, &[1, 133_000_000_000_000_000]);
    chunk.extend([0x0f, 1, 1, 0, 0]);
    chunk.resize(512 + 44, 0);
    chunk.extend(48_u32.to_le_bytes());
    chunk.resize(65_536, 0);
    out.extend(chunk);
    out
}

fn evt() -> Vec<u8> {
    let magic = u32::from_le_bytes(*b"LfLe");
    let mut out: Vec<u8> = [48, magic, 1, 1, 48, 48, 3, 1, 65_536, 1, 0, 48]
        .map(u32::to_le_bytes)
        .concat();
    for (number, code) in [(1, 6009_u32), (2, 6005), (3, 5719), (4, 6009)] {
        let names: Vec<u8> = "EventLog\0XP1\0x\0"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let length = (56 + names.len() + 4).next_multiple_of(4) as u32;
        let end = out.len() + length as usize;
        out.extend(
            [
                length,
                magic,
                number,
                number * 60,
                number * 60,
                code,
                0x1_0004,
                0,
                0,
                82,
                0,
                0,
                0,
                0,
            ]
            .map(u32::to_le_bytes)
            .concat(),
        );
        out.extend(names);
        out.resize(end - 4, 0);
        out.extend(length.to_le_bytes());
    }
    out
}

fn text() -> Vec<u8> {
    b"Dec 31 23:59:59 web1 rsyslogd: [origin software=\"rsyslogd\"] start\n\
      Jan  1 00:00:00 web1 kernel: [    0.000000] Linux version 6.1\n\
      Jan  1 00:00:01 web1 kernel: [    1.000000] rtc_cmos: setting system clock to 2024-01-01T00:00:00 UTC (1704067200)\n\
      Jan  1 00:00:09 web1 app[1]: connection refused by 10.0.0.2\n\
      Jan  1 01:00:09 web1 chronyd[1]: System clock was stepped by 3600.0 seconds\n"
        .to_vec()
}

fn text5424() -> Vec<u8> {
    b"<30>1 2024-01-01T00:00:00.5+01:00 web1 systemd 1 - [a@1 k=\"v\"] systemd 252 running in system mode\n\
      <30>1 2024-01-01T00:00:01Z web1 app 7 - - connection refused<3>Jan  1 00:00:02 web1 app: x\n"
        .to_vec()
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(bytes)?;
    packed.finish()
}

/// A hive with a root key, and behind it the head of a log.
fn hive() -> Vec<u8> {
    let mut out = b"regf".to_vec();
    out.resize(36, 0);
    out.extend([32_u32, 4096].map(u32::to_le_bytes).concat());
    out.resize(4096, 0);
    out.extend(b"hbin");
    out.resize(4096 + 32, 0);
    out.extend((-96_i32).to_le_bytes());
    out.extend(b"nk\x20\0");
    out.resize(4096 + 36 + 72, 0);
    out.extend([4, 0, 0, 0]);
    out.extend(b"ROOT");
    out.resize(8192, 0);
    out
}
