//! How much of a cut packet is used: `cargo run --release -p layer0-pipe --example cuts [CUTS] [SEED]`.
//!
//! Sealed packets of 64 MB are cut at random places, each cut is given to a fresh inbox, and what it hands over is compared
//! with what lies before the cut. Fails if a whole frame was not recovered, or less than 99 % of the payload in all. A smaller
//! form with the same comparison is the test `random_cuts_of_a_large_packet_cost_only_the_frame_they_are_in`.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use disk::dir::MemDir;
use identity::{Identity, PeerKeys};
use layer0_pipe::{
    Arrival, Closure, Inbox, InboxOptions, Local, Outbox, OutboxOptions, PacketPlan, Payloads, PlannedRecord, Verdict,
};
use wire::control::EndpointName;
use wire::digest::sha256;
use wire::{
    Control, EndpointId, Header, Incarnation, PacketNumber, RecordHeader, Seq, StreamId, Suite, endpoint_id, side_id,
};

const CHUNKS: u64 = 244;
const CHUNK: u32 = 256 << 10;
/// A chunk in the file: its payload and the tag; a multiple of 8.
const STORED: u64 = CHUNK as u64 + 16;

struct Chunk(Bytes);

impl Payloads for Chunk {
    fn payload(&self, _: EndpointId, _: &RecordHeader) -> std::io::Result<Bytes> {
        Ok(self.0.clone())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let cuts: u64 = args.next().map_or(Ok(1_000), |text| text.parse())?;
    let mut random: u64 = args.next().map_or(Ok(1), |text| text.parse())?;
    println!("{cuts} cuts, seed {random}");
    let keys = |side, seed: u8| Identity::from_seeds(side, &[seed; 32], &[seed + 1; 32], &[seed + 2; 32]).map(Arc::new);
    let (north, south) = (keys("north", 1)?, keys("south", 11)?);
    let pin = |of: &Identity| -> Result<Arc<PeerKeys>, Box<dyn Error>> {
        let token = of.bundle(1, 0, 0).to_token()?;
        Ok(Arc::new(PeerKeys::from_tokens(&[&token], of.side(), &Suite::ALL, 0)?))
    };
    let (here, far) = (side_id("", "south", "north"), side_id("", "north", "south"));
    let (me, sender) = (endpoint_id(&here, "gateway", "0"), endpoint_id(&far, "gateway", "0"));
    let payload = Bytes::from(vec![0xA5; CHUNK as usize]);
    let pd = sha256(&[&payload]);
    let record = |seq: u64| -> Result<PlannedRecord, Box<dyn Error>> {
        let stream = StreamId::new(2).ok_or("no stream")?;
        let offset = (seq - 1) * u64::from(CHUNK);
        let kind = wire::record::kind::DATA;
        let head =
            RecordHeader { seq: Seq::new(seq), stream, offset, raw_len: CHUNK, stored_len: CHUNK, kind, flags: 0 };
        Ok(PlannedRecord { head, pd })
    };
    let plan = PacketPlan {
        sender,
        recipient: me,
        sender_incarnation: Incarnation { generation: 1, random: [0x11; 8] },
        recipient_incarnation: Incarnation::UNKNOWN,
        pn: PacketNumber::FIRST,
        sent_at_ms: 0,
        control: Control {
            hello: Some([9; 16]),
            endpoint: Some(EndpointName { kind: "gateway".into(), name: "0".into() }),
            ..Control::default()
        },
        records: (1..=CHUNKS).map(record).collect::<Result<_, _>>()?,
    };
    let folder = MemDir::new();
    let outbox =
        Outbox::new(Arc::new(folder.clone()), sender, Some(north.clone()), pin(&south)?, OutboxOptions::default())?;
    let path = outbox.publish(&plan, &Chunk(payload))?.path;
    let whole = folder.contents(&path).ok_or("the packet vanished")?;
    let frames_at = u64::from(Header::parse(&whole).map_err(|reject| reject.name())?.frames_at);
    let local = Local {
        endpoint: me,
        side: here,
        remote_side: far,
        remote_name: "north".into(),
        identity: Some(south),
        peer_keys: pin(&north)?,
        suites: vec![Suite::Sealed],
    };
    let (mut recovered, mut before, began) = (0u64, 0u64, Instant::now());
    for cut in 0..cuts {
        // xorshift64*
        random ^= random >> 12;
        random ^= random << 25;
        random ^= random >> 27;
        let len = random.wrapping_mul(0x2545_F491_4F6C_DD1D) % (whole.len() as u64 + 1);
        let folder = MemDir::new();
        folder.put(&path, whole.get(..usize::try_from(len)?).unwrap_or(&whole))?;
        let mut inbox = Inbox::new(Arc::new(folder), vec![local.clone()], InboxOptions::default());
        let (mut got, mut closed) = (0u64, None);
        for second in 1..20 {
            let _ = inbox.scan(Duration::from_secs(second), &mut |arrival| {
                match arrival {
                    Arrival::Frame { records, .. } => {
                        got += records.iter().map(|record| record.payload.len() as u64).sum::<u64>();
                    }
                    Arrival::Closed { closure, .. } => closed = Some(closure),
                    Arrival::Packet { .. } | Arrival::Alarm(_) => {}
                }
                Verdict::Use
            });
        }
        let in_frames = len.saturating_sub(frames_at);
        let frames = (in_frames / STORED).min(CHUNKS);
        if got != frames * u64::from(CHUNK) {
            return Err(format!("cut {cut} at {len}: {got} bytes of {frames} whole frames were recovered").into());
        }
        let expected = if frames == CHUNKS { Closure::Complete } else { Closure::Partial };
        if len >= frames_at && closed != Some(expected) {
            return Err(format!("cut {cut} at {len}: closed as {closed:?}").into());
        }
        recovered += got;
        before += frames * u64::from(CHUNK)
            + (in_frames - frames * STORED).min(u64::from(CHUNK) * u64::from(frames < CHUNKS));
    }
    let ratio = recovered as f64 / before.max(1) as f64;
    println!(
        "every whole frame recovered; {recovered} of {before} payload bytes before the cuts: {:.3} % in {:?}",
        ratio * 100.0,
        began.elapsed()
    );
    if ratio < 0.99 { Err("less than 99 %".into()) } else { Ok(()) }
}
