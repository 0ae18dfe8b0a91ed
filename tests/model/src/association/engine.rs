//! One engine of the association model: what a packet is to it, what it becomes, what it answers.
//!
//! Invariant: everything the rules look at is here; the fields from `lived` on are only looked at by properties.

use super::{Association, Broken, Mend};

/// What a RESET says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reset {
    /// Another life of you is confirmed.
    Superseded,
    /// Two of you are writing.
    Forked,
    /// This life of yours was forgotten here.
    Refused,
}

/// A packet. `s` and `r` are the lives it names (0 = unknown); a nonce is the life that made it and a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Packet {
    pub(super) from: usize,
    s: u8,
    r: u8,
    pn: u8,
    hello: Option<u8>,
    echo: Option<(u8, u8)>,
    /// It carries A-scope values.
    member: bool,
    reset: Option<Reset>,
}

/// An engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Engine {
    /// Its incarnation.
    pub life: u8,
    /// The confirmed life of the peer; 0 = none.
    pub(super) peer: u8,
    pub(super) nonce: u8,
    pub(super) closed: u16,
    pub(super) took_part: u8,
    /// Lives that a sweep forgot, where the rules are mended to remember that.
    pub(super) forgotten: u16,
    pub(super) step: u8,
    pub(super) halted: bool,
    pub(super) claims_obeyed: bool,
    /// The peer's life heard last; only kept where a broken rule looks at it.
    pub(super) heard: u8,
    /// Lives of the peer that ran since my nonce was made.
    pub(super) lived: u16,
    pub(super) youngest: u8,
    pub(super) was_closed: u16,
    pub(super) opened: u16,
    /// Lives that had taken part when they were forgotten.
    pub(super) settled: u16,
}

/// What came of reading a packet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Read {
    pub(super) answer: Option<Packet>,
    pub(super) confirmed: Option<u8>,
    pub(super) takes_life: bool,
}

impl Engine {
    pub(super) const fn new(life: u8) -> Self {
        Self {
            life,
            peer: 0,
            nonce: 0,
            closed: 0,
            took_part: 0,
            forgotten: 0,
            step: 0,
            halted: false,
            claims_obeyed: false,
            heard: 0,
            lived: 0,
            youngest: 0,
            was_closed: 0,
            opened: 0,
            settled: 0,
        }
    }

    pub(super) const fn is_mutual_with(&self, other: &Self) -> bool {
        self.peer == other.life && other.peer == self.life && !self.halted && !other.halted
    }

    /// What it sends of its own accord: HELLO, or its half of the association.
    pub(super) fn own_packet(&self, side: usize, broken: Option<Broken>) -> Option<Packet> {
        let known = if broken == Some(Broken::MismatchIsDropped) { self.heard } else { 0 };
        match self.peer {
            _ if self.halted => None,
            0 => Some(self.answer_to(side, known, None)),
            _ => Some(self.member(side, None)),
        }
    }

    /// A packet to somebody who is not confirmed. Its number is above those of its members up to now.
    const fn answer_to(&self, side: usize, r: u8, theirs: Option<u8>) -> Packet {
        let echo = match theirs {
            Some(nonce) => Some((r, nonce)),
            None => None,
        };
        let pn = 2 * self.step + 1;
        Packet { from: side, s: self.life, r, pn, hello: Some(self.nonce), echo, member: false, reset: None }
    }

    fn member(&self, side: usize, theirs: Option<u8>) -> Packet {
        let echo = theirs.map(|nonce| (self.peer, nonce));
        let pn = 2 * self.step;
        Packet { from: side, s: self.life, r: self.peer, pn, hello: None, echo, member: true, reset: None }
    }

    pub(super) const fn claim(&self, side: usize) -> Packet {
        let pn = 2 * self.step;
        let reset = Some(Reset::Forked);
        Packet { from: side, s: self.life, r: self.peer, pn, hello: None, echo: None, member: true, reset }
    }

    pub(super) fn forget_peer(&mut self, lived: u16, mend: Option<Mend>) {
        if mend == Some(Mend::ForgottenLifeStaysClosed) {
            self.forgotten |= 1 << self.peer;
        }
        (self.peer, self.closed, self.took_part) = (0, 0, 0);
        (self.nonce, self.step, self.lived) = (self.nonce + 1, self.step + 1, lived);
    }

    pub(super) fn read(&mut self, packet: &Packet, rules: &Association) -> Read {
        let broken = rules.broken;
        let to_me = packet.r == self.life;
        let side = 1 - packet.from;
        if broken == Some(Broken::MismatchIsDropped) && !to_me && packet.r != 0 {
            return Read::default();
        }
        if to_me && packet.reset == Some(Reset::Refused) {
            // Whoever says so: two that forgot each other would otherwise refuse each other for ever.
            return Read { takes_life: true, ..Read::default() };
        }
        let generations = rules.fenced && broken != Some(Broken::NoGenerations);
        let older = generations && packet.s < self.peer;
        let forgotten = self.forgotten >> packet.s & 1 == 1;
        if older || forgotten || self.closed >> packet.s & 1 == 1 {
            let reset = Some(if forgotten { Reset::Refused } else { Reset::Superseded });
            let told = Packet { hello: None, reset, ..self.answer_to(side, packet.s, None) };
            return Read { answer: (!self.halted).then_some(told), ..Read::default() };
        }
        if let Some(read) = self.read_reset(packet, to_me, broken) {
            return read;
        }
        if packet.s == self.peer {
            return self.read_confirmed(packet, to_me, rules);
        }
        if to_me && packet.echo == Some((self.life, self.nonce)) && !self.halted {
            self.confirm(packet.s, broken);
            let read = self.read_confirmed(packet, to_me, rules);
            return Read { confirmed: Some(packet.s), ..read };
        }
        if broken == Some(Broken::MismatchIsDropped) {
            self.heard = packet.s;
        }
        let answer = (!self.halted).then(|| self.answer_to(side, packet.s, packet.hello));
        Read { answer, ..Read::default() }
    }

    fn read_reset(&mut self, packet: &Packet, to_me: bool, broken: Option<Broken>) -> Option<Read> {
        let takes_life = Some(Read { takes_life: true, ..Read::default() });
        match packet.reset? {
            Reset::Superseded if to_me && broken == Some(Broken::SupersededTakesALife) => takes_life,
            Reset::Superseded if to_me => {
                self.halted = true;
                Some(Read::default())
            }
            Reset::Forked if broken == Some(Broken::ForkedForAnybody) => takes_life,
            Reset::Forked if to_me && packet.s == self.peer && !self.halted => {
                if std::mem::replace(&mut self.claims_obeyed, true) {
                    // A second claim on one peer's word halts that pair.
                    self.halted = true;
                    return Some(Read::default());
                }
                takes_life
            }
            _ => None,
        }
    }

    fn confirm(&mut self, peer: u8, broken: Option<Broken>) {
        if self.peer != 0 {
            self.was_closed |= 1 << self.peer;
            if broken != Some(Broken::NoClosedLives) {
                self.closed |= 1 << self.peer;
            }
        }
        (self.peer, self.took_part) = (peer, 0);
        self.step += 1;
        if broken != Some(Broken::LastingNonce) {
            self.nonce += 1;
        }
    }

    /// A packet of the confirmed life.
    fn read_confirmed(&mut self, packet: &Packet, to_me: bool, rules: &Association) -> Read {
        let side = 1 - packet.from;
        let about_me = to_me || packet.r == 0 || rules.broken == Some(Broken::ForgotByAnyHello);
        let forgot = packet.hello.is_some() && about_me && self.took_part > 0 && packet.pn > self.took_part;
        if forgot && !self.halted && rules.broken != Some(Broken::NoForgot) {
            return Read { takes_life: true, ..Read::default() };
        }
        if to_me && packet.member {
            self.took_part = self.took_part.max(packet.pn);
        }
        let asks = packet.hello.filter(|_| to_me || self.took_part == 0 || rules.broken == Some(Broken::NoForgot));
        let answer = asks.filter(|_| !self.halted).map(|nonce| self.member(side, Some(nonce)));
        Read { answer, ..Read::default() }
    }
}
