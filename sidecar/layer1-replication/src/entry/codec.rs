//! Bytes of the entries: the table of [`super`], written down once for each direction.
//!
//! Invariant: `decode(kind(), encode())` gives the same entry, and uses up all bytes. For an entry with a payload the driver knows where
//! the meta data ends by [`Entry::decode_prefix`].

use super::{Entry, EntryError, PeerJoin, ReceivedMeta};
use alloc::vec::Vec;
use wire::{Incarnation, RangeSet, RecordHeader, Seq, StreamId, varint};

/// Ranges of one entry; far above what a peer can cause with its credit.
const RANGES_MAX: usize = 1 << 23;

impl Entry {
    /// The number of the entry in the log: 16–63 belong to this room.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Associated { .. } => 16,
            Self::Sent { .. } => 17,
            Self::Received(_) => 18,
            Self::Acked { .. } => 19,
            Self::PeerJoin(_) => 20,
            Self::PnBlock { .. } => 21,
            Self::Granted { .. } => 22,
            Self::StreamGranted { .. } => 23,
            Self::StreamClosed { .. } => 24,
            Self::Consumed { .. } => 25,
            Self::Charged { .. } => 26,
            Self::Dissociated { .. } => 27,
            Self::AssociationState { .. } => 32,
            Self::SendBase { .. } => 33,
            Self::ReceiveBase { .. } => 34,
            Self::SendStream { .. } => 35,
            Self::ReceiveStream { .. } => 36,
            Self::ClosedExchanges { .. } => 37,
            Self::Unreleased { .. } => 38,
            Self::Held(_) => 39,
        }
    }

    /// Appends the bytes of the entry, without its kind and its payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Associated { my_incarnation, peer_incarnation, confirmations } => {
                out.extend(my_incarnation.to_bytes());
                out.extend(peer_incarnation.to_bytes());
                numbers(out, &[*confirmations]);
            }
            Self::Sent { head, payload_digest, charged } | Self::Unreleased { head, payload_digest, charged } => {
                encode_head(head, out);
                out.extend(payload_digest);
                out.push(u8::from(*charged));
            }
            Self::Received(meta) | Self::Held(meta) => {
                encode_head(&meta.head, out);
                out.extend(meta.link_digest);
                out.extend([meta.link_kind, meta.link_flags]);
                numbers(out, &[meta.charged]);
            }
            Self::Acked { una, chain } => {
                numbers(out, &[*una]);
                out.extend(chain);
            }
            Self::PeerJoin(join) => numbers(out, &join.fields()),
            Self::PnBlock { reserved_below, floor } => numbers(out, &[*reserved_below, *floor]),
            Self::Granted { max_log_bytes, max_exchanges, max_stream_bytes } => {
                numbers(out, &[*max_log_bytes, *max_exchanges, *max_stream_bytes]);
            }
            Self::StreamGranted { stream, max } => numbers(out, &[stream.get(), *max]),
            Self::StreamClosed { stream } => numbers(out, &[stream.get()]),
            Self::Consumed { stream, offset, raw_len } => numbers(out, &[stream.get(), *offset, u64::from(*raw_len)]),
            Self::Charged { seqs } => seqs.encode(RANGES_MAX, out),
            Self::Dissociated { peer_incarnation } => out.extend(peer_incarnation.to_bytes()),
            Self::AssociationState { .. }
            | Self::SendBase { .. }
            | Self::ReceiveBase { .. }
            | Self::SendStream { .. }
            | Self::ReceiveStream { .. }
            | Self::ClosedExchanges { .. } => self.encode_base(out),
        }
    }

    fn encode_base(&self, out: &mut Vec<u8>) {
        match self {
            Self::AssociationState { my_incarnation, peer_incarnation, confirmations, closed } => {
                out.extend(my_incarnation.to_bytes());
                out.extend(peer_incarnation.unwrap_or(Incarnation::UNKNOWN).to_bytes());
                numbers(out, &[*confirmations, closed.len() as u64]);
                for life in closed {
                    out.extend(life.to_bytes());
                }
            }
            Self::SendBase { una, chain, charged, next_exchange } => {
                numbers(out, &[*una]);
                out.extend(chain);
                numbers(out, &[*charged, *next_exchange]);
            }
            Self::ReceiveBase { cum, chain, charged, consumed, tombs } => {
                numbers(out, &[*cum]);
                out.extend(chain);
                numbers(out, &[*charged, *consumed]);
                tombs.encode(RANGES_MAX, out);
            }
            Self::SendStream { stream, offset, reset } => {
                numbers(out, &[stream.get(), *offset]);
                out.push(u8::from(*reset));
            }
            Self::ReceiveStream { stream, granted, final_length, cost, consumed_cost, received, consumed } => {
                numbers(
                    out,
                    &[stream.get(), *granted, final_length.map_or(0, |length| length + 1), *cost, *consumed_cost],
                );
                received.encode(RANGES_MAX, out);
                consumed.encode(RANGES_MAX, out);
            }
            Self::ClosedExchanges { mine, theirs } => {
                mine.encode(RANGES_MAX, out);
                theirs.encode(RANGES_MAX, out);
            }
            _ => {}
        }
    }

    /// Reads an entry that fills `bytes`.
    ///
    /// # Errors
    /// If the kind is unknown, or the bytes are not exactly one entry of it.
    pub fn decode(kind: u8, bytes: &[u8]) -> Result<Self, EntryError> {
        match Self::decode_prefix(kind, bytes)? {
            (entry, []) => Ok(entry),
            _ => Err(EntryError::Malformed(kind)),
        }
    }

    /// Reads an entry at the front of `bytes`; what is left is its payload.
    ///
    /// # Errors
    /// If the kind is unknown, or `bytes` does not begin with an entry of it.
    pub fn decode_prefix(kind: u8, bytes: &[u8]) -> Result<(Self, &[u8]), EntryError> {
        let mut reader = Reader { input: bytes };
        let entry = match kind {
            16..=27 => reader.event(kind),
            32..=39 => reader.base(kind),
            _ => return Err(EntryError::UnknownKind(kind)),
        };
        entry.map(|entry| (entry, reader.input)).ok_or(EntryError::Malformed(kind))
    }
}

impl PeerJoin {
    const fn fields(&self) -> [u64; 8] {
        [
            self.srtt_us,
            self.rttvar_us,
            self.max_log_bytes,
            self.max_exchanges,
            self.max_stream_bytes,
            self.max_frame,
            self.ack_delay_ms,
            self.association_pn,
        ]
    }
}

fn numbers(out: &mut Vec<u8>, values: &[u64]) {
    for value in values {
        varint::encode(*value, out);
    }
}

fn encode_head(head: &RecordHeader, out: &mut Vec<u8>) {
    numbers(
        out,
        &[head.seq.get(), head.stream.get(), head.offset, u64::from(head.raw_len), u64::from(head.stored_len)],
    );
    out.extend([head.kind, head.flags]);
}

struct Reader<'a> {
    input: &'a [u8],
}

impl Reader<'_> {
    fn event(&mut self, kind: u8) -> Option<Entry> {
        Some(match kind {
            16 => Entry::Associated {
                my_incarnation: self.incarnation()?,
                peer_incarnation: self.incarnation()?,
                confirmations: self.number()?,
            },
            17 => Entry::Sent { head: self.head()?, payload_digest: self.array()?, charged: self.flag()? },
            18 => Entry::Received(self.meta()?),
            19 => Entry::Acked { una: self.number()?, chain: self.array()? },
            20 => Entry::PeerJoin(PeerJoin {
                srtt_us: self.number()?,
                rttvar_us: self.number()?,
                max_log_bytes: self.number()?,
                max_exchanges: self.number()?,
                max_stream_bytes: self.number()?,
                max_frame: self.number()?,
                ack_delay_ms: self.number()?,
                association_pn: self.number()?,
            }),
            21 => Entry::PnBlock { reserved_below: self.number()?, floor: self.number()? },
            22 => Entry::Granted {
                max_log_bytes: self.number()?,
                max_exchanges: self.number()?,
                max_stream_bytes: self.number()?,
            },
            23 => Entry::StreamGranted { stream: self.stream()?, max: self.number()? },
            24 => Entry::StreamClosed { stream: self.stream()? },
            25 => Entry::Consumed { stream: self.stream()?, offset: self.number()?, raw_len: self.length()? },
            26 => Entry::Charged { seqs: self.ranges()? },
            _ => Entry::Dissociated { peer_incarnation: self.incarnation()? },
        })
    }

    fn base(&mut self, kind: u8) -> Option<Entry> {
        Some(match kind {
            32 => {
                let (my_incarnation, peer) = (self.incarnation()?, self.incarnation()?);
                let (confirmations, count) = (self.number()?, self.number()?);
                let mut closed = Vec::new();
                for _ in 0..count {
                    closed.push(self.incarnation()?);
                }
                let peer_incarnation = (!peer.is_unknown()).then_some(peer);
                Entry::AssociationState { my_incarnation, peer_incarnation, confirmations, closed }
            }
            33 => Entry::SendBase {
                una: self.number()?,
                chain: self.array()?,
                charged: self.number()?,
                next_exchange: self.number()?,
            },
            34 => Entry::ReceiveBase {
                cum: self.number()?,
                chain: self.array()?,
                charged: self.number()?,
                consumed: self.number()?,
                tombs: self.ranges()?,
            },
            35 => Entry::SendStream { stream: self.stream()?, offset: self.number()?, reset: self.flag()? },
            36 => Entry::ReceiveStream {
                stream: self.stream()?,
                granted: self.number()?,
                final_length: self.number()?.checked_sub(1),
                cost: self.number()?,
                consumed_cost: self.number()?,
                received: self.ranges()?,
                consumed: self.ranges()?,
            },
            37 => Entry::ClosedExchanges { mine: self.ranges()?, theirs: self.ranges()? },
            38 => Entry::Unreleased { head: self.head()?, payload_digest: self.array()?, charged: self.flag()? },
            _ => Entry::Held(self.meta()?),
        })
    }

    fn meta(&mut self) -> Option<ReceivedMeta> {
        Some(ReceivedMeta {
            head: self.head()?,
            link_digest: self.array()?,
            link_kind: self.byte()?,
            link_flags: self.byte()?,
            charged: self.number()?,
        })
    }

    fn head(&mut self) -> Option<RecordHeader> {
        Some(RecordHeader {
            seq: Seq::new(self.number()?),
            stream: self.stream()?,
            offset: self.number()?,
            raw_len: self.length()?,
            stored_len: self.length()?,
            kind: self.byte()?,
            flags: self.byte()?,
        })
    }

    fn number(&mut self) -> Option<u64> {
        varint::decode(&mut self.input).ok()
    }

    fn length(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn stream(&mut self) -> Option<StreamId> {
        StreamId::new(self.number()?)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.input.split_first_chunk::<N>()?;
        self.input = rest;
        Some(*array)
    }

    fn incarnation(&mut self) -> Option<Incarnation> {
        self.array().map(|bytes| Incarnation::from_bytes(&bytes))
    }

    fn ranges(&mut self) -> Option<RangeSet> {
        RangeSet::decode(&mut self.input, RANGES_MAX).ok()
    }
}
