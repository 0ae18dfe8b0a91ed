//! The response cache with real engines: what is kept, for how long, for whom, and what empties it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::client::Answer;
use crate::harness::Line;
use crate::origin::{Asked, Origin, Reply, line_to, reply};

/// What the origin of these tests answers, by path.
fn answer(asked: &Asked, broken: &AtomicBool) -> Reply {
    let number = asked.before.to_string();
    let name = asked.target.trim_start_matches('/').split(['/', '?']).next().unwrap_or_default();
    let unchanged = asked.get("if-none-match") == Some("\"v1\"");
    match name {
        "fresh" => reply(200, &[("cache-control", "max-age=600"), ("etag", "\"v1\"")], &format!("answer {number}")),
        "aged" => reply(200, &[("cache-control", "max-age=600"), ("age", "500")], &number),
        "ask" if unchanged => reply(304, &[("etag", "\"v1\""), ("x-said", &number)], ""),
        "ask" => reply(200, &[("cache-control", "no-cache"), ("etag", "\"v1\""), ("x-said", "first")], "asked about"),
        "vary" => {
            let fields = [("cache-control", "max-age=600"), ("vary", "Accept-Language")];
            reply(200, &fields, &format!("{} {number}", asked.get("accept-language").unwrap_or("none")))
        }
        "cookie" => reply(200, &[("cache-control", "max-age=600"), ("set-cookie", "a=1")], &number),
        "private" => reply(200, &[("cache-control", "private, max-age=600")], &number),
        "public" => reply(200, &[("cache-control", "public, max-age=600")], &number),
        "large" => reply(200, &[("cache-control", "max-age=600")], &"x".repeat(300 * 1024)),
        "chunked" => reply(200, &[("cache-control", "max-age=600")], &"y".repeat(200 * 1024)),
        "cut" if asked.before == 0 => {
            reply(200, &[("cache-control", "max-age=600"), ("content-length", "1000")], "cut")
        }
        "cut" => reply(200, &[("cache-control", "max-age=600")], "whole"),
        "error" if broken.load(Ordering::Relaxed) => reply(503, &[], "broken"),
        "error" => reply(200, &[("cache-control", "max-age=0, stale-if-error=600"), ("etag", "\"v1\"")], "good"),
        "moved" => reply(200, &[("content-location", "/fresh/moved")], "changed another"),
        _ => reply(404, &[], "nothing"),
    }
}

struct Cached {
    line: Line,
    origin: Arc<Origin>,
    broken: Arc<AtomicBool>,
}

impl Cached {
    fn start() -> Self {
        let broken = Arc::new(AtomicBool::new(false));
        let state = Arc::clone(&broken);
        let origin = Origin::start(move |asked| answer(asked, &state));
        let line = line_to(&origin, |rule| rule.cache.enabled = true, |_| {}, |_| {});
        Self { line, origin, broken }
    }

    fn get(&self, path: &str) -> Answer {
        self.line.door().get(&self.origin.url(path))
    }

    fn get_with(&self, path: &str, name: &str, value: &str) -> Answer {
        self.line.door().call("GET", &self.origin.url(path)).field(name, value).send()
    }

    fn asked(&self, path: &str) -> usize {
        self.origin.asked(path).len()
    }
}

#[track_caller]
fn assert_status(answer: &Answer, words: &str) {
    let status = answer.get("cache-status").unwrap_or_default();
    assert!(status.starts_with("hoft-north; ") && status.contains(words), "{words:?} in Cache-Status: {status:?}");
}

#[test]
fn the_cache_keeps_what_it_may_and_nothing_else() {
    let cached = Cached::start();
    hits_and_heads(&cached);
    what_is_not_for_others(&cached);
    validation(&cached);
    invalidation(&cached);
    what_is_cut_or_too_large(&cached);
    errors(&cached);
    figures(&cached);
}

fn hits_and_heads(cached: &Cached) {
    let first = cached.get("/fresh/a").expect_status(200);
    assert_status(&first, "fwd=uri-miss; stored");
    let second = cached.get("/fresh/a").expect_status(200);
    assert_status(&second, "hit; ttl=");
    assert_eq!((first.text(), second.text()), ("answer 0".to_owned(), "answer 0".to_owned()));
    assert!(second.get("age").is_some() && second.get("hoft-operation-id").is_none(), "{:?}", second.fields);
    assert_eq!(cached.asked("/fresh/a"), 1);
    // By the route, as by the proxy; a HEAD has no content of its own; another query is another target.
    assert_status(&cached.line.door().get("/to/own/fresh/a").expect_status(200), "hit");
    let head = cached.line.door().call("HEAD", &cached.origin.url("/fresh/a")).send().expect_status(200);
    assert_status(&head, "hit");
    assert_eq!((head.get("content-length"), head.body.len()), (Some("8"), 0));
    assert_status(&cached.get("/fresh/a?1"), "fwd=uri-miss");
    let known = cached.get_with("/fresh/a", "If-None-Match", "\"v1\"").expect_status(304);
    assert_status(&known, "hit");
    // A caller may ask for more freshness than there is, or for nothing that crosses.
    assert_status(&cached.get_with("/fresh/a", "Cache-Control", "no-cache"), "fwd=request");
    assert_eq!(cached.asked("/fresh/a").to_string(), "2");
    assert_status(&cached.get_with("/fresh/a", "Cache-Control", "only-if-cached"), "hit");
    let absent = cached.get_with("/fresh/absent", "Cache-Control", "only-if-cached");
    absent.expect_problem(504, "not-cached", "proxy_internal_response");
    assert_eq!(cached.asked("/fresh/absent"), 0);
    // Its age counts, and that it had when it came.
    cached.get("/aged");
    let age: u64 = cached.get("/aged").get("age").unwrap().parse().unwrap();
    assert!((500..600).contains(&age), "{age}");
    // A rule without a cache says nothing of one.
    assert_eq!(cached.line.door().get(&cached.line.url("/fixed/1")).get("cache-status"), None);
}

fn what_is_not_for_others(cached: &Cached) {
    for path in ["/cookie", "/private"] {
        assert_eq!(cached.get(path).text(), "0");
        let again = cached.get(path);
        assert_eq!(again.text(), "1", "{path} was kept");
        assert_status(&again, "fwd=uri-miss");
    }
    for (path, kept) in [("/fresh/auth", false), ("/public", true)] {
        for _ in 0..2 {
            cached.get_with(path, "Authorization", "Bearer secret").expect_status(200);
        }
        assert_eq!(cached.asked(path), if kept { 1 } else { 2 }, "{path}");
    }
    for (language, text) in [("de", "de 0"), ("en", "en 1"), ("de", "de 0"), ("en", "en 1")] {
        assert_eq!(cached.get_with("/vary", "Accept-Language", language).text(), text);
    }
    assert_status(&cached.get("/vary"), "fwd=vary-miss");
    let part = cached.get_with("/fresh/a", "Range", "bytes=0-1");
    assert_status(&part, "fwd=bypass");
}

fn validation(cached: &Cached) {
    let first = cached.get("/ask").expect_status(200);
    assert_eq!((first.text().as_str(), first.get("x-said")), ("asked about", Some("first")));
    let second = cached.get("/ask").expect_status(200);
    assert_eq!((second.text().as_str(), second.get("x-said")), ("asked about", Some("1")), "a 304 merges");
    assert_status(&second, "fwd=stale; fwd-status=304");
    assert!(second.get("hoft-operation-id").is_some());
    let asked = cached.origin.asked("/ask");
    assert_eq!(asked.iter().map(|asked| asked.get("if-none-match")).collect::<Vec<_>>(), [None, Some("\"v1\"")]);
    // The caller's own condition is answered here.
    cached.get_with("/ask", "If-None-Match", "\"v1\"").expect_status(304);
    cached.get_with("/ask", "If-None-Match", "\"other\"").expect_status(200);
}

fn invalidation(cached: &Cached) {
    cached.get("/fresh/changed");
    assert_status(&cached.line.door().post(&cached.origin.url("/fresh/changed"), b"new"), "fwd=method");
    let after = cached.get("/fresh/changed");
    assert_status(&after, "fwd=uri-miss");
    assert_eq!(after.text(), "answer 2", "asked again after the change");
    cached.get("/fresh/moved");
    cached.line.door().post(&cached.origin.url("/moved"), b"new");
    assert_status(&cached.get("/fresh/moved"), "fwd=uri-miss");
}

fn what_is_cut_or_too_large(cached: &Cached) {
    // Where the cut is known before the head was passed on, a problem stands for the response.
    let cut = cached.line.door().call("GET", &cached.origin.url("/cut")).try_send();
    assert!(cut.as_ref().map_or(true, |answer| answer.status == 502), "{cut:?}");
    let whole = cached.get("/cut").expect_status(200);
    assert_eq!(whole.text(), "whole");
    assert_status(&whole, "fwd=uri-miss");
    for _ in 0..2 {
        assert_eq!(cached.get("/large").expect_status(200).body.len(), 300 * 1024);
        assert_eq!(cached.get("/chunked").expect_status(200).body.len(), 200 * 1024);
    }
    assert_eq!((cached.asked("/large"), cached.asked("/chunked")), (2, 1));
}

fn errors(cached: &Cached) {
    assert_eq!(cached.get("/error").expect_status(200).text(), "good");
    cached.broken.store(true, Ordering::Relaxed);
    let stale = cached.get("/error").expect_status(200);
    assert_eq!(stale.text(), "good");
    assert_status(&stale, "hit; fwd=stale; fwd-status=503");
    cached.broken.store(false, Ordering::Relaxed);
}

fn figures(cached: &Cached) {
    let metrics = cached.line.near.admin().get("/metrics").expect_status(200).text();
    let value = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}\n{metrics}"));
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    for outcome in ["hit", "miss", "revalidated", "stale", "bypass"] {
        assert!(value(&format!("hoft_cache_calls_total{{outcome=\"{outcome}\"}}")) >= 1.0, "{outcome}\n{metrics}");
    }
    assert!(value("hoft_cache_bytes") > 200.0 * 1024.0 && value("hoft_cache_responses") >= 5.0);
    let view = &cached.line.near.statusz()["near_side"];
    assert!(view["cache_outcomes"]["hit"].as_u64().unwrap() >= 1, "{view}");
}
