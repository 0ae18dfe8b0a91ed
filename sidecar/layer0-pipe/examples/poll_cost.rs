//! What an idle poll costs over 10, 10,000 and 1,000,000 old files: `cargo run --release -p layer0-pipe --example poll_cost`.
//!
//! The old files are what a mirror that syncs keeps: packets whose numbers are below the sender's floor, in shards that are over
//! and in the newest one. They are hard links of a few packets, below /dev/shm or `TMPDIR`. Nothing is asserted: times on shared
//! machines mean little; the test `an_idle_poll_costs_the_same_over_any_number_of_old_files` counts instead.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use disk::dir::StdDir;
use layer0_pipe::{
    Arrival, Inbox, InboxOptions, Local, Outbox, OutboxOptions, PacketPlan, Payloads, Profile, ScanCost, Verdict,
};
use wire::{Control, EndpointId, Incarnation, PacketName, PacketNumber, RecordHeader, Suite, endpoint_id, side_id};

const TAG: u32 = 0xab;
const LIFE: Incarnation = Incarnation { generation: 1, random: [0x11; 8] };
/// Names that one file gets; some file systems allow 65,000.
const LINKS: u64 = 30_000;

struct NoPayloads;

impl Payloads for NoPayloads {
    fn payload(&self, _: EndpointId, _: &RecordHeader) -> std::io::Result<Bytes> {
        Ok(Bytes::new())
    }
}

fn plan(sender: EndpointId, recipient: EndpointId, pn: PacketNumber) -> PacketPlan {
    PacketPlan {
        sender,
        recipient,
        sender_incarnation: LIFE,
        recipient_incarnation: Incarnation::UNKNOWN,
        pn,
        sent_at_ms: 0,
        control: Control { ping: true, ..Control::default() },
        records: Vec::new(),
    }
}

/// Writes `count` old packets and one that is not.
fn fill(root: &Path, count: u64, sender: EndpointId, recipient: EndpointId) -> Result<(), Box<dyn Error>> {
    let dir = Arc::new(StdDir::open(root)?);
    let options = OutboxOptions { suite: Suite::Checksum, tag: Some(TAG), ..OutboxOptions::default() };
    let outbox = Outbox::new(dir, sender, None, Arc::default(), options)?;
    let number = |value| PacketNumber::new(value).ok_or("no packet number");
    let path = |pn| {
        let name = PacketName { recipient, sender, incarnation_random: LIFE.random, pn, tag: TAG };
        (root.join(name.dir()), root.join(name.path()))
    };
    let mut source = None;
    for value in 1..=count {
        if value % LINKS == 1 {
            outbox.publish(&plan(sender, recipient, number(value)?), &NoPayloads)?;
            source = Some(path(number(value)?).1);
            continue;
        }
        let (folder, to) = path(number(value)?);
        if value.is_multiple_of(4_096) || value == 2 {
            fs::create_dir_all(folder)?;
        }
        fs::hard_link(source.as_deref().unwrap_or(root), to)?;
    }
    outbox.publish(&plan(sender, recipient, number(count + 1)?), &NoPayloads)?;
    Ok(())
}

/// Polls for `polls` times `period` and gives the sum of what they cost.
fn idle(inbox: &mut Inbox, now: &mut Duration, period: Duration, polls: u32) -> (ScanCost, Duration) {
    let mut sum = ScanCost::default();
    let began = Instant::now();
    for _ in 0..polls {
        *now += period;
        let cost = inbox.scan(*now, &mut |_| Verdict::Use).cost;
        sum.folders_listed += cost.folders_listed;
        sum.names_listed += cost.names_listed;
        sum.files_opened += cost.files_opened;
    }
    (sum, began.elapsed())
}

fn main() -> Result<(), Box<dyn Error>> {
    let (here, far) = (side_id("", "south", "north"), side_id("", "north", "south"));
    let (me, sender) = (endpoint_id(&here, "gateway", "0"), endpoint_id(&far, "gateway", "0"));
    let place = std::env::var("TMPDIR").unwrap_or_else(|_| "/dev/shm".to_owned());
    println!(
        "old files | poll every | folders | names | files opened | us per poll | names to 10 files | us to 10 files"
    );
    let mut base: Vec<(f64, f64)> = Vec::new();
    for count in [10, 10_000, 1_000_000] {
        let root = tempfile::Builder::new().prefix("hoft-poll-cost-").tempdir_in(&place)?;
        fill(root.path(), count, sender, me)?;
        let local = Local {
            endpoint: me,
            side: here,
            remote_side: far,
            remote_name: "north".into(),
            identity: None,
            peer_keys: Arc::default(),
            suites: vec![Suite::Checksum],
        };
        let options = InboxOptions { profile: Profile::Sync, ..InboxOptions::default() };
        let mut inbox = Inbox::new(Arc::new(StdDir::open(root.path())?), vec![local], options);
        inbox.set_floor(sender, LIFE, count + 1);
        let (mut now, mut arrived, began, mut read_in) = (Duration::from_secs(1), 0, Instant::now(), 0);
        // Until everything was seen, and a minute more.
        let mut quiet_since = now;
        while now < quiet_since + Duration::from_secs(62) {
            let report = inbox.scan(now, &mut |arrival| {
                arrived += u32::from(matches!(arrival, Arrival::Packet { .. }));
                Verdict::Use
            });
            read_in += report.cost.files_opened;
            if report.progressed {
                quiet_since = now;
            }
            now += report.next_after.max(Duration::from_millis(50));
        }
        println!(
            "{count}: {arrived} packet of {} files, {read_in} files opened at first, in {:?}",
            count + 1,
            began.elapsed()
        );
        let rows = [(Duration::from_millis(50), 1_200), (Duration::from_secs(10), 60)];
        for (row, (period, polls)) in rows.into_iter().enumerate() {
            let (cost, took) = idle(&mut inbox, &mut now, period, polls);
            let per = |value: u64| value as f64 / f64::from(polls);
            let us = took.as_secs_f64() * 1e6 / f64::from(polls);
            if base.len() <= row {
                base.push((per(cost.names_listed), us));
            }
            let (names_base, us_base) = base.get(row).copied().unwrap_or((1.0, 1.0));
            println!(
                "{count:>9} | {period:>10?} | {:>7.2} | {:>5.2} | {:>12.2} | {us:>11.1} | {:>17.2} | {:>14.2}",
                per(cost.folders_listed),
                per(cost.names_listed),
                per(cost.files_opened),
                per(cost.names_listed) / names_base,
                us / us_base,
            );
        }
    }
    Ok(())
}
