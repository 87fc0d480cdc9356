//! System calls that the confined child loses, so that it cannot leave the group of processes that
//! is killed when its time is over.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// The second numbers of all calls, for programs with short pointers.
#[cfg(target_arch = "x86_64")]
const SHORT_POINTERS: i64 = 0x4000_0000;

const LEAVING: [i64; 2] = [libc::SYS_setsid, libc::SYS_setpgid];
const STARTING: [i64; 2] = [libc::SYS_execve, libc::SYS_execveat];
#[cfg(target_arch = "x86_64")]
const FORKING: [i64; 2] = [libc::SYS_fork, libc::SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
const FORKING: [i64; 0] = [];

/// Forbids to leave the group, and, unless `helpers` are needed, to start any process.
pub(super) fn forbid(helpers: bool) -> Result<(), String> {
    forbid_calls(helpers).map_err(|error| format!("forbidding system calls failed ({error})"))
}

fn forbid_calls(helpers: bool) -> Result<(), seccompiler::Error> {
    let mut rules = BTreeMap::new();
    add(&mut rules, &LEAVING, &[]);
    if !helpers {
        add(&mut rules, &STARTING, &[]);
        add(&mut rules, &FORKING, &[]);
        let no_thread = SeccompCondition::new(
            0,
            SeccompCmpArgLen::Qword,
            SeccompCmpOp::MaskedEq(libc::CLONE_THREAD as u64),
            0,
        )?;
        add(
            &mut rules,
            &[libc::SYS_clone],
            &[SeccompRule::new(vec![no_thread])?],
        );
        // Its flags lie in memory, where no filter sees them; without it `clone` is used.
        let mut newer = BTreeMap::new();
        add(&mut newer, &[libc::SYS_clone3], &[]);
        apply(newer, libc::ENOSYS)?;
    }
    apply(rules, libc::EPERM)
}

fn add(rules: &mut BTreeMap<i64, Vec<SeccompRule>>, calls: &[i64], when: &[SeccompRule]) {
    for call in calls {
        rules.insert(*call, when.to_vec());
        #[cfg(target_arch = "x86_64")]
        rules.insert(*call | SHORT_POINTERS, when.to_vec());
    }
}

fn apply(rules: BTreeMap<i64, Vec<SeccompRule>>, error: i32) -> Result<(), seccompiler::Error> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(error as u32),
        architecture,
    )?;
    apply_filter(&BpfProgram::try_from(filter)?)
}
