//! How fast packets are sealed and opened, against AES-256-GCM and SHA-256 alone over the same bytes, on one core:
//! `cargo run --release -p layer0-pipe --example speed`.
//!
//! Sealing writes a packet of 64 MB to a folder that throws it away; opening reads one from memory through an inbox. The best
//! of several rounds counts, and what is compared was measured in the same run. Nothing is asserted: times on shared machines
//! mean little.

use std::error::Error;
use std::hint::black_box;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use disk::dir::{Dir, DirEntry, MemDir, PublishError, ReadFile, TempFile};
use identity::{Identity, PeerKeys};
use layer0_pipe::{
    Arrival, Inbox, InboxOptions, Local, Outbox, OutboxOptions, PacketPlan, Payloads, PlannedRecord, Verdict,
};
use wire::control::EndpointName;
use wire::digest::sha256;
use wire::{Control, EndpointId, Incarnation, PacketNumber, RecordHeader, Seq, StreamId, Suite, endpoint_id, side_id};

const CHUNKS: u64 = 244;
const CHUNK: u32 = 256 << 10;
const ROUNDS: usize = 8;

struct Chunk(Bytes);

impl Payloads for Chunk {
    fn payload(&self, _: EndpointId, _: &RecordHeader) -> io::Result<Bytes> {
        Ok(self.0.clone())
    }
}

/// A folder that throws away what is written.
struct Nowhere;

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(black_box(bytes).len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TempFile for Nowhere {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn publish_noreplace(self: Box<Self>, _: &str) -> Result<(), PublishError> {
        Ok(())
    }
}

impl Dir for Nowhere {
    fn list_limited(&self, _: &str, _: usize) -> io::Result<Vec<DirEntry>> {
        Ok(Vec::new())
    }

    fn open_read(&self, _: &str) -> io::Result<Box<dyn ReadFile>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn create_temp(&self, _: &str) -> io::Result<Box<dyn TempFile>> {
        Ok(Box::new(Self))
    }

    fn create_direct(&self, _: &str) -> io::Result<Box<dyn TempFile>> {
        Ok(Box::new(Self))
    }

    fn create_dirs(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn remove_file(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn remove_empty_dirs(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn rename_noreplace(&self, _: &str, _: &str) -> Result<(), PublishError> {
        Ok(())
    }

    fn free_space(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn is_network(&self) -> bool {
        false
    }
}

/// MB/s of the best round.
fn best(mut round: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let mut shortest = Duration::MAX;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        round()?;
        shortest = shortest.min(began.elapsed());
    }
    Ok((CHUNKS * u64::from(CHUNK)) as f64 / 1e6 / shortest.as_secs_f64())
}

/// AES-256-GCM and SHA-256 over one chunk after the other.
fn alone(payload: &Bytes, hash: &dyn Fn(&[u8]), seals: bool) -> Result<f64, Box<dyn Error>> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32])?);
    let nonce = || Nonce::assume_unique_for_key([0; 12]);
    let mut sealed = payload.to_vec();
    key.seal_in_place_append_tag(nonce(), Aad::empty(), &mut sealed)?;
    let mut buffer = Vec::with_capacity(sealed.len());
    best(|| {
        for _ in 0..CHUNKS {
            buffer.clear();
            if seals {
                buffer.extend_from_slice(payload);
                hash(&buffer);
                key.seal_in_place_append_tag(nonce(), Aad::empty(), &mut buffer)?;
            } else {
                buffer.extend_from_slice(&sealed);
                hash(key.open_in_place(nonce(), Aad::empty(), &mut buffer)?);
            }
        }
        Ok(())
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let keys = |side, seed: u8| Identity::from_seeds(side, &[seed; 32], &[seed + 1; 32], &[seed + 2; 32]).map(Arc::new);
    let (north, south) = (keys("north", 1)?, keys("south", 11)?);
    let pin = |of: &Identity| -> Result<Arc<PeerKeys>, Box<dyn Error>> {
        let token = of.bundle(1, 0, 0).to_token()?;
        Ok(Arc::new(PeerKeys::from_tokens(&[&token], of.side(), &Suite::ALL, 0)?))
    };
    let (here, far) = (side_id("", "south", "north"), side_id("", "north", "south"));
    let (me, sender) = (endpoint_id(&here, "gateway", "0"), endpoint_id(&far, "gateway", "0"));
    let payload = Bytes::from((0..CHUNK).map(|i| (i % 251) as u8).collect::<Vec<_>>());
    let pd = sha256(&[&payload]);
    let record = |seq: u64| -> Result<PlannedRecord, Box<dyn Error>> {
        let stream = StreamId::new(2).ok_or("no stream")?;
        let (offset, kind) = ((seq - 1) * u64::from(CHUNK), wire::record::kind::DATA);
        let head =
            RecordHeader { seq: Seq::new(seq), stream, offset, raw_len: CHUNK, stored_len: CHUNK, kind, flags: 0 };
        Ok(PlannedRecord { head, pd })
    };
    let control = Control {
        hello: Some([9; 16]),
        endpoint: Some(EndpointName { kind: "gateway".into(), name: "0".into() }),
        ..Control::default()
    };
    let plan = PacketPlan {
        sender,
        recipient: me,
        sender_incarnation: Incarnation { generation: 1, random: [0x11; 8] },
        recipient_incarnation: Incarnation::UNKNOWN,
        pn: PacketNumber::FIRST,
        sent_at_ms: 0,
        control,
        records: (1..=CHUNKS).map(record).collect::<Result<_, _>>()?,
    };
    let outbox = |dir: Arc<dyn Dir>| -> Result<Outbox, Box<dyn Error>> {
        Ok(Outbox::new(dir, sender, Some(north.clone()), pin(&south)?, OutboxOptions::default())?)
    };
    let chunk = Chunk(payload.clone());
    let folder = MemDir::new();
    outbox(Arc::new(folder.clone()))?.publish(&plan, &chunk)?;
    let nowhere = outbox(Arc::new(Nowhere))?;
    let seal = best(|| {
        nowhere.publish(&plan, &chunk)?;
        Ok(())
    })?;
    let local = Local {
        endpoint: me,
        side: here,
        remote_side: far,
        remote_name: "north".into(),
        identity: Some(south.clone()),
        peer_keys: pin(&north)?,
        suites: vec![Suite::Sealed],
    };
    let open = best(|| {
        let mut inbox = Inbox::new(Arc::new(folder.clone()), vec![local.clone()], InboxOptions::default());
        let mut closed = false;
        while !closed {
            let _ = inbox.scan(Duration::from_secs(1), &mut |arrival| {
                closed |= matches!(black_box(arrival), Arrival::Closed { .. });
                Verdict::Use
            });
        }
        Ok(())
    })?;
    let ours = |bytes: &[u8]| {
        black_box(sha256(&[bytes]));
    };
    let theirs = |bytes: &[u8]| {
        black_box(digest(&SHA256, bytes));
    };
    for (name, hash) in [("the same SHA-256", &ours as &dyn Fn(&[u8])), ("the SHA-256 of aws-lc", &theirs)] {
        let (seals, opens) = (alone(&payload, hash, true)?, alone(&payload, hash, false)?);
        println!("AES-256-GCM and {name} alone: {seals:.0} MB/s sealing, {opens:.0} MB/s opening");
        println!(
            "  packets: sealed at {seal:.0} MB/s ({:.2}), opened at {open:.0} MB/s ({:.2})",
            seal / seals,
            open / opens
        );
    }
    Ok(())
}
