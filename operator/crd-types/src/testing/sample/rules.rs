//! Allow rules drawn by chance.
//!
//! Invariant: their names differ, and every caller from outside is the far side's. Test to read first:
//! `tests/sampled.rs`.

use super::Draw;
use crate::{
    Caller, Destination, From, InboundRule, Method, OutboundRule, Quota, Scheme, SecretRef, ServiceRef, Target,
    TargetTls,
};

const METHODS: &[Method] = &[
    Method::Get,
    Method::Head,
    Method::Post,
    Method::Put,
    Method::Patch,
    Method::Delete,
    Method::Options,
    Method::Trace,
    Method::Connect,
];

impl Draw<'_> {
    pub(super) fn outbound(&mut self, quota_most: i32) -> Vec<OutboundRule> {
        let count = self.chance.many(0, 64, |_, index| index);
        count
            .into_iter()
            .map(|index| OutboundRule {
                name: self.rule_name(index),
                callers: self.callers().into_iter().map(|service_account| Caller { service_account }).collect(),
                destinations: self.destinations(),
                timeout: self.maybe(Self::duration),
                quota: self.odd(|draw| Quota {
                    requests_per_minute: draw.maybe(|draw| draw.chance.pick(&[1, 600, 1_000_000])),
                    bytes_per_day: draw.maybe(Self::size),
                    max_in_flight: draw.maybe(|draw| draw.chance.pick(&[1, quota_most])),
                }),
            })
            .collect()
    }

    pub(super) fn inbound(&mut self, remote: &str) -> Vec<InboundRule> {
        let count = self.chance.many(0, 64, |_, index| index);
        count
            .into_iter()
            .map(|index| InboundRule {
                name: self.rule_name(index),
                from: self.from(remote),
                destinations: self.destinations(),
                target: self.maybe(Self::target),
                addresses: self.addresses(),
                timeout: self.maybe(Self::duration),
            })
            .collect()
    }

    fn rule_name(&mut self, index: usize) -> String {
        if self.plain || self.yes() { format!("rule-{index}") } else { format!("r{index:039}") }
    }

    fn callers(&mut self) -> Vec<String> {
        let longest = format!("b{}", "9".repeat(252));
        let (plain, names) = (self.plain, ["billing", "shop.web", longest.as_str()]);
        self.chance.many(
            0,
            32,
            |chance, index| {
                if plain { format!("app-{index}") } else { chance.pick(&names).to_owned() }
            },
        )
    }

    fn from(&mut self, remote: &str) -> Vec<From> {
        let mut callers: Vec<_> = self.callers().into_iter().map(Some).collect();
        if callers.is_empty() {
            callers.push(None);
        }
        callers.into_iter().map(|caller| From { peer: remote.to_owned(), caller }).collect()
    }

    fn destinations(&mut self) -> Vec<Destination> {
        let longest = format!("h{}", "9".repeat(252));
        let hosts = ["erp.south.svc", "192.0.2.7", "*.south.svc", "[2001:db8::1]", "::::", "A..b", longest.as_str()];
        let (plain, hosts) = (self.plain, if self.plain { &hosts[..2] } else { &hosts[..] });
        self.chance.many(1, 16, |chance, _| Destination {
            schemes: chance.pick(&[vec![Scheme::Https], vec![Scheme::Http], vec![Scheme::Https, Scheme::Http]]),
            host: chance.pick(hosts).to_owned(),
            port: chance.maybe(|chance| chance.pick(&[443, 1, 65535])),
            methods: if plain {
                vec![Method::Get, Method::Post]
            } else {
                chance.many(1, 10, |chance, _| chance.pick(METHODS))
            },
            paths: chance.many(0, 16, |chance, index| {
                let longest = format!("/{}", "ü".repeat(255));
                let odd = ["/", "/v1/", "/a b%2F?#", "//", longest.as_str()];
                if plain { format!("/v{index}/") } else { chance.pick(&odd).to_owned() }
            }),
        })
    }

    fn target(&mut self) -> Target {
        let tls = self.maybe(|draw| TargetTls {
            ca_secret_ref: draw.maybe(|draw| SecretRef { name: draw.object_name("erp-ca", 253) }),
        });
        if self.yes() {
            let service = ServiceRef { name: self.object_name("erp", 63), port: self.chance.pick(&[443, 1, 65535]) };
            return Target { service_ref: Some(service), url: None, tls };
        }
        let longest = format!("https://{}", "9".repeat(292));
        let urls = ["https://erp.example:8443", "https://[2001:db8::1]:1/", "https://:::[[", longest.as_str()];
        let mut url = self.chance.pick(if self.plain { &urls[..2] } else { &urls }).to_owned();
        if tls.is_none() && self.yes() {
            url = url.replacen("https", "http", 1);
        }
        Target { service_ref: None, url: Some(url), tls }
    }

    fn addresses(&mut self) -> Vec<String> {
        let longest = "f".repeat(50);
        let networks = ["10.0.0.0/8", "fd00::/8", "999.999/999", "::", longest.as_str()];
        let networks = if self.plain { &networks[..2] } else { &networks[..] };
        self.chance.many(0, 16, |chance, _| chance.pick(networks).to_owned())
    }
}
