//! What a peering asks for, worked out from what is known: [`plan`] turns a [`World`] into a [`Plan`].
//!
//! Invariants: pure (no clock, no randomness, no I/O: the time is an argument); the same world gives the same plan, byte
//! for byte; whatever is refused names the field and the remedy. What was made from an accepted spec stays until the next
//! spec is accepted. It applies nothing. Test to read first: `tests/scene.rs`, how the tests write a
//! world; then `tests/connected.rs`.

mod check;
mod claims;
mod conditions;
mod config;
mod container;
mod events;
mod gateway;
mod health;
mod injection;
mod keys;
mod pods;
mod programmed;
mod status;
mod verdict;
mod world;

pub use world::{Container, Event, Instance, Plan, PodStatus, Role, Settings, World, child_metadata, is_child};

use crd_types::{ConditionType, Mechanism, Reason};

use conditions::Verdicts;
use config::Rendered;
use container::Engine;
use health::Health;
use keys::Keys;
use verdict::Verdict;

/// Works out what is to be made true of a peering, and how it is.
#[must_use]
pub fn plan(world: &World<'_>) -> Plan {
    let peering = world.peering;
    let keys = Keys::of(&peering.spec, world.now);
    let config = config::render(world, &keys);
    let health = Health::of(world);
    let accepted = check::verdict(world, &keys, &config);
    let volume_ready = held_back(world, &health, ConditionType::VolumeReady, claims::verdict(world, &health));
    let keys_ready = keys.verdict(peering);

    let before = [&accepted, &keys_ready].into_iter().find(|verdict| !verdict.is_true()).cloned();
    let held = peering.spec.paused || peering.metadata.deletion_timestamp.is_some();
    let secret_name = keys::own_secret(peering);
    let engine = secret_name.filter(|_| before.is_none() && !held).map(|secret_name| Engine {
        peering,
        settings: world.settings,
        secret_name,
        config_sha256: &config.sha256,
    });

    let mut plan = Plan { generate_identity: secret_name.is_none() && !held, ..Plan::default() };
    if let Some(engine) = &engine {
        objects(world, engine, &config, &mut plan);
    }
    plan.remove_gateway = !held && removes_gateway(world, before.is_none(), keys_ready.is_true());
    let planned = programmed::Planned {
        before: before.as_ref(),
        engine: engine.as_ref(),
        stateful_set: plan.stateful_set.as_ref(),
    };
    let absence = programmed::absence(world, &health);
    let verdicts = Verdicts {
        programmed: programmed::verdict(world, &health, &planned),
        peer_alive: held_back(world, &health, ConditionType::PeerAlive, health.peer_alive(&absence)),
        delivering: held_back(world, &health, ConditionType::Delivering, health.delivering(&absence)),
        accepted,
        volume_ready,
        keys_ready: keys_ready.clone(),
    };
    let conditions = verdicts.written(peering, world.now);
    plan.events = events::events(peering, &conditions);
    plan.pods = pods::statuses(world, &health);
    let injection = injection_status(world, engine.as_ref(), &keys_ready, held);
    plan.status = status::status(world, &health, &keys, injection, conditions);
    plan
}

/// The verdict; while an engine was not asked yet, what stands instead, unless the answer is certain already.
fn held_back(world: &World<'_>, health: &Health<'_>, kind: ConditionType, verdict: Verdict) -> Verdict {
    if !health.any_unasked() {
        return verdict;
    }
    let standing = conditions::standing(world.peering, kind).and_then(Verdict::of);
    let keeps = |standing: &Verdict| match kind {
        // Claims are seen without asking anyone; what engines say of the folder is not.
        ConditionType::VolumeReady => verdict.is_true() && standing.reason == Reason::OutboxFailing,
        _ => !verdict.is_true(),
    };
    standing.filter(keeps).unwrap_or(verdict)
}

fn objects(world: &World<'_>, engine: &Engine<'_>, config: &Rendered, plan: &mut Plan) {
    plan.config_map = Some(config::config_map(world.peering, config));
    if let Some(gateway) = &world.peering.spec.gateway
        && gateway::foreign(world).is_none()
    {
        plan.service = Some(gateway::service(engine));
        plan.stateful_set = Some(gateway::stateful_set(engine, gateway, world.stateful_set));
    }
}

/// The gateway goes when the spec asks for none, or when no key of the far side is left: a key that was taken back must not
/// go on working. Its claims stay, with the logs on them. A spec that is refused changes nothing.
fn removes_gateway(world: &World<'_>, accepted: bool, keys_ready: bool) -> bool {
    let unasked = accepted && world.peering.spec.gateway.is_none();
    (unasked || !keys_ready) && world.stateful_set.is_some() && gateway::foreign(world).is_none()
}

/// What is put into pods from now on.
fn injection_status(
    world: &World<'_>,
    engine: Option<&Engine<'_>>,
    keys_ready: &Verdict,
    held: bool,
) -> Option<crd_types::InjectionStatus> {
    if held {
        return injection::standing(world).cloned();
    }
    let asked = world.peering.spec.injection.as_ref()?;
    if asked.mechanism == Mechanism::None {
        return None;
    }
    match engine {
        Some(engine) => injection::rendered(world, engine),
        // Without keys an engine would not start; with a spec that is refused the last good one goes on.
        None if keys_ready.is_true() => injection::standing(world).cloned(),
        None => None,
    }
}

#[cfg(test)]
mod tests;
