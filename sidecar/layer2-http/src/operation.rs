//! What an operation is called, how far it has come, and how callers see it (RFC 9562 ids, one-way states).
//!
//! Invariants: a state only ever advances (`State::may_become`), and an ended operation stays as it ended. Ids are made
//! from arguments: no clock and no randomness in here. The tables that hold operations are `near` and `far`. Test to
//! read first: `a_state_never_goes_back`.

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};
use serde::Serialize;
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// The name of an operation: a UUID, version 7 when made here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct OperationId(Uuid);

/// A text or value that names no operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an operation id is a UUID such as 01890a5d-ac96-774b-bcce-b302099a8057, and not the nil UUID")]
pub struct NotOperationId;

impl OperationId {
    /// A new id: UUIDv7 of Unix milliseconds and ten random bytes.
    #[must_use]
    pub const fn v7(now_ms: u64, random: &[u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(now_ms, random).into_uuid())
    }

    /// A caller's own id, of any version, in the hyphenated form.
    ///
    /// # Errors
    /// If the text is no such UUID, or the nil one.
    pub fn parse(text: &str) -> Result<Self, NotOperationId> {
        // Braced, URN and bare-hex forms would let one operation have several names in paths and logs.
        if text.len() != 36 {
            return Err(NotOperationId);
        }
        Self::from_uuid(Uuid::try_parse(text).map_err(|_| NotOperationId)?)
    }

    /// An id from its UUID.
    ///
    /// # Errors
    /// If it is the nil UUID.
    pub const fn from_uuid(uuid: Uuid) -> Result<Self, NotOperationId> {
        if uuid.is_nil() { Err(NotOperationId) } else { Ok(Self(uuid)) }
    }

    /// An id from 16 bytes in RFC 9562 order.
    ///
    /// # Errors
    /// If they are the nil UUID.
    pub const fn from_bytes(bytes: [u8; 16]) -> Result<Self, NotOperationId> {
        Self::from_uuid(Uuid::from_bytes(bytes))
    }

    /// Its bytes in RFC 9562 order.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// As a UUID.
    #[must_use]
    pub const fn uuid(self) -> Uuid {
        self.0
    }

    /// Where the local API serves it.
    #[must_use]
    pub fn location(&self) -> String {
        format!("/v1/operations/{self}")
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.hyphenated(), f)
    }
}

impl fmt::Debug for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for OperationId {
    type Err = NotOperationId;

    fn from_str(text: &str) -> Result<Self, NotOperationId> {
        Self::parse(text)
    }
}

impl<C> Encode<C> for OperationId {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.bytes(self.as_bytes())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for OperationId {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let bytes = d.bytes()?.try_into().map_err(|_| decode::Error::message("an operation id has 16 bytes"))?;
        Self::from_bytes(bytes).map_err(|_| decode::Error::message("the nil UUID names no operation"))
    }
}

/// How far an operation has come. The numbers are those of envelope key 20 and of durable entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum State {
    /// The request is durable on the near side.
    #[n(0)]
    Accepted,
    /// It waits in the log for a packet.
    #[n(1)]
    Queued,
    /// A packet with some of it was published.
    #[n(2)]
    Sent,
    /// The far side holds part of it durably.
    #[n(3)]
    PartiallyAcked,
    /// The far side holds all of it durably.
    #[n(4)]
    Acked,
    /// The far side is making the call.
    #[n(5)]
    Executing,
    /// The response has begun to arrive.
    #[n(6)]
    ResponseStarted,
    /// The whole response is here and verified.
    #[n(7)]
    ResponseReady,
    /// It was handed to the caller, or stored as a result.
    #[n(8)]
    Delivered,
    /// Ended well, whatever the status of the response says.
    #[n(9)]
    Done,
    /// Ended with a problem.
    #[n(10)]
    Failed,
    /// Ended because its deadline passed before it was executed.
    #[n(11)]
    Expired,
    /// Ended by its caller.
    #[n(12)]
    Cancelled,
    /// Ended, and whether the call had an effect cannot be known.
    #[n(13)]
    Unknown,
}

impl State {
    /// All states, in order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::Accepted,
        Self::Queued,
        Self::Sent,
        Self::PartiallyAcked,
        Self::Acked,
        Self::Executing,
        Self::ResponseStarted,
        Self::ResponseReady,
        Self::Delivered,
        Self::Done,
        Self::Failed,
        Self::Expired,
        Self::Cancelled,
        Self::Unknown,
    ];

    /// Place in the one-way order; all ended states share the last one.
    #[must_use]
    pub const fn rank(self) -> u8 {
        if self.is_terminal() { 9 } else { self as u8 }
    }

    /// Has the operation ended?
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        self as u8 >= Self::Done as u8
    }

    /// May an operation in this state take the state `next`? Only if that is further on.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        next.rank() > self.rank()
    }

    /// The word of the local API, such as `partially_acked`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::PartiallyAcked => "partially_acked",
            Self::Acked => "acked",
            Self::Executing => "executing",
            Self::ResponseStarted => "response_started",
            Self::ResponseReady => "response_ready",
            Self::Delivered => "delivered",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }

    /// The state of that word (`GET /v1/operations?state=`).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Was the call made upstream? Envelope key 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum Executed {
    /// Not a byte of it: safe to repeat.
    #[n(0)]
    No,
    /// Yes.
    #[n(1)]
    Yes,
    /// It cannot be known.
    #[n(2)]
    Maybe,
}

/// An operation as the local API shows it; serialises to the JSON of `GET /v1/operations/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OperationView {
    /// Its id.
    pub id: OperationId,
    /// How far it has come.
    pub state: State,
    /// Request method.
    pub method: String,
    /// Target URI, without credentials (they are never part of it).
    pub target: String,
    /// The allow rule it was admitted by.
    pub route: Option<String>,
    /// Endpoint it was sent to, as UUID.
    pub peer: String,
    /// When it was accepted: Unix ms, by the near side's clock.
    pub begun_ms: i64,
    /// When it ended: Unix ms.
    pub ended_ms: Option<i64>,
    /// Status of its response.
    pub status: Option<u16>,
    /// Was the call made?
    pub executed: Option<Executed>,
    /// Slug of the problem it ended with.
    pub problem: Option<String>,
    /// Is a stored response to be had at `…/result`?
    pub result: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_state_never_goes_back() {
        for from in State::ALL {
            for to in State::ALL {
                if from.may_become(to) {
                    assert!(!to.may_become(from), "{from} and {to}");
                    assert!(!from.is_terminal());
                }
            }
            assert!(!from.may_become(from));
        }
    }

    #[test]
    fn every_ended_state_is_reached_from_every_other_and_left_for_none() {
        for from in State::ALL {
            for to in State::ALL.into_iter().filter(|s| s.is_terminal()) {
                assert_eq!(from.may_become(to), !from.is_terminal());
            }
        }
        assert_eq!(State::ALL.iter().filter(|s| s.is_terminal()).count(), 5);
    }

    #[test]
    fn names_and_numbers_of_states_are_the_specified_ones() {
        for (number, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, number);
            assert_eq!(State::from_name(state.name()), Some(state));
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{state}\""));
            assert_eq!(minicbor::to_vec(state).unwrap(), [number as u8]);
        }
        assert_eq!(State::from_name("running"), None);
    }

    #[test]
    fn a_made_id_is_a_uuid_of_version_7() {
        let id = OperationId::v7(0x0189_0a5d_ac96, &[0xff; 10]);
        assert_eq!(id.to_string(), "01890a5d-ac96-7fff-bfff-ffffffffffff");
        assert!(OperationId::v7(1, &[0xff; 10]) < OperationId::v7(2, &[0; 10]));
        assert_eq!(id.location(), "/v1/operations/01890a5d-ac96-7fff-bfff-ffffffffffff");
    }

    #[test]
    fn any_uuid_of_a_caller_is_taken_but_only_in_the_hyphenated_form() {
        for text in ["6BA7B810-9DAD-11D1-80B4-00C04FD430C8", "ffffffff-ffff-ffff-ffff-ffffffffffff"] {
            assert_eq!(OperationId::parse(text).unwrap().to_string(), text.to_lowercase());
        }
        for text in [
            "",
            "00000000-0000-0000-0000-000000000000",
            "6ba7b8109dad11d180b400c04fd430c8",
            "{6ba7b810-9dad-11d1-80b4-00c04fd430c8}",
            "urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            "6ba7b810-9dad-11d1-80b4-00c04fd430cg",
            "6ba7b810-9dad-11d1-80b4-00c04fd430c8 ",
        ] {
            assert_eq!(OperationId::parse(text), Err(NotOperationId), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,40}") {
            let _ = OperationId::parse(&text);
        }
    }
}
