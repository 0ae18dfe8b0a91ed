//! Calls begun here, over the bench.

use disk::log::MemStorage;

use super::*;
use crate::driver::testbench::{Bench, DEFAULT, Far, operation, settings};

/// A call whose result is kept within a quota, answered with this content.
fn answered(results_bytes_max: u64, content: &[u8]) -> Bench {
    let mut bench = Bench::start_with(&MemStorage::new(), crate::driver::Settings { results_bytes_max, ..settings() });
    let mut far = Far::new(DEFAULT, 3, 1);
    bench.talk(&mut far);
    let caller = bench.call(1, "GET", None, true);
    bench.driver.handle_command(crate::command::Command::ReaderDropped { lane: caller.response, ended: false });
    bench.talk(&mut far);
    for asked in far.asked() {
        far.answer(asked.stream, content);
    }
    bench.talk(&mut far);
    bench.take_commands();
    bench
}

#[test]
fn a_result_that_only_its_end_brings_over_the_quota_is_kept_and_one_that_gets_there_before_is_given_up() {
    let content = [7; 900];
    let whole = answered(1 << 20, &content).driver.results_bytes();
    for (results_bytes_max, kept) in [(whole, true), (whole - 1, true), (whole - 41, false)] {
        let mut bench = answered(results_bytes_max, &content);
        let view = bench.view(operation(1));
        let expected = if kept { (State::Done, None) } else { (State::Failed, Some("response-incomplete")) };
        assert_eq!((view.state, view.problem.as_deref()), expected, "{results_bytes_max} of {whole}");
        assert_eq!(bench.result(operation(1)), kept.then(|| content.to_vec()));
    }
}
