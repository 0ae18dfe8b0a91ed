//! Putting a packet together: from a header, blocks and table to the bytes of the file (wire format §2), and suite 1 as a whole.
//!
//! Invariant: everything but the secrets is done here, so that suites differ only in what `identity` puts between two calls: ciphertext,
//! sealed control and table, signature. Order of writing: `set_lengths`, encode the header, (seal,) `covered`, (sign,) `finish_prefix`,
//! then `push_frame` for each frame and `push_end`. Test to read first: `checksum_packet_of_the_specification`.

use crate::header::{HEADER_LEN, Header, Layout, align8_usize, checksum, end_marker};
use crate::reject::Reject;
use crate::suite::CHECKSUM_LEN;
use crate::table::{FrameEntry, encode_table, total_len};
use alloc::vec::Vec;
use subtle::ConstantTimeEq as _;

/// The clear parts of a packet's prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketParts {
    /// Its lengths are set by [`Self::set_lengths`].
    pub header: Header,
    /// The ext block; empty, or a multiple of 8 bytes.
    pub ext: Vec<u8>,
    /// The control block; a multiple of 8 bytes, at least 8.
    pub control: Vec<u8>,
    /// One entry per frame; `stored_len` includes the tag of the suite.
    pub table: Vec<FrameEntry>,
}

impl PacketParts {
    /// Sets the header's lengths, counts and offsets from the parts and the header's suite.
    pub fn set_lengths(&mut self) {
        let header = &mut self.header;
        header.header_len = length(HEADER_LEN + self.ext.len());
        header.control_len = length(self.control.len());
        header.frame_count = length(self.table.len());
        header.frames_at = length(header.layout().frames_at);
        header.total_len = total_len(&self.table, header.frames_at);
    }

    /// Control, then table, in the clear: what the sealed suites encrypt as one message.
    #[must_use]
    pub fn clear_message(&self) -> Vec<u8> {
        let mut message = self.control.clone();
        message.extend_from_slice(&encode_table(&self.table));
        message
    }

    /// Bytes [0, sig_at): what the signature covers. `header` is the encoded header, `ct` the KEM ciphertext (empty without sealing),
    /// `message` control and table as they stand in the file: [`Self::clear_message`], or its ciphertext with tag.
    #[must_use]
    pub fn covered(&self, header: &[u8; HEADER_LEN], ct: &[u8], message: &[u8]) -> Vec<u8> {
        let mut covered = Vec::with_capacity(self.header.layout().frames_at);
        for part in [header, &self.ext[..], ct, message] {
            covered.extend_from_slice(part);
        }
        covered
    }
}

/// A length of the prefix; one beyond 32 bits saturates, and its packet is refused by every reader.
fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Appends the signature and its padding to the bytes it covers: the whole prefix.
#[must_use]
pub fn finish_prefix(mut covered: Vec<u8>, signature: &[u8]) -> Vec<u8> {
    push_padded(&mut covered, signature);
    covered
}

/// The signature field of suite 1 for bytes [0, sig_at).
#[must_use]
pub fn checksum_signature(covered: &[u8]) -> [u8; CHECKSUM_LEN] {
    checksum(&[covered])
}

/// Check 12 of suite 1. `prefix` may be longer than the prefix.
///
/// # Errors
/// `PrefixCut` if it is shorter, `Checksum` if the checksum differs; both may pass later, while the file still grows.
pub fn verify_checksum(prefix: &[u8], layout: &Layout) -> Result<(), Reject> {
    let prefix = prefix.get(..layout.frames_at).ok_or(Reject::PrefixCut)?;
    let expected = checksum_signature(&prefix[..layout.sig_at]);
    if bool::from(expected[..].ct_eq(&prefix[layout.signature()])) { Ok(()) } else { Err(Reject::Checksum) }
}

/// Appends a frame as stored (with its tag) and its padding to a file.
pub fn push_frame(file: &mut Vec<u8>, frame: &[u8]) {
    push_padded(file, frame);
}

/// Appends the end marker to a file.
pub fn push_end(file: &mut Vec<u8>, salt: &[u8; 32]) {
    file.extend_from_slice(&end_marker(salt));
}

fn push_padded(file: &mut Vec<u8>, bytes: &[u8]) {
    file.extend_from_slice(bytes);
    file.resize(align8_usize(file.len()), 0);
}

/// A whole packet of suite 1 with these frames, one per table entry; the header's lengths must be set.
#[must_use]
pub fn checksum_packet(parts: &PacketParts, frames: &[&[u8]]) -> Vec<u8> {
    let covered = parts.covered(&parts.header.encode(), &[], &parts.clear_message());
    let signature = checksum_signature(&covered);
    let mut file = finish_prefix(covered, &signature);
    for frame in frames {
        push_frame(&mut file, frame);
    }
    push_end(&mut file, &parts.header.salt);
    file
}

#[cfg(test)]
mod tests;
