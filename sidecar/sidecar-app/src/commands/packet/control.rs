//! What a control block says, for people.
//!
//! Invariants: every type in the block is named, known or not; nonces and tickets, which answer for their owner, are never
//! shown. It judges nothing: the block was decoded before. Specification: wire format §7. Test: `../tests/origin.rs`.

use serde::Serialize;
use wire::control::{Control, tlv_type};
use wire::digest::hex;
use wire::tlv::{PAD, walk};
use wire::{RangeSet, Reject};

/// A decoded block.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ControlReport {
    /// Names of its types, in their order.
    pub(super) types: Vec<String>,
    /// "kind name" of the sender.
    pub(super) endpoint: Option<String>,
    pub(super) reset: Option<String>,
    pub(super) log: Option<LogReport>,
    pub(super) ack: Option<AckReport>,
    pub(super) packets: Option<PacketsReport>,
    pub(super) credit: Option<CreditReport>,
    pub(super) versions: Option<VersionsReport>,
    pub(super) limits: Option<LimitsReport>,
    pub(super) keys: Option<KeysReport>,
    pub(super) presence: Option<PresenceReport>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct LogReport {
    pub(super) next: u64,
    pub(super) oldest: u64,
    pub(super) pn_floor: u64,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct AckReport {
    pub(super) cum: u64,
    pub(super) una_seen: u64,
    pub(super) chain: String,
    /// Ranges of seqs held above `cum`.
    pub(super) sack: Vec<(u64, u64)>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct PacketsReport {
    pub(super) largest: u64,
    pub(super) echo_pn: u64,
    pub(super) hold_us: u64,
    pub(super) complete: Vec<(u64, u64)>,
    pub(super) partial: Vec<(u64, u64)>,
    pub(super) unopenable: Vec<(u64, u64)>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct CreditReport {
    pub(super) max_log_bytes: u64,
    pub(super) max_exchanges: u64,
    pub(super) max_stream_bytes: u64,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct VersionsReport {
    pub(super) major_min: u64,
    pub(super) major_max: u64,
    pub(super) features: u64,
    pub(super) software: String,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct LimitsReport {
    pub(super) max_frame: u64,
    pub(super) ack_delay_ms: u64,
    pub(super) max_packet: u64,
    pub(super) heartbeat_ms: u64,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct KeysReport {
    pub(super) bundle_version: u64,
    pub(super) kem: Vec<String>,
    pub(super) signing: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct PresenceReport {
    pub(super) executes: bool,
    pub(super) draining: bool,
    pub(super) weight: u64,
    pub(super) valid_ms: u64,
}

/// Decodes a block. Whether it is for a whole side is known by the id it is sent to, or else by what it says.
pub(super) fn decode(block: &[u8], to_a_side: bool) -> Result<(Control, bool), Reject> {
    let presence = walk(block).is_ok_and(|tlvs| tlvs.iter().any(|tlv| tlv.kind == tlv_type::PRESENCE));
    let to_a_side = to_a_side || presence;
    Ok((Control::decode(block, to_a_side)?, to_a_side))
}

/// What it says.
pub(super) fn report(block: &[u8], control: &Control) -> ControlReport {
    let tlvs = walk(block).unwrap_or_default();
    let sack = control.sack.as_ref().map(ranges).unwrap_or_default();
    ControlReport {
        types: tlvs.iter().filter(|tlv| tlv.kind != PAD).map(|tlv| type_name(tlv.kind)).collect(),
        endpoint: control.endpoint.as_ref().map(|endpoint| format!("{} {}", endpoint.kind, endpoint.name)),
        reset: control.reset.map(|reason| format!("{reason:?}")),
        log: control.log.map(|log| LogReport { next: log.next, oldest: log.oldest, pn_floor: log.pn_floor }),
        ack: control.ack.map(|ack| AckReport { cum: ack.cum, una_seen: ack.una_seen, chain: hex(&ack.chain), sack }),
        packets: control.packets.as_ref().map(|packets| PacketsReport {
            largest: packets.largest,
            echo_pn: packets.echo_pn,
            hold_us: packets.hold_us,
            complete: ranges(&packets.complete),
            partial: ranges(&packets.partial),
            unopenable: ranges(&packets.unopenable),
        }),
        credit: control.credit.map(|credit| CreditReport {
            max_log_bytes: credit.max_log_bytes,
            max_exchanges: credit.max_exchanges,
            max_stream_bytes: credit.max_stream_bytes,
        }),
        versions: control.versions.as_ref().map(|versions| VersionsReport {
            major_min: versions.major_min,
            major_max: versions.major_max,
            features: versions.features,
            software: versions.software.clone(),
        }),
        limits: control.limits.map(|limits| LimitsReport {
            max_frame: limits.max_frame,
            ack_delay_ms: limits.ack_delay_ms,
            max_packet: limits.max_packet,
            heartbeat_ms: limits.heartbeat_ms,
        }),
        keys: control.keys.as_ref().map(|keys| KeysReport {
            bundle_version: keys.bundle_version,
            kem: keys.kem.iter().map(|id| hex(id)).collect(),
            signing: keys.signing.iter().map(|id| hex(id)).collect(),
        }),
        presence: control.presence.map(|presence| PresenceReport {
            executes: presence.role & wire::control::Presence::ROLE_EXECUTES != 0,
            draining: presence.role & wire::control::Presence::ROLE_DRAINING != 0,
            weight: presence.weight,
            valid_ms: presence.valid_ms,
        }),
    }
}

fn ranges(set: &RangeSet) -> Vec<(u64, u64)> {
    set.iter().collect()
}

fn type_name(kind: u64) -> String {
    let name = match kind {
        tlv_type::HELLO => "HELLO",
        tlv_type::ENDPOINT => "ENDPOINT",
        tlv_type::ECHO => "ECHO",
        tlv_type::RESET => "RESET",
        tlv_type::LOG => "LOG",
        tlv_type::ACK => "ACK",
        tlv_type::SACK => "SACK",
        tlv_type::PACKETS => "PACKETS",
        tlv_type::CREDIT => "CREDIT",
        tlv_type::STREAM_CREDIT => "STREAM_CREDIT",
        tlv_type::PING => "PING",
        tlv_type::VERSIONS => "VERSIONS",
        tlv_type::LIMITS => "LIMITS",
        tlv_type::KEYS => "KEYS",
        tlv_type::COUNTERS => "COUNTERS",
        tlv_type::CUT_HISTOGRAM => "CUT_HISTOGRAM",
        tlv_type::PRESSURE => "PRESSURE",
        tlv_type::PRESENCE => "PRESENCE",
        tlv_type::PREKEY => "PREKEY",
        tlv_type::BUNDLE => "BUNDLE",
        tlv_type::FEC_GROUP => "FEC_GROUP",
        tlv_type::TOMBS_TAKEN => "TOMBS_TAKEN",
        kind if kind % 62 == 33 => return format!("GREASE {kind}"),
        kind => return format!("type {kind}"),
    };
    name.to_owned()
}
