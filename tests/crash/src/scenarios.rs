//! What is proved, each in a file of its own.

mod cuts;
mod damage;
mod full;
mod kills;
mod pauses;
mod points;
mod real;
mod restored;

use crate::line::Which;
use crate::runner::Scenario;
use crate::volume::{LoopKind, Need};

pub use cuts::{cuts, lies};
pub use damage::{damage, twins};
pub use full::full;
pub use kills::kills;
pub use pauses::pauses;
pub use points::{points, rolls};
pub use real::real;
pub use restored::{Copied, restored};

/// Every scenario of the test, those that take longest first.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "death_at_any_point_of_a_roll_loses_nothing",
        needs: &[Need::Fuse],
        run: |context| rolls(context),
    },
    Scenario {
        name: "death_at_any_call_on_the_disk_loses_nothing",
        needs: &[Need::Fuse],
        run: |context| points(context),
    },
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
    Scenario {
        name: "a_full_disk_of_the_near_side_loses_nothing",
        needs: &[],
        run: |context| full(context, Which::Near),
    },
    Scenario {
        name: "a_full_disk_of_the_far_side_loses_nothing",
        needs: &[],
        run: |context| full(context, Which::Far),
    },
    Scenario { name: "engines_that_stand_still_lose_nothing", needs: &[], run: |context| pauses(context, 12) },
    Scenario {
        name: "a_near_state_from_a_backup_is_noticed_and_nothing_is_doubled",
        needs: &[],
        run: |context| restored(context, Which::Near, Copied::InTraffic),
    },
    Scenario {
        name: "a_far_state_from_a_backup_is_noticed_and_nothing_is_doubled",
        needs: &[],
        run: |context| restored(context, Which::Far, Copied::AtRest),
    },
    Scenario { name: "damage_is_named_and_left_as_it_is", needs: &[], run: |context| damage(context) },
    Scenario { name: "a_second_engine_on_a_state_names_the_first", needs: &[], run: |context| twins(context) },
    Scenario {
        name: "on_ext4_nothing_is_lost",
        needs: &[Need::Loop(LoopKind::Ext4)],
        run: |context| real(context, LoopKind::Ext4),
    },
    Scenario {
        name: "on_xfs_nothing_is_lost",
        needs: &[Need::Loop(LoopKind::Xfs)],
        run: |context| real(context, LoopKind::Xfs),
    },
    Scenario {
        name: "on_btrfs_nothing_is_lost",
        needs: &[Need::Loop(LoopKind::Btrfs)],
        run: |context| real(context, LoopKind::Btrfs),
    },
];
