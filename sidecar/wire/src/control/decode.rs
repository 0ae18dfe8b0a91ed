//! Reading a control block (wire format §7; check 16 of §11).
//!
//! Invariant: the order of names is kept over the whole block: malformed before critical before scope. Bytes after a known value are ignored
//! (a later minor version may append), except where the value ends with a "rest". Test to read first: `malformed_values_are_refused`.

use super::{
    Ack, CUT_BUCKETS, Control, Counters, Credit, CutHistogram, EndpointName, KeysTlv, Limits, LogState, PacketReport,
    Presence, ResetReason, Versions, tlv_type,
};
use crate::ids::{StreamId, valid_name};
use crate::limits::{MAX_KEY_IDS, MAX_RANGES, MAX_SOFTWARE_LEN, MAX_STREAM_CREDITS, MIN_MAX_FRAME};
use crate::ranges::RangeSet;
use crate::reject::Reject;
use crate::tlv::{PAD, TlvMalformed, Value, is_critical, walk};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

type Result<T> = core::result::Result<T, TlvMalformed>;

impl Control {
    /// Reads a block. `side_scope` tells that its packet is addressed to a side id (presence). ENDPOINT is judged by
    /// [`Self::check_endpoint`], frames in a packet to a side id by the caller (`ControlScope`).
    ///
    /// # Errors
    /// `ControlMalformed`, or else `ControlCritical` for an unknown even type, or else `ControlScope` for a type that may not go to a
    /// side id.
    pub fn decode(block: &[u8], side_scope: bool) -> core::result::Result<Self, Reject> {
        let mut control = Self::default();
        let (mut unknown_critical, mut out_of_scope) = (false, false);
        let tlvs = walk(block).ok().filter(|tlvs| !tlvs.is_empty()).ok_or(Reject::ControlMalformed)?;
        for tlv in tlvs {
            let known = control.read(tlv.kind, Value(tlv.value)).map_err(|_| Reject::ControlMalformed)?;
            unknown_critical |= !known && is_critical(tlv.kind);
            out_of_scope |= known && side_scope && !may_go_to_a_side(tlv.kind);
        }
        if !control.sack_fits() {
            return Err(Reject::ControlMalformed);
        }
        if unknown_critical {
            return Err(Reject::ControlCritical);
        }
        if out_of_scope {
            return Err(Reject::ControlScope);
        }
        if !side_scope {
            control.presence = None;
        }
        Ok(control)
    }

    /// Takes one TLV; whether its type is known.
    fn read(&mut self, kind: u64, mut value: Value<'_>) -> Result<bool> {
        match kind {
            PAD => {}
            tlv_type::HELLO => self.hello = Some(value.array()?),
            tlv_type::ENDPOINT => self.endpoint = Some(endpoint(value)?),
            tlv_type::ECHO => self.echo = Some(value.array()?),
            tlv_type::RESET => self.reset = Some(ResetReason::from_code(value.varint()?)),
            tlv_type::LOG => self.log = Some(log(value)?),
            tlv_type::ACK => {
                self.ack = Some(Ack { cum: value.varint()?, chain: value.array()?, una_seen: value.varint()? });
            }
            tlv_type::SACK => self.sack = Some(ranges(&mut value)?),
            tlv_type::PACKETS => self.packets = Some(packets(value)?),
            tlv_type::CREDIT => self.credit = Some(credit(value)?),
            tlv_type::STREAM_CREDIT => self.stream_credit = stream_credit(value)?,
            tlv_type::PING => self.ping = true,
            tlv_type::VERSIONS => self.versions = Some(versions(value)?),
            tlv_type::LIMITS => self.limits = Some(limits(value)?),
            tlv_type::KEYS => self.keys = Some(keys(value)?),
            tlv_type::COUNTERS => self.counters = Some(counters(value)?),
            tlv_type::CUT_HISTOGRAM => self.cut_histogram = Some(cut_histogram(value)?),
            tlv_type::PRESSURE => self.pressure = Some(value.varint()?),
            tlv_type::PRESENCE => self.presence = Some(presence(value)?),
            tlv_type::PREKEY => self.prekey = Some(value.0.to_vec()),
            tlv_type::BUNDLE => self.bundle = Some(value.0.to_vec()),
            tlv_type::TOMBS_TAKEN => self.tombs_taken = Some(ranges(&mut value)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A SACK stands with an ACK and lists only seqs from cum + 2 on, at least one.
    fn sack_fits(&self) -> bool {
        self.sack.as_ref().is_none_or(|sack| match (&self.ack, sack.min()) {
            (Some(ack), Some(min)) => min >= ack.cum + 2,
            _ => false,
        })
    }
}

/// Scope S of §7, and PAD.
const fn may_go_to_a_side(kind: u64) -> bool {
    matches!(
        kind,
        PAD | tlv_type::ENDPOINT | tlv_type::VERSIONS | tlv_type::PRESENCE | tlv_type::PREKEY | tlv_type::BUNDLE
    )
}

fn ranges(value: &mut Value<'_>) -> Result<RangeSet> {
    RangeSet::decode(&mut value.0, MAX_RANGES).map_err(|_| TlvMalformed)
}

fn name(bytes: &[u8]) -> Result<String> {
    let text = core::str::from_utf8(bytes).ok().filter(|text| valid_name(text));
    text.map(String::from).ok_or(TlvMalformed)
}

fn endpoint(mut value: Value<'_>) -> Result<EndpointName> {
    let len = value.count(value.0.len())?;
    Ok(EndpointName { kind: name(value.take(len)?)?, name: name(value.0)? })
}

fn log(mut value: Value<'_>) -> Result<LogState> {
    let log = LogState { next: value.varint()?, oldest: value.varint()?, pn_floor: value.varint()? };
    if (1..=log.next).contains(&log.oldest) { Ok(log) } else { Err(TlvMalformed) }
}

fn packets(mut value: Value<'_>) -> Result<PacketReport> {
    Ok(PacketReport {
        largest: value.varint()?,
        echo_pn: value.varint()?,
        hold_us: value.varint()?,
        complete: ranges(&mut value)?,
        partial: ranges(&mut value)?,
        unopenable: ranges(&mut value)?,
    })
}

fn credit(mut value: Value<'_>) -> Result<Credit> {
    Ok(Credit { max_log_bytes: value.varint()?, max_exchanges: value.varint()?, max_stream_bytes: value.varint()? })
}

fn stream_credit(mut value: Value<'_>) -> Result<Vec<(StreamId, u64)>> {
    let count = value.count(MAX_STREAM_CREDITS)?;
    if count == 0 {
        return Err(TlvMalformed);
    }
    let mut credits: Vec<(StreamId, u64)> = Vec::new();
    for _ in 0..count {
        let step = value.varint()?;
        let previous = credits.last().map(|(stream, _)| stream.get());
        if previous.is_some() && step == 0 {
            return Err(TlvMalformed);
        }
        let stream = StreamId::new(previous.unwrap_or(0) + step).ok_or(TlvMalformed)?;
        credits.push((stream, value.varint()?));
    }
    Ok(credits)
}

fn versions(mut value: Value<'_>) -> Result<Versions> {
    let (major_min, major_max, features) = (value.varint()?, value.varint()?, value.varint()?);
    if value.0.len() > MAX_SOFTWARE_LEN {
        return Err(TlvMalformed);
    }
    let printable = |byte: &u8| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '?' };
    Ok(Versions { major_min, major_max, features, software: value.0.iter().map(printable).collect() })
}

fn limits(mut value: Value<'_>) -> Result<Limits> {
    let limits = Limits {
        max_frame: value.varint()?,
        ack_delay_ms: value.varint()?,
        max_packet: value.varint()?,
        heartbeat_ms: value.varint()?,
    };
    if limits.max_frame >= MIN_MAX_FRAME { Ok(limits) } else { Err(TlvMalformed) }
}

fn keys(mut value: Value<'_>) -> Result<KeysTlv> {
    let bundle_version = value.varint()?;
    let mut lists = [Vec::new(), Vec::new()];
    for list in &mut lists {
        for _ in 0..value.count(MAX_KEY_IDS)? {
            list.push(value.array()?);
        }
    }
    let [kem, signing] = lists;
    Ok(KeysTlv { bundle_version, kem, signing })
}

fn counters(mut value: Value<'_>) -> Result<Counters> {
    Ok(Counters {
        used: value.varint()?,
        partial: value.varint()?,
        unopenable: value.varint()?,
        bad_frames: value.varint()?,
        duplicate_records: value.varint()?,
        junk_files: value.varint()?,
    })
}

fn cut_histogram(mut value: Value<'_>) -> Result<Box<CutHistogram>> {
    let mut histogram = Box::new([(0, 0); CUT_BUCKETS]);
    for bucket in histogram.iter_mut() {
        *bucket = (value.varint()?, value.varint()?);
    }
    Ok(histogram)
}

fn presence(mut value: Value<'_>) -> Result<Presence> {
    Ok(Presence { role: value.varint()?, weight: value.varint()?, valid_ms: value.varint()?, ticket: value.array()? })
}
