//! The types of conditions of a peering, and their reasons. Both are an interface: they are added, never renamed.

use std::fmt;

/// What a condition speaks of; every one is good when `True`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionType {
    /// The spec can be carried out, beside the other peerings.
    Accepted,
    /// The folders are there and can be used.
    VolumeReady,
    /// Both sides' keys are there.
    KeysReady,
    /// What the spec asks for runs.
    Programmed,
    /// All of the above: this side is done.
    Ready,
    /// The far side is heard.
    PeerAlive,
    /// The far side takes what is sent.
    Delivering,
    /// Both of the above.
    Connected,
}

impl ConditionType {
    /// Every type, in the order they are shown.
    pub const ALL: [Self; 8] = [
        Self::Accepted,
        Self::VolumeReady,
        Self::KeysReady,
        Self::Programmed,
        Self::Ready,
        Self::PeerAlive,
        Self::Delivering,
        Self::Connected,
    ];

    /// The word of `type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::VolumeReady => "VolumeReady",
            Self::KeysReady => "KeysReady",
            Self::Programmed => "Programmed",
            Self::Ready => "Ready",
            Self::PeerAlive => "PeerAlive",
            Self::Delivering => "Delivering",
            Self::Connected => "Connected",
        }
    }
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The value of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody knows yet.
    Unknown,
}

impl ConditionStatus {
    /// The word of `status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Why a condition is what it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $name),* }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The word of `reason`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }
        }
    };
}

reasons! {
    /// Accepted: the spec can be carried out.
    Accepted,
    /// Accepted: another peering uses one of the folders.
    FolderConflict,
    /// Accepted: a field asks for what this version cannot do.
    Unsupported,
    /// Accepted: no class of that name.
    UnknownClass,
    /// Accepted: the engine would refuse the configuration made from it.
    InvalidConfig,
    /// Accepted: a key of the far side cannot be used.
    InvalidKey,
    /// Accepted: the Service of a target is not there.
    ServiceMissing,
    /// VolumeReady: the claims are bound.
    Bound,
    /// VolumeReady: a claim is not there.
    ClaimMissing,
    /// VolumeReady: a claim is not bound to a volume yet.
    ClaimNotBound,
    /// VolumeReady: a claim's access mode does not fit the topology.
    AccessMode,
    /// VolumeReady, Delivering: packets cannot be written.
    OutboxFailing,
    /// KeysReady: both sides' keys are there.
    KeysReady,
    /// KeysReady: the far side's public key is not in the spec yet.
    AwaitingPeerKey,
    /// KeysReady: every key of the far side is past its end.
    AllPeerKeysExpired,
    /// Programmed: what the spec asks for runs.
    Programmed,
    /// Programmed: something before it is not done.
    Pending,
    /// Programmed: reconciling is paused.
    Paused,
    /// Programmed: the gateway's pods are not ready yet.
    GatewayNotReady,
    /// Programmed: an engine does not start or stopped.
    EngineFailing,
    /// Programmed: the API server refused an object.
    ApplyFailed,
    /// Ready: this side is done.
    Ready,
    /// PeerAlive: the far side is heard.
    Heard,
    /// PeerAlive: nothing is heard: the incoming mirror, or the far side.
    InboundSilent,
    /// PeerAlive: this far engine is silent while others are heard.
    PeerSilent,
    /// PeerAlive: files arrive and none verifies.
    KeyMismatch,
    /// PeerAlive: an alarm stopped the pair.
    Halted,
    /// PeerAlive: nothing was ever heard.
    NeverSeen,
    /// PeerAlive, Delivering: no engine runs, or none answers.
    NoInstances,
    /// Delivering: the far side takes what is sent.
    Delivering,
    /// Delivering: the far side lives and hears nothing of us: the outgoing mirror.
    OutboundSilent,
    /// Delivering: the oldest record waits too long.
    Stalled,
    /// Delivering: one record never passes while others do.
    ContentDropped,
    /// Delivering: nothing can be said while the far side is not heard.
    PeerNotAlive,
    /// Connected: the far side is heard and hears us.
    Connected,
}
