//! From the file as written to the checked configuration: every contradiction is found, not only the first.
//!
//! Invariant: pure; the only knowledge besides the file is the folder it lies in. Each submodule owns some sections.
//! It does not look whether anything exists. Test to read first: `every_contradiction_is_caught` in `read/tests.rs`.

mod bounds;
mod callbacks;
mod callers;
mod destinations;
mod far_side;
mod folders;
mod listen;
mod near_side;
mod rules;
mod sides;
mod targets;
mod tunnels;

use std::path::Path;

use crate::{
    config::{Config, Inbound, Outbound},
    file::ConfigFile,
    overrides::Overrides,
    problem::{Problem, Problems},
    section::Identity,
};

pub(crate) use folders::{Kept, overlaps, secrets};

/// Checks a whole file, with what the start says in its place; paths are resolved against `base_dir`.
pub(crate) fn check(file: ConfigFile, overrides: &Overrides, base_dir: &Path) -> Result<Config, Vec<Problem>> {
    let mut problems = Problems::default();
    let local = sides::local(&file.local, overrides, &mut problems);
    let key_listed = !file.remote.keys.is_empty() || !file.remote.key_files.is_empty();
    let loss_timeout = file.heartbeat.loss_timeout(file.mirror.expected_latency);
    let remote = sides::remote(file.remote, base_dir, loss_timeout, &mut problems);
    if let (Some(local), Some(remote)) = (&local, &remote) {
        sides::names_differ(&local.name, &remote.name, &mut problems);
    }
    let realm = sides::realm(&file.realm, &mut problems);
    let identity = sides::identity(file.identity, base_dir, &mut problems);
    let modes = sides::modes(&file.modes, file.allow_unauthenticated, &mut problems);
    if let Some(modes) = &modes {
        sides::keys_are_there(modes, key_listed, &identity, &mut problems);
    }
    if let Some(remote) = &remote {
        sides::secret_is_not_a_peer_key(remote, &identity, &mut problems);
    }
    let folders = folders::mirrored(file.folders, base_dir, &mut problems);
    let state_folder = folders::resolve(base_dir, &file.state.folder, "state.folder", &mut problems);
    let callbacks = callbacks::callbacks(&file.callbacks, base_dir, &mut problems);
    let outbound = rules::outbound(&file.outbound, &file.limits, &mut problems);
    let place = |path: &Path, field: &str, problems: &mut Problems| folders::resolve(base_dir, path, field, problems);
    let interception = file.interception.checked(&outbound, &mut problems, place);
    let authority = interception.key_file.clone().map(|path| ("interception.keyFile".to_owned(), path));
    problems.extend(overlaps(&Kept {
        outbox: &folders.outbox,
        inbox: &folders.inbox,
        state: &state_folder,
        secrets: secrets(&identity, &[], Path::to_path_buf)
            .into_iter()
            .chain(callbacks::secrets(&callbacks))
            .chain(authority)
            .collect(),
    }));
    let mut state = file.state;
    state.folder = state_folder;
    bounds::state(&state, &mut problems);
    bounds::mirror(&file.mirror, &mut problems);
    bounds::outbox(&file.outbox, &mut problems);
    let listen = listen::listen(&file.listen, &mut problems);
    bounds::heartbeat(&file.heartbeat, file.mirror.expected_latency, &mut problems);
    let mut limits = file.limits;
    bounds::limits(&limits, &mut problems);
    limits.stream_window = limits.stream_window.min(state.receive_pool);
    let inbound = rules::inbound(&file.inbound, limits.body_max, base_dir, &mut problems);
    let of_rules = secrets(&Identity::default(), &inbound, Path::to_path_buf);
    problems.extend(folders::carried(&folders.outbox, &folders.inbox, &of_rules));
    let deny_addresses = rules::networks("inbound.denyAddresses", &file.inbound.deny_addresses, &mut problems);

    match (local, remote, modes, listen) {
        (Some(local), Some(remote), Some(modes), Some(listen)) if problems.is_empty() => Ok(Config {
            local,
            remote,
            realm,
            identity,
            modes,
            folders,
            outbox: file.outbox,
            state,
            mirror: file.mirror,
            listen,
            heartbeat: file.heartbeat,
            outbound: Outbound { allow: outbound },
            inbound: Inbound { allow: inbound, deny_addresses },
            callbacks,
            interception,
            limits,
            log: file.log,
        }),
        _ => Err(problems.into_vec()),
    }
}
