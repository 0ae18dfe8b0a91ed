//! `hoft inspect`, `hoft verify` and `hoft key` on packets that real engines wrote, and on everything else that may lie in a
//! mirrored folder.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::harness::{Line, Options, keygen};
use crate::process::{HOFT, eventually, folder, hoft};

/// What a run gave.
struct Ran {
    status: i32,
    out: String,
    err: String,
}

fn ran(mut command: Command) -> Ran {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let err = text(output.stderr);
    assert!(!err.contains("panicked"), "{command:?}: {err}");
    Ran { status: output.status.code().unwrap_or(-1), out: text(output.stdout), err }
}

fn tool(words: &[&str]) -> Ran {
    let mut command = hoft();
    command.args(words);
    ran(command)
}

fn word(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The one object of a run with --json.
#[track_caller]
fn json(words: &[&str]) -> (i32, Value) {
    let ran = tool(words);
    assert_eq!(ran.out.lines().count(), 1, "{words:?}: {}{}", ran.out, ran.err);
    (ran.status, serde_json::from_str(&ran.out).unwrap())
}

/// A body that does not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}

/// Packets that the near side wrote while its mirror stood still, with the configurations and tokens of both sides.
struct Caught {
    place: PathBuf,
    packets: Vec<PathBuf>,
    body: Vec<u8>,
}

impl Caught {
    fn token(&self, side: &str) -> String {
        self.place.join(side).join(format!("{side}.pub")).display().to_string()
    }

    fn config(&self, side: &str) -> String {
        self.place.join(side).join("hoft.yaml").display().to_string()
    }

    /// The packet with most frames.
    fn packet(&self) -> &Path {
        self.packets.iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
    }
}

fn below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "hft") {
            found.push(path);
        }
    }
}

/// Catches packets of a request with a large body.
fn catch(mode: &'static str) -> Caught {
    let line = Line::start(&Options { mode, ..Options::default() });
    let body = noise(700_000);
    line.assert_works();
    let outage = line.outage_from(&line.near);
    let call = line.door().call("POST", &line.url("/echo")).body(&body).begin().unwrap();
    let place = folder().keep();
    let far = line.far.config().display().to_string();
    let packets = eventually("the request is in packets", || {
        let mut found = Vec::new();
        below(&line.near.folder.join("out"), &mut found);
        let mut packets = Vec::new();
        let mut carried = 0;
        for (number, path) in found.iter().enumerate() {
            // What is published is whole; what was caught while it vanished is not there.
            let copy = place.join(format!("{number}.hft"));
            if fs::copy(path, &copy).is_err() {
                continue;
            }
            let (status, report) = json(&["inspect", "--json", "--config", &far, word(&copy)]);
            assert_eq!(status, 0, "{report}");
            let frames = report["frames"]["list"].as_array().unwrap();
            carried += frames.iter().map(|frame| frame["raw_bytes"].as_u64().unwrap()).sum::<u64>();
            packets.push(copy);
        }
        (carried > body.len() as u64).then_some(packets)
    });
    drop(outage);
    call.answer().unwrap();
    for side in ["north", "south"] {
        let (from, to) = (line.folder.path().join(side), place.join(side));
        fs::create_dir(&to).unwrap();
        for name in [format!("{side}.key"), format!("{side}.pub"), "hoft.yaml".to_owned()] {
            fs::copy(from.join(&name), to.join(&name)).unwrap();
        }
    }
    Caught { place, packets, body }
}

/// Signed packets that several tests look at.
fn signed() -> &'static Caught {
    static CAUGHT: OnceLock<Caught> = OnceLock::new();
    CAUGHT.get_or_init(|| catch("Signed"))
}

/// Sealed ones.
fn sealed() -> &'static Caught {
    static CAUGHT: OnceLock<Caught> = OnceLock::new();
    CAUGHT.get_or_init(|| catch("Sealed"))
}

#[test]
fn signed_packets_are_read_by_anyone_and_verified_with_the_token() {
    let caught = signed();
    let (status, report) = json(&["inspect", "--json", word(caught.packet())]);
    assert_eq!((status, report["verdict"].as_str(), report["content"].as_str()), (0, Some("whole"), Some("clear")));
    assert_eq!(report["origin"]["result"], "not_checked");
    assert_eq!(report["frames"]["verified"], report["frames"]["count"]);
    assert!(report["header"]["packet_number"].as_u64().unwrap() > 0);
    let token = caught.token("north");
    let mut words = vec!["verify", "--key", &token];
    words.extend(caught.packets.iter().map(|path| word(path)));
    let all = tool(&words);
    assert_eq!(all.status, 0, "{}{}", all.out, all.err);
    assert_eq!(all.out.lines().filter(|line| line.contains(": good: signed packet")).count(), caught.packets.len());
    // Without the file: the token itself.
    let text = fs::read_to_string(&token).unwrap();
    let (status, report) = json(&["verify", "--json", "--key", text.trim(), word(caught.packet())]);
    assert_eq!((status, report["verified"].as_bool(), report["frames_checked"].as_bool()), (0, Some(true), Some(true)));
    assert_eq!((report["origin"]["side"].as_str(), &report["reject"]), (Some("north"), &Value::Null));
}

#[test]
fn another_key_or_suite_does_not_verify() {
    let caught = signed();
    let (north, south) = (caught.token("north"), caught.token("south"));
    let (status, report) = json(&["verify", "--json", "--key", &south, word(caught.packet())]);
    assert_eq!((status, report["verified"].as_bool()), (1, Some(false)));
    assert_eq!((report["verdict"].as_str(), report["origin"]["result"].as_str()), (Some("whole"), Some("unknown_key")));
    let (status, report) = json(&["verify", "--json", "--key", &north, "--accept", "sealed", word(caught.packet())]);
    assert_eq!((status, report["reason"].as_str()), (1, Some("suite signed is not accepted")));
    // Somebody else's new keys of the same name.
    let place = folder();
    fs::create_dir(place.path().join("north")).unwrap();
    keygen(place.path(), "north");
    let forger = place.path().join("north/north.pub");
    assert_eq!(json(&["verify", "--json", "--key", word(&forger), word(caught.packet())]).0, 1);
    for (words, said) in [
        (vec!["verify", word(caught.packet())], "--key"),
        (vec!["verify", "--key", "hoft1AAAA", word(caught.packet())], "token"),
        (vec!["verify", "--key", "/no/such/token", word(caught.packet())], "/no/such/token"),
        (vec!["verify", "--key", &north, "--accept", "best", word(caught.packet())], "best"),
        (vec!["verify", "--key", &north], "FILE"),
    ] {
        let ran = tool(&words);
        assert_eq!(ran.status, 2, "{words:?}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains(said) && ran.out.is_empty(), "{words:?}: {}", ran.err);
    }
}

#[test]
fn a_cut_at_every_boundary_is_named_and_does_not_verify() {
    let caught = signed();
    let packet = fs::read(caught.packet()).unwrap();
    let (_, whole) = json(&["inspect", "--json", word(caught.packet())]);
    let mut places: Vec<u64> =
        whole["parts"].as_array().unwrap().iter().map(|part| part["at"].as_u64().unwrap()).collect();
    let frames = whole["frames"]["list"].as_array().unwrap();
    places.extend(frames.iter().map(|frame| frame["at"].as_u64().unwrap()));
    let place = folder();
    let path = place.path().join("cut.hft");
    let token = caught.token("north");
    for at in places.into_iter().filter(|at| *at > 0) {
        for len in [at - 1, at, at + 1] {
            fs::write(&path, &packet[..usize::try_from(len).unwrap()]).unwrap();
            let (status, report) = json(&["verify", "--json", "--key", &token, word(&path)]);
            assert_eq!((status, report["verdict"].as_str()), (1, Some("cut")), "{len}: {report}");
            assert_eq!(report["cut"]["at"].as_u64(), Some(len), "{report}");
            let ends = |frame: &&Value| frame["at"].as_u64().unwrap() + frame["stored_bytes"].as_u64().unwrap() <= len;
            let there = u64::try_from(frames.iter().filter(ends).count()).unwrap();
            assert_eq!(report["frames"]["verified"].as_u64().unwrap_or(0), there, "{len}");
        }
    }
    let ran = tool(&["inspect", word(&path)]);
    assert!(ran.status == 1 && ran.out.contains("CUT") && ran.out.contains("it ends at byte"), "{}", ran.out);
}

#[test]
fn flipped_bits_do_not_verify() {
    let caught = signed();
    let packet = fs::read(caught.packet()).unwrap();
    let place = folder();
    let path = place.path().join("flipped.hft");
    let token = caught.token("north");
    let (_, whole) = json(&["inspect", "--json", word(caught.packet())]);
    let parts = whole["parts"].as_array().unwrap();
    for part in parts.iter().filter(|part| part["bytes"] != 0) {
        let at = usize::try_from(part["at"].as_u64().unwrap() + part["bytes"].as_u64().unwrap() / 2).unwrap();
        let mut flipped = packet.clone();
        flipped[at] ^= 0x20;
        fs::write(&path, flipped).unwrap();
        let (status, report) = json(&["verify", "--json", "--key", &token, word(&path)]);
        assert_eq!((status, report["verified"].as_bool()), (1, Some(false)), "{part}: {report}");
        assert!(!report["reason"].as_str().unwrap().is_empty());
    }
}

#[test]
fn sealed_packets_show_their_inside_to_their_recipient_only() {
    let caught = sealed();
    let packet = word(caught.packet());
    let (token, near, far) = (caught.token("north"), caught.config("north"), caught.config("south"));
    let (status, report) = json(&["verify", "--json", "--key", &token, packet]);
    assert_eq!(
        (status, report["content"].as_str(), report["frames_checked"].as_bool()),
        (0, Some("sealed"), Some(false))
    );
    assert_eq!((&report["control"], &report["frames"]), (&Value::Null, &Value::Null));
    let (status, report) = json(&["verify", "--json", "--config", &far, packet]);
    assert_eq!(
        (status, report["content"].as_str(), report["frames_checked"].as_bool()),
        (0, Some("opened"), Some(true))
    );
    assert_eq!(report["header"]["sender"]["name"], "north gateway 0");
    assert_eq!(report["frames"]["verified"], report["frames"]["count"]);
    let (status, report) = json(&["inspect", "--json", "--config", &near, packet]);
    assert_eq!(
        (status, report["content"].as_str(), report["origin"]["own"].as_bool()),
        (0, Some("sealed"), Some(true))
    );
    let text = tool(&["inspect", "--config", &far, packet]).out;
    for word in ["VERIFIED: signed by side north", "opened with the given keys", "(south gateway 0)", "DATA"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

/// The file's offsets are the stream's, so pieces of a body over several packets fit together.
#[test]
fn a_scanner_gets_the_bodies_of_signed_packets() {
    let caught = signed();
    let place = folder();
    let mut words = vec!["inspect", "--json", "--extract", word(place.path())];
    words.extend(caught.packets.iter().map(|path| word(path)));
    let first = tool(&words);
    assert_eq!(first.status, 0, "{}", first.err);
    let mut pieces = Vec::new();
    for entry in fs::read_dir(place.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let (rest, offset) = name.rsplit_once("-offset-").unwrap();
        let stream: u64 = rest.rsplit_once("-stream-").unwrap().1.parse().unwrap();
        pieces.push((stream, offset.parse::<usize>().unwrap(), fs::read(&path).unwrap()));
    }
    let last = pieces.iter().map(|(stream, ..)| *stream).max().unwrap();
    pieces.retain(|(stream, ..)| *stream == last);
    let begin = pieces.iter().map(|(_, offset, _)| *offset).min().unwrap();
    let mut body = vec![0; caught.body.len()];
    for (_, offset, bytes) in pieces {
        body[offset - begin..][..bytes.len()].copy_from_slice(&bytes);
    }
    assert!(body == caught.body, "the body that was sent is not the one that was written out");
    let again = tool(&words);
    assert!(again.status == 2 && again.err.contains("not overwritten"), "{}", again.err);
}

#[test]
fn what_is_no_packet_gets_a_verdict_of_its_own() {
    let place = folder();
    let at = |name: &str| place.path().join(name);
    fs::write(at("empty"), b"").unwrap();
    fs::write(at("garbage"), noise(100_000)).unwrap();
    fs::write(at("foreign"), b"%PDF-1.7\n").unwrap();
    fs::create_dir(at("folder")).unwrap();
    symlink("garbage", at("link")).unwrap();
    assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    for (name, status, verdict, reject) in [
        ("empty", 1, "no_packet", Some("short")),
        ("garbage", 1, "no_packet", Some("magic")),
        ("foreign", 1, "no_packet", Some("short")),
        ("folder", 2, "unreadable", Some("not_regular")),
        ("link", 2, "unreadable", Some("not_regular")),
        ("pipe", 2, "unreadable", Some("not_regular")),
        ("nothing", 2, "unreadable", None),
    ] {
        let path = at(name);
        for words in
            [["inspect", "--json", word(&path)].as_slice(), &["verify", "--json", "--accept", "checksum", word(&path)]]
        {
            let (found, report) = json(words);
            assert_eq!(
                (found, report["verdict"].as_str(), report["reject"].as_str()),
                (status, Some(verdict), reject),
                "{name}"
            );
            assert!(!report["findings"][0].as_str().unwrap().is_empty());
        }
    }
    // Several files: each has its verdict, and the worst counts.
    let ran = tool(&["inspect", word(&at("empty")), word(&at("link")), word(&at("garbage"))]);
    assert_eq!((ran.status, ran.out.matches("verdict").count()), (2, 3), "{}", ran.out);
}

/// A gibibyte behind a genuine beginning, and one of nothing: neither is held in memory.
#[test]
fn a_gibibyte_is_looked_at_in_bounded_memory() {
    let caught = signed();
    let place = folder();
    let (longer, nothing) = (place.path().join("longer.hft"), place.path().join("nothing.hft"));
    fs::copy(caught.packet(), &longer).unwrap();
    File::create(&nothing).unwrap();
    for path in [&longer, &nothing] {
        File::options().write(true).open(path).unwrap().set_len(1 << 30).unwrap();
    }
    // Half of it at most, the program's own pages included.
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "ulimit -v 524288 && exec \"$@\"",
        "sh",
        HOFT,
        "inspect",
        "--json",
        word(&longer),
        word(&nothing),
    ]);
    let ran = ran(shell);
    assert_eq!(ran.status, 1, "{}{}", ran.out, ran.err);
    let reports: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((reports[0]["verdict"].as_str(), reports[1]["verdict"].as_str()), (Some("damaged"), Some("no_packet")));
    assert_eq!(reports[0]["frames"]["verified"], reports[0]["frames"]["count"]);
    assert_eq!(
        reports[0]["trailing_bytes"].as_u64().unwrap() + reports[0]["header"]["total_bytes"].as_u64().unwrap(),
        1 << 30
    );
}

#[test]
fn keys_are_shown_without_their_secrets() {
    let place = folder();
    fs::create_dir(place.path().join("north")).unwrap();
    keygen(place.path(), "north");
    let (secret, public) = (place.path().join("north/north.key"), place.path().join("north/north.pub"));
    let token = fs::read_to_string(&public).unwrap().trim().to_owned();
    let seeds = fs::read_to_string(&secret).unwrap();
    let seeds: Vec<&str> = seeds
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(_, value)| value)
        .filter(|value| value.len() == 64)
        .collect();
    assert_eq!(seeds.len(), 3);
    let made = tool(&["key", "public", word(&secret)]);
    assert_eq!((made.status, made.out.trim()), (0, token.as_str()), "{}", made.err);
    let fingerprint = tool(&["key", "fingerprint", word(&secret)]).out;
    assert!(made.err.contains(fingerprint.trim()) && fingerprint.trim().len() == 29);
    for given in [word(&secret), word(&public), &token] {
        assert_eq!(tool(&["key", "fingerprint", given]).out, fingerprint, "{given}");
        for words in [&["key", "show", given][..], &["key", "show", "--json", given]] {
            let shown = tool(words);
            assert!(shown.status == 0 && shown.out.contains(fingerprint.trim()), "{}{}", shown.out, shown.err);
            assert!(seeds.iter().all(|seed| !shown.out.contains(seed) && !shown.err.contains(seed)));
        }
    }
    let later = tool(&["key", "public", word(&secret), "--version", "2", "--not-after", "2099-01-01"]).out;
    let shown: Value = serde_json::from_str(&tool(&["key", "show", "--json", later.trim()]).out).unwrap();
    assert_eq!((shown["version"].as_u64(), shown["not_after"].as_str()), (Some(2), Some("2099-01-01T00:00:00.000Z")));
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    for command in ["show", "public", "fingerprint"] {
        let refused = tool(&["key", command, word(&secret)]);
        assert!(refused.status == 1 && refused.out.is_empty() && refused.err.contains("chmod 600"), "{}", refused.err);
        assert_eq!(tool(&["key", command, "--allow-readable", word(&secret)]).status, 0);
    }
}
