//! Builds the prefix of a packet: header, ext, KEM ciphertext, control, table and signature.
//!
//! Invariants: the writing order is that of the wire format §5; the encapsulation's randomness and
//! the salt are hedged with the side's local key and the packet's content, so a broken or cloned
//! random source never gives two packets one key. Nothing is written that a reader must refuse for
//! its lengths. Control and ext are taken as encoded; their meaning is not looked at.
//! Spec: wire format §2 to §5. Read `the_sealed_packet_of_the_specification_is_reproduced` first.

use wire::digest::sha256;
use wire::header::{HEADER_LEN, Header, Layout, MINOR, checksum, signed_message};
use wire::ids::{EndpointId, Incarnation, PacketNumber};
use wire::limits::{
    MAX_CONTROL_LEN, MAX_FRAME_LEN, MAX_FRAMES, MAX_HEADER_LEN, MAX_PACKET_LEN, MIN_CONTROL_LEN, STREAM_END,
};
use wire::schedule::{header_hash, hedge, hedge_input};
use wire::suite::Suite;
use wire::table::{FrameEntry, encode_table, total_len};
use zeroize::{Zeroize, Zeroizing};

use super::aead::{AeadFailed, PacketAead};
use super::frames::FrameSealer;
use crate::kem::{KemFailed, KemPublic};
use crate::peer::PeerKeys;
use crate::side_keys::{Identity, KeyId};
use crate::signing::SigningFailed;

/// What a prefix is built from. `entries` must already carry lengths *with* the tag
/// ([`Suite::tag_len`]) and the digests of the clear frames.
#[derive(Debug, Clone, Copy)]
pub struct PrefixInput<'a> {
    /// How the packet is protected.
    pub suite: Suite,
    /// The sending endpoint.
    pub sender: EndpointId,
    /// The receiving endpoint, or a side for presence.
    pub recipient: EndpointId,
    /// The sender's life; not unknown.
    pub sender_incarnation: Incarnation,
    /// The recipient's life that is addressed, or unknown.
    pub recipient_incarnation: Incarnation,
    /// Number of the packet, never used before.
    pub pn: PacketNumber,
    /// Now, in Unix ms of this machine's clock. Also decides which pinned KEM key is in its time.
    pub sent_at_ms: i64,
    /// The ext block, encoded and padded to 8; empty if there is none.
    pub ext: &'a [u8],
    /// The control block, encoded and padded to 8.
    pub control: &'a [u8],
    /// The frame table.
    pub entries: &'a [FrameEntry],
}

/// Why a packet could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// A suite with signatures without own keys.
    #[error("suite {0} needs this side's secret keys")]
    NoIdentity(Suite),
    /// No KEM key of the peer can be sealed to now.
    #[error("no X-Wing key of the remote side is pinned, in its time and not revoked: paste its current token")]
    NoKemKey,
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness: {0}")]
    Randomness(String),
    /// A part breaks a limit of the format.
    #[error("a packet cannot be built: {0}")]
    Shape(&'static str),
    /// A frame is not what the signed table says.
    #[error("frame {index}: {problem}")]
    Frame {
        /// Its index, from 0.
        index: u64,
        /// What differs.
        problem: &'static str,
    },
    /// The cryptographic library refused.
    #[error("the cryptographic library failed in {0}")]
    Library(&'static str),
}

/// A finished prefix and what seals the frames after it. The file is `bytes`, then each frame
/// padded to 8, then [`wire::header::end_marker`] of `salt`: `total_len` bytes in all.
#[derive(Debug)]
pub struct BuiltPrefix {
    /// Bytes [0, frames_at) of the file.
    pub bytes: Vec<u8>,
    /// The packet's salt, by which it is identified.
    pub salt: [u8; 32],
    /// Length of the whole file in bytes.
    pub total_len: u64,
    /// Seals the frames.
    pub frames: FrameSealer,
}

/// Builds a prefix with fresh randomness of the operating system. `identity` may be `None` and
/// `peer` empty for suite checksum; suite signed reads nothing of `peer`.
///
/// # Errors
/// [`SealError`].
pub fn build_prefix(
    identity: Option<&Identity>,
    peer: &PeerKeys,
    input: &PrefixInput<'_>,
) -> Result<BuiltPrefix, SealError> {
    let mut osrng = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *osrng).map_err(|e| SealError::Randomness(e.to_string()))?;
    build_prefix_with(identity, peer, input, &osrng)
}

/// As [`build_prefix`] with given randomness, for reproducible bytes [0, sig_at). The same 32 bytes
/// are harmless with other content in suite sealed (they are hedged), but give suites checksum and
/// signed the same salt: everywhere but in tests use [`build_prefix`].
///
/// # Errors
/// [`SealError`].
pub fn build_prefix_with(
    identity: Option<&Identity>,
    peer: &PeerKeys,
    input: &PrefixInput<'_>,
    osrng: &[u8; 32],
) -> Result<BuiltPrefix, SealError> {
    check_shape(input)?;
    let suite = input.suite;
    let signer = match (suite.signed(), identity) {
        (true, None) => return Err(SealError::NoIdentity(suite)),
        (true, Some(identity)) => Some(identity),
        (false, _) => None,
    };
    let mut header = draft(input, signer)?;
    let layout = header.layout();
    let table = encode_table(input.entries);
    let mut bytes = Vec::with_capacity(layout.frames_at);
    let mut aead = None;
    match signer {
        Some(identity) if suite.sealed() => {
            let kem = peer.kem_at(input.sent_at_ms).ok_or(SealError::NoKemKey)?;
            let (ct, made) = encapsulate(identity, kem, &mut header, input, &table, osrng)?;
            header.commitment = made.commitment;
            bytes.extend_from_slice(&header.encode());
            bytes.extend_from_slice(input.ext);
            bytes.extend_from_slice(&ct);
            bytes.extend_from_slice(input.control);
            bytes.extend_from_slice(&table);
            let tag = made
                .seal_control(&mut bytes[layout.control_at..])
                .map_err(|AeadFailed| SealError::Library("AES-256-GCM"))?;
            bytes.extend_from_slice(&tag);
            aead = Some(made);
        }
        Some(_) | None => {
            header.salt = *osrng;
            bytes.extend_from_slice(&header.encode());
            bytes.extend_from_slice(input.ext);
            bytes.extend_from_slice(input.control);
            bytes.extend_from_slice(&table);
        }
    }
    debug_assert_eq!(bytes.len(), layout.sig_at);
    append_signature(signer, &mut bytes)?;
    bytes.resize(layout.frames_at, 0);
    let frames = FrameSealer::new(suite, aead, input.entries.to_vec());
    Ok(BuiltPrefix { bytes, salt: header.salt, total_len: header.total_len, frames })
}

/// Salt, ciphertext and keys of a sealed packet; sets the header's KEM key id and salt.
fn encapsulate(
    identity: &Identity,
    (kem_id, kem): &(KeyId, KemPublic),
    header: &mut Header,
    input: &PrefixInput<'_>,
    table: &[u8],
    osrng: &[u8; 32],
) -> Result<(Vec<u8>, PacketAead), SealError> {
    header.kem_key = *kem_id;
    let content = hedge_input(&header.encode(), input.ext, input.control, table);
    let mut hedge = hedge(identity.local_key(), osrng, &content);
    header.salt = hedge.salt;
    let seed = Zeroizing::new(hedge.seed);
    hedge.seed.zeroize();
    let (ct, ss) = kem.encapsulate(seed).map_err(|KemFailed| SealError::Library("X-Wing"))?;
    let hh = header_hash(&header.encode(), input.ext, &ct);
    let aead = PacketAead::derive(&ss, hh).map_err(|AeadFailed| SealError::Library("AES-256-GCM"))?;
    Ok((ct, aead))
}

fn append_signature(signer: Option<&Identity>, bytes: &mut Vec<u8>) -> Result<(), SealError> {
    match signer {
        Some(identity) => {
            let message = signed_message(&sha256(&[bytes.as_slice()]));
            let signature = identity.sign(&message).map_err(|SigningFailed| SealError::Library("signing"))?;
            bytes.extend_from_slice(&signature);
        }
        None => {
            let sum = checksum(&[bytes.as_slice()]);
            bytes.extend_from_slice(&sum);
        }
    }
    Ok(())
}

/// The header without KEM key id, salt and commitment.
fn draft(input: &PrefixInput<'_>, signer: Option<&Identity>) -> Result<Header, SealError> {
    let too_long = |_| SealError::Shape("a part is longer than its field");
    let header_len = u32::try_from(HEADER_LEN + input.ext.len()).map_err(too_long)?;
    let control_len = u32::try_from(input.control.len()).map_err(too_long)?;
    let frame_count = u32::try_from(input.entries.len()).map_err(too_long)?;
    let layout = Layout::new(input.suite, header_len, control_len, frame_count);
    let frames_at = u32::try_from(layout.frames_at).map_err(too_long)?;
    let total_len = total_len(input.entries, frames_at);
    if total_len > MAX_PACKET_LEN {
        return Err(SealError::Shape("the packet would be longer than 2^40 bytes"));
    }
    Ok(Header {
        minor: MINOR,
        suite_number: input.suite.number(),
        flags: 0,
        header_len,
        control_len,
        frame_count,
        frames_at,
        sender: input.sender,
        recipient: input.recipient,
        sender_incarnation: input.sender_incarnation,
        recipient_incarnation: input.recipient_incarnation,
        pn: input.pn,
        sent_at_ms: input.sent_at_ms,
        total_len,
        signing_key: signer.map_or([0; 8], Identity::signing_id),
        kem_key: [0; 8],
        salt: [0; 32],
        commitment: [0; 32],
    })
}

/// The limits a reader enforces, so that no packet is written which none would take.
fn check_shape(input: &PrefixInput<'_>) -> Result<(), SealError> {
    let multiple = |part: &[u8]| part.len().is_multiple_of(8);
    let control_range = MIN_CONTROL_LEN as usize..=MAX_CONTROL_LEN as usize;
    let entry_fits = |entry: &FrameEntry| {
        let clear = entry.clear_len(input.suite.tag_len());
        clear.is_some_and(|clear| (1..=MAX_FRAME_LEN).contains(&clear)) && entry.stream < STREAM_END
    };
    let problem = if input.sender_incarnation.is_unknown() {
        "the sender's incarnation is unknown"
    } else if !multiple(input.ext) || HEADER_LEN + input.ext.len() > MAX_HEADER_LEN as usize {
        "the ext block is not a multiple of 8 up to 64 KiB"
    } else if !multiple(input.control) || !control_range.contains(&input.control.len()) {
        "the control block is not a multiple of 8 from 8 bytes to 1 MiB"
    } else if input.entries.len() > MAX_FRAMES as usize {
        "there are more than 65,536 frames"
    } else if !input.entries.iter().all(entry_fits) {
        "a frame is empty, longer than 2^24 bytes, or of a stream id above 2^48"
    } else {
        return Ok(());
    };
    Err(SealError::Shape(problem))
}
