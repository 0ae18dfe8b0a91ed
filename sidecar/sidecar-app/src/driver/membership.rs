//! Which endpoint of the far side gets a call, and saying that this one executes calls: layer 1's table and announcer
//! over the folders.
//!
//! Invariants: presence counts only from a packet that verified under a pinned key of the far side, as the inbox sees
//! to, and only if it is addressed to my side; the announcer's packet numbers lie in the log under the far side's id
//! (kind 21, as those towards an endpoint); a call goes to a usable server, and to the default peer while none is
//! known. Only gateways announce themselves: engines beside an app read the same file, and nobody means them. It does
//! not judge who lives: that is `layer1_replication::membership`. Test to read first:
//! `calls_go_to_the_servers_that_are_there`.

use std::collections::BTreeMap;
use std::time::Duration;

use layer0_pipe::{PacketFloor, PacketPlan, Verdict as FileVerdict};
use layer1_replication::membership::{Announcer, Members, News, Word, call_key};
use layer1_replication::{Entry, Timestamp};
use tokio::sync::oneshot;
use wire::control::{Control, Versions};
use wire::header::Header;
use wire::limits::ENDPOINTS_PER_SIDE_MAX;
use wire::{EndpointId, Incarnation, PacketNumber, SideId};

use super::Driver;
use super::journal::Journal;
use crate::command::BeginCall;
use crate::pipe::{OutboxJob, PublishJob};
use crate::status::ServerView;

/// What the driver is told of the two sides.
#[derive(Clone, Debug)]
pub struct MembershipSettings {
    /// My side: presence of the far side is addressed to it.
    pub my_side: SideId,
    /// The far side: my presence is addressed to it.
    pub remote_side: SideId,
    /// My share of the far side's new calls; `None`: I execute none, and say nothing.
    pub weight: Option<u64>,
}

/// What the driver keeps of it.
pub(super) struct Membership {
    my_side: EndpointId,
    remote_side: EndpointId,
    pub(super) members: Members,
    announcer: Option<Announcer>,
    /// Packet numbers below may have been used, also by a start that announced itself while this one does not.
    used_below: u64,
    /// When the standing of a server changes next by itself.
    due: Option<Timestamp>,
    /// Calls that each server got since this start.
    chosen: BTreeMap<EndpointId, u64>,
    turned_away: bool,
}

impl Membership {
    pub(super) fn new(settings: &MembershipSettings, patience: Duration, now: Timestamp) -> Self {
        Self {
            my_side: settings.my_side.as_address(),
            remote_side: settings.remote_side.as_address(),
            members: Members::new(patience),
            announcer: settings.weight.map(|weight| Announcer::new(now, weight)),
            used_below: 1,
            due: None,
            chosen: BTreeMap::new(),
            turned_away: false,
        }
    }

    /// Takes an entry of the log that is about the far side as a whole; false if it is about something else.
    pub(super) fn replay(&mut self, recipient: EndpointId, entry: &Entry) -> bool {
        if recipient != self.remote_side {
            return false;
        }
        if let Entry::PnBlock { reserved_below, .. } = entry {
            self.used_below = self.used_below.max(*reserved_below);
        }
        if let Some(announcer) = &mut self.announcer {
            announcer.replay(self.used_below);
        }
        true
    }

    /// Appends the block of packet numbers that is wanted.
    pub(super) fn append_persists(&mut self, journal: &mut Journal) -> Result<(), disk::log::LogError> {
        if let Some(entry) = self.announcer.as_mut().and_then(Announcer::poll_persist) {
            journal.append(entry.kind(), &[&self.encoded(&entry)], true)?;
        }
        Ok(())
    }

    pub(super) fn confirm_persisted(&mut self) {
        if let Some(announcer) = &mut self.announcer {
            announcer.handle_persisted();
        }
    }

    /// What recreates the announcer.
    pub(super) fn checkpoint(&self) -> Option<(u8, Vec<u8>)> {
        let not_announced = Entry::PnBlock { reserved_below: self.used_below, floor: 1 };
        let entry = self.announcer.as_ref().map_or(not_announced, Announcer::checkpoint);
        let used = !matches!(entry, Entry::PnBlock { reserved_below: 1, .. });
        used.then(|| (entry.kind(), self.encoded(&entry)))
    }

    fn encoded(&self, entry: &Entry) -> Vec<u8> {
        let mut payload = self.remote_side.as_bytes().to_vec();
        entry.encode(&mut payload);
        payload
    }

    /// When there is something to do.
    pub(super) fn wakes(&self, publishing: bool) -> Option<Timestamp> {
        let announcer = self.announcer.as_ref().filter(|_| !publishing);
        [self.due, announcer.and_then(Announcer::poll_timeout)].into_iter().flatten().min()
    }

    /// A server that says that it is there is not gone, however silent its association is.
    pub(super) fn lists(&self, now: Timestamp, endpoint: &EndpointId) -> bool {
        self.members.is_there(now, endpoint)
    }

    pub(super) fn forget(&mut self, endpoint: &EndpointId) {
        self.members.forget(endpoint);
        self.chosen.remove(endpoint);
    }

    /// What the outbox may sweep of my announcements.
    pub(super) fn floor(&self, incarnation: Incarnation) -> Option<PacketFloor> {
        let floor = self.announcer.as_ref()?.floor();
        Some(PacketFloor { recipient: self.remote_side, incarnation, floor })
    }
}

impl Driver {
    /// Whether a packet is a word to my whole side.
    pub(super) fn is_presence(&self, header: &Header) -> bool {
        self.membership.as_ref().is_some_and(|membership| header.recipient == membership.my_side)
    }

    /// A presence packet whose signature is good and whose sender derives from the far side.
    pub(super) fn hear_presence(&mut self, header: &Header, control: &Control) -> FileVerdict {
        let now = self.host.now();
        let slot = self.slots.get(&header.sender);
        let (Some(membership), Some(presence), Some(name)) =
            (&mut self.membership, &control.presence, &control.endpoint)
        else {
            return FileVerdict::Ignore;
        };
        if slot.is_some_and(|slot| slot.peer.is_over(&header.sender_incarnation)) {
            return FileVerdict::Ignore;
        }
        let proved = slot.and_then(|slot| slot.peer.heard_life());
        let word = Word {
            sender: header.sender,
            name,
            incarnation: header.sender_incarnation,
            pn: header.pn.get(),
            presence,
            proved,
        };
        let known = membership.members.standing(now, &header.sender).is_some();
        let news = membership.members.announced(now, &word);
        membership.due = membership.members.poll_timeout(now);
        match news {
            News::Taken => {
                if !known {
                    tracing::info!(server = %header.sender, kind = name.kind, name = name.name, "a server of the far side");
                }
                self.watch.heard(now);
                self.servers_changed();
                FileVerdict::Use
            }
            News::Old => FileVerdict::Ignore,
            News::NoRoom => {
                if !std::mem::replace(&mut membership.turned_away, true) {
                    tracing::warn!(server = %header.sender, "more servers of the far side announce themselves than are remembered: this one is not");
                }
                FileVerdict::Ignore
            }
        }
    }

    /// A packet of an association was taken.
    pub(super) fn server_heard(&mut self, header: &Header) {
        let now = self.host.now();
        let Some(membership) = &mut self.membership else { return };
        let before = membership.members.standing(now, &header.sender);
        membership.members.heard(now, header.sender, header.sender_incarnation, header.pn.get());
        if membership.members.standing(now, &header.sender) != before {
            membership.due = membership.members.poll_timeout(now);
            self.servers_changed();
        }
    }

    /// The standing of a server may have changed, by a word or by time: calls that wait may go elsewhere.
    fn servers_changed(&mut self) {
        self.begin_waiting();
    }

    /// Follows time.
    pub(super) fn members_timeout(&mut self) {
        let now = self.host.now();
        let Some(membership) = &mut self.membership else { return };
        if membership.due.is_some_and(|due| due <= now) {
            membership.due = membership.members.poll_timeout(now);
            self.servers_changed();
        }
    }

    /// Forgets servers that are silent for as long as any endpoint that is forgotten.
    pub(super) fn forget_servers(&mut self) {
        let now = self.host.now();
        if let Some(membership) = &mut self.membership {
            membership.members.forget_silent(now, self.settings.forget_after);
            membership.turned_away = false;
            let members = &membership.members;
            membership.chosen.retain(|endpoint, _| members.standing(now, endpoint).is_some());
        }
    }

    /// Who gets a new call.
    pub(super) fn choose_server(&self, call: &BeginCall) -> EndpointId {
        let key = call_key(&self.settings.me, key_text(call.route.as_deref(), &call.target));
        let chosen = self.membership.as_ref().and_then(|membership| {
            membership.members.choose(self.host.now(), key, |endpoint| self.is_usable(endpoint))
        });
        chosen.unwrap_or(self.settings.default_peer)
    }

    fn is_usable(&self, endpoint: &EndpointId) -> bool {
        match self.slots.get(endpoint) {
            Some(slot) => slot.alarm.is_none(),
            None => self.slots.len() < ENDPOINTS_PER_SIDE_MAX,
        }
    }

    /// A call went to this server. Another one that it would rather go to is asked for a sign of life.
    pub(super) fn server_chosen(&mut self, call: &BeginCall, server: EndpointId) {
        let now = self.host.now();
        let Some(membership) = &self.membership else { return };
        let key = call_key(&self.settings.me, key_text(call.route.as_deref(), &call.target));
        let wanted = membership.members.wanted(now, key, |endpoint| self.is_usable(endpoint));
        if let Some(wanted) = wanted {
            self.open_slot(wanted);
        }
        let Some(membership) = &mut self.membership else { return };
        if membership.members.standing(now, &server).is_some() {
            *membership.chosen.entry(server).or_default() += 1;
        }
        if let Some(wanted) = wanted {
            membership.members.asked(now, wanted);
            membership.due = membership.members.poll_timeout(now);
        }
    }

    /// The next announcement, if it is due.
    pub(super) fn announcement(&mut self) -> Option<PublishJob> {
        let now = self.host.now();
        let announcer = self.membership.as_mut()?.announcer.as_mut()?;
        if announcer.poll_timeout().is_none_or(|due| due > now) {
            return None;
        }
        let round_trips = self.slots.values().filter_map(|slot| slot.peer.round_trip());
        announcer.set_interval(self.settings.replication.heartbeat, round_trips.max());
        let host = &self.host;
        let announcement = announcer.poll_transmit(now, || {
            let mut ticket = [0; 16];
            host.fill_random(&mut ticket).ok().map(|()| ticket)
        })?;
        let control = Control {
            endpoint: Some(self.settings.my_name.clone()),
            versions: Some(Versions {
                major_min: 1,
                major_max: 1,
                features: wire::control::feature::TOMBSTONES,
                software: self.settings.replication.software.clone(),
            }),
            presence: Some(announcement.presence),
            ..Control::default()
        };
        let plan = PacketPlan {
            sender: self.settings.me,
            recipient: self.membership.as_ref()?.remote_side,
            sender_incarnation: self.life.incarnation,
            recipient_incarnation: Incarnation::UNKNOWN,
            pn: announcement.pn,
            sent_at_ms: self.host.unix_ms_signed(),
            control,
            records: Vec::new(),
        };
        Some(PublishJob { plan, places: BTreeMap::new(), given: BTreeMap::new() })
    }

    /// An announcement of mine lies in the folder, or never will; false if the packet was none.
    pub(super) fn announced(&mut self, recipient: EndpointId, pn: PacketNumber, published: bool) -> bool {
        let now = self.host.now();
        let incarnation = self.life.incarnation;
        let Some(membership) = &mut self.membership else { return false };
        let Some(announcer) = membership.announcer.as_mut().filter(|_| recipient == membership.remote_side) else {
            return false;
        };
        if !published {
            announcer.handle_publish_failed(now, pn);
        } else if let Some(pn) = announcer.handle_published(pn) {
            let _ = self.outlets.outbox.send(OutboxJob::Remove { recipient, incarnation, pn });
        }
        true
    }

    /// No new calls are executed from here on, and none are wanted. `reply` hears when that is said and nothing is
    /// under way.
    pub(super) fn drain(&mut self, reply: oneshot::Sender<()>) {
        let now = self.host.now();
        if let Some(announcer) = self.membership.as_mut().and_then(|membership| membership.announcer.as_mut()) {
            announcer.drain(now);
        }
        (self.is_draining, self.draining) = (true, Some(reply));
    }

    /// Tells whoever waits for it that draining is done.
    pub(super) fn answer_drained(&mut self) {
        let now = self.host.now();
        let announcer = self.membership.as_ref().and_then(|membership| membership.announcer.as_ref());
        let said = announcer.is_none_or(|announcer| announcer.is_drained(now));
        let idle = || self.slots.values().flat_map(|slot| slot.far_calls.values()).all(|call| call.response_ended);
        if self.draining.is_some()
            && said
            && idle()
            && let Some(reply) = self.draining.take()
        {
            let _ = reply.send(());
        }
    }

    /// The servers that are known, for people.
    pub(super) fn server_views(&self) -> Vec<ServerView> {
        let now = self.host.now();
        let Some(membership) = &self.membership else { return Vec::new() };
        let chosen = |endpoint| membership.chosen.get(endpoint).copied().unwrap_or(0);
        membership.members.status(now).iter().map(|server| ServerView::new(server, chosen(&server.endpoint))).collect()
    }
}

/// What calls that go to one server have in common.
fn key_text<'a>(route: Option<&'a str>, target: &'a str) -> &'a str {
    route.unwrap_or_else(|| authority(target))
}

/// Host and port of an absolute target, as it was written.
fn authority(target: &str) -> &str {
    let rest = target.split_once("://").map_or(target, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or(rest)
}

#[cfg(test)]
mod tests;
