//! The far side's real HTTP calls: an execution from its request's records to its response's records.
//!
//! A byte stream is opened by `tunnel` instead. Order of one execution, and the first thing wrong with it is the answer: head, method, target, allow rule (here with
//! authority, whatever the near side decided), framing, loop, size, literal address, first record of the content, dispatch
//! mark, call, response. What a rule drops, adds and keeps of its calls stands in `far_side`.
//!
//! Invariants: no upstream byte before the dispatch mark is durable; every address is checked before it is connected to and
//! the connection goes to the checked one; where a rule names a target, that is connected to in the place of the host that the
//! call names, and the call stays as its caller wrote it; redirects are not followed, no proxy variable is read, no content is decoded; a
//! response that is cut never looks complete; a problem says whether the call was made, and `no` only if it surely was not.
//! It keeps no journal: the driver does. Test to read first: `tests::a_call_is_answered_with_what_the_upstream_said`.

mod admission;
mod answer;
mod call;
mod connection;
mod connector;
mod cookies;
mod counts;
mod credentials;
mod execution;
mod far_side;
mod fault;
mod filtered;
mod oauth;
mod post;
mod request_body;
mod resolver;
mod server;
#[cfg(test)]
mod tests;
mod tls;
mod tunnel;
mod upstream;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use layer2_http::bhttp::SectionLimit;
use layer2_http::policy::Policy;
use sidecar_config::Config;
use tokio::sync::mpsc::UnboundedReceiver;
use wire::EndpointId;

pub use answer::{problem_head, respond_problem};
pub use counts::{Counters, Counts};
pub use execution::of_attempt;
pub use post::{Posted, Poster, posters};

use crate::exchange::FarExchange;
use upstream::Upstream;

/// What executing calls needs: the rules, one client for each of them, and this engine's name.
pub struct Egress {
    policy: Policy,
    upstreams: BTreeMap<String, Upstream>,
    /// What the rules say of byte streams.
    tunnels: BTreeMap<String, sidecar_config::Tunnels>,
    pseudonym: String,
    me: EndpointId,
    section: SectionLimit,
    compress: bool,
    counters: Arc<Counters>,
}

impl Egress {
    /// Makes a client for every inbound rule; `policy` holds the same rules, `pseudonym` is this engine's name in Via.
    ///
    /// # Errors
    /// When a rule's file of authorities cannot be read or holds none.
    pub fn new(config: &Config, policy: Policy, pseudonym: String, me: EndpointId) -> Result<Self> {
        let header_bytes = usize::try_from(config.limits.header_bytes.as_u64()).unwrap_or(usize::MAX);
        let section = SectionLimit::new(header_bytes);
        let mut system_roots = tls::SystemRoots::default();
        let mut upstreams = BTreeMap::new();
        let counters = Arc::new(Counters::default());
        for rule in &config.inbound.allow {
            let upstream = Upstream::new(config, rule, section, &mut system_roots, &counters.tokens)
                .with_context(|| format!("inbound.allow: rule `{}`", rule.name))?;
            upstreams.insert(rule.name.to_string(), upstream);
        }
        let tunnels = config.inbound.allow.iter().map(|rule| (rule.name.to_string(), rule.tunnels.clone())).collect();
        let compress = config.modes.send == sidecar_config::Mode::Sealed;
        Ok(Self { policy, upstreams, tunnels, pseudonym, me, section, compress, counters })
    }

    /// How executions ended since the start.
    pub fn counts(&self) -> Counts {
        self.counters.read()
    }

    /// The counters behind [`Self::counts`].
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }
}

/// Executes what the driver hands over, each in a task of its own, until the driver is gone.
///
/// The driver bounds how many there are. When this future is dropped the tasks go on: they end when the driver does, which
/// keeps a stopping engine from resetting responses that its next start can still give.
pub async fn serve(egress: Arc<Egress>, mut executions: UnboundedReceiver<FarExchange>) {
    while let Some(exchange) = executions.recv().await {
        tokio::spawn(execution::run(Arc::clone(&egress), exchange));
    }
}
