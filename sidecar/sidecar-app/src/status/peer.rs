//! One peer as `/statusz` shows it: layer 1's snapshot in plain numbers and words, with an opinion on its health.
//!
//! Invariants: ids are text, times are milliseconds, sizes are bytes; whatever layer 1 knows of a peer is here. It is not
//! used to decide anything. Test to read first: `a_peer_view_shows_all_of_the_peer_status`.

use std::time::Duration;

use layer1_replication::{Alarm, PeerStatus};
use serde::Serialize;
use wire::EndpointId;

use super::diagnosis::{self, Diagnosis, Surroundings};

/// Whether packets of the peer arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Liveness {
    /// No packet of the peer since this engine started.
    #[default]
    NeverSeen,
    /// The last one is younger than the loss timeout.
    Alive,
    /// The last one is older than the loss timeout. That the peer is down is not known.
    Silent,
}

impl Liveness {
    /// The word of the JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NeverSeen => "never_seen",
            Self::Alive => "alive",
            Self::Silent => "silent",
        }
    }
}

/// Something a person should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AlarmView {
    /// A stable name.
    pub name: &'static str,
    /// What was seen.
    pub text: String,
    /// What to do.
    pub remedy: &'static str,
}

impl From<&Alarm> for AlarmView {
    fn from(alarm: &Alarm) -> Self {
        Self { name: alarm.name(), text: alarm.to_string(), remedy: alarm.remedy() }
    }
}

/// A limit and how much of it is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Credit {
    /// What was given, counted from the beginning of the association.
    pub limit: u64,
    /// What of it was used.
    pub used: u64,
}

impl From<(u64, u64)> for Credit {
    fn from((limit, used): (u64, u64)) -> Self {
        Self { limit, used }
    }
}

/// By how much this clock is ahead of the peer's, in ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClockOffset {
    /// At least; below zero: it may be behind.
    pub least_ms: i64,
    /// At most.
    pub most_ms: i64,
}

impl From<(i64, i64)> for ClockOffset {
    fn from((least_ms, most_ms): (i64, i64)) -> Self {
        Self { least_ms, most_ms }
    }
}

/// One endpoint of the far side. Counters count since this engine's start unless they say otherwise.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PeerView {
    /// Its endpoint, as UUID.
    pub endpoint: String,
    /// Its name, where one is known.
    pub name: Option<String>,
    /// Whether packets of it arrive.
    pub alive: Liveness,
    /// Time since its last packet; `None` before the first.
    pub last_heard_ms_ago: Option<u64>,
    /// How often it sends something even with nothing to say, as it announced.
    pub heartbeat_ms: u64,
    /// How suspicious its silence is: −log10 of the chance that it is none.
    pub phi: f64,
    /// Its silence is suspicious.
    pub suspected: bool,
    /// By how much this clock is ahead of its own; `None` until both directions were measured.
    pub clock_offset: Option<ClockOffset>,
    /// Silence after which it is shown as silent.
    pub loss_timeout_ms: u64,
    /// The probable state of the pair: a stable name.
    pub diagnosis_name: Diagnosis,
    /// The same for people, in a sentence or two.
    pub diagnosis: String,
    /// Why nothing is sent or delivered any more, if so.
    pub halted: Option<AlarmView>,
    /// The newest alarms, oldest first.
    pub alarms: Vec<AlarmView>,
    /// What it runs, as it said.
    pub software: String,
    /// My incarnation towards it.
    pub my_incarnation: String,
    /// Its incarnation; `None` while no association is open.
    pub incarnation: Option<String>,
    /// Associations ever opened with it.
    pub confirmations: u64,
    /// The sequence number that my next record gets.
    pub next: u64,
    /// My records up to here are proved to be held by it.
    pub acknowledged: u64,
    /// I hold its records up to here.
    pub received_up_to: u64,
    /// It knows that I hold its records up to here.
    pub received_up_to_known: u64,
    /// The sequence number that its next record gets, as far as it said.
    pub peer_next: u64,
    /// My records that it did not acknowledge.
    pub backlog_records: u64,
    /// Their size as stored.
    pub backlog_bytes: u64,
    /// My records that wait for credit.
    pub blocked_records: u64,
    /// At least so long the oldest record of the backlog waits; `None` without backlog. See [`super::BacklogAges`].
    pub oldest_unacknowledged_ms: Option<u64>,
    /// My packets that are published and neither reported nor lost.
    pub in_flight_packets: u64,
    /// Bytes of records in them.
    pub in_flight_bytes: u64,
    /// Octets that my log still takes for it.
    pub send_log_room_bytes: u64,
    /// So long packets of mine are out without news that any of them arrived; `None` while there is none.
    pub unreported_ms: Option<u64>,
    /// Smoothed round trip; `None` before the first measurement.
    pub srtt_ms: Option<f64>,
    /// Its mean deviation.
    pub rttvar_ms: f64,
    /// Probe timeouts since the last news of my packets.
    pub probe_timeouts: u32,
    /// Only probes are sent, because nothing was heard of my packets for long.
    pub suspended: bool,
    /// How full this side is, as the peer is told: 0 to 3.
    pub pressure: u8,
    /// How full it is, as it said: at 2 bulk towards it is halved, at 3 none is begun.
    pub peer_pressure: u8,
    /// How patient the loss timer is with overtaken packets: 1 to 8.
    pub reorder_factor: u32,
    /// My next packet number.
    pub next_packet: u64,
    /// My packets below this number are done with.
    pub packet_floor: u64,
    /// My packets.
    pub packets_sent: u64,
    /// Of them: declared lost by time.
    pub packets_lost: u64,
    /// Of them: reported as arrived after all.
    pub packets_spurious: u64,
    /// Its packets that were taken.
    pub packets_received: u64,
    /// Its packets of incarnations that are not confirmed.
    pub packets_unassociated: u64,
    /// My records handed out, resent ones included.
    pub records_sent: u64,
    /// Of them: sent before.
    pub records_resent: u64,
    /// My records sent again though it held them, as it counts them.
    pub records_spurious: u64,
    /// Of my records handed out: tombstones, in place of cancelled ones.
    pub tombstones_sent: u64,
    /// My records of which it took the tombstone.
    pub tombstones_taken: u64,
    /// Its new records.
    pub records_received: u64,
    /// Its records that were here already.
    pub records_duplicate: u64,
    /// Its records dropped: beyond credit.
    pub records_dropped_credit: u64,
    /// Its records dropped: unknown kind, beyond the window, or against the rules of streams.
    pub records_dropped_other: u64,
    /// Its resets that were not acted on.
    pub resets_ignored: u64,
    /// Its bytes received and not consumed.
    pub unconsumed_bytes: u64,
    /// Bytes of log it gave me.
    pub credit_log_bytes: Credit,
    /// Exchanges it allows me.
    pub credit_exchanges: Credit,
    /// Bytes of log I gave it.
    pub granted_log_bytes: Credit,
    /// Exchanges I allow it.
    pub granted_exchanges: Credit,
}

impl PeerView {
    /// How a peer is shown; after `loss_timeout` of silence as silent.
    #[must_use]
    pub fn new(endpoint: EndpointId, name: Option<String>, status: &PeerStatus, loss_timeout: Duration) -> Self {
        let mut view = Self {
            endpoint: endpoint.to_string(),
            name,
            alive: liveness(status.last_heard_us_ago, loss_timeout),
            last_heard_ms_ago: status.last_heard_us_ago.map(|us| us / 1_000),
            loss_timeout_ms: u64::try_from(loss_timeout.as_millis()).unwrap_or(u64::MAX),
            halted: status.halted.as_ref().map(AlarmView::from),
            alarms: status.alarms.iter().map(AlarmView::from).collect(),
            software: status.peer_software.clone(),
            my_incarnation: status.my_incarnation.to_string(),
            incarnation: status.peer_incarnation.map(|incarnation| incarnation.to_string()),
            confirmations: status.confirmations,
            next: status.next.get(),
            acknowledged: status.una.get(),
            received_up_to: status.cum.get(),
            received_up_to_known: status.una_seen.get(),
            peer_next: status.peer_next.get(),
            backlog_records: status.backlog_records,
            backlog_bytes: status.backlog_bytes,
            blocked_records: status.blocked_records,
            in_flight_packets: status.in_flight_packets,
            in_flight_bytes: status.in_flight_bytes,
            send_log_room_bytes: status.send_log_room,
            unreported_ms: status.unreported_us.map(|us| us / 1_000),
            srtt_ms: status.srtt_us.map(ms),
            rttvar_ms: ms(status.rttvar_us),
            probe_timeouts: status.pto_count,
            suspended: status.suspended,
            heartbeat_ms: status.peer_heartbeat_ms,
            phi: status.phi,
            suspected: status.suspected,
            clock_offset: status.clock_offset_ms.map(ClockOffset::from),
            pressure: status.pressure,
            peer_pressure: status.peer_pressure,
            reorder_factor: status.reorder_factor,
            next_packet: status.next_pn,
            packet_floor: status.pn_floor,
            unconsumed_bytes: status.unconsumed_bytes,
            credit_log_bytes: status.credit_log.into(),
            credit_exchanges: status.credit_exchanges.into(),
            granted_log_bytes: status.granted_log.into(),
            granted_exchanges: status.granted_exchanges.into(),
            ..Self::default()
        };
        view.count(status);
        view.diagnose(&Surroundings::default());
        view
    }

    fn count(&mut self, status: &PeerStatus) {
        self.packets_sent = status.packets_sent;
        self.packets_lost = status.packets_lost;
        self.packets_spurious = status.packets_spurious;
        self.records_spurious = status.records_spurious;
        self.tombstones_sent = status.tombstones_sent;
        self.tombstones_taken = status.tombstones_taken;
        self.packets_received = status.packets_received;
        self.packets_unassociated = status.unassociated;
        self.records_sent = status.records_sent;
        self.records_resent = status.records_resent;
        self.records_received = status.records_received;
        self.records_duplicate = status.records_duplicate;
        self.records_dropped_credit = status.dropped_credit;
        self.records_dropped_other = status.dropped_other;
        self.resets_ignored = status.resets_ignored;
    }

    /// Renews the diagnosis.
    pub(super) fn diagnose(&mut self, surroundings: &Surroundings) {
        self.diagnosis_name = diagnosis::of(self, surroundings);
        self.diagnosis = diagnosis::sentence(self.diagnosis_name, self, surroundings);
    }
}

fn liveness(last_heard_us_ago: Option<u64>, loss_timeout: Duration) -> Liveness {
    match last_heard_us_ago {
        None => Liveness::NeverSeen,
        Some(us) if Duration::from_micros(us) <= loss_timeout => Liveness::Alive,
        Some(_) => Liveness::Silent,
    }
}

#[allow(clippy::cast_precision_loss, reason = "microseconds of a round trip stay far below 2^53")]
fn ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}
