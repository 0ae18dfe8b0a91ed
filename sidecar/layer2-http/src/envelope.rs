//! The envelope of a HEAD: what a call says beside HTTP, as deterministic CBOR with integer keys (wire format §9).
//!
//! Invariants: equal envelopes are equal bytes; at most 64 KiB; no text holds a control character, as many of them end
//! in field values and logs; unknown keys are ignored. EVENT and CLAIM payloads are envelopes too. It trusts nothing:
//! the caller identity is the near side's word. Test to read first: `unknown_keys_are_ignored_and_not_written_again`.

use crate::cbor::{self, CborError};
use crate::operation::{Executed, OperationId, State};
use minicbor::{Decode, Encode};
use wire::limits::MAX_ENVELOPE;

/// Everything an envelope may say; all of it optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Envelope {
    /// 1: id of the operation.
    #[n(1)]
    pub operation: Option<OperationId>,
    /// 2: name of the route the caller used.
    #[n(2)]
    pub route: Option<String>,
    /// 3: absolute target URI, of a call through the forward proxy.
    #[n(3)]
    pub target: Option<String>,
    /// 4: number of the attempt, from 1.
    #[n(4)]
    pub attempt: Option<u32>,
    /// 5: deadline, Unix ms by the *sender's* clock.
    #[n(5)]
    pub deadline_ms: Option<i64>,
    /// 6: value of Idempotency-Key.
    #[n(6)]
    pub idempotency_key: Option<String>,
    /// 7: callback URL.
    #[n(7)]
    pub callback: Option<String>,
    /// 8: who called.
    #[n(8)]
    pub caller: Option<Caller>,
    /// 9: elements of Forwarded (RFC 7239), nearest last.
    #[n(9)]
    pub forwarded: Option<Vec<String>>,
    /// 10: W3C traceparent.
    #[n(10)]
    pub traceparent: Option<String>,
    /// 11: W3C tracestate.
    #[n(11)]
    pub tracestate: Option<String>,
    /// 12: priority (RFC 9218).
    #[n(12)]
    pub priority: Option<Priority>,
    /// 13: protocol of an extended CONNECT (RFC 8441).
    #[n(13)]
    pub protocol: Option<String>,
    /// 14: events wanted: bit n is the state of number n.
    #[n(14)]
    pub event_mask: Option<u32>,
    /// 15: how long the result is to be kept, in ms.
    #[n(15)]
    pub retention_ms: Option<u64>,
    /// 16: was the call made?
    #[n(16)]
    pub executed: Option<Executed>,
    /// 17: slug of a problem type.
    #[n(17)]
    pub problem: Option<String>,
    /// 18: next hop, as of Proxy-Status.
    #[n(18)]
    pub next_hop: Option<String>,
    /// 19: how long the far side took.
    #[n(19)]
    pub timings: Option<Timings>,
    /// 20: state an EVENT tells of.
    #[n(20)]
    pub event_state: Option<State>,
    /// 21: when it was reached: Unix ms by the sender's clock.
    #[n(21)]
    pub event_ms: Option<i64>,
}

/// Who called, by the near side's word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Caller {
    /// 1: Kubernetes namespace.
    #[n(1)]
    pub namespace: Option<String>,
    /// 2: service account.
    #[n(2)]
    pub service_account: Option<String>,
    /// 3: any other name.
    #[n(3)]
    pub name: Option<String>,
}

/// Priority of a call (RFC 9218).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Priority {
    /// 0 (first) to 7 (last).
    #[n(0)]
    pub urgency: u8,
    /// May the response be used while it arrives?
    #[n(1)]
    pub incremental: bool,
}

impl Default for Priority {
    /// Urgency 3, not incremental.
    fn default() -> Self {
        Self { urgency: 3, incremental: false }
    }
}

/// Durations measured on the far side, in ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Timings {
    /// 1: from the request being whole to its dispatch.
    #[n(1)]
    pub wait_ms: Option<u64>,
    /// 2: resolving and connecting.
    #[n(2)]
    pub connect_ms: Option<u64>,
    /// 3: from dispatch to the head of the response.
    #[n(3)]
    pub first_byte_ms: Option<u64>,
}

/// Why bytes are no envelope, or an envelope cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Above 64 KiB.
    #[error("the envelope has {len} bytes; {MAX_ENVELOPE} are allowed")]
    TooLarge {
        /// Its length, in bytes.
        len: usize,
    },
    /// Not deterministic CBOR.
    #[error("the envelope is not deterministic CBOR")]
    Cbor(#[from] CborError),
    /// A known key with a value of another shape.
    #[error("an envelope key has a value that does not fit: {what}")]
    Shape {
        /// What the decoder says.
        what: String,
    },
    /// A control character in a text.
    #[error("the text of envelope key {key} has a control character")]
    ControlCharacter {
        /// The key.
        key: u8,
    },
    /// An urgency above 7.
    #[error("urgency {urgency} is above 7")]
    Urgency {
        /// What was given.
        urgency: u8,
    },
}

impl Envelope {
    /// How many attempts were made before this one, as its sender says.
    #[must_use]
    pub fn attempts_before(&self) -> u32 {
        self.attempt.unwrap_or(1).saturating_sub(1)
    }

    /// The payload of an EVENT: `operation` reached `state` at `at_ms` (Unix ms).
    #[must_use]
    pub fn event(operation: OperationId, state: State, at_ms: i64) -> Self {
        Self { operation: Some(operation), event_state: Some(state), event_ms: Some(at_ms), ..Self::default() }
    }

    /// The payload of a CLAIM: asks for the stored result of `operation`.
    #[must_use]
    pub fn claim(operation: OperationId) -> Self {
        Self { operation: Some(operation), ..Self::default() }
    }

    /// The service account that the near side states.
    #[must_use]
    pub fn stated_caller(&self) -> Option<&str> {
        self.caller.as_ref()?.service_account.as_deref()
    }

    /// Its bytes.
    ///
    /// # Errors
    /// If it breaks a rule of this format: too large, a control character, an urgency above 7.
    pub fn encode(&self) -> Result<Vec<u8>, EnvelopeError> {
        self.check()?;
        let bytes = minicbor::to_vec(self).map_err(|error| EnvelopeError::Shape { what: error.to_string() })?;
        if bytes.len() > MAX_ENVELOPE { Err(EnvelopeError::TooLarge { len: bytes.len() }) } else { Ok(bytes) }
    }

    /// Reads an envelope that fills `bytes`.
    ///
    /// # Errors
    /// If the bytes are too many, not deterministic CBOR, or a known key has a value that does not fit.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > MAX_ENVELOPE {
            return Err(EnvelopeError::TooLarge { len: bytes.len() });
        }
        cbor::check(bytes)?;
        let envelope: Self =
            minicbor::decode(bytes).map_err(|error| EnvelopeError::Shape { what: error.to_string() })?;
        envelope.check()?;
        Ok(envelope)
    }

    fn check(&self) -> Result<(), EnvelopeError> {
        let caller = self.caller.as_ref();
        let texts = [
            (2, &self.route),
            (3, &self.target),
            (6, &self.idempotency_key),
            (7, &self.callback),
            (10, &self.traceparent),
            (11, &self.tracestate),
            (13, &self.protocol),
            (17, &self.problem),
            (18, &self.next_hop),
        ];
        let texts = texts.into_iter().filter_map(|(key, text)| Some((key, text.as_ref()?)));
        let callers = caller.into_iter().flat_map(|c| [&c.namespace, &c.service_account, &c.name]).flatten();
        let forwarded = self.forwarded.iter().flatten();
        for (key, text) in texts.chain(callers.map(|t| (8, t))).chain(forwarded.map(|t| (9, t))) {
            if text.chars().any(char::is_control) {
                return Err(EnvelopeError::ControlCharacter { key });
            }
        }
        match self.priority {
            Some(Priority { urgency, .. }) if urgency > 7 => Err(EnvelopeError::Urgency { urgency }),
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
