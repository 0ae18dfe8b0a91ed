//! A folder of the operating system, local or mounted from a network.
//!
//! Invariants: every call walks from the root by path, part by part, refusing links (`O_NOFOLLOW`), so that a
//! mount that comes back is found and a planted link leads nowhere; the root itself may be a link, because
//! who runs us chose it. Only regular files are read, and opening never blocks on a pipe. It does not cache.
//! Test: `dir/conformance.rs`, then `dir/tests.rs` for links, pipes and permissions.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::publish::rename_noreplace_at;
use super::temp_file::StdTempFile;
use super::{Dir, DirEntry, DirError, EntryKind, Page, PageEntry, PublishError, ReadFile, TempFile, path};

/// How the names of the files begin that [`StdDir::check_writable`] makes, and removes unless it is killed.
pub const CHECK_BEGIN: &str = ".hoft-check-";

/// The paths behind a [`StdDir`], shared with the files it is writing.
#[derive(Clone, Debug)]
pub(super) struct Folders {
    root: Arc<PathBuf>,
    temp: Option<Arc<PathBuf>>,
}

/// A folder of the operating system.
#[derive(Clone, Debug)]
pub struct StdDir {
    folders: Folders,
}

// A folder on the way needs search permission only, and opening it costs a network share nothing.
#[cfg(target_os = "linux")]
const STEP: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const STEP: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);
const LISTING: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);
const READING: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
const WRITING: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
// The mirror may run as another user: who may read is left to the umask.
const FILE_MODE: Mode = Mode::from_raw_mode(0o666);
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o777);

impl Folders {
    /// Opens the folder of these parts, following no link below the root.
    pub(super) fn walk(&self, parts: &[&str]) -> io::Result<OwnedFd> {
        let mut folder = rustix::fs::open(self.root.as_path(), STEP, Mode::empty())?;
        for part in parts {
            folder = step(folder.as_fd(), part)?;
        }
        Ok(folder)
    }

    fn parent<'a>(&self, path: &'a str) -> io::Result<(OwnedFd, &'a str)> {
        let (parts, name) = path::split(path)?;
        Ok((self.walk(&parts)?, name))
    }
}

fn step(folder: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    match rustix::fs::openat(folder, name, STEP | OFlags::NOFOLLOW, Mode::empty()) {
        Err(Errno::LOOP) => Err(Errno::NOTDIR.into()),
        other => Ok(other?),
    }
}

/// Lets the group of a new folder write in it if that of its parent may: a mirror of another user, or another engine, could
/// not take files out of it otherwise, as the umask of most processes forbids it. Where it cannot be had, who may is left
/// to the umask.
fn share_like(parent: BorrowedFd<'_>, made: BorrowedFd<'_>) {
    let shared =
        |folder| rustix::fs::fstat(folder).is_ok_and(|stat| Mode::from_raw_mode(stat.st_mode).contains(Mode::WGRP));
    if !shared(parent) || shared(made) {
        return;
    }
    // A descriptor of a path alone changes nothing, so the folder is opened for reading; by itself, so that no link is followed.
    let changed = rustix::fs::openat(made, ".", LISTING, Mode::empty()).and_then(|folder| {
        let mode = Mode::from_raw_mode(rustix::fs::fstat(&folder)?.st_mode);
        rustix::fs::fchmod(&folder, mode | Mode::RWXG)
    });
    if let Err(error) = changed {
        tracing::debug!(%error, "a new folder is not writable for its group, though its parent is");
    }
}

impl StdDir {
    /// Opens an existing folder that can be listed; whether it can be written is
    /// [`StdDir::check_writable`]'s question.
    ///
    /// # Errors
    /// A [`DirError`] that names the folder, the cause and the remedy.
    pub fn open(root: &Path) -> Result<Self, DirError> {
        let readable = || -> io::Result<()> {
            let folder = rustix::fs::open(root, LISTING, Mode::empty())?;
            rustix::fs::Dir::new(folder)?.read().transpose()?;
            Ok(())
        };
        readable().map_err(|source| DirError::new(root, source))?;
        Ok(Self::at(root))
    }

    /// A folder that may not be there, or not now: whatever is wrong with it is said by each call.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { folders: Folders { root: Arc::new(root.to_path_buf()), temp: None } }
    }

    /// Writes temporary files in this folder, which lies outside the mirrored one on the same file system.
    ///
    /// # Errors
    /// [`DirError::TempElsewhere`] for another file system, or what is wrong with the folder itself.
    pub fn with_temp_folder(self, temp: &Path) -> Result<Self, DirError> {
        let device = |path: &Path| -> Result<_, DirError> {
            let folder = rustix::fs::open(path, STEP, Mode::empty()).map_err(|e| DirError::new(path, e.into()))?;
            let stat = rustix::fs::fstat(&folder).map_err(|e| DirError::new(path, e.into()))?;
            Ok(stat.st_dev)
        };
        if device(temp)? != device(&self.folders.root)? {
            return Err(DirError::TempElsewhere { path: self.root().to_path_buf(), temp: temp.to_path_buf() });
        }
        let folders = Folders { temp: Some(Arc::new(temp.to_path_buf())), ..self.folders };
        Ok(Self { folders })
    }

    /// The root, as it was given.
    pub fn root(&self) -> &Path {
        &self.folders.root
    }

    /// Writes a small file, reads it back and removes it.
    ///
    /// # Errors
    /// [`DirError::NotWritable`], or what is wrong with the folder itself.
    pub fn check_writable(&self) -> Result<(), DirError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // In containers every process is number 1: the time keeps apart those that share a folder, and what one left that was
        // killed here.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let name = format!("{CHECK_BEGIN}{}-{since:x}-{count}.part", std::process::id());
        // A mirror that moves files away may take this one: that it could be written is what was asked.
        let or_taken = |result: io::Result<()>| match result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        let check = || -> io::Result<()> {
            let mut file = self.create_direct(&name)?;
            file.write_all(name.as_bytes())?;
            file.flush()?;
            or_taken(self.reads_back(&name))?;
            file.publish_noreplace(&name).map_err(io::Error::other)?;
            or_taken(self.remove_file(&name))
        };
        check().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => DirError::new(self.root(), source),
            _ => DirError::NotWritable { path: self.root().to_path_buf(), source },
        })
    }

    fn reads_back(&self, name: &str) -> io::Result<()> {
        let mut back = vec![0; name.len() + 1];
        let len = self.read_at(name, 0, &mut back)?;
        if back.get(..len) != Some(name.as_bytes()) {
            return Err(io::Error::other("what was written reads back differently"));
        }
        Ok(())
    }

    fn new_file(&self, folder: OwnedFd, name: String, direct: Option<String>) -> io::Result<Box<dyn TempFile>> {
        let file = rustix::fs::openat(&folder, name.as_str(), WRITING, FILE_MODE)?;
        let file = Some(File::from(file));
        Ok(Box::new(StdTempFile { folders: self.folders.clone(), folder, name, file, direct, published: false }))
    }

    fn listing(&self, path: &str) -> io::Result<OwnedFd> {
        let folder = self.folders.walk(&path::parts(path)?)?;
        Ok(rustix::fs::openat(&folder, ".", LISTING, Mode::empty())?)
    }
}

impl Dir for StdDir {
    fn list_limited(&self, path: &str, max: usize) -> io::Result<Vec<DirEntry>> {
        let folder = self.listing(path)?;
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::read_from(&folder)? {
            if entries.len() >= max {
                break;
            }
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name == "." || name == ".." {
                continue;
            }
            if let Some((kind, len)) = kind_and_len(folder.as_fd(), name, entry.file_type())? {
                entries.push(DirEntry { name: name.to_owned(), kind, len });
            }
        }
        Ok(entries)
    }

    // Where a page begins is the file system's own mark, so that a long folder is not read from its start each time.
    #[cfg(target_pointer_width = "64")]
    fn list_page(&self, path: &str, from: u64, max: usize, measured: &dyn Fn(&str) -> bool) -> io::Result<Page> {
        let folder = self.listing(path)?;
        let mut names = rustix::fs::Dir::read_from(&folder)?;
        if from > 0 {
            names.seek(from.cast_signed())?;
        }
        let mut page = Page::default();
        let max = max.max(1);
        // Names that are left out count as well, so that no number of them makes a page long.
        for (count, entry) in (1..).zip(names) {
            let entry = entry?;
            let next = Some(entry.offset().cast_unsigned());
            if let Ok(name) = entry.file_name().to_str()
                && name != "."
                && name != ".."
                && let Some(shown) = shown(folder.as_fd(), name, entry.file_type(), measured)?
            {
                page.entries.push(shown);
            }
            if page.entries.len() >= max || count >= max + 2 {
                page.next = next;
                break;
            }
        }
        Ok(page)
    }

    fn modified_s(&self, path: &str) -> io::Result<Option<i64>> {
        let (folder, name) = self.folders.parent(path)?;
        let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        #[allow(clippy::useless_conversion, reason = "the field's width differs between machines")]
        Ok(i64::try_from(stat.st_mtime).ok())
    }

    fn open_read(&self, path: &str) -> io::Result<Box<dyn ReadFile>> {
        let (folder, name) = self.folders.parent(path)?;
        let file = match rustix::fs::openat(&folder, name, READING, Mode::empty()) {
            Ok(file) => File::from(file),
            // A link, and a socket or a pipe's far end that nobody holds.
            Err(Errno::LOOP | Errno::NXIO) => return Err(path::not_regular()),
            Err(error) => return Err(error.into()),
        };
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(path::not_regular());
        }
        Ok(Box::new(StdReadFile { file, len: u64::try_from(stat.st_size).unwrap_or(0) }))
    }

    fn create_temp(&self, near: &str) -> io::Result<Box<dyn TempFile>> {
        let (folder, name) = self.folders.parent(near)?;
        match &self.folders.temp {
            None => self.new_file(folder, format!(".{name}.part"), None),
            // One temporary folder serves all folders: the whole path keeps equal names apart.
            Some(temp) => {
                let temp = rustix::fs::open(temp.as_path(), STEP, Mode::empty())?;
                self.new_file(temp, format!(".{}.part", near.replace('/', "_")), None)
            }
        }
    }

    fn create_direct(&self, path: &str) -> io::Result<Box<dyn TempFile>> {
        let (folder, name) = self.folders.parent(path)?;
        self.new_file(folder, name.to_owned(), Some(path.to_owned()))
    }

    fn create_dirs(&self, path: &str) -> io::Result<()> {
        let parts = path::parts(path)?;
        let mut folder = self.folders.walk(&[])?;
        for part in parts {
            match rustix::fs::mkdirat(&folder, part, FOLDER_MODE) {
                Ok(()) => {
                    let made = step(folder.as_fd(), part)?;
                    share_like(folder.as_fd(), made.as_fd());
                    folder = made;
                }
                Err(Errno::EXIST) => folder = step(folder.as_fd(), part)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        let (folder, name) = self.folders.parent(path)?;
        Ok(rustix::fs::unlinkat(&folder, name, AtFlags::empty())?)
    }

    fn remove_empty_dirs(&self, path: &str) -> io::Result<()> {
        let mut parts = path::parts(path)?;
        while let Some(name) = parts.pop() {
            let folder = match self.folders.walk(&parts) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            match rustix::fs::unlinkat(&folder, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                // The top of a mount is in use by the mount.
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        match rustix::fs::fsync(self.listing(path)?) {
            Ok(()) | Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn rename_noreplace(&self, from: &str, to: &str) -> Result<(), PublishError> {
        let (old_folder, old) = self.folders.parent(from)?;
        let (new_folder, new) = self.folders.parent(to)?;
        rename_noreplace_at(old_folder.as_fd(), old, new_folder.as_fd(), new)
    }

    fn free_space(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(self.folders.walk(&[])?)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    #[cfg(target_os = "linux")]
    fn is_network(&self) -> bool {
        let Ok(root) = self.folders.walk(&[]) else { return true };
        // The field's width and sign differ between machines; the magic numbers are 32 bits wide.
        #[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation)]
        rustix::fs::fstatfs(root).map_or(true, |stat| NETWORK_MAGICS.contains(&(stat.f_type as u32)))
    }

    #[cfg(not(target_os = "linux"))]
    fn is_network(&self) -> bool {
        true
    }
}

/// `f_type` of file systems whose bytes are elsewhere: nfs, smb, cifs, smb2, fuse, ceph, 9p, afs, kafs,
/// lustre, coda, ncp, vboxsf, vmhgfs, prl_fs, gpfs, beegfs.
#[cfg(target_os = "linux")]
const NETWORK_MAGICS: [u32; 17] = [
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x6573_5546,
    0x00c3_6400,
    0x0102_1997,
    0x5346_414f,
    0x6b41_4653,
    0x0bd0_0bd0,
    0x7375_7245,
    0x564c,
    0x786f_4256,
    0xbacb_acbc,
    0x7c7c_6673,
    0x4750_4653,
    0x1983_0326,
];

/// An entry of a page; `None` for what vanished meanwhile.
fn shown(
    folder: BorrowedFd<'_>,
    name: &str,
    told: FileType,
    measured: &dyn Fn(&str) -> bool,
) -> io::Result<Option<PageEntry>> {
    let asks = told == FileType::Unknown || (told == FileType::RegularFile && measured(name));
    let (kind, len) = match asks {
        true => match kind_and_len(folder, name, told)? {
            Some((kind, len)) => (kind, (kind == EntryKind::File).then_some(len)),
            None => return Ok(None),
        },
        false => (kind_of(told), None),
    };
    Ok(Some(PageEntry { name: name.to_owned(), kind, len }))
}

fn kind_and_len(folder: BorrowedFd<'_>, name: &str, told: FileType) -> io::Result<Option<(EntryKind, u64)>> {
    if told == FileType::Directory {
        return Ok(Some((EntryKind::Dir, 0)));
    }
    let stat = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let kind = kind_of(FileType::from_raw_mode(stat.st_mode));
    let len = if kind == EntryKind::File { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 };
    Ok(Some((kind, len)))
}

fn kind_of(file_type: FileType) -> EntryKind {
    if file_type == FileType::RegularFile {
        EntryKind::File
    } else if file_type == FileType::Directory {
        EntryKind::Dir
    } else {
        EntryKind::Other
    }
}

struct StdReadFile {
    file: File,
    len: u64,
}

impl ReadFile for StdReadFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        read_full_at(&self.file, offset, buf)
    }

    fn read_vec(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let at = offset.saturating_add(bytes.len() as u64);
            match rustix::io::pread(&self.file, spare_capacity(&mut bytes), at) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // There may be more room than was asked for.
        bytes.truncate(len);
        Ok(bytes)
    }
}

/// Reads until the buffer is full or the file ends.
pub(crate) fn read_full_at(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
