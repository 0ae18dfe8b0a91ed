//! A file of a packet: header, prefix, control, table, frames and records, as the inbox reads them.

use std::sync::LazyLock;

use layer0_pipe::Local;
use vectors::{damage, engine, reader, reading};
use wire::Header;
use wire::header::HEADER_LEN;

use crate::bound::within;

static LOCAL: LazyLock<Local> = LazyLock::new(reader::local);

/// The inbox comes to the verdict of the plain decoder, takes no more memory than the file has bytes for, and a header that was
/// taken is written again as it stood. Tried on the bytes as they are, and with their checksums mended.
pub fn fuzz_packet(data: &[u8]) {
    judge(data);
    if let Some(mended) = damage::mended_whole(data) {
        judge(&mended);
    }
}

fn judge(file: &[u8]) {
    let reading = reading::read(file, &LOCAL);
    let outcome = within((1 << 20) + 64 * file.len(), || engine::run(file, "packet.hft", &LOCAL));
    assert!(engine::expected(&reading).fits(&outcome), "the inbox: {outcome:?}, the decoder: {reading}");
    let Ok(header) = Header::parse(file) else { return };
    let written = header.encode();
    assert_eq!(Header::parse(&written).as_ref(), Ok(&header));
    // All but the reserved bytes and the CRC over them.
    assert_eq!(written[..200], file[..200]);
    assert!(header.layout().frames_at >= HEADER_LEN);
}
