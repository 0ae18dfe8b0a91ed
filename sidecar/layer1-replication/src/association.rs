//! Which packets count: HELLO, ECHO and RESET (wire format §10).
//!
//! Invariants: an incarnation is confirmed only by echoing a nonce that serves one confirmation; nothing but HELLO, ECHO and what stands beside
//! them is read from one that is not; a closed life never comes back; a stranger costs bounded memory and never disturbs the confirmed
//! pair. It keeps no log: the glue closes and opens those. Test to read first: `peer::tests::contact::one_side_may_start_alone`.

use crate::config::Ids;
use crate::limits;
use crate::mutation::{Mutation, mutated};
use crate::time::Timestamp;
use alloc::vec::Vec;
use wire::control::ResetReason;
use wire::kmac::kmac256;
use wire::limits::CLOSED_INCARNATIONS_KEPT;
use wire::{Control, Header, Incarnation};

type Nonce = [u8; 16];

/// What a verified packet is to the association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Everything counts.
    Member,
    /// The sender is alive: open an association with it, then everything counts.
    Confirms(Incarnation),
    /// The confirmed life of the peer asks for a first contact: answer it, if there was none yet.
    AsksAgain,
    /// The confirmed life of the peer took part before, and asks for a first contact: it forgot me.
    Forgot,
    /// Not confirmed, but for this life of mine: its file waits.
    StrangerToMe,
    /// Not confirmed.
    Stranger,
    /// A life that is over, or a packet that says nothing to this life.
    Nothing,
}

/// An incarnation that talks without being confirmed.
#[derive(Clone, Debug)]
struct Candidate {
    incarnation: Incarnation,
    newest: Newest,
    answered: Option<Timestamp>,
    due: bool,
}

/// The newest packet of an incarnation, and the HELLO it carried.
#[derive(Clone, Copy, Debug, Default)]
struct Newest {
    pn: u64,
    hello: Option<Nonce>,
}

impl Newest {
    const fn note(&mut self, pn: u64, hello: Option<Nonce>) {
        if pn >= self.pn {
            *self = Self { pn, hello };
        }
    }
}

/// Beside which incarnation an answer goes, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) to: Incarnation,
    pub(crate) hello: Option<Nonce>,
    pub(crate) echo: Option<Nonce>,
    pub(crate) reset: Option<ResetReason>,
}

/// Who the peer is at present.
#[derive(Clone, Debug)]
pub(crate) struct Association {
    secret: [u8; 32],
    peer: wire::EndpointId,
    mine: Incarnation,
    confirmed: Option<Incarnation>,
    /// Its entry is durable: it may be acted on.
    pub(crate) durable: bool,
    confirmations: u64,
    closed: Vec<Incarnation>,
    nonce: Nonce,
    newest: Newest,
    /// Highest packet number of the confirmed life that took part in the association.
    pub(crate) took_part: u64,
    candidates: Vec<Candidate>,
    /// The last packet of one that is not confirmed was newer than all before.
    anew: bool,
    reset_due: Option<(Incarnation, ResetReason)>,
    reset_at: Option<Timestamp>,
}

impl Association {
    pub(crate) fn new(ids: &Ids) -> Self {
        let mut association = Self {
            secret: ids.nonce_secret,
            peer: ids.peer,
            mine: ids.my_incarnation,
            confirmed: None,
            durable: false,
            confirmations: 0,
            closed: Vec::new(),
            nonce: [0; 16],
            newest: Newest::default(),
            took_part: 0,
            candidates: Vec::new(),
            anew: false,
            reset_due: None,
            reset_at: None,
        };
        association.renew_nonce();
        association
    }

    fn renew_nonce(&mut self) {
        kmac256(
            &self.secret,
            &[self.peer.as_bytes(), &self.confirmations.to_le_bytes()],
            b"hoft1 nonce",
            &mut self.nonce,
        );
    }

    /// The confirmed incarnation of the peer.
    pub(crate) const fn confirmed(&self) -> Option<Incarnation> {
        self.confirmed
    }

    pub(crate) const fn confirmations(&self) -> u64 {
        self.confirmations
    }

    /// Lives of the peer that are over, oldest first.
    pub(crate) fn closed(&self) -> &[Incarnation] {
        &self.closed
    }

    /// Judges a verified packet, and remembers what it asks for.
    pub(crate) fn judge(&mut self, now: Timestamp, header: &Header, control: &Control) -> Judgement {
        let (sender, pn) = (header.sender_incarnation, header.pn.get());
        let to_me = header.recipient_incarnation == self.mine || mutated(Mutation::RecipientUnchecked);
        if sender.is_unknown() || self.is_over(&sender) {
            self.refuse(now, sender, ResetReason::Superseded);
            return Judgement::Nothing;
        }
        if self.confirmed == Some(sender) {
            return self.judge_confirmed(header, control, to_me);
        }
        let echoed = if mutated(Mutation::ClosedLifeAccepted) { control.echo } else { Some(self.nonce) };
        if to_me && control.echo.is_some() && control.echo == echoed {
            return Judgement::Confirms(sender);
        }
        self.remember(sender, pn, control.hello);
        if to_me { Judgement::StrangerToMe } else { Judgement::Stranger }
    }

    fn judge_confirmed(&mut self, header: &Header, control: &Control, to_me: bool) -> Judgement {
        let pn = header.pn.get();
        let asks = control.hello.is_some();
        if asks && self.took_part > 0 {
            // A late packet from before it confirmed me has a lower number. One that names another life of mine answers that one.
            let about_me = to_me || header.recipient_incarnation.is_unknown();
            if about_me && pn > self.took_part {
                return Judgement::Forgot;
            }
        }
        if to_me {
            self.newest.note(pn, control.hello);
            if control.log.is_some() || control.ack.is_some() {
                self.took_part = self.took_part.max(pn);
            }
            return Judgement::Member;
        }
        if asks && self.took_part == 0 {
            self.newest.note(pn, control.hello);
            return Judgement::AsksAgain;
        }
        Judgement::Nothing
    }

    fn is_over(&self, sender: &Incarnation) -> bool {
        let older = |confirmed: &Incarnation| {
            sender.generation != 0 && confirmed.generation != 0 && sender.generation < confirmed.generation
        };
        !mutated(Mutation::ClosedLifeAccepted)
            && (self.closed.contains(sender) || self.confirmed.as_ref().is_some_and(older))
    }

    /// A life of the peer is told that it does not count; one RESET at a time.
    pub(crate) fn refuse(&mut self, now: Timestamp, sender: Incarnation, reason: ResetReason) {
        if !sender.is_unknown() && self.reset_at.is_none_or(|at| now.since(at) >= limits::RESET_INTERVAL) {
            self.reset_due = Some((sender, reason));
            self.reset_at = Some(now);
        }
    }

    fn remember(&mut self, incarnation: Incarnation, pn: u64, hello: Option<Nonce>) {
        let found = self.candidates.iter().position(|candidate| candidate.incarnation == incarnation);
        let mut candidate = match found {
            Some(index) => self.candidates.remove(index),
            None => Candidate { incarnation, newest: Newest::default(), answered: None, due: false },
        };
        // A packet that waits is presented again and again; only a newer one asks again.
        self.anew = found.is_none() || pn > candidate.newest.pn;
        candidate.due |= self.anew;
        candidate.newest.note(pn, hello);
        if self.candidates.len() >= limits::CANDIDATES_MAX {
            self.candidates.remove(0);
        }
        self.candidates.push(candidate);
    }

    /// Whether the packet of an unconfirmed life that was judged last had not been seen.
    pub(crate) const fn heard_anew(&self) -> bool {
        self.anew
    }

    /// Opens an association with `peer`, which the caller makes durable. The one before is over.
    pub(crate) fn open(&mut self, peer: Incarnation, confirmations: u64) {
        if let Some(old) = self.confirmed.replace(peer).filter(|old| *old != peer) {
            self.close_life(old);
        }
        self.confirmations = confirmations;
        self.durable = false;
        self.took_part = 0;
        self.newest = Newest::default();
        self.candidates.retain(|candidate| candidate.incarnation != peer);
        self.renew_nonce();
    }

    fn close_life(&mut self, old: Incarnation) {
        self.closed.push(old);
        if self.closed.len() > CLOSED_INCARNATIONS_KEPT {
            self.closed.remove(0);
        }
    }

    /// My incarnation is another one than the association's: it ends on this side, and the peer's life may be confirmed again.
    pub(crate) fn dissociate(&mut self) {
        self.confirmed = None;
        self.durable = false;
        self.newest = Newest::default();
        self.took_part = 0;
    }

    /// From a checkpoint.
    pub(crate) fn restore(&mut self, confirmed: Option<Incarnation>, confirmations: u64, closed: Vec<Incarnation>) {
        self.confirmed = confirmed;
        self.confirmations = confirmations;
        self.closed = closed;
        self.durable = true;
        self.renew_nonce();
    }

    /// The ECHO of packets to the confirmed life.
    pub(crate) const fn echo(&self) -> Option<Nonce> {
        self.newest.hello
    }

    /// When the next put-off answer may go.
    pub(crate) fn next_answer(&self) -> Option<Timestamp> {
        let due = self.candidates.iter().filter(|candidate| candidate.due);
        due.map(|candidate| candidate.answered.map_or(Timestamp::ZERO, |at| at.after(limits::ANSWER_INTERVAL))).min()
    }

    /// The next answer to somebody who is not confirmed.
    pub(crate) fn answer(&mut self, now: Timestamp) -> Option<Answer> {
        if let Some((to, reason)) = self.reset_due.take() {
            return Some(Answer { to, hello: None, echo: None, reset: Some(reason) });
        }
        let ready =
            |candidate: &Candidate| candidate.answered.is_none_or(|at| now.since(at) >= limits::ANSWER_INTERVAL);
        let candidate = self.candidates.iter_mut().find(|candidate| candidate.due && ready(candidate))?;
        candidate.due = false;
        candidate.answered = Some(now);
        Some(Answer { to: candidate.incarnation, hello: Some(self.nonce), echo: candidate.newest.hello, reset: None })
    }

    /// First contact of my own accord, while nobody is confirmed: to who spoke last, or to whoever is there.
    pub(crate) fn first_contact(&self) -> Answer {
        let last = self.candidates.last();
        let to = last.map_or(Incarnation::UNKNOWN, |candidate| candidate.incarnation);
        Answer { to, hello: Some(self.nonce), echo: last.and_then(|candidate| candidate.newest.hello), reset: None }
    }

    /// Whether a RESET that was read is about this life of mine.
    pub(crate) fn is_about_me(&self, header: &Header) -> bool {
        header.recipient_incarnation == self.mine
    }
}
