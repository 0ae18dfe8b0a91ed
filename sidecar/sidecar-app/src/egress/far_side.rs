//! What one rule does to its calls besides allowing them: fields dropped and added, tokens, cookies.
//!
//! Order, on the way out: fields that the rule's list does not let pass are dropped; the caller's own Authorization and
//! Cookie are, if the rule adds fields (unless it says otherwise); then the jar's cookies, the token and the credentials are
//! put in. On the way back: cookies go into the jar, then the list of responses drops. Invariants: nothing that is put in
//! here is ever in a record; all of it is there before the dispatch mark, so a failure is `executed: no`. Test to read
//! first: `tests::far_side::a_rule_that_adds_fields_drops_what_its_caller_sent`.

use std::sync::Arc;

use anyhow::{Context, Result};
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, StatusCode};
use layer2_http::field_filter::FieldFilter;
use layer2_http::fields::Fields;
use layer2_http::problem::Problem;
use sidecar_config::InboundRule;
use sidecar_config::far_side::{Cookies, FieldList};

use super::admission::Call;
use super::call::{self, Content, Reply};
use super::connector::Reach;
use super::cookies::{Jars, Owner};
use super::counts::TokenCounters;
use super::credentials::Credentials;
use super::filtered;
use super::oauth::{Held, TokenSource};
use super::tls::{self, SystemRoots};

/// A rule's own dealings. The default has none.
#[derive(Default)]
pub(super) struct FarSide {
    /// Which fields of requests pass.
    pub(super) request: Arc<FieldFilter>,
    /// Which fields of responses pass.
    pub(super) response: Arc<FieldFilter>,
    /// What is added.
    pub(super) credentials: Credentials,
    /// Is the caller's own Authorization and Cookie dropped?
    pub(super) drops_own: bool,
    /// Whence tokens come.
    pub(super) oauth: Option<Arc<TokenSource>>,
    /// Where cookies stay.
    pub(super) jars: Option<Jars>,
}

impl FarSide {
    /// What a rule says. `allow_readable`: files with secrets may be readable by others.
    ///
    /// # Errors
    /// When a file that the rule names cannot be used.
    pub(super) fn new(
        rule: &InboundRule,
        allow_readable: bool,
        reach: &Reach,
        system: &mut SystemRoots,
        counters: &Arc<TokenCounters>,
    ) -> Result<Self> {
        let far = &rule.far;
        let source = |endpoint: &sidecar_config::far_side::TokenEndpoint| {
            let tls = match endpoint.ca_file.as_ref().or(rule.ca_file.as_ref()) {
                Some(file) => tls::trusting(file).context("oauth")?,
                None if endpoint.url.scheme() == "https" => system.config()?,
                None => system.without_roots()?,
            };
            TokenSource::new(rule.name.as_str(), endpoint, allow_readable, reach, tls, Arc::clone(counters))
        };
        Ok(Self {
            request: Arc::new(filter(&far.request_headers)),
            response: Arc::new(filter(&far.response_headers)),
            credentials: Credentials::new(&far.credentials, allow_readable)?,
            drops_own: far.injects() && !far.pass_authorization,
            oauth: far.oauth.as_ref().map(source).transpose()?.map(Arc::new),
            jars: (far.cookies == Cookies::Jar).then(Jars::default),
        })
    }

    /// Drops from a request what its caller may not say.
    pub(super) fn leave(&self, fields: &mut Fields) {
        self.request.apply(fields);
        if self.drops_own {
            fields.remove(AUTHORIZATION.as_str());
            fields.remove(COOKIE.as_str());
        }
        if self.oauth.is_some() {
            fields.remove(AUTHORIZATION.as_str());
        }
    }

    /// May a call have to be made a second time, with another token?
    pub(super) fn may_repeat(&self) -> bool {
        self.oauth.is_some()
    }

    /// What becomes of a response's fields.
    pub(super) fn arrive(&self, fields: &mut HeaderMap, call: &Call<'_>, owner: &Owner) {
        if let Some(jars) = &self.jars {
            jars.take_from(fields, owner, &call.uri);
        }
        filtered::retain(fields, &self.response);
    }
}

/// Puts into a call what its rule adds.
///
/// # Errors
/// With the problem to answer, when a file or a token is not there: the call is not made.
pub(super) async fn authorize(call: &mut Call<'_>, owner: &Owner) -> Result<Option<Arc<Held>>, Problem> {
    let far = &call.upstream.far;
    if let Some(jars) = &far.jars {
        jars.add_to(&mut call.fields, owner, &call.uri);
    }
    far.credentials.add_to(&mut call.fields, &call.rule.name).await?;
    let Some(oauth) = &far.oauth else { return Ok(None) };
    let held = oauth.token().await?;
    put(call, &held);
    Ok(Some(held))
}

fn put(call: &mut Call<'_>, held: &Held) {
    // A token is printable: it was checked when it came.
    if let Some(value) = held.field() {
        call.fields.insert(AUTHORIZATION, value);
    }
}

/// Makes a call, once more with a new token if the first was refused (401) and the content can be sent again.
///
/// # Errors
/// As [`call::make`].
pub(super) async fn make(
    call: &mut Call<'_>,
    content: Content,
    held: Option<Arc<Held>>,
    owner: &Owner,
) -> Result<Reply, Problem> {
    let again = content.again();
    let mut reply = call::make(call, content).await?;
    if let (Some(held), Some(oauth)) = (held, &call.upstream.far.oauth) {
        let refused = |reply: &Reply| reply.response.status() == StatusCode::UNAUTHORIZED;
        if !refused(&reply) {
            oauth.note_use(true);
        } else if let Some(new) = oauth.in_place_of(&held, again.is_some()).await
            && let Some(again) = again
        {
            tracing::debug!(origin = call.site.origin, "the access token was refused: once more with a new one");
            put(call, &new);
            // A refused call had no effect (RFC 9110 §15.5.2), so it may be made again whatever its method.
            // Of this attempt alone that nothing left may be said.
            reply = call::make(call, again).await.map_err(|problem| super::of_attempt(problem, 2))?;
            oauth.note_use(!refused(&reply));
        }
    }
    call.upstream.far.arrive(reply.response.headers_mut(), call, owner);
    Ok(reply)
}

fn filter(list: &FieldList) -> FieldFilter {
    match list {
        FieldList::All => FieldFilter::All,
        FieldList::Only(names) => FieldFilter::Only(names.clone()),
        FieldList::AllBut(names) => FieldFilter::AllBut(names.clone()),
    }
}
