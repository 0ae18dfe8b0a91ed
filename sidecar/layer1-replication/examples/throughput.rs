//! How fast the protocol core is, and how much memory it takes: two of them face to face, without files, disks or a network.
//!
//! Run `cargo run --release -p layer1-replication --example throughput`. Times are those of the processor, because others use the machine too, and absolute ones mean little anyway: so the speed is also
//! shown as a ratio to what cannot be saved: hashing each payload twice (once a side) and linking it into both chains. The example is
//! no test: it asserts only that everything arrived.

#![allow(clippy::disallowed_methods, reason = "a measurement asks the system for its memory and its time")]

use bytes::Bytes;
use layer1_replication::{Closure, Config, Duration, Ids, Peer, PeerEvent, Persist, Timestamp, Verdict};
use std::collections::BTreeMap;
use wire::chain::chain_link;
use wire::control::EndpointName;
use wire::digest::sha256;
use wire::record::kind;
use wire::{EndpointId, Header, Incarnation, Record, RecordHeader, StreamId};

const RECORDS: u64 = 1_000_000;
const PAYLOAD_BYTES: usize = 1_024;
/// Records appended before the outbox takes a packet: about one commit of a busy engine.
const GROUP: u64 = 1_000;

/// One core and its log, as far as a measurement needs it.
struct Side {
    index: u8,
    life: Incarnation,
    peer: Peer,
    /// Entries that were to be written.
    entries: u64,
    received: Vec<RecordHeader>,
    released: u64,
}

impl Side {
    fn new(index: u8) -> Self {
        let life = Incarnation { generation: 1, random: [index + 1; 8] };
        let ids = Ids {
            me: EndpointId::from_bytes([index + 1; 16]),
            my_name: EndpointName { kind: "gateway".into(), name: "0".into() },
            my_incarnation: life,
            peer: EndpointId::from_bytes([2 - index; 16]),
            nonce_secret: [index; 32],
        };
        let config = Config {
            receive_pool_bytes: 1 << 40,
            stream_window_bytes: 1 << 40,
            send_log_bytes_max: 1 << 40,
            heartbeat: Some(Duration::from_secs(3_600)),
            ..Config::default()
        };
        let mut peer = Peer::new(ids, config, Timestamp::ZERO);
        peer.replay_done(Timestamp::ZERO);
        Self { index, life, peer, entries: 0, received: Vec::new(), released: 0 }
    }

    /// What a driver does after each mutation: "write" entries, take events.
    fn drain(&mut self, now: Timestamp) {
        loop {
            let mut last = None;
            while let Some(Persist { token, .. }) = self.peer.poll_persist() {
                self.entries += 1;
                last = Some(token);
            }
            let Some(token) = last else { break };
            self.peer.handle_persisted(now, token);
        }
        while let Some(event) = self.peer.poll_event() {
            match event {
                PeerEvent::Received(head) => self.received.push(head),
                PeerEvent::Released { up_to } => self.released = up_to.get(),
                _ => {}
            }
        }
    }

    /// Hands every packet over; whether there was one.
    fn send(&mut self, now: Timestamp, to: &mut Self, payload: &Bytes) -> bool {
        let mut any = false;
        self.drain(now);
        while let Some(transmit) = self.peer.poll_transmit(now) {
            any = true;
            self.peer.handle_published(now, transmit.pn, 5_000);
            let header = self.header(&transmit);
            if to.peer.handle_packet(now, &header, &transmit.control) == Verdict::Use {
                for batch in transmit.records.chunks(250) {
                    let records = batch.iter().map(|(head, _)| Record { head: *head, payload: payload.clone() });
                    to.peer.handle_records(now, self.life, transmit.pn, records.collect());
                }
                to.peer.handle_closed(now, self.life, transmit.pn, Closure::Complete);
            }
            self.drain(now);
            to.drain(now);
        }
        any
    }

    fn header(&self, transmit: &layer1_replication::Transmit) -> Header {
        Header {
            minor: 0,
            suite_number: 1,
            flags: 0,
            header_len: 256,
            control_len: 8,
            frame_count: u32::from(!transmit.records.is_empty()),
            frames_at: 0,
            sender: EndpointId::from_bytes([self.index + 1; 16]),
            recipient: EndpointId::from_bytes([2 - self.index; 16]),
            sender_incarnation: self.life,
            recipient_incarnation: transmit.recipient_incarnation,
            pn: transmit.pn,
            sent_at_ms: 0,
            total_len: 0,
            signing_key: [0; 8],
            kem_key: [0; 8],
            salt: [0; 32],
            commitment: [0; 32],
        }
    }
}

/// Both confirmed and silent; the time.
fn pair(payload: &Bytes) -> Result<(Side, Side, Timestamp), String> {
    let (mut a, mut b) = (Side::new(0), Side::new(1));
    let mut now = Timestamp::ZERO;
    for _ in 0..100 {
        settle(&mut now, &mut a, &mut b, payload);
        if a.peer.status(now).credit_log.0 >= 1 << 40 {
            return Ok((a, b, now));
        }
    }
    Err(String::from("no association was opened"))
}

/// Lets 10 ms pass, and carries to and fro what there is.
fn settle(now: &mut Timestamp, a: &mut Side, b: &mut Side, payload: &Bytes) {
    *now = now.after(Duration::from_millis(10));
    for side in [&mut *a, &mut *b] {
        if side.peer.poll_timeout().is_some_and(|at| at <= *now) {
            side.peer.handle_timeout(*now);
        }
    }
    while a.send(*now, b, payload) | b.send(*now, a, payload) {}
}

fn append(side: &mut Side, now: Timestamp, stream: StreamId, payload: &Bytes) -> Result<(), String> {
    let len = u32::try_from(payload.len()).map_err(|error| error.to_string())?;
    let digest = sha256(&[payload]);
    side.peer
        .append(now, stream, kind::DATA, 0, len, digest, payload.clone())
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Records per second from one core to the other, acknowledged and consumed.
fn speed(payload: &Bytes) -> Result<f64, String> {
    let (mut a, mut b, mut now) = pair(payload)?;
    let streams: Vec<StreamId> = (0..16).map(|_| a.peer.open_exchange()).collect();
    let began = cpu_seconds()?;
    let mut consumed = 0;
    for n in 0..RECORDS {
        append(&mut a, now, streams[(n % 16) as usize], payload)?;
        if n % GROUP == GROUP - 1 {
            settle(&mut now, &mut a, &mut b, payload);
            for head in std::mem::take(&mut b.received) {
                b.peer.consume(now, head.stream, &head);
                consumed += 1;
            }
        }
    }
    for _ in 0..1_000 {
        settle(&mut now, &mut a, &mut b, payload);
        for head in std::mem::take(&mut b.received) {
            b.peer.consume(now, head.stream, &head);
            consumed += 1;
        }
    }
    let seconds = cpu_seconds()? - began;
    let status = a.peer.status(now);
    if (consumed, a.released, status.records_resent) != (RECORDS, RECORDS, 0) {
        return Err(format!("{consumed} consumed, {} released: {status:?}", a.released));
    }
    println!(
        "{RECORDS} records of {PAYLOAD_BYTES} B in {seconds:.2} s of one processor, {} packets, {} entries",
        status.packets_sent,
        a.entries + b.entries
    );
    Ok(RECORDS as f64 / seconds)
}

/// Records per second of the hashing alone: both payload digests and both links.
fn bound(payload: &Bytes) -> Result<f64, String> {
    let mut chains = [[0; 32]; 2];
    let head = Record::new(wire::Seq::new(1), StreamId::request(1), 0, kind::DATA, payload.clone()).head;
    let began = cpu_seconds()?;
    let rounds = RECORDS / 2;
    for _ in 0..rounds {
        for chain in &mut chains {
            *chain = chain_link(chain, &head, &sha256(&[payload]));
        }
    }
    assert_eq!(chains[0], chains[1]);
    Ok(rounds as f64 / (cpu_seconds()? - began))
}

/// One number of a file about this process.
fn number(path: &str, field: usize) -> Result<u64, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    // A name in parentheses may hold spaces.
    let fields = text.rsplit(')').next().unwrap_or_default();
    let number = fields.split_whitespace().nth(field).and_then(|number| number.parse().ok());
    number.ok_or_else(|| format!("{path}: no number in field {field}"))
}

/// Resident bytes of this process.
fn resident() -> Result<u64, String> {
    Ok(number("/proc/self/statm", 1)? * 4_096)
}

/// What this process used of the processors, user and system: in hundredths, Linux's unit.
fn cpu_seconds() -> Result<f64, String> {
    Ok((number("/proc/self/stat", 11)? + number("/proc/self/stat", 12)?) as f64 / 100.0)
}

/// Bytes of memory that a core takes for each record that is not acknowledged: waiting to be sent, then sent.
fn memory(payload: &Bytes) -> Result<(f64, f64), String> {
    let (mut a, _b, now) = pair(payload)?;
    let stream = a.peer.open_exchange();
    let before = resident()?;
    for n in 0..RECORDS {
        append(&mut a, now, stream, payload)?;
        if n % GROUP == 0 {
            a.drain(now);
        }
    }
    a.drain(now);
    let waiting = resident()?;
    let (mut at, mut sent) = (now, BTreeMap::new());
    while sent.len() as u64 != RECORDS {
        while let Some(transmit) = a.peer.poll_transmit(at) {
            a.peer.handle_published(at, transmit.pn, 5_000);
            sent.extend(transmit.records.iter().map(|(head, _)| (head.seq.get(), ())));
        }
        at = a.peer.poll_timeout().ok_or("nothing is left to be sent")?.max(at);
        a.peer.handle_timeout(at);
        a.drain(at);
    }
    drop(sent);
    let status = a.peer.status(at);
    if status.backlog_records != RECORDS {
        return Err(format!("{status:?}"));
    }
    let each = |after: u64| after.saturating_sub(before) as f64 / RECORDS as f64;
    Ok((each(waiting), each(resident()?)))
}

fn main() -> Result<(), String> {
    let payload = Bytes::from(vec![7; PAYLOAD_BYTES]);
    let (waiting, sent) = memory(&payload)?;
    println!(
        "memory of a record that is not acknowledged: {waiting:.0} B while it waits, {sent:.0} B at most when it was sent"
    );
    let (bound, speed) = (bound(&payload)?, speed(&payload)?);
    println!("{speed:.0} records/s; hashing alone would allow {bound:.0}/s: ratio {:.2}", speed / bound);
    Ok(())
}
