//! Who of the far side executes calls, and which of them a new call goes to (wire format §7 PRESENCE; rendezvous hashing: Thaler and
//! Ravishankar 1998).
//!
//! An endpoint that executes calls says so in packets to the whole side. Such a packet is signed by the side and proves no more than that
//! it was written once: a replayed one names a candidate at most. What makes a server live is a packet of its association heard since this
//! start, for only an ECHO opens one (§10).
//!
//! Invariants: times are of the reader's own clock; a life's word is renewed only by a larger packet number of the same life; the life that
//! was proved is not displaced by the word of another; there are never more than [`SERVERS_MAX`] servers, and one that was proved makes
//! room only once its time is over; the same table, time and key always give the same choice. It sends nothing, opens no association and
//! keeps nothing over a restart. Files: `announcer.rs` my own presence, `rendezvous.rs` the hash. Test to read first:
//! `a_replayed_presence_names_a_candidate_at_most`.

mod announcer;
mod rendezvous;

#[cfg(test)]
mod tests;

pub use announcer::{Announcement, Announcer};
pub use rendezvous::call_key;

use crate::limits::{OTHER_LIVES_MAX, PRESENCE_VALID_MAX, SERVERS_MAX, WEIGHT_MAX};
use crate::time::{Duration, Timestamp};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use wire::control::{EndpointName, Presence};
use wire::{EndpointId, Incarnation};

/// What a server is good for at a moment. Those that may get new calls come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It was heard in an association since this start, and its word or a packet of it is fresh.
    Live,
    /// Its word is fresh; nothing proves yet that it was not written long ago.
    Candidate,
    /// Neither its word nor a packet of it is fresh, or it was asked and did not answer in time.
    Silent,
    /// It wants no new calls.
    Draining,
}

impl Standing {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Live, Self::Candidate, Self::Silent, Self::Draining];

    /// A stable word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Candidate => "candidate",
            Self::Silent => "silent",
            Self::Draining => "draining",
        }
    }

    /// Servers of a lower tier are chosen first.
    const fn tier(self) -> u8 {
        match self {
            Self::Live => 0,
            Self::Candidate => 1,
            Self::Silent => 2,
            Self::Draining => 3,
        }
    }
}

/// What became of a presence packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It is the newest word of that life.
    Taken,
    /// Something as new was known already, or a later life.
    Old,
    /// The table is full of servers whose time is not over.
    NoRoom,
}

/// A presence packet, as it is put to the table. Its signature is good and its ENDPOINT derives to `sender`.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a> {
    /// Who wrote it.
    pub sender: EndpointId,
    /// What the sender is named by.
    pub name: &'a EndpointName,
    /// In which life.
    pub incarnation: Incarnation,
    /// Its packet number, of the space of packets to the side.
    pub pn: u64,
    /// What it says.
    pub presence: &'a Presence,
    /// The life of the sender that was heard in an association since this start.
    pub proved: Option<Incarnation>,
}

/// One server, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatus {
    /// Its endpoint.
    pub endpoint: EndpointId,
    /// What it is named by.
    pub name: EndpointName,
    /// The role bits it announced last.
    pub role: u64,
    /// Its share of new calls.
    pub weight: u64,
    /// How long its word or its last packet still counts.
    pub valid_for: Duration,
    /// What it is good for.
    pub standing: Standing,
    /// The incarnation that this is about.
    pub incarnation: Incarnation,
}

/// What one life of a server said last.
#[derive(Clone, Copy, Debug)]
struct Life {
    incarnation: Incarnation,
    pn: u64,
    role: u64,
    weight: u64,
    /// How long its word counts, and until when it does.
    valid: Duration,
    until: Timestamp,
}

/// One endpoint of the far side that said that it executes calls.
#[derive(Clone, Debug)]
struct Server {
    name: EndpointName,
    /// The life that was heard in an association.
    proved: Option<Life>,
    /// Other lives, the last to be heard of at the end: the next one, or old ones that somebody replays.
    others: Vec<Life>,
    /// Highest packet number of the association, and until when that packet counts.
    heard: (u64, Timestamp),
    /// Since when calls wait for its first sign of life.
    asked: Option<Timestamp>,
}

impl Server {
    /// The life that speaks for it.
    fn life(&self, now: Timestamp) -> Option<&Life> {
        let fresh = |life: &&Life| now < life.until;
        let proved = self.proved.as_ref().filter(|life| fresh(life) || now < self.heard.1);
        let candidate = || self.others.iter().rev().find(fresh);
        proved.or_else(candidate).or(self.proved.as_ref()).or(self.others.last())
    }

    fn lives(&self) -> impl Iterator<Item = &Life> {
        self.proved.iter().chain(&self.others)
    }

    fn until(&self) -> Timestamp {
        self.lives().map(|life| life.until).chain([self.heard.1]).max().unwrap_or(Timestamp::ZERO)
    }

    /// Notes what a life that is not proved said.
    fn note(&mut self, life: Life) {
        self.others.retain(|known| known.incarnation != life.incarnation);
        if self.others.len() >= OTHER_LIVES_MAX {
            self.others.remove(0);
        }
        self.others.push(life);
    }

    /// This life lives; what was known of it as of a candidate counts from here on.
    fn prove(&mut self, incarnation: Incarnation) {
        self.asked = None;
        if self.proved.is_some_and(|life| life.incarnation == incarnation) {
            return;
        }
        let said = self.others.iter().position(|life| life.incarnation == incarnation);
        let said = said.map(|index| self.others.remove(index));
        let before = self.proved.take();
        // A life whose word did not arrive yet executes what the one before did, until its word says otherwise.
        let inherited = before.or(self.others.last().copied());
        self.heard = (0, Timestamp::ZERO);
        self.proved = said.or(inherited.map(|life| Life { incarnation, pn: 0, until: Timestamp::ZERO, ..life }));
        if let Some(before) = before {
            self.note(Life { until: Timestamp::ZERO, ..before });
        }
    }

    fn standing(&self, now: Timestamp, patience: Duration) -> Standing {
        let Some(life) = self.life(now) else { return Standing::Silent };
        let proved = self.proved.is_some_and(|proved| proved.incarnation == life.incarnation);
        let fresh = now < life.until || (proved && now < self.heard.1);
        let unanswered = self.asked.is_some_and(|asked| now >= asked.after(patience));
        if life.role & Presence::ROLE_DRAINING != 0 || life.weight == 0 {
            Standing::Draining
        } else if fresh && proved {
            Standing::Live
        } else if fresh && !unanswered {
            Standing::Candidate
        } else {
            Standing::Silent
        }
    }

    fn executes(&self, now: Timestamp) -> bool {
        self.life(now).is_some_and(|life| life.role & Presence::ROLE_EXECUTES != 0)
    }
}

/// The servers of the far side.
#[derive(Clone, Debug)]
pub struct Members {
    servers: BTreeMap<EndpointId, Server>,
    patience: Duration,
}

impl Members {
    /// Nobody is known. A candidate that does not answer for `patience` gets no more calls before others.
    #[must_use]
    pub const fn new(patience: Duration) -> Self {
        Self { servers: BTreeMap::new(), patience }
    }

    /// A presence packet arrived.
    pub fn announced(&mut self, now: Timestamp, word: &Word<'_>) -> News {
        if !self.servers.contains_key(&word.sender) && !self.make_room(now) {
            return News::NoRoom;
        }
        let server = self.servers.entry(word.sender).or_insert_with(|| Server {
            name: word.name.clone(),
            proved: None,
            others: Vec::new(),
            heard: (0, now),
            asked: None,
        });
        let valid = Duration::from_millis(word.presence.valid_ms).min(PRESENCE_VALID_MAX);
        let life = Life {
            incarnation: word.incarnation,
            pn: word.pn,
            role: word.presence.role,
            weight: word.presence.weight.min(WEIGHT_MAX),
            valid,
            until: now.after(valid),
        };
        if server.lives().any(|known| known.incarnation == word.incarnation && word.pn <= known.pn) {
            return News::Old;
        }
        match server.proved {
            Some(proved) if proved.incarnation == word.incarnation => server.proved = Some(life),
            Some(proved) if is_before(&word.incarnation, &proved.incarnation) => return News::Old,
            Some(_) | None => server.note(life),
        }
        if let Some(proved) = word.proved.filter(|proved| *proved == word.incarnation) {
            server.prove(proved);
        }
        News::Taken
    }

    /// A packet of the association with this life of an endpoint was taken: it lives. One that was overtaken or repeated says nothing new.
    pub fn heard(&mut self, now: Timestamp, endpoint: EndpointId, incarnation: Incarnation, pn: u64) {
        let Some(server) = self.servers.get_mut(&endpoint) else { return };
        server.prove(incarnation);
        if pn > server.heard.0 {
            let valid = server.proved.map_or(Duration::ZERO, |life| life.valid);
            server.heard = (pn, now.after(valid));
        }
    }

    /// Calls wait for a sign of life of this endpoint.
    pub fn asked(&mut self, now: Timestamp, endpoint: EndpointId) {
        let Some(server) = self.servers.get_mut(&endpoint) else { return };
        if server.standing(now, self.patience) == Standing::Candidate {
            server.asked.get_or_insert(now);
        }
    }

    /// The server for new calls with this key, of those that are usable; `None` if no usable one is known. Live ones come first: no call
    /// waits for a handshake, or for somebody whom a replay names, while one of them is there. Then come candidates, those that are silent,
    /// and last those that want no calls: an outage that silences all of them moves nothing.
    #[must_use]
    pub fn choose(&self, now: Timestamp, key: u64, usable: impl Fn(&EndpointId) -> bool) -> Option<EndpointId> {
        let known = self.servers.iter().filter(|(endpoint, server)| server.executes(now) && usable(endpoint));
        let ranked = known.filter_map(|(endpoint, server)| {
            let weight = server.life(now)?.weight;
            let tier = server.standing(now, self.patience).tier();
            Some((tier, rendezvous::rank(key, endpoint, weight), *endpoint))
        });
        ranked.min().map(|(_, _, endpoint)| endpoint)
    }

    /// A candidate that would be chosen for this key if it were live: it should be asked for a sign of life.
    #[must_use]
    pub fn wanted(&self, now: Timestamp, key: u64, usable: impl Fn(&EndpointId) -> bool) -> Option<EndpointId> {
        let standing = |endpoint: &EndpointId| self.standing(now, endpoint);
        let there = |endpoint: &EndpointId| matches!(standing(endpoint), Some(Standing::Live | Standing::Candidate));
        let known = self.servers.iter().filter(|(endpoint, _)| there(endpoint) && usable(endpoint));
        let ranked = known.filter_map(|(endpoint, server)| {
            Some((rendezvous::rank(key, endpoint, server.life(now)?.weight), *endpoint))
        });
        let best = ranked.min().map(|(_, endpoint)| endpoint);
        best.filter(|endpoint| standing(endpoint) == Some(Standing::Candidate))
    }

    /// What an endpoint is good for; `None` if it never said that it executes calls.
    #[must_use]
    pub fn standing(&self, now: Timestamp, endpoint: &EndpointId) -> Option<Standing> {
        let server = self.servers.get(endpoint).filter(|server| server.executes(now))?;
        Some(server.standing(now, self.patience))
    }

    /// Whether the word of an endpoint, or a packet of it, still counts: it is there, whatever it wants.
    #[must_use]
    pub fn is_there(&self, now: Timestamp, endpoint: &EndpointId) -> bool {
        self.servers.get(endpoint).is_some_and(|server| server.until() > now)
    }

    /// When the standing of a server changes next by the mere passing of time.
    #[must_use]
    pub fn poll_timeout(&self, now: Timestamp) -> Option<Timestamp> {
        let ends = |server: &Server| [Some(server.until()), server.asked.map(|asked| asked.after(self.patience))];
        self.servers.values().flat_map(ends).flatten().filter(|at| *at > now).min()
    }

    /// An endpoint is forgotten.
    pub fn forget(&mut self, endpoint: &EndpointId) {
        self.servers.remove(endpoint);
    }

    /// Forgets those that were silent for so long.
    pub fn forget_silent(&mut self, now: Timestamp, silence: Duration) {
        self.servers.retain(|_, server| now.since(server.until()) < silence);
    }

    /// All of them.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> Vec<ServerStatus> {
        let shown = self.servers.iter().filter_map(|(endpoint, server)| {
            let life = server.life(now)?;
            Some(ServerStatus {
                endpoint: *endpoint,
                name: server.name.clone(),
                role: life.role,
                weight: life.weight,
                valid_for: server.until().since(now),
                standing: server.standing(now, self.patience),
                incarnation: life.incarnation,
            })
        });
        shown.collect()
    }

    /// Whether there is room for another server; one whose time is over makes some, unproved ones first.
    fn make_room(&mut self, now: Timestamp) -> bool {
        if self.servers.len() < SERVERS_MAX {
            return true;
        }
        let over = self.servers.iter().filter(|(_, server)| server.until() <= now);
        let oldest = over.min_by_key(|(endpoint, server)| (server.proved.is_some(), server.until(), **endpoint));
        let oldest = oldest.map(|(endpoint, _)| *endpoint);
        oldest.is_some_and(|oldest| self.servers.remove(&oldest).is_some())
    }
}

/// Whether a life is over because a later one exists: only generations tell.
const fn is_before(this: &Incarnation, other: &Incarnation) -> bool {
    this.generation != 0 && other.generation != 0 && this.generation < other.generation
}
