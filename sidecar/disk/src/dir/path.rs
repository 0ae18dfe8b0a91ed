//! The one place that decides which relative paths are allowed.
//!
//! Invariant: a path accepted here, joined below a root part by part without following links, stays below
//! that root. It does not restrict the characters of a name beyond that. Test: `refuses_every_escape`.

use std::io;

/// The longest name of one file or folder, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 255;

/// The parts of a path; none for the root itself.
pub(super) fn parts(path: &str) -> io::Result<Vec<&str>> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let parts: Vec<&str> = path.split('/').collect();
    for part in &parts {
        check_name(part)?;
    }
    Ok(parts)
}

/// The folder's parts and the last name of a path that must name something below the root.
pub(super) fn split(path: &str) -> io::Result<(Vec<&str>, &str)> {
    let mut all = parts(path)?;
    match all.pop() {
        Some(name) => Ok((all, name)),
        None => Err(refused("the path is empty")),
    }
}

fn check_name(name: &str) -> io::Result<()> {
    match name {
        "" => Err(refused("a path is relative and has no empty part")),
        "." | ".." => Err(refused("a path has no \".\" or \"..\" part")),
        _ if name.contains('\0') => Err(refused("a path has no NUL")),
        _ if name.len() > NAME_BYTES_MAX => Err(io::Error::from(io::ErrorKind::InvalidFilename)),
        _ => Ok(()),
    }
}

fn refused(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// The error for anything that is not a regular file.
pub(super) fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_every_escape() {
        for bad in ["/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a\0b", "a/../../b"] {
            let error = parts(bad).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{bad:?}");
        }
        assert!(parts(&"x".repeat(256)).is_err());
        assert!(split("").is_err());
    }

    #[test]
    fn splits_what_is_allowed() {
        assert!(parts("").unwrap().is_empty());
        assert_eq!(parts("a/...b/c.hft").unwrap(), ["a", "...b", "c.hft"]);
        assert_eq!(split("a/b").unwrap(), (vec!["a"], "b"));
        assert_eq!(split(".x.part").unwrap(), (vec![], ".x.part"));
    }
}
