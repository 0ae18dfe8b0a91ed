//! What the product's code reads in the bytes of a packet, as JSON: the same object that the second decoder gives.
//!
//! The calls are those of the inbox, in its order (wire format §11), for a reader that has met nobody and a file that does not grow any
//! more; that the inbox really comes to the same verdict is compared in [`crate::engine`]. Values come from the product's types, and
//! from the bytes only where those keep nothing (reserved bytes, TLVs of no meaning).
//! Test to read first: `every_vector_is_made_again_and_says_what_it_said`.

use bytes::Bytes;
use identity::{OpenedPrefix, open_prefix, verify_prefix};
use layer0_pipe::{Local, inflate};
use serde_json::{Map, Value, json};
use wire::control::{EndpointName, tlv_type};
use wire::digest::{hex, sha256};
use wire::header::{CRC_AT, END_MARKER_LEN, Header, MAJOR, end_marker};
use wire::record::{Record, decode_code, decode_frame, kind};
use wire::schedule::header_hash;
use wire::table::{FrameEntry, FrameUse, check_table};
use wire::{Control, PacketName, RangeSet, Reject, chain, tlv};

use crate::reader::{MAX_FRAME, NAME_TAG};

/// What a packet says, or `{"verdict": name}` where it is rejected.
#[must_use]
pub fn read(file: &[u8], local: &Local) -> Value {
    match try_read(file, local) {
        Ok(value) => value,
        Err(reject) => json!({ "verdict": reject.name() }),
    }
}

/// Rows 1 to 7, 11 and 12.
fn verified(file: &[u8], local: &Local) -> Result<Header, Reject> {
    let is_mine = |id| id == local.endpoint || id == local.side.as_address();
    let accepts =
        |header: &Header| !is_mine(header.recipient) || header.suite().is_ok_and(|suite| local.suites.contains(&suite));
    let header = Header::parse_accepting(file, accepts)?;
    if !is_mine(header.recipient) {
        return Err(Reject::Recipient);
    }
    if is_mine(header.sender) {
        return Err(Reject::Reflected);
    }
    if header.suite().is_ok_and(|suite| suite.signed()) {
        local.peer_keys.check_signing_key(header.signing_key, 0)?;
    }
    verify_prefix(&header, file, &local.peer_keys)?;
    Ok(header)
}

fn try_read(file: &[u8], local: &Local) -> Result<Value, Reject> {
    let header = verified(file, local)?;
    let opened = open_prefix(local.identity.as_deref(), &header, file)?;
    let presence = header.recipient == local.side.as_address();
    let control = Control::decode(&opened.control, presence)?;
    if presence && header.frame_count > 0 {
        return Err(Reject::ControlScope);
    }
    control.check_endpoint(&local.remote_side, &header.sender)?;
    let suite = header.suite().map_err(|_| Reject::SuiteUnknown)?;
    let places = check_table(&opened.entries, header.frames_at, header.total_len, suite.tag_len())?;
    let (frames, records) = frames(file, &opened, &places);
    let layout = header.layout();
    let mut digests = Map::new();
    digests.insert("signed".into(), hex(&sha256(&[&file[..layout.sig_at]])).into());
    digests.insert("chain".into(), chain_of(&header, records));
    if suite.sealed() {
        let head = file.first_chunk().ok_or(Reject::Short)?;
        digests.insert("hh".into(), hex(&header_hash(head, &file[layout.ext()], &file[layout.ct()])).into());
    }
    let end = usize::try_from(header.total_len).map_err(|_| Reject::Length)?;
    let marker = file.get(end - END_MARKER_LEN..end);
    Ok(json!({
        "verdict": "ok",
        "header": header_fields(&header, file),
        "ext": tlvs(&opened.ext, |tlv| (tlv.kind == tlv::PAD).then(|| ("PAD", json!({})))),
        "control": tlvs(&opened.control, |tlv| known(tlv.kind, &control)),
        "table": opened.entries.iter().map(entry_fields).collect::<Vec<_>>(),
        "frames": frames,
        "digests": digests,
        "end_marker": marker == Some(&end_marker(&header.salt)[..]),
        "names": names(&header),
    }))
}

fn header_fields(header: &Header, file: &[u8]) -> Value {
    let crc = file[CRC_AT].first_chunk().map_or(0, |crc| u32::from_le_bytes(*crc));
    json!({
        "major": MAJOR,
        "minor": header.minor,
        "suite": header.suite_number,
        "flags": header.flags,
        "header_len": header.header_len,
        "control_len": header.control_len,
        "frame_count": header.frame_count,
        "frames_at": header.frames_at,
        "sender": header.sender.to_hex32(),
        "recipient": header.recipient.to_hex32(),
        "sender_incarnation": hex(&header.sender_incarnation.to_bytes()),
        "recipient_incarnation": hex(&header.recipient_incarnation.to_bytes()),
        "pn": header.pn.get(),
        "sent_at": header.sent_at_ms,
        "total_len": header.total_len,
        "signing_key_id": hex(&header.signing_key),
        "kem_key_id": hex(&header.kem_key),
        "salt": hex(&header.salt),
        "commitment": hex(&header.commitment),
        "reserved": hex(&file[200..CRC_AT.start]),
        "crc": crc,
    })
}

fn names(header: &Header) -> Value {
    let name = PacketName {
        recipient: header.recipient,
        sender: header.sender,
        incarnation_random: header.sender_incarnation.random,
        pn: header.pn,
        tag: NAME_TAG,
    };
    json!({ "path": name.path(), "flat": name.flat() })
}

/// The TLVs of a block that was found good; `known` names a type and gives its fields.
fn tlvs(block: &[u8], known: impl Fn(&tlv::Tlv<'_>) -> Option<(&'static str, Value)>) -> Vec<Value> {
    let found = tlv::walk(block).unwrap();
    let shown = found.iter().map(|tlv| match known(tlv) {
        Some((name, fields)) => json!({ "type": tlv.kind, "value": hex(tlv.value), "name": name, "fields": fields }),
        None => json!({ "type": tlv.kind, "value": hex(tlv.value) }),
    });
    shown.collect()
}

/// Name and fields of a type that this version knows, from what was decoded.
fn known(kind: u64, control: &Control) -> Option<(&'static str, Value)> {
    known_handshake(kind, control).or_else(|| known_association(kind, control))
}

fn known_handshake(kind: u64, control: &Control) -> Option<(&'static str, Value)> {
    let nonce = |nonce: [u8; 16]| json!({ "nonce": hex(&nonce) });
    let ids = |ids: &[[u8; 8]]| ids.iter().map(|id| hex(id)).collect::<Vec<_>>();
    Some(match kind {
        tlv::PAD => ("PAD", json!({})),
        tlv_type::HELLO => ("HELLO", nonce(control.hello?)),
        tlv_type::ENDPOINT => {
            let EndpointName { kind, name } = control.endpoint.as_ref()?;
            ("ENDPOINT", json!({ "kind": kind, "name": name }))
        }
        tlv_type::ECHO => ("ECHO", nonce(control.echo?)),
        tlv_type::RESET => ("RESET", json!({ "reason": control.reset?.code() })),
        tlv_type::VERSIONS => {
            let v = control.versions.as_ref()?;
            let numbers = [v.major_min, v.major_max, v.features];
            let [least, most, features] = numbers;
            let fields = json!({ "major_min": least, "major_max": most, "features": features, "software": v.software });
            ("VERSIONS", fields)
        }
        tlv_type::LIMITS => {
            let l = control.limits?;
            let fields = json!({
                "max_frame": l.max_frame, "ack_delay_ms": l.ack_delay_ms,
                "max_packet": l.max_packet, "heartbeat_ms": l.heartbeat_ms,
            });
            ("LIMITS", fields)
        }
        tlv_type::KEYS => {
            let k = control.keys.as_ref()?;
            ("KEYS", json!({ "bundle_version": k.bundle_version, "kem": ids(&k.kem), "signing": ids(&k.signing) }))
        }
        tlv_type::PRESENCE => {
            let p = control.presence?;
            let fields =
                json!({ "role": p.role, "weight": p.weight, "valid_ms": p.valid_ms, "ticket": hex(&p.ticket) });
            ("PRESENCE", fields)
        }
        _ => return None,
    })
}

fn known_association(kind: u64, control: &Control) -> Option<(&'static str, Value)> {
    Some(match kind {
        tlv_type::LOG => {
            let l = control.log?;
            ("LOG", json!({ "next": l.next, "oldest": l.oldest, "pn_floor": l.pn_floor }))
        }
        tlv_type::ACK => {
            let a = control.ack?;
            ("ACK", json!({ "cum": a.cum, "chain": hex(&a.chain), "una_seen": a.una_seen }))
        }
        tlv_type::SACK => ("SACK", json!({ "ranges": ranges(control.sack.as_ref()?) })),
        tlv_type::PACKETS => {
            let p = control.packets.as_ref()?;
            let fields = json!({
                "largest": p.largest, "echo_pn": p.echo_pn, "hold_us": p.hold_us, "complete": ranges(&p.complete),
                "partial": ranges(&p.partial), "unopenable": ranges(&p.unopenable),
            });
            ("PACKETS", fields)
        }
        tlv_type::CREDIT => {
            let c = control.credit?;
            let fields = json!({
                "max_log_bytes": c.max_log_bytes, "max_exchanges": c.max_exchanges, "max_stream_bytes": c.max_stream_bytes,
            });
            ("CREDIT", fields)
        }
        tlv_type::STREAM_CREDIT => {
            let streams: Vec<_> =
                control.stream_credit.iter().map(|(stream, max)| json!([stream.get(), max])).collect();
            ("STREAM_CREDIT", json!({ "streams": streams }))
        }
        tlv_type::PING if control.ping => ("PING", json!({})),
        tlv_type::COUNTERS => {
            let c = control.counters?;
            let fields = json!({
                "used": c.used, "partial": c.partial, "unopenable": c.unopenable, "bad_frames": c.bad_frames,
                "duplicate_records": c.duplicate_records, "junk_files": c.junk_files,
            });
            ("COUNTERS", fields)
        }
        tlv_type::CUT_HISTOGRAM => ("CUT_HISTOGRAM", json!({ "buckets": control.cut_histogram.as_ref()?.to_vec() })),
        tlv_type::PRESSURE => ("PRESSURE", json!({ "bits": control.pressure? })),
        tlv_type::TOMBS_TAKEN => ("TOMBS_TAKEN", json!({ "ranges": ranges(control.tombs_taken.as_ref()?) })),
        _ => return None,
    })
}

fn ranges(set: &RangeSet) -> Vec<[u64; 2]> {
    set.iter_desc().map(|(low, high)| [low, high]).collect()
}

fn entry_fields(entry: &FrameEntry) -> Value {
    json!({
        "stored_len": entry.stored_len,
        "raw_len": entry.raw_len,
        "kind": entry.kind,
        "flags": entry.flags,
        "stream": entry.stream,
        "seq": entry.seq,
        "offset": entry.offset,
        "digest": hex(&entry.digest),
    })
}

/// Rows 19 to 22 for every frame, and all records.
fn frames(file: &[u8], opened: &OpenedPrefix, places: &[u64]) -> (Vec<Value>, Vec<Record>) {
    let (mut shown, mut all) = (Vec::new(), Vec::new());
    for ((index, entry), at) in (0..).zip(&opened.entries).zip(places) {
        let (verdict, records) = match frame(file, opened, index, entry, *at) {
            Ok(_) if entry.usage() == FrameUse::Filler => ("filler", Vec::new()),
            Ok(records) => ("ok", records),
            Err(reject) => (reject.name(), Vec::new()),
        };
        let fields: Vec<_> = records.iter().map(record_fields).collect();
        shown.push(json!({ "at": at, "verdict": verdict, "records": fields }));
        all.extend(records);
    }
    (shown, all)
}

fn frame(file: &[u8], opened: &OpenedPrefix, index: u64, entry: &FrameEntry, at: u64) -> Result<Vec<Record>, Reject> {
    let start = usize::try_from(at).map_err(|_| Reject::FrameCut)?;
    let stored = file.get(start..).unwrap_or_default();
    let mut bytes = stored[..stored.len().min(entry.stored_len as usize)].to_vec();
    opened.frames.open(index, entry, &mut bytes)?;
    decode_frame(entry, &Bytes::from(bytes), MAX_FRAME)
}

fn record_fields(record: &Record) -> Value {
    let head = &record.head;
    let mut fields = json!({
        "seq": head.seq.get(),
        "stream": head.stream.get(),
        "offset": head.offset,
        "kind": head.kind,
        "flags": head.flags,
        "len": head.stored_len,
        "raw_len": head.raw_len,
        "pd": hex(&record.payload_digest()),
        "verdict": record_verdict(record),
    });
    if fields["verdict"] != "ok" {
        return fields;
    }
    if let Some(t) = record.as_tombstone() {
        fields["fields"] = json!({ "kind": t.kind, "flags": t.flags, "charged": t.charged, "pd": hex(&t.digest) });
    } else if matches!(head.kind, kind::RESET_STREAM | kind::STOP_SENDING) {
        fields["fields"] = json!({ "code": decode_code(&record.payload).unwrap() });
    } else if head.is_compressed() {
        fields["inflated"] = hex(&sha256(&[&inflate(&record.payload, head.raw_len).unwrap()])).into();
    }
    fields
}

fn record_verdict(record: &Record) -> &'static str {
    if !record.head.is_known() {
        Reject::RecordKind.name()
    } else if record.head.is_compressed() && inflate(&record.payload, record.head.raw_len).is_err() {
        Reject::Inflate.name()
    } else {
        "ok"
    }
}

/// The chain over the packet's records, where they are the first ones of their log and all of them are stored.
fn chain_of(header: &Header, mut records: Vec<Record>) -> Value {
    records.sort_by_key(|record| record.head.seq);
    let first_ones = (1..).zip(&records).all(|(seq, record)| record.head.seq.get() == seq);
    if !first_ones || records.iter().any(|record| record_verdict(record) != "ok") {
        return Value::Null;
    }
    let Header { sender, sender_incarnation, recipient, recipient_incarnation, .. } = header;
    let start = chain::chain_start(sender, sender_incarnation, recipient, recipient_incarnation);
    hex(&records.iter().fold(start, |value, record| record.link(&value))).into()
}
