//! The kernel's calls, answered from the store; before and after each that changes or syncs something, the watch is asked.
//!
//! Invariant: a call of which the watch says that its caller dies before it has no effect. Read first: [`Served::acting`].

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::Disk;
use super::store::{Node, ROOT};
use super::watch::{self, Act, Phase};

/// Nothing is cached.
const NO_TIME: Duration = Duration::ZERO;
const BLOCK: u32 = 4096;
/// Blocks that the disk claims to have, all of them free.
const BLOCKS: u64 = 1 << 20;

/// The serving side of a disk.
pub(super) struct Served(pub(super) Arc<Mutex<Disk>>);

type Answer<T> = Result<T, Errno>;

impl Served {
    /// The disk, if there is power.
    fn disk(&self) -> Answer<MutexGuard<'_, Disk>> {
        let disk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if disk.power { Ok(disk) } else { Err(Errno::EIO) }
    }

    /// Does something that changes or syncs, unless its caller dies before.
    fn acting<T>(
        &self,
        request: &Request,
        role: impl FnOnce(&Disk) -> Answer<Act>,
        effect: impl FnOnce(&mut Disk) -> Answer<T>,
    ) -> Answer<T> {
        let mut disk = self.disk()?;
        let act = role(&disk)?;
        let watched = disk.watch.is_victim(request.pid());
        if watched && disk.watch.dies_at(act, Phase::Before) {
            disk.power = !disk.watch.cuts_power();
            return Err(Errno::EIO);
        }
        let done = effect(&mut disk)?;
        if watched {
            disk.watch.dies_at(act, Phase::After);
        }
        Ok(done)
    }
}

fn attributes(ino: u64, node: &Node) -> FileAttr {
    let then = node.modified;
    FileAttr {
        ino: INodeNo(ino),
        size: node.len(),
        blocks: node.len().div_ceil(512),
        atime: then,
        mtime: then,
        ctime: then,
        crtime: then,
        kind: kind(node.is_folder()),
        perm: u16::try_from(node.mode & 0o7777).unwrap_or(0o600),
        nlink: if node.is_folder() { 2 } else { 1 },
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

fn kind(is_folder: bool) -> FileType {
    if is_folder { FileType::Directory } else { FileType::RegularFile }
}

/// What a call on an inode is about.
fn of_node(disk: &Disk, ino: INodeNo, call: &'static str) -> Answer<Act> {
    let node = disk.store.node(ino.0).ok_or(Errno::ENOENT)?;
    Ok(Act { role: node.role, call })
}

/// What a call on a name that does not exist yet is about.
fn of_new(disk: &Disk, folder: INodeNo, name: &OsStr, is_folder: bool, call: &'static str) -> Answer<Act> {
    let parent = disk.store.node(folder.0).ok_or(Errno::ENOENT)?;
    Ok(Act { role: watch::role(parent.role, name, is_folder), call })
}

fn existing(disk: &Disk, folder: INodeNo, name: &OsStr) -> Answer<u64> {
    disk.store.lookup(folder.0, name).ok_or(Errno::ENOENT)
}

fn make(disk: &mut Disk, folder: INodeNo, name: &OsStr, mode: u32, is_folder: bool) -> Answer<(u64, FileAttr)> {
    if disk.store.lookup(folder.0, name).is_some() {
        return Err(Errno::EEXIST);
    }
    let parent = disk.store.node(folder.0).ok_or(Errno::ENOENT)?.role;
    let ino = disk.store.make(folder.0, name, mode, is_folder, watch::role(parent, name, is_folder));
    disk.store.node(ino).map(|node| (ino, attributes(ino, node))).ok_or(Errno::EIO)
}

/// A file that changes its name may change what it is for.
fn follow_name(disk: &mut Disk, ino: u64, folder: INodeNo, name: &OsStr) {
    let Some(parent) = disk.store.node(folder.0).map(|node| node.role) else { return };
    if let Some(node) = disk.store.node_mut(ino) {
        node.role = watch::role(parent, name, node.is_folder());
    }
}

fn opened(disk: &mut Disk, ino: u64) -> Answer<()> {
    disk.store.node_mut(ino).ok_or(Errno::ENOENT)?.opened += 1;
    Ok(())
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
        let found = self.disk().and_then(|disk| {
            let ino = existing(&disk, parent, name)?;
            disk.store.node(ino).map(|node| attributes(ino, node)).ok_or(Errno::ENOENT)
        });
        answer!(reply, found, found => reply.entry(&NO_TIME, &found, Generation(0)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let found = self
            .disk()
            .and_then(|disk| disk.store.node(ino.0).map(|node| attributes(ino.0, node)).ok_or(Errno::ENOENT));
        answer!(reply, found, found => reply.attr(&NO_TIME, &found));
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let effect = |disk: &mut Disk| {
            if let (Some(mode), Some(node)) = (mode, disk.store.node_mut(ino.0)) {
                node.mode = mode;
            }
            if let Some(size) = size {
                disk.store.set_len(ino.0, size);
            }
            disk.store.node(ino.0).map(|node| attributes(ino.0, node)).ok_or(Errno::ENOENT)
        };
        let done = match size {
            Some(_) => self.acting(request, |disk| of_node(disk, ino, "truncate"), effect),
            None => self.disk().and_then(|mut disk| effect(&mut disk)),
        };
        answer!(reply, done, found => reply.attr(&NO_TIME, &found));
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, _umask: u32, reply: ReplyEntry) {
        let done = self.acting(
            request,
            |disk| of_new(disk, parent, name, true, "mkdir"),
            |disk| make(disk, parent, name, mode, true),
        );
        answer!(reply, done, (_, found) => reply.entry(&NO_TIME, &found, Generation(0)));
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.acting(
            request,
            |disk| of_node(disk, INodeNo(existing(disk, parent, name)?), "unlink"),
            |disk| {
                disk.store.rename_as(vec![(parent.0, name.to_owned(), None)]);
                Ok(())
            },
        );
        answer!(reply, done, () => reply.ok());
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.acting(
            request,
            |disk| of_node(disk, INodeNo(existing(disk, parent, name)?), "rmdir"),
            |disk| {
                let ino = existing(disk, parent, name)?;
                let names = disk.store.node(ino).and_then(Node::names).ok_or(Errno::ENOTDIR)?;
                if !names.is_empty() {
                    return Err(Errno::ENOTEMPTY);
                }
                disk.store.rename_as(vec![(parent.0, name.to_owned(), None)]);
                Ok(())
            },
        );
        answer!(reply, done, () => reply.ok());
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let done = self.acting(
            request,
            |disk| of_node(disk, INodeNo(existing(disk, parent, name)?), "rename"),
            |disk| {
                let exclusive = flags.contains(RenameFlags::RENAME_NOREPLACE);
                if !(flags - RenameFlags::RENAME_NOREPLACE).is_empty() || (exclusive && disk.plain_renames_only) {
                    return Err(Errno::EINVAL);
                }
                let ino = existing(disk, parent, name)?;
                if exclusive && disk.store.lookup(newparent.0, newname).is_some() {
                    return Err(Errno::EEXIST);
                }
                disk.store
                    .rename_as(vec![(parent.0, name.to_owned(), None), (newparent.0, newname.to_owned(), Some(ino))]);
                follow_name(disk, ino, newparent, newname);
                Ok(())
            },
        );
        answer!(reply, done, () => reply.ok());
    }

    fn link(&self, request: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        let done = self.acting(
            request,
            |disk| of_node(disk, ino, "link"),
            |disk| {
                if disk.store.lookup(newparent.0, newname).is_some() {
                    return Err(Errno::EEXIST);
                }
                disk.store.rename_as(vec![(newparent.0, newname.to_owned(), Some(ino.0))]);
                disk.store.node(ino.0).map(|node| attributes(ino.0, node)).ok_or(Errno::ENOENT)
            },
        );
        answer!(reply, done, found => reply.entry(&NO_TIME, &found, Generation(0)));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let done = self.acting(
            request,
            |disk| of_new(disk, parent, name, false, "create"),
            |disk| {
                let (ino, found) = make(disk, parent, name, mode, false)?;
                opened(disk, ino)?;
                Ok(found)
            },
        );
        let direct = FopenFlags::FOPEN_DIRECT_IO;
        answer!(reply, done, found => reply.created(&NO_TIME, &found, Generation(0), FileHandle(0), direct));
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let done = self.disk().and_then(|mut disk| opened(&mut disk, ino.0));
        answer!(reply, done, () => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO));
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        if let Ok(mut disk) = self.disk()
            && let Some(node) = disk.store.node_mut(ino.0)
        {
            node.opened = node.opened.saturating_sub(1);
        }
        reply.ok();
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
        match self.disk() {
            Err(error) => reply.error(error),
            Ok(disk) => match disk.store.read(ino.0, offset, usize::try_from(size).unwrap_or(0)) {
                Some(bytes) => reply.data(bytes),
                None => reply.error(Errno::ENOENT),
            },
        }
    }

    fn write(
        &self,
        request: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let done = self.acting(
            request,
            |disk| of_node(disk, ino, "write"),
            |disk| if disk.store.write(ino.0, offset, data) { Ok(()) } else { Err(Errno::EISDIR) },
        );
        answer!(reply, done, () => reply.written(u32::try_from(data.len()).unwrap_or(0)));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, request: &Request, ino: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let done = self.acting(
            request,
            |disk| of_node(disk, ino, "fsync"),
            |disk| {
                if !disk.lies {
                    disk.store.sync_file(ino.0);
                }
                Ok(())
            },
        );
        answer!(reply, done, () => reply.ok());
    }

    fn fsyncdir(&self, request: &Request, ino: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let done = self.acting(
            request,
            |disk| of_node(disk, ino, "fsync"),
            |disk| {
                if !disk.lies {
                    disk.store.sync_folder(ino.0);
                }
                Ok(())
            },
        );
        answer!(reply, done, () => reply.ok());
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let done = self.disk().and_then(|mut disk| {
            let names = disk.store.node(ino.0).and_then(Node::names).ok_or(Errno::ENOTDIR)?;
            let of = |(name, child): (&std::ffi::OsString, &u64)| {
                let is_folder = disk.store.node(*child).is_some_and(Node::is_folder);
                (*child, is_folder, name.clone())
            };
            let mut listing = vec![(ino.0, true, ".".into()), (ROOT, true, "..".into())];
            listing.extend(names.iter().map(of));
            let handle = disk.next_handle;
            disk.next_handle += 1;
            disk.listings.insert(handle, listing);
            Ok(handle)
        });
        answer!(reply, done, handle => reply.opened(FileHandle(handle), FopenFlags::empty()));
    }

    fn readdir(&self, _: &Request, ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let disk = match self.disk() {
            Ok(disk) => disk,
            Err(error) => return reply.error(error),
        };
        let _ = ino;
        let listing = disk.listings.get(&fh.0).map(Vec::as_slice).unwrap_or_default();
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        for (at, (child, is_folder, name)) in listing.iter().enumerate().skip(from) {
            if reply.add(INodeNo(*child), at as u64 + 1, kind(*is_folder), name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, fh: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        if let Ok(mut disk) = self.disk() {
            disk.listings.remove(&fh.0);
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(BLOCKS, BLOCKS, BLOCKS, BLOCKS, BLOCKS, BLOCK, 255, BLOCK);
    }
}
