//! A share with the manners of old ones, as a FUSE file system in memory: names fold their case, some characters and long names
//! are refused, renames always replace, there are no hard links, times are in steps of two seconds. It can fail or hang.
//!
//! Invariant: the kernel caches nothing of it. It is mounted in a namespace of its own (`shares::with_mounts`), so that nothing
//! is left behind. Read first: `probe.rs`, `an_odd_share_is_seen_through`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

const NO_TIME: Duration = Duration::ZERO;
const ROOT: u64 = 1;
/// The longest name.
pub(crate) const NAME_BYTES_MAX: usize = 100;

/// How the share is right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// Every call fails with EIO.
    Broken,
    /// No call comes back.
    Hangs,
}

#[derive(Clone)]
enum Node {
    /// Folded name to the name shown and the node.
    Folder(BTreeMap<String, (String, u64)>),
    File(Vec<u8>, SystemTime),
}

struct Inside {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    mood: Mood,
}

type Shared = Arc<(Mutex<Inside>, Condvar)>;

/// A mounted share; dropping it unmounts it.
pub(crate) struct OddShare {
    inside: Shared,
    _session: BackgroundSession,
}

impl OddShare {
    pub(crate) fn mount(folder: &Path) -> Self {
        let nodes = BTreeMap::from([(ROOT, Node::Folder(BTreeMap::new()))]);
        let inside: Shared = Arc::new((Mutex::new(Inside { nodes, next: 2, mood: Mood::Well }), Condvar::new()));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("hoft-odd".to_owned())];
        let session = fuser::spawn_mount(Served(Arc::clone(&inside)), folder, &config).unwrap();
        Self { inside, _session: session }
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.inside.0.lock().unwrap().mood = mood;
        self.inside.1.notify_all();
    }
}

impl Drop for OddShare {
    fn drop(&mut self) {
        self.set(Mood::Well);
    }
}

struct Served(Shared);

type Answer<T> = Result<T, Errno>;

impl Served {
    fn with<T>(&self, work: impl FnOnce(&mut Inside) -> Answer<T>) -> Answer<T> {
        let inside = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.1.wait_while(inside, |inside| inside.mood == Mood::Hangs);
        let mut inside = waited.unwrap_or_else(PoisonError::into_inner);
        if inside.mood == Mood::Broken { Err(Errno::EIO) } else { work(&mut inside) }
    }
}

/// The name as it is compared, if it may be used at all.
fn folded(name: &OsStr) -> Answer<String> {
    let name = name.to_str().ok_or(Errno::EINVAL)?;
    if name.len() > NAME_BYTES_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    if name.contains([':', '?', '*', '"', '<', '>', '|', '\\', '\n']) || name.ends_with(['.', ' ']) {
        return Err(Errno::EINVAL);
    }
    Ok(name.to_lowercase())
}

impl Inside {
    fn names(&mut self, folder: INodeNo) -> Answer<&mut BTreeMap<String, (String, u64)>> {
        match self.nodes.get_mut(&folder.0) {
            Some(Node::Folder(names)) => Ok(names),
            Some(Node::File(..)) => Err(Errno::ENOTDIR),
            None => Err(Errno::ENOENT),
        }
    }

    fn find(&mut self, folder: INodeNo, name: &OsStr) -> Answer<u64> {
        let folded = folded(name)?;
        self.names(folder)?.get(&folded).map(|(_, ino)| *ino).ok_or(Errno::ENOENT)
    }

    fn make(&mut self, folder: INodeNo, name: &OsStr, node: Node) -> Answer<FileAttr> {
        let (key, ino) = (folded(name)?, self.next);
        let names = self.names(folder)?;
        if names.contains_key(&key) {
            return Err(Errno::EEXIST);
        }
        names.insert(key, (name.to_string_lossy().into_owned(), ino));
        self.next += 1;
        self.nodes.insert(ino, node);
        self.attributes(ino)
    }

    fn file(&mut self, ino: INodeNo) -> Answer<(&mut Vec<u8>, &mut SystemTime)> {
        match self.nodes.get_mut(&ino.0) {
            Some(Node::File(bytes, time)) => Ok((bytes, time)),
            Some(Node::Folder(_)) => Err(Errno::EISDIR),
            None => Err(Errno::ENOENT),
        }
    }

    fn attributes(&self, ino: u64) -> Answer<FileAttr> {
        let (kind, size, time) = match self.nodes.get(&ino).ok_or(Errno::ENOENT)? {
            Node::Folder(_) => (FileType::Directory, 0, UNIX_EPOCH),
            Node::File(bytes, time) => (FileType::RegularFile, bytes.len() as u64, *time),
        };
        Ok(FileAttr {
            ino: INodeNo(ino),
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm: 0o777,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

/// Even seconds, as on FAT.
fn coarse(time: SystemTime) -> SystemTime {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    UNIX_EPOCH + Duration::from_secs(seconds & !1)
}

macro_rules! answer {
    ($reply:ident, $result:expr, $value:pat => $done:expr) => {
        match $result {
            Ok($value) => $done,
            Err(error) => $reply.error(error),
        }
    };
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.with(|inside| {
            let ino = inside.find(parent, name)?;
            inside.attributes(ino)
        });
        answer!(reply, found, found => reply.entry(&NO_TIME, &found, Generation(0)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let found = self.with(|inside| inside.attributes(ino.0));
        answer!(reply, found, found => reply.attr(&NO_TIME, &found));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let done = self.with(|inside| {
            if let Some(size) = size {
                inside.file(ino)?.0.resize(usize::try_from(size).map_err(|_| Errno::EFBIG)?, 0);
            }
            match mtime {
                Some(TimeOrNow::SpecificTime(time)) => *inside.file(ino)?.1 = coarse(time),
                Some(TimeOrNow::Now) => *inside.file(ino)?.1 = coarse(SystemTime::now()),
                None => {}
            }
            inside.attributes(ino.0)
        });
        answer!(reply, done, found => reply.attr(&NO_TIME, &found));
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _mode: u32, _umask: u32, reply: ReplyEntry) {
        let done = self.with(|inside| inside.make(parent, name, Node::Folder(BTreeMap::new())));
        answer!(reply, done, found => reply.entry(&NO_TIME, &found, Generation(0)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.with(|inside| {
            inside.find(parent, name)?;
            let folded = folded(name)?;
            inside.names(parent)?.remove(&folded);
            Ok(())
        });
        answer!(reply, done, () => reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.with(|inside| {
            let ino = inside.find(parent, name)?;
            if !inside.names(INodeNo(ino))?.is_empty() {
                return Err(Errno::ENOTEMPTY);
            }
            let folded = folded(name)?;
            inside.names(parent)?.remove(&folded);
            Ok(())
        });
        answer!(reply, done, () => reply.ok());
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let done = self.with(|inside| {
            if !flags.is_empty() {
                return Err(Errno::EINVAL);
            }
            let (ino, from, to) = (inside.find(parent, name)?, folded(name)?, folded(newname)?);
            inside.names(parent)?.remove(&from);
            inside.names(newparent)?.insert(to, (newname.to_string_lossy().into_owned(), ino));
            Ok(())
        });
        answer!(reply, done, () => reply.ok());
    }

    fn link(&self, _: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        reply.error(Errno::EPERM);
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        let done = self.with(|inside| inside.make(parent, name, Node::File(Vec::new(), coarse(SystemTime::now()))));
        let direct = FopenFlags::FOPEN_DIRECT_IO;
        answer!(reply, done, found => reply.created(&NO_TIME, &found, Generation(0), FileHandle(0), direct));
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let done = self.with(|inside| inside.file(ino).map(drop));
        answer!(reply, done, () => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO));
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let done = self.with(|inside| {
            let bytes = inside.file(ino)?.0;
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            let to = from.saturating_add(size as usize).min(bytes.len());
            Ok(bytes[from..to].to_vec())
        });
        answer!(reply, done, bytes => reply.data(&bytes));
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let done = self.with(|inside| {
            let (bytes, time) = inside.file(ino)?;
            let from = usize::try_from(offset).map_err(|_| Errno::EFBIG)?;
            let to = from + data.len();
            bytes.resize(bytes.len().max(to), 0);
            bytes[from..to].copy_from_slice(data);
            *time = coarse(SystemTime::now());
            Ok(())
        });
        answer!(reply, done, () => reply.written(u32::try_from(data.len()).unwrap_or(0)));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listing = self.with(|inside| Ok(inside.names(ino)?.values().cloned().collect::<Vec<_>>()));
        let listing = match listing {
            Ok(listing) => listing,
            Err(error) => return reply.error(error),
        };
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        for (at, (name, child)) in listing.iter().enumerate().skip(from) {
            let kind = self.with(|inside| inside.attributes(*child)).map_or(FileType::RegularFile, |found| found.kind);
            if reply.add(INodeNo(*child), at as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let done = self.with(|_| Ok(()));
        answer!(reply, done, () => reply.statfs(1 << 20, 1 << 20, 1 << 20, 0, 0, 4096, NAME_BYTES_MAX as u32, 4096));
    }
}
