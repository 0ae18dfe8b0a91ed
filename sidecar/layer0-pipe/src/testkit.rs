//! What the tests of this room share: two sides with keys, their folders, and a sink that remembers.
//!
//! Invariants: payloads are a function of their sequence number, so that both ends can be compared without storing
//! them; time is a number the test moves. What this file does not do: test anything. Read first: `World`.

mod fake_dir;

pub(crate) use fake_dir::FakeDir;

use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use disk::dir::{Dir, MemDir};
use identity::{Identity, PeerKeys};
use wire::control::{EndpointName, LogState, Presence, Versions};
use wire::digest::sha256;
use wire::header::HEADER_LEN;
use wire::record::{Record, kind};
use wire::table::{check_table, decode_table};
use wire::{
    Control, EndpointId, Header, Incarnation, PacketNumber, RecordHeader, Seq, SideId, StreamId, Suite, endpoint_id,
    side_id,
};

use crate::{
    Arrival, Closure, FileId, Inbox, InboxOptions, Local, Outbox, OutboxOptions, PacketPlan, Payloads, PlannedRecord,
    Published, ScanReport, Verdict,
};

pub(crate) const S: Duration = Duration::from_secs(1);

/// North sends, south receives, east is a stranger.
pub(crate) struct Keys {
    pub(crate) north: Arc<Identity>,
    pub(crate) south: Arc<Identity>,
    pub(crate) east: Arc<Identity>,
}

pub(crate) static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let identity =
        |side, seed: u8| Arc::new(Identity::from_seeds(side, &[seed; 32], &[seed + 1; 32], &[seed + 2; 32]).unwrap());
    Keys { north: identity("north", 1), south: identity("south", 11), east: identity("east", 21) }
});

pub(crate) fn pin(identity: &Identity) -> Arc<PeerKeys> {
    let token = identity.bundle(1, 0, 0).to_token().unwrap();
    Arc::new(PeerKeys::from_tokens(&[&token], identity.side(), &Suite::ALL, 0).unwrap())
}

pub(crate) fn north_side() -> SideId {
    side_id("", "north", "south")
}

pub(crate) fn south_side() -> SideId {
    side_id("", "south", "north")
}

pub(crate) fn north() -> EndpointId {
    endpoint_id(&north_side(), "gateway", "0")
}

pub(crate) fn south() -> EndpointId {
    endpoint_id(&south_side(), "gateway", "0")
}

pub(crate) const NORTH_LIFE: Incarnation = Incarnation { generation: 1, random: [0x11; 8] };
pub(crate) const SOUTH_LIFE: Incarnation = Incarnation { generation: 2, random: [0x22; 8] };

pub(crate) fn pn(value: u64) -> PacketNumber {
    PacketNumber::new(value).unwrap()
}

/// A header that agrees with itself, of a control-only packet.
pub(crate) fn header(number: u64) -> Header {
    Header {
        minor: 0,
        suite_number: 1,
        flags: 0,
        header_len: HEADER_LEN as u32,
        control_len: 96,
        frame_count: 0,
        frames_at: 384,
        sender: north(),
        recipient: south(),
        sender_incarnation: NORTH_LIFE,
        recipient_incarnation: SOUTH_LIFE,
        pn: pn(number),
        sent_at_ms: 0,
        total_len: 400,
        signing_key: [0; 8],
        kem_key: [0; 8],
        salt: [7; 32],
        commitment: [0; 32],
    }
}

/// The stored payload of a record.
pub(crate) fn payload(seq: u64, len: usize) -> Bytes {
    let block: Vec<u8> = (0..4_093u64).map(|i| (seq.wrapping_mul(31).wrapping_add(i * 7) % 251) as u8).collect();
    let mut bytes = Vec::with_capacity(len + block.len());
    while bytes.len() < len {
        bytes.extend_from_slice(&block);
    }
    bytes.truncate(len);
    Bytes::from(bytes)
}

pub(crate) fn planned(seq: u64, kind: u8, len: u32) -> PlannedRecord {
    let head = RecordHeader {
        seq: Seq::new(seq),
        stream: StreamId::new(2).unwrap(),
        offset: seq * 100_000,
        raw_len: len,
        stored_len: len,
        kind,
        flags: 0,
    };
    PlannedRecord { head, pd: sha256(&[&payload(seq, len as usize)]) }
}

/// Gives [`payload`] for every record.
pub(crate) struct Generated;

impl Payloads for Generated {
    fn payload(&self, _: EndpointId, head: &RecordHeader) -> io::Result<Bytes> {
        Ok(payload(head.seq.get(), head.stored_len as usize))
    }
}

/// What a sink saw.
#[derive(Debug, Default)]
pub(crate) struct Got {
    pub(crate) packets: Vec<(FileId, Header, Control)>,
    pub(crate) frames: Vec<(u64, u32, Vec<Record>)>,
    pub(crate) closed: Vec<(FileId, u64, Closure)>,
    pub(crate) forked: usize,
}

impl Got {
    pub(crate) fn seqs(&self) -> Vec<u64> {
        let mut seqs: Vec<u64> =
            self.frames.iter().flat_map(|(_, _, records)| records.iter().map(|r| r.head.seq.get())).collect();
        seqs.sort_unstable();
        seqs
    }

    pub(crate) fn closures(&self) -> Vec<(u64, Closure)> {
        self.closed.iter().map(|(_, pn, closure)| (*pn, *closure)).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty() && self.frames.is_empty() && self.closed.is_empty() && self.forked == 0
    }

    pub(crate) fn indexes(&self) -> Vec<u32> {
        let mut indexes: Vec<u32> = self.frames.iter().map(|(_, index, _)| *index).collect();
        indexes.sort_unstable();
        indexes
    }
}

/// North's outbox, south's inbox, and a clock. Nothing moves between the folders but by [`World::deliver`].
pub(crate) struct World<D: Dir + Clone + 'static = MemDir> {
    pub(crate) out: D,
    pub(crate) folder: D,
    pub(crate) outbox: Outbox,
    pub(crate) inbox: Inbox,
    pub(crate) now: Duration,
    pub(crate) verdict: Verdict,
    pub(crate) suite: Suite,
    /// Whether payloads must be those of [`payload`]; not where a test forges packets.
    pub(crate) checks_payloads: bool,
}

pub(crate) fn local(suites: &[Suite]) -> Local {
    Local {
        endpoint: south(),
        side: south_side(),
        remote_side: north_side(),
        remote_name: "north".into(),
        identity: Some(KEYS.south.clone()),
        peer_keys: pin(&KEYS.north),
        suites: suites.to_vec(),
    }
}

pub(crate) fn outbox<D: Dir + 'static>(dir: D, suite: Suite) -> Outbox {
    let options = OutboxOptions { suite, ..OutboxOptions::default() };
    Outbox::new(Arc::new(dir), north(), Some(KEYS.north.clone()), pin(&KEYS.south), options).unwrap()
}

impl World {
    pub(crate) fn new(suite: Suite) -> Self {
        Self::with(suite, InboxOptions::default())
    }

    pub(crate) fn with(suite: Suite, options: InboxOptions) -> Self {
        Self::over(MemDir::new(), MemDir::new(), suite, options)
    }

    /// Writes bytes into the inbox folder.
    pub(crate) fn put(&self, path: &str, bytes: &[u8]) {
        self.folder.put(path, bytes).unwrap();
    }

    /// Publishes a plan and returns its path and bytes; the outbox keeps the file.
    pub(crate) fn publish(&self, plan: &PacketPlan) -> (String, Vec<u8>) {
        let Published { path, bytes } = self.outbox.publish(plan, &Generated).unwrap();
        let contents = self.out.contents(&path).unwrap();
        assert_eq!(contents.len() as u64, bytes);
        (path, contents)
    }

    /// Publishes a plan and copies the file over whole.
    pub(crate) fn deliver(&self, plan: &PacketPlan) -> String {
        let (path, bytes) = self.publish(plan);
        self.put(&path, &bytes);
        path
    }
}

impl<D: Dir + Clone + 'static> World<D> {
    pub(crate) fn over(out: D, folder: D, suite: Suite, options: InboxOptions) -> Self {
        let outbox = outbox(out.clone(), suite);
        let inbox = Inbox::new(Arc::new(folder.clone()), vec![local(&[suite])], options);
        Self { out, folder, outbox, inbox, now: S, verdict: Verdict::Use, suite, checks_payloads: true }
    }

    /// The state of a start that just began on the same folder.
    pub(crate) fn restart(&mut self, options: InboxOptions) {
        self.inbox = Inbox::new(Arc::new(self.folder.clone()), vec![local(&[self.suite])], options);
    }

    pub(crate) fn scan_into(&mut self, got: &mut Got) -> ScanReport {
        let (verdict, checks) = (self.verdict, self.checks_payloads);
        let report = self.inbox.scan(self.now, &mut |arrival| {
            match arrival {
                Arrival::Packet { file, header, control } => {
                    got.packets.push((file, header.clone(), control.clone()));
                }
                Arrival::Frame { pn, index, records, sender, .. } => {
                    assert_eq!(sender, north());
                    for record in records.iter().filter(|_| checks) {
                        let expected = payload(record.head.seq.get(), record.head.stored_len as usize);
                        assert_eq!(record.payload, expected, "seq {:?}", record.head.seq);
                    }
                    got.frames.push((pn.get(), index, records));
                }
                Arrival::Closed { file, pn, closure, .. } => got.closed.push((file, pn.get(), closure)),
                Arrival::Alarm(_) => got.forked += 1,
            }
            verdict
        });
        assert!(report.error.is_none());
        report
    }

    pub(crate) fn scan(&mut self) -> Got {
        let mut got = Got::default();
        self.scan_into(&mut got);
        got
    }

    /// Scans as the engine would, for this long.
    pub(crate) fn run(&mut self, time: Duration) -> Got {
        let mut got = Got::default();
        let end = self.now + time;
        loop {
            let report = self.scan_into(&mut got);
            if self.now >= end {
                return got;
            }
            self.now = (self.now + report.next_after).min(end);
        }
    }

    /// Scans until the file is final, and says of everything closed that it is durable.
    pub(crate) fn settle(&mut self) -> Got {
        let got = self.run(self.inbox.quiet_time() * 3);
        for (file, _, _) in &got.closed {
            self.inbox.done(*file);
        }
        got
    }
}

/// Where the frames of an unsealed packet begin and end, from its own table.
pub(crate) fn frame_places(bytes: &[u8]) -> Vec<(usize, usize)> {
    let header = Header::parse(bytes).unwrap();
    let entries = decode_table(&bytes[header.layout().table()]);
    let offsets = check_table(&entries, header.frames_at, header.total_len, 0).unwrap();
    offsets.iter().zip(&entries).map(|(at, entry)| (*at as usize, *at as usize + entry.stored_len as usize)).collect()
}

/// A plan with this number and these records.
pub(crate) fn plan(number: u64, records: Vec<PlannedRecord>) -> PacketPlan {
    let control = Control {
        hello: Some([9; 16]),
        endpoint: Some(EndpointName { kind: "gateway".into(), name: "0".into() }),
        log: Some(LogState { next: 5, oldest: 1, pn_floor: 1 }),
        ..Control::default()
    };
    PacketPlan {
        sender: north(),
        recipient: south(),
        sender_incarnation: NORTH_LIFE,
        recipient_incarnation: SOUTH_LIFE,
        pn: pn(number),
        sent_at_ms: 1_700_000_000_000,
        control,
        records,
    }
}

/// A presence packet of north with this number.
pub(crate) fn presence(number: u64) -> PacketPlan {
    let control = Control {
        endpoint: Some(EndpointName { kind: "gateway".into(), name: "0".into() }),
        versions: Some(Versions { major_min: 1, major_max: 1, features: 0, software: "test".into() }),
        presence: Some(Presence { role: 1, weight: 1, valid_ms: 1_000, ticket: [3; 16] }),
        ..Control::default()
    };
    PacketPlan { recipient: south_side().as_address(), control, ..plan(number, vec![]) }
}

/// Shapes of packets: none, one chunk, one batch, and three frames of both kinds.
pub(crate) fn shapes() -> Vec<Vec<PlannedRecord>> {
    vec![
        vec![],
        vec![planned(1, kind::DATA, 70_000)],
        vec![planned(1, kind::HEAD, 33), planned(2, kind::DATA, 1_000), planned(3, kind::FIN, 40)],
        three_frames(),
    ]
}

/// Two batches and a chunk: frames 0, 1 and 2 hold seqs 1–2, 3 and 4.
pub(crate) fn three_frames() -> Vec<PlannedRecord> {
    vec![
        planned(1, kind::HEAD, 33),
        planned(2, kind::DATA, 501),
        planned(3, kind::TRAILERS, 262_100),
        planned(4, kind::DATA, 65_537),
    ]
}
