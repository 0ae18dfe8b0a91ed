//! Callbacks: each rule names a place that can be reached and how deliveries to it are signed.
//!
//! Invariants: nothing is delivered unsigned; a URL holds no user, password, query or fragment, and its path is read the same way by
//! every server; a special address in it is one that the rule lists. It reads no file and resolves no name.
//! Test to read first: `each_part_of_a_callback_rule_can_be_wrong` in `read/tests/callbacks.rs`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bytesize::ByteSize;
use url::Url;

use super::{bounds, destinations::is_plain, folders, rules, targets};
use crate::{
    callbacks::{CallbackRule, CallbackSettings, CallbackTarget, Callbacks},
    name::Name,
    problem::{Problems, Refusal},
    quantity::{format_duration, format_size},
};

/// Longest time for which a delivery is tried.
const RETRY_FOR_MAX: Duration = Duration::from_secs(72 * 3_600);
/// Shortest pause: a receiver is not to be hammered.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Most deliveries to one rule at once.
const IN_FLIGHT_MAX: u32 = 256;
/// Largest body that a result carries: it is held whole while it is delivered.
const INLINE_MAX: ByteSize = ByteSize::mib(1);
/// Key files of one rule.
const SECRET_FILES_MAX: usize = 8;

pub(super) fn callbacks(file: &Callbacks, base_dir: &Path, problems: &mut Problems) -> CallbackSettings {
    let list = "callbacks.allow";
    let rules = file.allow.iter().enumerate();
    let allow =
        rules.filter_map(|(index, target)| rule(&format!("{list}[{index}]"), target, base_dir, problems)).collect();
    rules::names_differ(list, &file.allow.iter().map(|target| target.name.as_str()).collect::<Vec<_>>(), problems);
    bounds::duration("callbacks.timeout", file.timeout, problems);
    retry(file, problems);
    if file.in_flight == 0 || file.in_flight > IN_FLIGHT_MAX {
        let message = format!("is {}: nothing could be delivered, or too much at once", file.in_flight);
        problems.add("callbacks.inFlight", message, format!("write 1 to {IN_FLIGHT_MAX}"));
    }
    if file.inline_max > INLINE_MAX {
        let (given, most) = (format_size(file.inline_max), format_size(INLINE_MAX));
        let message = format!("{given} is more than {most}: it would be held whole while it is delivered");
        problems.add(
            "callbacks.inlineMax",
            message,
            format!("write at most {most}; a larger response is fetched by its link"),
        );
    }
    let (timeout, retry, in_flight, inline_max) = (file.timeout, file.retry, file.in_flight, file.inline_max);
    CallbackSettings { allow, timeout, retry, in_flight, inline_max }
}

/// The files of keys with their fields.
pub(super) fn secrets(settings: &CallbackSettings) -> impl Iterator<Item = (String, PathBuf)> {
    let files = settings.allow.iter().flat_map(|rule| rule.secret_files.iter().map(|file| (&rule.name, file)));
    files.map(|(name, file)| (format!("callbacks.allow `{name}`.secretFiles"), file.clone()))
}

fn retry(file: &Callbacks, problems: &mut Problems) {
    let retry = file.retry;
    if retry.first < PAUSE_MIN || retry.max < retry.first {
        problems.add(
            "callbacks.retry",
            format!("pauses from {} to {}", format_duration(retry.first), format_duration(retry.max)),
            format!("let `first` be at least {}, and `max` at least that", format_duration(PAUSE_MIN)),
        );
    }
    if retry.for_ > RETRY_FOR_MAX || retry.for_.is_zero() {
        problems.add(
            "callbacks.retry.for",
            format!("{} is too long, or no time at all", format_duration(retry.for_)),
            format!("write up to {}", format_duration(RETRY_FOR_MAX)),
        );
    }
}

fn rule(field: &str, file: &CallbackTarget, base_dir: &Path, problems: &mut Problems) -> Option<CallbackRule> {
    let name = problems.take(format!("{field}.name"), Name::new(&file.name));
    let url_field = format!("{field}.url");
    let url = problems.take(url_field.as_str(), place(&file.url));
    let addresses = file.addresses.iter().enumerate();
    let addresses: Vec<_> = addresses
        .filter_map(|(index, text)| problems.take(format!("{field}.addresses[{index}]"), rules::network(text)))
        .collect();
    if file.secret_files.is_empty() || file.secret_files.len() > SECRET_FILES_MAX {
        problems.add(
            format!("{field}.secretFiles"),
            format!("names {} files: a delivery is signed with 1 to {SECRET_FILES_MAX} keys", file.secret_files.len()),
            "name a file that holds a key, made with: echo whsec_$(head -c 32 /dev/urandom | base64)",
        );
    }
    let files = file.secret_files.iter().enumerate();
    let secret_files = files
        .map(|(index, path)| folders::resolve(base_dir, path, &format!("{field}.secretFiles[{index}]"), problems))
        .collect();
    let ca_field = format!("{field}.caFile");
    let ca_file = file.ca_file.as_ref().map(|path| folders::resolve(base_dir, path, &ca_field, problems));
    let (name, url) = (name?, url?);
    if ca_file.is_some() && url.scheme() != "https" {
        problems.add(ca_field, "has no use: the rule's URL is called by http", "remove it, or call by https");
    }
    if addresses.len() == file.addresses.len() {
        targets::is_reachable(&url_field, url.host_str().unwrap_or_default(), &addresses, problems);
    }
    Some(CallbackRule { name, url, addresses, secret_files, ca_file })
}

fn place(text: &str) -> Result<Url, Refusal> {
    let example = "https://shop.example/hooks/";
    let url = targets::plain(text, example)?;
    if is_plain(url.path()) {
        return Ok(url);
    }
    Err(targets::refusal(text, "has an encoded slash, backslash or percent sign in its path", example))
}
