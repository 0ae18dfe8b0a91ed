//! The state folder of either engine is put back to an earlier copy of itself.
//!
//! What was accepted after the copy was made is gone with it, and the peer remembers: that must be noticed and said, nothing
//! may be run twice, and after the remedy that is named it goes on. Read first: [`restored`].

use crate::caller::{Call, Mix};
use crate::line::{Line, Place, Which, empty};
use crate::oracle::{Kind, Outcome};
use crate::process::eventually;
use crate::runner::Context;

use super::damage::copy;

/// When the copy is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// With calls in every stage.
    InTraffic,
    /// When every call has ended.
    AtRest,
}

/// Puts one side back in time; gives the figures.
#[must_use]
pub fn restored(context: Context<'_>, which: Which, copied: Copied) -> String {
    let mut line = Line::start(Place::new(context.inside), context.seed, |_| {});
    let (state, backup) = (line.place.state(which), line.place.home(which).join("backup"));
    let mut records = Vec::new();
    let before = line.traffic(Mix::default(), context.seed);
    before.go_on_for(40);
    let still_calling = match copied {
        Copied::InTraffic => Some(before),
        Copied::AtRest => {
            records.extend(before.stop());
            let verdict = line.judge(&records);
            assert!(verdict.findings.is_empty(), "{verdict}\n{}", verdict.findings.join("\n"));
            None
        }
    };
    line.engine(which).kill();
    copy(&state, &backup);
    line.engine(which).start_and_wait();
    let traffic = still_calling.unwrap_or_else(|| line.traffic(Mix::default(), context.seed + 1));
    traffic.go_on_for(40);
    // Every call has its end before the past comes back.
    records.extend(traffic.stop());
    line.engine(which).kill();
    empty(&state);
    copy(&backup, &state);
    line.engine(which).start_and_wait();
    let call = |kind| Call { kind, body: 500, answer: 500, delay_ms: 0, absolute: true };
    let alarm = eventually("the one that went back says so", || {
        let status = line.engine(which).status()?;
        let halted = &status["peers"][0]["halted"];
        (!halted.is_null()).then(|| halted.clone())
    });
    assert!(alarm["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "no remedy is named: {alarm}");
    if which == Which::Near {
        let refused = call(Kind::Post).make(line.target());
        assert!(matches!(refused.outcome, Outcome::NotRun(_)), "{refused:?}");
        records.push(refused);
    }
    // The remedy: a new life.
    line.engine(which).kill();
    empty(&state);
    line.engine(which).start_and_wait();
    eventually("calls are answered after the remedy", || {
        let record = call(Kind::Post).make(line.target());
        let answered = record.outcome == Outcome::Answered;
        records.push(record);
        answered.then_some(())
    });
    let traffic = line.traffic(Mix::default(), context.seed + 2);
    traffic.go_on_for(40);
    records.extend(traffic.stop());
    let verdict = line.judge(&records);
    assert!(
        verdict.findings.is_empty(),
        "seed {} {which:?} {copied:?}: {verdict}\n{}",
        context.seed,
        verdict.findings.join("\n")
    );
    format!("{which:?} went back, and said {}; {verdict}", alarm["name"])
}
