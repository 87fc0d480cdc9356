//! The parts of a plan.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lease::Epoch;
use crate::side::Side;

use super::switch::Kind;

/// Who carries a step out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Actor {
    /// The agent on the host of the application (118a, 118b).
    Application(Side),
    /// The agent on the directory server (116a, 116b).
    Directory(Side),
    /// The control centre itself (128).
    ControlCentre,
}

impl Actor {
    /// Which side it belongs to, if to one.
    pub fn side(self) -> Option<Side> {
        match self {
            Self::Application(side) | Self::Directory(side) => Some(side),
            Self::ControlCentre => None,
        }
    }
}

/// The named actions of a profile. Nothing else is ever executed on a protected machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each is described where a plan uses it")]
pub enum Action {
    CloseEntrance,
    OpenEntrance,
    DismountStores,
    MountStores,
    StopServices,
    StartServices,
    DrainReplication,
    VerifyReplica,
    StopReplication,
    StartReplication,
    StartReplicationPaused,
    ResumeReplication,
    PauseReplication,
    CloseReceiver,
    OpenReceiver,
    Fence,
    AwaitFence,
    Promote,
    RemoveName,
    Rename,
    Reboot,
    Join,
    ReplicateDirectory,
    RemoveAddress,
    AddAddress,
    EnsureStores,
    CheckNameServers,
    PointNames,
    /// 506: every byte of both sides is compared, and what differs is sent to the passive side.
    MirrorReplica,
    /// On the side that serves: what only the other one has, which served until it was lost, is
    /// fetched from there before a mirror would destroy it.
    MergeReplica,
    /// 616-620: an image of the store goes into the archive.
    TakeImage,
    /// An image is restored for trial and compared.
    ProveImage,
    /// 622-624: an image is put into its levels, and others grow too old.
    PlaceImage,
    /// 710-712: an image takes the place of what is in the store.
    RestoreImage,
    /// Gives up an image or a mirror that is being made: something urgent waits behind it.
    GiveWay,
}

/// A question to the operator, with what counts as the answer when none comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// How long to wait; `None` waits for ever.
    pub patience: Option<Duration>,
    /// The answer of silence.
    pub silence_means: bool,
}

/// What a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// An action with an effect, and the one that takes it back.
    Act {
        /// Does it.
        action: Action,
        /// Takes it back; nothing for what cannot be or need not be.
        undo: Option<Action>,
    },
    /// Whether to go on; `no` takes everything back (314, 316, 318).
    Confirm(Question),
    /// Looks again whether the old side is there (320).
    LookAgain,
    /// Whether data may flow back to the old side (364).
    AskToReplicate(Question),
}

/// What a failure of a step means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// Everything done so far is taken back.
    Revert,
    /// The new side serves without it; an alert tells what is left to do.
    GoOn,
    /// The process stops here and can be taken up again (360).
    Stop,
}

/// One step of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its number in the reference process; steps that the reference leaves out carry the number of
    /// their predecessor with a plus sign.
    pub number: String,
    /// What it does, as a sentence without a full stop.
    pub title: String,
    /// Who does it.
    pub actor: Actor,
    /// What it is.
    pub task: Task,
    /// Left out when the old side does not exist any more.
    pub needs_old_side: bool,
    /// What its failure means.
    pub failure: Failure,
}

/// What is going to happen, decided before the first step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Which process.
    pub kind: Kind,
    /// The side that serves before it.
    pub from: Side,
    /// The side that serves after it.
    pub to: Side,
    /// The epoch in which it will serve.
    pub epoch: Epoch,
    /// In this order.
    pub steps: Vec<Step>,
}

impl Plan {
    /// From this step on nothing is taken back: the new side has been promoted.
    pub fn point_of_no_return(&self) -> usize {
        self.steps
            .iter()
            .position(|step| {
                matches!(
                    step.task,
                    Task::Act {
                        action: Action::Promote,
                        ..
                    }
                )
            })
            .unwrap_or(self.steps.len())
    }
}
