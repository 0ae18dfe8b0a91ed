//! Idempotency keys of the near side: which operation a key belongs to, and what a repeat of it is told.
//!
//! A key belongs to one operation: from its beginning until that is forgotten, or ended without being executed. It is known by a
//! digest of its scope (caller, route or origin) and its text; the request is known by a digest of method and target from its
//! beginning, and by a digest of its content from its end. Contract: `take`, `on_body` give entries for the log, which are to lie
//! behind the entry that begins the operation and before the end of its request; `replay` them in log order. Invariants: a key has
//! one holder at most, an operation one key at most; nothing here outlives its operation (`forget`), so the table is as bounded as
//! that of operations. It holds no responses. Test to read first: `a_key_belongs_to_its_operation_until_that_was_surely_not_executed`.

use crate::entry::{self, EntryError};
use crate::envelope::Caller;
use crate::operation::{Executed, OperationId, OperationView, State};
use minicbor::{Decode, Encode};
use std::collections::BTreeMap;
use wire::digest::{Digest, sha256};

/// What a caller claims: a key, for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyClaim {
    /// Digest of the scope and the key's text.
    pub key: Digest,
    /// Digest of the request's method and target.
    pub call: Digest,
}

/// Where a key is one key: the same text elsewhere is another one.
#[derive(Clone, Copy, Debug)]
pub struct KeyScope<'a> {
    /// Who calls, where that is known.
    pub caller: Option<&'a Caller>,
    /// The route's name, of a call through a route.
    pub route: Option<&'a str>,
    /// Scheme, host and port of the target, of a call through the forward proxy.
    pub origin: &'a str,
}

impl KeyClaim {
    /// The claim of this key for a request.
    #[must_use]
    pub fn new(scope: KeyScope<'_>, key: &str, method: &str, target: &str) -> Self {
        let caller = scope.caller;
        let names = [
            caller.and_then(|caller| caller.namespace.as_deref()),
            caller.and_then(|caller| caller.service_account.as_deref()),
            caller.and_then(|caller| caller.name.as_deref()),
            scope.route,
            scope.route.is_none().then_some(scope.origin),
            Some(key),
        ];
        Self {
            key: digest_of("hoft idempotency key", names),
            call: digest_of("hoft call", [Some(method), Some(target)]),
        }
    }
}

/// A digest in which no two lists of texts run into one another.
fn digest_of<const N: usize>(label: &str, texts: [Option<&str>; N]) -> Digest {
    let mut bytes = label.as_bytes().to_vec();
    for text in texts {
        let (there, text) = text.map_or((0, ""), |text| (1, text));
        bytes.push(there);
        bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    sha256(&[&bytes])
}

/// What is known of a key that is claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody has it: the call may be made.
    Nobody,
    /// It belongs to a request of another method or target.
    OtherCall(OperationView),
    /// Its operation has not ended.
    UnderWay(OperationView),
    /// Its operation ended. It is the same request if its content has this digest, or if that is not known.
    Ended {
        /// The operation.
        view: OperationView,
        /// Digest of the content of its request, if that came to its end.
        body: Option<Digest>,
    },
}

#[derive(Clone, Copy, Debug)]
struct Keyed {
    claim: KeyClaim,
    body: Option<Digest>,
}

/// All keys in use.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    keyed: BTreeMap<OperationId, Keyed>,
    by_key: BTreeMap<Digest, OperationId>,
}

impl Keys {
    /// Who has this key; `known` looks an operation up.
    #[must_use]
    pub fn holder(&self, claim: &KeyClaim, known: impl Fn(OperationId) -> Option<OperationView>) -> Holder {
        let Some((id, keyed)) = self.by_key.get(&claim.key).and_then(|id| Some((id, self.keyed.get(id)?))) else {
            return Holder::Nobody;
        };
        let Some(view) = known(*id).filter(|view| !was_not_executed(view)) else { return Holder::Nobody };
        if keyed.claim.call != claim.call {
            return Holder::OtherCall(view);
        }
        if view.state.is_terminal() { Holder::Ended { view, body: keyed.body } } else { Holder::UnderWay(view) }
    }

    /// The operation takes the key, from whoever had it.
    pub fn take(&mut self, id: OperationId, claim: KeyClaim) -> KeyEntry {
        let entry = KeyEntry::Taken { id, claim };
        self.replay(&entry);
        entry
    }

    /// The content of the operation's request is here as a whole. `None` if the operation has no key, or that is known.
    pub fn on_body(&mut self, id: OperationId, digest: Digest) -> Option<KeyEntry> {
        self.keyed.get(&id).filter(|keyed| keyed.body.is_none())?;
        let entry = KeyEntry::Body { id, digest };
        self.replay(&entry);
        Some(entry)
    }

    /// The operation is not known any more.
    pub fn forget(&mut self, id: OperationId) {
        let Some(keyed) = self.keyed.remove(&id) else { return };
        if self.by_key.get(&keyed.claim.key) == Some(&id) {
            self.by_key.remove(&keyed.claim.key);
        }
    }

    /// Number of keys in use.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keyed.len()
    }

    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keyed.is_empty()
    }

    /// Entries that recreate this table.
    #[must_use]
    pub fn checkpoint(&self) -> Vec<KeyEntry> {
        let entries = self.keyed.iter().flat_map(|(id, keyed)| {
            let body = keyed.body.map(|digest| KeyEntry::Body { id: *id, digest });
            std::iter::once(KeyEntry::Taken { id: *id, claim: keyed.claim }).chain(body)
        });
        entries.collect()
    }

    /// Takes an entry of the log, after a restart.
    pub fn replay(&mut self, entry: &KeyEntry) {
        match *entry {
            KeyEntry::Taken { id, claim } => {
                self.forget(id);
                if let Some(before) = self.by_key.insert(claim.key, id) {
                    // So that a checkpoint, which is in the order of ids, cannot give it back.
                    self.keyed.remove(&before);
                }
                self.keyed.insert(id, Keyed { claim, body: None });
            }
            KeyEntry::Body { id, digest } => {
                if let Some(keyed) = self.keyed.get_mut(&id) {
                    keyed.body = Some(digest);
                }
            }
        }
    }
}

/// It ended, and not a byte of it was sent upstream.
fn was_not_executed(view: &OperationView) -> bool {
    match view.executed {
        Some(Executed::No) => view.state.is_terminal(),
        None => view.state == State::Expired,
        Some(Executed::Yes | Executed::Maybe) => false,
    }
}

/// What must be durable of keys: kinds 80 and 81 of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEntry {
    /// An operation has this key. Kind 80.
    Taken {
        /// The operation.
        id: OperationId,
        /// Key and request.
        claim: KeyClaim,
    },
    /// The content of its request ended. Kind 81.
    Body {
        /// The operation.
        id: OperationId,
        /// Digest of the content.
        digest: Digest,
    },
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Taken {
    #[n(0)]
    id: OperationId,
    #[cbor(n(1), with = "minicbor::bytes")]
    key: [u8; 32],
    #[cbor(n(2), with = "minicbor::bytes")]
    call: [u8; 32],
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Body {
    #[n(0)]
    id: OperationId,
    #[cbor(n(1), with = "minicbor::bytes")]
    digest: [u8; 32],
}

impl KeyEntry {
    /// Is this the kind of such an entry?
    #[must_use]
    pub const fn has_kind(kind: u8) -> bool {
        matches!(kind, 80 | 81)
    }

    /// Its kind in the log.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Taken { .. } => 80,
            Self::Body { .. } => 81,
        }
    }

    /// The operation it is about.
    #[must_use]
    pub const fn id(&self) -> OperationId {
        match self {
            Self::Taken { id, .. } | Self::Body { id, .. } => *id,
        }
    }

    /// Its payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match *self {
            Self::Taken { id, claim: KeyClaim { key, call } } => entry::write(&Taken { id, key, call }, &mut out),
            Self::Body { id, digest } => entry::write(&Body { id, digest }, &mut out),
        }
        out
    }

    /// Reads an entry of the log.
    ///
    /// # Errors
    /// If the kind is not one of these, or the payload does not fit it.
    pub fn decode(kind: u8, payload: &[u8]) -> Result<Self, EntryError> {
        match kind {
            80 => entry::read(kind, payload)
                .map(|Taken { id, key, call }| Self::Taken { id, claim: KeyClaim { key, call } }),
            81 => entry::read(kind, payload).map(|Body { id, digest }| Self::Body { id, digest }),
            _ => Err(EntryError::Kind { kind }),
        }
    }
}

#[cfg(test)]
mod tests;
