//! The boundaries of a packet's parts: where files are cut.
//!
//! Test to read first: `the_second_decoder_agrees_on_every_cut`.

use std::collections::BTreeSet;

use serde_json::Value;
use wire::header::Header;

/// Lengths of the cuts of a packet: one byte before, at, and one byte after every structural boundary, as far as the file goes.
///
/// `reading` is what the whole packet says, or a reject: then only the places in the clear are known.
#[must_use]
pub fn cuts(file: &[u8], reading: &Value) -> Vec<usize> {
    let around = boundaries(file, reading).into_iter().flat_map(|at| [at.saturating_sub(1), at, at + 1]);
    around.filter(|len| *len <= file.len()).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Every offset at which a field of the header, a TLV, an entry, a frame, a record or a part begins or ends.
fn boundaries(file: &[u8], reading: &Value) -> BTreeSet<usize> {
    let header = Header::parse(file).unwrap();
    let layout = header.layout();
    let mut places: BTreeSet<usize> =
        [0, 8, 10, 12, 14, 16, 20, 24, 28, 32, 48, 64, 80, 96, 104, 112, 120, 128, 136, 168, 200, 252, 256].into();
    places.extend([layout.ct_at, layout.control_at, layout.table_at, layout.table_end, layout.sig_at, layout.sig_end]);
    places.extend([layout.sig_at + 64, layout.ct_at + layout.ct().len().saturating_sub(32), layout.frames_at]);
    let mut at = layout.table_at;
    while at < layout.table_end {
        places.insert(at);
        at += 64;
    }
    tlv_places(256, &reading["ext"], &mut places);
    tlv_places(layout.control_at, &reading["control"], &mut places);
    frame_places(reading, &mut places);
    let total = usize::try_from(header.total_len).unwrap();
    places.extend([total - 16, total - 8, total]);
    places
}

fn tlv_places(mut at: usize, tlvs: &Value, places: &mut BTreeSet<usize>) {
    for tlv in tlvs.as_array().into_iter().flatten() {
        let value_len = tlv["value"].as_str().unwrap().len() / 2;
        let mut head = Vec::new();
        wire::varint::encode(tlv["type"].as_u64().unwrap(), &mut head);
        wire::varint::encode(value_len as u64, &mut head);
        places.extend([at, at + head.len()]);
        at += head.len() + value_len;
        places.insert(at);
    }
}

fn frame_places(reading: &Value, places: &mut BTreeSet<usize>) {
    let (Some(frames), Some(table)) = (reading["frames"].as_array(), reading["table"].as_array()) else { return };
    for (frame, entry) in frames.iter().zip(table) {
        let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
        let mut at = number(&frame["at"]);
        let end = at + number(&entry["stored_len"]);
        places.extend([at, end, end.next_multiple_of(8)]);
        for record in frame["records"].as_array().unwrap().iter().filter(|_| number(&entry["kind"]) == 2) {
            at += 24;
            places.insert(at);
            at += number(&record["len"]);
            places.insert(at);
        }
    }
}
