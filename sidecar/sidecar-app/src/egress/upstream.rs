//! The HTTP client of one inbound rule.
//!
//! Invariants: rules share no connection, as each has addresses and authorities of its own; an idle connection is kept only
//! briefly; a response's header section is bounded while it is read. No request is sent twice by the client itself unless
//! not one byte of it had left. Test to read first: `tests::a_call_is_answered_with_what_the_upstream_said`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use layer2_http::addresses::Networks;
use layer2_http::bhttp::SectionLimit;
use rustls::ClientConfig;
use sidecar_config::{Config, InboundRule, Scheme};

use super::connector::{Connector, Reach};
use super::counts::TokenCounters;
use super::far_side::FarSide;
use super::server::Server;
use super::tls::{self, SystemRoots};
use crate::body::BoxedBody;

/// How long an idle connection is kept: less than the 60 to 75 s after which common servers close theirs.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Idle connections kept to one host and port.
const IDLE_CONNECTIONS_MAX: usize = 8;
/// Header lines of one response.
const HEADER_LINES_MAX: usize = 256;
/// Octets of a response head beside its fields' own: status line, separators.
const HEAD_MARGIN: usize = 16 * 1024;
/// Least read buffer, in octets.
const BUFFER_MIN: usize = 64 * 1024;
/// Silence on a busy HTTP/2 connection after which it is probed, and the time an answer may take.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// What one rule's calls go through.
pub(super) struct Upstream {
    /// Makes the calls.
    pub(super) client: Client<Connector, BoxedBody>,
    /// Opens connections outside of the client's pool.
    pub(super) connector: Connector,
    /// Largest body of a request or response, in octets.
    pub(super) body_max: u64,
    /// Where its connections may go.
    pub(super) networks: Arc<Networks>,
    /// What is connected to in the place of the called hosts.
    pub(super) server: Option<Server>,
    /// What else the rule does to its calls.
    pub(super) far: FarSide,
}

impl Upstream {
    /// The client of a rule of this configuration.
    ///
    /// # Errors
    /// When a file that the rule names cannot be used.
    pub(super) fn new(
        config: &Config,
        rule: &InboundRule,
        section: SectionLimit,
        system: &mut SystemRoots,
        tokens: &Arc<TokenCounters>,
    ) -> Result<Self> {
        let server = rule.target.as_ref().map(Server::new).transpose()?;
        let by_tls = match &server {
            Some(server) => server.scheme() == "https",
            None => rule.destinations.iter().any(|destination| destination.schemes.contains(&Scheme::Https)),
        };
        let tls = match &rule.ca_file {
            Some(file) => tls::trusting(file)?,
            None if by_tls => system.config()?,
            None => system.without_roots()?,
        };
        let networks = Networks::new(rule.addresses.clone(), config.inbound.deny_addresses.clone());
        let reach = Reach::new(Arc::new(networks));
        let far = FarSide::new(rule, config.identity.allow_readable, &reach, system, tokens)?;
        Ok(Self { far, ..Self::with(&reach, server, rule.max_body.as_u64(), section, tls) })
    }

    /// A client from its parts.
    pub(super) fn with(
        reach: &Reach,
        server: Option<Server>,
        body_max: u64,
        section: SectionLimit,
        tls: ClientConfig,
    ) -> Self {
        let connector = Connector::new(reach, server.clone(), tls);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .http1_max_headers(HEADER_LINES_MAX)
            .http1_max_buf_size(section.bytes().saturating_add(HEAD_MARGIN).max(BUFFER_MIN))
            .http2_max_header_list_size(u32::try_from(section.bytes()).unwrap_or(u32::MAX))
            .http2_keep_alive_interval(PING.0)
            .http2_keep_alive_timeout(PING.1)
            .build(connector.clone());
        let networks = Arc::clone(&reach.networks);
        Self { client, connector, body_max, networks, server, far: FarSide::default() }
    }
}
