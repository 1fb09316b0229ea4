//! Workspace sync in order: capture, plan, send or receive, apply, record.
//!
//! A [`Session`] is one run in a [`Workspace`] against a [`Remote`]. Every operation is a plan and its application:
//! a plan reads and changes nothing on either side, and applying it does exactly what it says or reports what moved.
//!
//! - [`config`]: `sync.toml`, [`remotes`]: edits of it; [`workspace`]: where it is, and who works in it.
//! - [`remote`]: the tenant, as the protocol shows it; [`dial`]: the way to it; [`trust`]: that it is who it was; `receive` and `fetch`: objects that are checked before they are believed.
//! - [`decide`]: where both sides stand, purely; [`push`], [`pull`], [`sync`], [`rollback`], [`status`],
//!   [`history`], [`branches`], [`verify`], [`collect`]: the operations. [`local`]: those between tree and database; [`jobs`]: when nobody is there. [`merge`]: what two sides made of one tree; [`guard`]: how much may go unasked.
//! - [`all`]: files and rows in one run. [`promote`]: the same snapshot on another tenant. [`service`]: all of it for a
//!   program that brings as little as it can; [`manager`]: by itself.
//! - [`report`] and [`event`]: what was done, and what is being done.
//!
//! It never prints, and never reads the environment or the clock: the caller brings all of these, and the
//! [`sync_transport::Client`] inside the [`Remote`]. A [`SyncConfig`] brings a clock and a client where the caller has none.
#![doc = ""]
#![doc = include_str!("../README.md")]

pub mod all;
mod ancestry;
mod bases;
pub mod branches;
pub mod collect;
mod collide;
pub mod config;
pub mod decide;
pub mod dial;
pub mod doctor;
mod error;
pub mod event;
mod fetch;
pub mod guard;
pub mod history;
pub mod jobs;
mod kin;
pub mod local;
mod look;
pub mod manager;
mod maps;
pub mod merge;
mod parcel;
mod patience;
pub mod promote;
pub mod pull;
pub mod push;
mod receive;
pub mod remote;
pub mod remotes;
pub mod report;
pub mod rollback;
pub mod rows;
pub mod service;
pub mod session;
mod settle;
mod shadow;
pub mod state;
pub mod status;
pub mod sync;
mod texts;
mod tree_map;
pub mod trust;
pub mod verify;
pub mod watch;
pub mod workspace;

pub use all::{
    AllOptions, AllOutcome, AllPlan, AllRequest, AllStatus, FilesOutcome, FilesPlan, SyncReport,
    WithDatabase,
};
pub use branches::BranchStatus;
pub use config::{Config, Location, RemoteConfig};
pub use decide::{Point, Standing};
pub use doctor::TreeFindings;
pub use error::Error;
pub use event::{Event, Listener, Phase, Progress};
pub use guard::{Limits, MaxDelete};
pub use history::{Difference, FileDifference, Lines, Side};
pub use local::{Local, LocalDone, LocalRun, LocalStanding, LocalSummary};
pub use manager::{Items, ManagerOptions, ManagerState, ManagerStats, ManagerStatus, SyncManager};
pub use merge::{Conflict, OnConflict};
pub use patience::open_store;
pub use promote::{PromoteOutcome, PromotePlan, Promoting, Promotion};
pub use pull::{PullOutcome, PullPlan};
pub use push::{PushOutcome, PushPlan};
pub use remote::Remote;
pub use report::{ChangeKind, Counts, FileChange, Problem, Report, State, Traffic};
pub use rollback::{RollbackPlan, UndoPlan};
pub use rows::{
    Direction, Direction as SyncDirection, Rows, RowsDifference, RowsOutcome, RowsPlan, RowsStatus,
};
pub use service::{ServicePlan, SyncConfig, SyncConfigBuilder, SyncService};
pub use session::{Context, Random, Session};
pub use status::FilesStatus;
pub use sync::{SyncOutcome, SyncPlan};
pub use sync_files::Patterns;
pub use trust::Trust;
pub use verify::{PrivateFindings, Verification};
pub use watch::Watcher;
pub use workspace::Workspace;
