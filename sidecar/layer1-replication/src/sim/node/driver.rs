//! The loop that a driver runs: writing entries, publishing, reading files, handing events on.

use super::{DiskEntry, File, InboxFile, World, header, on_disk};
use crate::entry::Entry;
use crate::event::{Closure, PeerEvent, PersistToken, Transmit, Verdict};
use crate::peer::Peer;
use alloc::vec::Vec;
use bytes::Bytes;
use wire::{Control, Record};

impl World {
    pub(super) fn commit(&mut self, index: usize) {
        let (_, count) = self.nodes[index].commit.take().unwrap();
        let entries: Vec<DiskEntry> = self.nodes[index].pending.drain(..count).collect();
        let token = entries.last().unwrap().token;
        for entry in entries {
            self.made_durable(index, entry);
        }
        let now = self.timestamp();
        let roll = self.rng.percent(self.options.roll);
        let node = &mut self.nodes[index];
        let peer = node.peer.as_mut().unwrap();
        peer.handle_persisted(now, token);
        self.drain(index);
        let node = &mut self.nodes[index];
        if roll {
            // A roll commits what is pending first.
            let pending: Vec<DiskEntry> = core::mem::take(&mut node.pending);
            node.commit = None;
            let last = pending.last().map(|entry| entry.token);
            for entry in pending {
                self.made_durable(index, entry);
            }
            let node = &mut self.nodes[index];
            let peer = node.peer.as_mut().unwrap();
            node.log = peer
                .checkpoint()
                .into_iter()
                .map(|entry| on_disk(PersistToken::default(), &entry, Bytes::new(), None))
                .collect();
            if let Some(token) = last {
                peer.handle_persisted(now, token);
            }
            let mut again = Peer::new(peer.ids.clone(), peer.config.clone(), now);
            for disk in &node.log {
                again.replay(disk.entry());
            }
            let same: Vec<Entry> = again.checkpoint();
            let taken: Vec<Entry> = node.log.iter().map(DiskEntry::entry).collect();
            assert_eq!(same, taken, "a checkpoint of a checkpoint");
        }
    }

    pub(super) fn publish_due(&mut self, index: usize) {
        let now = self.now;
        let due = |(at, _): &(u64, File)| *at <= now;
        while let Some(at) = self.nodes[index].publishing.iter().position(due) {
            let (_, file) = self.nodes[index].publishing.remove(at);
            let pn = file.header.pn;
            let fails = self.faults && self.rng.percent(self.options.publish_fails);
            let stamp = self.timestamp();
            let peer = self.nodes[index].peer.as_mut().unwrap();
            if fails {
                peer.handle_publish_failed(stamp, pn);
            } else {
                peer.handle_published(stamp, pn, 5_000);
                self.nodes[index].outbox.insert(pn.get());
                self.publish(index, file);
            }
            self.drain(index);
        }
    }

    /// Layer 0 reads a file: prefix, frames, end.
    pub(super) fn present(&mut self, index: usize, id: u64) {
        let now = self.timestamp();
        let Some(mut slot) = self.nodes[index].inbox.get(&id).cloned() else { return };
        let peer = self.nodes[index].peer.as_mut().unwrap();
        let (life, pn) = (slot.file.header.sender_incarnation, slot.file.header.pn);
        let whole = slot.arrives == slot.file.records.len();
        if slot.presented {
            // The file ended, or grew.
            if !whole && self.rng.percent(30) {
                peer.handle_closed(now, life, pn, Closure::Partial);
                peer.handle_records(now, life, pn, slot.file.records[slot.arrives..].to_vec());
                slot.arrives = slot.file.records.len();
                peer.handle_closed(now, life, pn, Closure::Complete);
            } else {
                peer.handle_closed(now, life, pn, if whole { Closure::Complete } else { Closure::Partial });
            }
            slot.at = None;
        } else {
            match peer.handle_packet(now, &slot.file.header, &slot.file.control) {
                Verdict::Use => {
                    for records in slot.file.records[..slot.arrives].chunks(3) {
                        peer.handle_records(now, life, pn, records.to_vec());
                    }
                    slot.presented = true;
                    let grows = if whole { 0 } else { 1_000_000 };
                    slot.at = Some(self.now + self.rng.below(grows + 1));
                }
                Verdict::Wait => {
                    slot.at = Some(self.now + 500_000 + self.options.delay.1 / 4 + self.rng.below(1_000_000))
                }
                Verdict::Ignore => {
                    self.nodes[index].inbox.remove(&id);
                    self.drain(index);
                    return;
                }
            }
        }
        self.nodes[index].inbox.insert(id, slot);
        self.drain(index);
    }

    /// Drains every output, and lets the application act, until nothing moves.
    pub(crate) fn drain(&mut self, index: usize) {
        loop {
            self.write_entries(index);
            while let Some(event) = self.nodes[index].peer.as_mut().unwrap().poll_event() {
                self.event(index, event);
            }
            let now = self.timestamp();
            while self.nodes[index].publishing.len() < 2 {
                let Some(transmit) = self.nodes[index].peer.as_mut().unwrap().poll_transmit(now) else { break };
                let at = self.now + 100 + self.rng.below(self.options.jitter);
                let file = self.file(index, transmit);
                self.nodes[index].publishing.push((at, file));
            }
            let node = &mut self.nodes[index];
            let peer = node.peer.as_mut().unwrap();
            let moved = node.app.pump(now, peer, &mut self.truth.completed[index]);
            if !moved && !self.write_entries(index) {
                break;
            }
        }
        let status = self.nodes[index].peer.as_ref().unwrap().status(self.timestamp());
        assert_eq!((status.dropped_credit, status.dropped_other), (0, 0), "a record was dropped: {:?}", self.options);
        assert_eq!(status.halted, None, "{:?}", self.options);
        assert!(
            status.granted_log.1 <= status.granted_log.0
                && status.credit_log.1 <= status.credit_log.0.max(status.credit_log.1)
        );
    }

    fn write_entries(&mut self, index: usize) -> bool {
        let mut wrote = false;
        while let Some(persist) = self.nodes[index].peer.as_mut().unwrap().poll_persist() {
            wrote = true;
            self.note_written(index, &persist.entry, &persist.payload);
            let delay = 100 + self.rng.below(self.options.jitter / 2);
            let node = &mut self.nodes[index];
            node.pending.push(on_disk(persist.token, &persist.entry, persist.payload, node.association));
            if persist.urgent && node.commit.is_none() {
                node.commit = Some((self.now + delay, 0));
            }
            if let Some((_, count)) = &mut node.commit {
                *count = node.pending.len();
            }
        }
        wrote
    }

    fn note_written(&mut self, index: usize, entry: &Entry, payload: &Bytes) {
        let node = &mut self.nodes[index];
        match entry {
            Entry::Sent { head, .. } => {
                let record = (*head, payload.clone());
                match node.association {
                    None => node.unbound.insert(head.seq.get(), record),
                    Some(life) => self.truth.written.entry(node.book(life)).or_default().insert(head.seq.get(), record),
                };
            }
            Entry::Received(meta) => {
                node.taken.insert(meta.head.seq.get(), payload.clone());
            }
            Entry::Associated { peer_incarnation, .. } => {
                self.truth.associations += 1;
                node.association = Some(*peer_incarnation);
                node.taken.clear();
                let unbound = core::mem::take(&mut node.unbound);
                let before = self.truth.written.insert(node.book(*peer_incarnation), unbound);
                assert!(before.is_none(), "one pair, two associations: {:?}", self.options);
            }
            _ => {}
        }
    }

    fn event(&mut self, index: usize, event: PeerEvent) {
        let node = &mut self.nodes[index];
        match &event {
            PeerEvent::Received(head) => assert!(node.received_events.insert(head.seq.get()), "told twice: {head:?}"),
            PeerEvent::Confirmed { .. } => {
                node.received_events.clear();
                node.released = 0;
            }
            PeerEvent::Released { up_to } => {
                let key = node.book(node.association.unwrap());
                let durable = self.truth.durable.get(&key);
                for seq in core::mem::replace(&mut node.released, up_to.get()) + 1..=up_to.get() {
                    assert!(
                        durable.is_some_and(|set| set.contains(&seq)),
                        "record {seq} released, but not durable there: {:?}",
                        self.options
                    );
                }
            }
            PeerEvent::PacketRetired { pn } => {
                node.outbox.remove(&pn.get());
            }
            PeerEvent::PacketDurable { sender_incarnation, pn } => {
                let is_it = |file: &InboxFile| {
                    file.file.header.pn == *pn && file.file.header.sender_incarnation == *sender_incarnation
                };
                node.inbox.retain(|_, slot| !(is_it(slot) && slot.presented && slot.at.is_none()));
            }
            _ => {}
        }
        let node = &mut self.nodes[index];
        node.app.event(&event, &node.taken);
    }

    fn file(&mut self, index: usize, transmit: Transmit) -> File {
        let node = &self.nodes[index];
        let life = node.association;
        let payload = |seq: u64| {
            let book = &self.truth.written[&node.book(life.unwrap())];
            book[&seq].1.clone()
        };
        let mut records: Vec<Record> =
            transmit.records.iter().map(|(head, _)| Record { head: *head, payload: payload(head.seq.get()) }).collect();
        records.extend(transmit.tombstones);
        records.sort_by_key(|record| record.head.seq);
        let control = Control::decode(&transmit.control.encode(), false).expect("a control block that decodes");
        let header = header(index, node.incarnation, transmit.recipient_incarnation, transmit.pn, records.len());
        File { header, control, records }
    }
}
