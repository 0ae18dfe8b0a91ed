//! Presence tickets, and endpoints that are forgotten: what a server still refuses when it no longer knows somebody.
//!
//! **State.** A server: its life, the number of its newest ticket, the secret its nonces come from, the caller's record if it holds one (its life,
//! whether its call was taken, when it was heard), the memory of operation ids. A caller: its life, where its one call (not harmless) was
//! sent. Every packet and every presence ever sent. Time is counted in days; a ticket's life is a day, an MPL is one, too.
//! **Actions.** A day passes; the ticket changes (each day, or late if that is modelled); the caller sends its call by a ticket of any presence ever
//! published, or with the ECHO of any HELLO it was answered; the server reads any packet ever sent, any number of times (where the memory of
//! ids is modelled, for one MPL: who holds a packet back for longer defeats that memory, though neither nonces nor tickets); it sweeps an
//! endpoint that was silent for long enough. Faults: either side loses its state.
//! **Rules** (wire.md §10): an ECHO may be the current or the previous ticket, if the packet names my life and I hold no record of its endpoint;
//! records are kept two ticket lives after the last packet that counted, and three MPL; a sweep makes a new nonce secret; ids are kept two
//! MPL; a call that was sent to one life of the server is never sent to another; a call lives no longer than [`Tickets::lifetime`].
//! **Properties.** No call is executed twice; S16 no stale life of the caller is confirmed after a younger one. Each of the two lines of
//! defence alone: the ticket rules without the memory of ids, where the caller repeats nothing under a nonce; and both together.
//! **Bounds and size**: `tests/model/tickets.rs`: seven days, up to two lives a side.
//! **Abstracted away.** Weights and choice of servers; loads and quotas; signatures; the caller's side of the confirmation (`association`); Forgot,
//! because here the caller heard nothing of the server: the worst case.
//!
//! # Findings
//! 8. *"Two ticket lives" must be counted in tickets.* If the ticket changes late (the engine was down or suspended over the change) and records are aged
//!    by the clock, a record goes while a ticket older than it is still the previous one, and the ticketed packet is executed again. Mend:
//!    a record is kept until two changes of the ticket after it was last heard ([`Broken::AgedByClock`] is the text as it may be read).
//! 9. *A table that makes room forgets too early.* The engine forgets silent endpoints before their time when its table is full. Without tickets that is
//!    sound; with them a replayed ticketed packet is executed again. Mend ([`Tickets::tickets_follow_secret`]): tickets are made of the nonce
//!    secret that each sweep replaces, so that a sweep voids the tickets that are out.
//! 10. *A call that outlives the memory of ids is executed twice* if its caller never heard the server and is swept away: the same records come again in the
//!     same pair (finding 2 of `association`). Mend: the lifetime of a call that is not harmless is at most the time ids are kept, less one MPL;
//!     or the mend of finding 2. The engine has no lifetime of calls.
//!
//! Tickets and presence are not implemented in the engine, so 8 and 9 are for who writes them.

use stateright::{Model, Property};

const DAYS_MAX: u8 = 7;

/// The rule that is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Records are kept one ticket life only.
    KeptOneLife,
    /// Records are aged in days, though the ticket may change late.
    AgedByClock,
    /// A full table forgets at any time.
    ForgottenForRoom,
    /// A ticket counts though a record is held.
    TicketDespiteRecord,
    /// A ticket counts whatever life of the server it names.
    TicketOfAnyLife,
    /// The three last tickets count.
    OldTickets,
    /// After a sweep the nonces stay what they were.
    NonceSurvives,
    /// A call that was sent to one life of the server is sent to the next, too.
    ProvisionalIsResent,
}

/// The model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tickets {
    /// Days for which a caller repeats its call under new nonces; 0: never.
    pub lifetime: u8,
    /// Days for which operation ids are remembered; 0: not at all.
    pub ids_kept: u8,
    /// Losses of state: caller, server.
    pub losses: [u8; 2],
    /// The ticket may change late.
    pub late: bool,
    /// A sweep voids the tickets that are out (a proposal).
    pub tickets_follow_secret: bool,
    /// The rule that is broken, if one is.
    pub broken: Option<Broken>,
}

/// What proves that a packet is no old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Proof {
    /// Number of the ticket, and the secret it was made under.
    Ticket(u8, u8),
    /// Secret and number of the nonce.
    Nonce(u8, u8),
}

/// A packet with the caller's call: the life of the caller, the life of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Packet {
    from: u8,
    to: u8,
    proof: Proof,
    /// The day it was sent, where that matters.
    day: u8,
}

/// What the server knows of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Record {
    life: u8,
    taken: bool,
    confirmations: u8,
    closed: u16,
    heard_day: u8,
    heard_ticket: u8,
}

/// One state of the world.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    day: u8,
    server: u8,
    ticket: u8,
    secret: u8,
    record: Option<Record>,
    /// Lives of the caller whose call is remembered, and the day it was made.
    ids: Vec<(u8, u8)>,
    caller: u8,
    born: u8,
    sent_to: u8,
    left: [u8; 2],
    /// Published: life, ticket, secret.
    presences: Vec<(u8, u8, u8)>,
    /// Nonces that the server answered: life, secret, number.
    hellos: Vec<(u8, u8, u8)>,
    packets: Vec<Packet>,
    /// How often the call of each life of the caller was made.
    made: [u8; 4],
    youngest: u8,
    stale: bool,
    by_ticket: bool,
    swept: bool,
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A day passes.
    Day,
    /// The ticket changes, and presence is published.
    NewTicket,
    /// The caller sends its call.
    Send(Packet),
    /// The server reads a packet.
    Read(Packet),
    /// The server forgets the caller.
    Sweep,
    /// The caller loses its state.
    LoseCaller,
    /// The server loses its state.
    LoseServer,
}

fn insert<T: Ord>(set: &mut Vec<T>, item: T) {
    if let Err(at) = set.binary_search(&item) {
        set.insert(at, item);
    }
}

impl World {
    fn confirmations(&self) -> u8 {
        self.record.map_or(0, |record| record.confirmations)
    }

    fn publish(&mut self) {
        insert(&mut self.presences, (self.server, self.ticket, self.secret));
        // Whoever asks is answered HELLO.
        let hello = (self.server, self.secret, self.confirmations());
        insert(&mut self.hellos, hello);
    }
}

impl Tickets {
    fn proves(&self, world: &World, packet: &Packet) -> bool {
        let to_me = packet.to == world.server;
        match packet.proof {
            Proof::Nonce(secret, number) => to_me && (secret, number) == (world.secret, world.confirmations()),
            Proof::Ticket(number, secret) => {
                let known = if self.broken == Some(Broken::OldTickets) { 2 } else { 1 };
                let valid = number <= world.ticket && world.ticket - number <= known;
                let unknown = world.record.is_none() || self.broken == Some(Broken::TicketDespiteRecord);
                let named = to_me || self.broken == Some(Broken::TicketOfAnyLife);
                let of_secret = !self.tickets_follow_secret || secret == world.secret;
                valid && unknown && named && of_secret
            }
        }
    }

    fn read(&self, world: &mut World, packet: &Packet) {
        let closed = world.record.map_or(0, |record| record.closed);
        let known = world.record.is_some_and(|record| record.life == packet.from);
        if closed >> packet.from & 1 == 1 {
            return;
        }
        if !known {
            if !self.proves(world, packet) {
                return;
            }
            let old = world.record.map_or(0, |record| 1 << record.life);
            let confirmations = world.confirmations() + 1;
            world.stale |= packet.from < world.youngest;
            world.youngest = world.youngest.max(packet.from);
            world.by_ticket |= matches!(packet.proof, Proof::Ticket(..));
            let record = Record {
                life: packet.from,
                taken: false,
                confirmations,
                closed: closed | old,
                heard_day: 0,
                heard_ticket: 0,
            };
            world.record = Some(record);
        } else if packet.to != world.server {
            return;
        }
        let (day, ticket) = (world.day, world.ticket);
        let Some(record) = &mut world.record else { return };
        (record.heard_day, record.heard_ticket) = (day, ticket);
        if !std::mem::replace(&mut record.taken, true) {
            self.execute(world, packet.from);
        }
    }

    fn execute(&self, world: &mut World, caller: u8) {
        let remembered = |(life, made): &(u8, u8)| *life == caller && world.day - made < self.ids_kept;
        if !world.ids.iter().any(remembered) {
            world.made[usize::from(caller)] += 1;
            if self.ids_kept > 0 {
                insert(&mut world.ids, (caller, world.day));
            }
        }
    }

    fn may_sweep(&self, world: &World) -> bool {
        let Some(record) = world.record else { return false };
        let tickets = world.ticket - record.heard_ticket;
        let days = world.day - record.heard_day;
        match self.broken {
            Some(Broken::ForgottenForRoom) => true,
            Some(Broken::KeptOneLife) => tickets >= 1,
            Some(Broken::AgedByClock) => days >= 2,
            // Two ticket lives, and three MPL where old records must have died out.
            _ => tickets >= 2 && (self.lifetime == 0 || days >= 3),
        }
    }

    fn sends(&self, world: &World) -> Vec<Packet> {
        let may =
            |to: u8| world.sent_to == 0 || world.sent_to == to || self.broken == Some(Broken::ProvisionalIsResent);
        let (from, alive) = (world.caller, world.day - world.born < self.lifetime);
        let day = if self.lifetime > 0 { world.day } else { 0 };
        // By ticket once for each life of the server, by nonce again and again while the call lives.
        let tickets = world.presences.iter().filter(|(to, _, _)| may(*to) && *to != world.sent_to);
        let tickets =
            tickets.map(|(to, number, secret)| Packet { from, to: *to, proof: Proof::Ticket(*number, *secret), day });
        let nonces = world.hellos.iter().filter(|(to, _, _)| may(*to) && (alive || world.sent_to == 0));
        let nonces =
            nonces.map(|(to, secret, number)| Packet { from, to: *to, proof: Proof::Nonce(*secret, *number), day });
        tickets.chain(nonces).filter(|packet| world.packets.binary_search(packet).is_err()).collect()
    }
}

impl Model for Tickets {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let mut world = World {
            day: 1,
            server: 1,
            ticket: 1,
            secret: 1,
            record: None,
            ids: Vec::new(),
            caller: 1,
            born: 1,
            sent_to: 0,
            left: self.losses,
            presences: Vec::new(),
            hellos: Vec::new(),
            packets: Vec::new(),
            made: [0; 4],
            youngest: 0,
            stale: false,
            by_ticket: false,
            swept: false,
        };
        world.publish();
        vec![world]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.day < DAYS_MAX {
            actions.push(Action::Day);
        }
        if self.late && world.ticket < world.day {
            actions.push(Action::NewTicket);
        }
        actions.extend(self.sends(world).into_iter().map(Action::Send));
        let in_time = |packet: &&Packet| self.lifetime == 0 || world.day - packet.day <= 1;
        actions.extend(world.packets.iter().filter(in_time).map(|packet| Action::Read(*packet)));
        let rest = [
            (self.may_sweep(world), Action::Sweep),
            (world.left[0] > 0, Action::LoseCaller),
            (world.left[1] > 0, Action::LoseServer),
        ];
        actions.extend(rest.into_iter().filter(|(may, _)| *may).map(|(_, action)| action));
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        match action {
            Action::Day => {
                next.day += 1;
                if !self.late {
                    next.ticket = next.day;
                }
            }
            // Once, however many days it is late.
            Action::NewTicket => next.ticket += 1,
            Action::Send(packet) => {
                next.sent_to = packet.to;
                insert(&mut next.packets, packet);
            }
            Action::Read(packet) => self.read(&mut next, &packet),
            Action::Sweep => {
                next.record = None;
                next.swept = true;
                if self.broken != Some(Broken::NonceSurvives) {
                    next.secret += 1;
                }
            }
            Action::LoseCaller => {
                next.left[0] -= 1;
                (next.caller, next.born, next.sent_to) = (world.caller + 1, world.day, 0);
            }
            Action::LoseServer => {
                next.left[1] -= 1;
                (next.server, next.secret) = (world.server + 1, world.secret + 1);
                (next.record, next.ids, next.youngest) = (None, Vec::new(), 0);
            }
        }
        next.publish();
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::<Self>::always("S2", |_, world: &World| world.made.iter().all(|made| *made <= 1)),
            Property::<Self>::always("S16", |_, world| !world.stale),
            Property::<Self>::sometimes("a ticket opens", |_, world| world.by_ticket && world.made[1] == 1),
        ];
        if self.losses[0] > 0 || self.lifetime > 3 {
            properties.push(Property::<Self>::sometimes("forgotten, and back", |_, world| {
                world.swept && world.record.is_some()
            }));
        }
        if self.losses[0] > 0 {
            properties.push(Property::<Self>::sometimes("the next life calls", |_, world| world.made[2] == 1));
        }
        properties
    }
}
