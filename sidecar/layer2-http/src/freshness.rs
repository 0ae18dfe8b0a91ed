//! When a response may be kept and used again, by a cache that several callers share (RFC 9111).
//!
//! Invariants: nothing is kept that its request, its response or its status speaks against, and nothing private, with
//! a cookie, partial, or to a request with credentials unless the response says so; whatever is not understood counts
//! as against. The time on the line is part of the age (§4.2.3): the response was made no earlier than it was asked
//! for, so its Date by the origin's clock is believed within these bounds only. It stores nothing: that is `shelf`.
//! Test to read first: `what_may_be_kept`.

use crate::fields::Fields;
use http::Method;
use std::time::{Duration, SystemTime};

/// Longest life that is guessed from Last-Modified.
const GUESS_S_MAX: u64 = 24 * 3_600;
/// Statuses that may be kept without being told so (RFC 9110 §15.1), but 206: parts are not understood here.
const KEPT_BY_DEFAULT: [u16; 11] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];
/// Statuses that may be kept if they say for how long.
const KEPT_IF_TOLD: [u16; 3] = [302, 303, 307];

/// Directives of Cache-Control that count here (§5.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache`, with fields or without; or `Pragma: no-cache` of a request without Cache-Control.
    pub no_cache: bool,
    /// `private`, with fields or without.
    pub private: bool,
    /// `public`.
    pub public: bool,
    /// `must-revalidate` or `proxy-revalidate`.
    pub must_revalidate: bool,
    /// `proxy-revalidate`: as the other, but no leave to share what came to a request with credentials (§3.5).
    pub proxy_revalidate: bool,
    /// `only-if-cached`.
    pub only_if_cached: bool,
    /// `max-age`.
    pub max_age_s: Option<u64>,
    /// `s-maxage`.
    pub shared_max_age_s: Option<u64>,
    /// `min-fresh`.
    pub min_fresh_s: Option<u64>,
    /// `max-stale`; without a value it is all time.
    pub max_stale_s: Option<u64>,
    /// `stale-if-error` (RFC 5861).
    pub stale_if_error_s: Option<u64>,
}

impl Control {
    /// Reads all lines of Cache-Control. Of a directive that is given twice the stricter one counts; a time that is
    /// none is 0.
    #[must_use]
    pub fn of(fields: &Fields) -> Self {
        let mut control = Self::default();
        for directive in fields.get_all("cache-control").flat_map(directives) {
            control.take(directive);
        }
        let pragma = !fields.contains("cache-control")
            && fields.members("pragma").any(|member| member.eq_ignore_ascii_case(b"no-cache"));
        control.no_cache |= pragma;
        control
    }

    fn take(&mut self, directive: &[u8]) {
        let (name, value) = match directive.iter().position(|byte| *byte == b'=') {
            Some(at) => (directive[..at].trim_ascii(), Some(directive[at + 1..].trim_ascii())),
            None => (directive.trim_ascii(), None),
        };
        let least = |old: Option<u64>| Some(seconds(value).min(old.unwrap_or(u64::MAX)));
        match name.to_ascii_lowercase().as_slice() {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache = true,
            b"private" => self.private = true,
            b"public" => self.public = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"only-if-cached" => self.only_if_cached = true,
            b"max-age" => self.max_age_s = least(self.max_age_s),
            b"s-maxage" => self.shared_max_age_s = least(self.shared_max_age_s),
            b"min-fresh" => self.min_fresh_s = Some(seconds(value).max(self.min_fresh_s.unwrap_or(0))),
            b"max-stale" if value.is_none() => self.max_stale_s = self.max_stale_s.or(Some(u64::MAX)),
            b"max-stale" => self.max_stale_s = least(self.max_stale_s),
            b"stale-if-error" => self.stale_if_error_s = least(self.stale_if_error_s),
            _ => {}
        }
    }
}

/// Splits at commas outside of quoted strings.
fn directives(line: &[u8]) -> Vec<&[u8]> {
    let (mut parts, mut from, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in line.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                parts.push(&line[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&line[from..]);
    parts
}

/// Delta-seconds, bare or quoted (§1.2.2); too large ones are large, others are 0.
fn seconds(value: Option<&[u8]>) -> u64 {
    let value = value.unwrap_or_default();
    let bare = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
    if bare.is_empty() || !bare.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    std::str::from_utf8(bare).ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX)
}

/// A response as a cache looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// Method of the request.
    pub method: &'a Method,
    /// Header section of the request.
    pub asked: &'a Fields,
    /// The target has a query.
    pub query: bool,
    /// Status of the response.
    pub status: u16,
    /// Header section of the response.
    pub fields: &'a Fields,
    /// When the request was sent, by the calendar here.
    pub asked_at: SystemTime,
    /// When the response came, by the same.
    pub came_at: SystemTime,
}

/// For how long a kept response is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Seconds that it is fresh for, from when it was made.
    pub fresh_s: u64,
    /// How old it was when it came.
    pub age_s: u64,
    /// It must be asked about before every use.
    pub ask_always: bool,
    /// It must be asked about once it is stale.
    pub ask_when_stale: bool,
    /// Seconds beyond that for which it stands in for an error.
    pub stale_if_error_s: u64,
}

impl Answered<'_> {
    /// Whether this may be kept, and for how long it is good then.
    #[must_use]
    pub fn keep(&self) -> Option<Life> {
        let (asked, told) = (Control::of(self.asked), Control::of(self.fields));
        let against = *self.method != Method::GET
            || asked.no_store
            || told.no_store
            || told.private
            || self.asked.contains("range")
            || self.fields.contains("content-range")
            || self.fields.contains("set-cookie")
            || self.fields.members("vary").any(|name| name == b"*");
        let with_credentials = self.asked.contains("authorization")
            && !(told.public || told.must_revalidate || told.shared_max_age_s.is_some());
        let told_life = told.shared_max_age_s.or(told.max_age_s).or_else(|| self.expires_s());
        let by_status = KEPT_BY_DEFAULT.contains(&self.status)
            || (KEPT_IF_TOLD.contains(&self.status) && (told_life.is_some() || told.public));
        if against || with_credentials || !by_status {
            return None;
        }
        let fresh_s = told_life.unwrap_or_else(|| self.guess_s());
        let life = Life {
            fresh_s,
            age_s: self.age_s(),
            ask_always: told.no_cache,
            ask_when_stale: told.must_revalidate || told.proxy_revalidate || told.shared_max_age_s.is_some(),
            stale_if_error_s: told.stale_if_error_s.unwrap_or(0),
        };
        // What can neither be used nor asked about is not worth its room.
        let usable = (life.fresh_s > life.age_s && !life.ask_always) || has_validator(self.fields);
        usable.then_some(life)
    }

    /// Expires less Date; an Expires that is no date is in the past (§5.3).
    fn expires_s(&self) -> Option<u64> {
        let expires = self.fields.get("expires")?;
        let made = date(self.fields, "date").unwrap_or(self.came_at);
        let expires = std::str::from_utf8(expires).ok().and_then(|text| httpdate::parse_http_date(text).ok());
        Some(expires.map_or(0, |expires| since(expires, made).unwrap_or_default().as_secs()))
    }

    /// A tenth of the time for which it had not changed (§4.2.2); nothing for a target with a query.
    fn guess_s(&self) -> u64 {
        let made = date(self.fields, "date").unwrap_or(self.came_at);
        let unchanged = date(self.fields, "last-modified").and_then(|changed| since(made, changed));
        let guess = unchanged.map_or(0, |unchanged| (unchanged.as_secs() / 10).min(GUESS_S_MAX));
        if self.query { 0 } else { guess }
    }

    /// How old the response was when it came: the age that caches on the way gave it, and its time on the line. It
    /// was made after it was asked for, so that time is between nothing and the time since; a Date outside of that is
    /// of another clock.
    fn age_s(&self) -> u64 {
        let given = self.fields.get("age").map_or(0, |value| seconds(Some(value)));
        let transit_max = since(self.came_at, self.asked_at).unwrap_or_default();
        let latest = given.saturating_add(transit_max.as_secs() + u64::from(transit_max.subsec_nanos() > 0));
        let by_date = date(self.fields, "date").and_then(|made| since(self.came_at, made)).map(|age| age.as_secs());
        match by_date {
            Some(age) if age >= given && age <= latest => age,
            _ => latest,
        }
    }
}

/// What is to be done with a kept response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Use it.
    Now,
    /// Use it although it is stale: the request asked for that.
    Stale,
    /// Ask about it first.
    Ask {
        /// It is for the request's sake, not for the response's.
        wished: bool,
    },
}

impl Life {
    /// Seconds since the response was made, `resident` after it came.
    #[must_use]
    pub const fn age_now_s(&self, resident: Duration) -> u64 {
        self.age_s.saturating_add(resident.as_secs())
    }

    /// Whether it may be used for a request with these wishes (§4.2, §5.2.1).
    #[must_use]
    pub fn usable(&self, asked: &Control, resident: Duration) -> Use {
        let age_s = self.age_now_s(resident);
        let left_s = self.fresh_s.saturating_sub(age_s);
        let too_old = asked.max_age_s.is_some_and(|max| age_s > max);
        if asked.no_cache || too_old || asked.min_fresh_s.is_some_and(|min| left_s < min) {
            return Use::Ask { wished: true };
        }
        if self.ask_always {
            return Use::Ask { wished: false };
        }
        if self.fresh_s > age_s {
            return Use::Now;
        }
        let stale_s = age_s - self.fresh_s;
        if !self.ask_when_stale && asked.max_stale_s.is_some_and(|max| stale_s <= max) {
            return Use::Stale;
        }
        Use::Ask { wished: false }
    }

    /// Whether it may stand in for an error.
    #[must_use]
    pub const fn stands_in(&self, resident: Duration) -> bool {
        let stale_s = self.age_now_s(resident).saturating_sub(self.fresh_s);
        !self.ask_always && !self.ask_when_stale && self.stale_if_error_s > 0 && stale_s <= self.stale_if_error_s
    }
}

/// Can the origin be asked whether a response with these fields is still the one?
#[must_use]
pub fn has_validator(fields: &Fields) -> bool {
    fields.contains("etag") || fields.contains("last-modified")
}

/// Makes a request ask whether the kept response is still the one (§4.3.1). What the caller asked so itself is
/// answered here.
pub fn ask_about(request: &mut Fields, kept: &Fields) {
    for (condition, validator) in [("if-none-match", "etag"), ("if-modified-since", "last-modified")] {
        request.remove(condition);
        if let Some(value) = kept.get(validator) {
            // It was a valid value of a response.
            let _ = request.set(condition, bytes::Bytes::copy_from_slice(value));
        }
    }
}

/// Is a 304 with these fields about the kept response (§4.3.4)?
#[must_use]
pub fn is_about(kept: &Fields, not_modified: &Fields) -> bool {
    let tag = |fields: &Fields| fields.get("etag").map(|tag| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec());
    match (tag(kept), tag(not_modified)) {
        (Some(kept), Some(told)) => kept == told,
        _ => true,
    }
}

/// The kept fields, brought up to date by those of a 304 (§3.2).
#[must_use]
pub fn merged(kept: &Fields, not_modified: &Fields) -> Fields {
    // Of the content that stays, or of this hop only.
    let stays = |name: &str| {
        matches!(name, "content-length" | "content-encoding" | "content-range" | "content-type" | "transfer-encoding")
    };
    let mut merged = kept.clone();
    merged.retain(|name, _| stays(name) || !not_modified.contains(name));
    // The age is that of the validation, not of what was kept.
    merged.remove("age");
    for (name, value) in not_modified.iter().filter(|(name, _)| !stays(name)) {
        // Both sections were valid; beyond the bound on lines the rest is left out.
        let _ = merged.push(name.to_owned(), value.clone());
    }
    merged
}

/// Does the caller have the kept response already (RFC 9110 §13.1.2, §13.1.3)?
#[must_use]
pub fn caller_has_it(asked: &Fields, kept: &Fields) -> bool {
    if asked.contains("if-none-match") {
        let weak = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
        let mine = kept.get("etag").map(weak);
        return asked.members("if-none-match").any(|tag| tag == b"*" || mine.as_ref() == Some(&weak(tag)));
    }
    let since = date(asked, "if-modified-since");
    since.zip(date(kept, "last-modified")).is_some_and(|(since, changed)| changed <= since)
}

/// The values by which requests choose among responses: of each field that Vary names (§4.1).
#[must_use]
pub fn choice(asked: &Fields, answered: &Fields) -> Vec<(String, Vec<u8>)> {
    let mut names: Vec<String> =
        answered.members("vary").map(|name| String::from_utf8_lossy(name).to_ascii_lowercase()).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(|name| (name.clone(), value_of(asked, &name))).collect()
}

/// Is a request one that a response with this choice is for?
#[must_use]
pub fn is_chosen(choice: &[(String, Vec<u8>)], asked: &Fields) -> bool {
    choice.iter().all(|(name, value)| value_of(asked, name) == *value)
}

/// All values of a field as one list.
fn value_of(fields: &Fields, name: &str) -> Vec<u8> {
    fields.members(name).collect::<Vec<_>>().join(&b", "[..])
}

fn date(fields: &Fields, name: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(std::str::from_utf8(fields.get(name)?).ok()?).ok()
}

fn since(later: SystemTime, earlier: SystemTime) -> Option<Duration> {
    later.duration_since(earlier).ok()
}

#[cfg(test)]
mod tests;
