//! What is proved: one scenario for each mirror and share.

use std::time::Duration;

use crash::line::{Faulty, Line, Place, Which};
use crash::runner::{Context, Scenario};
use crash::volume::Need;
use sidecar_config::{ConfigFile, Profile};

use crate::rsync::Rsync;
use crate::syncthing::Syncthing;
use crate::trial::{Folders, Trial};

const RSYNC: Need = Need::Program { name: "rsync", package: "rsync", word: "mirrors" };
const SYNCTHING: Need = Need::Program { name: "syncthing", package: "syncthing", word: "mirrors" };

/// Every scenario of the test, those that take longest first.
pub const ALL: &[Scenario] = &[
    Scenario { name: "syncthing_that_syncs", needs: &[SYNCTHING], run: |context| syncthing(context) },
    Scenario { name: "rsync_that_copies", needs: &[RSYNC], run: |context| rsync(context, &[], copied) },
    Scenario {
        name: "rsync_that_copies_in_place",
        needs: &[RSYNC],
        run: |context| rsync(context, &["--inplace"], copied),
    },
    Scenario {
        name: "rsync_that_moves",
        needs: &[RSYNC],
        run: |context| rsync(context, &["--remove-source-files"], moved),
    },
    Scenario { name: "rsync_that_deletes", needs: &[RSYNC], run: |context| rsync(context, &["--delete"], synced) },
    Scenario { name: "hoft_mirror_that_copies", needs: &[], run: |context| own(context, "copy", |_| {}) },
    Scenario {
        name: "hoft_mirror_that_moves",
        needs: &[],
        run: |context| own(context, "move", |file| file.mirror.profile = Profile::Move),
    },
    Scenario {
        name: "hoft_mirror_that_syncs",
        needs: &[],
        run: |context| own(context, "sync", |file| file.mirror.profile = Profile::Sync),
    },
];

fn rsync(context: Context<'_>, options: &'static [&'static str], change: fn(&mut ConfigFile)) -> String {
    let place = Place::new(context.inside);
    let line = Line::prepare_with(place, change, |place| Box::new(Rsync::start(place, options)));
    let folders = local(&line.place);
    Trial::default().run(context, &format!("rsync {options:?}"), line, &folders)
}

fn own(context: Context<'_>, profile: &'static str, change: fn(&mut ConfigFile)) -> String {
    let place = Place::new(context.inside);
    let line = Line::prepare_with(place, change, |place| Box::new(Faulty::start(place, context.seed, profile)));
    let folders = local(&line.place);
    Trial { kills: 8, ..Trial::default() }.run(context, &format!("hoft mirror, {profile}"), line, &folders)
}

fn syncthing(context: Context<'_>) -> String {
    let change = |file: &mut ConfigFile| {
        file.mirror.profile = Profile::Sync;
        file.mirror.expected_latency = Duration::from_secs(3);
    };
    let line = Line::prepare_with(Place::new(context.inside), change, |place| Box::new(Syncthing::start(place)));
    let folders = local(&line.place);
    Trial { kills: 6, ..Trial::default() }.run(context, "syncthing", line, &folders)
}

fn copied(file: &mut ConfigFile) {
    file.mirror.profile = Profile::Copy;
    looped(file);
}

fn moved(file: &mut ConfigFile) {
    file.mirror.profile = Profile::Move;
    looped(file);
}

fn synced(file: &mut ConfigFile) {
    file.mirror.profile = Profile::Sync;
    looped(file);
}

fn looped(file: &mut ConfigFile) {
    file.mirror.expected_latency = Duration::from_secs(1);
    file.mirror.quiet_min = Duration::from_secs(1);
}

/// The folders of a line between which a mirror carries.
fn local(place: &Place) -> Folders {
    let of = |which, name| place.disk(which).join(name);
    [
        ("the near outbox", of(Which::Near, "out")),
        ("the near inbox", of(Which::Near, "in")),
        ("the far outbox", of(Which::Far, "out")),
        ("the far inbox", of(Which::Far, "in")),
    ]
}
