//! The engine's own log entries, and how the entries of layers 1 and 2 lie in the log.
//!
//! | kind | name | payload |
//! |---|---|---|
//! | 16–63 | layer 1 | peer 16 ‖ the entry as layer 1 encodes it ‖ for `Sent` and `Received`: the record's stored payload |
//! | 64–127 | layer 2 | as layer 2 encodes it |
//! | 128 | LIFE | my incarnation 16 ‖ nonce secret 32 ‖ first packet number 8 (1 if it is not there) ‖ when it was taken on a peer's word 8 (0: it was not, or it is not there) |
//! | 129 | SENT_AT | peer 16 ‖ seq 8 ‖ stream 8 ‖ record kind 1 ‖ position 12: a record of mine in an older segment |
//! | 130 | SPOOLED | peer 16 ‖ record header 36 ‖ payload digest 32 ‖ position 12: a received record in an older segment |
//! | 131 | TAKEN | peer 16 ‖ stream 8 ‖ offset 8: received records of the stream below the offset are given up |
//! | 132 | FORGOTTEN | peer 16 ‖ stream 8: the received stream is forgotten |
//! | 133 | MARK | peer 16 ‖ stream 8 ‖ bits 1 (0 reset, 1 discard, 2 fin) ‖ reset code 8 ‖ fin offset 8 ‖ given up below 8 |
//! | 134 | REQUEST_ENDED | peer 16 ‖ stream 8: my request stream got its FIN or was reset |
//! | 135 | KEPT | peer 16 ‖ stream 8 ‖ operation 16 ‖ kept 1: the received stream is the stored result of the operation, or no longer |
//! | 136 | FAR_OVER | peer 16 ‖ stream 8: the request of this stream has its answer, and more of it is not wanted |
//! | 137 | MOVED | peer 16 ‖ direction 1 (0 received, 1 sent) ‖ three zeros ‖ record header 36 ‖ stored payload: the record lies here now |
//! | 138 | REQUEST_AT | peer 16 ‖ operation 16 ‖ record header 36 ‖ payload digest 32 ‖ position 12 ‖ to copy 1: a record of the operation's request, kept until its response is whole; 1 if it is still to be appended to the operation's stream |
//! | 139 | RESULT_AT | peer 16 ‖ operation 16 ‖ record header 36 ‖ payload digest 32 ‖ position 12: a record of the operation's whole response, whose association ended |
//!
//! Integers are little-endian; a record header is seq, stream, offset (8 each), raw_len, stored_len (4 each), kind,
//! flags, two zero octets. `SENT_AT`, `SPOOLED`, `MARK`,
//! `REQUEST_AT` and `RESULT_AT` stand only in checkpoints. Payloads longer than known are
//! read up to what is known; shorter ones are damage. Test to read first: `every_entry_reads_back`.

use bytes::Bytes;
use disk::log::Position;
use layer1_replication::Entry;
use layer2_http::operation::OperationId;
use wire::record::RecordHeader;
use wire::{EndpointId, Incarnation, Seq, StreamId};

use crate::command::Found;
use crate::spool::StreamMark;

/// Layer 1's entry with a record of mine.
pub const SENT: u8 = 17;
/// Layer 1's entry with a record of the peer.
pub const RECEIVED: u8 = 18;
/// First kind of layer 2's entries.
pub const LAYER2_FIRST: u8 = 64;
/// First kind of the far side's entries of layer 2.
pub const FAR_FIRST: u8 = 96;
/// First kind of the engine's own entries.
pub const ENGINE_FIRST: u8 = 128;

/// A record that was carried on from an older segment.
pub const MOVED: u8 = 137;

const POSITION_LEN: usize = 12;

/// An entry of the engine's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineEntry {
    /// Who I am in this life of the log.
    Life(Life),
    /// Where a record of mine lies.
    SentAt {
        /// Of which peer's log.
        peer: EndpointId,
        /// Its place in my log to the peer.
        place: SentPlace,
    },
    /// Where a received record lies.
    Spooled {
        /// From which peer.
        peer: EndpointId,
        /// The record.
        found: FoundEq,
    },
    /// Received records were given up.
    Taken {
        /// From which peer.
        peer: EndpointId,
        /// Of which stream.
        stream: StreamId,
        /// All below this offset.
        below: u64,
    },
    /// A received stream was forgotten.
    Forgotten {
        /// From which peer.
        peer: EndpointId,
        /// Which stream.
        stream: StreamId,
    },
    /// A received stream's state.
    Mark {
        /// From which peer.
        peer: EndpointId,
        /// The state.
        mark: StreamMark,
    },
    /// My request stream got its end.
    RequestEnded {
        /// To which peer.
        peer: EndpointId,
        /// Which stream.
        stream: StreamId,
    },
    /// A received stream is a stored result, or no longer.
    Kept {
        /// From which peer.
        peer: EndpointId,
        /// Which stream.
        stream: StreamId,
        /// Of which operation.
        operation: OperationId,
        /// Whether it is.
        kept: bool,
    },
    /// A request has its answer, and more of it is not wanted.
    FarOver {
        /// From which peer.
        peer: EndpointId,
        /// The request's stream.
        stream: StreamId,
    },
    /// A record was carried on: it lies in this very entry now.
    Moved {
        /// To or from which peer.
        peer: EndpointId,
        /// It is a record of mine.
        sent: bool,
        /// The record.
        head: RecordHeader,
    },
    /// Where a record of a request of mine lies that may be needed again.
    RequestAt {
        /// To which peer.
        peer: EndpointId,
        /// Of which operation.
        operation: OperationId,
        /// The record.
        found: FoundEq,
        /// It is still to be appended to the operation's stream.
        to_copy: bool,
    },
    /// Where a record of a response lies whose association ended.
    ResultAt {
        /// From which peer.
        peer: EndpointId,
        /// Of which operation.
        operation: OperationId,
        /// The record.
        found: FoundEq,
    },
}

/// Who I am in this life of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// My incarnation.
    pub incarnation: Incarnation,
    /// What nonces are derived from.
    pub nonce_secret: [u8; 32],
    /// First packet number for endpoints of which nothing is in the log: above all used for those that were forgotten.
    pub first_pn: u64,
    /// On whose word a life was taken anew, and when (Unix ms). No older than a day when it was written.
    pub words: Vec<(EndpointId, u64)>,
}

/// A sent record's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentPlace {
    /// Its sequence number.
    pub seq: Seq,
    /// Its stream.
    pub stream: StreamId,
    /// Its kind.
    pub kind: u8,
    /// The log entry that holds it.
    pub position: Position,
}

/// A [`Found`] that can be compared.
#[derive(Clone, Copy, Debug)]
pub struct FoundEq(pub Found);

impl PartialEq for FoundEq {
    fn eq(&self, other: &Self) -> bool {
        self.0.head == other.0.head && self.0.pd == other.0.pd && self.0.position == other.0.position
    }
}

impl Eq for FoundEq {}

impl EngineEntry {
    /// The entry's kind number.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Life(_) => 128,
            Self::SentAt { .. } => 129,
            Self::Spooled { .. } => 130,
            Self::Taken { .. } => 131,
            Self::Forgotten { .. } => 132,
            Self::Mark { .. } => 133,
            Self::RequestEnded { .. } => 134,
            Self::Kept { .. } => 135,
            Self::FarOver { .. } => 136,
            Self::Moved { .. } => MOVED,
            Self::RequestAt { .. } => 138,
            Self::ResultAt { .. } => 139,
        }
    }

    /// The entry's payload; of a moved record, what comes before its own.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(112);
        match self {
            Self::Life(life) => {
                out.extend_from_slice(&life.incarnation.to_bytes());
                out.extend_from_slice(&life.nonce_secret);
                put_u64(&mut out, life.first_pn);
                for (peer, at_ms) in &life.words {
                    out.extend_from_slice(peer.as_bytes());
                    put_u64(&mut out, *at_ms);
                }
            }
            Self::SentAt { peer, place } => {
                out.extend_from_slice(peer.as_bytes());
                put_u64(&mut out, place.seq.get());
                put_u64(&mut out, place.stream.get());
                out.push(place.kind);
                out.extend_from_slice(&place.position.to_bytes());
            }
            Self::Spooled { peer, found } => {
                out.extend_from_slice(peer.as_bytes());
                put_found(&mut out, found);
            }
            Self::RequestAt { peer, operation, found, to_copy } => {
                out.extend_from_slice(peer.as_bytes());
                out.extend_from_slice(operation.as_bytes());
                put_found(&mut out, found);
                out.push(u8::from(*to_copy));
            }
            Self::ResultAt { peer, operation, found } => {
                out.extend_from_slice(peer.as_bytes());
                out.extend_from_slice(operation.as_bytes());
                put_found(&mut out, found);
            }
            Self::Taken { peer, stream, below } => {
                out.extend_from_slice(peer.as_bytes());
                put_u64(&mut out, stream.get());
                put_u64(&mut out, *below);
            }
            Self::Kept { peer, stream, operation, kept } => {
                out.extend_from_slice(peer.as_bytes());
                put_u64(&mut out, stream.get());
                out.extend_from_slice(operation.as_bytes());
                out.push(u8::from(*kept));
            }
            Self::Forgotten { peer, stream } | Self::RequestEnded { peer, stream } | Self::FarOver { peer, stream } => {
                out.extend_from_slice(peer.as_bytes());
                put_u64(&mut out, stream.get());
            }
            Self::Moved { peer, sent, head } => {
                out.extend_from_slice(peer.as_bytes());
                out.extend_from_slice(&[u8::from(*sent), 0, 0, 0]);
                put_header(&mut out, head);
            }
            Self::Mark { peer, mark } => {
                out.extend_from_slice(peer.as_bytes());
                put_u64(&mut out, mark.stream.get());
                let bits =
                    u8::from(mark.reset.is_some()) | u8::from(mark.discard) << 1 | u8::from(mark.fin_at.is_some()) << 2;
                out.push(bits);
                put_u64(&mut out, mark.reset.unwrap_or(0));
                put_u64(&mut out, mark.fin_at.unwrap_or(0));
                put_u64(&mut out, mark.taken);
            }
        }
        out
    }

    /// Reads an entry back. `None` when the kind is not one of these or the payload is too short.
    pub fn decode(kind: u8, payload: &[u8]) -> Option<Self> {
        let mut input = Input(payload);
        Some(match kind {
            128 => Self::Life(Life {
                incarnation: Incarnation::from_bytes(&input.array()?),
                nonce_secret: input.array()?,
                first_pn: if input.0.is_empty() { 1 } else { input.u64()? },
                words: input.words()?,
            }),
            129 => Self::SentAt {
                peer: input.endpoint()?,
                place: SentPlace {
                    seq: Seq::new(input.u64()?),
                    stream: input.stream()?,
                    kind: input.array::<1>()?[0],
                    position: input.position()?,
                },
            },
            130 => Self::Spooled { peer: input.endpoint()?, found: input.found()? },
            131 => Self::Taken { peer: input.endpoint()?, stream: input.stream()?, below: input.u64()? },
            132 => Self::Forgotten { peer: input.endpoint()?, stream: input.stream()? },
            133 => {
                let (peer, stream) = (input.endpoint()?, input.stream()?);
                let [bits] = input.array::<1>()?;
                let (reset, fin_at, taken) = (input.u64()?, input.u64()?, input.u64()?);
                let mark = StreamMark {
                    stream,
                    reset: (bits & 1 != 0).then_some(reset),
                    discard: bits & 2 != 0,
                    fin_at: (bits & 4 != 0).then_some(fin_at),
                    taken,
                };
                Self::Mark { peer, mark }
            }
            134 => Self::RequestEnded { peer: input.endpoint()?, stream: input.stream()? },
            135 => Self::Kept {
                peer: input.endpoint()?,
                stream: input.stream()?,
                operation: input.operation()?,
                kept: input.array::<1>()? != [0],
            },
            136 => Self::FarOver { peer: input.endpoint()?, stream: input.stream()? },
            MOVED => Self::Moved { peer: input.endpoint()?, sent: input.array::<4>()?[0] != 0, head: input.header()? },
            138 => Self::RequestAt {
                peer: input.endpoint()?,
                operation: input.operation()?,
                found: input.found()?,
                to_copy: input.array::<1>()? != [0],
            },
            139 => Self::ResultAt { peer: input.endpoint()?, operation: input.operation()?, found: input.found()? },
            _ => return None,
        })
    }
}

/// True for an entry that ends with a record's stored payload.
pub fn holds_record(kind: u8) -> bool {
    matches!(kind, SENT | RECEIVED | MOVED)
}

/// The stored payload of a record at the end of its entry.
pub fn record_payload(kind: u8, body: &Bytes, stored_len: u32) -> Option<Bytes> {
    if !holds_record(kind) {
        return None;
    }
    let from = body.len().checked_sub(usize::try_from(stored_len).ok()?)?;
    Some(body.slice(from..))
}

/// A record with its payload, as it lies in an entry.
#[derive(Clone, Debug)]
pub struct Placed {
    /// To or from which peer.
    pub peer: EndpointId,
    /// It is a record of mine.
    pub sent: bool,
    /// Its header.
    pub head: RecordHeader,
    /// Its stored payload.
    pub payload: Bytes,
}

/// The record in an entry, if there is one.
pub fn placed_record(kind: u8, body: &Bytes) -> Option<Placed> {
    let (peer, sent, head) = match kind {
        MOVED => match EngineEntry::decode(kind, body)? {
            EngineEntry::Moved { peer, sent, head } => (peer, sent, head),
            _ => return None,
        },
        SENT | RECEIVED => {
            let (peer, rest) = split_peer(body)?;
            match Entry::decode_prefix(kind, rest).ok()?.0 {
                Entry::Sent { head, .. } => (peer, true, head),
                Entry::Received(meta) => (peer, false, meta.head),
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(Placed { peer, sent, head, payload: record_payload(kind, body, head.stored_len)? })
}

/// Splits a layer-1 entry's payload into the peer and the rest.
pub fn split_peer(payload: &[u8]) -> Option<(EndpointId, &[u8])> {
    let (peer, rest) = payload.split_first_chunk::<16>()?;
    Some((EndpointId::from_bytes(*peer), rest))
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_header(out: &mut Vec<u8>, head: &RecordHeader) {
    put_u64(out, head.seq.get());
    put_u64(out, head.stream.get());
    put_u64(out, head.offset);
    out.extend_from_slice(&head.raw_len.to_le_bytes());
    out.extend_from_slice(&head.stored_len.to_le_bytes());
    out.extend_from_slice(&[head.kind, head.flags, 0, 0]);
}

fn put_found(out: &mut Vec<u8>, found: &FoundEq) {
    put_header(out, &found.0.head);
    out.extend_from_slice(&found.0.pd);
    out.extend_from_slice(&found.0.position.to_bytes());
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn endpoint(&mut self) -> Option<EndpointId> {
        self.array().map(EndpointId::from_bytes)
    }

    fn words(&mut self) -> Option<Vec<(EndpointId, u64)>> {
        let mut words = Vec::new();
        while !self.0.is_empty() {
            words.push((self.endpoint()?, self.u64()?));
        }
        Some(words)
    }

    fn stream(&mut self) -> Option<StreamId> {
        StreamId::new(self.u64()?)
    }

    fn operation(&mut self) -> Option<OperationId> {
        OperationId::from_bytes(self.array()?).ok()
    }

    fn found(&mut self) -> Option<FoundEq> {
        let (head, pd, position) = (self.header()?, self.array()?, self.position()?);
        Some(FoundEq(Found { head, pd, position, credited: false }))
    }

    fn position(&mut self) -> Option<Position> {
        self.array::<POSITION_LEN>().map(Position::from_bytes)
    }

    fn header(&mut self) -> Option<RecordHeader> {
        let (seq, stream, offset) = (Seq::new(self.u64()?), self.stream()?, self.u64()?);
        let (raw_len, stored_len) = (self.u32()?, self.u32()?);
        let [kind, flags, _, _] = self.array::<4>()?;
        Some(RecordHeader { seq, stream, offset, raw_len, stored_len, kind, flags })
    }
}

#[cfg(test)]
mod tests {
    //! Round trips of the engine's own entries.
    use super::*;

    fn life() -> Life {
        Life {
            incarnation: Incarnation { generation: 1, random: [2; 8] },
            nonce_secret: [3; 32],
            first_pn: 4097,
            words: vec![(EndpointId::from_bytes([8; 16]), 77)],
        }
    }

    #[test]
    fn a_life_of_an_older_log_begins_at_packet_1() {
        let payload = EngineEntry::Life(life()).encode();
        let of_old = |first_pn| Some(EngineEntry::Life(Life { first_pn, words: Vec::new(), ..life() }));
        assert_eq!(EngineEntry::decode(128, &payload[..48]), of_old(1));
        assert_eq!(EngineEntry::decode(128, &payload[..56]), of_old(4097));
    }

    #[test]
    fn every_entry_reads_back() {
        let peer = EndpointId::from_bytes([7; 16]);
        let stream = StreamId::new(9).unwrap();
        let position = Position { segment: 3, offset: 4096 };
        let head = RecordHeader { seq: Seq::new(5), stream, offset: 77, raw_len: 9, stored_len: 8, kind: 33, flags: 1 };
        let entries = [
            EngineEntry::Life(life()),
            EngineEntry::SentAt { peer, place: SentPlace { seq: Seq::new(5), stream, kind: 33, position } },
            EngineEntry::Spooled { peer, found: FoundEq(Found { head, pd: [4; 32], position, credited: false }) },
            EngineEntry::Taken { peer, stream, below: 12 },
            EngineEntry::Forgotten { peer, stream },
            EngineEntry::Mark {
                peer,
                mark: StreamMark { stream, reset: Some(4), discard: true, fin_at: None, taken: 5 },
            },
            EngineEntry::RequestEnded { peer, stream },
            EngineEntry::Kept { peer, stream, operation: OperationId::from_bytes([9; 16]).unwrap(), kept: true },
            EngineEntry::FarOver { peer, stream },
            EngineEntry::Moved { peer, sent: true, head },
            EngineEntry::RequestAt {
                peer,
                operation: OperationId::from_bytes([9; 16]).unwrap(),
                found: FoundEq(Found { head, pd: [4; 32], position, credited: false }),
                to_copy: true,
            },
            EngineEntry::ResultAt {
                peer,
                operation: OperationId::from_bytes([9; 16]).unwrap(),
                found: FoundEq(Found { head, pd: [4; 32], position, credited: false }),
            },
        ];
        for entry in entries {
            let payload = entry.encode();
            assert_eq!(EngineEntry::decode(entry.kind(), &payload[..payload.len() - 1]), None);
            assert_eq!(EngineEntry::decode(entry.kind(), &payload), Some(entry));
        }
    }
}
