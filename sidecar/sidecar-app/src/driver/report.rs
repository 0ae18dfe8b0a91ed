//! What the driver tells of itself: the snapshot behind `/statusz` and `/metrics`.

use layer2_http::State;

use super::Driver;
use crate::record::DATA_LEN_MAX;
use crate::status::{CallbacksView, EngineStatus, OPEN_OPERATIONS_MAX, OpenOperation, PeerView, count_states};

/// How long a call that lost its caller is told of.
const ABANDONED_MS_MAX: i64 = 60_000;

impl Driver {
    pub(super) fn status(&self) -> EngineStatus {
        let now = self.host.now();
        let mut status = EngineStatus::new(&self.settings.facts, self.started_ms, self.host.unix_ms());
        status.log_bytes = self.journal.bytes_on_disk();
        status.log_failure = self.journal.failure().map(str::to_owned).or_else(|| self.lack_of_space());
        status.results_bytes = self.results_bytes();
        status.publishing = self.publishing;
        status.published_bytes = self.published_bytes;
        status.outbox_failure = self.outbox_failure.clone();
        status.inbox_alarm = self.inbox_alarm.clone();
        status.inbox = (&self.counters).into();
        status.operations = count_states(self.near.list(None, usize::MAX).into_iter().map(|view| view.state));
        let (open, total) = self.near.oldest_open(OPEN_OPERATIONS_MAX);
        let now_ms = self.host.unix_ms_signed();
        status.open_operations = open.into_iter().map(|view| OpenOperation::new(view, now_ms)).collect();
        status.open_operations_total = total as u64;
        let left = self.near.list(Some(State::Cancelled), usize::MAX).into_iter();
        let recent = left
            .filter(|view| view.ended_ms.is_some_and(|ended_ms| now_ms.saturating_sub(ended_ms) <= ABANDONED_MS_MAX));
        status.abandoned_operations = recent.take(OPEN_OPERATIONS_MAX).map(|view| view.id.to_string()).collect();
        status.executions = self.slots.values().map(|slot| slot.far_calls.len() as u64).sum();
        let (pending, dead) = self.callbacks.table.counts();
        let (delivered, failed, given_up) = (self.callbacks.delivered, self.callbacks.failed, self.callbacks.given_up);
        status.callbacks = CallbacksView { pending, dead, delivered, failed, given_up };
        status.peers = self
            .slots
            .iter()
            .map(|(peer, slot)| {
                let name = (*peer == self.settings.default_peer).then(|| self.settings.peer_name.clone());
                PeerView::new(*peer, name, &slot.peer.status(now), self.settings.loss_timeout)
            })
            .collect();
        status.servers = self.server_views();
        status.log_full = status.peers.iter().any(|peer| peer.send_log_room_bytes < DATA_LEN_MAX as u64);
        status
    }
}
