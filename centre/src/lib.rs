//! The control centre of failover (128): meets the agents, owns each application's state, carries
//! the processes out.
//!
//! The daemon opens a [`Centre`] and asks it for everything; see the crate's README for who does
//! what inside.

pub mod alerts;
pub mod api;
mod application;
mod archive;
mod authority;
mod autopilot;
mod autosync;
mod centre;
pub mod changes;
mod clock;
mod error;
mod event;
mod execution;
mod names;
pub mod observation;
mod readiness;
mod reception;
mod restore;
mod state;
mod store;
mod text;
mod view;

pub use alerts::{Gravity, Notice};
pub use application::{Application, ApplicationError};
pub use archive::{ArchiveView, ImageRecord, ImageState, Level, LevelView};
pub use autopilot::Change as AutoPilotChange;
pub use autosync::AutoSyncView;
pub use centre::{Centre, Permit, Point, Settings, SwitchMoment};
pub use error::{CentreError, Kind};
pub use event::{Event, Events, QuestionView, What};
pub use observation::{Degraded, Heard, Observed, Told};
pub use readiness::{Looked, Readiness};
pub use restore::{RestoreLine, RestoreRecord, RestoreRequest, RestoreView, Stage as RestoreStage};
pub use state::{AutoPilotView, PlanView, SwitchRequest};
pub use store::{AuditRecord, JournalLine, ProcessRecord, StoreError, TransitionRecord, Wishes};
pub use text::read_text;
pub use view::{
    AgentView, ApplicationView, MadeToken, ProcessView, ServingView, StateView, Status,
};
