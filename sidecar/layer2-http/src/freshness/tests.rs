//! Tests of `freshness`: tables with the sections of RFC 9111 that they are from.

use super::*;
use proptest::prelude::*;

/// Seconds after the origin's clock began to matter.
fn at(s: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + s)
}

fn http(s: u64) -> String {
    httpdate::fmt_http_date(at(s))
}

/// Fields from lines `name: value`.
fn fields(lines: &[&str]) -> Fields {
    let mut fields = Fields::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        fields.push(name.to_owned(), value.to_owned()).unwrap();
    }
    fields
}

fn keep(asked: &[&str], status: u16, told: &[&str]) -> Option<Life> {
    let (asked, told) = (fields(asked), fields(told));
    let method = Method::GET;
    let (asked_at, came_at) = (at(1_000), at(1_010));
    Answered { method: &method, asked: &asked, query: false, status, fields: &told, asked_at, came_at }.keep()
}

#[test]
fn what_may_be_kept() {
    let kept: &[(&[&str], u16, &[&str])] = &[
        (&[], 200, &["cache-control: max-age=60"]),
        (&[], 200, &["Cache-Control: Max-Age=60".to_ascii_lowercase().leak()]),
        (&[], 200, &["cache-control: MAX-AGE=\"60\""]),
        (&[], 200, &["etag: \"a\""]),
        (&[], 200, &["cache-control: no-cache", "etag: \"a\""]),
        (&[], 404, &["cache-control: max-age=60"]),
        (&[], 302, &["cache-control: max-age=60"]),
        (&["authorization: Bearer t"], 200, &["cache-control: public, max-age=60"]),
        (&["authorization: Bearer t"], 200, &["cache-control: s-maxage=60"]),
        (&["authorization: Bearer t"], 200, &["cache-control: must-revalidate, max-age=60"]),
        (&["cookie: a=1"], 200, &["cache-control: max-age=60", "vary: accept, accept-language"]),
    ];
    for (asked, status, told) in kept {
        assert!(keep(asked, *status, told).is_some(), "{asked:?} {status} {told:?}");
    }
    let not: &[(&[&str], u16, &[&str])] = &[
        (&[], 200, &[]),
        (&[], 200, &["cache-control: no-store, max-age=60", "etag: \"a\""]),
        (&[], 200, &["cache-control: No-Store", "etag: \"a\""]),
        (&[], 200, &["cache-control: max-age=60", "cache-control: NO-STORE"]),
        (&["cache-control: no-store"], 200, &["cache-control: max-age=60"]),
        (&[], 200, &["cache-control: private, max-age=60"]),
        (&[], 200, &["cache-control: private=\"set-cookie, x\", max-age=60"]),
        (&[], 200, &["cache-control: max-age=60", "set-cookie: a=1"]),
        (&[], 200, &["cache-control: max-age=60", "vary: accept, *"]),
        (&[], 206, &["cache-control: max-age=60", "content-range: bytes 0-1/2"]),
        (&["range: bytes=0-1"], 200, &["cache-control: max-age=60"]),
        (&[], 302, &["etag: \"a\""]),
        (&[], 500, &["cache-control: max-age=60"]),
        (&[], 503, &["cache-control: public, max-age=60"]),
        (&["authorization: Bearer t"], 200, &["cache-control: max-age=60"]),
        (&["authorization: Bearer t"], 200, &["cache-control: proxy-revalidate, max-age=60"]),
        (&["authorization: Bearer t"], 200, &["etag: \"a\"", &*format!("expires: {}", http(9_000)).leak()]),
        (&[], 200, &["cache-control: max-age=60", "age: 60"]),
        (&[], 200, &["cache-control: max-age=nonsense"]),
        (&[], 200, &["expires: 0"]),
        (&[], 200, &["cache-control: no-cache, max-age=60"]),
    ];
    for (asked, status, told) in not {
        assert_eq!(keep(asked, *status, told), None, "{asked:?} {status} {told:?}");
    }
    let (asked, told) = (Fields::new(), fields(&["cache-control: max-age=60"]));
    for method in [Method::HEAD, Method::POST, Method::PUT, Method::OPTIONS] {
        let (asked_at, came_at) = (at(0), at(0));
        let answered =
            Answered { method: &method, asked: &asked, query: false, status: 200, fields: &told, asked_at, came_at };
        assert_eq!(answered.keep(), None, "{method}");
    }
}

#[test]
fn how_long_it_is_fresh() {
    let expires = format!("expires: {}", http(1_100));
    let (date, changed) = (format!("date: {}", http(1_000)), format!("last-modified: {}", http(0)));
    for (told, fresh_s) in [
        (vec!["cache-control: max-age=60", &expires], 60),
        (vec!["cache-control: max-age=60, s-maxage=30"], 30),
        (vec!["cache-control: max-age=60, max-age=40"], 40),
        (vec!["cache-control: max-age=99999999999999999999999"], u64::MAX),
        (vec![expires.as_str(), &date], 100),
        (vec![changed.as_str(), &date], 100),
        (vec![changed.as_str(), &date, "cache-control: max-age=7", "etag: \"a\""], 7),
    ] {
        assert_eq!(keep(&[], 200, &told).unwrap().fresh_s, fresh_s, "{told:?}");
    }
}

#[test]
fn nothing_is_guessed_of_a_target_with_a_query() {
    let told = fields(&[&format!("last-modified: {}", http(0)), &format!("date: {}", http(1_000))]);
    let (method, asked, asked_at, came_at) = (Method::GET, Fields::new(), at(1_000), at(1_001));
    let answered =
        |query| Answered { method: &method, asked: &asked, query, status: 200, fields: &told, asked_at, came_at };
    assert_eq!(answered(false).keep().unwrap().fresh_s, 100);
    assert_eq!(answered(true).keep().unwrap().fresh_s, 0);
}

#[test]
fn the_age_has_the_time_on_the_line_within_what_is_possible() {
    // Asked at 1000, came at 1010: whatever the clocks say, it was made in between.
    for (date, age, expected) in [
        (Some(1_004), None, 6),      // Made 6 s ago: the request took 4 s to the origin.
        (Some(1_010), None, 0),      // Made a moment ago.
        (Some(1_000), None, 10),     // At once.
        (Some(900), None, 10),       // The origin's clock is late: it cannot be older than the question.
        (Some(2_000), None, 10),     // It is early: the worst is assumed.
        (None, None, 10),            // No Date.
        (Some(700), Some(300), 310), // A cache had kept it for 300 s; its Date is as old.
        (Some(705), Some(300), 305),
        (Some(1_004), Some(300), 310), // Younger than a cache says it is: the worst.
    ] {
        let mut told = fields(&["cache-control: max-age=100000"]);
        if let Some(date) = date {
            told.set("date", http(date)).unwrap();
        }
        if let Some(age) = age {
            told.set("age", format!("{age}")).unwrap();
        }
        let (method, asked) = (Method::GET, Fields::new());
        let (asked_at, came_at) = (at(1_000), at(1_010));
        let answered =
            Answered { method: &method, asked: &asked, query: false, status: 200, fields: &told, asked_at, came_at };
        assert_eq!(answered.keep().unwrap().age_s, expected, "date {date:?} age {age:?}");
    }
}

#[test]
fn when_it_may_be_used() {
    let life = Life { fresh_s: 60, age_s: 10, ask_always: false, ask_when_stale: false, stale_if_error_s: 0 };
    let usable = |life: Life, asked: &str, resident_s| {
        let control = if asked.is_empty() { Control::default() } else { Control::of(&fields(&[asked])) };
        life.usable(&control, Duration::from_secs(resident_s))
    };
    let (by_wish, by_age) = (Use::Ask { wished: true }, Use::Ask { wished: false });
    for (asked, resident_s, expected) in [
        ("", 0, Use::Now),
        ("", 49, Use::Now),
        ("", 50, by_age),
        ("cache-control: no-cache", 0, by_wish),
        ("pragma: no-cache", 0, by_wish),
        ("cache-control: max-age=10", 0, Use::Now),
        ("cache-control: max-age=9", 0, by_wish),
        ("cache-control: min-fresh=50", 0, Use::Now),
        ("cache-control: min-fresh=51", 0, by_wish),
        ("cache-control: max-stale", 5_000, Use::Stale),
        ("cache-control: max-stale=5", 55, Use::Stale),
        ("cache-control: max-stale=5", 56, by_age),
    ] {
        assert_eq!(usable(life, asked, resident_s), expected, "{asked} after {resident_s} s");
    }
    let strict = Life { ask_when_stale: true, ..life };
    assert_eq!(usable(strict, "cache-control: max-stale", 60), by_age);
    assert_eq!(usable(Life { ask_always: true, ..life }, "", 0), by_age);
    let patient = Life { stale_if_error_s: 30, ..life };
    assert!(patient.stands_in(Duration::from_secs(80)));
    assert!(!patient.stands_in(Duration::from_secs(81)));
    assert!(!Life { ask_when_stale: true, ..patient }.stands_in(Duration::from_secs(60)));
    assert!(!life.stands_in(Duration::from_secs(51)));
}

#[test]
fn a_304_brings_the_kept_fields_up_to_date() {
    let kept = fields(&["etag: \"a\"", "x-old: 1", "x-both: 1", "x-both: 2", "content-length: 5", "age: 9"]);
    let told = fields(&["etag: W/\"a\"", "x-both: 3", "x-new: 4", "content-length: 0", "x-new: 5"]);
    assert!(is_about(&kept, &told));
    assert!(!is_about(&kept, &fields(&["etag: \"b\""])));
    assert!(is_about(&kept, &fields(&["date: x"])));
    let merged = merged(&kept, &told);
    let lines: Vec<String> = merged.iter().map(|(name, value)| format!("{name}: {}", value.escape_ascii())).collect();
    assert_eq!(lines, ["x-old: 1", "content-length: 5", "etag: W/\\\"a\\\"", "x-both: 3", "x-new: 4", "x-new: 5"]);
}

#[test]
fn a_caller_that_has_it_is_told_so() {
    let kept = fields(&["etag: \"a\"", &format!("last-modified: {}", http(50))]);
    for (asked, has) in [
        ("if-none-match: \"a\"".to_owned(), true),
        ("if-none-match: \"x\", W/\"a\"".to_owned(), true),
        ("if-none-match: *".to_owned(), true),
        ("if-none-match: \"b\"".to_owned(), false),
        (format!("if-modified-since: {}", http(50)), true),
        (format!("if-modified-since: {}", http(49)), false),
        ("if-modified-since: nonsense".to_owned(), false),
        ("accept: x".to_owned(), false),
    ] {
        assert_eq!(caller_has_it(&fields(&[&asked]), &kept), has, "{asked}");
    }
    let mut request = fields(&["if-none-match: \"mine\"", "if-modified-since: x", "accept: x"]);
    ask_about(&mut request, &fields(&["etag: \"a\""]));
    assert_eq!((request.get("if-none-match"), request.get("if-modified-since")), (Some(&b"\"a\""[..]), None));
}

#[test]
fn a_request_chooses_by_the_fields_that_vary_names() {
    let told = fields(&["vary: Accept, accept-LANGUAGE", "vary: accept"]);
    let choice = choice(&fields(&["accept: a,b", "accept: c"]), &told);
    assert_eq!(choice.len(), 2);
    assert!(is_chosen(&choice, &fields(&["accept: a, b", "accept: c", "cookie: x"])));
    assert!(!is_chosen(&choice, &fields(&["accept: a, b"])));
    assert!(!is_chosen(&choice, &fields(&["accept: a, b, c", "accept-language: de"])));
}

proptest! {
    #[test]
    fn no_line_of_cache_control_makes_it_panic(line in "[ -~]{0,80}") {
        let mut fields = Fields::new();
        if fields.push("cache-control", line.trim().to_owned()).is_ok() {
            let _ = Control::of(&fields);
        }
    }

    #[test]
    fn what_is_stale_is_never_used_unasked(fresh_s in 0_u64..100, age_s in 0_u64..100, resident_s in 0_u64..200) {
        let life = Life { fresh_s, age_s, ask_always: false, ask_when_stale: false, stale_if_error_s: 0 };
        let used = life.usable(&Control::default(), Duration::from_secs(resident_s)) == Use::Now;
        prop_assert_eq!(used, age_s + resident_s < fresh_s);
    }
}
