//! What each side of the hand-over model keeps.
//!
//! Invariant: fields of [`Far`] but for `attempt` and `called` are durable; of [`Near`] all are, but for `sent` where a rule is broken.

/// How a call ended, as the near side says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// With its response.
    Delivered,
    /// Failed, and surely not executed.
    NotExecuted,
    /// Nobody knows.
    Unknown,
}

/// The call at the near side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Accepted.
    Open,
    /// Told.
    Ended(End),
    /// Lost with the near side's whole state.
    Gone,
}

/// What a response says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Response {
    /// The upstream's answer.
    Whole,
    /// Not executed.
    Refused,
    /// Perhaps executed; also said of an operation id that is known.
    Unknown,
    /// It had begun to answer.
    Incomplete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Near {
    pub(super) life: u8,
    pub(super) peer: u8,
    pub(super) call: Call,
    /// It may have left.
    pub(super) sent: bool,
    /// It was sent in an association that closed.
    pub(super) rebound: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Dispatched,
    Headers,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Execution {
    pub(super) attempt: u8,
    pub(super) phase: Phase,
    /// The association it came by stands.
    pub(super) here: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Far {
    pub(super) life: u8,
    pub(super) peer: u8,
    pub(super) received: bool,
    pub(super) execution: Option<Execution>,
    pub(super) response: Option<Response>,
    /// The attempt under way, and whether its call was made.
    pub(super) attempt: Option<u8>,
    pub(super) called: bool,
}
