//! Tests of `shelf`, against a model that holds everything.

use super::*;
use proptest::prelude::*;

const LIFE: Life = Life { fresh_s: 60, age_s: 0, ask_always: false, ask_when_stale: false, stale_if_error_s: 0 };

fn key(target: &str) -> Key {
    Key { target: format!("http://a/{target}"), rule: "erp".to_owned() }
}

fn response(content: usize) -> Kept {
    let content = Bytes::from(vec![b'x'; content]);
    Kept { status: 200, fields: Fields::new(), content, life: LIFE, came: Duration::ZERO, choice: Vec::new() }
}

fn chosen_by(language: &str, content: usize) -> Kept {
    let choice = vec![("accept-language".to_owned(), language.as_bytes().to_vec())];
    Kept { choice, ..response(content) }
}

fn shelf(bytes_max: u64, of_rule: u64) -> Shelf {
    let mut shelf = Shelf::new(bytes_max);
    shelf.add_rule("erp", of_rule);
    shelf
}

fn put(shelf: &mut Shelf, target: &str, kept: Kept) -> bool {
    let asked = shelf.ask();
    shelf.put(&key(target), asked, kept)
}

fn has(shelf: &mut Shelf, target: &str) -> bool {
    matches!(shelf.find(&key(target), &Fields::new()), Found::Kept(_))
}

#[test]
fn the_least_used_leaves_first() {
    let mut shelf = shelf(10_000, 10_000);
    for target in ["a", "b", "c"] {
        assert!(put(&mut shelf, target, response(2_500)));
    }
    assert!(has(&mut shelf, "a"));
    assert!(put(&mut shelf, "d", response(2_500)));
    assert!(!has(&mut shelf, "b"), "it was used longest ago");
    assert!(has(&mut shelf, "a") && has(&mut shelf, "c") && has(&mut shelf, "d"));
    assert_eq!((shelf.len(), shelf.evicted()), (3, 1));
    assert!(!put(&mut shelf, "e", response(20_000)), "it could never fit");
    assert_eq!(shelf.len(), 3);
}

#[test]
fn a_rule_makes_room_among_its_own() {
    let mut shelf = shelf(100_000, 3_000);
    shelf.add_rule("crm", 90_000);
    let other = Key { rule: "crm".to_owned(), ..key("a") };
    let asked = shelf.ask();
    assert!(shelf.put(&other, asked, response(50_000)));
    assert!(put(&mut shelf, "a", response(1_000)) && put(&mut shelf, "b", response(1_500)));
    assert!(!has(&mut shelf, "a") && has(&mut shelf, "b"));
    assert!(matches!(shelf.find(&other, &Fields::new()), Found::Kept(_)));
    let unknown = Key { rule: "none".to_owned(), ..key("a") };
    let asked = shelf.ask();
    assert!(!shelf.put(&unknown, asked, response(1)));
}

#[test]
fn what_is_gathered_takes_room_too() {
    let mut shelf = shelf(10_000, 10_000);
    assert!(put(&mut shelf, "a", response(5_000)));
    assert!(shelf.gather(4_000) && has(&mut shelf, "a"));
    assert!(shelf.gather(5_000), "what is kept leaves for what comes");
    assert!(!has(&mut shelf, "a"));
    assert!(!shelf.gather(1_001), "nothing more can leave");
    shelf.gathered(9_000);
    assert!(put(&mut shelf, "a", response(5_000)));
}

#[test]
fn a_changed_target_is_forgotten_and_what_was_asked_before_is_not_kept() {
    let mut shelf = shelf(100_000, 100_000);
    let (early, other) = (shelf.ask(), shelf.ask());
    put(&mut shelf, "a", response(1));
    put(&mut shelf, "ab", response(1));
    shelf.changed(&key("a").target);
    assert!(!has(&mut shelf, "a") && has(&mut shelf, "ab"));
    assert!(!shelf.put(&key("a"), early, response(1)), "it may be older than the change");
    assert!(shelf.put(&key("b"), other, response(1)), "another target");
    assert!(put(&mut shelf, "a", response(1)), "asked for after it");
}

#[test]
fn more_changes_than_are_remembered_hold_back_all_that_was_asked_before() {
    let mut shelf = shelf(100_000, 100_000);
    let early = shelf.ask();
    for number in 0..=MAX_CHANGES {
        shelf.changed(&format!("http://b/{number}"));
    }
    assert!(shelf.changes.len() <= MAX_CHANGES);
    assert!(!shelf.put(&key("a"), early, response(1)));
    assert!(put(&mut shelf, "a", response(1)));
}

#[test]
fn each_choice_has_a_response_of_its_own_up_to_a_bound() {
    let mut shelf = shelf(1_000_000, 1_000_000);
    let asked = |language: &str| {
        let mut fields = Fields::new();
        fields.push("accept-language", language.to_owned()).unwrap();
        fields
    };
    put(&mut shelf, "a", chosen_by("de", 1));
    put(&mut shelf, "a", chosen_by("en", 2));
    put(&mut shelf, "a", chosen_by("de", 3));
    assert_eq!(shelf.len(), 2, "the newer one takes the place of the older");
    let content = |shelf: &mut Shelf, language: &str| match shelf.find(&key("a"), &asked(language)) {
        Found::Kept(kept) => kept.content.len(),
        Found::OtherChoice | Found::Nothing => 0,
    };
    assert_eq!((content(&mut shelf, "de"), content(&mut shelf, "en")), (3, 2));
    assert_eq!(shelf.find(&key("a"), &asked("fr")), Found::OtherChoice);
    assert_eq!(shelf.find(&key("b"), &asked("fr")), Found::Nothing);
    for number in 0..20 {
        put(&mut shelf, "a", chosen_by(&format!("l{number}"), 1));
    }
    assert_eq!(shelf.len(), MAX_CHOICES);
    shelf.forget(&key("a"), &chosen_by("l19", 1).choice);
    assert_eq!(shelf.find(&key("a"), &asked("l19")), Found::OtherChoice);
}

proptest! {
    #[test]
    fn no_order_of_things_breaks_the_bounds_or_the_sums(
        steps in prop::collection::vec((0_u8..6, 0_usize..6, 0_usize..4_000), 1..200),
    ) {
        let mut shelf = shelf(12_000, 9_000);
        shelf.add_rule("crm", 5_000);
        let (mut gathering, mut asked) = (0, shelf.ask());
        for (what, which, size) in steps {
            let rule = if which % 2 == 0 { "erp" } else { "crm" };
            let key = Key { rule: rule.to_owned(), ..key(&which.to_string()) };
            match what {
                0 | 1 => drop(shelf.put(&key, asked, chosen_by(&size.to_string(), size))),
                2 => drop(shelf.find(&key, &Fields::new())),
                3 => shelf.changed(&key.target),
                4 if shelf.gather(size as u64) => gathering += size as u64,
                4 => {}
                _ => {
                    shelf.gathered(gathering);
                    gathering = 0;
                    asked = shelf.ask();
                }
            }
            let sum = |rule: Option<&str>| -> u64 {
                let places = shelf.places.iter().filter(|(key, _)| rule.is_none_or(|rule| key.rule == rule));
                places.flat_map(|(_, places)| places).map(|place| place.bytes).sum()
            };
            prop_assert_eq!(shelf.bytes, sum(None));
            prop_assert_eq!(shelf.order.len(), shelf.len());
            prop_assert!(shelf.bytes + shelf.gathering <= 12_000);
            for (name, most) in [("erp", 9_000), ("crm", 5_000)] {
                prop_assert!(sum(Some(name)) <= most);
                prop_assert_eq!(shelf.rules[name].bytes, sum(Some(name)));
            }
        }
    }
}
