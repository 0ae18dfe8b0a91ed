//! Every bound of the schema refuses what is just beyond it.

use super::offline::Judge;
use crate::testing::{beyond::every_bound, sample};

#[test]
fn every_bound_refuses_what_is_beyond_it() {
    let judge = Judge::new();
    let objects: Vec<_> = (0..300).map(|seed| sample::object(seed, &["hoft1abc"])).collect();
    let all = every_bound(&judge.schema, &objects);
    assert!(all.len() > 300, "{}", all.len());
    for beyond in all {
        let found = judge.refusals(&beyond.object, None);
        let (place, bound) = (&beyond.place, &beyond.bound);
        assert!(
            found.iter().any(|refusal| &refusal.place == place && &refusal.bound == bound),
            "{place}: {bound} is not what refuses it: {found:?}"
        );
    }
}
