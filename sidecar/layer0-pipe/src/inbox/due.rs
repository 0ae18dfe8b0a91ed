//! When each tracked file is looked at next, by how much its place promises and by whose it seems to be.
//!
//! Invariants: taking turns costs as much as what is taken, however many files are due; in one turn every sender that is
//! due gets as much as the others; the sender whose file waits longest comes first.
//! What this file does not do: know files. Specification: protocol §1 "Completeness", §6.
//! Read first: `senders_take_turns_however_much_each_has`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use wire::name::parse_file_name;

use super::arrival::FileId;
use super::tracked::Standing;

/// Characters of a flat name that tell recipient and sender.
const FLAT_PAIR: usize = 21;

/// Whose file a path seems to be: recipient and sender folder, or what a flat name says instead.
pub(crate) fn group_of(path: &str) -> &str {
    match path.match_indices('/').nth(1) {
        Some((at, _)) => path.get(..at).unwrap_or_default(),
        None if !path.contains('/') && parse_file_name(path).is_some() => path.get(..FLAT_PAIR).unwrap_or_default(),
        None => "",
    }
}

/// Due times of files of one standing.
#[derive(Debug, Default)]
struct Groups {
    /// By group; none is empty.
    files: BTreeMap<String, BTreeSet<(Duration, FileId)>>,
    /// The first due time of each group.
    first: BTreeSet<(Duration, String)>,
}

impl Groups {
    fn change(&mut self, group: &str, change: impl FnOnce(&mut BTreeSet<(Duration, FileId)>)) {
        let (name, mut files) =
            self.files.remove_entry(group).unwrap_or_else(|| (group.to_owned(), BTreeSet::default()));
        let before = files.first().map(|(at, _)| *at);
        change(&mut files);
        let after = files.first().map(|(at, _)| *at);
        if before != after {
            if let Some(at) = before {
                self.first.remove(&(at, name.clone()));
            }
            if let Some(at) = after {
                self.first.insert((at, name.clone()));
            }
        }
        if !files.is_empty() {
            self.files.insert(name, files);
        }
    }

    fn turns(&self, now: Duration, max: usize) -> Vec<VecDeque<FileId>> {
        let due = self.first.iter().take_while(|(at, _)| *at <= now).take(max);
        let mut sources: Vec<_> = due
            .filter_map(|(_, group)| self.files.get(group))
            .map(|files| (files.iter().take_while(|(at, _)| *at <= now), VecDeque::new()))
            .collect();
        let (mut left, mut found) = (max, true);
        while left > 0 && found {
            found = false;
            for (files, queue) in &mut sources {
                if left > 0
                    && let Some((_, id)) = files.next()
                {
                    queue.push_back(*id);
                    left -= 1;
                    found = true;
                }
            }
        }
        sources.into_iter().map(|(_, queue)| queue).filter(|queue| !queue.is_empty()).collect()
    }
}

/// Due times of all files.
#[derive(Debug, Default)]
pub(crate) struct Due {
    standings: [Groups; 3],
}

impl Due {
    fn of(&mut self, standing: Standing) -> &mut Groups {
        let [good, known, unknown] = &mut self.standings;
        match standing {
            Standing::Good => good,
            Standing::Known => known,
            Standing::Unknown => unknown,
        }
    }

    pub(crate) fn insert(&mut self, standing: Standing, group: &str, at: Duration, id: FileId) {
        self.of(standing).change(group, |files| {
            files.insert((at, id));
        });
    }

    pub(crate) fn remove(&mut self, standing: Standing, group: &str, at: Duration, id: FileId) {
        self.of(standing).change(group, |files| {
            files.remove(&(at, id));
        });
    }

    /// At most `max` files that are due, those of one group in one queue.
    pub(crate) fn turns(&self, standing: Standing, now: Duration, max: usize) -> Vec<VecDeque<FileId>> {
        self.standings.get(standing as usize).map(|groups| groups.turns(now, max)).unwrap_or_default()
    }

    /// The next due time.
    pub(crate) fn next(&self, standing: Standing) -> Option<Duration> {
        self.standings.get(standing as usize)?.first.first().map(|(at, _)| *at)
    }

    /// Whether more than `count` files are due.
    pub(crate) fn are_more(&self, now: Duration, count: usize) -> bool {
        let due = self.standings.iter().flat_map(|groups| {
            let first = groups.first.iter().take_while(move |(at, _)| *at <= now);
            first.filter_map(|(_, group)| groups.files.get(group))
        });
        due.flat_map(|files| files.iter().take_while(|(at, _)| *at <= now)).nth(count).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn senders_take_turns_however_much_each_has() {
        let mut due = Due::default();
        for n in 0..1_000 {
            due.insert(Standing::Known, "flood", S, FileId(n));
        }
        for n in 0..3 {
            due.insert(Standing::Known, "a", S * 2, FileId(2_000 + n));
            due.insert(Standing::Unknown, "b", S * 2, FileId(3_000 + n));
        }
        assert!(due.turns(Standing::Known, S / 2, 9).is_empty());
        let turns = due.turns(Standing::Known, S * 2, 10);
        assert_eq!(turns.iter().map(VecDeque::len).collect::<Vec<_>>(), [7, 3], "the longest due first");
        assert!(due.are_more(S * 2, 1_005) && !due.are_more(S * 2, 1_006) && !due.are_more(S / 2, 0));
        for n in 0..1_000 {
            due.remove(Standing::Known, "flood", S, FileId(n));
        }
        assert_eq!((due.next(Standing::Known), due.next(Standing::Good)), (Some(S * 2), None));
    }

    #[test]
    fn no_more_senders_get_a_turn_than_files_are_taken() {
        let mut due = Due::default();
        for n in 0..500 {
            due.insert(Standing::Unknown, &n.to_string(), S * n, FileId(u64::from(n)));
        }
        let turns = due.turns(Standing::Unknown, S * 1_000, 20);
        assert_eq!(turns.iter().flatten().map(|id| id.0).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn files_of_one_sender_folder_are_a_group() {
        assert_eq!(group_of("me/a/i/0/x.hft"), "me/a");
        assert_eq!(group_of("me/a/y.hft"), "me/a");
        assert_eq!(group_of("me/y.hft"), "");
        assert_eq!(group_of("y.hft"), "");
        assert_eq!(group_of("1111111111-2222222222-33333333-000000001234-000000ab.hft"), "1111111111-2222222222");
    }
}
