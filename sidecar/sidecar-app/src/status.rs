//! A snapshot of the whole engine for people, probes and metrics: what `/statusz` shows and `/metrics` counts.
//!
//! Invariants: nothing is decided here, and nothing secret is in it: no secret keys, bodies, headers, URLs or queries; of an
//! operation its id, state, route and age. Field names are an
//! interface: they are added, never renamed; units come last (`_ms`, `_bytes`); times are Unix milliseconds unless they
//! end in `_ms_ago`. It does no I/O and reads no clock. Files: `peer.rs` one peer, `server.rs` who executes calls, `diagnosis.rs` what is probably
//! wrong, `backlog_age.rs` how long records wait, `facts.rs` who the engine is, `folder.rs` the mirrored folders. Test to read first: `json_is_the_documented_one`.

mod backlog_age;
mod calls_made;
mod diagnosis;
mod facts;
mod folder;
mod near_side;
mod peer;
mod server;

use std::collections::BTreeMap;

use crate::habits::advice_for_inbox;
use layer0_pipe::{CUT_POSITIONS, Counters};
use layer2_http::{OperationView, State};
use serde::Serialize;
use wire::Reject;

pub use self::backlog_age::BacklogAges;
pub use self::calls_made::CallsMade;
pub use self::diagnosis::Diagnosis;
pub use self::facts::EngineFacts;
pub use self::folder::{FolderCondition, FolderView};
pub use self::near_side::{NearSideView, RefusedView};
pub use self::peer::{AlarmView, Credit, Liveness, PeerView};
pub use self::server::ServerView;

use self::diagnosis::Surroundings;

/// Everything worth showing about this engine at one moment. The driver assembles it; `Default` is an empty one.
#[derive(Clone, Debug, Default, Serialize)]
pub struct EngineStatus {
    /// Name of this program.
    pub software: String,
    /// Its version.
    pub version: String,
    /// This endpoint, as UUID.
    pub endpoint: String,
    /// Name of this side.
    pub side: Option<String>,
    /// What the endpoint is named by: `gateway` or `pod`.
    pub kind: &'static str,
    /// Name of the endpoint: its ordinal or its pod's UID.
    pub endpoint_name: String,
    /// The public key token of this side, as the far side pins it.
    pub public_key: Option<String>,
    /// What people compare of the token.
    pub fingerprint: Option<String>,
    /// The log is recovered and the driver runs. Until then everything below is empty.
    pub started: bool,
    /// When this engine started.
    pub started_ms: u64,
    /// When this snapshot was taken.
    pub now_ms: u64,
    /// The log on disk.
    pub log_bytes: u64,
    /// Why the last checkpoint could not be written; tried again. A failure of anything else in the log ends the engine.
    pub log_failure: Option<String>,
    /// Calls are refused for want of room: the send log towards some peer has none for a record of full size.
    pub log_full: bool,
    /// Stored results of operations.
    pub results_bytes: u64,
    /// A packet is being built or written.
    pub publishing: bool,
    /// Bytes of the packets that were published since the start.
    pub published_bytes: u64,
    /// Why the last packet could not be published; `None` as soon as one can.
    pub outbox_failure: Option<String>,
    /// The newest alarm of the inbox since the start.
    pub inbox_alarm: Option<String>,
    /// The mirrored folders, as the canary sees them.
    pub folders: Vec<FolderView>,
    /// What the inbox counted since the start.
    pub inbox: InboxView,
    /// Operations begun here, by state: their number right now, ended ones included while they are remembered.
    pub operations: BTreeMap<&'static str, u64>,
    /// The oldest of the operations begun here that have not ended; at most [`OPEN_OPERATIONS_MAX`].
    pub open_operations: Vec<OpenOperation>,
    /// How many there are in all.
    pub open_operations_total: u64,
    /// Operations that lost their caller before its answer within the last minute: ids, at most 32. Where a whole pod goes, its
    /// programs end before its engine, and these are the calls that were in flight.
    pub abandoned_operations: Vec<String>,
    /// Calls of the far side that are open here.
    pub executions: u64,
    /// How calls of the far side ended here since the start; `None` before the first can be made.
    pub calls_made: Option<CallsMade>,
    /// What is told of calls begun here.
    pub callbacks: CallbacksView,
    /// One per endpoint of the far side.
    pub peers: Vec<PeerView>,
    /// Endpoints of the far side that announced that they execute calls: who of them gets new ones.
    pub servers: Vec<ServerView>,
    /// What the quotas and the cache of the local port did.
    pub near_side: NearSideView,
}

impl EngineStatus {
    /// A snapshot of a started engine with names and times filled in, and everything else empty.
    #[must_use]
    pub fn new(facts: &EngineFacts, started_ms: u64, now_ms: u64) -> Self {
        Self {
            software: "hoft".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            endpoint: facts.endpoint.to_string(),
            side: Some(facts.side.clone()),
            kind: facts.kind,
            endpoint_name: facts.endpoint_name.clone(),
            public_key: facts.public_key.clone(),
            fingerprint: facts.fingerprint.clone(),
            started: true,
            started_ms,
            now_ms,
            ..Self::default()
        }
    }

    /// Renews every peer's diagnosis from what is known of the others and of the folders. Call it once all fields are set.
    pub fn diagnose(&mut self) {
        for folder in self.folders.iter_mut().filter(|found| found.folder == "inbox") {
            folder.profile_advice = advice_for_inbox(self.inbox.reappeared);
        }
        let alive = self.peers.iter().filter(|peer| peer.alive == Liveness::Alive).count();
        let surroundings = Surroundings {
            outbox_failure: self.folder_trouble("outbox").or_else(|| self.outbox_failure.clone()),
            inbox_failure: self.folder_trouble("inbox"),
            others_alive: alive > 0,
            others: self.peers.len() > 1,
            unverified_files: if self.inbox.packets_used == 0 { self.inbox.unverified_files() } else { 0 },
        };
        for peer in &mut self.peers {
            peer.diagnose(&surroundings);
        }
    }
}

impl EngineStatus {
    fn folder_trouble(&self, name: &str) -> Option<String> {
        self.folders.iter().find(|found| found.folder == name).and_then(FolderView::trouble)
    }
}

/// Callbacks: results and events of calls begun here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CallbacksView {
    /// Results and rows of events of which something is still to be delivered.
    pub pending: u64,
    /// Those that were given up, and not tried again or removed since.
    pub dead: u64,
    /// Deliveries since the start.
    pub delivered: u64,
    /// Attempts since the start that failed and were to be repeated.
    pub failed: u64,
    /// Results and rows of events that were given up since the start.
    pub given_up: u64,
}

/// Open operations that one snapshot shows.
pub const OPEN_OPERATIONS_MAX: usize = 32;

/// An operation begun here that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenOperation {
    /// Its id.
    pub id: String,
    /// How far it has come.
    pub state: &'static str,
    /// The route it was called by; `None` for a call through the forward proxy.
    pub route: Option<String>,
    /// How long ago it began.
    pub age_ms: u64,
}

impl OpenOperation {
    /// What may be told of an operation at `now_ms`: not its target.
    #[must_use]
    pub fn new(view: OperationView, now_ms: i64) -> Self {
        Self {
            id: view.id.to_string(),
            state: view.state.name(),
            route: view.route,
            age_ms: u64::try_from(now_ms.saturating_sub(view.begun_ms)).unwrap_or(0),
        }
    }
}

/// Counts operations by state: every state's word, those without an operation included.
#[must_use]
pub fn count_states(states: impl IntoIterator<Item = State>) -> BTreeMap<&'static str, u64> {
    let mut counts: BTreeMap<_, _> = State::ALL.into_iter().map(|state| (state.name(), 0)).collect();
    for state in states {
        *counts.entry(state.name()).or_default() += 1;
    }
    counts
}

/// What the inbox counted since the start; the meaning of each is that of [`Counters`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InboxView {
    /// Files of packet names that came up in the folder.
    pub files_seen: u64,
    /// Packets whose prefix verified and that were wanted.
    pub packets_used: u64,
    /// Verified packets that were ignored.
    pub packets_ignored: u64,
    /// Times a verified packet had to wait for its pair to be confirmed.
    pub packets_waiting: u64,
    /// Packets closed as complete.
    pub complete: u64,
    /// Packets closed as partial: cut or damaged files.
    pub partial: u64,
    /// Packets closed as unopenable.
    pub unopenable: u64,
    /// Partial packets that gave more frames later.
    pub reopened: u64,
    /// Verified frames.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// Frames that were whole and did not verify or decode.
    pub bad_frames: u64,
    /// Files that repeat a closed packet.
    pub duplicates: u64,
    /// Files put aside because they cannot be used.
    pub quarantined: u64,
    /// Files removed from the folder.
    pub removed: u64,
    /// Files that came back after they were removed.
    pub reappeared: u64,
    /// Files that are not remembered because too many are.
    pub overflowed: u64,
    /// Bytes read from files.
    pub read_bytes: u64,
    /// Bytes of the verified frames, as stored.
    pub frame_bytes: u64,
    /// Failures of the file system while listing, reading or removing.
    pub io_errors: u64,
    /// Packets closed as partial because their file was cut, by the tenth of their length in which it was.
    pub cut_positions: [u64; CUT_POSITIONS],
    /// Rejects by name, those counted at least once.
    pub rejects: BTreeMap<&'static str, u64>,
}

impl InboxView {
    /// Files that came from nobody whose key is pinned: another key, or damage that no mirror makes.
    fn unverified_files(&self) -> u64 {
        let names = [
            Reject::KeyUnknown,
            Reject::KeyRevoked,
            Reject::SuiteRefused,
            Reject::Checksum,
            Reject::SignatureEd25519,
            Reject::SignatureMldsa,
            Reject::Tag,
        ];
        names
            .iter()
            .filter_map(|reject| self.rejects.get(reject.name()))
            .fold(0, |sum, count| sum.saturating_add(*count))
    }
}

impl From<&Counters> for InboxView {
    fn from(counters: &Counters) -> Self {
        Self {
            files_seen: counters.files_seen,
            packets_used: counters.packets_used,
            packets_ignored: counters.packets_ignored,
            packets_waiting: counters.packets_waiting,
            complete: counters.complete,
            partial: counters.partial,
            unopenable: counters.unopenable,
            reopened: counters.reopened,
            frames: counters.frames,
            records: counters.records,
            bad_frames: counters.bad_frames,
            duplicates: counters.duplicates,
            quarantined: counters.quarantined,
            removed: counters.removed,
            reappeared: counters.reappeared,
            overflowed: counters.overflowed,
            read_bytes: counters.bytes_read,
            frame_bytes: counters.frame_bytes,
            io_errors: counters.io_errors,
            cut_positions: counters.cut_positions,
            rejects: counters.rejects().map(|(reject, count)| (reject.name(), count)).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
