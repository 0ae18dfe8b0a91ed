//! Ordinary programs: curl and Python through two engines that were started by hand from two configuration files.
//!
//! A program that is missing is skipped with a message; `HOFT_REQUIRE=curl,python` makes that a failure.

use std::path::Path;
use std::process::Command;

use crate::harness::free_port;
use crate::process::{Process, eventually, folder, hoft, run, tail};
use crate::shared::line;
use crate::upstream::Upstream;

/// True when the program is there; else says that the test is skipped, or fails if it is required.
pub(crate) fn is_there(program: &str, name: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        let required = std::env::var("HOFT_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|word| word.trim() == name),
            "HOFT_REQUIRE names {name}: `{program}` is missing"
        );
        println!("SKIPPED: `{program}` is missing on this machine, so nothing was tested with it");
    }
    found
}

/// The Python of `requirements.txt` beside this file, if it was set up: `$HOFT_CACHE/pyclients`, as `.ci/run` makes it.
/// Else a test is skipped, and `HOFT_REQUIRE=pyclients` makes that a failure.
pub(crate) fn pyclients() -> Option<Command> {
    let cache = std::env::var_os("HOFT_CACHE").map(std::path::PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME")?;
        Some(Path::new(&home).join(".cache/hoft"))
    });
    let python = cache.unwrap_or_default().join("pyclients/bin/python3").display().to_string();
    is_there(&python, "pyclients").then(|| program(&python))
}

/// A program without the proxy settings of whoever runs the test.
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    for variable in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(variable).env_remove(variable.to_uppercase());
    }
    command
}

/// What a program wrote to its standard output; it must end well.
#[track_caller]
pub(crate) fn output_of(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn curl_calls_through_the_proxy_and_through_a_route() {
    if !is_there("curl", "curl") {
        return;
    }
    let line = line();
    let (proxy, url) = (format!("http://127.0.0.1:{}", line.door().port), line.url("/echo"));
    let silent = ["--silent", "--show-error", "--fail", "--max-time", "150"];
    let mut posting = program("curl");
    let said = output_of(posting.args(silent).args(["-x", &proxy, "--data-binary", "by curl", &url]));
    assert_eq!(said, "by curl");
    let route = format!("{proxy}/to/up/fixed/5");
    assert_eq!(output_of(program("curl").args(silent).arg(&route)), "01234");
    // A large body with Expect: 100-continue, chunked.
    let file = line.folder.path().join("curl-upload");
    std::fs::write(&file, crate::upstream::fixed(3_000_000)).unwrap();
    let from = format!("@{}", file.display());
    let mut large = program("curl");
    large.args(silent).args(["-x", &proxy, "-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue"]);
    let echoed = output_of(large.args(["--data-binary", &from, &url]));
    assert!(echoed.as_bytes() == crate::upstream::fixed(3_000_000));
    let mut refused = program("curl");
    refused.args(["--silent", "-o", "/dev/null", "-w", "%{http_code}", "-x", &proxy, "http://nowhere.example/"]);
    assert_eq!(output_of(&mut refused), "403");
}

#[test]
fn an_ordinary_python_program_calls_through_http_proxy() {
    if !is_there("python3", "python") {
        return;
    }
    let line = line();
    let script = "import sys, urllib.request as r\n\
        print(r.urlopen(sys.argv[1] + '/fixed/7', timeout=150).read().decode(), end='')\n\
        print(r.urlopen(sys.argv[1] + '/echo', data=b'|by python', timeout=150).read().decode(), end='')\n";
    let mut python = program("python3");
    python.env("http_proxy", format!("http://127.0.0.1:{}", line.door().port));
    assert_eq!(output_of(python.args(["-c", script, &line.url("")])), "0123456|by python");
}

#[test]
fn requests_calls_through_http_proxy() {
    let Some(mut python) = pyclients() else { return };
    let line = line();
    let script = "import sys, requests\n\
        session = requests.Session()\n\
        print(session.get(sys.argv[1] + '/fixed/7', timeout=150).text, end='')\n\
        print(session.post(sys.argv[1] + '/echo', data=b'|by requests', timeout=150).text, end='')\n";
    python.env("http_proxy", format!("http://127.0.0.1:{}", line.door().port));
    assert_eq!(output_of(python.args(["-c", script, &line.url("")])), "0123456|by requests");
}

/// What a new user does: `config init`, name what is allowed, `config check`, two mirrors, two engines, a call.
#[test]
fn what_config_init_writes_works_after_naming_what_is_allowed() {
    let upstream = Upstream::start();
    let place = folder();
    let dir = place.path().display().to_string();
    let (status, said) = run(&["config", "init", &dir]);
    assert!(status.success(), "{said}");
    for hint in ["hoft mirror --from", "hoft sidecar --config", "fingerprint"] {
        assert!(said.contains(hint), "{said}");
    }
    let mut ports = Vec::new();
    for side in ["north", "south"] {
        let file = place.path().join(side).join("hoft.yaml");
        let (status, said) = run(&["config", "check", &file.display().to_string()]);
        assert!(status.success() && said.contains("good"), "{said}");
        let (proxy, admin) = (free_port(), free_port());
        ports.push((proxy, admin));
        edit(&file, proxy, admin, upstream.port);
        let (status, said) = run(&["config", "check", &file.display().to_string()]);
        assert!(status.success() && said.contains("good"), "{said}");
    }
    // Again into the same place: nothing is overwritten.
    let (status, said) = run(&["config", "init", &dir]);
    assert!(!status.success() && said.contains("exists already"), "{said}");

    let start = |log: &str, arguments: &[String]| {
        let mut command = hoft();
        command.args(arguments);
        Process::start(command, &place.path().join(log))
    };
    let mirror = |from: &str, to: &str| {
        let words = ["mirror", "--from", &format!("{dir}/{from}/out"), "--to", &format!("{dir}/{to}/in")];
        start(&format!("{from}-mirror.log"), &words.map(str::to_owned))
    };
    let engine = |side: &str| {
        let words = ["sidecar", "--config", &format!("{dir}/{side}/hoft.yaml")];
        start(&format!("{side}.log"), &words.map(str::to_owned))
    };
    let _mirrors = [mirror("north", "south"), mirror("south", "north")];
    let _engines = [engine("south"), engine("north")];
    let logs = || tail(&place.path().join("north.log")) + &tail(&place.path().join("south.log"));
    for (_, admin) in &ports {
        eventually("the engines are ready", || {
            let answer = crate::client::Door::at(*admin).call("GET", "/readyz").try_send();
            answer.is_ok_and(|answer| answer.status == 200).then_some(())
        });
    }
    let door = crate::client::Door::at(ports[0].0);
    let answer = door.call("GET", "/to/erp/fixed/3").try_send().unwrap_or_else(|error| panic!("{error}\n{}", logs()));
    assert_eq!((answer.status, answer.text().as_str()), (200, "012"), "{}", logs());
    let answer = door.post(&upstream.url("/echo"), b"hello");
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{}", logs());
}

/// Puts ports and the upstream into a file as `config init` wrote it.
fn edit(file: &Path, proxy: u16, admin: u16, upstream: u16) {
    let mut text = std::fs::read_to_string(file).unwrap();
    for (from, to) in [
        ("https://erp.example/v1".to_owned(), format!("http://127.0.0.1:{upstream}/")),
        ("schemes: [https]".to_owned(), "schemes: [http]".to_owned()),
        ("host: erp.example".to_owned(), "host: 127.0.0.1".to_owned()),
        ("host: crm.example".to_owned(), "host: 127.0.0.1".to_owned()),
        ("port: 443".to_owned(), format!("port: {upstream}")),
        ("methods: [GET]".to_owned(), "methods: [GET, POST]".to_owned()),
        ("paths: [\"/v1/\"]".to_owned(), "paths: [\"/\"]".to_owned()),
        ("addresses: []".to_owned(), "addresses: [127.0.0.1]".to_owned()),
    ] {
        assert!(text.contains(&from), "`{from}` is not in {}", file.display());
        text = text.replace(&from, &to);
    }
    let listen = |text: String, field: &str, port: u16| {
        let lines = text.lines().map(|line| match line.trim_start().strip_prefix(&format!("{field}: \"127.0.0.1:")) {
            Some(_) => format!("  {field}: \"127.0.0.1:{port}\""),
            None => line.to_owned(),
        });
        lines.collect::<Vec<_>>().join("\n") + "\n"
    };
    text = listen(text, "proxy", proxy);
    text = listen(text, "admin", admin);
    assert!(text.contains(&proxy.to_string()) && text.contains(&admin.to_string()), "{text}");
    std::fs::write(file, text).unwrap();
}
