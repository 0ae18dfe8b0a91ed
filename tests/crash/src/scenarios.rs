//! What is proved, each in a file of its own.

mod cuts;
mod kills;

use crate::runner::Scenario;
use crate::volume::Need;

pub use cuts::{cuts, lies};
pub use kills::kills;

/// Every scenario of the test, those that take longest first.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "power_cuts_lose_and_double_nothing",
        needs: &[Need::Fuse],
        run: |context| cuts(context, 40, false),
    },
    Scenario { name: "kills_lose_and_double_nothing", needs: &[], run: |context| kills(context, 40, false) },
    Scenario {
        name: "a_disk_that_lies_about_syncs_loses_promises",
        needs: &[Need::Fuse],
        run: |context| lies(context),
    },
];
