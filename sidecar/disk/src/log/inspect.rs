//! Looking at a log without touching it: every segment from its header to its end, and everything wrong with it.
//!
//! Where an engine stops at the first damage, this names all of it: after a bad entry it goes on at the next one that
//! verifies, which an entry does only where it was written.
//!
//! Invariants: it opens files for reading only, makes and removes nothing, and holds no lock beyond the instant of asking
//! whether an engine runs (an engine that starts in that instant asks again). It does not know what entries mean.
//! Test to read first: `log/tests/inspect.rs`.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::error::LogError;
use super::format::{
    self, ENTRY_HEADER_LEN, EntryHeader, HEADER_LEN, HeaderFault, KIND_CHECKPOINT_BEGIN, KIND_CHECKPOINT_END,
    KIND_USER_MIN, MAJOR, SegmentHeader,
};
use super::lock;
use super::position::Position;
use super::reader::LogReader;
use super::recovery::{Entry, uuid_text};
use super::scan::Walk;
use super::storage::{ReadOnlyFolder, Storage};
use super::table::{Slot, Table};

/// What kind of damage it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flaw {
    /// The file system refuses to give it.
    Unreadable,
    /// The file does not begin like a segment.
    NotASegment,
    /// The header does not verify.
    Header,
    /// A later program wrote it.
    LaterVersion,
    /// The number in the header is not the one of the name: files were swapped or renamed.
    Renamed,
    /// It belongs to another endpoint than the newest segment.
    Foreign,
    /// The file ends inside an entry or inside its checkpoint.
    CutShort,
    /// The checkpoint's end does not say what is in it, or a checkpoint's entry stands where none may.
    Checkpoint,
    /// An entry does not verify.
    Entry,
}

impl Flaw {
    /// A word for it, for machines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::NotASegment => "not_a_segment",
            Self::Header => "header",
            Self::LaterVersion => "later_version",
            Self::Renamed => "renamed",
            Self::Foreign => "foreign",
            Self::CutShort => "cut_short",
            Self::Checkpoint => "checkpoint",
            Self::Entry => "entry",
        }
    }
}

/// One damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// What kind of damage.
    pub flaw: Flaw,
    /// The damage in words.
    pub what: String,
}

/// One segment file of a log that is looked at.
#[derive(Clone, Debug)]
pub struct SegmentFile {
    /// The number that its name says.
    pub number: u64,
    /// The file as a person would look for it.
    pub file: String,
    /// Its length when the folder was listed.
    pub bytes: u64,
    /// The endpoint it belongs to; `None` if the header is not one.
    pub owner: Option<[u8; 16]>,
    /// When it was made, in milliseconds since 1970 UTC; 0 if the header is not one.
    pub created_ms: u64,
}

/// What a walk through a segment found.
#[derive(Clone, Debug, Default)]
pub struct SegmentWalk {
    /// Where its checkpoint ends; 0 if it has no whole one.
    pub checkpoint_end: u32,
    /// Entries of the checkpoint.
    pub checkpoint_entries: u64,
    /// Entries after the checkpoint.
    pub entries: u64,
    /// Bytes after the last whole entry of the newest segment: writes that nobody was promised.
    pub torn_bytes: u64,
    /// Where those begin.
    pub torn_at: u64,
    /// The running engine removed it before it was read: nothing refers to it any more.
    pub removed: bool,
    /// Everything wrong with it.
    pub findings: Vec<Finding>,
}

/// A log that is only looked at.
pub struct LogFiles {
    segments: Vec<SegmentFile>,
    heads: BTreeMap<u64, Vec<Finding>>,
    table: Arc<Table>,
    holder: Option<String>,
    leftovers: usize,
}

impl LogFiles {
    /// Lists the log in this folder and reads the head of every segment.
    ///
    /// # Errors
    /// [`LogError::Io`] if the folder or its list cannot be read. What is wrong with a file is no error but a finding.
    pub fn open(dir: &Path) -> Result<Self, LogError> {
        let storage: Arc<dyn Storage> = Arc::new(ReadOnlyFolder::open(dir)?);
        Self::open_on(&storage, lock::holder_of(dir)?)
    }

    /// As [`LogFiles::open`], on any storage.
    ///
    /// # Errors
    /// As [`LogFiles::open`].
    pub fn open_on(storage: &Arc<dyn Storage>, holder: Option<String>) -> Result<Self, LogError> {
        let names = storage.list().map_err(|e| LogError::io(storage.describe(""), "list this folder", e))?;
        let leftovers = names.iter().filter(|name| format::is_prepared_name(name)).count();
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| format::segment_number(name)).collect();
        numbers.sort_unstable();
        let (mut segments, mut heads) = (Vec::new(), BTreeMap::new());
        let mut slots = BTreeMap::new();
        for number in numbers {
            let (segment, salt, finding) = look(storage.as_ref(), number);
            // A running engine removed it after the list was made.
            let Some(segment) = segment else { continue };
            heads.extend(finding.map(|finding| (number, vec![finding])));
            slots.extend(salt.map(|salt| (number, Slot::new(salt, segment.bytes))));
            segments.push(segment);
        }
        let table = Arc::new(Table::new(storage.clone(), slots));
        let mut files = Self { segments, heads, table, holder, leftovers };
        files.find_foreign();
        Ok(files)
    }

    fn find_foreign(&mut self) {
        let Some(owner) = self.owner() else { return };
        for segment in &self.segments {
            let Some(found) = segment.owner.filter(|found| *found != owner) else { continue };
            let [found, newest] = [found, owner].map(uuid_text);
            let what = format!("the segment is of endpoint {found}, the newest one of {newest}");
            let finding = Finding { file: segment.file.clone(), offset: 16, flaw: Flaw::Foreign, what };
            self.heads.entry(segment.number).or_default().push(finding);
        }
    }

    /// The endpoint of the newest segment that has a header.
    pub fn owner(&self) -> Option<[u8; 16]> {
        self.segments.iter().rev().find_map(|segment| segment.owner)
    }

    /// Who has the log open, if somebody has: "process PID on HOST", as far as known.
    pub fn holder(&self) -> Option<&str> {
        self.holder.as_deref()
    }

    /// Segments that were being prepared: without meaning, removed by the next start.
    pub fn leftovers(&self) -> usize {
        self.leftovers
    }

    /// The segment files, by number.
    pub fn segments(&self) -> &[SegmentFile] {
        &self.segments
    }

    /// The number of the newest segment, which alone tells the state.
    pub fn newest(&self) -> Option<u64> {
        self.segments.last().map(|segment| segment.number)
    }

    /// A reader of everything the log holds.
    pub fn reader(&self) -> LogReader {
        LogReader::new(self.table.clone())
    }

    /// The file of a segment number, for messages about positions.
    pub fn describe(&self, number: u64) -> String {
        self.table.describe(number)
    }

    /// Walks through a segment: hands over its entries in order and says what is wrong with it. In the newest segment of
    /// a running engine bytes may be half written: damage found there is looked at again before it is believed.
    pub fn walk(&self, number: u64, entry: &mut dyn FnMut(Entry)) -> SegmentWalk {
        let mut found = SegmentWalk::default();
        found.findings.extend(self.heads.get(&number).into_iter().flatten().cloned());
        let Some(segment) = self.segments.iter().find(|segment| segment.number == number) else { return found };
        if !self.table.holds(number) {
            return found;
        }
        let (file, salt) = match self.table.file(Position { segment: number, offset: 0 }) {
            Ok(opened) => (opened.file, opened.salt),
            Err(LogError::Gone { .. }) if self.holder.is_some() => {
                found.removed = true;
                return found;
            }
            Err(error) => {
                let (file, what) = (segment.file.clone(), error.to_string());
                found.findings.push(Finding { file, offset: 0, flaw: Flaw::Unreadable, what });
                return found;
            }
        };
        let newest = self.newest() == Some(number);
        let walk = || Walk::new(file.clone(), segment.file.clone(), salt, segment.bytes);
        // Twice only: what is whole on disk reads the same the second time.
        if newest && self.holder.is_some() {
            let mut first = Forward::new(walk(), segment, newest, SegmentWalk::default());
            if first.run(&mut |_| {}).is_ok() && first.found.findings.is_empty() {
                let end = u64::from(first.offset);
                let walk = Walk::new(file.clone(), segment.file.clone(), salt, end);
                let known = SegmentFile { bytes: end, ..segment.clone() };
                let mut again = Forward::new(walk, &known, newest, found);
                again.finish(entry);
                return SegmentWalk { torn_bytes: segment.bytes.saturating_sub(end), torn_at: end, ..again.found };
            }
        }
        let mut forward = Forward::new(walk(), segment, newest, found);
        forward.finish(entry);
        forward.found
    }
}

type Looked = (Option<SegmentFile>, Option<u64>, Option<Finding>);

fn look(storage: &dyn Storage, number: u64) -> Looked {
    let name = format::segment_name(number);
    let file = storage.describe(&name);
    let mut segment = SegmentFile { number, file: file.clone(), bytes: 0, owner: None, created_ms: 0 };
    let finding = |offset, flaw, what: String| Some(Finding { file: file.clone(), offset, flaw, what });
    let read = || -> io::Result<_> {
        let file = storage.open(&name)?;
        let mut head = [0; HEADER_LEN as usize];
        let got = file.read_at(0, &mut head)?;
        let len = file.len()?;
        Ok((len, head, got))
    };
    let (len, head, got) = match read() {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return (None, None, None),
        Err(error) => return (Some(segment), None, finding(0, Flaw::Unreadable, format!("cannot be read: {error}"))),
    };
    segment.bytes = len;
    if got < head.len() {
        return (Some(segment), None, finding(0, Flaw::CutShort, "the file is shorter than its header".to_owned()));
    }
    let header = match SegmentHeader::decode(&head) {
        Ok(header) => header,
        Err(fault) => {
            let (flaw, what) = match fault {
                HeaderFault::NotASegment => (Flaw::NotASegment, "this is not a log segment".to_owned()),
                HeaderFault::Later(major) => {
                    let what = format!("written by a later hoft: log major {major}; this program reads {MAJOR}");
                    (Flaw::LaterVersion, what)
                }
                HeaderFault::Checksum | HeaderFault::Earlier => (Flaw::Header, "the header does not verify".to_owned()),
            };
            return (Some(segment), None, finding(0, flaw, what));
        }
    };
    (segment.owner, segment.created_ms) = (Some(header.owner), header.created_ms);
    let renamed = (header.number != number).then(|| {
        let what = format!("the file was renamed or swapped: its header says segment {:016x}", header.number);
        finding(32, Flaw::Renamed, what)
    });
    (Some(segment), Some(header.salt), renamed.flatten())
}

/// A walk that goes on behind damage.
struct Forward<'a> {
    walk: Walk,
    segment: &'a SegmentFile,
    newest: bool,
    offset: u32,
    in_checkpoint: bool,
    /// Something of the checkpoint did not verify: its end cannot be checked.
    holes: bool,
    heads_crc: u32,
    found: SegmentWalk,
}

impl<'a> Forward<'a> {
    fn new(walk: Walk, segment: &'a SegmentFile, newest: bool, found: SegmentWalk) -> Self {
        Self { walk, segment, newest, offset: HEADER_LEN, in_checkpoint: true, holes: false, heads_crc: 0, found }
    }

    fn finish(&mut self, entry: &mut dyn FnMut(Entry)) {
        if let Err(error) = self.run(entry) {
            self.flaw(Flaw::Unreadable, error.to_string());
        }
    }

    fn run(&mut self, entry: &mut dyn FnMut(Entry)) -> Result<(), LogError> {
        while u64::from(self.offset) < self.segment.bytes {
            match self.walk.whole_entry(self.offset)? {
                Some(header) => self.take(&header, entry)?,
                None if self.is_torn_tail()? => {
                    self.found.torn_at = u64::from(self.offset);
                    self.found.torn_bytes = self.segment.bytes - self.found.torn_at;
                    break;
                }
                None => self.skip()?,
            }
        }
        if self.in_checkpoint && !self.holes {
            self.flaw(Flaw::CutShort, "the file ends inside its checkpoint".to_owned());
        }
        Ok(())
    }

    // The format's rule: only in the newest segment, beyond the checkpoint, and with nothing behind that was written
    // when this was durable.
    fn is_torn_tail(&mut self) -> Result<bool, LogError> {
        Ok(self.newest && !self.in_checkpoint && !self.walk.is_vouched_for(self.offset)?)
    }

    fn take(&mut self, header: &EntryHeader, entry: &mut dyn FnMut(Entry)) -> Result<(), LogError> {
        let first = self.offset == HEADER_LEN;
        // The end of the checkpoint was lost: only entries behind it say that anything was durable before them.
        self.in_checkpoint &= !(self.holes && header.durable > 0);
        let right = match header.kind {
            KIND_CHECKPOINT_BEGIN => first,
            KIND_CHECKPOINT_END => self.in_checkpoint && !first,
            kind => kind >= KIND_USER_MIN && !first,
        };
        if !right {
            self.flaw(Flaw::Checkpoint, format!("an entry of kind {} where none may be", header.kind));
        }
        if header.kind == KIND_CHECKPOINT_END && self.in_checkpoint {
            self.end_checkpoint()?;
        } else if header.kind >= KIND_USER_MIN {
            let (_, payload) = self.walk.entry(self.offset)?;
            let position = Position { segment: self.segment.number, offset: self.offset };
            let count = if self.in_checkpoint { &mut self.found.checkpoint_entries } else { &mut self.found.entries };
            *count += 1;
            let in_checkpoint = self.in_checkpoint;
            entry(Entry { position, kind: header.kind, payload: payload.into(), in_checkpoint });
        }
        if self.in_checkpoint {
            let head = header.encode(self.walk.salt(), self.offset);
            self.heads_crc = crc32c::crc32c_append(self.heads_crc, &head);
        }
        self.offset = self.offset.saturating_add(header.extent());
        if header.kind == KIND_CHECKPOINT_END && self.in_checkpoint {
            self.in_checkpoint = false;
            self.found.checkpoint_end = self.offset;
        }
        Ok(())
    }

    fn end_checkpoint(&mut self) -> Result<(), LogError> {
        let (_, payload) = self.walk.entry(self.offset)?;
        let wanted = format::checkpoint_end(self.found.checkpoint_entries, self.heads_crc);
        if !self.holes && payload != wanted {
            self.flaw(Flaw::Checkpoint, "the checkpoint's end does not fit what is in it".to_owned());
        }
        Ok(())
    }

    /// Notes the damage here and goes on at the next entry that verifies.
    fn skip(&mut self) -> Result<(), LogError> {
        self.holes = true;
        let next = self.walk.next_whole(self.offset)?;
        let end = next.map_or(self.segment.bytes, u64::from);
        let lost = end - u64::from(self.offset);
        let beyond = match self.walk.header(self.offset)? {
            Some(header) => u64::from(self.offset) + u64::from(header.extent()) > self.segment.bytes,
            None => self.segment.bytes - u64::from(self.offset) < u64::from(ENTRY_HEADER_LEN),
        };
        let place = if self.in_checkpoint { "of the checkpoint " } else { "" };
        if beyond && next.is_none() {
            self.flaw(Flaw::CutShort, format!("the file ends inside an entry {place}({lost} bytes of it are left)"));
        } else {
            self.flaw(Flaw::Entry, format!("an entry {place}does not verify ({lost} bytes are lost here)"));
        }
        // Offsets have 32 bits: what lies beyond is no entry.
        self.offset = next.unwrap_or_else(|| u32::try_from(self.segment.bytes).unwrap_or(u32::MAX));
        Ok(())
    }

    fn flaw(&mut self, flaw: Flaw, what: String) {
        let (file, offset) = (self.segment.file.clone(), u64::from(self.offset));
        self.found.findings.push(Finding { file, offset, flaw, what });
    }
}
