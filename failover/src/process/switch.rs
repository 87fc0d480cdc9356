//! Process 300: switch-over, and switch-back as its mirror image.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lease::Epoch;
use crate::side::Side;

use super::plan::{Action, Actor, Failure, Plan, Question, Step, Task};

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// From the primary to the secondary.
    SwitchOver,
    /// And back.
    SwitchBack,
}

impl Kind {
    /// The side that serves before it.
    pub fn from(self) -> Side {
        match self {
            Self::SwitchOver => Side::Primary,
            Self::SwitchBack => Side::Secondary,
        }
    }
}

/// How the new side becomes what users look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Identity {
    /// It takes the old side's host name in the directory (steps 322-336).
    Rename,
    /// Records of the control centre's name servers are enough.
    NamesOnly,
}

/// When stores are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stores {
    /// By us, before the services that use them start.
    BeforeServices,
    /// By the services; they are looked at afterwards (342-356 in the reference's order).
    ByServices,
}

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Which way.
    pub kind: Kind,
    /// The epoch that is in force.
    pub epoch: Epoch,
    /// How names move.
    pub identity: Identity,
    /// When stores are mounted.
    pub stores: Stores,
    /// How long step 314 waits for a word.
    pub confirmation: Duration,
    /// The answer of silence to step 364.
    pub replicate_back: bool,
}

/// The plan of process 300. It holds every step; those of an old side that is gone are bypassed
/// when their turn comes, because the old side may go at any moment.
pub fn switch(request: &Request) -> Plan {
    let from = request.kind.from();
    let mut steps = Steps {
        old: from,
        new: from.other(),
        list: Vec::new(),
    };
    steps.quiesce();
    steps.decide(request.confirmation);
    steps.promote();
    if request.identity == Identity::Rename {
        steps.exchange_names();
    }
    steps.reverse_replication();
    steps.start(request.stores);
    steps.redirect(request.replicate_back);
    Plan {
        kind: request.kind,
        from,
        to: from.other(),
        epoch: request.epoch.next(),
        steps: steps.list,
    }
}

struct Steps {
    old: Side,
    new: Side,
    list: Vec<Step>,
}

impl Steps {
    fn quiesce(&mut self) {
        use Action::{
            CloseEntrance, CloseReceiver, DismountStores, DrainReplication, MountStores,
            OpenEntrance, OpenReceiver, StartReplication, StartServices, StopReplication,
            StopServices, VerifyReplica,
        };
        let old = Actor::Application(self.old);
        let new = Actor::Application(self.new);
        self.quiet(
            "304+",
            "close the entrance to users and empty the queue",
            old,
            CloseEntrance,
            Some(OpenEntrance),
        );
        self.quiet(
            "306",
            "dismount the stores",
            old,
            DismountStores,
            Some(MountStores),
        );
        self.quiet(
            "308",
            "stop the services",
            old,
            StopServices,
            Some(StartServices),
        );
        self.quiet(
            "310",
            "send what replication still holds",
            old,
            DrainReplication,
            None,
        );
        self.quiet(
            "310+",
            "compare both sides' stores",
            old,
            VerifyReplica,
            None,
        );
        self.quiet(
            "312",
            "end the replication session: data set RS1 is complete",
            old,
            StopReplication,
            Some(StartReplication),
        );
        // Also when the old side is gone: it may come back and would push into the new one.
        self.act(
            "312+",
            "close the port that receives the old side's data",
            new,
            CloseReceiver,
            Some(OpenReceiver),
            Failure::Revert,
        );
    }

    /// A step on the old side that is taken back when the switch is aborted.
    fn quiet(
        &mut self,
        number: &str,
        title: &str,
        actor: Actor,
        action: Action,
        undo: Option<Action>,
    ) {
        self.act(number, title, actor, action, undo, Failure::Revert);
        self.bypassed();
    }

    fn decide(&mut self, confirmation: Duration) {
        let question = Question {
            patience: Some(confirmation),
            silence_means: true,
        };
        self.push(
            "314",
            "wait for the word to go on",
            Actor::ControlCentre,
            Task::Confirm(question),
            Failure::Revert,
        );
        self.push(
            "320",
            "look again whether the old side is there",
            Actor::ControlCentre,
            Task::LookAgain,
            Failure::Revert,
        );
    }

    fn promote(&mut self) {
        let centre = Actor::ControlCentre;
        self.act(
            "320+",
            "fence the old side",
            Actor::Application(self.old),
            Action::Fence,
            None,
            Failure::GoOn,
        );
        self.bypassed();
        self.act(
            "320+",
            "have proof that the old side serves no more",
            centre,
            Action::AwaitFence,
            None,
            Failure::Revert,
        );
        self.act(
            "320+",
            "give the new epoch to the new side",
            Actor::Application(self.new),
            Action::Promote,
            None,
            Failure::Stop,
        );
    }

    fn exchange_names(&mut self) {
        use Action::{
            AddAddress, Join, Reboot, RemoveAddress, RemoveName, Rename, ReplicateDirectory,
        };
        let (old, new) = (Actor::Application(self.old), Actor::Application(self.new));
        let (old_directory, new_directory) =
            (Actor::Directory(self.old), Actor::Directory(self.new));
        self.on(
            "322",
            "remove the old side's host name from the directory",
            new_directory,
            RemoveName,
            Failure::Stop,
        );
        self.on_old(
            "324a",
            "remove the old side's host name at its own directory server",
            old_directory,
            RemoveName,
        );
        self.on(
            "324b",
            "remove the new side's host name from the directory",
            new_directory,
            RemoveName,
            Failure::Stop,
        );
        self.on_old(
            "324+",
            "replicate the removals before anybody joins again",
            old_directory,
            ReplicateDirectory,
        );
        self.on_old(
            "326a",
            "give the old side a temporary host name",
            old,
            Rename,
        );
        self.on(
            "326b",
            "give the new side the old side's host name",
            new,
            Rename,
            Failure::Stop,
        );
        self.on_old("328a", "restart the old side", old, Reboot);
        self.on("328b", "restart the new side", new, Reboot, Failure::Stop);
        self.on_old(
            "330a",
            "join the old side under its temporary name",
            old,
            Join,
        );
        self.on(
            "330b",
            "join the new side under the old side's name",
            new,
            Join,
            Failure::Stop,
        );
        self.on(
            "332",
            "replicate the directory",
            new_directory,
            ReplicateDirectory,
            Failure::GoOn,
        );
        self.on_old(
            "334",
            "remove the old side's address from the directory's DNS",
            old_directory,
            RemoveAddress,
        );
        self.on_old(
            "336a",
            "add the old side's temporary name to its DNS",
            old_directory,
            AddAddress,
        );
        self.on(
            "336b",
            "add the new side's name to its DNS",
            new_directory,
            AddAddress,
            Failure::GoOn,
        );
    }

    fn reverse_replication(&mut self) {
        let new = Actor::Application(self.new);
        self.act(
            "338",
            "begin a replication session RS2 back to the old side",
            new,
            Action::StartReplicationPaused,
            None,
            Failure::GoOn,
        );
        self.act(
            "340",
            "keep that session paused",
            new,
            Action::PauseReplication,
            None,
            Failure::GoOn,
        );
        // It sent until now; closed, it would take nothing.
        self.on_old(
            "340+",
            "open the port of the old side that receives the new side's data",
            Actor::Application(self.old),
            Action::OpenReceiver,
        );
    }

    fn start(&mut self, stores: Stores) {
        let new = Actor::Application(self.new);
        let services = |steps: &mut Self| {
            steps.on(
                "342",
                "start the services",
                new,
                Action::StartServices,
                Failure::Stop,
            );
        };
        let mount = |steps: &mut Self| {
            steps.on(
                "344-356",
                "mount the stores and prove them good by reading",
                new,
                Action::EnsureStores,
                Failure::Stop,
            );
        };
        match stores {
            Stores::BeforeServices => {
                mount(self);
                services(self);
            }
            Stores::ByServices => {
                services(self);
                mount(self);
            }
        }
    }

    fn redirect(&mut self, replicate_back: bool) {
        let centre = Actor::ControlCentre;
        let new = Actor::Application(self.new);
        self.on(
            "358",
            "see that the control centre's name servers answer",
            centre,
            Action::CheckNameServers,
            Failure::Stop,
        );
        self.on(
            "362",
            "point mail and web records to the new side, and ask for them",
            centre,
            Action::PointNames,
            Failure::Stop,
        );
        self.on(
            "362+",
            "open the entrance to users",
            new,
            Action::OpenEntrance,
            Failure::Stop,
        );
        let question = Question {
            patience: Some(Duration::from_secs(10)),
            silence_means: replicate_back,
        };
        self.push(
            "364",
            "ask whether data may flow back to the old side",
            centre,
            Task::AskToReplicate(question),
            Failure::GoOn,
        );
        self.act(
            "366",
            "let data flow back to the old side",
            new,
            Action::ResumeReplication,
            None,
            Failure::GoOn,
        );
        self.bypassed();
    }

    fn on(&mut self, number: &str, title: &str, actor: Actor, action: Action, failure: Failure) {
        self.act(number, title, actor, action, None, failure);
    }

    /// A step after the point of no return on a side that users have left.
    fn on_old(&mut self, number: &str, title: &str, actor: Actor, action: Action) {
        self.on(number, title, actor, action, Failure::GoOn);
        self.bypassed();
    }

    fn act(
        &mut self,
        number: &str,
        title: &str,
        actor: Actor,
        action: Action,
        undo: Option<Action>,
        failure: Failure,
    ) {
        self.push(number, title, actor, Task::Act { action, undo }, failure);
    }

    fn push(&mut self, number: &str, title: &str, actor: Actor, task: Task, failure: Failure) {
        self.list.push(Step {
            number: number.to_owned(),
            title: title.to_owned(),
            actor,
            task,
            needs_old_side: false,
            failure,
        });
    }

    /// The last step is left out when the old side is gone.
    fn bypassed(&mut self) {
        if let Some(last) = self.list.last_mut() {
            last.needs_old_side = true;
        }
    }
}
