//! Who this process is to the file system, and what would let it in: what a person needs to mend a refusal.
//!
//! Invariant: ids are numbers, as containers have no names for them. It changes nothing. Test to read first:
//! `the_remedy_names_what_the_folder_lacks`.

use std::path::Path;

/// Owner and permission bits of a folder.
#[derive(Clone, Copy, Debug)]
struct Owned {
    user: u32,
    group: u32,
    mode: u32,
}

/// User and groups of a process; the first group is that of new files.
#[derive(Clone, Debug)]
struct Who {
    user: u32,
    groups: Vec<u32>,
}

impl Who {
    fn me() -> Self {
        let own = rustix::process::getegid().as_raw();
        let mut groups = vec![own];
        let others = rustix::process::getgroups().unwrap_or_default();
        groups.extend(others.into_iter().map(rustix::fs::Gid::as_raw).filter(|group| *group != own));
        Self { user: rustix::process::geteuid().as_raw(), groups }
    }

    /// `user 65532, group 65532`, or `user 65532, groups 65532 and 2000`.
    fn named(&self) -> String {
        let groups: Vec<String> = self.groups.iter().take(8).map(u32::to_string).collect();
        let noun = if groups.len() == 1 { "group" } else { "groups" };
        format!("user {}, {noun} {}", self.user, groups.join(" and "))
    }

    fn remedy(&self, path: &Path, folder: Owned) -> String {
        let shown = path.display();
        let Owned { user, group, mode } = folder;
        let group_is_ours = self.groups.contains(&group);
        let chgrp = self.groups.first().filter(|_| !group_is_ours);
        let chgrp = chgrp.map_or_else(String::new, |own| format!("chgrp {own} {shown} && "));
        format!(
            "this process is {}; the folder belongs to user {user}, group {group}, mode {mode:04o}; let its group write: \
             {chgrp}chmod 2770 {shown}",
            self.named()
        )
    }
}

/// What would let this process write in a folder that it was refused.
pub(crate) fn write_remedy(path: &Path) -> String {
    let who = Who::me();
    match rustix::fs::stat(path) {
        Ok(stat) => {
            let owned = Owned { user: stat.st_uid, group: stat.st_gid, mode: stat.st_mode & 0o7777 };
            who.remedy(path, owned)
        }
        Err(_) => format!("this process is {}; give it write permission", who.named()),
    }
}

/// What to add to a refusal of the file system: who was refused, and what is to be given.
pub(crate) fn refused(error: &std::io::Error, permission: &str) -> String {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            format!("; this process is {}: give it {permission} permission", Who::me().named())
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_names_what_the_folder_lacks() {
        let pod = Who { user: 65532, groups: vec![65532] };
        let theirs = Owned { user: 0, group: 0, mode: 0o755 };
        assert_eq!(
            pod.remedy(Path::new("/mirror/out"), theirs),
            "this process is user 65532, group 65532; the folder belongs to user 0, group 0, mode 0755; let its group \
             write: chgrp 65532 /mirror/out && chmod 2770 /mirror/out"
        );
        let shared = Who { user: 65532, groups: vec![65532, 2000] };
        let closed = Owned { user: 0, group: 2000, mode: 0o2750 };
        let said = shared.remedy(Path::new("/m"), closed);
        assert!(
            said.contains("groups 65532 and 2000") && said.ends_with("let its group write: chmod 2770 /m"),
            "{said}"
        );
    }

    #[test]
    fn only_a_lack_of_permission_is_about_who_asks() {
        assert!(refused(&std::io::ErrorKind::PermissionDenied.into(), "read").contains("this process is user "));
        assert_eq!(refused(&std::io::ErrorKind::NotFound.into(), "read"), "");
        assert!(write_remedy(Path::new("/no/such/folder")).contains("write permission"));
    }
}
