//! The table of all metrics: what they are called, what they mean, and where in a snapshot they are read.
//!
//! Invariants: one entry per name; a change here changes `docs/metrics.md` too, which a test compares. It computes nothing
//! beyond units. Test to read first: `the_document_describes_every_metric`.

use layer1_replication::membership::Standing;
use layer2_http::State;
use wire::Reject;

use super::{Base, Family, Kind, Samples};
use crate::status::{Credit, Diagnosis, EngineStatus, FolderCondition, Liveness, PeerView};

const NONE: &[&str] = &[];
const PEER: &[&str] = &["peer", "name"];

const fn gauge(
    name: &'static str,
    unit: Option<Base>,
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&EngineStatus, &mut Samples),
) -> Family {
    Family { name, kind: Kind::Gauge, unit, labels, help, read }
}

const fn counter(
    name: &'static str,
    unit: Option<Base>,
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&EngineStatus, &mut Samples),
) -> Family {
    Family { name, kind: Kind::Counter, unit, labels, help, read }
}

/// Every metric of the engine, in the order of the output.
pub(crate) static FAMILIES: &[Family] = &[
    gauge("build_info", None, &["version"], "Always 1; the label is the version that runs", |s, out| {
        out.whole(&[&s.version], 1);
    }),
    gauge("start_time", Some(Base::Seconds), NONE, "When the engine started, as Unix time", |s, out| {
        out.real(&[], seconds(s.started_ms));
    }),
    gauge("log", Some(Base::Bytes), NONE, "The log on disk", |s, out| out.whole(&[], s.log_bytes)),
    gauge(
        "log_failing",
        None,
        NONE,
        "1 while a checkpoint of the log cannot be written for want of space",
        |s, out| {
            out.flag(&[], s.log_failure.is_some());
        },
    ),
    gauge("log_full", None, NONE, "1 while the send log has no room for another record of full size", |s, out| {
        out.flag(&[], s.log_full);
    }),
    gauge("results", Some(Base::Bytes), NONE, "Stored results of operations", |s, out| out.whole(&[], s.results_bytes)),
    gauge("operations", None, &["state"], "Operations begun here that are remembered, by state", |s, out| {
        for state in State::ALL {
            out.whole(&[state.name()], s.operations.get(state.name()).copied().unwrap_or(0));
        }
    }),
    gauge("executions", None, NONE, "Calls of the far side that are open here", |s, out| {
        out.whole(&[], s.executions);
    }),
    counter(
        "executions_ended",
        None,
        &["outcome"],
        "Calls of the far side that ended here, by how: answered, cut, cancelled, or the problem that was answered",
        |s, out| {
            for (outcome, count) in s.calls_made.iter().flat_map(|made| &made.ended) {
                out.whole(&[outcome], *count);
            }
        },
    ),
    counter(
        "token_requests",
        None,
        &["result"],
        "Questions to token endpoints, by whether they gave an access token",
        |s, out| {
            if let Some(made) = &s.calls_made {
                out.whole(&["got"], made.tokens_got);
                out.whole(&["failed"], made.tokens_failed);
            }
        },
    ),
    gauge("callbacks_pending", None, NONE, "Callbacks of which something is still to be delivered", |s, out| {
        out.whole(&[], s.callbacks.pending);
    }),
    gauge(
        "dead_letters",
        None,
        NONE,
        "Callbacks that were given up, and not tried again or removed since",
        |s, out| {
            out.whole(&[], s.callbacks.dead);
        },
    ),
    counter(
        "callback_attempts",
        None,
        &["result"],
        "Attempts to deliver a callback, by what came of them",
        |s, out| {
            let counts = s.callbacks;
            for (result, count) in
                [("delivered", counts.delivered), ("failed", counts.failed), ("given_up", counts.given_up)]
            {
                out.whole(&[result], count);
            }
        },
    ),
    gauge(
        "servers",
        None,
        &["standing"],
        "Endpoints of the far side that announced that they execute calls",
        |s, out| {
            for standing in Standing::ALL {
                let servers = s.servers.iter().filter(|server| server.executes && server.standing == standing.name());
                out.whole(&[standing.name()], servers.count() as u64);
            }
        },
    ),
    counter("server_calls", None, &["server", "name"], "Calls that a server got from this engine", |s, out| {
        for server in &s.servers {
            out.whole(&[&server.endpoint, &server.name], server.calls);
        }
    }),
    counter("quota_refused", None, &["rule", "bound"], "Calls refused because a quota was used up", |s, out| {
        for refused in &s.near_side.quota_refused {
            out.whole(&[&refused.rule, refused.bound], refused.calls);
        }
    }),
    counter("cache_calls", None, &["outcome"], "Calls of rules with a cache, by what the cache did", |s, out| {
        for (outcome, calls) in &s.near_side.cache_outcomes {
            out.whole(&[outcome], *calls);
        }
    }),
    gauge("cache", Some(Base::Bytes), NONE, "Kept responses, with what they take beside their content", |s, out| {
        out.whole(&[], s.near_side.cache_bytes);
    }),
    gauge("cache_responses", None, NONE, "Kept responses", |s, out| out.whole(&[], s.near_side.cache_responses)),
    counter("cache_evicted", None, NONE, "Kept responses that left for want of room", |s, out| {
        out.whole(&[], s.near_side.cache_evicted);
    }),
    gauge("outbox_failing", None, NONE, "1 while packets cannot be written into the outbox folder", |s, out| {
        out.flag(&[], s.outbox_failure.is_some());
    }),
    gauge(
        "volume_condition",
        None,
        &["folder", "condition"],
        "1 for the condition of a mirrored folder, else 0",
        |s, out| {
            for folder in &s.folders {
                for condition in FolderCondition::ALL {
                    out.flag(&[folder.folder, condition.name()], condition == folder.condition);
                }
            }
        },
    ),
    gauge("volume_probe", Some(Base::Seconds), &["folder"], "How long the last look of the canary took", |s, out| {
        for folder in &s.folders {
            if let Some(took_ms) = folder.took_ms {
                out.real(&[folder.folder], took_ms / 1e3);
            }
        }
    }),
    counter("volume_probes", None, &["folder", "result"], "Looks of the canary, by what they found", |s, out| {
        for folder in &s.folders {
            out.whole(&[folder.folder, "good"], folder.checks_good);
            out.whole(&[folder.folder, "bad"], folder.checks_bad);
        }
    }),
    gauge("inbox_alarm", None, NONE, "1 once the inbox raised an alarm since the start", |s, out| {
        out.flag(&[], s.inbox_alarm.is_some());
    }),
    counter("inbox_files", None, &["event"], "Files in the inbox folder, by what became of them", |s, out| {
        out.whole(&["seen"], s.inbox.files_seen);
        out.whole(&["duplicate"], s.inbox.duplicates);
        out.whole(&["quarantined"], s.inbox.quarantined);
        out.whole(&["removed"], s.inbox.removed);
        out.whole(&["reappeared"], s.inbox.reappeared);
        out.whole(&["overflowed"], s.inbox.overflowed);
    }),
    counter("inbox_packets", None, &["verdict"], "Verified packets, by whether they counted", |s, out| {
        out.whole(&["used"], s.inbox.packets_used);
        out.whole(&["ignored"], s.inbox.packets_ignored);
        out.whole(&["waiting"], s.inbox.packets_waiting);
    }),
    counter("inbox_closed", None, &["closure"], "Packets closed, by how; reopened ones are closed again", |s, out| {
        out.whole(&["complete"], s.inbox.complete);
        out.whole(&["partial"], s.inbox.partial);
        out.whole(&["unopenable"], s.inbox.unopenable);
        out.whole(&["reopened"], s.inbox.reopened);
    }),
    counter("inbox_frames", None, &["result"], "Whole frames, by whether they verified", |s, out| {
        out.whole(&["good"], s.inbox.frames);
        out.whole(&["bad"], s.inbox.bad_frames);
    }),
    counter("inbox_records", None, NONE, "Records in verified frames", |s, out| out.whole(&[], s.inbox.records)),
    counter("inbox_read", Some(Base::Bytes), NONE, "Bytes read from files in the inbox folder", |s, out| {
        out.whole(&[], s.inbox.read_bytes);
    }),
    counter("inbox_verified", Some(Base::Bytes), NONE, "Bytes of verified frames, as stored", |s, out| {
        out.whole(&[], s.inbox.frame_bytes);
    }),
    counter("inbox_io_errors", None, NONE, "Failures to list, read or remove in the inbox folder", |s, out| {
        out.whole(&[], s.inbox.io_errors);
    }),
    counter(
        "inbox_rejects",
        None,
        &["reason"],
        "Packets, frames and records not used, by the check they failed",
        |s, out| {
            for reject in Reject::ALL {
                out.whole(&[reject.name()], s.inbox.rejects.get(reject.name()).copied().unwrap_or(0));
            }
        },
    ),
    gauge("peer_alive", None, PEER, "1 if a packet of the peer arrived within the loss timeout", |s, out| {
        peers(s, |p, labels| out.flag(labels, p.alive == Liveness::Alive));
    }),
    gauge(
        "peer_last_heartbeat_timestamp",
        Some(Base::Seconds),
        PEER,
        "When the last packet of the peer arrived, as Unix time; absent before the first",
        |s, out| {
            peers(s, |p, labels| {
                if let Some(ago) = p.last_heard_ms_ago {
                    out.real(labels, seconds(s.now_ms.saturating_sub(ago)));
                }
            });
        },
    ),
    gauge("peer_halted", None, PEER, "1 while an alarm keeps the pair from sending and delivering", |s, out| {
        peers(s, |p, labels| out.flag(labels, p.halted.is_some()));
    }),
    gauge("peer_associated", None, PEER, "1 while an association with the peer is open", |s, out| {
        peers(s, |p, labels| out.flag(labels, p.incarnation.is_some()));
    }),
    counter("peer_associations", None, PEER, "Associations ever opened with the peer, over all starts", |s, out| {
        peers(s, |p, labels| out.whole(labels, p.confirmations));
    }),
    gauge(
        "peer_diagnosis",
        None,
        &["peer", "name", "diagnosis"],
        "1 for the probable state of the pair, else 0",
        |s, out| {
            peers(s, |p, labels| {
                for diagnosis in Diagnosis::ALL {
                    out.flag(&with(labels, diagnosis.name()), p.diagnosis_name == diagnosis);
                }
            });
        },
    ),
    gauge(
        "outbox_oldest_unacked",
        Some(Base::Seconds),
        PEER,
        "Age of the oldest record the peer did not acknowledge",
        |s, out| {
            peers(s, |p, labels| out.real(labels, seconds(p.oldest_unacknowledged_ms.unwrap_or(0))));
        },
    ),
    gauge("backlog", Some(Base::Bytes), PEER, "Records the peer did not acknowledge, as stored", |s, out| {
        peers(s, |p, labels| out.whole(labels, p.backlog_bytes));
    }),
    gauge("send_log_room", Some(Base::Bytes), PEER, "Octets that my log still takes for the peer", |s, out| {
        peers(s, |p, labels| out.whole(labels, p.send_log_room_bytes));
    }),
    gauge("backlog_records", None, PEER, "Records the peer did not acknowledge", |s, out| {
        peers(s, |p, labels| out.whole(labels, p.backlog_records));
    }),
    gauge("blocked_records", None, PEER, "Of the backlog: records that wait for credit from the peer", |s, out| {
        peers(s, |p, labels| out.whole(labels, p.blocked_records));
    }),
    gauge("in_flight_packets", None, PEER, "Packets published and neither reported nor lost", |s, out| {
        peers(s, |p, labels| out.whole(labels, p.in_flight_packets));
    }),
    gauge("in_flight", Some(Base::Bytes), PEER, "Records in the packets in flight", |s, out| {
        peers(s, |p, labels| out.whole(labels, p.in_flight_bytes));
    }),
    gauge(
        "round_trip",
        Some(Base::Seconds),
        PEER,
        "Smoothed round trip; absent before the first measurement",
        |s, out| {
            peers(s, |p, labels| {
                if let Some(ms) = p.srtt_ms {
                    out.real(labels, ms / 1_000.0);
                }
            });
        },
    ),
    gauge("probe_timeouts", None, PEER, "Probe timeouts since the last news of the packets in flight", |s, out| {
        peers(s, |p, labels| out.whole(labels, u64::from(p.probe_timeouts)));
    }),
    gauge("sending_suspended", None, PEER, "1 while only probes are sent", |s, out| {
        peers(s, |p, labels| out.flag(labels, p.suspended));
    }),
    counter(
        "packets",
        None,
        &["peer", "name", "direction"],
        "Packets handed out to be published, or taken from the peer",
        |s, out| {
            peers(s, |p, labels| {
                out.whole(&with(labels, "sent"), p.packets_sent);
                out.whole(&with(labels, "received"), p.packets_received);
            });
        },
    ),
    counter("packets_lost", None, PEER, "Packets sent that were declared lost by time", |s, out| {
        peers(s, |p, labels| out.whole(labels, p.packets_lost));
    }),
    counter(
        "packets_unassociated",
        None,
        PEER,
        "Packets of incarnations of the peer that are not confirmed",
        |s, out| {
            peers(s, |p, labels| out.whole(labels, p.packets_unassociated));
        },
    ),
    counter(
        "records",
        None,
        &["peer", "name", "direction"],
        "Records handed out (resent ones included), or new from the peer",
        |s, out| {
            peers(s, |p, labels| {
                out.whole(&with(labels, "sent"), p.records_sent);
                out.whole(&with(labels, "received"), p.records_received);
            });
        },
    ),
    counter("records_resent", None, PEER, "Records handed out that were sent before", |s, out| {
        peers(s, |p, labels| out.whole(labels, p.records_resent));
    }),
    counter("records_duplicate", None, PEER, "Records of the peer that were here already", |s, out| {
        peers(s, |p, labels| out.whole(labels, p.records_duplicate));
    }),
    counter(
        "records_dropped",
        None,
        &["peer", "name", "reason"],
        "Records of the peer that may not be taken",
        |s, out| {
            peers(s, |p, labels| {
                out.whole(&with(labels, "credit"), p.records_dropped_credit);
                out.whole(&with(labels, "other"), p.records_dropped_other);
            });
        },
    ),
    counter("resets_ignored", None, PEER, "Resets of the peer that were not acted on", |s, out| {
        peers(s, |p, labels| out.whole(labels, p.resets_ignored));
    }),
    gauge("unconsumed", Some(Base::Bytes), PEER, "Received and not yet taken by the programs here", |s, out| {
        peers(s, |p, labels| out.whole(labels, p.unconsumed_bytes));
    }),
    gauge(
        "log_credit",
        Some(Base::Bytes),
        &["peer", "name", "by", "part"],
        "Log credit since the association began: limit and use, given by the peer or by this engine",
        |s, out| peers(s, |p, labels| credit(labels, p.credit_log_bytes, p.granted_log_bytes, out)),
    ),
    gauge(
        "exchange_credit",
        None,
        &["peer", "name", "by", "part"],
        "Exchanges since the association began: limit and use, allowed by the peer or by this engine",
        |s, out| peers(s, |p, labels| credit(labels, p.credit_exchanges, p.granted_exchanges, out)),
    ),
];

/// Calls `read` for each peer with its labels.
fn peers(status: &EngineStatus, mut read: impl FnMut(&PeerView, &[&str])) {
    for peer in &status.peers {
        read(peer, &[&peer.endpoint, peer.name.as_deref().unwrap_or("")]);
    }
}

fn with<'a>(labels: &[&'a str], last: &'a str) -> Vec<&'a str> {
    labels.iter().copied().chain([last]).collect()
}

fn credit(labels: &[&str], by_peer: Credit, by_me: Credit, out: &mut Samples) {
    for (by, credit) in [("peer", by_peer), ("me", by_me)] {
        for (part, value) in [("limit", credit.limit), ("used", credit.used)] {
            out.whole(&with(&with(labels, by), part), value);
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds of Unix time stay below 2^53")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}
