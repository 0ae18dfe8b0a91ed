//! S6: no (key, nonce) ever seals two plaintexts, whatever is cloned, reverted or stuck; and no outsider holds a key.
//!
//! **State.** Machines (the second is a clone) with the position of their random source; everything sealed so far as (key, nonce, plaintext).
//! **Actions.** Seal a packet of any content. Faults: a machine is cloned with its random source, the source is reverted, or stuck.
//! **Rules** (wire.md §5): hedge = KMAC(local key, randomness ‖ header ‖ control ‖ table); its first part is the public salt, its second the secret
//! seed of the encapsulation; the key follows from the seed and the header with its salt; control and table are one message under nonce 0
//! of one key, frame i is sealed under nonce i of another.
//! **Properties.** S6 as above; the outsider, who knows everything public and the output of a stuck or cloned source, computes no key.
//! **Bounds and size**: `tests/model/nonce.rs`: three packets (four in the long form) of two values each for header, control and two frames.
//! **Abstracted away.** Functions are terms: equal outputs mean equal inputs, which is what collision resistance and a pseudorandom function
//! promise. A table stands for its frames, because it holds their digests. Suites differ in primitives only.
//!
//! *No finding.* A repeated content under a repeated random value repeats the packet bit by bit (but for the hedged signature): equality leaks, and
//! nothing else.

use stateright::{Model, Property};

/// The rule that is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The hedge is made of randomness only.
    ContentNotHashed,
    /// The hedge is made before the control block is final.
    ControlNotHashed,
    /// The hedge is made before the table is.
    TableNotHashed,
    /// Control and table are two messages.
    ControlApart,
    /// Every frame has nonce 0.
    FramesShareNonce,
    /// Frames and control share one key.
    OneKey,
    /// The salt is the seed.
    SeedFromSalt,
    /// The hedge has no local key.
    NoLocalKey,
}

/// The model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sealing {
    /// Packets sealed at most.
    pub packets: u8,
    /// Whether the random source may fail.
    pub faults: bool,
    /// The rule that is broken, if one is.
    pub broken: Option<Broken>,
}

/// What is sealed in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Content {
    header: u8,
    control: u8,
    frames: [u8; 2],
}

/// The inputs of the hedge, as far as they enter it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Hedge {
    local_key: bool,
    random: u8,
    content: Option<Content>,
    /// It is the salt, which everybody reads.
    public: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    seed: Hedge,
    header: u8,
    of_frames: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Sealed {
    key: Key,
    nonce: u8,
    plain: [u8; 3],
}

/// One state of the world.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// Position of the random source of each machine: what it gives next.
    machines: Vec<u8>,
    stuck: bool,
    faulty: bool,
    packets: u8,
    sealed: Vec<Sealed>,
    repeated: bool,
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A machine seals a packet.
    Seal(usize, Content),
    /// A machine is cloned while it runs.
    Clone,
    /// The random source of the first machine goes back to its beginning.
    Revert,
    /// Random sources give the same value for ever.
    Stick,
}

fn contents() -> impl Iterator<Item = Content> {
    let part = |number: u8, at: u8| number >> at & 1;
    (0..16).map(move |number| Content {
        header: part(number, 0),
        control: part(number, 1),
        frames: [part(number, 2), part(number, 3)],
    })
}

impl Sealing {
    fn hedge(&self, random: u8, content: Content) -> Hedge {
        let hashed = match self.broken {
            Some(Broken::ContentNotHashed) => None,
            Some(Broken::ControlNotHashed) => Some(Content { control: 0, ..content }),
            Some(Broken::TableNotHashed) => Some(Content { frames: [0; 2], ..content }),
            _ => Some(content),
        };
        let public = self.broken == Some(Broken::SeedFromSalt);
        Hedge { local_key: self.broken != Some(Broken::NoLocalKey), random, content: hashed, public }
    }

    fn messages(&self, random: u8, content: Content) -> Vec<Sealed> {
        let seed = self.hedge(random, content);
        let key = |of_frames| Key { seed, header: content.header, of_frames };
        let control_key = key(false);
        let frame_key = key(self.broken != Some(Broken::OneKey));
        let [first, second] = content.frames;
        // The first number says which kind of plaintext it is.
        let mut messages = match self.broken {
            Some(Broken::ControlApart) => vec![
                Sealed { key: control_key, nonce: 0, plain: [1, content.control, 0] },
                Sealed { key: control_key, nonce: 0, plain: [2, first, second] },
            ],
            _ => vec![Sealed { key: control_key, nonce: 0, plain: [1 + content.control, first, second] }],
        };
        for (index, frame) in [(0, first), (1, second)] {
            let nonce = if self.broken == Some(Broken::FramesShareNonce) { 0 } else { index };
            messages.push(Sealed { key: frame_key, nonce, plain: [3, frame, 0] });
        }
        messages
    }

    fn seal(&self, world: &mut World, machine: usize, content: Content) {
        let random = if world.stuck { 0 } else { world.machines[machine] };
        // A copy draws what the original draws.
        world.machines[machine] += 1;
        world.packets += 1;
        for message in self.messages(random, content) {
            match world.sealed.binary_search(&message) {
                Ok(_) => world.repeated = true,
                Err(at) => world.sealed.insert(at, message),
            }
        }
    }
}

fn is_safe(world: &World) -> bool {
    // Sorted by key and nonce first, so that a clash stands side by side.
    world.sealed.windows(2).all(|pair| (pair[0].key, pair[0].nonce) != (pair[1].key, pair[1].nonce))
}

fn is_secret(world: &World) -> bool {
    let computed = |seed: &Hedge| seed.public || (!seed.local_key && world.faulty);
    !world.sealed.iter().any(|message| computed(&message.key.seed))
}

impl Model for Sealing {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World { machines: vec![0], stuck: false, faulty: false, packets: 0, sealed: Vec::new(), repeated: false }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.packets < self.packets {
            for machine in 0..world.machines.len() {
                actions.extend(contents().map(|content| Action::Seal(machine, content)));
            }
        }
        if self.faults && !world.faulty {
            actions.extend([Action::Clone, Action::Revert, Action::Stick]);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        match action {
            Action::Seal(machine, content) => self.seal(&mut next, machine, content),
            Action::Clone => next.machines.push(world.machines[0]),
            Action::Revert => next.machines[0] = 0,
            Action::Stick => next.stuck = true,
        }
        next.faulty |= !matches!(action, Action::Seal(..));
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::<Self>::always("S6", |_, world: &World| is_safe(world)),
            Property::<Self>::always("keys are secret", |_, world| is_secret(world)),
            Property::<Self>::sometimes("all are sealed", |model, world| world.packets == model.packets),
        ];
        if self.faults {
            properties.push(Property::<Self>::sometimes("a packet is repeated", |_, world| world.repeated));
        } else {
            properties.push(Property::<Self>::always("nothing repeats without a fault", |_, world| !world.repeated));
        }
        properties
    }
}
