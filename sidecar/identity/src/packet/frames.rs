//! Sealing and opening the frames of one packet, one at a time and in any order.
//!
//! Invariants: the sealer accepts for an index only the bytes whose length and digest stand in the
//! signed table, so a nonce never meets a second content, and a record that was damaged on the way
//! here cannot leave in a signed packet; the opener yields only bytes that match their digest.
//! It does not judge a frame's kind, flags or records.
//! Spec: wire format §5 step 6, §8, §11 row 19. Read `a_frame_is_sealed_only_as_the_table_says`.

use core::fmt;

use subtle::ConstantTimeEq;
use wire::digest::sha256;
use wire::reject::Reject;
use wire::suite::Suite;
use wire::table::FrameEntry;

use super::aead::{AeadFailed, PacketAead};
use super::build::SealError;

/// Seals the frames of one packet that is being built.
pub struct FrameSealer {
    suite: Suite,
    aead: Option<PacketAead>,
    table: Vec<FrameEntry>,
}

impl FrameSealer {
    pub(super) const fn new(suite: Suite, aead: Option<PacketAead>, table: Vec<FrameEntry>) -> Self {
        Self { suite, aead, table }
    }

    /// Turns the clear bytes of frame `index` (from 0) into what the file carries: encrypts them in
    /// place and appends the tag, or leaves them alone in suites without sealing. In every suite the
    /// bytes are first compared with the length and digest of their entry. Room for
    /// [`Suite::tag_len`] more bytes in `clear` saves a copy.
    ///
    /// # Errors
    /// `Frame` if `entry` is not the table's or the bytes do not match it; `clear` is then unchanged.
    pub fn seal(&self, index: u64, entry: &FrameEntry, clear: &mut Vec<u8>) -> Result<(), SealError> {
        let mismatch = |problem| Err(SealError::Frame { index, problem });
        let own = usize::try_from(index).ok().and_then(|index| self.table.get(index));
        if own != Some(entry) {
            return mismatch("its table entry is not the one that was signed");
        }
        if clear.len().checked_add(self.suite.tag_len()) != usize::try_from(entry.stored_len).ok() {
            return mismatch("its length differs from its table entry");
        }
        if sha256(&[clear.as_slice()]) != entry.digest {
            return mismatch("its digest differs from its table entry: the stored bytes are damaged");
        }
        let Some(aead) = &self.aead else { return Ok(()) };
        aead.seal_frame(index, &entry.encode(), clear).map_err(|AeadFailed| SealError::Library("AES-256-GCM"))
    }
}

impl fmt::Debug for FrameSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameSealer")
            .field("suite", &self.suite)
            .field("frames", &self.table.len())
            .finish_non_exhaustive()
    }
}

/// Opens the frames of one packet whose prefix was verified and opened.
pub struct FrameOpener {
    aead: Option<PacketAead>,
}

impl FrameOpener {
    pub(super) const fn new(aead: Option<PacketAead>) -> Self {
        Self { aead }
    }

    /// Turns the `entry.stored_len` bytes of frame `index` (from 0) into its clear bytes, in place.
    /// `entry` is the table's at `index`. After an error the content of `sealed` is undefined.
    ///
    /// # Errors
    /// `frame_cut` for another number of bytes, `frame_seal` if the tag and `frame_digest` if the
    /// digest does not match.
    pub fn open(&self, index: u64, entry: &FrameEntry, sealed: &mut Vec<u8>) -> Result<(), Reject> {
        if u32::try_from(sealed.len()) != Ok(entry.stored_len) {
            return Err(Reject::FrameCut);
        }
        if let Some(aead) = &self.aead {
            aead.open_frame(index, &entry.encode(), sealed).map_err(|AeadFailed| Reject::FrameSeal)?;
        }
        if bool::from(sha256(&[sealed.as_slice()]).ct_eq(&entry.digest)) { Ok(()) } else { Err(Reject::FrameDigest) }
    }
}

impl fmt::Debug for FrameOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameOpener").field("sealed", &self.aead.is_some()).finish_non_exhaustive()
    }
}
