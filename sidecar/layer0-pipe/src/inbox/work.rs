//! One scan's work on the files that are due, up to the point where a packet is verified.
//!
//! Invariants: senders take turns, file by file and slice by slice, until the scan's budget is used; a file that is
//! not whole waits with growing pauses and is final only after the quiet time without change.
//! What this file does not do: list folders (`discovery`), check bytes (`prefix`), or handle verified packets (`packet`).
//! Specification: wire format §11, protocol §1 "Completeness". Read first: `a_file_that_grows_gives_each_frame_at_once`.

use std::io;
use std::time::Duration;

use wire::{Header, Reject};

use super::arrival::{Alarm, Arrival, Closure, FileId};
use super::numbers::{PacketKey, Status};
use super::prefix::{Context, Look, look};
use super::tracked::{State, Tracked};
use super::{Inbox, Sink};
use crate::limits::{OPEN_FILES_MAX, RECHECK_MAX, RETRY_MIN};

/// One file's turn in a scan.
pub(crate) struct Turn<'a, 's> {
    pub(crate) id: FileId,
    pub(crate) now: Duration,
    pub(crate) sink: &'a mut Sink<'s>,
}

impl Inbox {
    /// Works on what is due, a file of each sender in turn.
    pub(crate) fn work(&mut self, now: Duration, sink: &mut Sink<'_>) {
        let mut files_left = self.options.files_per_scan;
        let mut groups = self.files.due(now, files_left as usize + 1);
        let bytes_end = self.counters.bytes_read.saturating_add(self.options.bytes_per_scan);
        while !groups.is_empty() {
            for queue in &mut groups {
                let Some(id) = queue.pop_front() else { continue };
                if files_left == 0 || self.counters.bytes_read >= bytes_end {
                    self.progress += 1; // more is due at once
                    return;
                }
                files_left -= 1;
                if self.step(&mut Turn { id, now, sink: &mut *sink }) {
                    queue.push_front(id);
                }
            }
            groups.retain(|queue| !queue.is_empty());
        }
    }

    /// One step for one file. True if the same file has more to do at once.
    fn step(&mut self, turn: &mut Turn<'_, '_>) -> bool {
        let Some(mut tracked) = self.files.take(turn.id) else { return false };
        if self.rests(&tracked, turn.now) {
            self.rest(turn, tracked);
            return false;
        }
        let file = match self.dir.open_read(&tracked.path) {
            Ok(file) => file,
            Err(error) => {
                self.cannot_open(turn, tracked, &error);
                return false;
            }
        };
        let grew = self.note_length(&mut tracked, file.len(), turn.now);
        let before = std::mem::replace(&mut tracked.state, State::Fresh);
        if let State::Open(open) = before {
            return self.read_frames(turn, tracked, open, file.as_ref());
        }
        let context = Context {
            locals: &self.locals,
            memory: &self.memory,
            now: turn.now,
            unix_ms: self.unix_ms(turn.now),
            revisit: matches!(before, State::Closed { .. }),
        };
        let mut read = 0;
        let found = look(&context, file.as_ref(), &mut read);
        self.counters.bytes_read += read;
        match found {
            Ok(Look::Verified(verified)) => {
                self.discovery.verified(&verified.header, &tracked.path, turn.now);
                return self.verified(turn, tracked, &before, *verified, file.as_ref(), grew);
            }
            Ok(found) => self.not_verified(turn, tracked, before, found),
            Err(error) => {
                tracked.state = before;
                self.cannot_open(turn, tracked, &error);
            }
        }
        false
    }

    /// Whether a file needs no reading now: it only waits for its end, or for room.
    fn rests(&self, tracked: &Tracked, now: Duration) -> bool {
        let expired = now >= tracked.first_seen.saturating_add(self.options.mpl);
        match &tracked.state {
            State::Leaving | State::Left | State::Shown(_) => true,
            State::Closed { recoverable, .. } => !recoverable || expired,
            State::Waiting(_) => expired,
            State::Quarantined { recoverable, .. } => !recoverable || (expired && tracked.mine),
            State::Fresh => self.files.open_count() >= OPEN_FILES_MAX,
            State::Open(_) => false,
        }
    }

    fn rest(&mut self, turn: &Turn<'_, '_>, mut tracked: Tracked) {
        let expires = tracked.first_seen.saturating_add(self.options.mpl);
        let expired = turn.now >= expires;
        let (goes, next_try) = match &tracked.state {
            State::Leaving => (true, None),
            State::Left => (self.options.profile.receiver_deletes(), None),
            State::Fresh => (false, Some(turn.now + RETRY_MIN)),
            State::Shown(key) => (expired || self.memory.presence_superseded(key), Some(expires)),
            State::Quarantined { .. } => (expired && tracked.mine, tracked.mine.then_some(expires)),
            State::Waiting(_) | State::Closed { .. } | State::Open(_) => (expired, Some(expires)),
        };
        if goes {
            return self.dispose(turn.id, tracked, turn.now);
        }
        tracked.next_try = next_try;
        self.files.put(turn.id, tracked);
    }

    pub(crate) fn cannot_open(&mut self, turn: &mut Turn<'_, '_>, mut tracked: Tracked, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => self.vanished(turn, tracked),
            io::ErrorKind::InvalidInput => self.quarantine(turn.id, tracked, Reject::NotRegular, turn.now),
            _ => {
                tracing::debug!(path = tracked.path, %error, "an inbox file cannot be read yet");
                self.counters.io_errors += 1;
                tracked.back_off(turn.now, RECHECK_MAX, None);
                self.files.put(turn.id, tracked);
            }
        }
    }

    /// Listings and look-ups may be stale, so a packet in work gets the quiet time to come back.
    fn vanished(&mut self, turn: &mut Turn<'_, '_>, mut tracked: Tracked) {
        let quiet_at = tracked.changed_at.saturating_add(self.quiet.time());
        if let State::Open(open) = &tracked.state {
            if turn.now < quiet_at {
                tracked.back_off(turn.now, self.quiet.time(), Some(quiet_at));
                self.files.put(turn.id, tracked);
                return;
            }
            self.memory.enter(&open.header, Status::Partial, 0);
            if !open.reopened {
                self.close(turn, &open.key, Closure::Partial);
            }
        }
        self.files.forget(turn.id, &tracked);
    }

    /// Notes the length a file has when opened; true if it changed since the last time.
    fn note_length(&mut self, tracked: &mut Tracked, len: u64, now: Duration) -> bool {
        let grew = tracked.len.is_some_and(|before| before != len);
        tracked.len = Some(len);
        if grew {
            match tracked.state {
                State::Closed { .. } | State::Quarantined { .. } => self.quiet.changed_after_close(),
                _ => self.quiet.changed_after(now.saturating_sub(tracked.changed_at)),
            }
            tracked.changed_at = now;
            tracked.pause = RETRY_MIN;
        }
        grew
    }

    /// What follows from a look at a file that gave no verified packet.
    fn not_verified(&mut self, turn: &mut Turn<'_, '_>, mut tracked: Tracked, before: State, found: Look) {
        match found {
            Look::Wait(reject) => self.not_yet(turn, tracked, before, reject),
            Look::Junk(reject) => {
                tracked.state = before;
                self.quarantine(turn.id, tracked, reject, turn.now);
            }
            // It may still grow beyond the copy that was cut.
            Look::Repeats if turn.now < tracked.changed_at.saturating_add(self.quiet.time()) => {
                let quiet_at = tracked.changed_at.saturating_add(self.quiet.time());
                tracked.back_off(turn.now, self.quiet.time(), Some(quiet_at));
                self.files.put(turn.id, tracked);
            }
            Look::Repeats => self.not_verified(turn, tracked, before, Look::Closed(Reject::PnClosed)),
            Look::Closed(reject) => {
                self.counters.count(reject);
                self.counters.duplicates += u64::from(reject == Reject::PnClosed);
                self.dispose(turn.id, tracked, turn.now);
            }
            Look::Forked(header) => {
                let _ = (turn.sink)(Arrival::Alarm(Alarm::Forked { header: &header, path: &tracked.path }));
                self.progress += 1;
                self.quarantine(turn.id, tracked, Reject::Forked, turn.now);
            }
            Look::Unopenable(header, reject) => self.unopenable(turn, tracked, &header, reject),
            Look::Verified(_) => self.files.put(turn.id, tracked), // handled where the file is still open
        }
    }

    /// A reject that is final only once the file is quiet.
    fn not_yet(&mut self, turn: &Turn<'_, '_>, mut tracked: Tracked, before: State, reject: Reject) {
        let quiet_at = tracked.changed_at.saturating_add(self.quiet.time());
        match before {
            State::Closed { .. } => {
                tracked.state = before;
                tracked.back_off_recheck(turn.now, self.quiet.time());
                self.files.put(turn.id, tracked);
            }
            _ if turn.now >= quiet_at => {
                tracked.state = before;
                self.quarantine(turn.id, tracked, reject, turn.now);
            }
            _ => {
                tracked.back_off(turn.now, self.quiet.time(), Some(quiet_at));
                self.files.put(turn.id, tracked);
            }
        }
    }

    fn unopenable(&mut self, turn: &mut Turn<'_, '_>, mut tracked: Tracked, header: &Header, reject: Reject) {
        if self.locals.iter().any(|local| local.is_presence(&header.recipient)) {
            // Presence is never reported.
            return self.quarantine(turn.id, tracked, reject, turn.now);
        }
        let key = PacketKey::of(header);
        self.counters.count(reject);
        self.memory.enter(header, Status::Unopenable, tracked.len.unwrap_or(0));
        tracked.mine = true;
        tracked.state = State::Closed { key, recoverable: false };
        tracked.next_try = Some(tracked.first_seen.saturating_add(self.options.mpl));
        self.files.put(turn.id, tracked);
        self.close(turn, &key, Closure::Unopenable);
    }

    /// Tells the driver that a packet is closed.
    pub(crate) fn close(&mut self, turn: &mut Turn<'_, '_>, key: &PacketKey, closure: Closure) {
        match closure {
            Closure::Complete => self.counters.complete += 1,
            Closure::Partial => self.counters.partial += 1,
            Closure::Unopenable => self.counters.unopenable += 1,
        }
        self.progress += 1;
        tracing::trace!(pn = key.pn.get(), ?closure, "packet closed");
        let _ = (turn.sink)(Arrival::Closed {
            file: turn.id,
            recipient: key.life.recipient,
            sender: key.life.sender,
            sender_incarnation: key.life.incarnation,
            pn: key.pn,
            closure,
        });
    }
}
