//! Writing a control block (wire format §7).
//!
//! Invariant: the block is well-formed whatever the values are: lists are sorted and cut to their bounds, values that would break a rule
//! of their row are left out. Test to read first: `whatever_is_encoded_decodes`.

use super::{Control, EndpointName, KeysTlv, LogState, PacketReport, Versions, tlv_type};
use crate::ids::{StreamId, valid_name};
use crate::limits::{MAX_KEY_IDS, MAX_RANGES, MAX_SOFTWARE_LEN, MAX_STREAM_CREDITS, MIN_MAX_FRAME};
use crate::ranges::RangeSet;
use crate::tlv::{PAD, TlvWriter};
use crate::varint;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

impl Control {
    /// The block: ascending TLVs, padded to a multiple of 8. One without any TLV holds a PAD.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.write().finish()
    }

    /// As [`Self::encode`], with the `n`th type without meaning and at most 16 bytes in it (GREASE). A sender does so in about one
    /// block of 16, with random bytes.
    #[must_use]
    pub fn encode_with_grease(&self, n: u64, bytes: &[u8]) -> Vec<u8> {
        let mut writer = self.write();
        writer.put_grease(n, bytes);
        writer.finish()
    }

    fn write(&self) -> TlvWriter {
        let mut writer = TlvWriter::new();
        self.write_handshake(&mut writer);
        self.write_association(&mut writer);
        if writer.is_empty() {
            writer.put(PAD, Vec::new());
        }
        writer
    }

    /// Scopes H and S.
    fn write_handshake(&self, writer: &mut TlvWriter) {
        let mut put = |kind, value: Option<Vec<u8>>| {
            if let Some(value) = value {
                writer.put(kind, value);
            }
        };
        put(tlv_type::HELLO, self.hello.map(|nonce| nonce.to_vec()));
        put(tlv_type::ENDPOINT, self.endpoint.as_ref().and_then(endpoint));
        put(tlv_type::ECHO, self.echo.map(|nonce| nonce.to_vec()));
        put(tlv_type::RESET, self.reset.map(|reason| varints(&[reason.code()])));
        put(tlv_type::VERSIONS, self.versions.as_ref().map(versions));
        put(
            tlv_type::LIMITS,
            self.limits
                .map(|l| varints(&[l.max_frame.max(MIN_MAX_FRAME), l.ack_delay_ms, l.max_packet, l.heartbeat_ms])),
        );
        put(tlv_type::KEYS, self.keys.as_ref().map(keys));
        put(tlv_type::PRESENCE, self.presence.map(|p| with(varints(&[p.role, p.weight, p.valid_ms]), &p.ticket)));
        put(tlv_type::PREKEY, self.prekey.clone());
        put(tlv_type::BUNDLE, self.bundle.clone());
    }

    /// Scope A.
    fn write_association(&self, writer: &mut TlvWriter) {
        let mut put = |kind, value: Option<Vec<u8>>| {
            if let Some(value) = value {
                writer.put(kind, value);
            }
        };
        put(tlv_type::LOG, self.log.as_ref().map(log));
        put(tlv_type::ACK, self.ack.map(|a| with(with(varints(&[a.cum]), &a.chain), &varints(&[a.una_seen]))));
        put(tlv_type::SACK, self.sack_above_cum().map(|sack| ranges(&sack)));
        put(tlv_type::PACKETS, self.packets.as_ref().map(packets));
        put(tlv_type::CREDIT, self.credit.map(|c| varints(&[c.max_log_bytes, c.max_exchanges, c.max_stream_bytes])));
        put(tlv_type::STREAM_CREDIT, stream_credit(&self.stream_credit));
        put(tlv_type::PING, self.ping.then(Vec::new));
        put(
            tlv_type::COUNTERS,
            self.counters
                .map(|c| varints(&[c.used, c.partial, c.unopenable, c.bad_frames, c.duplicate_records, c.junk_files])),
        );
        put(
            tlv_type::CUT_HISTOGRAM,
            self.cut_histogram
                .as_ref()
                .map(|h| varints(&h.iter().flat_map(|(risk, cut)| [*risk, *cut]).collect::<Vec<_>>())),
        );
        put(tlv_type::PRESSURE, self.pressure.map(|pressure| varints(&[pressure])));
        put(tlv_type::TOMBS_TAKEN, self.tombs_taken.as_ref().map(ranges));
    }

    /// The SACK as it may be written: beside an ACK, from cum + 2 on, not empty.
    fn sack_above_cum(&self) -> Option<RangeSet> {
        let mut sack = self.sack.clone()?;
        sack.remove_below(self.ack?.cum.saturating_add(2));
        (!sack.is_empty()).then_some(sack)
    }
}

fn varints(values: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    for value in values {
        varint::encode(*value, &mut out);
    }
    out
}

fn with(mut out: Vec<u8>, bytes: &[u8]) -> Vec<u8> {
    out.extend_from_slice(bytes);
    out
}

fn ranges(set: &RangeSet) -> Vec<u8> {
    let mut out = Vec::new();
    set.encode(MAX_RANGES, &mut out);
    out
}

fn endpoint(endpoint: &EndpointName) -> Option<Vec<u8>> {
    let valid = valid_name(&endpoint.kind) && valid_name(&endpoint.name);
    let len = varints(&[endpoint.kind.len() as u64]);
    valid.then(|| with(with(len, endpoint.kind.as_bytes()), endpoint.name.as_bytes()))
}

fn log(log: &LogState) -> Vec<u8> {
    let oldest = log.oldest.max(1);
    varints(&[log.next.max(oldest), oldest, log.pn_floor])
}

fn packets(report: &PacketReport) -> Vec<u8> {
    let mut out = varints(&[report.largest, report.echo_pn, report.hold_us]);
    for list in [&report.complete, &report.partial, &report.unopenable] {
        list.encode(MAX_RANGES, &mut out);
    }
    out
}

fn stream_credit(credits: &[(StreamId, u64)]) -> Option<Vec<u8>> {
    let ascending: BTreeMap<StreamId, u64> = credits.iter().copied().collect();
    if ascending.is_empty() {
        return None;
    }
    let mut out = varints(&[ascending.len().min(MAX_STREAM_CREDITS) as u64]);
    let mut previous = 0;
    for (stream, max) in ascending.into_iter().take(MAX_STREAM_CREDITS) {
        varint::encode(stream.get() - previous, &mut out);
        varint::encode(max, &mut out);
        previous = stream.get();
    }
    Some(out)
}

fn versions(versions: &Versions) -> Vec<u8> {
    let name = versions.software.chars().take(MAX_SOFTWARE_LEN);
    let printable = name.map(|c| if matches!(c, ' '..='~') { c as u8 } else { b'?' });
    let mut out = varints(&[versions.major_min, versions.major_max, versions.features]);
    out.extend(printable);
    out
}

fn keys(keys: &KeysTlv) -> Vec<u8> {
    let mut out = varints(&[keys.bundle_version]);
    for list in [&keys.kem, &keys.signing] {
        let count = list.len().min(MAX_KEY_IDS);
        varint::encode(count as u64, &mut out);
        out.extend(list.iter().take(count).flatten());
    }
    out
}
