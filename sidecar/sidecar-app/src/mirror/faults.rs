//! How unreliable the mirror is: the share of files each fault hits, and the times it takes.
//!
//! Invariant: after [`Faults::check`] every share lies in 0..=1 and every range is ordered.
//! It does not decide about any file (that is `fate.rs`). Read first: the tests at the end.

use anyhow::bail;
use serde::Serialize;

/// The longest delay that may be asked for: seven days, in milliseconds.
const DELAY_MS_MAX: u64 = 7 * 24 * 3600 * 1000;

/// The most sizes a cut may be rounded to.
const CUT_SIZES_MAX: usize = 64;

/// Shares are probabilities from 0 to 1, drawn for each file on its own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Faults {
    /// Share of files that never arrive.
    pub loss: f64,
    /// Share of contents that never arrive, whatever the file is called and however often it is sent.
    pub content_drop: f64,
    /// Share of the arriving files that are cut short.
    pub cut: f64,
    /// Sizes in bytes to whose multiples some cuts are rounded down.
    pub cut_sizes: Vec<u64>,
    /// Every file longer than this many bytes is cut to it.
    pub cut_above: Option<u64>,
    /// Share of the arriving files that have their full length, but only zeros after some point.
    pub zero_tail: f64,
    /// Share of the arriving files that grow piece by piece under their final name.
    pub slow: f64,
    /// How long such a file grows: least and most milliseconds.
    pub slow_ms: (u64, u64),
    /// Share of the arriving files that arrive once more later.
    pub duplicate: f64,
    /// Share of files held back for an additional one to three longest delays (at least 100 ms).
    pub reorder: f64,
    /// Share of the arriving files whose name becomes `name (1).ext`.
    pub rename: f64,
    /// How long each file is under way: least and most milliseconds.
    pub delay_ms: (u64, u64),
    /// Milliseconds from the beginning of one outage to the next (and to the first); none without.
    pub outage_every_ms: Option<u64>,
    /// Milliseconds each outage lasts; less than `outage_every_ms`.
    pub outage_ms: u64,
}

impl Faults {
    /// No faults and no delay.
    #[must_use]
    pub fn none() -> Self {
        Self {
            loss: 0.0,
            content_drop: 0.0,
            cut: 0.0,
            cut_sizes: vec![4 << 10, 64 << 10, 1 << 20],
            cut_above: None,
            zero_tail: 0.0,
            slow: 0.0,
            slow_ms: (100, 500),
            duplicate: 0.0,
            reorder: 0.0,
            rename: 0.0,
            delay_ms: (0, 0),
            outage_every_ms: None,
            outage_ms: 0,
        }
    }

    /// What a decent service does on a bad day: about one file in ten has trouble.
    #[must_use]
    pub fn mild() -> Self {
        Self {
            loss: 0.05,
            cut: 0.05,
            zero_tail: 0.01,
            slow: 0.0125,
            duplicate: 0.025,
            reorder: 0.02,
            rename: 0.005,
            delay_ms: (20, 150),
            ..Self::none()
        }
    }

    /// Worse than any service anyone would keep: about every second file has trouble.
    #[must_use]
    pub fn harsh() -> Self {
        Self {
            loss: 0.20,
            cut: 0.20,
            zero_tail: 0.03,
            slow: 0.05,
            slow_ms: (200, 2000),
            duplicate: 0.10,
            reorder: 0.08,
            rename: 0.02,
            delay_ms: (50, 500),
            ..Self::none()
        }
    }

    /// The set of that name.
    ///
    /// # Errors
    /// The name is none of `none`, `mild`, `harsh`.
    pub fn named(name: &str) -> anyhow::Result<Self> {
        match name {
            "none" => Ok(Self::none()),
            "mild" => Ok(Self::mild()),
            "harsh" => Ok(Self::harsh()),
            other => bail!("there are no faults called {other:?}: choose none, mild or harsh"),
        }
    }

    /// Reports all wrong values together.
    ///
    /// # Errors
    /// A share outside 0..=1, a range whose end lies before its start, a time over seven days, an
    /// outage that never ends, or a useless list of cut sizes.
    pub fn check(&self) -> anyhow::Result<()> {
        let mut wrong = Vec::new();
        let shares = [
            ("loss", self.loss),
            ("content-drop", self.content_drop),
            ("cut", self.cut),
            ("zero-tail", self.zero_tail),
            ("slow", self.slow),
            ("duplicate", self.duplicate),
            ("reorder", self.reorder),
            ("rename", self.rename),
        ];
        for (name, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                wrong.push(format!("{name} is {share}, but a share lies between 0 and 1"));
            }
        }
        if self.cut + self.zero_tail > 1.0 {
            wrong.push(format!(
                "cut ({}) and zero-tail ({}) exclude one another, so together they must not exceed 1",
                self.cut, self.zero_tail
            ));
        }
        for (name, (least, most)) in [("delay-ms", self.delay_ms), ("slow-ms", self.slow_ms)] {
            if least > most {
                wrong.push(format!("{name} is {least}..{most}, but must not end before it starts"));
            }
            if most > DELAY_MS_MAX {
                wrong.push(format!("{name} is {least}..{most}, but the longest is {DELAY_MS_MAX} (seven days)"));
            }
        }
        match self.outage_every_ms {
            Some(every) if self.outage_ms == 0 || self.outage_ms >= every => wrong.push(format!(
                "outage-ms is {} and outage-every-ms {every}, but an outage must last at least 1 ms and end before the next",
                self.outage_ms
            )),
            Some(every) if every > DELAY_MS_MAX => {
                wrong.push(format!("outage-every-ms is {every}, but the longest is {DELAY_MS_MAX} (seven days)"));
            }
            None if self.outage_ms > 0 => wrong.push("outage-ms needs outage-every-ms".to_owned()),
            Some(_) | None => {}
        }
        if self.cut_sizes.contains(&0) || self.cut_sizes.len() > CUT_SIZES_MAX {
            wrong.push(format!("cut-sizes must be at most {CUT_SIZES_MAX} sizes of at least 1 byte"));
        }
        if wrong.is_empty() {
            return Ok(());
        }
        bail!("the mirror's faults make no sense: {}", wrong.join("; "))
    }

    /// The least and most additional milliseconds of a file that is held back or sent again.
    pub(super) fn extra_ms(&self) -> (u64, u64) {
        let base = self.delay_ms.1.max(100);
        (base, base.saturating_mul(3))
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_sets_are_valid_and_ordered_by_trouble() {
        for name in ["none", "mild", "harsh"] {
            Faults::named(name).unwrap().check().unwrap();
        }
        assert!(Faults::named("mild").unwrap().loss < Faults::named("harsh").unwrap().loss);
        assert!(Faults::named("awful").unwrap_err().to_string().contains("none, mild or harsh"));
    }

    #[test]
    fn every_wrong_value_is_reported_at_once() {
        let faults = Faults {
            loss: 1.5,
            cut: f64::NAN,
            delay_ms: (5, 1),
            outage_every_ms: Some(10),
            outage_ms: 10,
            cut_sizes: vec![0],
            ..Faults::none()
        };
        let text = faults.check().unwrap_err().to_string();
        for part in ["loss is 1.5", "cut is NaN", "delay-ms is 5..1", "outage-ms is 10", "cut-sizes"] {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
    }
}
