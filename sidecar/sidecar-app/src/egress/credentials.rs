//! Fields whose values stand in files: read anew for every call, so that a changed file counts at once.
//!
//! Invariants: a value is in no log, no error and no record; it is sent to the rule's server only; a file that cannot be
//! read refuses the call (`executed: no`) instead of making it without the field. Files must not be readable by others
//! unless the configuration allows that for all secrets. Test to read first: `a_changed_file_counts_at_the_next_call`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use disk::secret::read_secret_file;
use http::{HeaderMap, HeaderName, HeaderValue};
use layer2_http::operation::Executed;
use layer2_http::problem::{Problem, ProblemKind};
use sidecar_config::far_side::Injected;
use zeroize::Zeroizing;

/// Longest value, in octets.
const VALUE_BYTES_MAX: usize = 16 * 1024;

/// A file with a secret.
#[derive(Clone, Debug)]
pub(super) struct SecretFile {
    /// Where it is.
    pub(super) path: PathBuf,
    /// May others read it, as a mounted Secret?
    pub(super) allow_readable: bool,
}

impl SecretFile {
    /// The text in it, without line ends at its end.
    ///
    /// # Errors
    /// When it cannot be read, or holds no text of a line.
    pub(super) fn read(&self) -> Result<Zeroizing<String>> {
        let bytes = read_secret_file(&self.path, self.allow_readable)?;
        let name = self.path.display();
        let text = std::str::from_utf8(&bytes).map_err(|_| anyhow!("secret file {name} is not text"))?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            bail!("secret file {name} is empty");
        }
        if text.len() > VALUE_BYTES_MAX {
            bail!("secret file {name} holds more than {VALUE_BYTES_MAX} octets");
        }
        Ok(Zeroizing::new(text.to_owned()))
    }

    /// As [`Self::read`], off the runtime's threads.
    pub(super) async fn read_apart(self) -> Result<Zeroizing<String>> {
        tokio::task::spawn_blocking(move || self.read()).await.context("the reading was cut off")?
    }
}

/// The fields that one rule adds.
#[derive(Clone, Debug, Default)]
pub(super) struct Credentials(Arc<[Entry]>);

#[derive(Clone, Debug)]
struct Entry {
    field: HeaderName,
    file: SecretFile,
    prefix: String,
}

impl Credentials {
    /// The fields of a rule.
    ///
    /// # Errors
    /// When a file cannot be read or holds no field value: better at the start than at the first call.
    pub(super) fn new(listed: &[Injected], allow_readable: bool) -> Result<Self> {
        let entries = listed.iter().map(|one| {
            let field = HeaderName::from_bytes(one.field.as_bytes())?;
            let file = SecretFile { path: one.file.clone(), allow_readable };
            let entry = Entry { field, file, prefix: one.prefix.clone() };
            entry.read().with_context(|| format!("credentials.{}.file", one.field))?;
            Ok(entry)
        });
        Ok(Self(entries.collect::<Result<_>>()?))
    }

    /// Puts them into a request, in the place of what its caller sent under their names.
    ///
    /// # Errors
    /// When a file cannot be read: the call is not made.
    pub(super) async fn add_to(&self, fields: &mut HeaderMap, rule: &str) -> Result<(), Problem> {
        if self.0.is_empty() {
            return Ok(());
        }
        let entries = Arc::clone(&self.0);
        let read = move || entries.iter().map(Entry::read).collect::<Result<Vec<_>>>();
        let values = match tokio::task::spawn_blocking(read).await {
            Ok(Ok(values)) => values,
            Ok(Err(error)) => return Err(missing(rule, &error)),
            Err(error) => return Err(missing(rule, &error.into())),
        };
        for (entry, value) in self.0.iter().zip(values) {
            fields.insert(entry.field.clone(), value);
        }
        Ok(())
    }
}

impl Entry {
    fn read(&self) -> Result<HeaderValue> {
        let secret = self.file.read()?;
        let mut value = Zeroizing::new(Vec::with_capacity(self.prefix.len() + secret.len()));
        value.extend_from_slice(self.prefix.as_bytes());
        value.extend_from_slice(secret.as_bytes());
        // The error of the conversion says nothing of the value.
        let value = HeaderValue::from_bytes(&value);
        let mut value = value.map_err(|_| anyhow!("secret file {} holds no field value", self.file.path.display()))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// What the caller is told; what the file is called stays here.
pub(super) fn missing(rule: &str, error: &anyhow::Error) -> Problem {
    tracing::warn!(rule, error = format!("{error:#}"), "the credentials of a rule cannot be read");
    let detail = format!("the credentials of the far side's inbound rule `{rule}` cannot be read; its log says why");
    Problem::new(ProblemKind::CredentialsMissing, detail).executed(Executed::No)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    fn write(path: &Path, text: &[u8]) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn one(path: &Path) -> Vec<Injected> {
        vec![Injected { field: "x-key".to_owned(), file: path.to_owned(), prefix: "Token ".to_owned() }]
    }

    #[tokio::test]
    async fn a_changed_file_counts_at_the_next_call() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write(&path, b"first\r\n");
        let credentials = Credentials::new(&one(&path), false).unwrap();
        let mut fields = HeaderMap::new();
        fields.append("x-key", "the caller's".parse().unwrap());
        fields.append("x-key", "twice".parse().unwrap());
        credentials.add_to(&mut fields, "erp").await.unwrap();
        let values = |fields: &HeaderMap| fields.get_all("x-key").iter().cloned().collect::<Vec<_>>();
        assert_eq!(values(&fields), ["Token first"]);
        assert!(!format!("{fields:?}").contains("first"));
        // As Kubernetes does it: another file takes the name.
        write(&folder.path().join("next"), b"second");
        std::fs::rename(folder.path().join("next"), &path).unwrap();
        credentials.add_to(&mut fields, "erp").await.unwrap();
        assert_eq!(values(&fields), ["Token second"]);
        std::fs::remove_file(&path).unwrap();
        let problem = credentials.add_to(&mut fields, "erp").await.unwrap_err();
        assert_eq!((problem.kind, problem.executed), (ProblemKind::CredentialsMissing, Some(Executed::No)));
        assert!(problem.detail.contains("`erp`") && !problem.detail.contains("key\""), "{}", problem.detail);
        assert!(!problem.detail.contains(&folder.path().display().to_string()), "{}", problem.detail);
    }

    #[test]
    fn what_is_no_field_value_is_refused_at_the_start_without_being_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for content in [&b""[..], b"\n", b"hunter2\nsecond line", b"hunter2\0", b"hunter2\xff", &[b'x'; 20_000]] {
            write(&path, content);
            let error = format!("{:#}", Credentials::new(&one(&path), false).unwrap_err());
            assert!(error.contains("credentials.x-key.file") && !error.contains("hunter2"), "{error}");
        }
        write(&path, b"good");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Credentials::new(&one(&path), false).is_err());
        assert!(Credentials::new(&one(&path), true).is_ok());
    }
}
