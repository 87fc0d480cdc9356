//! Software RAID: which array a guest means by a name.

use super::root::Root;

/// Where mdadm keeps its configuration.
const FILES: [&str; 2] = ["etc/mdadm/mdadm.conf", "etc/mdadm.conf"];
const BY_UUID: &str = "/dev/disk/by-id/md-uuid-";
const BY_NAME: &str = "/dev/disk/by-id/md-name-";

/// The arrays that a guest's `mdadm.conf` names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ArrayNames(Vec<Array>);

/// One `ARRAY` line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Array {
    device: String,
    uuid: Option<String>,
    name: Option<String>,
}

impl ArrayNames {
    /// Reads the configuration of a guest.
    pub fn of_guest(root: &Root) -> Self {
        Self::parse(&FILES.map(|path| root.text(path)).join("\n"))
    }

    /// Understands the text of `mdadm.conf`; lines that begin with a blank go
    /// on with the one before.
    pub fn parse(text: &str) -> Self {
        let mut lines: Vec<String> = Vec::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            match lines.last_mut().filter(|_| line.starts_with([' ', '\t'])) {
                Some(before) => before.push_str(line),
                None => lines.push(line.to_owned()),
            }
        }
        Self(lines.iter().filter_map(|line| array(line)).collect())
    }

    /// Which of the volumes a name means, given the names that each has by
    /// itself; nothing where it may be more than one, or none.
    pub(crate) fn meant<'n>(
        &self,
        device: &str,
        volumes: impl Iterator<Item = &'n [String]> + Clone,
    ) -> Option<usize> {
        let having = |name: &str| {
            let mut all = volumes.clone();
            all.position(|names| names.iter().any(|known| known == name))
        };
        if let Some(exact) = having(device) {
            return Some(exact);
        }
        let (base, part) = split_part(device);
        let written = self.0.iter().find(|array| is_same(&array.device, base));
        let by_conf = written.and_then(|array| {
            let uuid = array.uuid.as_ref();
            let by_uuid = uuid.and_then(|uuid| having(&format!("{BY_UUID}{uuid}{}", link(part))));
            by_uuid.or_else(|| having(&of_name(array.name.as_deref()?, part)))
        });
        let by_name = || {
            let name = own_name(base)?;
            let named = |name: &str| having(&of_name(name, part));
            named(name).or_else(|| named(without_number(name)?))
        };
        // What nobody named has a number that was free: it can only be the only one.
        let only = || {
            number(base).filter(|_| written.is_none())?;
            let mut numbered = volumes.clone().enumerate().filter(|(_, names)| {
                let mut names = names.iter().filter(|name| name.starts_with(BY_UUID));
                names.any(|name| {
                    name.ends_with(&link(part)) && (part.is_some() || !name.contains("-part"))
                })
            });
            let (index, _) = numbered.next()?;
            numbered.next().is_none().then_some(index)
        };
        by_conf.or_else(by_name).or_else(only)
    }
}

/// Whether a name is one of an array, or of a partition on it.
pub(crate) fn is_array_name(device: &str) -> bool {
    let (base, _) = split_part(device);
    number(base).is_some() || own_name(base).is_some() || device.starts_with(BY_UUID)
}

fn array(line: &str) -> Option<Array> {
    let mut words = line.split_whitespace();
    words
        .next()
        .filter(|word| word.eq_ignore_ascii_case("array"))?;
    let device = words.next()?.to_owned();
    let mut array = Array {
        device,
        uuid: None,
        name: None,
    };
    for word in words {
        let Some((key, value)) = word.split_once('=') else {
            continue;
        };
        match key.to_ascii_lowercase().as_str() {
            "uuid" => array.uuid = Some(value.to_ascii_lowercase()),
            "name" => array.name = Some(value.to_owned()),
            _ => {}
        }
    }
    Some(array)
}

/// `md0`, `/dev/md0` and `/dev/md/0` are the same.
fn is_same(written: &str, device: &str) -> bool {
    let plain = |name: &str| {
        let name = name.strip_prefix("/dev/").unwrap_or(name);
        let name = name
            .strip_prefix("md/")
            .or(name.strip_prefix("md"))
            .unwrap_or(name);
        name.trim_start_matches('/').to_owned()
    };
    plain(written) == plain(device)
}

/// The number of `/dev/md127`.
fn number(base: &str) -> Option<u32> {
    let digits = base.strip_prefix("/dev/md")?;
    let is_number = !digits.is_empty() && digits.bytes().all(|letter| letter.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

/// What an array calls itself: the name without the host before it.
fn own_name(base: &str) -> Option<&str> {
    let name = base
        .strip_prefix("/dev/md/")
        .or(base.strip_prefix(BY_NAME))?;
    name.rsplit(':').next().filter(|name| !name.is_empty())
}

/// mdadm puts a number behind a name that was taken.
fn without_number(name: &str) -> Option<&str> {
    let (name, number) = name.rsplit_once('_')?;
    number.parse::<u32>().ok().map(|_| name)
}

/// As its superblock gives it: behind the host's name.
fn of_name(name: &str, part: Option<u32>) -> String {
    let short = name.rsplit(':').next().unwrap_or(name);
    match part {
        Some(part) => format!("/dev/md/{short}p{part}"),
        None => format!("/dev/md/{short}"),
    }
}

fn link(part: Option<u32>) -> String {
    part.map_or(String::new(), |part| format!("-part{part}"))
}

/// `p1` behind a number, `-part1` behind a link.
fn split_part(device: &str) -> (&str, Option<u32>) {
    let split = match device.rsplit_once("-part") {
        Some(split) => Some(split),
        None => device
            .rsplit_once('p')
            .filter(|(base, _)| base.ends_with(|letter: char| letter.is_ascii_digit())),
    };
    match split.and_then(|(base, part)| Some((base, part.parse().ok()?))) {
        Some((base, part)) => (base, Some(part)),
        None => (device, None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIRST: &str = "3aaa0122:29827cfa:5331ad66:ca767371";
    const SECOND: &str = "4bbb0122:29827cfa:5331ad66:ca767371";

    /// As the superblocks give them: a named array, and one with two partitions.
    fn volumes() -> Vec<Vec<String>> {
        let names = |names: &[String]| names.to_vec();
        vec![
            vec![],
            names(&["/dev/md/data".into(), format!("{BY_UUID}{FIRST}")]),
            names(&[
                "/dev/md0p1".into(),
                "/dev/md/0p1".into(),
                format!("{BY_UUID}{SECOND}-part1"),
            ]),
            names(&[
                "/dev/md0p2".into(),
                "/dev/md/0p2".into(),
                format!("{BY_UUID}{SECOND}-part2"),
            ]),
        ]
    }

    fn meant(conf: &str, device: &str, volumes: &[Vec<String>]) -> Option<usize> {
        let names = volumes.iter().map(Vec::as_slice);
        ArrayNames::parse(conf).meant(device, names)
    }

    #[test]
    fn names_of_arrays() {
        let conf = format!(
            "# ARRAY /dev/md5 UUID={SECOND}\nHOMEHOST <system>\n\
             ARRAY /dev/md/home metadata=1.2\n  UUID={FIRST} name=old:data\n\
             array /dev/md127 UUID={}\nARRAY md9 name=old:data\n",
            SECOND.to_uppercase()
        );
        let cases = [
            ("/dev/md/data", Some(1)),
            ("/dev/md/old:data", Some(1)),
            ("/dev/md/data_0", Some(1)),
            ("/dev/disk/by-id/md-name-old:data", Some(1)),
            ("/dev/md/home", Some(1)),
            ("/dev/md9", Some(1)),
            ("/dev/md127p2", Some(3)),
            ("/dev/md0p1", Some(2)),
            ("/dev/md/other", None),
            ("/dev/md127", None),
            ("/dev/md5", Some(1)),
            ("/dev/sda1", None),
        ];
        for (device, expected) in cases {
            assert_eq!(meant(&conf, device, &volumes()), expected, "{device}");
        }
    }

    #[test]
    fn a_number_that_nobody_gave_means_the_only_array() {
        let mut volumes = volumes();
        assert_eq!(meant("", "/dev/md127", &volumes), Some(1));
        assert_eq!(meant("", "/dev/md126p2", &volumes), Some(3));
        assert_eq!(meant("", "/dev/md/other", &volumes), None);
        volumes.push(vec![
            "/dev/md/more".into(),
            format!("{BY_UUID}5{}", &SECOND[1..]),
        ]);
        assert_eq!(meant("", "/dev/md127", &volumes), None);
        assert!(
            is_array_name("/dev/md127")
                && is_array_name("/dev/md/x")
                && is_array_name("/dev/md0p1")
        );
        assert!(
            !is_array_name("/dev/mdx")
                && !is_array_name("/dev/mapper/x")
                && !is_array_name("UUID=1")
        );
    }

    proptest! {
        #[test]
        fn arbitrary_texts_never_panic(conf in any::<String>(), device in "(/dev/|md|/|p|0|1|-part|:|_|ä|disk/by-id/md-uuid-)*") {
            meant(&conf, &device, &volumes());
            meant(&format!("ARRAY {device} UUID={FIRST}"), &device, &volumes());
            is_array_name(&device);
        }
    }
}
