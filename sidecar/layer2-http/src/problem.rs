//! What a caller is told when hoft, not the upstream, ends a call: problem details (RFC 9457) and Proxy-Status (RFC
//! 9209).
//!
//! Invariants: one kind per cause, with a fixed status, title and error token; nothing from outside reaches a field
//! value without being made printable; responses of an upstream are never turned into problems. Test to read first:
//! `every_kind_has_its_own_slug_and_a_registered_error_token`.

use crate::fields::is_token_byte;
pub use crate::operation::Executed;
use crate::operation::OperationId;
use serde::Serialize;
use std::fmt::Write as _;

/// Media type of [`Problem::to_json`].
pub const CONTENT_TYPE: &str = "application/problem+json";
/// What a slug is appended to for the `type` member. It names; it is not fetched.
pub const TYPE_PREFIX: &str = "urn:hoft:problem:";
/// Characters of a detail that go into Proxy-Status.
const MAX_DETAILS: usize = 256;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $slug:literal $status:literal $token:literal $title:literal,)*) => {
        /// Causes, one each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ProblemKind {
            $($(#[$doc])* $kind,)*
        }

        impl ProblemKind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// Last part of the type URI; envelope key 17 and the metric label.
            #[must_use]
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$kind => $slug,)* }
            }

            /// Status of the response.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$kind => $status,)* }
            }

            /// Error token of Proxy-Status (RFC 9209 §2.3).
            #[must_use]
            pub const fn proxy_error(self) -> &'static str {
                match self { $(Self::$kind => $token,)* }
            }

            /// One line for people, the same for every occurrence.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)* }
            }
        }
    };
}

kinds! {
    /// The request is malformed.
    BadRequest "bad-request" 400 "http_request_error" "The request is malformed",
    /// No rule allows the call.
    RouteDenied "route-denied" 403 "http_request_denied" "No rule allows this call",
    /// The method does not exist on this path.
    MethodNotAllowed "method-not-allowed" 405 "http_request_error" "The method is not for this path",
    /// The request's head did not come in time.
    RequestTimeout "request-timeout" 408 "http_request_error" "The request did not come in time",
    /// More than the rule's quota.
    QuotaExceeded "quota-exceeded" 429 "http_request_denied" "The quota of this rule is used up",
    /// Nothing is kept, and the caller wants nothing else.
    NotCached "not-cached" 504 "proxy_internal_response" "No response to this request is kept",
    /// No rule allows the URL of a callback.
    CallbackDenied "callback-denied" 403 "http_request_denied" "No rule allows a callback to this URL",
    /// There is no route of that name.
    UnknownRoute "unknown-route" 404 "http_request_denied" "There is no route of this name",
    /// The Host is not one this port serves.
    ForeignHost "foreign-host" 421 "http_request_denied" "This port does not serve that host",
    /// The Origin is a foreign web page.
    ForeignOrigin "foreign-origin" 403 "http_request_denied" "Foreign web pages may not use this port",
    /// No operation of that id.
    UnknownOperation "unknown-operation" 404 "http_request_error" "There is no operation of this id",
    /// The operation id is in use.
    DuplicateOperation "duplicate-operation" 409 "http_request_error" "An operation of this id exists already",
    /// The operation has ended, so it cannot be cancelled.
    OperationEnded "operation-ended" 409 "http_request_error" "The operation has ended already",
    /// The stored result is not there yet.
    ResultNotReady "result-not-ready" 409 "http_request_error" "The operation has no result yet",
    /// The stored result is no longer kept.
    ResultGone "result-gone" 410 "http_request_error" "The result of this operation is not kept any more",
    /// The operation was cancelled.
    Cancelled "cancelled" 410 "http_request_error" "The operation was cancelled",
    /// The same Idempotency-Key is in progress.
    KeyInProgress "idempotency-key-in-progress" 409 "http_request_error" "A call with this Idempotency-Key is in progress",
    /// The Idempotency-Key belongs to another request.
    KeyReused "idempotency-key-reused" 422 "http_request_error" "This Idempotency-Key belongs to another request",
    /// The request body is too large.
    BodyTooLarge "body-too-large" 413 "http_request_error" "The request body is too large",
    /// The header section is too large.
    FieldsTooLarge "fields-too-large" 431 "http_request_error" "The header section is too large",
    /// The call came round to where it was.
    LoopDetected "loop-detected" 508 "proxy_loop_detected" "The call goes in a loop",
    /// The target resolves to an address that must not be connected to.
    AddressDenied "address-denied" 502 "destination_ip_prohibited" "The address of the target is not allowed",
    /// The name does not resolve.
    DnsError "dns-error" 502 "dns_error" "The name of the target could not be resolved",
    /// The name was not resolved in time.
    DnsTimeout "dns-timeout" 504 "dns_timeout" "The name of the target was not resolved in time",
    /// The target refuses connections.
    ConnectionRefused "connection-refused" 502 "connection_refused" "The target refused the connection",
    /// The target was not reached in time.
    ConnectionTimeout "connection-timeout" 504 "connection_timeout" "The target could not be reached in time",
    /// The TLS handshake failed.
    TlsError "tls-error" 502 "tls_protocol_error" "The TLS handshake with the target failed",
    /// The target's certificate is not trusted.
    TlsCertificate "tls-certificate" 502 "tls_certificate_error" "The certificate of the target is not trusted",
    /// The upstream did not answer in time.
    UpstreamTimeout "upstream-timeout" 504 "http_response_timeout" "The target did not answer in time",
    /// The response was cut short.
    ResponseIncomplete "response-incomplete" 502 "http_response_incomplete" "The response was cut short",
    /// The response is no HTTP, or cannot be carried.
    ResponseInvalid "response-invalid" 502 "http_protocol_error" "The response of the target is not valid HTTP",
    /// The upstream closed before it answered.
    UpstreamClosed "upstream-closed" 502 "connection_terminated" "The target closed the connection before it answered",
    /// The call may or may not have had its effect.
    OutcomeUnknown "outcome-unknown" 502 "connection_terminated" "Whether the call had its effect cannot be known",
    /// What the far side adds to the call cannot be read.
    CredentialsMissing "credentials-missing" 502 "proxy_configuration_error" "The far side cannot read its credentials for this call",
    /// The far side got no access token.
    TokenUnavailable "token-unavailable" 503 "destination_unavailable" "The far side got no access token for this call",
    /// An upgrade or byte stream failed.
    UpgradeFailed "upgrade-failed" 502 "http_upgrade_failed" "The upgrade failed",
    /// The far side has not been heard of.
    PeerSilent "peer-silent" 503 "destination_unavailable" "The far side has not been heard of",
    /// No room for another call.
    LogFull "log-full" 503 "connection_limit_reached" "There is no room for another call at present",
    /// The local port has as many connections as it may have.
    TooManyConnections "too-many-connections" 503 "connection_limit_reached" "The port has too many connections",
    /// The caller's wait is over; the work continues.
    WaitOver "wait-over" 504 "http_response_timeout" "The answer did not come in time; the operation continues",
    /// The deadline passed before the call was made.
    Expired "expired" 504 "http_response_timeout" "The deadline passed before the call was made",
    /// A fault of this program.
    Internal "internal" 500 "proxy_internal_error" "hoft failed",
}

impl ProblemKind {
    /// The kind of that slug, such as a far side sent it in an envelope.
    #[must_use]
    pub fn from_slug(slug: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.slug() == slug)
    }
}

/// One occurrence of a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Status of the response; that of the kind unless there is reason for another.
    pub status: u16,
    /// The cause.
    pub kind: ProblemKind,
    /// What happened, with its remedy, for people.
    pub detail: String,
    /// The operation it ended.
    pub operation: Option<OperationId>,
    /// Was the call made?
    pub executed: Option<Executed>,
    /// When to try again, in seconds.
    pub retry_after_s: Option<u64>,
    /// The methods that the path does have, for Allow.
    pub allow: Option<&'static str>,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<OperationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    executed: Option<Executed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u64>,
}

impl Problem {
    /// A problem of this kind with its usual status.
    #[must_use]
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { status: kind.status(), kind, detail, operation: None, executed: None, retry_after_s: None, allow: None }
    }

    /// The outcome of a call that was cut off, or that a lost state leaves open.
    #[must_use]
    pub fn outcome_unknown(operation: OperationId) -> Self {
        let detail = "outcome unknown: the call was being made when its state was lost, and may have had its effect";
        Self::new(ProblemKind::OutcomeUnknown, detail).of(operation).executed(Executed::Maybe)
    }

    /// A method that the path does not have; `allow` lists those that it has.
    #[must_use]
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let mut problem = Self::new(ProblemKind::MethodNotAllowed, format!("this path takes {allow}"));
        problem.allow = Some(allow);
        problem.executed(Executed::No)
    }

    /// Names the operation.
    #[must_use]
    pub const fn of(mut self, operation: OperationId) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Says whether the call was made.
    #[must_use]
    pub const fn executed(mut self, executed: Executed) -> Self {
        self.executed = Some(executed);
        self
    }

    /// Says when to try again, in seconds.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The type URI.
    #[must_use]
    pub fn type_uri(&self) -> String {
        format!("{TYPE_PREFIX}{}", self.kind.slug())
    }

    /// The body, of type [`CONTENT_TYPE`].
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let body = Body {
            r#type: self.type_uri(),
            title: self.kind.title(),
            status: self.status,
            detail: &self.detail,
            instance: self.operation.map(|operation| operation.location()),
            operation: self.operation,
            executed: self.executed,
            retry_after_s: self.retry_after_s,
        };
        // Strings and numbers under fixed keys: there is nothing that could fail to serialise.
        serde_json::to_vec(&body).unwrap_or_default()
    }

    /// The value of Proxy-Status; `pseudonym` names this proxy.
    #[must_use]
    pub fn proxy_status_field(&self, pseudonym: &str) -> String {
        let mut value = format!("{}; error={}", sf_item(pseudonym), self.kind.proxy_error());
        if !self.detail.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(value, "; details={}", sf_string(&self.detail));
        }
        value
    }
}

/// A structured-field token if `text` is one, else a string (RFC 8941 §3.3).
fn sf_item(text: &str) -> String {
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '*');
    if first && text.bytes().all(|b| is_token_byte(b) || b == b':' || b == b'/') {
        text.to_owned()
    } else {
        sf_string(text)
    }
}

/// A structured-field string: printable ASCII; anything else becomes `?`.
fn sf_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars().take(MAX_DETAILS) {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(if matches!(c, ' '..='~') { c } else { '?' });
    }
    out.push('"');
    out
}

#[cfg(test)]
mod document;
#[cfg(test)]
mod tests;
