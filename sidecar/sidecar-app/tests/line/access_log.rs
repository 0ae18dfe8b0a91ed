//! The access log: a line for each call, near and far, as JSON and as text; nothing secret in it.

use serde_json::Value;

use crate::harness::{Engine, Line, Options};
use crate::process::eventually;

/// The lines of target `access` of a JSON log, once there are so many.
fn lines(engine: &Engine, count: usize) -> Vec<Value> {
    eventually(&format!("{count} lines of access in `{}`", engine.side), || {
        let log = std::fs::read_to_string(engine.log()).unwrap();
        let lines: Vec<Value> = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter(|line: &Value| line["target"] == "access")
            .collect();
        (lines.len() >= count).then_some(lines)
    })
}

#[test]
fn each_call_has_one_line_on_either_side_and_nothing_secret_is_in_it() {
    let json = |file: &mut sidecar_config::ConfigFile| {
        file.log.access = true;
        // The lines come whatever the level.
        file.log.level = sidecar_config::LogLevel::Warn;
        file.log.format = sidecar_config::LogFormat::Json;
    };
    let line = Line::start(&Options { near: Box::new(json), far: Box::new(json), ..Options::default() });
    let answer = line
        .door()
        .call("POST", &line.url("/echo?token=SECRET"))
        .field("Authorization", "Bearer SECRET")
        .field("Cookie", "a=SECRET")
        .body(b"hello")
        .send()
        .expect_status(200);
    let operation = answer.get("hoft-operation-id").unwrap().to_owned();
    line.door().get("/to/up/status/404?SECRET").expect_status(404);
    line.door().get("http://user.example/denied?SECRET").expect_status(403);
    line.door().get("/to/nobody/x?SECRET").expect_status(404);
    line.door().get("/v1/operations").expect_status(200);

    let near = lines(&line.near, 4);
    assert_eq!(near.len(), 4, "{near:#?}");
    let place = |path: &str| format!("http://127.0.0.1:{}{path}", line.upstream.port);
    let first = &near[0];
    assert_eq!(first["operation"], operation, "{first}");
    assert_eq!((&first["side"], &first["method"]), (&"near".into(), &"POST".into()));
    assert_eq!((&first["place"], &first["rule"]), (&place("/echo").into(), &"up".into()));
    assert_eq!((&first["status"], &first["executed"]), (&200.into(), &"yes".into()));
    assert_eq!((&first["request_bytes"], &first["response_bytes"]), (&5.into(), &5.into()));
    assert!(first["duration_ms"].is_u64() && first["client"].as_str().unwrap().starts_with("127.0.0.1:"), "{first}");
    assert_eq!((&near[1]["routed"], &near[1]["status"]), (&true.into(), &404.into()), "{}", near[1]);
    assert_eq!(near[1]["problem"], Value::Null, "an upstream's own 404 is no problem");
    assert_eq!((&near[2]["problem"], &near[2]["executed"]), (&"route-denied".into(), &"no".into()), "{}", near[2]);
    assert_eq!(near[2]["place"], "http://user.example/denied");
    assert_eq!(near[3]["problem"], "unknown-route", "{}", near[3]);

    let far = lines(&line.far, 2);
    assert_eq!(far.len(), 2, "{far:#?}");
    let first = &far[0];
    assert_eq!((&first["side"], &first["operation"]), (&"far".into(), &operation.clone().into()), "{first}");
    assert_eq!((&first["place"], &first["status"]), (&place("/echo").into(), &200.into()), "{first}");
    assert_eq!((&first["request_bytes"], &first["response_bytes"]), (&5.into(), &5.into()), "{first}");
    assert_eq!(first["attempt"], 1);

    for engine in [&line.near, &line.far] {
        let log = std::fs::read_to_string(engine.log()).unwrap();
        assert!(!log.contains("SECRET"), "`{}` wrote a query or a credential:\n{log}", engine.side);
    }
}

#[test]
fn lines_are_text_where_the_log_is_and_absent_where_they_are_not_wanted() {
    let text = |file: &mut sidecar_config::ConfigFile| {
        file.log.access = true;
        file.log.level = sidecar_config::LogLevel::Error;
    };
    let line = Line::start(&Options { near: Box::new(text), ..Options::default() });
    let cut = line.door().call("GET", &line.url("/cut/100000")).try_send();
    // Where the cut is known before the head was passed on, a problem stands for the response.
    let word = if cut.is_err() { "cut=true" } else { "problem=\"response-incomplete\"" };
    line.door().get(&line.url("/fixed/7")).expect_status(200);
    let log = eventually("two lines", || {
        let log = std::fs::read_to_string(line.near.log()).unwrap();
        (log.matches(" access: ").count() >= 2).then_some(log)
    });
    assert!(log.contains("method=\"GET\"") && log.contains("status=200") && log.contains("response_bytes=7"), "{log}");
    assert!(log.contains(word), "{word}\n{log}");
    assert!(!std::fs::read_to_string(line.far.log()).unwrap().contains(" access: "));
}
