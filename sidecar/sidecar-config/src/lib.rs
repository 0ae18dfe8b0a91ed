//! The configuration of an engine: the file that a person or the operator writes and the engine reads.
//!
//! Two views of it: [`ConfigFile`] is the YAML as written, [`Config`] is what was checked. [`parse`] leads from one to
//! the other and reports everything that is wrong together: [`ConfigErrors`].
//!
//! Invariants: unknown fields are refused; every default stands in one place; the same text always gives the same
//! configuration. It does no I/O but [`load`], and does not look whether folders, keys and ports are usable.
//! Test to read first: `the_smallest_file_is_enough` in `read/tests.rs`.

mod cache;
mod callbacks;
mod check;
mod config;
mod explain;
pub mod far_side;
pub mod file;
mod interception;
mod name;
mod overrides;
mod places;
mod problem;
mod quantity;
mod quota;
mod read;
mod rule;
mod section;
mod template;
mod tunnels;

pub use bytesize::ByteSize;
pub use ipnet::IpNet;
pub use url::Url;

pub use cache::Cache;
pub use callbacks::{CallbackRetry, CallbackRule, CallbackSettings, CallbackTarget, Callbacks};
pub use config::{Config, Inbound, Listen, Local, Mode, Modes, Outbound, Remote};
pub use far_side::FarSide;
pub use file::ConfigFile;
pub use interception::Interception;
pub use name::{NAME_CHARS_MAX, Name};
pub use overrides::Overrides;
pub use problem::{ConfigErrors, Place, Problem, Refusal};
pub use quantity::{format_duration, format_size, parse_duration, parse_size};
pub use quota::Quota;
pub use read::{FILE_BYTES_MAX, load, load_with, parse, parse_with};
pub use rule::{Destination, HostPattern, InboundRule, OutboundRule, Retry, Scheme};
pub use section::{
    EndpointKind, Folders, Heartbeat, Identity, Layout, Limits, Log, LogFormat, LogLevel, Mirror, Outbox, Profile,
    PublishSync, State,
};
pub use template::{Template, template};
pub use tunnels::Tunnels;
