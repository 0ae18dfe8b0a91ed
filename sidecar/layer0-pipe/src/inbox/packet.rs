//! A verified packet in the inbox: the driver's verdict, its frames as they become whole, and its closing.
//!
//! Invariants: the driver is asked once per packet that it wants, however many files carry it; a packet is closed as
//! complete the moment its last frame verified, as partial only after the quiet time without change; a packet closed
//! as partial is opened again by growth, or when its first missing frame verifies.
//! What this file does not do: verify bytes (`prefix`, `frames`) or remember numbers (`numbers`).
//! Specification: protocol §1 "Completeness", wire format §7 ("Complete = …"), §11 checks 18 to 20.
//! Read first: `a_cut_at_every_boundary_yields_the_whole_frames_before_it`.

use std::io;
use std::time::Duration;

use disk::dir::ReadFile;
use wire::{Header, Reject};

use super::Inbox;
use super::arrival::{Arrival, Closure, Verdict};
use super::frames::{Pass, Reach, pass};
use super::numbers::{Known, PacketKey, Status};
use super::prefix::Verified;
use super::tracked::{Open, Standing, State, Tracked, split};
use super::work::Turn;
use crate::limits::{COPIES_MAX, RETRY_MIN, WAIT_MAX, WAIT_MIN};
use crate::mutation::{Mutation, mutated};

impl Inbox {
    /// A genuine packet: ask the driver (unless it said yes before), then go on to its frames. True if the same file
    /// has more to do at once.
    pub(crate) fn verified(
        &mut self,
        turn: &mut Turn<'_, '_>,
        mut tracked: Tracked,
        before: &State,
        verified: Verified,
        file: &dyn ReadFile,
        grew: bool,
    ) -> bool {
        let Verified { header, control, presence, table } = verified;
        let key = PacketKey::of(&header);
        tracked.mine = true;
        let unproven = matches!(before, State::Fresh | State::Quarantined { .. });
        if unproven && (self.files.enough_copies(&key) || !self.files.admits(Standing::Good, &tracked.path)) {
            // Other files of the packet do; should they vanish, this one has its turn.
            tracked.standing = tracked.standing.max(Standing::Known);
            tracked.back_off(turn.now, WAIT_MAX, None);
            self.files.put(turn.id, tracked);
            return false;
        }
        tracked.standing = Standing::Good;
        if table.entries.is_empty() {
            self.teach(&mut tracked);
        }
        let wanted_before = self.memory.known(&key, &header.salt, presence, turn.now) == Known::Unfinished;
        if !wanted_before {
            self.progress += 1;
            // Presence has no floor, and says nothing of what its sender's packets are told.
            if !presence {
                self.memory.stale_shown(&key, turn.now);
            }
            let verdict = (turn.sink)(Arrival::Packet { file: turn.id, header: &header, control: &control });
            if !self.obey(turn, &mut tracked, before, verdict) {
                self.not_used(turn, tracked, &header, presence, verdict);
                return false;
            }
            if !presence {
                self.memory.reopen(&key);
            }
            tracked.changed_at = turn.now;
            tracked.pause = RETRY_MIN;
        }
        if presence {
            self.shown(turn, tracked, &header);
            return false;
        }
        let reopened = self.memory.get(&key).is_some_and(|packet| packet.status == Status::Partial);
        if !reopened {
            self.memory.enter(&header, Status::Open, file.len());
        }
        let open = Box::new(Open { key, header, table, attempted: 0, resume: None, reopened });
        if reopened && !grew {
            self.recheck(turn, tracked, open, file)
        } else {
            self.read_frames(turn, tracked, open, file)
        }
    }

    /// Counts a verdict; true if the packet is wanted.
    fn obey(&mut self, turn: &Turn<'_, '_>, tracked: &mut Tracked, before: &State, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Use => {
                self.counters.packets_used += 1;
                tracing::trace!(path = tracked.path, "packet used");
                true
            }
            Verdict::Ignore => {
                self.counters.packets_ignored += 1;
                false
            }
            Verdict::Wait => {
                self.counters.packets_waiting += 1;
                if !matches!(before, State::Waiting(_)) {
                    tracked.pause = WAIT_MIN;
                }
                tracked.back_off(turn.now, WAIT_MAX, None);
                false
            }
        }
    }

    fn not_used(
        &mut self,
        turn: &Turn<'_, '_>,
        mut tracked: Tracked,
        header: &Header,
        presence: bool,
        verdict: Verdict,
    ) {
        if verdict == Verdict::Wait {
            if !presence {
                self.memory.reopen(&PacketKey::of(header));
            }
            tracked.state = State::Waiting(PacketKey::of(header));
            self.files.put(turn.id, tracked);
        } else if presence {
            self.shown(turn, tracked, header); // others may want it
        } else {
            self.memory.enter(header, Status::Ignored, tracked.len.unwrap_or(0));
            self.dispose(turn.id, tracked, turn.now);
        }
    }

    /// A presence packet stays for other engines of my side until two newer ones are there.
    fn shown(&mut self, turn: &Turn<'_, '_>, mut tracked: Tracked, header: &Header) {
        let key = PacketKey::of(header);
        self.memory.enter(header, Status::Presence, tracked.len.unwrap_or(0));
        tracked.state = State::Shown(key);
        tracked.next_try = Some(tracked.first_seen.saturating_add(self.options.mpl));
        self.files.put(turn.id, tracked);
        for id in self.files.shown(key.life) {
            self.files.update(id, |tracked| tracked.next_try = Some(turn.now));
        }
    }

    /// Another copy of a presence packet that was shown. Each engine that reads the folder finds copies in an order of its own: if each
    /// removed all but its first one, nothing might be left. So one goes only if a copy of an earlier name stays in the same folder, which
    /// is one that they all read, and none goes for a file of which nothing was verified.
    pub(crate) fn shown_again(&mut self, turn: &Turn<'_, '_>, mut tracked: Tracked, key: PacketKey) {
        let shown = self.files.shown(key.life);
        let copies = shown.into_iter().filter_map(|id| self.files.get(id)).filter(|other| other.state.shows(&key));
        let is_earlier = |other: &Tracked| split(&other.path).0 == split(&tracked.path).0 && other.path <= tracked.path;
        let (count, earlier) =
            copies.fold((0, false), |(count, earlier), other| (count + 1, earlier || is_earlier(other)));
        if earlier || count >= COPIES_MAX || self.memory.presence_superseded(&key) {
            return self.dispose(turn.id, tracked, turn.now);
        }
        tracked.state = State::Shown(key);
        tracked.next_try = Some(tracked.first_seen.saturating_add(self.options.mpl));
        self.files.put(turn.id, tracked);
    }

    /// A closed partial file that did not grow: worth work only if its first missing frame verifies.
    fn recheck(
        &mut self,
        turn: &mut Turn<'_, '_>,
        mut tracked: Tracked,
        mut open: Box<Open>,
        file: &dyn ReadFile,
    ) -> bool {
        match self.pass(turn, &mut open, file, Reach::FirstMissing) {
            Ok(pass) if pass.verified > 0 => return self.after_pass(turn, tracked, open, &pass, file.len()),
            Ok(_) => self.put_closed_partial(turn, tracked, open.key),
            Err(error) => {
                tracked.state = State::Closed { key: open.key, recoverable: true };
                self.cannot_open(turn, tracked, &error);
            }
        }
        false
    }

    /// Reads the frames that can be read. True if the same file has more to do at once.
    pub(crate) fn read_frames(
        &mut self,
        turn: &mut Turn<'_, '_>,
        mut tracked: Tracked,
        mut open: Box<Open>,
        file: &dyn ReadFile,
    ) -> bool {
        match self.memory.get(&open.key).map(|packet| packet.status) {
            None => {
                self.memory.enter(&open.header, Status::Open, file.len());
            }
            Some(Status::Open | Status::Partial) => {}
            Some(Status::Complete | Status::Unopenable | Status::Ignored | Status::Presence) => {
                // Closed through another copy meanwhile.
                self.counters.count(Reject::PnClosed);
                self.counters.duplicates += 1;
                self.dispose(turn.id, tracked, turn.now);
                return false;
            }
        }
        let last_chance = turn.now >= tracked.changed_at.saturating_add(self.quiet.time());
        let reach = if last_chance { Reach::AllMissing } else { Reach::Likely };
        match self.pass(turn, &mut open, file, reach) {
            Ok(pass) => self.after_pass(turn, tracked, open, &pass, file.len()),
            Err(error) => {
                tracked.state = State::Open(open);
                self.cannot_open(turn, tracked, &error);
                false
            }
        }
    }

    fn pass(
        &mut self,
        turn: &mut Turn<'_, '_>,
        open: &mut Open,
        file: &dyn ReadFile,
        reach: Reach,
    ) -> io::Result<Pass> {
        let key = open.key;
        let Some(packet) = self.memory.get_mut(&key) else {
            return Ok(Pass::default());
        };
        packet.longest = packet.longest.max(file.len());
        let id = turn.id;
        let sink = &mut *turn.sink;
        let mut hand_over = |index, records| {
            let _ = sink(Arrival::Frame {
                file: id,
                recipient: key.life.recipient,
                sender: key.life.sender,
                sender_incarnation: key.life.incarnation,
                pn: key.pn,
                index,
                records,
            });
        };
        let pass = pass(open, &mut packet.frames, file, self.options.max_frame, reach, &mut hand_over)?;
        self.counters.bytes_read += pass.read;
        self.counters.frames += pass.handed_over;
        self.counters.records += pass.records;
        self.counters.frame_bytes += pass.frame_bytes;
        for reject in &pass.skipped {
            self.counters.count(*reject);
            self.counters.bad_frames += u64::from(*reject != Reject::FrameKind);
        }
        self.progress += u64::from(pass.verified);
        Ok(pass)
    }

    /// What follows from a pass: the packet is finished, or there is more to read, or it has to be waited for.
    fn after_pass(
        &mut self,
        turn: &mut Turn<'_, '_>,
        mut tracked: Tracked,
        mut open: Box<Open>,
        pass: &Pass,
        len: u64,
    ) -> bool {
        if pass.verified > 0 {
            self.note_progress(&mut tracked, &mut open, turn.now);
        }
        let Some(packet) = self.memory.get(&open.key) else {
            self.files.forget(turn.id, &tracked); // it will be found again
            return false;
        };
        let quiet_at = tracked.changed_at.saturating_add(self.quiet.time());
        let cut = mutated(Mutation::TruncationInverted);
        if packet.frames.all_finished() || cut {
            let closure = if packet.frames.none_spoiled() || cut { Closure::Complete } else { Closure::Partial };
            self.memory.enter(&open.header, Status::Complete, 0);
            tracked.state = State::Closed { key: open.key, recoverable: false };
            tracked.next_try = Some(tracked.first_seen.saturating_add(self.options.mpl));
            self.files.put(turn.id, tracked);
            self.close(turn, &open.key, closure);
        } else if pass.interrupted {
            tracked.next_try = Some(turn.now);
            tracked.state = State::Open(open);
            self.files.put(turn.id, tracked);
            return true;
        } else if turn.now < quiet_at {
            tracked.back_off(turn.now, self.quiet.time(), Some(quiet_at));
            tracked.state = State::Open(open);
            self.files.put(turn.id, tracked);
        } else {
            self.put_closed_partial(turn, tracked, open.key);
            // A file that was closed and only grew has nothing new to tell.
            if !open.reopened {
                self.count_missing(&open, pass, len);
                self.memory.enter(&open.header, Status::Partial, 0);
                self.close(turn, &open.key, Closure::Partial);
            }
        }
        false
    }

    fn note_progress(&mut self, tracked: &mut Tracked, open: &mut Open, now: Duration) {
        let gap = now.saturating_sub(tracked.changed_at);
        if std::mem::take(&mut open.reopened) {
            self.counters.reopened += 1;
            self.memory.enter(&open.header, Status::Open, 0);
            tracked.gave_up |= !gap.is_zero();
        } else {
            tracked.gap = tracked.gap.max(gap);
        }
        self.teach(tracked);
        tracked.changed_at = now;
        tracked.pause = RETRY_MIN;
    }

    fn put_closed_partial(&mut self, turn: &Turn<'_, '_>, mut tracked: Tracked, key: PacketKey) {
        tracked.state = State::Closed { key, recoverable: true };
        tracked.back_off_recheck(turn.now, self.quiet.time());
        self.files.put(turn.id, tracked);
    }

    /// Counts the frames a packet is closed without: those that are whole in the file are bad, the others cut.
    fn count_missing(&mut self, open: &Open, pass: &Pass, len: u64) {
        let Some(packet) = self.memory.get(&open.key) else { return };
        let (mut bad, mut cut) = (0u64, 0u64);
        let mut from = 0;
        while let Some(index) = packet.frames.first_missing(from) {
            from = index + 1;
            if open.table.end_of(index).is_some_and(|end| end <= len) { bad += 1 } else { cut += 1 }
        }
        self.counters.bad_frames += bad;
        let reject = pass.failed.unwrap_or(Reject::FrameDigest);
        self.counters.count_many(reject, bad);
        self.counters.count_many(Reject::FrameCut, cut);
        self.counters.count_cut(len, open.header.total_len);
    }
}
