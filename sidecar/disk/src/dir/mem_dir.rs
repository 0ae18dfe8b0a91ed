//! A folder in memory with the behaviour of [`StdDir`](super::StdDir), for tests of the rooms above and for
//! simulation.
//!
//! Invariants: passes the same conformance suite; clones share one tree; nothing happens by itself. On top of
//! [`Dir`] it offers what a mirror or a hostile neighbour can do: overwrite, append, plant things that are not
//! files, run out of space. It forgets everything when the last clone is dropped.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Dir, DirEntry, EntryKind, PublishError, ReadFile, TempFile, path};

type Contents = Arc<Mutex<Vec<u8>>>;

#[derive(Clone, Debug)]
enum Node {
    Dir,
    File(Contents),
    Other,
}

#[derive(Debug)]
struct Tree {
    nodes: BTreeMap<String, Node>,
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
        let tree = Tree { nodes: BTreeMap::new(), free: 1 << 40, network: false };
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
        let (parts, _) = path::split(path)?;
        self.create_dirs(&parts.join("/"))?;
        lock(&self.tree).nodes.insert(path.to_owned(), Node::Other);
        Ok(())
    }

    /// What a file holds, if there is such a file.
    pub fn contents(&self, path: &str) -> Option<Vec<u8>> {
        match lock(&self.tree).nodes.get(path) {
            Some(Node::File(contents)) => Some(lock(contents).clone()),
            Some(Node::Dir | Node::Other) | None => None,
        }
    }

    /// The paths of all files, sorted.
    pub fn files(&self) -> Vec<String> {
        let tree = lock(&self.tree);
        let files = tree.nodes.iter().filter(|(_, node)| matches!(node, Node::File(_)));
        files.map(|(path, _)| path.clone()).collect()
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
        let (parts, _) = path::split(path)?;
        self.create_dirs(&parts.join("/"))?;
        let mut tree = lock(&self.tree);
        match tree.nodes.entry(path.to_owned()).or_insert_with(|| Node::File(Contents::default())) {
            Node::File(contents) => change(&mut lock(contents)),
            Node::Dir => return Err(io::ErrorKind::IsADirectory.into()),
            Node::Other => return Err(path::not_regular()),
        }
        Ok(())
    }

    fn new_file(&self, path: String, direct: bool) -> io::Result<Box<dyn TempFile>> {
        let contents = Contents::default();
        let mut tree = lock(&self.tree);
        if tree.nodes.contains_key(&path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        tree.nodes.insert(path.clone(), Node::File(contents.clone()));
        Ok(Box::new(MemTempFile { dir: self.clone(), path, contents, direct, published: false }))
    }
}

impl Tree {
    fn check_folder(&self, parts: &[&str]) -> io::Result<()> {
        for n in 1..=parts.len() {
            match self.nodes.get(&parts[..n].join("/")) {
                Some(Node::Dir) => {}
                Some(Node::File(_) | Node::Other) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(io::ErrorKind::NotFound.into()),
            }
        }
        Ok(())
    }

    fn children<'a>(&'a self, path: &str) -> impl Iterator<Item = (&'a str, &'a Node)> {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let below = self.nodes.range(prefix.clone()..);
        below.map_while(move |(path, node)| path.strip_prefix(prefix.as_str()).map(|rest| (rest, node)))
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), PublishError> {
        let (to_parts, _) = path::split(to)?;
        self.check_folder(&path::split(from)?.0)?;
        self.check_folder(&to_parts)?;
        let Some(Node::File(contents)) = self.nodes.get(from).cloned() else {
            return Err(PublishError::Io(io::ErrorKind::NotFound.into()));
        };
        if self.nodes.contains_key(to) {
            return Err(PublishError::Exists);
        }
        self.nodes.remove(from);
        self.nodes.insert(to.to_owned(), Node::File(contents));
        Ok(())
    }
}

impl Dir for MemDir {
    fn list_limited(&self, path: &str, max: usize) -> io::Result<Vec<DirEntry>> {
        let parts = path::parts(path)?;
        let tree = lock(&self.tree);
        tree.check_folder(&parts)?;
        let direct = tree.children(path).filter(|(rest, _)| !rest.contains('/'));
        let entries = direct.take(max).map(|(name, node)| {
            let (kind, len) = match node {
                Node::Dir => (EntryKind::Dir, 0),
                Node::File(contents) => (EntryKind::File, lock(contents).len() as u64),
                Node::Other => (EntryKind::Other, 0),
            };
            DirEntry { name: name.to_owned(), kind, len }
        });
        Ok(entries.collect())
    }

    fn open_read(&self, path: &str) -> io::Result<Box<dyn ReadFile>> {
        let (parts, _) = path::split(path)?;
        let tree = lock(&self.tree);
        tree.check_folder(&parts)?;
        match tree.nodes.get(path) {
            Some(Node::File(contents)) => {
                let len = lock(contents).len() as u64;
                Ok(Box::new(MemReadFile { contents: contents.clone(), len }))
            }
            Some(Node::Dir | Node::Other) => Err(path::not_regular()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create_temp(&self, near: &str) -> io::Result<Box<dyn TempFile>> {
        let (mut parts, name) = path::split(near)?;
        lock(&self.tree).check_folder(&parts)?;
        let temp = format!(".{name}.part");
        parts.push(&temp);
        self.new_file(parts.join("/"), false)
    }

    fn create_direct(&self, path: &str) -> io::Result<Box<dyn TempFile>> {
        let (parts, _) = path::split(path)?;
        lock(&self.tree).check_folder(&parts)?;
        self.new_file(path.to_owned(), true)
    }

    fn create_dirs(&self, path: &str) -> io::Result<()> {
        let parts = path::parts(path)?;
        let mut tree = lock(&self.tree);
        for n in 1..=parts.len() {
            match tree.nodes.entry(parts[..n].join("/")).or_insert(Node::Dir) {
                Node::Dir => {}
                Node::File(_) | Node::Other => return Err(io::ErrorKind::NotADirectory.into()),
            }
        }
        Ok(())
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        let (parts, _) = path::split(path)?;
        let mut tree = lock(&self.tree);
        tree.check_folder(&parts)?;
        match tree.nodes.get(path) {
            Some(Node::File(_) | Node::Other) => {
                tree.nodes.remove(path);
                Ok(())
            }
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn remove_empty_dirs(&self, path: &str) -> io::Result<()> {
        let mut parts = path::parts(path)?;
        let mut tree = lock(&self.tree);
        while !parts.is_empty() {
            let folder = parts.join("/");
            match tree.nodes.get(&folder) {
                Some(Node::Dir) if tree.children(&folder).next().is_some() => break,
                Some(Node::Dir) => drop(tree.nodes.remove(&folder)),
                Some(Node::File(_) | Node::Other) => return Err(io::ErrorKind::NotADirectory.into()),
                None => {}
            }
            parts.pop();
        }
        Ok(())
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        lock(&self.tree).check_folder(&path::parts(path)?)
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
            lock(&self.dir.tree).nodes.remove(&self.path);
        }
    }
}
