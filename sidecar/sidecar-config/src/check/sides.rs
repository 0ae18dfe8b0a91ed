//! The two sides, their keys and the modes between them.
//!
//! Invariant: whatever a mode needs (secret keys here, public keys of the far side) is named somewhere in the file.
//! It does not decode keys. Test to read first: `every_contradiction_is_caught` in `read/tests.rs`.

use std::{path::Path, time::Duration};

use super::{bounds, callers, folders};
use crate::{
    config::{Local, Mode, Modes, Remote},
    file,
    name::Name,
    overrides::{Given, Overrides},
    problem::{Problems, Refusal},
    section::{EndpointKind, Identity},
};

/// Most endpoints of a side (wire format §14).
const ENDPOINTS_MAX: u32 = 1_024;
/// Longest public key token, in bytes (wire format §14).
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// What every public key token begins with, and no secret key does (wire format §12).
const TOKEN_PREFIX: &str = "hoft1";

/// Largest weight of an endpoint.
const WEIGHT_MAX: u32 = 1_000;

pub(super) fn local(file: &file::Local, overrides: &Overrides, problems: &mut Problems) -> Option<Local> {
    let name = problems.take("local.name", Name::new(&file.name));
    let kind = match overrides.kind() {
        None => Some(file.kind),
        Some(Given { field, text }) => problems.take(field, kind(text)),
    };
    let Given { field, text } = overrides.endpoint(&file.endpoint);
    let endpoint = kind.and_then(|kind| problems.take(field, endpoint(kind, text)));
    // The file is one for all pods, so the name in it would be that of all of them.
    if overrides.kind.is_some() && kind == Some(EndpointKind::Pod) && overrides.endpoint.is_none() {
        problems.add(
            "HOFT_ENDPOINT (--endpoint)",
            "is missing, and HOFT_KIND is pod",
            "set it to the pod's UID, by a fieldRef to metadata.uid",
        );
    }
    let namespace = overrides.namespace(file.namespace.as_deref());
    let namespace = namespace.and_then(|Given { field, text }| problems.take(field, callers::namespace(text)));
    let account = overrides.service_account(file.service_account.as_deref());
    let service_account =
        account.and_then(|Given { field, text }| problems.take(field, callers::service_account(text)));
    if file.weight > WEIGHT_MAX {
        problems.add(
            "local.weight",
            format!("{} is more than {WEIGHT_MAX}", file.weight),
            format!("write 0 to {WEIGHT_MAX}; only the ratio to the weights of this side's other endpoints counts"),
        );
    }
    Some(Local { name: name?, endpoint: endpoint?, kind: kind?, namespace, service_account, weight: file.weight })
}

fn kind(text: &str) -> Result<EndpointKind, Refusal> {
    let all = [EndpointKind::Gateway, EndpointKind::Pod];
    all.into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or_else(|| Refusal::new(format!("`{text}` is not a kind of endpoint"), "write gateway or pod"))
}

fn endpoint(kind: EndpointKind, text: &str) -> Result<String, Refusal> {
    match kind {
        EndpointKind::Gateway => match text.parse::<u32>() {
            Ok(ordinal) if ordinal < ENDPOINTS_MAX && ordinal.to_string() == text => Ok(text.to_owned()),
            Ok(_) | Err(_) => Err(Refusal::new(
                format!("`{text}` is not the ordinal of a gateway endpoint"),
                format!("write a number below {ENDPOINTS_MAX} without leading zeros; a stand-alone engine is \"0\""),
            )),
        },
        EndpointKind::Pod => Name::new(text).map(|name| name.as_str().to_owned()),
    }
}

pub(super) fn remote(
    file: file::Remote,
    base_dir: &Path,
    loss_timeout: Duration,
    problems: &mut Problems,
) -> Option<Remote> {
    let name = problems.take("remote.name", Name::new(&file.name));
    let mut keys: Vec<String> = Vec::with_capacity(file.keys.len());
    for (index, key) in file.keys.iter().enumerate() {
        let field = format!("remote.keys[{index}]");
        let Some(token) = problems.take(field.as_str(), token(key)) else {
            continue;
        };
        if keys.iter().any(|other| other == token) {
            problems.add(field, "is listed twice", "remove one of the two");
        } else {
            keys.push(token.to_owned());
        }
    }
    let key_files = file
        .key_files
        .iter()
        .enumerate()
        .map(|(index, path)| folders::resolve(base_dir, path, &format!("remote.keyFiles[{index}]"), problems))
        .collect();
    let revoked = file.revoked_keys.iter().enumerate();
    let revoked_keys =
        revoked.filter_map(|(index, id)| problems.take(format!("remote.revokedKeys[{index}]"), key_id(id))).collect();
    let forget_after = bounds::forget_after(file.forget_after, loss_timeout, problems);
    Some(Remote { name: name?, keys, key_files, revoked_keys, forget_after })
}

/// The id of a key: what `hoft key show` and `hoft inspect` show it by.
fn key_id(text: &str) -> Result<[u8; 8], Refusal> {
    let digits = text.len() == 16 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    match u64::from_str_radix(text, 16) {
        Ok(id) if digits => Ok(id.to_be_bytes()),
        Ok(_) | Err(_) => Err(Refusal::new(
            "is not the id of a signing key",
            "write its 16 hex digits in quotes, as `hoft key show` says them of the token",
        )),
    }
}

fn token(text: &str) -> Result<&str, Refusal> {
    let token = text.trim();
    // The text itself is not repeated: whoever pasted the wrong thing may have pasted a secret.
    if !token.starts_with(TOKEN_PREFIX) {
        return Err(Refusal::new(
            format!("is not a public key token: it does not begin with `{TOKEN_PREFIX}`"),
            "paste the far side's public key token; a file's name belongs into remote.keyFiles, and secret keys never leave their side",
        ));
    }
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Refusal::new(
            format!("is longer than {TOKEN_BYTES_MAX} bytes"),
            "paste one token for each list item",
        ));
    }
    let strange = token.bytes().any(|b| !(b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
    if strange {
        return Err(Refusal::new(
            "has characters that no public key token has",
            "paste the token in one piece, without line breaks; each token is a list item of its own",
        ));
    }
    Ok(token)
}

pub(super) fn names_differ(local: &Name, remote: &Name, problems: &mut Problems) {
    if local == remote {
        problems.add(
            "remote.name",
            format!("is `{remote}`, the name of this side"),
            "give the two sides different names; the far side's file has the same two, swapped",
        );
    }
}

pub(super) fn realm(text: &str, problems: &mut Problems) -> String {
    if !text.is_empty() {
        problems.take("realm", Name::new(text));
    }
    text.to_owned()
}

pub(super) fn identity(mut identity: Identity, base_dir: &Path, problems: &mut Problems) -> Identity {
    identity.secret_file =
        identity.secret_file.map(|path| folders::resolve(base_dir, &path, "identity.secretFile", problems));
    for (index, path) in identity.retired_files.iter_mut().enumerate() {
        *path = folders::resolve(base_dir, path, &format!("identity.retiredFiles[{index}]"), problems);
    }
    if identity.secret_file.is_none() && !identity.retired_files.is_empty() {
        problems.add(
            "identity.retiredFiles",
            "is of no use without identity.secretFile",
            "name the file of this side's keys in identity.secretFile, or remove the field",
        );
    }
    identity
}

pub(super) fn modes(file: &file::Modes, allow_unauthenticated: bool, problems: &mut Problems) -> Option<Modes> {
    let send = problems.take("modes.send", file.send.parse::<Mode>());
    let accept = match &file.accept {
        None => send.map(|mode| vec![mode]),
        Some(listed) => accepted(listed, problems),
    };
    let modes = Modes { send: send?, accept: accept? };
    if !allow_unauthenticated {
        let field = if modes.send == Mode::Checksum {
            Some("modes.send")
        } else if modes.accept.contains(&Mode::Checksum) {
            Some("modes.accept")
        } else {
            None
        };
        if let Some(field) = field {
            problems.add(
                field,
                "is Checksum: anyone who can write into the folder could forge calls",
                "write Sealed or Signed; for tests or a trusted pipe set allowUnauthenticated: true",
            );
        }
    }
    Some(modes)
}

fn accepted(listed: &[String], problems: &mut Problems) -> Option<Vec<Mode>> {
    if listed.is_empty() {
        problems.add(
            "modes.accept",
            "is empty: nothing from the far side would be accepted",
            "name what the far side sends, or remove the field to accept what this side sends",
        );
        return None;
    }
    let mut modes = Vec::with_capacity(listed.len());
    for (index, text) in listed.iter().enumerate() {
        let mode = problems.take(format!("modes.accept[{index}]"), text.parse::<Mode>());
        if let Some(mode) = mode
            && !modes.contains(&mode)
        {
            modes.push(mode);
        }
    }
    (!modes.is_empty()).then_some(modes)
}

/// `key_listed`: whether the file names any key of the far side, good or bad.
pub(super) fn keys_are_there(modes: &Modes, key_listed: bool, identity: &Identity, problems: &mut Problems) {
    if modes.need_identity() && identity.secret_file.is_none() {
        problems.add(
            "identity.secretFile",
            "is missing: Signed and Sealed need this side's secret keys",
            "make keys once and name their file",
        );
    }
    if modes.need_remote_keys() && !key_listed {
        problems.add(
            "remote.keys",
            "is empty, and so is remote.keyFiles: no packet of the far side could be verified",
            "paste the far side's public key token into remote.keys, or name its file in remote.keyFiles",
        );
    }
}

pub(super) fn secret_is_not_a_peer_key(remote: &Remote, identity: &Identity, problems: &mut Problems) {
    let mut secrets = identity.secret_file.iter().chain(&identity.retired_files);
    if let Some(index) = secrets.find_map(|secret| remote.key_files.iter().position(|file| file == secret)) {
        problems.add(
            format!("remote.keyFiles[{index}]"),
            "is this side's own secret file",
            "name the file with the far side's public key token",
        );
    }
}
