//! The hash chain over a log: what both sides agree on when they agree on a cumulative ack (wire format §9).
//!
//! Invariants: a link is 106 bytes, one Keccak permutation; a tombstone links exactly as the record it stands for, so a chain cannot
//! tell them apart. It keeps no state. Test to read first: `start_and_first_link_of_the_specification`.

use crate::digest::Digest;
use crate::ids::{EndpointId, Incarnation};
use crate::record::RecordHeader;
use sha3::{Digest as _, Sha3_256};

/// chain_0 of the log from `sender` to `recipient` in an association of these two lives.
#[must_use]
pub fn chain_start(
    sender: &EndpointId,
    sender_incarnation: &Incarnation,
    recipient: &EndpointId,
    recipient_incarnation: &Incarnation,
) -> Digest {
    let mut hash = Sha3_256::new();
    hash.update(b"hoft1 log");
    hash.update(sender.as_bytes());
    hash.update(sender_incarnation.to_bytes());
    hash.update(recipient.as_bytes());
    hash.update(recipient_incarnation.to_bytes());
    hash.finalize().into()
}

/// The chain after the record with this header and payload digest. For a tombstone, give what it stands for:
/// [`crate::record::Record::chain_input`].
#[must_use]
pub fn chain_link(previous: &Digest, head: &RecordHeader, payload_digest: &Digest) -> Digest {
    let mut hash = Sha3_256::new();
    hash.update(b"hoft1 link");
    hash.update(previous);
    hash.update(head.seq.get().to_le_bytes());
    hash.update(head.stream.get().to_le_bytes());
    hash.update(head.offset.to_le_bytes());
    hash.update(head.raw_len.to_le_bytes());
    hash.update([head.kind, head.flags, 0, 0]);
    hash.update(payload_digest);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{hex, sha256};
    use crate::ids::{Seq, StreamId, endpoint_id, side_id};
    use crate::record::kind;

    #[test]
    fn start_and_first_link_of_the_specification() {
        let north = endpoint_id(&side_id("", "north", "south"), "gateway", "0");
        let south = endpoint_id(&side_id("", "south", "north"), "gateway", "0");
        let one = Incarnation { generation: 1, random: [0x11; 8] };
        let two = Incarnation { generation: 2, random: [0x22; 8] };
        let start = chain_start(&north, &one, &south, &two);
        assert_eq!(hex(&start), "5252595c07e87b192a70bc5b9a34ee29ecc302bf2dae2f719c419b09095b1595");
        let head = RecordHeader {
            seq: Seq::FIRST,
            stream: StreamId::request(1),
            offset: 0,
            raw_len: 5,
            stored_len: 5,
            kind: kind::DATA,
            flags: 0,
        };
        let link = chain_link(&start, &head, &sha256(&[b"hello"]));
        assert_eq!(hex(&link), "aa793c2cb3cdf49d079112a5268a422424e59fb8fdfe5b1faad5ec7e8ccba2cb");
    }

    #[test]
    fn the_two_logs_of_an_association_begin_differently() {
        let (a, b) = (EndpointId::from_bytes([1; 16]), EndpointId::from_bytes([2; 16]));
        let life = Incarnation { generation: 0, random: [3; 8] };
        assert_ne!(chain_start(&a, &life, &b, &life), chain_start(&b, &life, &a, &life));
    }
}
