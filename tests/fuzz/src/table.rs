//! A frame table, and a frame behind its entry.

use bytes::Bytes;
use wire::RecordHeader;
use wire::limits::MIN_MAX_FRAME;
use wire::record::{Record, batch_entry, chunk_entry, decode_frame, encode_batch};
use wire::table::{BATCH, CHUNK, FrameEntry, check_table, decode_table, encode_table, total_len};

use crate::bound::within;

const ENTRY_LEN: usize = 64;

/// Tables and frames that were taken are written again as the same bytes, and frames lie one after another inside the file.
pub fn fuzz_table(data: &[u8]) {
    table(data);
    let Some((entry, clear)) = data.split_first_chunk::<ENTRY_LEN>() else { return };
    let entry = FrameEntry::decode(entry);
    let clear = Bytes::copy_from_slice(clear);
    frame(&entry, &clear);
    // As a sender would describe these bytes: the digest is known to be good when a frame is read, and so are its lengths.
    let len = u32::try_from(clear.len()).unwrap();
    let raw_len = if entry.kind == BATCH || entry.flags == 0 { len } else { entry.raw_len };
    frame(&FrameEntry { stored_len: len, raw_len, ..entry }, &clear);
}

fn table(data: &[u8]) {
    let entries = within(8 * data.len(), || decode_table(data));
    let whole = data.len() / ENTRY_LEN * ENTRY_LEN;
    assert_eq!(encode_table(&entries), data[..whole]);
    for tag_len in [0, 16] {
        let total = total_len(&entries, 512);
        assert!(check_table(&entries, 512, total.wrapping_add(8), tag_len).is_err());
        let Ok(places) = within(8 * data.len(), || check_table(&entries, 512, total, tag_len)) else { continue };
        let mut at = 512;
        for (place, entry) in places.iter().zip(&entries) {
            assert_eq!(*place, at);
            at = (place + u64::from(entry.stored_len)).next_multiple_of(8);
        }
        assert_eq!(at + 16, total);
    }
}

fn frame(entry: &FrameEntry, clear: &Bytes) {
    let max_frame = MIN_MAX_FRAME;
    let Ok(records) = within(16 * clear.len(), || decode_frame(entry, clear, max_frame)) else { return };
    let raw: u64 = records.iter().map(|record| u64::from(record.head.raw_len)).sum();
    assert!(raw <= max_frame);
    for record in &records {
        judge(record);
    }
    match entry.kind {
        BATCH => {
            let mut written = Vec::new();
            encode_batch(&records, &mut written).unwrap();
            assert_eq!(written, clear[..]);
            let made = batch_entry(&records, clear, 0);
            assert_eq!((made.seq, made.offset, made.raw_len), (entry.seq, entry.offset, entry.raw_len));
        }
        CHUNK => {
            let made = chunk_entry(&records[0], 0);
            let FrameEntry { raw_len, kind, flags, stream, seq, offset, .. } = made;
            let read = (entry.raw_len, entry.kind, entry.flags, entry.stream, entry.seq, entry.offset);
            assert_eq!((raw_len, kind, flags, stream, seq, offset), read);
        }
        _ => assert!(records.is_empty()),
    }
}

fn judge(record: &Record) {
    let RecordHeader { seq, offset, raw_len, stored_len, .. } = record.head;
    assert_eq!(record.payload.len(), stored_len as usize);
    assert!(seq.get() >= 1 && offset + u64::from(raw_len) < 1 << 62);
    assert!(record.cost() >= 1 && record.head.end() >= offset);
    let (head, _) = record.chain_input();
    assert_eq!((head.seq, head.stream, head.offset), (record.head.seq, record.head.stream, offset));
    let _ = record.link(&[0; 32]);
}
