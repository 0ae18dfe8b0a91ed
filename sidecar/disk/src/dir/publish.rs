//! Renaming without replacing, on file systems that can and on those that cannot.
//!
//! Invariant: the new name, if it existed, keeps what it held. First `renameat2(RENAME_NOREPLACE)`; where that
//! is refused (NFS, many FUSE file systems) a hard link and an unlink. A crash between the two leaves both
//! names on the same whole file, which is harmless: the temporary name is swept later. It does not sync.
//! Test: `dir/tests.rs`, `link_fallback_never_replaces`.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, RenameFlags, linkat, renameat_with, statat, unlinkat};
use rustix::io::Errno;

use super::PublishError;

/// Renames `old` in one open folder to `new` in another without replacing.
pub(crate) fn rename_noreplace_at(
    old_folder: BorrowedFd<'_>,
    old: &str,
    new_folder: BorrowedFd<'_>,
    new: &str,
) -> Result<(), PublishError> {
    match renameat_with(old_folder, old, new_folder, new, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(PublishError::Exists),
        Err(error) if refused(error) => link_and_unlink(old_folder, old, new_folder, new),
        Err(error) => Err(PublishError::Io(error.into())),
    }
}

/// The fallback for file systems that know no rename without replacing.
pub(super) fn link_and_unlink(
    old_folder: BorrowedFd<'_>,
    old: &str,
    new_folder: BorrowedFd<'_>,
    new: &str,
) -> Result<(), PublishError> {
    match linkat(old_folder, old, new_folder, new, AtFlags::empty()) {
        Ok(()) => {}
        // A link request repeated by the network client finds the name it made itself.
        Err(Errno::EXIST) if same_file(old_folder, old, new_folder, new) => {}
        Err(Errno::EXIST) => return Err(PublishError::Exists),
        Err(error) if cannot_link(error, statat(old_folder, old, AtFlags::SYMLINK_NOFOLLOW).is_ok()) => {
            return Err(PublishError::Io(io::Error::new(
                io::ErrorKind::Unsupported,
                "this folder can neither rename without replacing nor make hard links; write under the final name instead",
            )));
        }
        Err(error) => return Err(PublishError::Io(error.into())),
    }
    if let Err(error) = unlinkat(old_folder, old, AtFlags::empty()) {
        tracing::warn!(name = old, %error, "published, but the temporary name could not be removed");
    }
    Ok(())
}

fn same_file(old_folder: BorrowedFd<'_>, old: &str, new_folder: BorrowedFd<'_>, new: &str) -> bool {
    let old = statat(old_folder, old, AtFlags::SYMLINK_NOFOLLOW);
    let new = statat(new_folder, new, AtFlags::SYMLINK_NOFOLLOW);
    matches!((old, new), (Ok(a), Ok(b)) if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
}

/// Whether this folder makes no hard links. An rclone mount says `EIO` to every link; where the file itself can be looked at,
/// it is no outage.
fn cannot_link(error: Errno, file_is_there: bool) -> bool {
    refused(error) || error == Errno::MLINK || (error == Errno::IO && file_is_there)
}

// `NOTSUP` and `OPNOTSUPP` are one number on Linux; a sandbox that filters calls answers `NOSYS` or `PERM`.
fn refused(error: Errno) -> bool {
    [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::PERM].contains(&error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_output_error_means_that_there_are_no_links_only_where_the_file_is_there() {
        assert!(cannot_link(Errno::IO, true), "an rclone mount");
        assert!(!cannot_link(Errno::IO, false), "a share that is gone");
        assert!(
            cannot_link(Errno::PERM, false) && cannot_link(Errno::MLINK, true),
            "davfs2; a file with too many links"
        );
        assert!(!cannot_link(Errno::NOSPC, true) && !cannot_link(Errno::NOTCONN, true));
    }
}
