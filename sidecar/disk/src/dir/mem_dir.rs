//! A folder in memory with the behaviour of [`StdDir`](super::StdDir), for tests of the rooms above and for
//! simulation.
//!
//! Invariants: passes the same conformance suite; clones share one tree; nothing happens by itself. On top of
//! [`Dir`] it offers what a mirror or a hostile neighbour can do: overwrite, append, plant things that are not
//! files, run out of space. It forgets everything when the last clone is dropped.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Dir, DirEntry, EntryKind, Page, PageEntry, PublishError, ReadFile, TempFile, path};

type Contents = Arc<Mutex<Vec<u8>>>;

type Folder = BTreeMap<String, Node>;

#[derive(Debug)]
enum Node {
    Dir(Folder),
    File(Contents),
    Other,
}

#[derive(Debug)]
struct Tree {
    root: Folder,
    free: u64,
    network: bool,
}

/// A folder in memory. Clones share it.
#[derive(Clone, Debug)]
pub struct MemDir {
    tree: Arc<Mutex<Tree>>,
}

impl Default for MemDir {
    fn default() -> Self {
        Self::new()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemDir {
    /// An empty folder with plenty of space.
    pub fn new() -> Self {
        let tree = Tree { root: BTreeMap::new(), free: 1 << 40, network: false };
        Self { tree: Arc::new(Mutex::new(tree)) }
    }

    /// Sets what a file holds, in place, creating it and its folders: a reader with the file open sees it.
    ///
    /// # Errors
    /// `InvalidInput` for a path [`Dir`] refuses, `NotADirectory` or `IsADirectory` if something is in the way.
    pub fn put(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.change(path, |contents| {
            contents.clear();
            contents.extend_from_slice(bytes);
        })
    }

    /// Adds to a file in place, as [`MemDir::put`] does.
    ///
    /// # Errors
    /// As [`MemDir::put`].
    pub fn append(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.change(path, |contents| contents.extend_from_slice(bytes))
    }

    /// Plants something that is neither file nor folder.
    ///
    /// # Errors
    /// As [`MemDir::put`].
    pub fn put_other(&self, path: &str) -> io::Result<()> {
        let (parts, name) = path::split(path)?;
        lock(&self.tree).make_folder(&parts)?.insert(name.to_owned(), Node::Other);
        Ok(())
    }

    /// What a file holds, if there is such a file.
    pub fn contents(&self, path: &str) -> Option<Vec<u8>> {
        let (parts, name) = path::split(path).ok()?;
        match lock(&self.tree).folder(&parts).ok()?.get(name) {
            Some(Node::File(contents)) => Some(lock(contents).clone()),
            Some(Node::Dir(_) | Node::Other) | None => None,
        }
    }

    /// The paths of all files, sorted.
    pub fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        list_files(&lock(&self.tree).root, "", &mut files);
        files.sort_unstable();
        files
    }

    /// Sets the bytes that may still be written; beyond them every write fails with `StorageFull`.
    pub fn set_free_space(&self, bytes: u64) {
        lock(&self.tree).free = bytes;
    }

    /// Sets what [`Dir::is_network`] answers.
    pub fn set_network(&self, network: bool) {
        lock(&self.tree).network = network;
    }

    fn change(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let (parts, name) = path::split(path)?;
        let mut tree = lock(&self.tree);
        let folder = tree.make_folder(&parts)?;
        match folder.entry(name.to_owned()).or_insert_with(|| Node::File(Contents::default())) {
            Node::File(contents) => change(&mut lock(contents)),
            Node::Dir(_) => return Err(io::ErrorKind::IsADirectory.into()),
            Node::Other => return Err(path::not_regular()),
        }
        Ok(())
    }

    fn new_file(&self, parts: &[&str], name: &str, direct: bool) -> io::Result<Box<dyn TempFile>> {
        let contents = Contents::default();
        let mut tree = lock(&self.tree);
        let folder = tree.folder_mut(parts)?;
        if folder.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        folder.insert(name.to_owned(), Node::File(contents.clone()));
        let path = if parts.is_empty() { name.to_owned() } else { format!("{}/{name}", parts.join("/")) };
        Ok(Box::new(MemTempFile { dir: self.clone(), path, contents, direct, published: false }))
    }
}

fn list_files(folder: &Folder, below: &str, files: &mut Vec<String>) {
    for (name, node) in folder {
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        match node {
            Node::Dir(folder) => list_files(folder, &path, files),
            Node::File(_) => files.push(path),
            Node::Other => {}
        }
    }
}

impl Tree {
    fn folder(&self, parts: &[&str]) -> io::Result<&Folder> {
        let mut folder = &self.root;
        for part in parts {
            folder = match folder.get(*part) {
                Some(Node::Dir(folder)) => folder,
                Some(Node::File(_) | Node::Other) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(io::ErrorKind::NotFound.into()),
            };
        }
        Ok(folder)
    }

    fn folder_mut(&mut self, parts: &[&str]) -> io::Result<&mut Folder> {
        let mut folder = &mut self.root;
        for part in parts {
            folder = match folder.get_mut(*part) {
                Some(Node::Dir(folder)) => folder,
                Some(Node::File(_) | Node::Other) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(io::ErrorKind::NotFound.into()),
            };
        }
        Ok(folder)
    }

    fn make_folder(&mut self, parts: &[&str]) -> io::Result<&mut Folder> {
        let mut folder = &mut self.root;
        for part in parts {
            folder = match folder.entry((*part).to_owned()).or_insert_with(|| Node::Dir(Folder::new())) {
                Node::Dir(folder) => folder,
                Node::File(_) | Node::Other => return Err(io::ErrorKind::NotADirectory.into()),
            };
        }
        Ok(folder)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), PublishError> {
        let ((from_parts, from_name), (to_parts, to_name)) = (path::split(from)?, path::split(to)?);
        let target = self.folder(&to_parts);
        let Some(Node::File(contents)) = self.folder(&from_parts)?.get(from_name) else {
            return Err(PublishError::Io(io::ErrorKind::NotFound.into()));
        };
        if target?.contains_key(to_name) {
            return Err(PublishError::Exists);
        }
        let file = Node::File(contents.clone());
        self.folder_mut(&from_parts)?.remove(from_name);
        self.folder_mut(&to_parts)?.insert(to_name.to_owned(), file);
        Ok(())
    }
}

impl Dir for MemDir {
    fn list_limited(&self, path: &str, max: usize) -> io::Result<Vec<DirEntry>> {
        let parts = path::parts(path)?;
        let tree = lock(&self.tree);
        let entries = tree.folder(&parts)?.iter().take(max).map(|(name, node)| {
            let (kind, len) = match node {
                Node::Dir(_) => (EntryKind::Dir, 0),
                Node::File(contents) => (EntryKind::File, lock(contents).len() as u64),
                Node::Other => (EntryKind::Other, 0),
            };
            DirEntry { name: name.to_owned(), kind, len }
        });
        Ok(entries.collect())
    }

    fn list_page(&self, path: &str, from: u64, max: usize, _: &dyn Fn(&str) -> bool) -> io::Result<Page> {
        let tree = lock(&self.tree);
        let skipped = usize::try_from(from).unwrap_or(usize::MAX);
        let mut rest = tree.folder(&path::parts(path)?)?.iter().skip(skipped);
        let part = rest.by_ref().take(max.max(1)).map(|(name, node)| match node {
            Node::Dir(_) => (name, EntryKind::Dir, None),
            Node::File(contents) => (name, EntryKind::File, Some(lock(contents).len() as u64)),
            Node::Other => (name, EntryKind::Other, None),
        });
        let entries: Vec<PageEntry> =
            part.map(|(name, kind, len)| PageEntry { name: name.to_owned(), kind, len }).collect();
        let next = rest.next().map(|_| skipped.saturating_add(entries.len()) as u64);
        Ok(Page { entries, next })
    }

    fn open_read(&self, path: &str) -> io::Result<Box<dyn ReadFile>> {
        let (parts, name) = path::split(path)?;
        let tree = lock(&self.tree);
        match tree.folder(&parts)?.get(name) {
            Some(Node::File(contents)) => {
                let len = lock(contents).len() as u64;
                Ok(Box::new(MemReadFile { contents: contents.clone(), len }))
            }
            Some(Node::Dir(_) | Node::Other) => Err(path::not_regular()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create_temp(&self, near: &str) -> io::Result<Box<dyn TempFile>> {
        let (parts, name) = path::split(near)?;
        self.new_file(&parts, &format!(".{name}.part"), false)
    }

    fn create_direct(&self, path: &str) -> io::Result<Box<dyn TempFile>> {
        let (parts, name) = path::split(path)?;
        self.new_file(&parts, name, true)
    }

    fn create_dirs(&self, path: &str) -> io::Result<()> {
        lock(&self.tree).make_folder(&path::parts(path)?).map(|_| ())
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        let (parts, name) = path::split(path)?;
        let mut tree = lock(&self.tree);
        let folder = tree.folder_mut(&parts)?;
        match folder.get(name) {
            Some(Node::File(_) | Node::Other) => {
                folder.remove(name);
                Ok(())
            }
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn remove_empty_dirs(&self, path: &str) -> io::Result<()> {
        let mut parts = path::parts(path)?;
        let mut tree = lock(&self.tree);
        while let Some(name) = parts.pop() {
            let Ok(folder) = tree.folder_mut(&parts) else { continue };
            match folder.get(name) {
                Some(Node::Dir(inner)) if !inner.is_empty() => break,
                Some(Node::Dir(_)) => drop(folder.remove(name)),
                Some(Node::File(_) | Node::Other) => return Err(io::ErrorKind::NotADirectory.into()),
                None => {}
            }
        }
        Ok(())
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        lock(&self.tree).folder(&path::parts(path)?).map(|_| ())
    }

    fn rename_noreplace(&self, from: &str, to: &str) -> Result<(), PublishError> {
        lock(&self.tree).rename(from, to)
    }

    fn free_space(&self) -> io::Result<u64> {
        Ok(lock(&self.tree).free)
    }

    fn is_network(&self) -> bool {
        lock(&self.tree).network
    }
}

struct MemReadFile {
    contents: Contents,
    len: u64,
}

impl ReadFile for MemReadFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let contents = lock(&self.contents);
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = contents.get(start..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn read_vec(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let contents = lock(&self.contents);
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = contents.get(start..).unwrap_or_default();
        Ok(rest[..rest.len().min(len)].to_vec())
    }
}

struct MemTempFile {
    dir: MemDir,
    path: String,
    contents: Contents,
    direct: bool,
    published: bool,
}

impl Write for MemTempFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut tree = lock(&self.dir.tree);
        let n = usize::try_from(tree.free).unwrap_or(usize::MAX).min(bytes.len());
        if n == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        tree.free -= n as u64;
        lock(&self.contents).extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TempFile for MemTempFile {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn publish_noreplace(mut self: Box<Self>, path: &str) -> Result<(), PublishError> {
        if !self.direct {
            lock(&self.dir.tree).rename(&self.path, path)?;
        } else if self.path != path {
            let why = "a file written under its final name keeps that name";
            return Err(PublishError::Io(io::Error::new(io::ErrorKind::InvalidInput, why)));
        }
        self.published = true;
        Ok(())
    }
}

impl Drop for MemTempFile {
    fn drop(&mut self) {
        if !self.published {
            let _ = self.dir.remove_file(&self.path);
        }
    }
}
