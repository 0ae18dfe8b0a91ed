//! Files on their way from the near to the far folder: written as an engine writes packets, and watched on both sides.
//!
//! Invariants: contents follow from length and number, so that whatever arrives can be judged; times are counted from the
//! moment a file had its final name; a far file is opened, looked at and closed at every look, never held. It draws no
//! conclusions: `crossing.rs` does. Test to read first: `the_ways_a_file_can_arrive_are_told_apart`.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use disk::dir::{Dir, PublishError, StdDir};

/// Bytes compared at once.
const PIECE: usize = 64 << 10;

/// A file on its way.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    /// Path below both folders.
    pub(super) path: String,
    pub(super) bytes: u64,
    number: u64,
    pub(super) sent: Instant,
    /// It was removed from the near folder by this probe.
    pub(super) removed: bool,
    /// When it was gone from the near folder.
    pub(super) near_gone: Option<Duration>,
    /// When it could be opened in the far folder.
    pub(super) opened: Option<Duration>,
    /// When it was listed there.
    pub(super) listed: Option<Duration>,
    /// When it was whole there.
    pub(super) whole: Option<Duration>,
    /// Its length at the last look, and when that was new.
    pub(super) length: u64,
    changed: Duration,
    /// It was longer at one look than at the one before.
    pub(super) grew: bool,
    /// The longest time between two such looks.
    pub(super) pause: Duration,
    /// It had its full length, and other contents.
    pub(super) filled_late: bool,
    /// The name it has in the far folder, if another.
    pub(super) renamed: Option<String>,
    /// It is there under two names.
    pub(super) duplicated: bool,
    compare_at: Instant,
}

impl Parcel {
    /// Writes a file and gives it its name, as an engine does.
    pub(super) fn send(near: &StdDir, path: String, number: u64, bytes: u64) -> io::Result<Self> {
        if let Some((folder, _)) = path.rsplit_once('/') {
            near.create_dirs(folder)?;
        }
        if let Err(error) = publish(near, &path, number, bytes, false) {
            if error.kind() != ErrorKind::Unsupported {
                return Err(error);
            }
            publish(near, &path, number, bytes, true)?;
        }
        let now = Instant::now();
        Ok(Self {
            path,
            bytes,
            number,
            sent: now,
            removed: false,
            near_gone: None,
            opened: None,
            listed: None,
            whole: None,
            length: 0,
            changed: Duration::ZERO,
            grew: false,
            pause: Duration::ZERO,
            filled_late: false,
            renamed: None,
            duplicated: false,
            compare_at: now,
        })
    }

    /// Looks at it in both folders. `names` are those of the far root.
    pub(super) fn look(&mut self, near: &Path, far: &Path, names: &[String]) {
        let now = self.sent.elapsed();
        let is_gone = |path: &Path| fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound);
        if self.near_gone.is_none() && is_gone(&near.join(&self.path)) {
            self.near_gone = Some(now);
        }
        self.find(names, now);
        if self.whole.is_none() {
            let path = far.join(self.renamed.as_ref().unwrap_or(&self.path));
            self.look_at(&path, now);
        }
    }

    /// Looks for its name, and for such as mirrors make of it.
    fn find(&mut self, names: &[String], now: Duration) {
        if self.path.contains('/') {
            return;
        }
        let has = |name: &str| names.iter().any(|found| found == name);
        let itself = has(&self.path);
        if itself && self.listed.is_none() {
            self.listed = Some(now);
        }
        let stem = self.path.strip_suffix(".hft").unwrap_or(&self.path);
        let other = names.iter().find(|name| **name != self.path && is_variant(name, stem));
        match other {
            Some(_) if itself && self.renamed.is_none() => self.duplicated = true,
            Some(name) if self.renamed.is_none() && self.opened.is_none() => {
                (self.renamed, self.listed) = (Some(name.clone()), Some(now));
            }
            Some(_) | None => {}
        }
    }

    fn look_at(&mut self, path: &Path, now: Duration) {
        let Ok(mut file) = fs::File::open(path) else { return };
        let Ok(length) = file.metadata().map(|found| found.len()) else { return };
        self.opened.get_or_insert(now);
        if length > self.length {
            if self.length > 0 {
                self.grew = true;
                self.pause = self.pause.max(now.saturating_sub(self.changed));
            }
            (self.length, self.changed) = (length, now);
        }
        if length == self.bytes && Instant::now() >= self.compare_at {
            let began = Instant::now();
            if is_whole(&mut file, self.number, self.bytes).unwrap_or(false) {
                self.whole = Some(now);
                if self.filled_late {
                    self.pause = self.pause.max(now.saturating_sub(self.changed));
                }
            } else {
                self.filled_late = true;
                // Reading a large file again and again would slow the mirror down.
                self.compare_at = Instant::now() + began.elapsed() * 8;
            }
        }
    }

    /// Something of it was seen in the far folder.
    pub(super) const fn has_arrived(&self) -> bool {
        self.opened.is_some()
    }

    /// When something about it last changed, since it was sent.
    pub(super) fn last_change(&self) -> Duration {
        self.whole.unwrap_or(self.changed)
    }
}

/// Is this a name that a mirror made of another, such as `x (1).hft` of `x.hft`? Names of temporary files are not.
fn is_variant(name: &str, stem: &str) -> bool {
    let folded = name.to_ascii_lowercase();
    let Some(rest) = folded.strip_prefix(stem) else { return false };
    !rest.starts_with(|next: char| next.is_ascii_alphanumeric())
        && !folded.ends_with(".part")
        && !folded.ends_with(".tmp")
}

fn publish(near: &StdDir, path: &str, number: u64, bytes: u64, direct: bool) -> io::Result<()> {
    let mut file = if direct { near.create_direct(path) } else { near.create_temp(path) }?;
    for piece in Pieces::new(number, bytes) {
        file.write_all(&piece)?;
    }
    file.flush()?;
    file.publish_noreplace(path).map_err(|error| match error {
        PublishError::Exists => io::Error::from(ErrorKind::AlreadyExists),
        PublishError::Io(error) => error,
    })
}

fn is_whole(file: &mut fs::File, number: u64, bytes: u64) -> io::Result<bool> {
    let mut found = vec![0; PIECE];
    for piece in Pieces::new(number, bytes) {
        let Some(found) = found.get_mut(..piece.len()) else { return Ok(false) };
        file.read_exact(found)?;
        if found != piece {
            return Ok(false);
        }
    }
    Ok(file.read(&mut [0])? == 0)
}

/// The contents of a file: numbers that look random, and never a zero byte, so that a hole is noticed.
struct Pieces {
    state: u64,
    left: u64,
}

impl Pieces {
    const fn new(number: u64, bytes: u64) -> Self {
        Self { state: number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, left: bytes }
    }
}

impl Iterator for Pieces {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE);
        self.left -= length as u64;
        (length > 0).then(|| {
            let mut piece = Vec::with_capacity(length + 8);
            while piece.len() < length {
                // xorshift64
                self.state ^= self.state << 13;
                self.state ^= self.state >> 7;
                self.state ^= self.state << 17;
                piece.extend_from_slice(&(self.state | 0x0101_0101_0101_0101).to_le_bytes());
            }
            piece.truncate(length);
            piece
        })
    }
}

#[cfg(test)]
mod tests {
    //! Two real folders, with this test as the mirror.
    use super::*;

    struct World {
        near: tempfile::TempDir,
        far: tempfile::TempDir,
    }

    impl World {
        fn new() -> Self {
            Self { near: tempfile::tempdir().unwrap(), far: tempfile::tempdir().unwrap() }
        }

        fn send(&self, path: &str) -> Parcel {
            Parcel::send(&StdDir::open(self.near.path()).unwrap(), path.to_owned(), 7, 100_000).unwrap()
        }

        fn look(&self, parcel: &mut Parcel) {
            let names: Vec<String> = fs::read_dir(self.far.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            parcel.look(self.near.path(), self.far.path(), &names);
        }

        fn bytes(&self, parcel: &Parcel) -> Vec<u8> {
            fs::read(self.near.path().join(&parcel.path)).unwrap()
        }

        fn put(&self, name: &str, bytes: &[u8]) {
            fs::write(self.far.path().join(name), bytes).unwrap();
        }
    }

    #[test]
    fn the_ways_a_file_can_arrive_are_told_apart() {
        let world = World::new();
        let mut whole = world.send("p-1.hft");
        world.look(&mut whole);
        assert!(!whole.has_arrived() && whole.near_gone.is_none());
        let bytes = world.bytes(&whole);
        assert_eq!(bytes.len(), 100_000);
        world.put("p-1.hft", &bytes);
        world.look(&mut whole);
        assert!(whole.whole.is_some() && whole.listed.is_some() && !whole.grew && !whole.filled_late);
        world.put("p-1 (1).hft", &bytes);
        world.look(&mut whole);
        assert!(whole.duplicated && whole.renamed.is_none());

        let mut growing = world.send("p-2.hft");
        for length in [10, 60_000, 100_000] {
            world.put("p-2.hft", &bytes[..length]);
            world.look(&mut growing);
            assert_eq!(growing.whole.is_some(), length == 100_000);
        }
        assert!(growing.grew && !growing.filled_late);

        let mut preallocated = world.send("p-3.hft");
        world.put("p-3.hft", &[0; 100_000]);
        world.look(&mut preallocated);
        assert!(preallocated.filled_late && preallocated.whole.is_none());

        let mut renamed = world.send("p-4.hft");
        world.put("p-4 (1).hft", &bytes);
        world.look(&mut renamed);
        assert!(renamed.renamed.is_some() && renamed.whole.is_some() && !renamed.duplicated);

        fs::remove_file(world.near.path().join("p-4.hft")).unwrap();
        world.look(&mut renamed);
        assert!(renamed.near_gone.is_some());
    }

    #[test]
    fn another_file_is_no_variant_of_a_name() {
        assert!(
            is_variant("m-t1 (1).hft", "m-t1") && is_variant("M-T1~1.HFT", "m-t1") && is_variant("m-t1.hft.2", "m-t1")
        );
        assert!(!is_variant("m-t10.hft", "m-t1") && !is_variant(".m-t1.hft.part", "m-t1"));
        assert!(!is_variant("m-t1.hft.part", "m-t1"));
    }

    #[test]
    fn contents_have_no_zero_byte() {
        let bytes: Vec<u8> = Pieces::new(1, 200_001).flatten().collect();
        assert_eq!(bytes.len(), 200_001);
        assert!(bytes.iter().all(|byte| *byte != 0));
        assert_ne!(bytes, Pieces::new(2, 200_001).flatten().collect::<Vec<u8>>());
    }
}
