//! Damage that was captured is not the injection's: a machine that ran with it
//! shall run with it again.

use std::sync::atomic::AtomicBool;

use super::{Disk, Layer, MicroVm, MicroVmError, Outcome, Work, host, perform, unexpected};
use crate::report::{Check, IS_SOUND, PrepareReport};

/// Where a filesystem is damaged after an injection, looks at the disks below
/// the overlays too: what was not sound there becomes a warning. Where nothing
/// lies below, the check stays as it is.
pub(super) fn tell(
    vm: &MicroVm,
    disks: &[Disk],
    report: &mut PrepareReport,
    cancelled: &AtomicBool,
) -> Result<(), MicroVmError> {
    let has_below = disks.iter().all(|disk| disk.layers.len() > 1);
    if !has_below || !report.verified.iter().any(is_unsound) {
        return Ok(());
    }
    let below = disks.iter().map(below).collect::<Result<Vec<_>, _>>()?;
    match perform(vm, &below, Work::Check, None, cancelled)? {
        Outcome::Checked(captured) => {
            let warnings = judge(&mut report.verified, &captured);
            report.guest.warnings.extend(warnings);
            Ok(())
        }
        other => Err(unexpected(other)),
    }
}

fn is_unsound(check: &Check) -> bool {
    !check.ok && check.what.ends_with(IS_SOUND)
}

fn below(disk: &Disk) -> Result<Disk, MicroVmError> {
    let copy = |layer: &Layer| {
        let file = layer
            .file
            .try_clone()
            .map_err(host("opening a disk again"))?;
        Ok(Layer {
            file,
            format: layer.format,
        })
    };
    Ok(Disk {
        layers: disk.layers[1..]
            .iter()
            .map(copy)
            .collect::<Result<_, MicroVmError>>()?,
    })
}

/// Lets those checks hold whose filesystem was not sound before either, and
/// says so.
fn judge(verified: &mut [Check], captured: &[Check]) -> Vec<String> {
    let mut warnings = Vec::new();
    for check in verified.iter_mut().filter(|check| is_unsound(check)) {
        let before = captured.iter().find(|before| before.what == check.what);
        let Some(before) = before.filter(|before| !before.ok) else {
            continue;
        };
        let place = check.what.trim_end_matches(IS_SOUND);
        warnings.push(format!(
            "{place} was not sound when it was captured ({}); the machine's own check repairs it, or it needs one by hand",
            before.detail
        ));
        check.ok = true;
        check.detail = format!("{}, as it was when it was captured", check.detail);
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(what: &str, ok: bool) -> Check {
        Check {
            what: what.to_owned(),
            ok,
            detail: "damaged: x".to_owned(),
        }
    }

    #[test]
    fn only_what_was_damaged_before_is_let_pass() {
        let (old, new) = ("the ext4 on a is sound", "the ext4 on b is sound");
        let mut verified = [check(old, false), check(new, false), check("other", false)];
        let captured = [check(old, false), check(new, true), check("other", false)];
        let warnings = judge(&mut verified, &captured);
        let held: Vec<bool> = verified.iter().map(|check| check.ok).collect();
        assert_eq!(held, [true, false, false]);
        assert!(
            verified[0]
                .detail
                .ends_with("as it was when it was captured")
        );
        assert_eq!(warnings.len(), 1);
        assert!(
            warnings[0].starts_with("the ext4 on a was not sound"),
            "{warnings:?}"
        );
    }

    #[test]
    fn what_was_not_looked_at_before_still_counts() {
        let mut verified = [check("the xfs on a is sound", false)];
        assert!(judge(&mut verified, &[]).is_empty());
        assert!(!verified[0].ok);
    }
}
