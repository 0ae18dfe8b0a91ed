//! The state folder of either engine is put back to an earlier copy of itself.
//!
//! What was accepted after the copy was made is gone with it, and the peer remembers: that must be noticed, nothing may be
//! run twice, and the engine goes on by itself with a new incarnation. Read first: [`restored`].

use crate::caller::{Call, Mix};
use crate::line::{Engine, Line, Place, Which, empty};
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

/// The present life of an engine, as it says.
fn incarnation(engine: &Engine) -> Option<String> {
    engine.status()?["peers"][0]["my_incarnation"].as_str().map(str::to_owned)
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
    let before_the_past = eventually("it says who it is", || incarnation(line.engine(which)));
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
    eventually("the one that went back begins a new life", || {
        let present = incarnation(line.engine(which))?;
        (present != before_the_past).then_some(())
    });
    eventually("calls are answered again", || {
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
    format!("{which:?} went back, and began a new life; {verdict}")
}
