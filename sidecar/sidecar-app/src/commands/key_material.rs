//! What people name as keys on the command line: a public token, a file with one, or a secret-key file.
//!
//! Invariants: no message repeats anything of a secret; a secret-key file that others can use is refused as an engine
//! refuses it, unless that is allowed; only regular files of bounded length are read. It does not judge whether a key is
//! wanted. Test to read first: `a_token_a_file_and_a_secret_are_told_apart`.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use identity::{Identity, SECRET_FILE_LEN_MAX};
use rustix::fs::OFlags;
use wire::Bundle;
use wire::limits::MAX_TOKEN;
use wire::token::{TOKEN_PREFIX, parse_token};
use zeroize::Zeroizing;

/// What every secret-key file begins with.
const SECRET_BEGINS: &[u8] = b"hoft-secret-key";
const FILE_LEN_MAX: usize = if SECRET_FILE_LEN_MAX > MAX_TOKEN { SECRET_FILE_LEN_MAX } else { MAX_TOKEN };

/// What was named.
pub enum Material {
    /// A public token.
    Public(Box<Bundle>),
    /// The keys of a secret-key file.
    Secret(Box<Identity>),
}

/// Reads a token or a file of either kind.
///
/// # Errors
/// Naming what was given, what is wrong with it and what to do.
pub fn read(given: &str, allow_readable: bool) -> Result<Material> {
    if given.starts_with(TOKEN_PREFIX) {
        let bundle =
            parse_token(given).context("the token given cannot be used (for a file, write ./ before its name)")?;
        return Ok(Material::Public(Box::new(bundle)));
    }
    let path = Path::new(given);
    let bytes = contents(path)?;
    if bytes.trim_ascii_start().starts_with(SECRET_BEGINS) {
        return secret(path, allow_readable).map(|identity| Material::Secret(Box::new(identity)));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| neither(path))?;
    if !text.trim_start().starts_with(TOKEN_PREFIX) {
        return Err(neither(path));
    }
    let bundle = parse_token(text).with_context(|| format!("the token in {} cannot be used", path.display()))?;
    Ok(Material::Public(Box::new(bundle)))
}

/// Reads a secret-key file.
///
/// # Errors
/// As [`read`]; a token is refused.
pub fn secret(path: &Path, allow_readable: bool) -> Result<Identity> {
    let bytes = disk::secret::read_secret_file(path, allow_readable)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| neither(path))?;
    Identity::parse_secret(text).with_context(|| format!("the secret keys in {} cannot be used", path.display()))
}

fn neither(path: &Path) -> anyhow::Error {
    anyhow!("{} holds neither a public token (hoft1…) nor secret keys of `hoft keygen`", path.display())
}

/// A small regular file, whole. A secret may be in it.
fn contents(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let unread = || format!("{} cannot be read", path.display());
    // Without NONBLOCK, opening a pipe would wait for its writer.
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).with_context(unread)?;
    if !file.metadata().with_context(unread)?.is_file() {
        bail!("{} is not a regular file; name the file of the token or of the keys", path.display());
    }
    // In one piece: growing would leave copies of a secret.
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_LEN_MAX + 2));
    file.take(FILE_LEN_MAX as u64 + 1).read_to_end(&mut bytes).with_context(unread)?;
    if bytes.len() > FILE_LEN_MAX {
        bail!("{} is longer than any token or secret-key file", path.display());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn keys() -> Identity {
        Identity::from_seeds("north", &[1; 32], &[2; 32], &[3; 32]).unwrap()
    }

    fn refused(given: &str) -> String {
        match read(given, false) {
            Ok(_) => String::new(),
            Err(error) => error.chain().map(|cause| format!("{cause}\n")).collect(),
        }
    }

    #[test]
    fn a_token_a_file_and_a_secret_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let token = keys().bundle(1, 0, 0).to_token().unwrap();
        let (public, private) = (folder.path().join("a.pub"), folder.path().join("a.key"));
        std::fs::write(&public, format!("\n {token}\n")).unwrap();
        disk::secret::write_secret_file(&private, keys().encode_secret().as_bytes()).unwrap();
        for given in [token.as_str(), public.to_str().unwrap()] {
            assert!(matches!(read(given, false), Ok(Material::Public(bundle)) if bundle.side == "north"), "{given}");
        }
        let found = read(private.to_str().unwrap(), false);
        assert!(matches!(found, Ok(Material::Secret(identity)) if identity.fingerprint() == keys().fingerprint()));
        assert!(secret(&public, true).is_err());
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused_unless_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        disk::secret::write_secret_file(&path, keys().encode_secret().as_bytes()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let given = path.to_str().unwrap();
        assert!(refused(given).contains("chmod 600"), "{}", refused(given));
        assert!(read(given, true).is_ok());
    }

    #[test]
    fn what_is_neither_is_refused_without_repeating_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let seeds = keys().encode_secret().replace("x-wing", "x-wong");
        let edited = file("edited", seeds.as_bytes());
        std::fs::set_permissions(&edited, std::fs::Permissions::from_mode(0o600)).unwrap();
        let hex = "03".repeat(32);
        let long = file("long", &vec![b'a'; FILE_LEN_MAX + 1]);
        let noise = file("noise", &[0xff; 100]);
        let folder_given = folder.path().to_str().unwrap().to_owned();
        for given in ["hoft1AAAA", "no such file", &edited, &long, &noise, &folder_given, "/dev/null", "/dev/zero"] {
            let said = refused(given);
            assert!(!said.is_empty(), "{given} was taken");
            assert!(!said.contains(&hex), "{said}");
        }
    }
}
