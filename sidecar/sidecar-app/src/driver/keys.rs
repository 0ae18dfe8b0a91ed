//! Idempotency keys of calls begun here: who may begin, and what of it stands in the log.
//!
//! Invariants: whether a key is free is decided in the turn in which the call that takes it begins, so of two calls at once one
//! begins; the entry that says whose a key is lies behind the operation's own and before its request's head, and the digest of the
//! content before the request's end, so that no call is ever made whose key a restart would not know. It answers nothing: the door
//! does. Test to read first: `keys/tests.rs`.

use std::time::Duration;

use layer2_http::keys::Holder;
use layer2_http::operation::OperationId;
use wire::digest::Digest;

use super::Driver;
use crate::command::{BeginCall, KeyInUse};

/// When to ask again for a call under way, at most.
const ASK_AGAIN_MAX: Duration = Duration::from_secs(60);

impl Driver {
    /// Who has the key of a call, if that is another operation.
    pub(super) fn key_in_use(&self, call: &BeginCall) -> Option<KeyInUse> {
        let claim = call.asked.key.as_ref()?;
        let holder = self.keys.holder(claim, |id| self.near.get(id));
        (holder != Holder::Nobody).then(|| KeyInUse { holder, retry_after_s: self.ask_again_s(call) })
    }

    /// Half of a round trip is when something may have changed.
    fn ask_again_s(&self, call: &BeginCall) -> u64 {
        let now = self.host.now();
        let srtt_us = self.slots.get(&self.choose_server(call)).and_then(|slot| slot.peer.status(now).srtt_us);
        Duration::from_micros(srtt_us.unwrap_or(0) / 2).clamp(Duration::from_secs(1), ASK_AGAIN_MAX).as_secs()
    }

    /// Notes what the caller asked for besides the call that has just begun.
    pub(super) fn note_asked(&mut self, call: &BeginCall) {
        if let Some(claim) = call.asked.key {
            let entry = self.keys.take(call.operation, claim);
            self.journal.note(entry.kind(), &entry.encode(), true);
        }
        if let Some(wanted) = &call.asked.callbacks {
            self.want_callbacks(wanted);
        }
    }

    /// The content of a request came to its end.
    pub(super) fn request_body(&mut self, id: OperationId, digest: Digest) {
        if let Some(entry) = self.keys.on_body(id, digest) {
            self.journal.note(entry.kind(), &entry.encode(), false);
        }
    }
}

#[cfg(test)]
mod tests;
