//! Which packets count: two endpoints that find each other, lose their state, are cloned, and hear packets of every life replayed.
//!
//! **State.** On each side one engine, or two after a clone: its life (incarnation), the confirmed life of the peer, its present nonce, the
//! closed lives, the highest packet number of the peer that took part, whether it is halted; every packet ever sent. Lives are numbered in
//! the order of their birth; *fenced* means that the number is known as generation, else generations are 0.
//! **Actions.** An engine reads any packet ever sent to its side, any number of times. Faults: all state is lost (a new life), memory is lost
//! (a crash), a clone starts, the peer's record is forgotten by a sweep, the peer claims a fork, the disk is reverted in place.
//! What an engine would send or answer without changing its state counts as sent at once, for each packet it could be reading.
//! **Rules** (wire.md §10): 1 to 4, Forgot, RESET(superseded) and RESET(forked), closed lives, generations. [`Mend`] has what is proposed.
//! **Properties.** S16 whoever is confirmed lived after the nonce was made, no closed life comes back, and no older one after a younger
//! (with clones: if fenced); without sweeps, a pair is opened once (wire.md: "a pair never gets chain_0
//! twice"), and neither if one side sweeps and the other took part and did not crash; without sweeps, a mutual pair is
//! left only by a fault; lives are finite; L3 from every state, without further faults, both sides can confirm each other (with clones: or one is
//! told that it is superseded).
//! **Bounds and size**: `tests/model/association.rs`: up to two losses a side with crashes, a clone, sweeps and fork claims; 255 to 70,000 states a
//! search, 830,000 in the long form.
//! **Abstracted away.** Signatures (nobody forges); the packet numbers within one step of an engine; the rate of answers and the memory of the
//! newest HELLO (an engine may echo any HELLO that it hears: more than the rules allow); the bound of 16 closed lives; packets that wait.
//! "No packet of an old pair counts in a new one" follows here from S16 and from opening each pair once: a packet names both lives.
//!
//! # Findings in the rules as they are written
//! 1. *Forgot fires for HELLOs to others.* "HELLO from a confirmed incarnation above a pn that carried A-scope TLVs: it forgot me" does not
//!    say whose HELLO. b1 and a2 are confirmed. A late packet of a1, whom b1 never confirmed, makes b1 answer HELLO beside, to a1. a2
//!    reads it (rule 4 reads HELLO whatever R is) and takes a life for nothing. Mend: only a HELLO whose recipient is me or unknown. The
//!    engine does that. The model follows the mend; [`Broken::ForgotByAnyHello`] is the text.
//! 2. *A sweep may open a pair twice*, though wire.md says that never happens. a1 and b1 confirm each other; records of a1 reach b1 and are
//!    executed, nothing of b1's half reaches a1. b1 sweeps a1 away; a1's next packet is answered HELLO with the new nonce. No packet of b1
//!    took part at a1, so a1 does not call this forgetting: it echoes, b1 opens (a1, b1) again from seq 1, and a1 sends its records again.
//!    Only b1's memory of operation ids, kept for two packet lifetimes, then stands between them and a second execution; the sweep comes
//!    after three. It also happens if a1 had not confirmed b1 when it was swept away: then packets of b1's
//!    first log count in its second one, until the chains differ. And two that swept each other away meet again as the same pair. Mend ([`Mend::ForgottenLifeStaysClosed`]): a sweep remembers the life
//!    (16 bytes) of an endpoint that is not known to have heard me, and answers it RESET(refused), upon which it takes a new life. Or:
//!    an endpoint that is not known to have heard me is not forgotten.
//! 3. *Unfenced, a clone of a life that was never confirmed unseats a younger one* (it is in no closed list). Known: only the fence tells.
//! 4. *A volume reverted in place, unfenced, repeats its nonces*, so a replayed ECHO of a dead life is confirmed. Known: only the fence tells.
//!
//! The engine differs in: Forgot and the alarms of a rollback halt until a person acts (so L3 holds up to a halt); RESET(forked) is counted
//! and ignored; what took part is remembered lazily, so a crash may forget it (modelled as the crash); generation is always 0.

use stateright::{Model, Property};

mod engine;

pub use engine::{Engine, Packet, Reset};

/// Lives of a side at most; the claims are that this is never reached.
pub const LIVES_MAX: u8 = 6;

/// The rule that is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// One nonce for all confirmations of a life.
    LastingNonce,
    /// Packets that name another life of mine are dropped unread; HELLO goes to the life heard last.
    MismatchIsDropped,
    /// No closed lives are remembered.
    NoClosedLives,
    /// Generations are not compared.
    NoGenerations,
    /// A HELLO to somebody else counts as forgetting, too.
    ForgotByAnyHello,
    /// A HELLO of a confirmed life that took part is just answered.
    NoForgot,
    /// A superseded engine takes a life instead of halting.
    SupersededTakesALife,
    /// RESET(forked) is obeyed whatever life of mine it names, and as often as it is read.
    ForkedForAnybody,
}

/// A change of the rules that is proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mend {
    /// A life that a sweep forgot is closed, and told so.
    ForgottenLifeStaysClosed,
}

/// How much of each fault there is, per side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// Losses of all state.
    pub losses: [u8; 2],
    /// Crashes, which lose the memory of what took part.
    pub crashes: [u8; 2],
    /// Clones.
    pub clones: [u8; 2],
    /// Sweeps that forget the peer.
    pub sweeps: [u8; 2],
    /// Claims of this side that the other is forked.
    pub claims: [u8; 2],
    /// In-place reverts to a snapshot.
    pub reverts: [u8; 2],
}

/// The model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Association {
    /// Bounds of the search.
    pub faults: Faults,
    /// Whether generations are counted outside the volume.
    pub fenced: bool,
    /// The rule that is broken, if one is.
    pub broken: Option<Broken>,
    /// The rule that is mended, if one is.
    pub mend: Option<Mend>,
}

/// One state of the world.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    engines: [Vec<Engine>; 2],
    sent: Vec<Packet>,
    lives: [u8; 2],
    snapshots: [Option<Engine>; 2],
    left: Faults,
    /// What must never be.
    stale: bool,
    older_again: bool,
    closed_again: bool,
    opened_twice: bool,
    rejoined: bool,
    torn: bool,
}

/// What may happen; the side, the engine of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A packet of the other side is read.
    Read(usize, usize, Packet),
    /// All state is lost.
    Lose(usize),
    /// Memory is lost.
    Crash(usize),
    /// A second engine of this life starts.
    Clone(usize),
    /// The peer's record is forgotten; the nonce secret is new.
    Sweep(usize),
    /// This side claims that the other is forked.
    Claim(usize),
    /// The disk is copied.
    Snapshot(usize),
    /// The disk is what it was.
    Revert(usize),
}

impl Action {
    /// Whether it is a fault of the world.
    #[must_use]
    pub const fn is_fault(&self) -> bool {
        !matches!(self, Self::Read(..))
    }
}

impl World {
    /// Whether an engine of each side has confirmed the other, and none of the two is halted.
    #[must_use]
    pub fn is_mutual(&self) -> bool {
        let [ours, theirs] = &self.engines;
        ours.iter().any(|one| theirs.iter().any(|other| one.is_mutual_with(other)))
    }

    /// Whether some engine was told to stop.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.engines.iter().flatten().any(|engine| engine.halted)
    }

    fn running(&self, side: usize) -> u16 {
        self.engines[side].iter().fold(0, |mask, engine| mask | 1 << engine.life)
    }

    fn take_life(&mut self, side: usize, at: usize) {
        self.lives[side] += 1;
        let claims_obeyed = self.engines[side][at].claims_obeyed;
        self.engines[side][at] = Engine { claims_obeyed, ..Engine::new(self.lives[side]) };
        self.engines[side][at].lived = self.running(1 - side);
        self.is_running(side, self.lives[side]);
    }

    /// A life of `side` runs: the other side's nonces were made while it did.
    fn is_running(&mut self, side: usize, life: u8) {
        for engine in &mut self.engines[1 - side] {
            engine.lived |= 1 << life;
        }
    }
}

impl Association {
    /// Everything that engines send or answer without changing is sent.
    fn publish(&self, world: &mut World) {
        let mut sent = std::mem::take(&mut world.sent);
        self.close_over_answers(world, &mut sent);
        world.sent = sent;
    }

    fn close_over_answers(&self, world: &World, sent: &mut Vec<Packet>) {
        for side in 0..2 {
            for packet in world.engines[side].iter().filter_map(|engine| engine.own_packet(side, self.broken)) {
                insert(sent, packet);
            }
        }
        let mut waiting = sent.clone();
        while let Some(packet) = waiting.pop() {
            for engine in &world.engines[1 - packet.from] {
                let mut after = *engine;
                let read = after.read(&packet, self);
                if let Some(answer) = read.answer.filter(|_| after == *engine && !read.takes_life)
                    && insert(sent, answer)
                {
                    waiting.push(answer);
                }
            }
        }
    }

    /// Which actions are faults of the world. Reading what no running engine would send any more is one: it may as well be lost.
    pub fn faults_of(&self, world: &World) -> impl Fn(&Action) -> bool + use<> {
        let mut fresh = Vec::new();
        self.close_over_answers(world, &mut fresh);
        move |action| match action {
            Action::Read(_, _, packet) => fresh.binary_search(packet).is_err(),
            _ => true,
        }
    }

    fn read(&self, world: &mut World, side: usize, at: usize, packet: &Packet) {
        let mut engine = world.engines[side][at];
        let read = engine.read(packet, self);
        if let Some(answer) = read.answer {
            insert(&mut world.sent, answer);
        }
        if let Some(peer) = read.confirmed {
            world.stale |= engine.lived >> peer & 1 == 0;
            world.older_again |= peer < engine.youngest;
            world.closed_again |= engine.was_closed >> peer & 1 == 1;
            world.opened_twice |= engine.opened >> peer & 1 == 1;
            world.rejoined |= engine.settled >> peer & 1 == 1;
            engine.opened |= 1 << peer;
            engine.youngest = engine.youngest.max(peer);
            engine.lived = world.running(1 - side);
        }
        world.engines[side][at] = engine;
        if read.takes_life {
            world.take_life(side, at);
        }
    }

    fn fault(&self, world: &mut World, action: Action) {
        match action {
            Action::Read(..) => {}
            Action::Lose(side) => {
                world.left.losses[side] -= 1;
                world.take_life(side, 0);
            }
            Action::Crash(side) => {
                world.left.crashes[side] -= 1;
                world.engines[side][0].took_part = 0;
            }
            Action::Clone(side) => {
                world.left.clones[side] -= 1;
                let copy = world.engines[side][0];
                world.engines[side].push(copy);
            }
            Action::Sweep(side) => {
                world.left.sweeps[side] -= 1;
                let lived = world.running(1 - side);
                let (me, peer) = (world.engines[side][0].life, world.engines[side][0].peer);
                let took_part = |other: &Engine| other.life == peer && other.peer == me && other.took_part > 0;
                if world.engines[1 - side].iter().any(took_part) {
                    world.engines[side][0].settled |= 1 << peer;
                }
                world.engines[side][0].forget_peer(lived, self.mend);
            }
            Action::Claim(side) => {
                world.left.claims[side] -= 1;
                let claim = world.engines[side][0].claim(side);
                insert(&mut world.sent, claim);
            }
            Action::Snapshot(side) => world.snapshots[side] = Some(world.engines[side][0]),
            Action::Revert(side) => {
                world.left.reverts[side] -= 1;
                if let Some(snapshot) = world.snapshots[side].take() {
                    let now = world.engines[side][0];
                    // What must never be is judged over the whole life, reverted or not.
                    let (youngest, was_closed, lived) = (now.youngest, now.was_closed, now.lived);
                    world.engines[side][0] = Engine { youngest, was_closed, lived, ..snapshot };
                }
            }
        }
    }
}

/// Inserts into a sorted list; false if it was there.
fn insert(set: &mut Vec<Packet>, packet: Packet) -> bool {
    let place = set.binary_search(&packet);
    if let Err(at) = place {
        set.insert(at, packet);
    }
    place.is_err()
}

impl Model for Association {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let engine = Engine { lived: 1 << 1, ..Engine::new(1) };
        let mut world = World {
            engines: [vec![engine], vec![engine]],
            sent: Vec::new(),
            lives: [1, 1],
            snapshots: [None, None],
            left: self.faults,
            stale: false,
            older_again: false,
            closed_again: false,
            opened_twice: false,
            rejoined: false,
            torn: false,
        };
        self.publish(&mut world);
        vec![world]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for side in 0..2 {
            for (at, engine) in world.engines[side].iter().enumerate() {
                for packet in world.sent.iter().filter(|packet| packet.from != side) {
                    let mut after = *engine;
                    let read = after.read(packet, self);
                    if after != *engine || read.takes_life {
                        actions.push(Action::Read(side, at, *packet));
                    }
                }
            }
            let (left, engine) = (&world.left, &world.engines[side][0]);
            let faults = [
                (left.losses[side] > 0, Action::Lose(side)),
                (left.crashes[side] > 0 && engine.took_part > 0, Action::Crash(side)),
                (left.clones[side] > 0, Action::Clone(side)),
                (left.sweeps[side] > 0 && engine.peer != 0, Action::Sweep(side)),
                (left.claims[side] > 0 && engine.peer != 0 && !engine.halted, Action::Claim(side)),
                (left.reverts[side] > 0 && world.snapshots[side].is_none(), Action::Snapshot(side)),
                (left.reverts[side] > 0 && world.snapshots[side].is_some(), Action::Revert(side)),
            ];
            actions.extend(faults.into_iter().filter(|(may, _)| *may).map(|(_, action)| action));
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        match action {
            Action::Read(side, at, packet) => self.read(&mut next, side, at, &packet),
            fault => self.fault(&mut next, fault),
        }
        next.torn |= world.is_mutual() && !next.is_mutual() && !action.is_fault();
        self.publish(&mut next);
        Some(next)
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.lives.iter().all(|lives| *lives <= LIVES_MAX)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let once = |_: &Self, world: &World| !world.opened_twice;
        let mut properties = vec![
            Property::<Self>::always("S16: the confirmed life lived", |_, world: &World| !world.stale),
            Property::<Self>::always("S16: no closed life comes back", |_, world| !world.closed_again),
            Property::<Self>::always("lives are finite", |_, world| world.lives.iter().all(|lives| *lives < LIVES_MAX)),
            Property::<Self>::sometimes("both confirm", |_, world| world.is_mutual()),
        ];
        let faults = &self.faults;
        let cloned = faults.clones != [0; 2];
        if !cloned || self.fenced {
            properties
                .push(Property::<Self>::always("S16: no older life after a younger", |_, world| !world.older_again));
        }
        if !cloned && faults.claims == [0; 2] && faults.sweeps == [0; 2] {
            properties.push(Property::<Self>::always("a pair is left only by a fault", |_, world| !world.torn));
        }
        if faults.crashes == [0; 2] && faults.sweeps.contains(&0) {
            properties.push(Property::<Self>::always("who took part joins once", |_, world| !world.rejoined));
        }
        if faults.sweeps == [0; 2] || self.mend.is_some() {
            properties.push(Property::<Self>::always("a pair is opened once", once));
        }
        if faults.losses != [0; 2] {
            properties.push(Property::<Self>::sometimes("a second life is confirmed", |_, world| {
                world.is_mutual() && world.lives.iter().any(|lives| *lives > 1)
            }));
        }
        if faults.losses.iter().all(|losses| *losses > 0) {
            properties.push(Property::<Self>::sometimes("both reset and find each other", |_, world| {
                world.is_mutual() && world.lives.iter().all(|lives| *lives > 1)
            }));
        }
        if cloned && faults.losses != [0; 2] {
            properties.push(Property::<Self>::sometimes("an engine is superseded", |_, world| world.is_halted()));
        }
        properties
    }
}

/// The pair-opened-once claim of wire.md, for the search that shows where it fails.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsWritten(pub Association);

impl Model for AsWritten {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        self.0.init_states()
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        self.0.actions(world, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        self.0.next_state(world, action)
    }

    fn within_boundary(&self, world: &World) -> bool {
        self.0.within_boundary(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::<Self>::always("a pair is opened once", |_, world: &World| !world.opened_twice),
            Property::<Self>::always("S16: no older life after a younger", |_, world| !world.older_again),
            Property::<Self>::always("S16: the confirmed life lived", |_, world| !world.stale),
        ]
    }
}
