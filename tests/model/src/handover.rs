//! One call from its acceptance to its end: what the near side says of it, and how often the far side makes it.
//!
//! **State.** Near: its life, the far life it confirmed, the call (open, or its end), the mark that it may have left. Far: its life, the near life
//! it confirmed, the request as received in that association, the journal entry of the execution (attempt, phase, whether its association
//! stands), the response in the log; in memory the attempt under way. Both have a snapshot; every packet ever sent stays.
//! **Actions.** Send, receive, begin, mark (RECEIVED → DISPATCHED), call, HEADERS, DONE, refuse; either side confirms the other's present life,
//! which closes its association; either reads any packet ever sent. Faults, at every step: crash, loss of all state, restore.
//! **Rules** (protocol.md §3 exactly-once, re-bind; http.md §2 execution): the mark is durable before the call; after a crash, marked and
//! harmless: again, at most three attempts; marked and not harmless: outcome unknown; HEADERS without DONE: cut off. An operation id is
//! recognised over associations. Re-bind: harmless or never sent: sent again; else outcome unknown. The sent mark is durable before
//! the packet leaves. A restore behind a fence takes a new life; without one it is not noticed, and `unfenced` is a policy.
//! **Properties.** S2 a call that is not harmless is made at most once; S12 it is marked at most once; S3 its end is told once and never changes,
//! "failed, not executed" means that it is never made, "delivered" that it was; and from every state, without further faults, it ends.
//! **Bounds and size**: `tests/model/handover.rs`: one call; up to three crashes and two losses of the far side, two and one of the near side,
//! one restore a side.
//! **Abstracted away.** Bodies and cut streams (a request is one record); quotas and the age of the memory of ids (`tickets` has that); the chain
//! alarms that would stop a restored pair later (they come too late for what is shown here); claims of stored results; several engines.
//!
//! # What is expected to fail, and findings
//! - *Expected:* `unfenced: assume-crash` and a far side restored from a backup: a call is received and made, the volume goes back to before
//!   the mark, the call is made again. Only a fence helps.
//! - **Finding 5.** *`unfenced: assume-rollback` does not help either, as written.* It reports the *undispatched* calls of an unclean start as unknown.
//!   A request that the restored volume does not hold at all is not among them: its packet, still in the folder or replayed, names the same
//!   pair, is received as new, and the call is made again. Mend ([`Policy::NewLife`]): an unclean start under this policy takes a new
//!   incarnation; then old packets name a dead life, and re-bind says unknown.
//! - **Finding 6.** *After a restore nothing is provably unsent.* The near side sends a call, is restored (behind a fence) to a moment before its sent
//!   mark, and re-binds it as never sent. The far side recognises the operation id, unless it lost its state or was restored too: then
//!   the call is made twice. Mend ([`Handover::restored_proves_nothing`]): what stands in a log that a restore brought back counts as sent.
//! - **Finding 7.** *A refusal speaks for one life only.* A harmless call is made by f1, which loses its state; re-bound, it is refused by f2 ("executed: no",
//!   and true of f2). The near side may not pass that on for a call that was re-bound: it says "maybe". No text says so; the model does,
//!   and [`Broken::RefusalCoversAll`] is the text as it stands.
//! - The engine has neither fence nor policy: it is `assume-crash`. It re-binds nothing: every open call ends with its association, unsent
//!   ones as failed and not executed, which the model's rule contains.

use stateright::{Model, Property};

mod side;

pub use side::{Call, End, Response};
use side::{Execution, Far, Near, Phase};

/// What an unfenced far side does after an unclean start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// A crash, nothing else.
    #[default]
    AssumeCrash,
    /// Undispatched calls that are not harmless are reported as unknown.
    AssumeRollback,
    /// Every unclean start takes a new life (a proposal).
    NewLife,
}

/// The rule that is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The dispatch mark follows the call.
    MarkAfterCall,
    /// Operation ids are forgotten when their association closes.
    IdsForgotten,
    /// Calls that are not harmless are sent again after the far side lost its state.
    EverythingRebound,
    /// The sent mark follows the packet.
    SentMarkLate,
    /// After a crash, a marked call that is not harmless is made again.
    MarkIgnored,
    /// After a crash, a marked call counts as made.
    MarkCountsAsMade,
    /// The far side says "not executed" whatever it did.
    RefusesAnything,
    /// A refusal by a later life of the far side counts for what an earlier one did.
    RefusalCoversAll,
    /// A later answer, even of a closed association, replaces the end that was told.
    EndIsReplaced,
    /// A call whose far side is gone just stays open.
    LossIsSilent,
}

/// How much of each fault there is: near side, far side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// Crashes.
    pub crashes: [u8; 2],
    /// Losses of all state.
    pub losses: [u8; 2],
    /// Restores from a snapshot.
    pub restores: [u8; 2],
}

/// The model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Handover {
    /// Bounds of the search.
    pub faults: Faults,
    /// Making the call again is harmless.
    pub harmless: bool,
    /// A restore takes a new life.
    pub fenced: bool,
    /// What an unclean start does without a fence.
    pub policy: Policy,
    /// After a restore behind a fence, every call counts as sent (a proposal).
    pub restored_proves_nothing: bool,
    /// The rule that is broken, if one is.
    pub broken: Option<Broken>,
}

/// A request packet: the lives of both sides.
pub type Request = (u8, u8);

/// One state of the world.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    near: Near,
    near_disk: Near,
    far: Far,
    snapshots: (Option<Near>, Option<Far>),
    requests: Vec<Request>,
    responses: Vec<(u8, u8, Response)>,
    lives: [u8; 2],
    left: Faults,
    effects: u8,
    marks: u8,
    told: Option<End>,
    told_otherwise: bool,
    near_restored: bool,
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The near side confirms the far side's present life.
    NearConfirms,
    /// The far side confirms the near side's present life.
    FarConfirms,
    /// The request is sent.
    Send,
    /// The sent mark becomes durable, where that is late.
    MarkSent,
    /// A request packet is read, and the request durable.
    Receive(Request),
    /// The far side looks what is to be done about the request.
    Begin,
    /// The dispatch mark is durable.
    Mark,
    /// The call is made.
    Make,
    /// The upstream's head is here; that is durable.
    Headers,
    /// The whole response is in the log.
    Done,
    /// The far side does not make the call.
    Refuse,
    /// A response packet is read.
    ReadResponse((u8, u8, Response)),
    /// Memory is lost; side 0 is near, 1 is far.
    Crash(usize),
    /// All state is lost.
    Lose(usize),
    /// The disk is copied.
    Snapshot(usize),
    /// The disk is what it was.
    Restore(usize),
}

impl Action {
    const fn is_disaster(&self) -> bool {
        matches!(self, Self::Crash(_) | Self::Lose(_) | Self::Snapshot(_) | Self::Restore(_))
    }
}

fn insert<T: Ord>(set: &mut Vec<T>, item: T) {
    if let Err(at) = set.binary_search(&item) {
        set.insert(at, item);
    }
}

impl World {
    /// The near side said what became of the call, or lost all knowledge of it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.near.call != Call::Open
    }

    fn end(&mut self, end: End) {
        self.near.call = Call::Ended(end);
        self.told_otherwise |= self.told.is_some_and(|told| told != end);
        self.told = Some(end);
    }

    fn respond(&mut self, response: Response) {
        self.far.attempt = None;
        self.far.response = Some(response);
        insert(&mut self.responses, (self.far.peer, self.far.life, response));
    }

    fn new_life(&mut self, side: usize) -> u8 {
        self.lives[side] += 1;
        self.lives[side]
    }

    /// The far side's association is over.
    fn close_far(&mut self, forget_ids: bool) {
        let far = &mut self.far;
        (far.peer, far.received, far.response, far.attempt, far.called) = (0, false, None, None, false);
        if let Some(execution) = &mut far.execution {
            execution.here = false;
        }
        if forget_ids {
            far.execution = None;
        }
    }
}

impl Handover {
    fn crash(&self, world: &mut World, side: usize) {
        world.left.crashes[side] -= 1;
        match side {
            0 => world.near = world.near_disk,
            _ => self.start_far(world),
        }
    }

    /// The far side starts from what its disk holds, uncleanly.
    fn start_far(&self, world: &mut World) {
        (world.far.attempt, world.far.called) = (None, false);
        match self.policy {
            _ if self.fenced => {}
            Policy::AssumeCrash => {}
            Policy::AssumeRollback => {
                let undispatched = world.far.execution.is_none() && world.far.response.is_none();
                if world.far.received && undispatched && !self.harmless {
                    world.respond(Response::Unknown);
                }
            }
            Policy::NewLife => {
                world.close_far(false);
                world.far.life = world.new_life(1);
            }
        }
    }

    fn restore(&self, world: &mut World, side: usize) {
        world.left.restores[side] -= 1;
        match (side, world.snapshots) {
            (0, (Some(near), _)) => {
                world.near_restored = true;
                world.near = near;
                if self.fenced {
                    (world.near.life, world.near.peer) = (world.new_life(0), 0);
                    world.near.sent |= self.restored_proves_nothing;
                    self.rebind(world);
                }
            }
            (_, (_, Some(far))) => {
                world.far = far;
                if self.fenced {
                    world.close_far(false);
                    world.far.life = world.new_life(1);
                }
                self.start_far(world);
            }
            _ => {}
        }
    }

    fn lose(world: &mut World, side: usize) {
        world.left.losses[side] -= 1;
        let life = world.new_life(side);
        match side {
            0 => world.near = Near { life, peer: 0, call: Call::Gone, sent: false, rebound: false },
            _ => world.far = Far { life, ..Far::default() },
        }
    }

    /// The near side's association is over: what becomes of the call.
    fn rebind(&self, world: &mut World) {
        if world.near.call != Call::Open || !world.near.sent {
            return;
        }
        match self.broken {
            Some(Broken::LossIsSilent) => {}
            _ if self.harmless || self.broken == Some(Broken::EverythingRebound) => {
                (world.near.sent, world.near.rebound) = (false, true);
            }
            _ => world.end(End::Unknown),
        }
    }

    /// What is to be done about a request that is not under way.
    fn begin(&self, world: &mut World) {
        let again = |made: u8| {
            let may = self.harmless || matches!(self.broken, Some(Broken::MarkIgnored | Broken::MarkCountsAsMade));
            if may && made < 3 { Ok(made + 1) } else { Err(Response::Unknown) }
        };
        let next = match world.far.execution {
            None => Ok(1),
            Some(Execution { attempt, phase: Phase::Dispatched, here: true }) => again(attempt),
            Some(Execution { here: true, .. }) => Err(Response::Incomplete),
            Some(Execution { attempt, here: false, .. }) => again(attempt),
        };
        match next {
            Ok(attempt) if attempt > 1 && self.broken == Some(Broken::MarkCountsAsMade) => {
                (world.far.attempt, world.far.called) = (Some(attempt - 1), true);
            }
            Ok(attempt) => world.far.attempt = Some(attempt),
            Err(response) => world.respond(response),
        }
    }

    fn mark(&self, world: &mut World) {
        let attempt = world.far.attempt.unwrap_or(1);
        world.far.execution = Some(Execution { attempt, phase: Phase::Dispatched, here: true });
        world.marks += 1;
    }

    fn may_mark(&self, far: &Far) -> bool {
        let marked = far.execution.is_some_and(|one| one.here && Some(one.attempt) == far.attempt);
        let late = self.broken == Some(Broken::MarkAfterCall);
        far.attempt.is_some() && !marked && late == far.called
    }

    fn may_make(&self, far: &Far) -> bool {
        let marked = far.execution.is_some_and(|one| one.here && Some(one.attempt) == far.attempt);
        far.attempt.is_some() && !far.called && (marked || self.broken == Some(Broken::MarkAfterCall))
    }

    fn phase(far: &Far) -> Option<Phase> {
        let execution = far.execution.filter(|one| one.here && Some(one.attempt) == far.attempt && far.called)?;
        Some(execution.phase)
    }

    fn near_step(&self, world: &mut World, action: Action) {
        match action {
            Action::NearConfirms => {
                if world.near.peer != 0 {
                    self.rebind(world);
                }
                world.near.peer = world.far.life;
            }
            Action::Send => {
                insert(&mut world.requests, (world.near.life, world.near.peer));
                world.near.sent = true;
            }
            Action::ReadResponse((_, _, response)) => {
                let covers_all = !world.near.rebound || self.broken == Some(Broken::RefusalCoversAll);
                world.end(match response {
                    Response::Whole => End::Delivered,
                    Response::Refused if covers_all => End::NotExecuted,
                    Response::Refused | Response::Unknown | Response::Incomplete => End::Unknown,
                });
            }
            _ => {}
        }
        let late = action == Action::Send && self.broken == Some(Broken::SentMarkLate);
        let sent = if late { world.near_disk.sent } else { world.near.sent };
        world.near_disk = Near { sent, ..world.near };
    }

    fn far_step(&self, world: &mut World, action: Action) {
        match action {
            Action::FarConfirms => {
                world.close_far(self.broken == Some(Broken::IdsForgotten));
                world.far.peer = world.near.life;
            }
            Action::Receive(_) => world.far.received = true,
            Action::Begin => self.begin(world),
            Action::Mark => self.mark(world),
            Action::Make => {
                world.far.called = true;
                world.effects += 1;
            }
            Action::Headers => {
                if let Some(execution) = &mut world.far.execution {
                    execution.phase = Phase::Headers;
                }
            }
            Action::Done => {
                if let Some(execution) = &mut world.far.execution {
                    execution.phase = Phase::Done;
                }
                world.respond(Response::Whole);
                world.far.called = false;
            }
            Action::Refuse => world.respond(Response::Refused),
            _ => {}
        }
    }

    fn near_actions(&self, world: &World, actions: &mut Vec<Action>) {
        let near = &world.near;
        if near.peer != world.far.life {
            actions.push(Action::NearConfirms);
        }
        let replaced = self.broken == Some(Broken::EndIsReplaced);
        if near.call == Call::Open {
            if near.peer != 0 && !near.sent {
                actions.push(Action::Send);
            }
            if world.near_disk.sent != near.sent {
                actions.push(Action::MarkSent);
            }
        }
        if near.call == Call::Open || (replaced && near.call != Call::Gone) {
            let mine =
                world.responses.iter().filter(|(life, peer, _)| replaced || (*life == near.life && *peer == near.peer));
            actions.extend(mine.map(|response| Action::ReadResponse(*response)));
        }
    }

    fn far_actions(&self, world: &World, actions: &mut Vec<Action>) {
        let far = &world.far;
        if far.peer != world.near.life {
            actions.push(Action::FarConfirms);
        }
        if !far.received && far.peer != 0 && world.requests.contains(&(far.peer, far.life)) {
            actions.push(Action::Receive((far.peer, far.life)));
        }
        if far.received && far.attempt.is_none() && far.response.is_none() {
            actions.push(Action::Begin);
            if far.execution.is_none() || self.broken == Some(Broken::RefusesAnything) {
                actions.push(Action::Refuse);
            }
        }
        let phase = Self::phase(far);
        let steps = [
            (self.may_mark(far), Action::Mark),
            (self.may_make(far), Action::Make),
            (phase == Some(Phase::Dispatched), Action::Headers),
            (phase == Some(Phase::Headers), Action::Done),
        ];
        actions.extend(steps.into_iter().filter(|(may, _)| *may).map(|(_, action)| action));
    }
}

impl Model for Handover {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let near = Near { life: 1, peer: 0, call: Call::Open, sent: false, rebound: false };
        vec![World {
            near,
            near_disk: near,
            far: Far { life: 1, ..Far::default() },
            snapshots: (None, None),
            requests: Vec::new(),
            responses: Vec::new(),
            lives: [1, 1],
            left: self.faults,
            effects: 0,
            marks: 0,
            told: None,
            told_otherwise: false,
            near_restored: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        self.near_actions(world, actions);
        self.far_actions(world, actions);
        for side in 0..2 {
            let taken = if side == 0 { world.snapshots.0.is_some() } else { world.snapshots.1.is_some() };
            let restores = world.left.restores[side] > 0;
            let faults = [
                (world.left.crashes[side] > 0, Action::Crash(side)),
                (world.left.losses[side] > 0, Action::Lose(side)),
                (restores && !taken, Action::Snapshot(side)),
                (restores && taken, Action::Restore(side)),
            ];
            actions.extend(faults.into_iter().filter(|(may, _)| *may).map(|(_, action)| action));
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        match action {
            Action::Crash(side) => self.crash(&mut next, side),
            Action::Lose(side) => Self::lose(&mut next, side),
            Action::Restore(side) => self.restore(&mut next, side),
            Action::Snapshot(0) => next.snapshots.0 = Some(world.near_disk),
            // Memory is no part of it.
            Action::Snapshot(_) => next.snapshots.1 = Some(Far { attempt: None, called: false, ..world.far }),
            Action::NearConfirms | Action::Send | Action::MarkSent | Action::ReadResponse(_) => {
                self.near_step(&mut next, action);
            }
            _ => self.far_step(&mut next, action),
        }
        if matches!(action, Action::Lose(0) | Action::Restore(0)) {
            next.near_disk = next.near;
        }
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::<Self>::always("S2", |model, world: &World| model.harmless || world.effects <= 1),
            Property::<Self>::always("S12", |model, world| model.harmless || world.marks <= 1),
            Property::<Self>::always("S3: one end is told", |_, world| world.near_restored || !world.told_otherwise),
            Property::<Self>::always("S3: not executed is true", |_, world| {
                world.near.call != Call::Ended(End::NotExecuted) || world.effects == 0
            }),
            Property::<Self>::always("S3: delivered is true", |_, world| {
                world.near.call != Call::Ended(End::Delivered) || world.effects > 0
            }),
            Property::<Self>::sometimes("delivered", |_, world| world.near.call == Call::Ended(End::Delivered)),
            Property::<Self>::sometimes("not executed", |_, world| world.near.call == Call::Ended(End::NotExecuted)),
        ];
        if self.faults != Faults::default() {
            properties
                .push(Property::<Self>::sometimes("unknown", |_, world| world.near.call == Call::Ended(End::Unknown)));
        }
        if self.harmless && self.faults.crashes[1] > 0 {
            properties.push(Property::<Self>::sometimes("made again", |_, world| {
                world.effects > 1 && world.near.call == Call::Ended(End::Delivered)
            }));
        }
        properties
    }
}

impl Handover {
    /// Which actions are faults of the world: packets that nobody would send any more are lost.
    pub fn faults_of(&self, world: &World) -> impl Fn(&Action) -> bool + use<> {
        let (near, far) = (world.near, world.far);
        move |action| match action {
            Action::Receive(request) => !(near.call == Call::Open && near.sent && *request == (near.life, near.peer)),
            Action::ReadResponse((life, peer, response)) => {
                !(far.peer == *life && far.life == *peer && far.response == Some(*response))
            }
            other => other.is_disaster(),
        }
    }
}
