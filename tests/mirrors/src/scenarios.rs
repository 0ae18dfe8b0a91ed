//! What is proved: one scenario for each mirror and share.

use std::time::Duration;

use crash::line::{Faulty, Line, Place, Which};
use crash::runner::{Context, Scenario};
use crash::volume::Need;
use sidecar_config::{ConfigFile, Profile};

use crate::rsync::Rsync;
use crate::share::{Kind, Share, folder_from, mount_of};
use crate::syncthing::Syncthing;
use crate::trial::{Folders, Trial};

const RSYNC: Need = Need::Program { name: "rsync", package: "rsync", word: "mirrors" };
const SSHD: Need = Need::Program { name: "sshd", package: "openssh-server", word: "shares" };
const SSH_KEYGEN: Need = Need::Program { name: "ssh-keygen", package: "openssh-client", word: "shares" };
const SSHFS: Need = Need::Program { name: "sshfs", package: "sshfs", word: "shares" };
const DAVFS: Need = Need::Program { name: "mount.davfs", package: "davfs2", word: "shares" };
const RCLONE: Need = Need::Program { name: "rclone", package: "rclone", word: "shares" };
/// `rclone mount` starts it.
const FUSERMOUNT: Need = Need::Program { name: "fusermount3", package: "fuse3", word: "shares" };
const SYNCTHING: Need = Need::Program { name: "syncthing", package: "syncthing", word: "mirrors" };

/// Every scenario of the test, those that take longest first.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "rclone_mount_of_webdav",
        needs: &[Need::Fuse, RCLONE, FUSERMOUNT],
        run: |context| shared(context, Kind::RcloneDav),
    },
    Scenario {
        name: "rclone_mount_of_sftp",
        needs: &[Need::Fuse, RCLONE, FUSERMOUNT, SSH_KEYGEN],
        run: |context| shared(context, Kind::RcloneSftp),
    },
    Scenario { name: "syncthing_that_syncs", needs: &[SYNCTHING], run: |context| syncthing(context) },
    Scenario { name: "davfs2_share", needs: &[Need::Fuse, DAVFS, RCLONE], run: |context| shared(context, Kind::Davfs) },
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
    Scenario { name: "sshfs_share", needs: &[Need::Fuse, SSHD, SSHFS], run: |context| shared(context, Kind::Sshfs) },
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
    // Many more packets than may stay in a folder.
    Trial { tens: 25, ..Trial::default() }.run(context, &format!("rsync {options:?}"), line, &folders)
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

/// Both engines on mounts of one server: whatever a side deletes is gone for both.
fn shared(context: Context<'_>, kind: Kind) -> String {
    let change = |file: &mut ConfigFile| {
        let (own, other) = match file.local.name.as_str() {
            "north" => (Which::Near, Which::Far),
            _ => (Which::Far, Which::Near),
        };
        file.folders.outbox = format!("disk/share/{}", folder_from(own)).into();
        file.folders.inbox = format!("disk/share/{}", folder_from(other)).into();
        file.mirror.profile = Profile::Sync;
        file.mirror.expected_latency = Duration::from_secs(2);
        file.mirror.quiet_min = Duration::from_secs(2);
    };
    let place = Place::new(context.inside);
    let folders = Which::BOTH.map(|which| {
        let mount = mount_of(&place, which);
        Which::BOTH.map(|from| mount.join(folder_from(from)))
    });
    let [[near_out, near_in], [far_in, far_out]] = folders;
    let folders = [
        ("the near outbox", near_out),
        ("the near inbox", near_in),
        ("the far outbox", far_out),
        ("the far inbox", far_in),
    ];
    let line = Line::prepare_with(place, change, |place| Box::new(Share::start(place, kind)));
    Trial { kills: 6, ..Trial::default() }.run(context, &format!("{kind:?}"), line, &folders)
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
