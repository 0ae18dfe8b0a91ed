//! One scan's work on the files that are due, up to the point where a packet is verified.
//!
//! Invariants: senders take turns, file by file and slice by slice, until the scan's budget is used, and files that
//! nothing vouches for never take more than their part of it from good ones; a file that is
//! not whole waits with growing pauses and is final only after the quiet time without change.
//! What this file does not do: list folders (`listing`), check bytes (`prefix`), or handle verified packets (`packet`).
//! Specification: wire format §11, protocol §1 "Completeness". Read first: `a_file_that_grows_gives_each_frame_at_once`.

use std::io;
use std::time::Duration;

use wire::{Header, Reject};

use super::arrival::{Alarm, Arrival, Closure, FileId};
use super::numbers::{PacketKey, Status};
use super::prefix::{Context, Look, look};
use super::tracked::{Standing, State, Tracked};
use super::{Inbox, Sink};
use crate::limits::{RECHECK_MAX, RESERVED_ONE_IN, RETRY_MIN};

/// One file's turn in a scan.
pub(crate) struct Turn<'a, 's> {
    pub(crate) id: FileId,
    pub(crate) now: Duration,
    pub(crate) sink: &'a mut Sink<'s>,
}

impl Inbox {
    /// Works on what is due: good files first, then those of known senders, then others, each with a part of the scan
    /// that nobody else gets; of each kind a file of each sender in turn.
    pub(crate) fn work(&mut self, now: Duration, sink: &mut Sink<'_>) {
        let tried = u32::try_from(self.cost.files_opened).unwrap_or(u32::MAX);
        let (mut files_left, bytes) =
            (self.options.files_per_scan.saturating_sub(tried).max(1), self.options.bytes_per_scan);
        let began = self.counters.bytes_read;
        let [good, known, unknown] = Standing::ALL;
        for (standing, later) in [(good, &[known, unknown][..]), (known, &[unknown]), (unknown, &[]), (good, &[])] {
            // Only for what waits longer: otherwise numbers that follow each other would be read out of order.
            let first = self.files.next_due(standing);
            let waits = |of: &&Standing| self.files.next_due(**of).is_some_and(|at| at <= now && Some(at) < first);
            let reserved = later.iter().filter(waits).count();
            let reserved = u32::try_from(reserved).unwrap_or(u32::MAX);
            let kept = (self.options.files_per_scan / RESERVED_ONE_IN).max(1).saturating_mul(reserved);
            let bytes_kept = bytes / u64::from(RESERVED_ONE_IN) * u64::from(reserved);
            let bytes_end = began.saturating_add(bytes.saturating_sub(bytes_kept));
            // What verifies shows which files come next: those are good ones from then on.
            loop {
                let done = self.work_on(standing, files_left.saturating_sub(kept), bytes_end, now, sink);
                files_left -= done;
                if done == 0 || standing != good {
                    break;
                }
            }
        }
        // Of files that are more than can be remembered there is always one due: that is no reason to hurry.
        let hurries = !self.spent.overflows(now);
        if Standing::ALL.iter().any(|of| (hurries || *of == good) && self.files.is_due(*of, now)) {
            self.progress += 1; // more is due at once
        }
    }

    /// Works on files of one standing. Gives how many.
    fn work_on(&mut self, standing: Standing, max: u32, bytes_end: u64, now: Duration, sink: &mut Sink<'_>) -> u32 {
        let mut groups = self.files.due(standing, now, max as usize);
        let mut done = 0;
        while !groups.is_empty() {
            for queue in &mut groups {
                let Some(id) = queue.pop_front() else { continue };
                if done >= max || self.counters.bytes_read >= bytes_end {
                    return done;
                }
                done += 1;
                if self.step(&mut Turn { id, now, sink: &mut *sink }) {
                    queue.push_front(id);
                }
            }
            groups.retain(|queue| !queue.is_empty());
        }
        done
    }

    /// One step for one file. True if the same file has more to do at once.
    fn step(&mut self, turn: &mut Turn<'_, '_>) -> bool {
        let Some(mut tracked) = self.files.take(turn.id) else { return false };
        if self.rests(&tracked, turn.now) {
            self.rest(turn, tracked);
            return false;
        }
        self.cost.files_opened += 1;
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
                self.learn(&verified.header, &tracked.path, turn.now);
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
            State::Leaving | State::Shown(_) => true,
            State::Closed { recoverable, .. } => !recoverable || expired,
            State::Waiting(_) => expired,
            State::Quarantined { recoverable, .. } => !recoverable || (expired && tracked.mine),
            State::Fresh => !self.files.may_open(&tracked.path),
            State::Open(_) => false,
        }
    }

    fn rest(&mut self, turn: &Turn<'_, '_>, mut tracked: Tracked) {
        let expires = tracked.first_seen.saturating_add(self.options.mpl);
        let expired = turn.now >= expires;
        let (goes, next_try) = match &tracked.state {
            State::Leaving => (true, None),
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

    /// What the pauses in a file's growth teach, now that something of it verified.
    pub(crate) fn teach(&mut self, tracked: &mut Tracked) {
        if std::mem::take(&mut tracked.gave_up) {
            self.quiet.changed_after_close();
        }
        self.quiet.changed_after(std::mem::take(&mut tracked.gap));
    }

    /// Notes the length a file has when opened; true if it changed since the last time.
    fn note_length(&mut self, tracked: &mut Tracked, len: u64, now: Duration) -> bool {
        let grew = tracked.len.is_some_and(|before| before != len);
        tracked.len = Some(len);
        if grew {
            // It teaches something once something of it verifies.
            match tracked.state {
                State::Closed { .. } | State::Quarantined { .. } => tracked.gave_up = true,
                _ => tracked.gap = tracked.gap.max(now.saturating_sub(tracked.changed_at)),
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
            Look::ShownBefore(key) => {
                self.counters.count(Reject::PnClosed);
                self.counters.duplicates += 1;
                self.shown_again(turn, tracked, key);
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
