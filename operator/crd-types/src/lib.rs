//! The custom resource `TunnelPeering`: types, bounds, validation rules, conditions, and the names everything agrees on.
//!
//! Invariants: the YAML in `crds/` is generated from here by `crdgen` and never edited; every string, list and number
//! under a rule is bounded, because the API server prices rules by the worst case; a field is added, never renamed;
//! reasons of conditions are an interface. It decides nothing and does no I/O. Test to read first:
//! `every_rule_accepts_some_objects_and_refuses_others` in `tests/rules.rs`.

#![allow(unreachable_pub, reason = "the derive of schemas repeats every type in private")]

mod bounds;
mod condition;
mod definition;
mod peering;
mod rules;
mod schema;
mod status;
mod tuning;
mod volume;

pub mod names;
#[doc(hidden)]
pub mod testing;

pub use condition::{ConditionStatus, ConditionType, Reason};
pub use definition::{crd, crd_yaml};
pub use peering::{
    ClassRef, Gateway, IdentitySpec, Injection, InjectionMode, LocalSide, Mechanism, Mode, PdbSpec, RemoteKey,
    RemoteSide, Rotation, SecretRef, TunnelPeering, TunnelPeeringSpec,
};
pub use rules::{
    Caller, Destination, From, Inbound, InboundRule, Method, Outbound, OutboundRule, Quota, Scheme, ServiceRef, Target,
    TargetTls,
};
pub use status::{
    IdentityStatus, Injected, InjectionStatus, InstanceStatus, RemoteStatus, TunnelPeeringStatus, WorkloadStatus,
};
pub use tuning::{Compression, Heartbeat, Limits, Packet};
pub use volume::{AccessMode, Folder, MirrorSpec, StateVolume, Volume};

#[cfg(test)]
mod tests;
