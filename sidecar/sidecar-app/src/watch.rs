//! The kernel's hint that something arrived in the inbox, so that a poll need not wait for its turn.
//!
//! Only a hint: no event comes for what another machine writes to a network file system, and events get lost. Polling is
//! the truth; without a watcher everything works, later. Network file systems are not watched at all.

use std::path::Path;
use std::sync::mpsc::Sender;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use crate::pipe::InboxCommand;

/// Watches while it lives.
pub struct Hint {
    _watcher: RecommendedWatcher,
}

/// Starts to watch a folder; `None` when that cannot be done.
pub fn start(folder: &Path, inbox: Sender<InboxCommand>) -> Option<Hint> {
    let wake = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| is_arrival(event.kind)) {
            let _ = inbox.send(InboxCommand::Wake);
        }
    };
    // A link in the folder must not lead the watch through the whole machine.
    let mut watcher = RecommendedWatcher::new(wake, notify::Config::default().with_follow_symlinks(false));
    let result = watcher
        .as_mut()
        .map_err(|error| error.to_string())
        .and_then(|watcher| watcher.watch(folder, RecursiveMode::Recursive).map_err(|error| error.to_string()));
    match (result, watcher) {
        (Ok(()), Ok(watcher)) => Some(Hint { _watcher: watcher }),
        (Err(error), _) => {
            tracing::debug!(folder = %folder.display(), error, "the inbox is not watched; it is polled");
            None
        }
        (Ok(()), Err(_)) => None,
    }
}

/// A file came under its name, or whoever wrote it closed it. Writes in between say nothing.
fn is_arrival(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Create(_)
            | EventKind::Modify(ModifyKind::Name(_))
            | EventKind::Access(AccessKind::Close(AccessMode::Write))
    )
}

#[cfg(test)]
mod tests {
    //! A real folder and the kernel's own events.
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_file_in_a_new_subfolder_wakes_the_inbox() {
        let folder = tempfile::tempdir().unwrap();
        let (wake, woken) = channel();
        let Some(hint) = start(folder.path(), wake) else { panic!("temporary folders can be watched") };
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::fs::write(folder.path().join("sub/x.hft"), b"x").unwrap();
        assert!(matches!(woken.recv_timeout(Duration::from_secs(30)), Ok(InboxCommand::Wake)));
        drop(hint);
    }

    #[test]
    fn a_missing_folder_is_polled_without_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        assert!(start(&folder.path().join("missing"), channel().0).is_none());
    }
}
