//! Which names the near folder takes: case, length, characters.
//!
//! hoft's own names are lower-case letters, digits, `-` and `.`, at most 64 bytes with their temporary form and 120 bytes below
//! the root; what else a folder refuses is told, but concerns nobody. Test to read first:
//! `ground.rs`, `an_ordinary_folder_is_measured`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::findings::{Case, Findings};
use super::ground::keep;
use super::session::{Interrupted, Session};

/// The longest name that is tried.
const NAME_BYTES: u64 = 1_024;
/// The longest path that is tried.
const PATH_BYTES: usize = 4_000;
/// Length of the folders on the way to it.
const STEP_BYTES: usize = 100;

/// Names as hoft writes them, below its root (wire format §13).
const OWN: [&str; 5] = [
    "00000000000003e9-8f00d5aa.hft",
    ".00000000000003e9-8f00d5aa.hft.part",
    "0f1e2d3c4b-5a69788796-a1b2c3d4-0000000003e9-8f00d5aa.hft",
    ".0f1e2d3c4b-5a69788796-a1b2c3d4-0000000003e9-8f00d5aa.hft.part",
    "0123456789abcdef0123456789abcdef/fedcba9876543210fedcba9876543210/0011223344556677/3e/00000000000003e9-8f00d5aa.hft",
];

/// Names that some folder somewhere refuses.
const OTHERS: [(&str, &str); 16] = [
    ("upper case", "HOFT-Name.HFT"),
    ("space", "hoft name"),
    (":", "hoft:name"),
    ("?", "hoft?name"),
    ("*", "hoft*name"),
    ("\"", "hoft\"name"),
    ("<", "hoft<name"),
    (">", "hoft>name"),
    ("|", "hoft|name"),
    ("\\", "hoft\\name"),
    ("%", "hoft%41name"),
    ("dot at the end", "hoft-name."),
    ("space at the end", "hoft-name "),
    ("line feed", "hoft\nname"),
    ("composed é", "hoft-\u{e9}"),
    ("decomposed é", "hoft-e\u{301}-"),
];

pub(super) fn measure(session: &Session, hidden: &Path, findings: &mut Findings) -> Result<(), Interrupted> {
    findings.folder.case = keep(findings, "case", case(hidden));
    let own: Vec<String> =
        OWN.iter().filter(|name| !takes(hidden, name, true)).map(|name| (*name).to_owned()).collect();
    findings.folder.refused_own_names = Some(own);
    let others =
        OTHERS.iter().filter(|(_, name)| !takes(hidden, name, false)).map(|(what, _)| (*what).to_owned()).collect();
    findings.folder.refused_other_names = Some(others);
    session.check()?;
    findings.folder.name_bytes_max = longest_name(hidden);
    findings.folder.path_bytes_max = Some(longest_path(session, hidden)?);
    Ok(())
}

fn case(hidden: &Path) -> io::Result<Case> {
    let folder = hidden.join("case");
    fs::create_dir(&folder)?;
    fs::write(folder.join("MiXed"), "x")?;
    if !folder.join("mIxED").exists() {
        return Ok(Case::Sensitive);
    }
    let kept = fs::read_dir(&folder)?.flatten().any(|entry| entry.file_name() == "MiXed");
    Ok(if kept { Case::Preserving } else { Case::Changing })
}

/// Can this name be made, and is it listed as it was made, or in other letters of the alphabet where that does not matter?
fn takes(hidden: &Path, name: &str, folded: bool) -> bool {
    let attempt = || -> io::Result<bool> {
        let path = hidden.join("names").join(name);
        let folder = path.parent().unwrap_or(hidden);
        fs::create_dir_all(folder)?;
        drop(File::create_new(&path)?);
        let last = name.rsplit('/').next().unwrap_or(name);
        let same = |found: &OsStr| found == last || folded && found.eq_ignore_ascii_case(last);
        let listed = fs::read_dir(folder)?.flatten().any(|entry| same(&entry.file_name()));
        fs::remove_file(&path)?;
        Ok(listed)
    };
    attempt().unwrap_or(false)
}

/// The length of the longest name, by halving.
fn longest_name(hidden: &Path) -> Option<u64> {
    let fits = |bytes: u64| {
        let name = "n".repeat(usize::try_from(bytes).unwrap_or(usize::MAX));
        takes(hidden, &name, true)
    };
    let (mut fitting, mut beyond) = (0, NAME_BYTES + 1);
    while beyond - fitting > 1 {
        let middle = fitting.midpoint(beyond);
        if fits(middle) { fitting = middle } else { beyond = middle }
    }
    (fitting > 0).then_some(fitting)
}

/// The length below the near folder of the longest path that can be made, in steps.
fn longest_path(session: &Session, hidden: &Path) -> Result<u64, Interrupted> {
    let mut path = hidden.join("path");
    let mut longest = 0;
    let hidden_bytes = hidden.file_name().map_or(0, OsStr::len);
    let mut bytes = hidden_bytes + "/path".len();
    while fs::create_dir(&path).is_ok() && bytes < PATH_BYTES {
        session.check()?;
        longest = bytes;
        path.push("p".repeat(STEP_BYTES));
        bytes += 1 + STEP_BYTES;
    }
    Ok(longest as u64)
}
