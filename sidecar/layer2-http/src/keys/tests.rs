//! Tests of `keys`.

use super::*;

fn id(n: u8) -> OperationId {
    OperationId::v7(u64::from(n), &[n; 10])
}

fn scope<'a>(route: Option<&'a str>, origin: &'a str) -> KeyScope<'a> {
    KeyScope { caller: None, route, origin }
}

fn claim(key: &str, method: &str, target: &str) -> KeyClaim {
    KeyClaim::new(scope(None, "https://erp.south.svc"), key, method, target)
}

fn view(n: u8, state: State, executed: Option<Executed>) -> OperationView {
    OperationView {
        id: id(n),
        state,
        method: "POST".to_owned(),
        target: "https://erp.south.svc/v1/".to_owned(),
        route: None,
        peer: String::new(),
        begun_ms: 1,
        ended_ms: state.is_terminal().then_some(2),
        status: None,
        executed,
        problem: None,
        result: false,
    }
}

#[test]
fn a_key_belongs_to_its_operation_until_that_was_surely_not_executed() {
    let mut keys = Keys::default();
    let mine = claim("k", "POST", "https://erp.south.svc/v1/");
    assert_eq!(keys.holder(&mine, |_| None), Holder::Nobody);
    keys.take(id(1), mine);
    for state in State::ALL {
        for executed in [None, Some(Executed::No), Some(Executed::Yes), Some(Executed::Maybe)] {
            let known = view(1, state, executed);
            let free =
                state.is_terminal() && executed == Some(Executed::No) || state == State::Expired && executed.is_none();
            let holder = keys.holder(&mine, |_| Some(known.clone()));
            let expected = match (free, state.is_terminal()) {
                (true, _) => Holder::Nobody,
                (false, true) => Holder::Ended { view: known.clone(), body: None },
                (false, false) => Holder::UnderWay(known.clone()),
            };
            assert_eq!(holder, expected, "{state} {executed:?}");
        }
    }
    keys.forget(id(1));
    assert_eq!(keys.holder(&mine, |_| Some(view(1, State::Done, None))), Holder::Nobody);
    assert!(keys.is_empty() && keys.checkpoint().is_empty());
}

#[test]
fn another_method_or_target_is_another_call() {
    let mut keys = Keys::default();
    keys.take(id(1), claim("k", "POST", "https://erp.south.svc/v1/"));
    for (method, target) in [("PATCH", "https://erp.south.svc/v1/"), ("POST", "https://erp.south.svc/v1/?a")] {
        let holder = keys.holder(&claim("k", method, target), |_| Some(view(1, State::Sent, None)));
        assert!(matches!(holder, Holder::OtherCall(_)), "{holder:?}");
    }
}

#[test]
fn the_content_is_known_once_from_its_end() {
    let mut keys = Keys::default();
    let mine = claim("k", "POST", "x");
    keys.take(id(1), mine);
    assert!(keys.on_body(id(2), [1; 32]).is_none());
    assert!(keys.on_body(id(1), [1; 32]).is_some());
    assert!(keys.on_body(id(1), [2; 32]).is_none());
    let holder = keys.holder(&mine, |_| Some(view(1, State::Done, None)));
    assert!(matches!(holder, Holder::Ended { body: Some(digest), .. } if digest == [1; 32]));
}

#[test]
fn the_same_text_is_another_key_for_another_caller_route_or_origin() {
    let caller = |name: &str| Caller { service_account: Some(name.to_owned()), ..Caller::default() };
    let (billing, stock) = (caller("billing"), caller("stock"));
    let keys: Vec<_> = [
        KeyScope { caller: None, route: None, origin: "http://a" },
        KeyScope { caller: None, route: None, origin: "http://b" },
        KeyScope { caller: None, route: Some("a"), origin: "http://a" },
        KeyScope { caller: None, route: Some("http://a"), origin: "http://a" },
        KeyScope { caller: Some(&billing), route: None, origin: "http://a" },
        KeyScope { caller: Some(&stock), route: None, origin: "http://a" },
    ]
    .into_iter()
    .flat_map(|scope| ["k", "K", ""].map(|key| KeyClaim::new(scope, key, "POST", "x").key))
    .collect();
    let different: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(different.len(), keys.len());
    // A route has its own keys wherever it leads.
    let of = |origin| KeyClaim::new(scope(Some("a"), origin), "k", "POST", "x").key;
    assert_eq!(of("http://a"), of("http://b"));
}

#[test]
fn texts_do_not_run_into_one_another() {
    assert_ne!(digest_of("", [Some("a"), Some("bc")]), digest_of("", [Some("ab"), Some("c")]));
    assert_ne!(digest_of("", [None, Some("")]), digest_of("", [Some(""), None]));
}

#[test]
fn who_had_a_key_before_does_not_get_it_back_from_a_checkpoint() {
    let mut keys = Keys::default();
    let mine = claim("k", "POST", "x");
    // The later operation has the smaller id.
    keys.take(id(9), mine);
    keys.take(id(1), mine);
    let mut again = Keys::default();
    for entry in keys.checkpoint() {
        again.replay(&entry);
    }
    for keys in [&keys, &again] {
        let holder = keys.holder(&mine, |id| Some(view(if id == self::id(1) { 1 } else { 9 }, State::Sent, None)));
        assert!(matches!(holder, Holder::UnderWay(view) if view.id == id(1)));
        assert_eq!(keys.len(), 1);
    }
}

#[test]
fn entries_read_back_as_written_and_skip_what_later_versions_add() {
    let entries =
        [KeyEntry::Taken { id: id(1), claim: claim("k", "POST", "x") }, KeyEntry::Body { id: id(1), digest: [7; 32] }];
    for entry in entries {
        assert!(KeyEntry::has_kind(entry.kind()));
        let mut payload = entry.encode();
        assert_eq!(KeyEntry::decode(entry.kind(), &payload), Ok(entry));
        assert!(KeyEntry::decode(entry.kind(), &payload[..payload.len() - 1]).is_err());
        // A map of n becomes one of n + 1.
        payload[0] += 1;
        payload.extend_from_slice(&[0x18, 99, 1]);
        assert_eq!(KeyEntry::decode(entry.kind(), &payload), Ok(entry));
    }
    assert_eq!(KeyEntry::decode(82, &[]), Err(EntryError::Kind { kind: 82 }));
}
