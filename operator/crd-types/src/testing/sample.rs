//! Peerings drawn by chance that the API server accepts, whatever else is wrong with them.
//!
//! Invariants: the same seed gives the same object; over a few hundred seeds every field is there and absent, every
//! word of every enum occurs, and every bound is met exactly (`tests/sampled.rs` counts). Objects of even seeds are
//! plain: they ask for what an operator can carry out. Those of odd seeds hold whatever the schema and the rules let
//! through, sense or not.

mod rules;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::ObjectMeta;
use serde_json::Value;

use super::chance::Chance;
use crate::{
    AccessMode, ClassRef, Compression, Folder, Gateway, Heartbeat, IdentitySpec, Inbound, Injection, InjectionMode,
    Limits, LocalSide, Mechanism, MirrorSpec, Mode, Outbound, Packet, PdbSpec, RemoteKey, RemoteSide, Rotation,
    SecretRef, StateVolume, TunnelPeering, TunnelPeeringSpec, Volume,
};

const LOCAL: &str = "north";
const DURATIONS: &[&str] = &["0s", "1ms", "30s", "1h30m", "99999h", "99999999s", "00000h000000m0s0ms"];
const SIZES: &[&str] = &["0", "1", "64Ki", "1M", "10Gi", "999999999999", "999999999Gi", "999999Ti"];
const PLAIN_DURATIONS: &[&str] = &["1s", "30s", "5m", "1h30m"];
const PLAIN_SIZES: &[&str] = &["64Mi", "500M", "2Gi", "1Ti"];
/// One draw.
struct Draw<'a> {
    chance: Chance,
    plain: bool,
    tokens: &'a [&'a str],
}

/// A peering of that seed, as somebody would apply it: defaults that are written out and defaults that are left to the
/// API server are mixed. `tokens` are public keys that can be used; without any, plain objects have none.
#[must_use]
pub fn object(seed: u64, tokens: &[&str]) -> Value {
    let mut draw = Draw { chance: Chance::new(seed), plain: seed.is_multiple_of(2), tokens };
    let name = if seed % 16 == 1 { format!("s{seed:039}") } else { format!("sample-{seed}") };
    let peering = TunnelPeering {
        metadata: ObjectMeta { name: Some(name), ..ObjectMeta::default() },
        spec: draw.spec(),
        status: None,
    };
    let mut value = serde_json::to_value(peering).unwrap_or_default();
    thin_out(&mut value["spec"], &mut draw.chance);
    value
}

/// Leaves out some of what the API server fills in, and writes whole quantities as numbers, as people do.
fn thin_out(value: &mut Value, chance: &mut Chance) {
    const DEFAULTS: &[(&str, &str)] = &[
        ("mode", "\"Sealed\""),
        ("mode", "\"Engine\""),
        ("mechanism", "\"Auto\""),
        ("port", "8470"),
        ("replicas", "1"),
        ("schemes", "[\"https\"]"),
        ("paused", "false"),
        ("readOnly", "false"),
        ("allowUnauthenticated", "false"),
        ("propagatesDeletes", "false"),
        ("accessMode", "\"ReadWriteOnce\""),
        ("compression", "\"Zstd\""),
        ("redundancy", "0"),
        ("maxSize", "\"64Mi\""),
        ("maxFileSize", "\"500Mi\""),
        ("expectedLatency", "\"15s\""),
        ("interval", "\"15s\""),
        ("lossTimeout", "\"2m\""),
        ("packet", "{}"),
        ("heartbeat", "{}"),
        ("mirror", "{}"),
    ];
    match value {
        Value::Object(fields) => {
            for field in fields.values_mut() {
                thin_out(field, chance);
            }
            fields.retain(|name, field| {
                let default = || DEFAULTS.contains(&(name.as_str(), field.to_string().as_str()));
                !(default() && chance.once_in(2))
            });
            if let Some(Value::String(cpu)) = fields.get("cpu")
                && let Ok(number) = cpu.parse::<u32>()
            {
                fields.insert("cpu".to_owned(), number.into());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| thin_out(item, chance)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

impl Draw<'_> {
    /// What this version cannot carry out, or what makes no sense: never in a plain object.
    fn odd<T>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if !self.plain && self.chance.once_in(2) { Some(draw(self)) } else { None }
    }

    fn maybe<T>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.chance.once_in(2) { Some(draw(self)) } else { None }
    }

    fn yes(&mut self) -> bool {
        self.chance.once_in(2)
    }

    fn duration(&mut self) -> String {
        self.chance.pick(if self.plain { PLAIN_DURATIONS } else { DURATIONS }).to_owned()
    }

    fn size(&mut self) -> String {
        self.chance.pick(if self.plain { PLAIN_SIZES } else { SIZES }).to_owned()
    }

    /// A name of an object, at most `longest` letters.
    fn object_name(&mut self, stem: &str, longest: usize) -> String {
        match self.chance.below(if self.plain { 1 } else { 6 }) {
            0..=3 => stem.to_owned(),
            4 => "y".to_owned(),
            _ => format!("{stem}{}", "9".repeat(longest.saturating_sub(stem.len()))),
        }
    }

    fn spec(&mut self) -> TunnelPeeringSpec {
        let remote = self.object_name("south", 40);
        let limits = self.maybe(Self::limits);
        let quota_most = limits.as_ref().and_then(|limits| limits.max_in_flight).unwrap_or(65536);
        let mode = self.chance.pick(&[Mode::Sealed, Mode::Sealed, Mode::Signed, Mode::Checksum]);
        let volume = self.volume();
        let gateway = self.maybe(Self::gateway);
        let injection = if gateway.is_none() || self.yes() { Some(self.injection(gateway.is_some())) } else { None };
        TunnelPeeringSpec {
            class_ref: self.odd(|draw| ClassRef { name: draw.object_name("default", 40) }),
            local: LocalSide { name: LOCAL.to_owned() },
            identity: self.maybe(|draw| IdentitySpec {
                secret_ref: draw.maybe(|draw| SecretRef { name: draw.object_name("identity", 253) }),
                rotation: draw.odd(|draw| Rotation { period: draw.duration(), overlap: draw.duration() }),
            }),
            mode,
            accept_modes: if self.yes() { self.modes(mode) } else { Vec::new() },
            allow_unauthenticated: mode == Mode::Checksum || self.yes(),
            gateway,
            injection,
            outbound: self.maybe(|draw| Outbound { allow: draw.outbound(quota_most) }),
            inbound: self.maybe(|draw| Inbound { allow: draw.inbound(&remote) }),
            limits,
            packet: self.packet(&volume.mirror.max_file_size),
            heartbeat: self.heartbeat(&volume.mirror.expected_latency),
            paused: self.chance.once_in(10),
            remote: RemoteSide { public_keys: self.keys(), name: remote },
            volume,
        }
    }

    fn modes(&mut self, mode: Mode) -> Vec<Mode> {
        if self.plain {
            return vec![mode];
        }
        self.chance.many(0, 3, |chance, _| chance.pick(&[Mode::Sealed, Mode::Signed, Mode::Checksum]))
    }

    fn keys(&mut self) -> Vec<RemoteKey> {
        let longest = format!("hoft1{}", "A".repeat(16379));
        let plain = self.plain;
        let mut tokens: Vec<&str> = self.tokens.to_vec();
        if !plain {
            tokens.extend(["hoft1-", "hoft1abc_-", &longest]);
        }
        if tokens.is_empty() {
            return Vec::new();
        }
        self.chance.many(0, 3, |chance, index| RemoteKey {
            id: if plain || index > 0 { format!("k{index}") } else { "k".repeat(40) },
            key: chance.pick(&tokens).to_owned(),
            not_after: chance.maybe(|chance| {
                let ends = ["2099-12-31T23:59:59Z", "2001-01-01T00:00:00.123456789-11:59", "2030-02-28T00:00:00+02:00"];
                chance.pick(if plain { &ends[..1] } else { &ends }).to_owned()
            }),
        })
    }

    fn folder(&mut self, claim: &str, sub_path: Option<&str>) -> Folder {
        Folder { claim_name: claim.to_owned(), sub_path: sub_path.map(ToOwned::to_owned), read_only: false }
    }

    fn volume(&mut self) -> Volume {
        let (long_claim, long_path) = (format!("c{}", "9".repeat(252)), format!("{}/z", "a".repeat(198)));
        let shapes = [
            (("mirror", Some("out")), ("mirror", Some("in"))),
            (("departures", None), ("arrivals", None)),
            (("mirror", Some("a/b.c/_d")), ("mirror", Some("a/b.c/_d2"))),
            ((long_claim.as_str(), Some(long_path.as_str())), ("x", None)),
        ];
        let (outbox, inbox) = self.chance.pick(if self.plain { &shapes[..2] } else { &shapes });
        let mirror = MirrorSpec {
            max_file_size: self
                .chance
                .pick(&["500Mi", "500Mi", "64Mi", "999999Ti"][..if self.plain { 3 } else { 4 }])
                .to_owned(),
            propagates_deletes: self.yes(),
            expected_latency: self
                .chance
                .pick(&["15s", "15s", "1h", "0s"][..if self.plain { 3 } else { 4 }])
                .to_owned(),
        };
        let mut inbox = self.folder(inbox.0, inbox.1);
        inbox.read_only = mirror.propagates_deletes && self.yes();
        Volume {
            group: self.maybe(|draw| draw.chance.pick(&[2000, 1, 2_147_483_647])),
            outbox: self.folder(outbox.0, outbox.1),
            inbox,
            state: self.maybe(Self::state),
            mirror,
        }
    }

    fn state(&mut self) -> StateVolume {
        let mut state = StateVolume {
            size: None,
            storage_class_name: None,
            access_mode: self.chance.pick(&[
                AccessMode::ReadWriteOnce,
                AccessMode::ReadWriteOncePod,
                AccessMode::ReadWriteMany,
            ]),
            claim_name: None,
        };
        if self.chance.once_in(3) {
            state.claim_name = Some(self.object_name("logs", 253));
        } else {
            state.size = self.maybe(Self::size);
            state.storage_class_name = self.maybe(|draw| {
                let stem = draw.chance.pick(&["", "fast"]);
                draw.object_name(stem, 253)
            });
        }
        state
    }

    fn gateway(&mut self) -> Gateway {
        Gateway {
            replicas: if self.plain { 1 } else { self.chance.pick(&[0, 1, 2, 32]) },
            resources: self.maybe(Self::resources),
            pdb: self.odd(|draw| PdbSpec { max_unavailable: draw.chance.pick(&[0, 1, 32]) }),
        }
    }

    fn injection(&mut self, gateway: bool) -> Injection {
        let forward = gateway && !self.plain && self.yes();
        Injection {
            mode: if forward { InjectionMode::Forward } else { InjectionMode::Engine },
            port: self.chance.pick(&[8470, 1024, 65535]),
            mechanism: self.chance.pick(&[
                Mechanism::Auto,
                Mechanism::AdmissionPolicy,
                Mechanism::Webhook,
                Mechanism::None,
            ]),
            resources: self.maybe(Self::resources),
        }
    }

    fn resources(&mut self) -> ResourceRequirements {
        let mut quantities = |choices: [&str; 3]| {
            self.chance.maybe(|chance| {
                let names = ["cpu", "memory", "ephemeral-storage"];
                let names = names.into_iter().filter(|_| chance.once_in(2)).collect::<Vec<_>>();
                names.into_iter().map(|name| (name.to_owned(), Quantity(chance.pick(&choices).to_owned()))).collect()
            })
        };
        ResourceRequirements {
            requests: quantities(["0", "100m", "1"]),
            limits: quantities(["999999999", "1.500", "64Mi"]),
            claims: None,
        }
    }

    fn limits(&mut self) -> Limits {
        Limits {
            bandwidth: self.odd(Self::size),
            max_in_flight: self.maybe(|draw| draw.chance.pick(&[256, 1, 65536])),
            max_backlog: self.maybe(Self::size),
            request_ttl: self.maybe(Self::duration),
            max_body_size: self.maybe(Self::size),
        }
    }

    fn packet(&mut self, file_size: &str) -> Packet {
        let (min, max) = if self.plain {
            (None, self.chance.pick(&["64Mi", "1Mi"]))
        } else {
            self.chance.pick(&[(None, "64Mi"), (Some("0"), "0"), (Some("64Ki"), "1M"), (Some("1"), file_size)])
        };
        Packet {
            min_size: min.map(ToOwned::to_owned),
            max_size: max.to_owned(),
            flush_interval: self.odd(Self::duration),
            compression: self.odd(|draw| draw.chance.pick(&[Compression::Zstd, Compression::None])).unwrap_or_default(),
            redundancy: self.odd(|draw| draw.chance.pick(&[0, 1, 100])).unwrap_or_default(),
        }
    }

    fn heartbeat(&mut self, latency: &str) -> Heartbeat {
        let slow = [("10s", "1h"), ("15s", "99999h"), ("99999h", "99999h99999h99999h")];
        let any = [("15s", "2m"), ("15s", "2m"), ("0s", "15s"), ("1ms", "15s")];
        let (interval, loss_timeout) = match latency {
            "0s" => self.chance.pick(&[("0s", "0s"), ("15s", "2m")]),
            "1h" => self.chance.pick(if self.plain { &slow[..1] } else { &slow }),
            _ => self.chance.pick(if self.plain { &any[..1] } else { &any }),
        };
        Heartbeat { interval: interval.to_owned(), loss_timeout: loss_timeout.to_owned() }
    }
}
