//! A way through folders of which nothing is known to be new: page by page, over as many scans as it takes.
//!
//! Invariants: each scan takes as much of the way as its budget allows and the next one goes on from there, so that
//! everything is seen after a bounded number of scans, wherever it lies and whatever lies before it; memory is a page for
//! each level. A way that took more than one scan rests before it begins again, for several times as long as it took.
//! What this file does not do: list (`listing`), or decide which folders are skipped (`discovery`).
//! Specification: protocol §6. Read first: `a_crawl_goes_on_where_it_ended_and_rests_after_a_long_way`.

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits::COLD_FOLDER_PERIOD;

/// How much longer than the way itself a rest is.
const REST_TIMES: u32 = 4;

/// Which folders a crawl goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Area {
    /// Those of senders that once were verified.
    Known,
    /// The root and my own folders, but for those.
    Others,
}

/// A folder to go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) path: String,
    /// Folders between it and the root, itself counted; the root has 0.
    pub(crate) depth: usize,
    /// Whether it is listed although it is not due: it is among its folder's newest.
    pub(crate) newest: bool,
    /// Where the page begins.
    pub(crate) from: u64,
}

/// How far the way went.
#[derive(Debug)]
pub(crate) struct Crawl {
    pub(crate) area: Area,
    /// What is still to do, the nearest last.
    stack: Vec<VecDeque<Step>>,
    began: Duration,
    scans: u32,
    rests_until: Duration,
}

impl Crawl {
    pub(crate) fn both() -> [Self; 2] {
        [Area::Known, Area::Others].map(|area| Self {
            area,
            stack: Vec::new(),
            began: Duration::ZERO,
            scans: 0,
            rests_until: Duration::ZERO,
        })
    }

    /// Whether the way is to begin anew.
    pub(crate) fn is_to_begin(&self, now: Duration) -> bool {
        self.stack.is_empty() && now >= self.rests_until
    }

    pub(crate) fn begin(&mut self, steps: VecDeque<Step>, now: Duration) {
        self.stack = vec![steps];
        self.began = now;
        self.scans = 0;
    }

    /// The next folder; none at the end of the way.
    pub(crate) fn next(&mut self) -> Option<Step> {
        while let Some(steps) = self.stack.last_mut() {
            if let Some(step) = steps.pop_front() {
                return Some(step);
            }
            self.stack.pop();
        }
        None
    }

    /// Puts the rest of a folder after its own folders, and those before everything else.
    pub(crate) fn descend(&mut self, rest: Option<Step>, children: VecDeque<Step>) {
        if let (Some(rest), Some(steps)) = (rest, self.stack.last_mut()) {
            steps.push_front(rest);
        } else {
            self.stack.retain(|steps| !steps.is_empty());
        }
        if !children.is_empty() {
            self.stack.push(children);
        }
    }

    /// Puts a step back for the next scan.
    pub(crate) fn put_back(&mut self, step: Step) {
        match self.stack.last_mut() {
            Some(steps) => steps.push_front(step),
            None => self.stack.push(VecDeque::from([step])),
        }
    }

    /// Ends this scan's part. True if there is more to go at once.
    pub(crate) fn pause(&mut self, now: Duration) -> bool {
        self.stack.retain(|steps| !steps.is_empty());
        if !self.stack.is_empty() {
            self.scans = self.scans.saturating_add(1);
            return true;
        }
        if self.scans > 0 {
            self.scans = 0;
            let took = now.saturating_sub(self.began);
            self.rests_until = now.saturating_add(COLD_FOLDER_PERIOD.max(took.saturating_mul(REST_TIMES)));
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn step(path: &str, from: u64) -> Step {
        Step { path: path.to_owned(), depth: 1, newest: false, from }
    }

    #[test]
    fn a_crawl_goes_on_where_it_ended_and_rests_after_a_long_way() {
        let [mut crawl, _] = Crawl::both();
        assert!(crawl.is_to_begin(S));
        crawl.begin(VecDeque::from([step("a", 0), step("b", 0)]), S);
        assert_eq!(crawl.next(), Some(step("a", 0)));
        crawl.descend(Some(step("a", 7)), VecDeque::from([step("a/x", 0), step("a/y", 0)]));
        assert_eq!(crawl.next(), Some(step("a/x", 0)));
        crawl.put_back(step("a/x", 0));
        assert!(crawl.pause(S) && !crawl.is_to_begin(S * 100));
        let rest: Vec<Step> = std::iter::from_fn(|| crawl.next()).collect();
        assert_eq!(rest, [step("a/x", 0), step("a/y", 0), step("a", 7), step("b", 0)]);
        assert!(!crawl.pause(S * 3));
        assert!(!crawl.is_to_begin(S * 10) && crawl.is_to_begin(S * 11), "2 s of way, 8 s of rest");
    }

    #[test]
    fn a_short_way_begins_anew_in_each_scan() {
        let [_, mut crawl] = Crawl::both();
        crawl.begin(VecDeque::from([step("a", 0)]), S);
        assert!(crawl.next().is_some() && crawl.next().is_none());
        assert!(!crawl.pause(S) && crawl.is_to_begin(S));
    }
}
