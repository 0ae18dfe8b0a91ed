//! Which calls are allowed: named rules, and nothing that no rule names (deny by default).
//!
//! Invariants: a call is allowed only if *one* rule allows its host, port, scheme, path, method and caller together; an
//! empty list allows nothing, but a rule without callers is everybody's; who else may call is told to nobody; a refusal says what would have to be allowed. Both sides decide: the near side to fail fast,
//! the far side with authority. Addresses are judged later, in `addresses`. Test to read first:
//! `each_part_of_a_rule_can_refuse`.

use crate::fields::shown;
use crate::head::valid_method;
use crate::operation::Executed;
use crate::problem::{Problem, ProblemKind};
use crate::target::{canonical_host, normal_path, within_prefix};
use ipnet::IpNet;
use std::fmt;
use std::time::Duration;

/// The method of a rule that allows every method but CONNECT.
pub const ANY_METHOD: &str = "*";
/// The method of a byte stream; only a rule that names it allows it, as it hides path and method of what passes.
pub const CONNECT: &str = "CONNECT";

/// Which hosts a rule allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// This host, in canonical form.
    Exact(String),
    /// Every name that ends so; begins with a dot. An IP address never matches.
    Suffix(String),
}

/// When a call whose outcome is not known may be made again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retry {
    /// Only an idempotent method, or a request with an Idempotency-Key.
    #[default]
    Idempotent,
    /// Always: the upstream takes repeated calls.
    Always,
    /// Never.
    Never,
}

/// One allow rule. Rules of the same name are alternatives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Name of the rule, and of its route.
    pub name: String,
    /// `http`, `https`. Not asked for CONNECT.
    pub schemes: Vec<String>,
    /// Hosts; one must match.
    pub hosts: Vec<HostPattern>,
    /// Ports; empty: the default ports of the schemes.
    pub ports: Vec<u16>,
    /// Path prefixes; `/` for every path. Not asked for CONNECT.
    pub path_prefixes: Vec<String>,
    /// Methods; `*` for all but CONNECT.
    pub methods: Vec<String>,
    /// Service accounts that may call; empty: any caller, and one that is not named.
    pub callers: Vec<String>,
    /// Largest request body, in bytes.
    pub max_body: Option<u64>,
    /// Special networks that may be connected to.
    pub addresses: Vec<IpNet>,
    /// How long the upstream may take to answer.
    pub timeout: Duration,
    /// When a call may be repeated.
    pub retry: Retry,
}

/// What rules are asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallTarget<'a> {
    /// Scheme, lower case.
    pub scheme: &'a str,
    /// Host in canonical form.
    pub host: &'a str,
    /// Port.
    pub port: u16,
    /// Path in normal form.
    pub path: &'a str,
    /// Method.
    pub method: &'a str,
    /// Service account of the caller, if it is known.
    pub caller: Option<&'a str>,
}

impl<'a> CallTarget<'a> {
    /// The same call by this caller.
    #[must_use]
    pub const fn by(mut self, caller: Option<&'a str>) -> Self {
        self.caller = caller;
        self
    }
}

/// The part of a call that no rule allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DenyReason {
    /// There are no rules.
    NoRule,
    /// No rule names the host.
    Host,
    /// A rule names the host, but not the port.
    Port,
    /// … but not the scheme.
    Scheme,
    /// … but not the path.
    Path,
    /// … but not the method.
    Method,
    /// … but not the caller.
    Caller,
}

impl DenyReason {
    /// The word for logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoRule => "no_rule",
            Self::Host => "host",
            Self::Port => "port",
            Self::Scheme => "scheme",
            Self::Path => "path",
            Self::Method => "method",
            Self::Caller => "caller",
        }
    }
}

/// A refused call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Denied {
    /// The first part that the closest rule does not allow.
    pub reason: DenyReason,
    /// Name of the closest rule.
    pub rule: Option<String>,
    /// What was refused, and what would have to be allowed.
    pub message: String,
}

impl Denied {
    /// What the caller is told.
    #[must_use]
    pub fn to_problem(&self) -> Problem {
        Problem::new(ProblemKind::RouteDenied, self.message.as_str()).executed(Executed::No)
    }
}

/// A rule that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule {rule:?}: {problem}")]
pub struct PolicyError {
    /// Its name.
    pub rule: String,
    /// What is wrong with it.
    pub problem: RuleProblem,
}

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleProblem {
    /// The name is not 1 to 63 of `a-z 0-9 -`.
    #[error("the name must be 1 to 63 characters of a-z, 0-9 and -")]
    Name,
    /// An empty list, which would allow nothing.
    #[error("it lists no {what}")]
    Empty {
        /// The list.
        what: &'static str,
    },
    /// An entry that can never match, or matches too much.
    #[error("{value:?} is no {what}")]
    Value {
        /// The kind of entry.
        what: &'static str,
        /// The entry.
        value: String,
    },
}

/// The allow rules of one direction.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
}

impl HostPattern {
    /// Reads `name`, an IP address, or `*.name` (every name beneath, not the name itself). `None` for anything else, a lone
    /// `*` too.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix('*') {
            Some(suffix) => {
                let base = canonical_host(suffix.strip_prefix('.')?)?;
                let named =
                    !base.starts_with('[') && base.parse::<std::net::Ipv4Addr>().is_err() && !base.contains('*');
                named.then(|| Self::Suffix(format!(".{}", without_root(&base))))
            }
            None => canonical_host(text).map(|host| Self::Exact(without_root(&host).to_owned())),
        }
    }

    /// Does it allow this host (in canonical form)?
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        let host = without_root(host);
        match self {
            Self::Exact(exact) => host == exact,
            Self::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
        }
    }
}

/// A name without the dot of the DNS root.
fn without_root(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

impl Rule {
    /// Checks the rule and brings its paths and schemes into the form they are matched in.
    fn prepared(mut self) -> Result<Self, PolicyError> {
        let name = self.name.clone();
        self.prepare().map_err(|problem| PolicyError { rule: name, problem })?;
        Ok(self)
    }

    fn prepare(&mut self) -> Result<(), RuleProblem> {
        if !wire::valid_name(&self.name) {
            return Err(RuleProblem::Name);
        }
        let lists = [
            ("scheme", self.schemes.is_empty()),
            ("host", self.hosts.is_empty()),
            ("path prefix", self.path_prefixes.is_empty()),
            ("method", self.methods.is_empty()),
        ];
        if let Some((what, _)) = lists.into_iter().find(|(_, empty)| *empty) {
            return Err(RuleProblem::Empty { what });
        }
        let value = |what, value: &str| RuleProblem::Value { what, value: value.to_owned() };
        if let Some(scheme) = self.schemes.iter().find(|s| !matches!(s.as_str(), "http" | "https")) {
            return Err(value("scheme (http or https)", scheme));
        }
        for host in &mut self.hosts {
            *host = HostPattern::parse(&host.to_string()).ok_or_else(|| value("host", &host.to_string()))?;
        }
        if self.ports.contains(&0) {
            return Err(value("port", "0"));
        }
        for prefix in &mut self.path_prefixes {
            let normal = normal_path(prefix).ok().filter(|p| p.starts_with('/'));
            *prefix = normal.ok_or_else(|| value("path prefix", prefix))?;
        }
        match self.methods.iter().find(|m| m.as_str() != ANY_METHOD && !valid_method(m)) {
            Some(method) => Err(value("method", method)),
            None => Ok(()),
        }
    }

    /// The first part of the call that this rule does not allow.
    fn refuses(&self, call: &CallTarget<'_>) -> Option<DenyReason> {
        let stream = call.method == CONNECT;
        let named = self.methods.iter().any(|m| m == call.method || (m == ANY_METHOD && !stream));
        let parts = [
            (DenyReason::Host, self.hosts.iter().any(|host| host.matches(call.host))),
            (DenyReason::Port, self.allows_port(call.port)),
            (DenyReason::Scheme, stream || self.schemes.iter().any(|scheme| scheme == call.scheme)),
            (DenyReason::Path, stream || self.path_prefixes.iter().any(|p| within_prefix(call.path, p))),
            (DenyReason::Method, named),
            (DenyReason::Caller, self.allows_caller(call.caller)),
        ];
        parts.into_iter().find(|(_, allowed)| !allowed).map(|(reason, _)| reason)
    }

    fn allows_caller(&self, caller: Option<&str>) -> bool {
        self.callers.is_empty() || caller.is_some_and(|caller| self.callers.iter().any(|allowed| allowed == caller))
    }

    fn allows_port(&self, port: u16) -> bool {
        let default = |scheme: &String| port == if scheme == "https" { 443 } else { 80 };
        if self.ports.is_empty() { self.schemes.iter().any(default) } else { self.ports.contains(&port) }
    }
}

impl Policy {
    /// A policy of these rules.
    ///
    /// # Errors
    /// The first rule that cannot be one.
    pub fn new(rules: Vec<Rule>) -> Result<Self, PolicyError> {
        Ok(Self { rules: rules.into_iter().map(Rule::prepared).collect::<Result<_, _>>()? })
    }

    /// The rule that allows this call.
    ///
    /// # Errors
    /// If none does: with the rule that came closest.
    pub fn decide(&self, call: &CallTarget<'_>) -> Result<&Rule, Denied> {
        Self::decide_among(self.rules.iter(), call)
    }

    /// The rule of this name that allows the call: what a route may be used for.
    ///
    /// # Errors
    /// If none does, whatever other rules say.
    pub fn decide_route(&self, name: &str, call: &CallTarget<'_>) -> Result<&Rule, Denied> {
        Self::decide_among(self.rules.iter().filter(|rule| rule.name == name), call)
    }

    /// The rule that allows this call, of those that `wanted` says yes to: an upgrade needs a rule that opted in.
    ///
    /// # Errors
    /// If none does: with the one of them that came closest.
    pub fn decide_where(&self, call: &CallTarget<'_>, wanted: impl Fn(&Rule) -> bool) -> Result<&Rule, Denied> {
        Self::decide_among(self.rules.iter().filter(|rule| wanted(rule)), call)
    }

    fn decide_among<'a>(rules: impl Iterator<Item = &'a Rule>, call: &CallTarget<'_>) -> Result<&'a Rule, Denied> {
        let mut closest: Option<(DenyReason, &Rule)> = None;
        for rule in rules {
            let Some(reason) = rule.refuses(call) else { return Ok(rule) };
            if closest.is_none_or(|(best, _)| reason > best) {
                closest = Some((reason, rule));
            }
        }
        Err(denied(closest, call))
    }

    /// The first rule of this name.
    #[must_use]
    pub fn rule(&self, name: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.name == name)
    }

    /// All rules, as prepared.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

fn denied(closest: Option<(DenyReason, &Rule)>, call: &CallTarget<'_>) -> Denied {
    let CallTarget { scheme, host, port, path, method, caller } = call;
    let path = shown(path.as_bytes());
    let what = if *method == CONNECT {
        format!("CONNECT {host}:{port}")
    } else {
        format!("{method} {scheme}://{host}:{port}{path}")
    };
    let (reason, rule) = closest.map_or((DenyReason::NoRule, None), |(reason, rule)| (reason, Some(rule)));
    let name = rule.map(|rule| rule.name.clone());
    let closest = name.as_deref().unwrap_or_default();
    let remedy = match reason {
        DenyReason::NoRule => "there is no rule it could match; add one".to_owned(),
        DenyReason::Host => format!("no rule names the host; one would have to allow {host}"),
        DenyReason::Port => format!("rule {closest:?} would have to allow port {port}"),
        DenyReason::Scheme => format!("rule {closest:?} would have to allow the scheme {scheme}"),
        DenyReason::Path => format!("rule {closest:?} would have to allow a path prefix of {path}"),
        DenyReason::Method => format!("rule {closest:?} would have to allow the method {method}"),
        DenyReason::Caller => match caller {
            Some(caller) => {
                let caller = shown(caller.as_bytes());
                format!("rule {closest:?} is for named callers and would have to list the service account {caller}")
            }
            None => format!("rule {closest:?} is for named callers, and the call states no service account"),
        },
    };
    Denied { reason, rule: name, message: format!("{what} is not allowed: {remedy}") }
}

#[cfg(test)]
mod tests;
