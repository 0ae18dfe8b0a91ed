//! An auditor at the disk of one endpoint: it believes only what was synced, and reads it as the specification of the log says.
//!
//! Invariants: an entry counts from the moment at which a sync of its segment returned; nothing that an engine says of itself is
//! used. It uses the product's codec of entries, but none of its recovery. Test to read first:
//! `what_was_synced_is_known_and_nothing_else`.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use disk::log::{KIND_USER_MIN, MemStorage, Storage, StoredFile};
use layer1_replication::Entry;
use layer2_http::far::FarEntry;
use layer2_http::operation::OperationId;
use sidecar_app::entry::{ENGINE_FIRST, EngineEntry, LAYER2_FIRST, split_peer};
use wire::{Digest, EndpointId, Incarnation, RangeSet};

use crate::time::lock;

/// First octet of the first entry of a segment.
const ENTRIES_AT: u64 = 64;
/// Octets of an entry before its payload.
const ENTRY_HEAD: u64 = 20;
/// The log's own entries around a checkpoint.
const CHECKPOINT_BEGIN: u8 = 1;
const CHECKPOINT_END: u8 = 2;
/// First kind of the far side's entries of layer 2.
const FAR_FIRST: u8 = 96;

/// What is durable about one remote endpoint.
#[derive(Clone, Debug, Default)]
pub struct PairView {
    /// My life and the peer's, of the newest association.
    pub association: Option<(Incarnation, Incarnation)>,
    /// Every life of the peer that was ever confirmed, in order, with mine.
    pub confirmed: Vec<(Incarnation, Incarnation)>,
    /// Records of the peer that are durable here, of the newest association.
    pub received: RangeSet,
    /// My records up to here are released.
    pub una: u64,
    /// Records of mine that were appended, of the newest association or before any.
    pub appended: u64,
    /// What they are, and what those of the peer are: the digests that the chains are made of.
    pub digests: Digests,
}

/// Digests of the records of a pair, by number.
#[derive(Clone, Debug, Default)]
pub struct Digests {
    /// Of my records.
    pub sent: BTreeMap<u64, Digest>,
    /// Of the peer's that are durable here.
    pub received: BTreeMap<u64, Digest>,
}

impl PairView {
    /// Records up to here are durable without a gap.
    #[must_use]
    pub fn whole_to(&self) -> u64 {
        self.received.iter().next().filter(|(first, _)| *first <= 1).map_or(0, |(_, last)| last)
    }
}

/// What is durable.
#[derive(Clone, Debug, Default)]
pub struct DiskView {
    /// By remote endpoint.
    pub pairs: BTreeMap<EndpointId, PairView>,
    /// Which life it is; a new one ends the associations of the one before.
    pub life: Option<Incarnation>,
    /// Dispatch marks, in order.
    pub dispatched: BTreeMap<OperationId, Vec<u32>>,
    /// Records of others that became durable, ever.
    pub records: u64,
    /// A record of a peer that was taken although it was there: whose, and its number.
    pub taken_twice: Option<(EndpointId, u64)>,
    /// What is read is a checkpoint, which repeats what stands before it.
    in_checkpoint: bool,
    read_to: BTreeMap<String, u64>,
}

/// A disk with its auditor. Clones share both.
#[derive(Clone, Default)]
pub struct Disk {
    /// The disk.
    pub storage: MemStorage,
    view: Arc<Mutex<DiskView>>,
}

impl Disk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is durable on it.
    pub fn view(&self) -> MutexGuard<'_, DiskView> {
        lock(&self.view)
    }

    /// A disk of its own with what a power cut would leave of this one.
    #[must_use]
    pub fn image(&self, seed: u64) -> Self {
        let mut view = self.view().clone();
        view.records = 0;
        Self { storage: self.storage.image(seed), view: Arc::new(Mutex::new(view)) }
    }

    fn file(&self, name: &str, inner: Arc<dyn StoredFile>) -> Arc<dyn StoredFile> {
        Arc::new(AuditedFile { inner, name: name.to_owned(), view: Arc::clone(&self.view) })
    }
}

impl Storage for Disk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.storage.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        let file = self.storage.create(name)?;
        // A segment whose preparation was cut off begins anew under its number.
        self.view().read_to.remove(name.split('.').next().unwrap_or_default());
        Ok(self.file(name, file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        Ok(self.file(name, self.storage.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.storage.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.storage.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.storage.sync_dir()
    }

    fn describe(&self, name: &str) -> String {
        self.storage.describe(name)
    }
}

struct AuditedFile {
    inner: Arc<dyn StoredFile>,
    name: String,
    view: Arc<Mutex<DiskView>>,
}

impl StoredFile for AuditedFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.inner.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_at(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn set_aside(&self, len: u64) -> io::Result<()> {
        self.inner.set_aside(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.sync()?;
        // A segment is prepared under another ending and renamed once it is durable.
        let stem = self.name.split('.').next().unwrap_or_default();
        lock(&self.view).read_on(stem, self.inner.as_ref())
    }
}

impl DiskView {
    fn read_on(&mut self, stem: &str, file: &dyn StoredFile) -> io::Result<()> {
        let len = file.len()?;
        let mut at = self.read_to.get(stem).copied().unwrap_or(ENTRIES_AT);
        let mut rest = vec![0; usize::try_from(len.saturating_sub(at)).unwrap_or(0)];
        file.read_at(at, &mut rest)?;
        let mut rest = rest.as_slice();
        while let Some((head, payload_on)) = rest.split_first_chunk::<{ ENTRY_HEAD as usize }>() {
            let payload_len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let kind = head[4];
            let (Some(payload), true) = (payload_on.get(..payload_len), kind != 0) else { break };
            let extent = (ENTRY_HEAD + payload_len as u64).next_multiple_of(8);
            let Some(next) = rest.get(usize::try_from(extent).unwrap_or(usize::MAX)..) else { break };
            self.take(kind, payload);
            at += extent;
            rest = next;
        }
        self.read_to.insert(stem.to_owned(), at);
        Ok(())
    }

    fn take(&mut self, kind: u8, payload: &[u8]) {
        match kind {
            CHECKPOINT_BEGIN => self.in_checkpoint = true,
            CHECKPOINT_END => self.in_checkpoint = false,
            KIND_USER_MIN..LAYER2_FIRST => {
                let Some((peer, rest)) = split_peer(payload) else { return };
                if let Ok((entry, _)) = Entry::decode_prefix(kind, rest) {
                    self.take_layer1(peer, entry);
                }
            }
            FAR_FIRST..ENGINE_FIRST => {
                if let Ok(FarEntry::Dispatched(dispatched)) = FarEntry::decode(kind, payload) {
                    let attempts = self.dispatched.entry(dispatched.operation).or_default();
                    // A checkpoint repeats the newest one.
                    if attempts.last() != Some(&dispatched.attempt) {
                        attempts.push(dispatched.attempt);
                    }
                }
            }
            ENGINE_FIRST.. => {
                if let Some(EngineEntry::Life(life)) = EngineEntry::decode(kind, payload) {
                    self.life = Some(life.incarnation);
                }
            }
            _ => {}
        }
    }

    fn take_layer1(&mut self, peer: EndpointId, entry: Entry) {
        let pair = self.pairs.entry(peer).or_default();
        match entry {
            Entry::Associated { my_incarnation, peer_incarnation, .. } => {
                let association = (my_incarnation, peer_incarnation);
                // What was appended before the first association stays in the log.
                let before = if pair.association.is_none() { pair.appended } else { 0 };
                pair.confirmed.push(association);
                pair.association = Some(association);
                (pair.received, pair.una, pair.appended) = (RangeSet::new(), 0, before);
                pair.digests.received.clear();
                if before == 0 {
                    pair.digests.sent.clear();
                }
            }
            Entry::Received(meta) => {
                let seq = meta.head.seq.get();
                let is_new = pair.received.insert(seq);
                self.records += u64::from(is_new);
                if !is_new && !self.in_checkpoint {
                    self.taken_twice.get_or_insert((peer, seq));
                }
                pair.digests.received.insert(meta.head.seq.get(), meta.link_digest);
            }
            Entry::Acked { una, .. } => pair.una = pair.una.max(una),
            Entry::Sent { head, payload_digest, .. } => {
                pair.appended = pair.appended.max(head.seq.get());
                pair.digests.sent.insert(head.seq.get(), payload_digest);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use disk::log::{Log, LogOptions};
    use layer1_replication::PeerJoin;

    use super::*;

    #[test]
    fn what_was_synced_is_known_and_nothing_else() {
        let disk = Disk::new();
        let (mut log, _) = Log::open_on(Arc::new(disk.clone()), [1; 16], LogOptions::default()).unwrap();
        let peer = EndpointId::from_bytes([2; 16]);
        let mut body = peer.as_bytes().to_vec();
        Entry::Acked { una: 7, chain: [0; 32] }.encode(&mut body);
        log.append(Entry::Acked { una: 7, chain: [0; 32] }.kind(), &[&body]).unwrap();
        assert!(disk.view().pairs.is_empty());
        log.commit().unwrap();
        assert_eq!(disk.view().pairs[&peer].una, 7);
        let mut body = peer.as_bytes().to_vec();
        Entry::PeerJoin(PeerJoin::default()).encode(&mut body);
        let checkpoint = vec![(Entry::PeerJoin(PeerJoin::default()).kind(), body)];
        log.roll(checkpoint.into_iter()).unwrap();
        let mut body = peer.as_bytes().to_vec();
        Entry::Acked { una: 9, chain: [0; 32] }.encode(&mut body);
        log.append(Entry::Acked { una: 9, chain: [0; 32] }.kind(), &[&body]).unwrap();
        log.commit().unwrap();
        assert_eq!(disk.view().pairs[&peer].una, 9);
    }
}
