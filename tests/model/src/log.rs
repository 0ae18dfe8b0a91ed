//! One direction of an association: a log, its acknowledgements, and what a crash, a restore or a clone does to them.
//!
//! **State.** Senders and receivers (the second of each is a clone), each with what is durable and what is in memory; a snapshot of each side's
//! disk; every packet ever sent. A record's content names the life that wrote it, so two lives never write the same record; a chain is
//! the list of contents, which is what a collision-free hash stands for.
//! **Actions.** Append, commit, deliver any packet ever sent to anybody, any number of times (so loss, duplication, reordering and replay
//! need no action of their own); crash (memory is lost), snapshot, restore, clone; after an alarm, a new pair. Whatever may be sent in a
//! state counts as sent: a packet more in the network only allows more, so this loses no behaviour and spares most interleavings.
//! **Rules** (protocol.md §3, wire.md §9): only what is durable is sent or acknowledged; data is released by a cumulative ack whose chain is
//! mine; a selective ack releases nothing; an ack or a list beyond my next record, another chain, or `una_seen` above my cum is an alarm,
//! and whoever is alarmed stops.
//! **Properties.** S1 what was released was durable at the receiver, the same content; S7 the told cum and `una_seen` never fall; S8 what was told as held
//! stays held (until a restore); S16 nothing of an old pair is taken in the next one; no alarm without a restore or a clone; L1 without
//! further faults or replays, every record is released and held by every receiver, or somebody is alarmed: nothing is lost silently.
//! **Bounds and size** are in `tests/model/log.rs`, which prints the states of each search: 3 records with two crashes a side (18,000) or a restore a
//! side (370,000), 2 with a clone a side (14,000; 3 in the long form: a million), 1 with every fault (436,000).
//! **Abstracted away.** Credit, streams, timers, frames and cut files; packet numbers and the fork alarm by them (a record's content does
//! the same here); tombstones; the other direction; how the next pair is agreed (`association`). A restore takes the memory with it, and
//! a clone starts from a snapshot.
//!
//! The engine follows these rules but for one: an alarm halts the pair until a person starts it anew, instead of taking a new incarnation.
//! *No finding:* releases happen only on proof. Two residues are inherent, not faults of the rules. A receiver restored after its ack was
//! read is told by the next packet (`una_seen`), not before. Both sides restored to before a record was written do not know of it.

use stateright::{Model, Property};

/// Most records of one log.
pub const RECORDS_MAX: usize = 3;
const LIVES_MAX: u8 = 6;

/// Contents of records 1 to 3: the life that wrote each; 0 = none.
pub type Links = [u8; RECORDS_MAX];

/// The rule that is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Received records are acknowledged before they are durable.
    AckBeforeDurable,
    /// Records are sent before they are durable.
    SendBeforeDurable,
    /// A cumulative ack releases by number, without the chain.
    ChainIgnored,
    /// A selective ack releases.
    SackReleases,
    /// `una_seen` above my cum raises no alarm.
    NoInboxAlarm,
    /// An ack that contradicts my log is ignored, and raises no alarm.
    NoLogAlarm,
    /// The last ack read counts, not the largest.
    AckIsNoJoin,
    /// A held record above cum is replaced by a later arrival of its number.
    HeldIsReplaced,
    /// Incarnations are not compared, and the chain does not begin with them.
    PairIgnored,
}

/// How much of each fault there is; per side where there are two: sender, receiver.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// Records of a log.
    pub records: u8,
    /// Crashes; without any, commits are not modelled apart.
    pub crashes: [u8; 2],
    /// Restores from a snapshot.
    pub restores: [u8; 2],
    /// Clones of a snapshot.
    pub clones: [u8; 2],
    /// New pairs after an alarm.
    pub resets: u8,
}

/// The model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Log {
    /// Bounds of the search.
    pub bounds: Bounds,
    /// The rule that is broken, if one is.
    pub broken: Option<Broken>,
}

/// Which contradiction was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alarm {
    /// An ack beyond my log.
    LogRolledBack,
    /// Another chain.
    ChainMismatch,
    /// An ack of mine that I do not know.
    InboxRolledBack,
    /// Another record under a held number.
    Forked,
}

/// What a sender keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct SendStore {
    links: Links,
    next: u8,
    una: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sender {
    pair: u8,
    disk: SendStore,
    ram: SendStore,
    life: u8,
    alarm: Option<Alarm>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Receiver {
    pair: u8,
    disk: Links,
    ram: Links,
    /// Highest cum that was told, and everything told as held, since the last restore.
    told: u8,
    promised: u64,
    alarm: Option<Alarm>,
}

/// A packet of a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Data {
    pair: u8,
    una_seen: u8,
    record: Option<(u8, u8)>,
}

/// A packet of a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ack {
    pair: u8,
    cum: u8,
    chain: Links,
    /// Bits of the numbers held above cum.
    sack: u8,
}

/// One state of the world.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    senders: Vec<Sender>,
    receivers: Vec<Receiver>,
    data: Vec<Data>,
    acks: Vec<Ack>,
    snapshots: (Option<SendStore>, Option<Links>),
    left: [[u8; 2]; 3],
    resets_left: u8,
    lives: u8,
    went_back: bool,
    /// Sets of (pair, seq, content): released, ever durable at a receiver, ever sent.
    released: u64,
    durable: u64,
    sent: u64,
    fell: bool,
    retracted: bool,
    lost_in_crash: bool,
}

/// One side of the direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who writes the log.
    Sender,
    /// Who acknowledges it.
    Receiver,
}

/// What may happen. Numbers name the instance: 0 the first, 1 its clone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A record is appended, in memory.
    Append(usize),
    /// What a side has in memory becomes durable.
    Commit(Side, usize),
    /// A receiver reads a packet.
    Read(usize, Data),
    /// A sender reads an acknowledgement.
    ReadAck(usize, Ack),
    /// Memory is lost.
    Crash(Side, usize),
    /// The disk is copied.
    Snapshot(Side),
    /// The disk is what it was at the snapshot.
    Restore(Side),
    /// A second engine runs from the snapshot.
    Clone(Side),
    /// After an alarm of this instance: a new pair of incarnations, empty logs.
    Reset(Side, usize),
}

const CRASH: usize = 0;
const RESTORE: usize = 1;
const CLONE: usize = 2;

fn bit(pair: u8, seq: usize, content: u8) -> u64 {
    1 << (usize::from(pair) * 18 + usize::from(content - 1) * RECORDS_MAX + seq - 1)
}

fn mask(pair: u8, links: &Links) -> u64 {
    let held = links.iter().enumerate().filter(|(_, content)| **content != 0);
    held.map(|(at, content)| bit(pair, at + 1, *content)).sum()
}

fn cum_of(links: &Links) -> u8 {
    links.iter().take_while(|content| **content != 0).map(|_| 1).sum()
}

fn prefix(links: &Links, length: u8) -> Links {
    std::array::from_fn(|at| if at < usize::from(length) { links[at] } else { 0 })
}

fn insert<T: Ord>(set: &mut Vec<T>, item: T) {
    if let Err(at) = set.binary_search(&item) {
        set.insert(at, item);
    }
}

impl Sender {
    fn packets(&self, broken: Option<Broken>) -> impl Iterator<Item = Data> + '_ {
        let top = if broken == Some(Broken::SendBeforeDurable) { self.ram.next } else { self.disk.next };
        let una = self.ram.una;
        let records = (una + 1..=top).map(|seq| Some((seq, self.ram.links[usize::from(seq) - 1])));
        let packet = move |record| Data { pair: self.pair, una_seen: una, record };
        records.chain([None]).filter(|_| self.alarm.is_none()).map(packet)
    }

    fn read(&mut self, ack: &Ack, broken: Option<Broken>) -> u64 {
        let beyond = ack.cum > self.disk.next || ack.sack >> self.disk.next != 0;
        let una = self.ram.una;
        let differs = broken != Some(Broken::ChainIgnored)
            && ack.cum >= una
            && prefix(&self.ram.links, ack.cum) != prefix(&ack.chain, ack.cum);
        if beyond || differs {
            if broken != Some(Broken::NoLogAlarm) {
                self.alarm = Some(if beyond { Alarm::LogRolledBack } else { Alarm::ChainMismatch });
            }
            return 0;
        }
        let mut released = 0;
        if ack.cum > una || broken == Some(Broken::AckIsNoJoin) {
            self.ram.una = ack.cum;
            released = mask(self.pair, &prefix(&self.ram.links, ack.cum));
        }
        if broken == Some(Broken::SackReleases) {
            let named = std::array::from_fn(|at| if ack.sack >> at & 1 == 1 { self.ram.links[at] } else { 0 });
            released |= mask(self.pair, &named);
        }
        released
    }
}

impl Receiver {
    fn new(pair: u8, disk: Links) -> Self {
        Self { pair, disk, ram: disk, told: 0, promised: 0, alarm: None }
    }

    const fn counted(&self, broken: Option<Broken>) -> &Links {
        if matches!(broken, Some(Broken::AckBeforeDurable)) { &self.ram } else { &self.disk }
    }

    fn ack(&self, broken: Option<Broken>) -> Ack {
        let held = self.counted(broken);
        let cum = cum_of(held);
        let above = (usize::from(cum)..RECORDS_MAX).filter(|at| held[*at] != 0);
        Ack { pair: self.pair, cum, chain: prefix(held, cum), sack: above.map(|at| 1 << at).sum() }
    }

    fn read(&mut self, packet: &Data, broken: Option<Broken>) {
        let cum = cum_of(self.counted(broken));
        if packet.una_seen > cum && broken != Some(Broken::NoInboxAlarm) {
            self.alarm = Some(Alarm::InboxRolledBack);
            return;
        }
        let Some((seq, content)) = packet.record.filter(|(seq, _)| *seq > cum) else { return };
        let held = &mut self.ram[usize::from(seq) - 1];
        match *held {
            0 => *held = content,
            same if same == content => {}
            _ if broken == Some(Broken::HeldIsReplaced) => *held = content,
            _ => self.alarm = Some(Alarm::Forked),
        }
    }
}

impl World {
    fn new(bounds: &Bounds) -> Self {
        let sender = Sender { pair: 0, disk: SendStore::default(), ram: SendStore::default(), life: 1, alarm: None };
        Self {
            senders: vec![sender],
            receivers: vec![Receiver::new(0, Links::default())],
            data: Vec::new(),
            acks: Vec::new(),
            snapshots: (None, None),
            left: [bounds.crashes, bounds.restores, bounds.clones],
            resets_left: bounds.resets,
            lives: 1,
            went_back: false,
            released: 0,
            durable: 0,
            sent: 0,
            fell: false,
            retracted: false,
            lost_in_crash: false,
        }
    }

    fn new_life(&mut self) -> u8 {
        self.lives += 1;
        self.lives
    }

    /// Everything that may be sent is sent.
    fn publish(&mut self, broken: Option<Broken>) {
        for sender in &self.senders {
            for packet in sender.packets(broken) {
                if let Some((seq, content)) = packet.record {
                    self.sent |= bit(packet.pair, usize::from(seq), content);
                }
                insert(&mut self.data, packet);
            }
        }
        for receiver in &mut self.receivers {
            self.durable |= mask(receiver.pair, &receiver.disk);
            if receiver.alarm.is_some() {
                continue;
            }
            let ack = receiver.ack(broken);
            let held = mask(receiver.pair, receiver.counted(broken));
            self.fell |= ack.cum < receiver.told;
            self.retracted |= receiver.promised & !held != 0;
            receiver.told = receiver.told.max(ack.cum);
            receiver.promised |= held;
            insert(&mut self.acks, ack);
        }
    }

    fn crash(&mut self, side: Side, at: usize) {
        self.left[CRASH][side as usize] -= 1;
        self.lost_in_crash = true;
        match side {
            Side::Sender => {
                if self.senders[at].ram.next > self.senders[at].disk.next {
                    self.senders[at].life = self.new_life();
                }
                self.senders[at].ram = self.senders[at].disk;
            }
            Side::Receiver => self.receivers[at].ram = self.receivers[at].disk,
        }
    }

    fn restore(&mut self, side: Side) {
        self.left[RESTORE][side as usize] -= 1;
        self.went_back = true;
        match (side, self.snapshots) {
            (Side::Sender, (Some(disk), _)) => {
                let life = self.new_life();
                self.senders[0] = Sender { pair: self.senders[0].pair, disk, ram: disk, life, alarm: None };
            }
            (Side::Receiver, (_, Some(disk))) => self.receivers[0] = Receiver::new(self.receivers[0].pair, disk),
            _ => {}
        }
    }

    fn start_clone(&mut self, side: Side) {
        self.left[CLONE][side as usize] -= 1;
        self.went_back = true;
        match (side, self.snapshots) {
            (Side::Sender, (Some(disk), _)) => {
                let life = self.new_life();
                self.senders.push(Sender { pair: self.senders[0].pair, disk, ram: disk, life, alarm: None });
            }
            (Side::Receiver, (_, Some(disk))) => {
                let pair = self.receivers[0].pair;
                self.receivers.push(Receiver::new(pair, disk));
            }
            _ => {}
        }
    }

    fn reset(&mut self) {
        self.resets_left -= 1;
        let (pair, life) = (self.senders[0].pair + 1, self.new_life());
        let empty = SendStore::default();
        self.senders = vec![Sender { pair, disk: empty, ram: empty, life, alarm: None }];
        self.receivers = vec![Receiver::new(pair, Links::default())];
        self.snapshots = (None, None);
        self.left = [[0; 2]; 3];
    }

    fn alarmed(&self, alarm: Alarm) -> bool {
        let senders = self.senders.iter().map(|sender| sender.alarm);
        senders.chain(self.receivers.iter().map(|receiver| receiver.alarm)).any(|seen| seen == Some(alarm))
    }

    fn is_alarmed(&self) -> bool {
        self.senders.iter().any(|sender| sender.alarm.is_some())
            || self.receivers.iter().any(|receiver| receiver.alarm.is_some())
    }

    /// Every record is released and held, or somebody is alarmed.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let released = |sender: &Sender| {
            let own = mask(sender.pair, &prefix(&sender.ram.links, sender.ram.next));
            let holds = |receiver: &Receiver| own & !mask(receiver.pair, &receiver.disk) == 0;
            sender.ram.una == sender.ram.next && self.receivers.iter().all(holds)
        };
        self.is_alarmed() || self.senders.iter().all(released)
    }
}

impl Log {
    fn instant(&self) -> bool {
        self.bounds.crashes == [0; 2]
    }

    fn commit(&self, world: &mut World, side: Side, at: usize) {
        match side {
            Side::Sender => world.senders[at].disk = world.senders[at].ram,
            Side::Receiver => world.receivers[at].disk = world.receivers[at].ram,
        }
    }

    fn in_this_pair(&self, mine: u8, theirs: u8) -> bool {
        mine == theirs || self.broken == Some(Broken::PairIgnored)
    }

    /// Which actions are faults of the world, which the last phase is free of: a packet that nobody would send any more is lost there.
    pub fn faults_of(&self, world: &World) -> impl Fn(&Action) -> bool + use<> {
        let data: Vec<Data> = world.senders.iter().flat_map(|sender| sender.packets(self.broken)).collect();
        let running = world.receivers.iter().filter(|receiver| receiver.alarm.is_none());
        let acks: Vec<Ack> = running.map(|receiver| receiver.ack(self.broken)).collect();
        move |action| match action {
            Action::Append(_) | Action::Commit(..) | Action::Reset(..) => false,
            Action::Crash(..) | Action::Snapshot(_) | Action::Restore(_) | Action::Clone(_) => true,
            Action::Read(_, packet) => !data.contains(packet),
            Action::ReadAck(_, ack) => !acks.contains(ack),
        }
    }

    fn apply(&self, world: &mut World, action: Action) {
        let mut touched = None;
        match action {
            Action::Append(at) => {
                let sender = &mut world.senders[at];
                sender.ram.links[usize::from(sender.ram.next)] = sender.life;
                sender.ram.next += 1;
                touched = Some((Side::Sender, at));
            }
            Action::Commit(side, at) => self.commit(world, side, at),
            Action::Read(at, packet) => {
                world.receivers[at].read(&packet, self.broken);
                touched = Some((Side::Receiver, at));
            }
            Action::ReadAck(at, ack) => {
                let una = world.senders[at].ram.una;
                world.released |= world.senders[at].read(&ack, self.broken);
                world.fell |= world.senders[at].ram.una < una;
                touched = Some((Side::Sender, at));
            }
            Action::Crash(side, at) => world.crash(side, at),
            Action::Snapshot(Side::Sender) => world.snapshots.0 = Some(world.senders[0].disk),
            Action::Snapshot(Side::Receiver) => world.snapshots.1 = Some(world.receivers[0].disk),
            Action::Restore(side) => world.restore(side),
            Action::Clone(side) => world.start_clone(side),
            Action::Reset(..) => world.reset(),
        }
        if let Some((side, at)) = touched.filter(|_| self.instant()) {
            self.commit(world, side, at);
        }
        world.publish(self.broken);
    }

    fn steps(&self, world: &World, actions: &mut Vec<Action>) {
        for (at, sender) in world.senders.iter().enumerate().filter(|(_, sender)| sender.alarm.is_none()) {
            if sender.ram.next < self.bounds.records {
                actions.push(Action::Append(at));
            }
            if sender.ram != sender.disk {
                actions.push(Action::Commit(Side::Sender, at));
            }
            let acks = world.acks.iter().filter(|ack| self.in_this_pair(sender.pair, ack.pair));
            actions.extend(acks.map(|ack| Action::ReadAck(at, *ack)));
        }
        for (at, receiver) in world.receivers.iter().enumerate().filter(|(_, receiver)| receiver.alarm.is_none()) {
            if receiver.ram != receiver.disk {
                actions.push(Action::Commit(Side::Receiver, at));
            }
            let data = world.data.iter().filter(|packet| self.in_this_pair(receiver.pair, packet.pair));
            actions.extend(data.map(|packet| Action::Read(at, *packet)));
        }
    }

    fn faults(&self, world: &World, actions: &mut Vec<Action>) {
        let lives_left = world.lives < LIVES_MAX;
        for side in [Side::Sender, Side::Receiver] {
            let volatile = match side {
                Side::Sender => world.senders[0].ram != world.senders[0].disk,
                Side::Receiver => world.receivers[0].ram != world.receivers[0].disk,
            };
            let left = |fault: usize| world.left[fault][side as usize] > 0;
            if left(CRASH) && volatile && lives_left {
                actions.push(Action::Crash(side, 0));
            }
            let has_snapshot = match side {
                Side::Sender => world.snapshots.0.is_some(),
                Side::Receiver => world.snapshots.1.is_some(),
            };
            match has_snapshot {
                false if left(RESTORE) || left(CLONE) => actions.push(Action::Snapshot(side)),
                true if lives_left => {
                    actions.extend(left(RESTORE).then_some(Action::Restore(side)));
                    actions.extend(left(CLONE).then_some(Action::Clone(side)));
                }
                _ => {}
            }
        }
        if world.resets_left > 0 && lives_left {
            let senders = world.senders.iter().enumerate().filter(|(_, sender)| sender.alarm.is_some());
            actions.extend(senders.map(|(at, _)| Action::Reset(Side::Sender, at)));
            let receivers = world.receivers.iter().enumerate().filter(|(_, receiver)| receiver.alarm.is_some());
            actions.extend(receivers.map(|(at, _)| Action::Reset(Side::Receiver, at)));
        }
    }
}

impl Model for Log {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let mut world = World::new(&self.bounds);
        world.publish(self.broken);
        vec![world]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        self.steps(world, actions);
        self.faults(world, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        self.apply(&mut next, action);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::<Self>::always("S1", |_, world: &World| world.released & !world.durable == 0),
            Property::<Self>::always("S7", |_, world| !world.fell),
            Property::<Self>::always("S8", |_, world| !world.retracted),
            Property::<Self>::always("S16", |_, world| {
                let taken = |receiver: &Receiver| mask(receiver.pair, &receiver.ram) & !world.sent == 0;
                world.receivers.iter().all(taken)
            }),
            Property::<Self>::always("no false alarm", |_, world| world.went_back || !world.is_alarmed()),
            Property::<Self>::sometimes("all is released", |model, world| {
                world.senders.iter().all(|sender| sender.ram.una == model.bounds.records)
            }),
            Property::<Self>::sometimes("a record is acknowledged out of order", |model, world| {
                model.bounds.records == 1 || world.acks.iter().any(|ack| ack.sack != 0)
            }),
        ];
        let bounds = &self.bounds;
        if bounds.crashes != [0; 2] {
            properties.push(Property::<Self>::sometimes("a crash loses something", |_, world| world.lost_in_crash));
        }
        if bounds.restores[0] > 0 {
            properties.push(Property::<Self>::sometimes("an ack is beyond my log", |_, world| {
                world.alarmed(Alarm::LogRolledBack)
            }));
        }
        if bounds.restores[0] > 0 || bounds.clones[0] > 0 {
            properties
                .push(Property::<Self>::sometimes("chains differ", |_, world| world.alarmed(Alarm::ChainMismatch)));
        }
        if bounds.restores[1] > 0 {
            properties.push(Property::<Self>::sometimes("an inbox was rolled back", |_, world| {
                world.alarmed(Alarm::InboxRolledBack)
            }));
        }
        if bounds.records > 1 && bounds.clones[0] > 0 {
            properties.push(Property::<Self>::sometimes("a fork is seen", |_, world| world.alarmed(Alarm::Forked)));
        }
        if bounds.resets > 0 {
            properties.push(Property::<Self>::sometimes("the next pair releases", |_, world| {
                world.senders[0].pair == 1 && world.senders[0].ram.una > 0
            }));
        }
        properties
    }
}
