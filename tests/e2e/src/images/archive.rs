//! Writes a docker-archive: a tar with one layer (itself a tar), a configuration and a manifest.
//!
//! Invariant: the same input gives the same bytes (no times, no owners other than root). It compresses nothing and
//! reads no archive. Format: ustar; names stay below its 100 bytes.

use anyhow::ensure;
use serde_json::json;
use sha2::{Digest, Sha256};

const BLOCK: usize = 512;
const NAME_LENGTH_MAX: usize = 100;

/// One file, folder or symbolic link of a layer.
#[derive(Clone, Debug)]
pub struct Entry {
    name: String,
    mode: u32,
    kind: u8,
    target: String,
    content: Vec<u8>,
}

impl Entry {
    /// A folder.
    #[must_use]
    pub fn folder(name: &str, mode: u32) -> Self {
        Self { name: format!("{name}/"), mode, kind: b'5', target: String::new(), content: Vec::new() }
    }

    /// A file with its content.
    #[must_use]
    pub fn file(name: &str, mode: u32, content: Vec<u8>) -> Self {
        Self { name: name.to_owned(), mode, kind: b'0', target: String::new(), content }
    }

    /// A symbolic link.
    #[must_use]
    pub fn link(name: &str, target: &str) -> Self {
        Self { name: name.to_owned(), mode: 0o777, kind: b'2', target: target.to_owned(), content: Vec::new() }
    }
}

/// An image of one layer.
#[derive(Clone, Debug)]
pub struct Image<'a> {
    /// Its full name with the tag.
    pub name: &'a str,
    /// What runs if a pod names no command.
    pub command: &'a [&'a str],
    /// What is in it.
    pub files: Vec<Entry>,
}

impl Image<'_> {
    /// The archive that `ctr images import` reads.
    ///
    /// # Errors
    /// A name is too long.
    pub fn to_docker_archive(&self) -> anyhow::Result<Vec<u8>> {
        let layer = tar(&self.files)?;
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {"Cmd": self.command, "Env": ["PATH=/bin"], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", digest(&layer))]},
        });
        let config = serde_json::to_vec(&config)?;
        let config_name = format!("{}.json", digest(&config));
        let manifest = json!([{"Config": config_name, "RepoTags": [self.name], "Layers": ["layer.tar"]}]);
        tar(&[
            Entry::file("layer.tar", 0o644, layer),
            Entry::file(&config_name, 0o644, config),
            Entry::file("manifest.json", 0o644, serde_json::to_vec(&manifest)?),
        ])
    }
}

/// The SHA-256 in hexadecimal digits.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A ustar archive of the entries.
///
/// # Errors
/// A name or a link's target is longer than the format holds.
fn tar(entries: &[Entry]) -> anyhow::Result<Vec<u8>> {
    let mut archive = Vec::new();
    for entry in entries {
        archive.extend_from_slice(&header(entry)?);
        archive.extend_from_slice(&entry.content);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    Ok(archive)
}

fn header(entry: &Entry) -> anyhow::Result<[u8; BLOCK]> {
    for text in [&entry.name, &entry.target] {
        ensure!(text.len() < NAME_LENGTH_MAX, "the name {text} is too long for a tar of the plain kind");
    }
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, entry.name.as_bytes());
    put(100, format!("{:07o}\0", entry.mode).as_bytes());
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", entry.content.len()).as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[entry.kind]);
    put(157, entry.target.as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(block)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn an_ordinary_tar_reads_the_archive_and_its_layer() {
        let files = vec![
            Entry::folder("bin", 0o755),
            Entry::file("bin/hello", 0o750, b"hello".to_vec()),
            Entry::link("bin/again", "/bin/hello"),
        ];
        let image = Image { name: "example/hello:1", command: &["/bin/hello"], files };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.tar");
        std::fs::write(&path, image.to_docker_archive().unwrap()).unwrap();
        let tar = |arguments: &[&str]| {
            let output = Command::new("tar").args(arguments).current_dir(folder.path()).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        tar(&["-xf", "image.tar"]);
        let listed = tar(&["-tvf", "layer.tar"]);
        assert!(listed.contains("-rwxr-x---") && listed.contains("bin/again -> /bin/hello"), "{listed}");
        tar(&["-xf", "layer.tar"]);
        assert_eq!(std::fs::read(folder.path().join("bin/hello")).unwrap(), b"hello");
    }
}
