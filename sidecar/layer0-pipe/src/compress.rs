//! Compression of one record's payload with zstd: decided once, when the record enters the log.
//!
//! Invariants: a compressed payload is exactly one zstd frame, its content size is present and equals
//! `raw_len`, it uses no dictionary, and its window is at most 16 MiB. Inflating allocates `raw_len` bytes
//! and never more, so call it only after the record passed its credit check: then no bomb can go off.
//! What this file does not do: choose which records to compress (field sections never are), or judge credit.
//! Specification: wire format §9, check 22 of §11. Read first: `a_compressed_payload_inflates_to_the_same_bytes`.

use bytes::Bytes;
use zstd::zstd_safe;

use wire::limits::MAX_RECORD_LEN;

/// Level of compression: 1 is the fastest that still halves text.
const LEVEL: i32 = 1;

/// Payloads shorter than this are left alone: the frame header would eat the gain.
const COMPRESS_FROM_BYTES: usize = 512;

/// A compressed payload is kept only when it saves at least one part in this many.
const MIN_GAIN_PARTS: usize = 16;

/// Largest window a reader accepts, in bytes.
const WINDOW_MAX_BYTES: u64 = wire::limits::MAX_ZSTD_WINDOW;

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// Why a payload marked as compressed was not inflated. The reject name is `inflate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// Not exactly one zstd frame.
    #[error("the payload is not exactly one zstd frame")]
    NotOneFrame,
    /// The content size is missing, or differs from `raw_len`.
    #[error("the zstd content size is missing or is not the record's raw length")]
    ContentSize,
    /// The frame names a dictionary.
    #[error("the zstd frame needs a dictionary")]
    Dictionary,
    /// The window is larger than 16 MiB.
    #[error("the zstd window is larger than 16 MiB")]
    Window,
    /// The data is damaged.
    #[error("the zstd data is damaged")]
    Damaged,
}

/// Compresses `payload`, or returns `None` when that would not make it clearly smaller.
///
/// With `Some`, the record's flag ZSTD is to be set, `raw_len` stays the length of `payload` and
/// `stored_len` is the length of the result, which is always smaller.
#[must_use]
pub fn compress(payload: &[u8]) -> Option<Bytes> {
    if payload.len() < COMPRESS_FROM_BYTES || payload.len() as u64 > u64::from(MAX_RECORD_LEN) {
        return None;
    }
    let packed = zstd::bulk::compress(payload, LEVEL).ok()?;
    let enough = payload.len() - payload.len() / MIN_GAIN_PARTS;
    (packed.len() < enough).then(|| Bytes::from(packed))
}

/// Inflates the stored payload of a record that carries the flag ZSTD to exactly `raw_len` bytes.
///
/// # Errors
/// Every rule of the module's first paragraph has its own variant of [`InflateError`].
pub fn inflate(stored: &[u8], raw_len: u32) -> Result<Bytes, InflateError> {
    check_frame_header(stored)?;
    let one_frame = zstd_safe::find_frame_compressed_size(stored).map_err(|_| InflateError::NotOneFrame)?;
    if one_frame != stored.len() {
        return Err(InflateError::NotOneFrame);
    }
    match zstd_safe::get_frame_content_size(stored) {
        Ok(Some(size)) if size == u64::from(raw_len) && raw_len <= MAX_RECORD_LEN => {}
        _ => return Err(InflateError::ContentSize),
    }
    let raw_len = raw_len as usize;
    let raw = zstd::bulk::decompress(stored, raw_len).map_err(|_| InflateError::Damaged)?;
    if raw.len() == raw_len { Ok(Bytes::from(raw)) } else { Err(InflateError::Damaged) }
}

/// Reads the zstd frame header (RFC 8878 §3.1.1.1): magic, no dictionary, and the size of the window.
fn check_frame_header(stored: &[u8]) -> Result<(), InflateError> {
    let Some(rest) = stored.strip_prefix(&ZSTD_MAGIC) else {
        return Err(InflateError::NotOneFrame);
    };
    let Some((&descriptor, rest)) = rest.split_first() else {
        return Err(InflateError::NotOneFrame);
    };
    if descriptor & 0b11 != 0 {
        return Err(InflateError::Dictionary);
    }
    let single_segment = descriptor & 0b10_0000 != 0;
    if single_segment {
        return Ok(()); // the window is the content, and that is bounded by raw_len
    }
    let Some(&window) = rest.first() else {
        return Err(InflateError::NotOneFrame);
    };
    let base = 1u64 << (10 + u64::from(window >> 3));
    if base + (base / 8) * u64::from(window & 7) > WINDOW_MAX_BYTES {
        return Err(InflateError::Window);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(len: usize) -> Vec<u8> {
        b"the quick brown fox ".iter().copied().cycle().take(len).collect()
    }

    #[test]
    fn a_compressed_payload_inflates_to_the_same_bytes() {
        for len in [512, 4_096, 262_144, 1 << 20] {
            let raw = text(len);
            let packed = compress(&raw).unwrap();
            assert!(packed.len() < raw.len());
            assert_eq!(inflate(&packed, len as u32).unwrap(), raw);
        }
    }

    #[test]
    fn what_does_not_shrink_is_left_alone() {
        let mut noise = vec![0u8; 65_536];
        getrandom::fill(&mut noise).unwrap();
        assert_eq!(compress(&noise), None);
        assert_eq!(compress(b"short"), None);
    }

    #[test]
    fn a_wrong_raw_length_is_refused_before_anything_is_inflated() {
        let packed = compress(&text(4_096)).unwrap();
        assert_eq!(inflate(&packed, 4_095), Err(InflateError::ContentSize));
        assert_eq!(inflate(&packed, 4_097), Err(InflateError::ContentSize));
    }

    #[test]
    fn two_frames_a_rest_or_a_cut_frame_are_refused() {
        let packed = compress(&text(4_096)).unwrap();
        let twice = [packed.as_ref(), packed.as_ref()].concat();
        assert_eq!(inflate(&twice, 4_096), Err(InflateError::NotOneFrame));
        assert_eq!(inflate(&packed[..packed.len() - 1], 4_096), Err(InflateError::NotOneFrame));
        assert_eq!(inflate(b"", 0), Err(InflateError::NotOneFrame));
    }

    #[test]
    fn a_dictionary_and_a_large_window_are_refused() {
        let mut packed = compress(&text(4_096)).unwrap().to_vec();
        packed[4] |= 1;
        assert_eq!(inflate(&packed, 4_096), Err(InflateError::Dictionary));
        let large = [0x28, 0xB5, 0x2F, 0xFD, 0b1000_0000, (15 << 3) | 1, 0, 0, 0, 0];
        assert_eq!(inflate(&large, 0), Err(InflateError::Window));
    }

    #[test]
    fn flipped_bytes_never_panic() {
        let packed = compress(&text(8_192)).unwrap().to_vec();
        for at in 0..packed.len() {
            let mut bad = packed.clone();
            bad[at] ^= 0x55;
            if let Ok(raw) = inflate(&bad, 8_192) {
                assert_eq!(raw.len(), 8_192);
            }
        }
    }
}
