//! The mirrored folders before an engine uses them: what is a mistake in the configuration, and what is a share that may come back.
//!
//! A running engine survives a share that is gone, read-only, full or hanging: calls are taken into the log, and the canary says what is
//! wrong and what helps. So does one that starts while its share is away, or its node would have to wait for a machine that nobody here
//! controls. A file where a folder was named never becomes one by itself, and neither does a folder whose owner keeps this process out:
//! those are refused. `hoft config check` refuses whatever does not work right now, because whoever asks wants to know.
//!
//! Invariants: nothing here waits for a share for longer than [`PATIENCE`]; nothing is changed but for the file that tells whether a
//! folder can be written. Test to read first: `a_share_that_is_away_is_no_mistake`, and `tests/line/shares`.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use disk::dir::{Dir, DirError, StdDir};

use crate::canary::{Folder, is_mount};

/// How long a share may take to answer at the start.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked of the folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// They work now.
    Working,
    /// They may come back: whoever asks goes on without them.
    Nameable,
}

/// One mirrored folder, as it was found.
#[derive(Clone, Debug)]
pub struct Share {
    /// The folder; it is looked for by its path whenever it is used.
    pub dir: Arc<StdDir>,
    /// It is on a network file system, or did not answer.
    pub is_network: bool,
    is_mount: bool,
    writes: bool,
}

/// Whether it does not go away by itself: a file in place of a folder, or one that is another's.
fn is_mistake(error: &DirError) -> bool {
    match error {
        DirError::NotADirectory { .. } => true,
        DirError::Unreadable { source, .. } | DirError::NotWritable { source, .. } => {
            source.kind() == std::io::ErrorKind::PermissionDenied
        }
        _ => false,
    }
}

/// What a look found.
struct Found {
    works: Result<(), DirError>,
    is_network: bool,
    is_mount: bool,
}

impl Share {
    /// Looks at the folder that `field` of the configuration names.
    ///
    /// # Errors
    /// What is wrong with it, with its field and its remedy.
    pub fn find(field: &str, path: &Path, writes: bool, demand: Demand) -> Result<Self, String> {
        let dir = StdDir::at(path);
        let share = Self { dir: Arc::new(dir), is_network: true, is_mount: false, writes };
        let Some(found) = share.look() else {
            let after_s = PATIENCE.as_secs();
            let what = format!("folder {} did not answer within {after_s} s; look after its volume", path.display());
            return match demand {
                Demand::Working => Err(format!("{field}: {what}")),
                Demand::Nameable => {
                    tracing::warn!(folder = %path.display(), "{what}; the engine goes on without it until it answers");
                    Ok(share)
                }
            };
        };
        match found.works {
            Err(error) if demand == Demand::Working || is_mistake(&error) => Err(format!("{field}: {error}")),
            // The canary says so, again and again until it is well.
            Err(_) | Ok(()) => Ok(Self { is_network: found.is_network, is_mount: found.is_mount, ..share }),
        }
    }

    /// The folder for its canary.
    #[must_use]
    pub fn watched(&self, name: &'static str) -> Folder {
        Folder::at(name, self.dir.root(), self.writes, self.is_mount)
    }

    /// Looks on a thread of its own: a call of a dead share may never come back.
    fn look(&self) -> Option<Found> {
        let (say, heard) = channel();
        let (dir, writes) = (Arc::clone(&self.dir), self.writes);
        let looks = move || {
            let checked = || {
                let opened = StdDir::open(dir.root())?;
                if writes { opened.check_writable() } else { Ok(()) }
            };
            let (works, is_mount) = (checked(), is_mount(dir.root()));
            // Of a folder that is not there nothing is known.
            let is_network = works.is_err() || dir.is_network();
            let _ = say.send(Found { works, is_network, is_mount });
        };
        thread::Builder::new().name("share".to_owned()).spawn(looks).ok()?;
        heard.recv_timeout(PATIENCE).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_that_is_away_is_no_mistake() {
        let place = tempfile::tempdir().unwrap();
        let gone = place.path().join("gone");
        let share = Share::find("folders.outbox", &gone, true, Demand::Nameable).unwrap();
        assert!(share.is_network && !share.is_mount && share.dir.list_limited("", 1).is_err());
        assert!(!gone.exists(), "a folder was made where a mirror was expected");
        let refused = Share::find("folders.outbox", &gone, true, Demand::Working).unwrap_err();
        assert!(refused.contains("folders.outbox") && refused.contains("does not exist"), "{refused}");
        std::fs::create_dir(&gone).unwrap();
        assert_eq!(share.dir.list_limited("", 1).unwrap().len(), 0, "it is found again by its path");
        assert!(Share::find("folders.outbox", &gone, true, Demand::Working).is_ok());
    }

    #[test]
    fn a_file_in_place_of_a_folder_is_a_mistake() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        std::fs::write(&file, b"").unwrap();
        for demand in [Demand::Working, Demand::Nameable] {
            for path in [&file, &file.join("below")] {
                let refused = Share::find("folders.inbox", path, true, demand).unwrap_err();
                assert!(refused.contains("folders.inbox") && refused.contains("is not a folder"), "{refused}");
            }
        }
    }
}
