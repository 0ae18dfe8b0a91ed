//! Space set aside on the volume, so that what was promised can be written when the disk is full.
//!
//! A file `reserve` in the log's folder, as long as what is set aside. When an append or a checkpoint finds no space, the file
//! gives some of its own back, and the call is tried again; when there is space, it grows to its full length.
//!
//! Invariants: it holds nothing; losing it loses space and no data; a failure to grow it is no error of the log. Who must not
//! use it asks first whether it is whole. Test: `a_full_disk_uses_the_reserve_and_grows_it_again`.

use std::io;
use std::sync::Arc;

use super::storage::{Storage, StoredFile};

const NAME: &str = "reserve";
/// Space is taken in such pieces, and given back in no smaller ones.
const STEP: u64 = 4 << 20;

/// How much is set aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAside {
    /// Bytes set aside now.
    pub bytes: u64,
    /// Bytes that are wanted.
    pub wanted: u64,
}

impl SetAside {
    /// Nothing is missing.
    pub fn is_whole(self) -> bool {
        self.bytes >= self.wanted
    }
}

#[derive(Default)]
pub(super) struct Reserve {
    file: Option<Arc<dyn StoredFile>>,
    size: SetAside,
}

impl Reserve {
    pub(super) fn size(&self) -> SetAside {
        self.size
    }

    /// Opens or makes the file and gives it this length, as far as there is space.
    pub(super) fn set(&mut self, storage: &dyn Storage, wanted: u64) -> io::Result<()> {
        let file = match storage.open(NAME) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => storage.create(NAME)?,
            other => other?,
        };
        let mut bytes = file.len()?.min(wanted);
        file.set_len(bytes)?;
        // What an earlier start left may be a copy with holes, for which there is no space any more.
        if bytes > 0 && file.set_aside(bytes).is_err() {
            file.set_len(0)?;
            bytes = 0;
        }
        (self.file, self.size) = (Some(file), SetAside { bytes, wanted });
        self.grow();
        Ok(())
    }

    /// Grows as far as there is space.
    pub(super) fn grow(&mut self) {
        let Some(file) = &self.file else { return };
        while !self.size.is_whole() {
            let next = (self.size.bytes + STEP).min(self.size.wanted);
            if file.set_aside(next).is_err() {
                return;
            }
            self.size.bytes = next;
        }
    }

    /// Gives space back, at least so much as far as there is any; false if there is none.
    pub(super) fn give(&mut self, bytes: u64) -> bool {
        let Some(file) = self.file.as_ref().filter(|_| self.size.bytes > 0) else { return false };
        let rest = self.size.bytes.saturating_sub(bytes.max(STEP));
        // A file system may give the space to others only when this is durable.
        if file.set_len(rest).and_then(|()| file.sync()).is_err() {
            return false;
        }
        self.size.bytes = rest;
        true
    }
}
