//! Verifies and opens the prefix of a packet that was read from a file.
//!
//! Invariants: `verify_prefix` must have succeeded before `open_prefix` is called on the same
//! bytes; both insist that the header they are given is the one in those bytes, because a file may
//! change between two reads. Nothing of a packet is returned before its commitment (compared in
//! constant time) and its tag verify. Which keys are pinned and whether the packet is wanted are
//! questions of the rows before 12; what control says, of row 16.
//! Spec: wire format §11 rows 11, 12, 14, 15. Read `a_flipped_bit_anywhere_has_its_own_reject`.

use subtle::ConstantTimeEq;
use wire::digest::sha256;
use wire::header::{HEADER_LEN, Header, Layout, checksum, signed_message};
use wire::reject::Reject;
use wire::schedule::header_hash;
use wire::suite::Suite;
use wire::table::{FrameEntry, decode_table};
use wire::tlv::check_ext;

use super::aead::{AeadFailed, PacketAead};
use super::frames::FrameOpener;
use crate::kem::KemFailed;
use crate::peer::PeerKeys;
use crate::side_keys::Identity;

/// The clear parts of a prefix.
#[derive(Debug)]
pub struct OpenedPrefix {
    /// The ext block; well-formed and without unknown critical types.
    pub ext: Vec<u8>,
    /// The clear control block, not yet decoded.
    pub control: Vec<u8>,
    /// The frame table, its entries not yet judged.
    pub entries: Vec<FrameEntry>,
    /// Opens the frames.
    pub frames: FrameOpener,
}

/// Row 12 of the order of checks: checksum or both signatures over the prefix. `prefix` holds at
/// least bytes [0, frames_at) of the file, `header` is what was parsed from them. The signing key
/// is looked up in `peer`, the keys of the peering that owns the recipient id; whether it is in
/// its time is asked of [`PeerKeys::check_signing_key`] before.
///
/// # Errors
/// `prefix_cut` if bytes are missing or are not those of `header`; `key_unknown`, `key_revoked`;
/// `checksum`, `signature_ed25519`, `signature_mldsa`.
pub fn verify_prefix(header: &Header, prefix: &[u8], peer: &PeerKeys) -> Result<(), Reject> {
    let Prefix { suite, layout, bytes, .. } = Prefix::of(header, prefix)?;
    let covered = &bytes[..layout.sig_at];
    let signature = &bytes[layout.signature()];
    match suite {
        Suite::Checksum => {
            let same = checksum(&[covered]).ct_eq(signature);
            if bool::from(same) { Ok(()) } else { Err(Reject::Checksum) }
        }
        Suite::Signed | Suite::Sealed => {
            let message = signed_message(&sha256(&[covered]));
            peer.verify(header.signing_key, &message, signature)
        }
    }
}

/// Rows 14 and 15: the ext block, then the KEM key, the commitment, and the seal of control and
/// table. `identity` is needed for suite sealed only; without it, such a packet is `kem_key`.
///
/// # Errors
/// `prefix_cut` as [`verify_prefix`]; `ext_malformed`, `ext_critical`; `kem_key`, `commitment`,
/// `control_seal`.
pub fn open_prefix(identity: Option<&Identity>, header: &Header, prefix: &[u8]) -> Result<OpenedPrefix, Reject> {
    let Prefix { suite, layout, bytes, head } = Prefix::of(header, prefix)?;
    let ext = &bytes[layout.ext()];
    check_ext(ext)?;
    let mut clear = bytes[layout.sealed()].to_vec();
    let mut aead = None;
    if suite.sealed() {
        let ct = &bytes[layout.ct()];
        let ss = identity
            .ok_or(KemFailed)
            .and_then(|identity| identity.decapsulate(header.kem_key, ct))
            .map_err(|KemFailed| Reject::KemKey)?;
        let keys = PacketAead::derive(&ss, header_hash(head, ext, ct)).map_err(|AeadFailed| Reject::KemKey)?;
        if !bool::from(keys.commitment.ct_eq(&header.commitment)) {
            return Err(Reject::Commitment);
        }
        let len = keys.open_control(&mut clear).map_err(|AeadFailed| Reject::ControlSeal)?.len();
        clear.truncate(len);
        aead = Some(keys);
    }
    let table = clear.split_off(layout.table_at - layout.control_at);
    Ok(OpenedPrefix {
        ext: ext.to_vec(),
        control: clear,
        entries: decode_table(&table),
        frames: FrameOpener::new(aead),
    })
}

/// A prefix that is whole and is the one its header was parsed from.
struct Prefix<'a> {
    suite: Suite,
    layout: Layout,
    bytes: &'a [u8],
    head: &'a [u8; HEADER_LEN],
}

impl<'a> Prefix<'a> {
    fn of(header: &Header, prefix: &'a [u8]) -> Result<Self, Reject> {
        let suite = header.suite().map_err(|_| Reject::SuiteUnknown)?;
        let layout = header.layout();
        let bytes = prefix.get(..layout.frames_at).ok_or(Reject::PrefixCut)?;
        let head = bytes.first_chunk().ok_or(Reject::PrefixCut)?;
        // The file may have changed since its header was judged: the signature would then vouch
        // for another header than the one whose addresses and number were checked.
        if Header::parse(bytes).as_ref() != Ok(header) {
            return Err(Reject::PrefixCut);
        }
        Ok(Self { suite, layout, bytes, head })
    }
}
