//! LVM: making the guest's logical volumes usable.

use std::collections::BTreeSet;

use serde_json::Value;

use super::disks::{self, Found};
use super::mounts::name;
use super::tools::Tools;
use crate::refusal::Refusal;
use crate::report::Partition;

/// Kinds of segments that only map sectors, so that reading and writing one
/// changes nothing else.
const PLAIN: [&str; 2] = ["linear", "striped"];
/// No udev, no daemons, no files beside the volumes.
const SETTINGS: &str = "devices/use_devicesfile=0 devices/obtain_device_list_from_udev=0 \
    devices/multipath_component_detection=0 devices/hints=\"none\" \
    activation/udev_sync=0 activation/udev_rules=0 activation/monitoring=0 \
    backup/backup=0 backup/archive=0 global/event_activation=0";

/// One logical volume as LVM describes it.
#[derive(Debug, PartialEq, Eq)]
pub struct LogicalVolume {
    group: String,
    name: String,
    /// Below `/dev/mapper`.
    mapped: String,
    /// What udev makes of the identities of group and volume.
    identity: String,
    /// The kinds of its segments.
    segments: Vec<String>,
    partial: bool,
}

/// Volume groups in use, to be let go in the end.
#[derive(Default)]
pub(super) struct Groups {
    settings: Option<String>,
}

/// Makes every plain logical volume usable; gives what they hold, and why the
/// others were left alone.
pub(super) fn activate(
    found: &[Found],
    tools: &Tools,
    problems: &mut Vec<Refusal>,
) -> (Groups, Vec<Found>) {
    let members: Vec<&Found> = found
        .iter()
        .filter(|each| each.partition.filesystem.as_deref() == Some("lvm2"))
        .collect();
    let Some(first) = members.first() else {
        return Default::default();
    };
    let mut settings = settings(&members);
    let mut new = Vec::new();
    match volumes(&settings, tools, first) {
        Ok(volumes) if volumes.is_empty() => problems.push(Refusal::Lvm {
            partition: name(&first.partition),
            detail: "no logical volume was found on it".to_owned(),
            partial: false,
        }),
        Ok(volumes) => {
            if !tools.writable() {
                settings.push_str(&read_only(&volumes));
            }
            for volume in volumes {
                match activate_one(&volume, &settings, tools, first) {
                    Ok(found) => new.push(found),
                    Err(refusal) => problems.push(refusal),
                }
            }
        }
        Err(refusal) => problems.push(refusal),
    }
    let groups = Groups {
        settings: Some(settings),
    };
    (groups, new)
}

impl Groups {
    /// Lets go of all logical volumes.
    pub(super) fn deactivate(&self, tools: &Tools) {
        if let Some(settings) = &self.settings {
            let _ = lvm(tools, settings, &["vgchange", "--activate", "n"]);
        }
    }
}

fn settings(members: &[&Found]) -> String {
    // Nothing but the guest's own devices is looked at.
    let filter: Vec<String> = members
        .iter()
        .map(|each| format!("\"a|^{}$|\"", each.device.display()))
        .chain(["\"r|.*|\"".to_owned()])
        .collect();
    format!("{SETTINGS} devices/filter=[{}]", filter.join(","))
}

/// Keeps LVM from making any of them writable. Each group is named: the pattern for all of them
/// is one for tags, which no guest need have.
fn read_only(volumes: &[LogicalVolume]) -> String {
    let groups: BTreeSet<&str> = volumes.iter().map(|volume| volume.group.as_str()).collect();
    let groups: Vec<String> = groups.iter().map(|group| format!("\"{group}\"")).collect();
    format!(" activation/read_only_volume_list=[{}]", groups.join(","))
}

fn lvm(tools: &Tools, settings: &str, arguments: &[&str]) -> Result<String, super::kit::KitError> {
    let mut words = arguments.to_vec();
    words.extend(["--config", settings, "--nolocking"]);
    tools.kit.run("lvm", &words)
}

fn volumes(settings: &str, tools: &Tools, first: &Found) -> Result<Vec<LogicalVolume>, Refusal> {
    let partition = name(&first.partition);
    let refuse = |detail: String| Refusal::Lvm {
        partition: partition.clone(),
        detail,
        partial: false,
    };
    tools
        .load("device-mapper")
        .map_err(|error| refuse(error.to_string()))?;
    let fields = "vg_name,vg_uuid,lv_name,lv_uuid,lv_dm_path,lv_attr,segtype";
    let report = ["lvs", "--reportformat", "json", "--options", fields];
    let text = lvm(tools, settings, &report).map_err(|error| error.refusal(&partition, "lvm2"))?;
    parse(&text).ok_or_else(|| refuse("what lvm says of it cannot be understood".to_owned()))
}

/// Volumes from a report of `lvs` in JSON, a row for each segment; nothing if it is not what lvm writes.
pub fn parse(text: &str) -> Option<Vec<LogicalVolume>> {
    let report: Value = serde_json::from_str(text).ok()?;
    let mut volumes: Vec<LogicalVolume> = Vec::new();
    for group in report.get("report")?.as_array()? {
        for row in group.get("lv")?.as_array()? {
            let field = |key: &str| Some(row.get(key)?.as_str()?.to_owned());
            let kind = field("segtype")?;
            let (group, name) = (field("vg_name")?, field("lv_name")?);
            let known = volumes
                .iter_mut()
                .find(|known| (&known.group, &known.name) == (&group, &name));
            match known {
                Some(known) => known.segments.push(kind),
                None => volumes.push(LogicalVolume {
                    mapped: field("lv_dm_path")?
                        .strip_prefix("/dev/mapper/")?
                        .to_owned(),
                    identity: format!("{}{}", field("vg_uuid")?, field("lv_uuid")?)
                        .replace('-', ""),
                    // Its ninth letter is its health.
                    partial: field("lv_attr")?.chars().nth(8) == Some('p'),
                    segments: vec![kind],
                    group,
                    name,
                }),
            }
        }
    }
    Some(volumes)
}

/// Why a volume cannot be used, if it cannot.
fn objection(volume: &LogicalVolume) -> Option<String> {
    let LogicalVolume { group, name, .. } = volume;
    if volume.partial {
        return Some(format!(
            "parts of the logical volume {group}/{name} lie on disks that were not given; \
             give all disks of the machine, in hardware order"
        ));
    }
    let odd = volume
        .segments
        .iter()
        .find(|kind| !PLAIN.contains(&kind.as_str()))?;
    Some(format!(
        "the logical volume {group}/{name} is of the kind {odd}, and only linear and striped ones are prepared"
    ))
}

/// What a guest may call a volume; the installer of Ubuntu writes the last into fstab.
fn names(volume: &LogicalVolume) -> Vec<String> {
    let LogicalVolume { group, name, .. } = volume;
    vec![
        format!("/dev/mapper/{}", volume.mapped),
        format!("/dev/{group}/{name}"),
        format!("/dev/disk/by-id/dm-name-{}", volume.mapped),
        format!("/dev/disk/by-id/dm-uuid-LVM-{}", volume.identity),
    ]
}

fn activate_one(
    volume: &LogicalVolume,
    settings: &str,
    tools: &Tools,
    first: &Found,
) -> Result<Found, Refusal> {
    let partition = name(&first.partition);
    let refuse = |detail: String| Refusal::Lvm {
        partition: partition.clone(),
        detail,
        partial: volume.partial,
    };
    if let Some(detail) = objection(volume) {
        return Err(refuse(detail));
    }
    let path = format!("{}/{}", volume.group, volume.name);
    lvm(tools, settings, &["lvchange", "--activate", "y", &path])
        .map_err(|error| error.refusal(&partition, "lvm2"))?;
    let names = names(volume);
    let place = Partition {
        disk: first.partition.disk,
        number: first.partition.number,
        volume: names.first().cloned(),
        names,
        ..Partition::default()
    };
    disks::volume(place, &format!("mapper/{}", volume.mapped))
        .map_err(|error| refuse(error.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REPORT: &str = r#"{"report": [{"lv": [
        {"vg_name":"my-vg","vg_uuid":"Aabcde-fghi-jklm-nopq-rstu-vwxy-z12345","lv_name":"root","lv_uuid":"BABCDE-FGHI-JKLM-NOPQ-RSTU-VWXY-Z12345","lv_dm_path":"/dev/mapper/my--vg-root","lv_attr":"-wi-------","segtype":"linear"},
        {"vg_name":"my-vg","vg_uuid":"Aabcde-fghi-jklm-nopq-rstu-vwxy-z12345","lv_name":"root","lv_uuid":"BABCDE-FGHI-JKLM-NOPQ-RSTU-VWXY-Z12345","lv_dm_path":"/dev/mapper/my--vg-root","lv_attr":"-wi-------","segtype":"striped"},
        {"vg_name":"my-vg","vg_uuid":"Aabcde-fghi-jklm-nopq-rstu-vwxy-z12345","lv_name":"home","lv_uuid":"BABCDE-FGHI-JKLM-NOPQ-RSTU-VWXY-Z12345","lv_dm_path":"/dev/mapper/my--vg-home","lv_attr":"-wi-----p-","segtype":"linear"},
        {"vg_name":"my-vg","vg_uuid":"Aabcde-fghi-jklm-nopq-rstu-vwxy-z12345","lv_name":"thin","lv_uuid":"BABCDE-FGHI-JKLM-NOPQ-RSTU-VWXY-Z12345","lv_dm_path":"/dev/mapper/my--vg-thin","lv_attr":"Vwi---tz--","segtype":"thin"}
    ]}]}"#;

    #[test]
    fn segments_of_one_volume_come_together() {
        let volumes = parse(REPORT).unwrap();
        let names: Vec<&str> = volumes.iter().map(|volume| volume.name.as_str()).collect();
        assert_eq!(names, ["root", "home", "thin"]);
        assert_eq!(volumes[0].segments, ["linear", "striped"]);
        assert_eq!(volumes[0].mapped, "my--vg-root");
    }

    #[test]
    fn all_the_names_of_a_volume() {
        let volumes = parse(REPORT).unwrap();
        assert_eq!(
            names(&volumes[0]),
            [
                "/dev/mapper/my--vg-root",
                "/dev/my-vg/root",
                "/dev/disk/by-id/dm-name-my--vg-root",
                "/dev/disk/by-id/dm-uuid-LVM-Aabcdefghijklmnopqrstuvwxyz12345BABCDEFGHIJKLMNOPQRSTUVWXYZ12345",
            ]
        );
    }

    #[test]
    fn every_group_is_read_only_by_its_name() {
        let mut volumes = parse(REPORT).unwrap();
        volumes[2].group = "other".to_owned();
        assert_eq!(
            read_only(&volumes),
            r#" activation/read_only_volume_list=["my-vg","other"]"#
        );
    }

    #[test]
    fn volumes_that_are_not_whole_or_not_plain_are_left_alone() {
        let objections: Vec<Option<String>> =
            parse(REPORT).unwrap().iter().map(objection).collect();
        assert_eq!(objections[0], None);
        assert!(objections[1].as_ref().unwrap().contains("not given"));
        assert!(objections[2].as_ref().unwrap().contains("kind thin"));
    }

    proptest! {
        #[test]
        fn arbitrary_answers_never_panic(text in any::<String>()) {
            let _ = parse(&text);
        }
    }
}
