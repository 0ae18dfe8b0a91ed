//! Finding files: which folders addressed to me are listed in a scan, and in which order.
//!
//! Invariants: names of files and folders only tell where to look. Only folders of my own addresses are entered, to
//! a fixed depth; files directly in the root (flat layout) are taken as they are. My own folders and those of senders that
//! once were verified are opened by name, whatever else lies beside them, and get most of a scan; all other folders take
//! turns in the rest, so that each is seen after a bounded number of scans. Shards whose numbers are all closed are looked into
//! seldom. While more is due than one scan can do, folders are listed only as often as the work keeps up with the names, so
//! reading many files in costs as their number.
//! What this file does not do: list a folder (`listing`), remember the way (`crawl`), or open files.
//! Specification: protocol §6, wire format §13. Read first: `a_name_that_lies_still_works`.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::Inbox;
use super::crawl::{Area, Crawl, Step};
use super::known::shard_number;
use super::listing::{Interest, Listed, by_number, join};
use crate::limits::{
    FOLDER_DEPTH, HOT_CHILDREN, HOT_PAGE_NAMES, NAMES_PER_FILE, OLD_PAGE_NAMES, OLD_PAGE_PERIODS, OLD_SHARDS_KEPT,
    PAGE_NAMES, RESERVED_ONE_IN,
};

/// Characters of the short name that some file systems give to a longer one, before its number.
const SHORT_NAME_LEN: usize = 6;

/// What one scan may still list.
#[derive(Debug, Clone, Copy)]
struct Budget {
    folders: u32,
    names: usize,
}

impl Budget {
    const fn is_spent(&self) -> bool {
        self.folders == 0 || self.names == 0
    }

    /// Sets a part aside for others.
    fn reserve(&mut self) -> Self {
        let part = Self { folders: self.folders / RESERVED_ONE_IN, names: self.names / RESERVED_ONE_IN as usize };
        let part = Self { folders: part.folders.max(1), names: part.names.max(PAGE_NAMES) };
        self.folders = self.folders.saturating_sub(part.folders).max(1);
        self.names = self.names.saturating_sub(part.names).max(1);
        part
    }

    fn take(&mut self, names: usize) {
        self.folders = self.folders.saturating_sub(1);
        self.names = self.names.saturating_sub(names);
    }

    fn give_back(&mut self, part: Self) {
        self.folders += part.folders;
        self.names += part.names;
    }
}

impl Inbox {
    /// Lists what is due to be listed.
    pub(crate) fn discover(&mut self, now: Duration) -> io::Result<()> {
        self.spent.age(now);
        self.drop_emptied();
        let files = self.options.files_per_scan as usize;
        if self.discovery.debt > 0 && self.files.are_more_due(now, files) {
            self.discovery.debt = self.discovery.debt.saturating_sub(files.saturating_mul(NAMES_PER_FILE));
            return Ok(());
        }
        self.discovery.debt = 0;
        let mut budget = Budget {
            folders: self.options.folders_per_scan.max(4),
            names: self.options.names_per_scan.max(PAGE_NAMES),
        };
        let for_others = budget.reserve();
        let for_known = budget.reserve();
        self.list_likely(now, &mut budget);
        self.list_old(now, &mut budget);
        budget.give_back(for_known);
        let known_left = self.crawl(Area::Known, now, &mut budget)?;
        budget.give_back(for_others);
        let mut left = self.crawl(Area::Others, now, &mut budget)?;
        left |= known_left && self.crawl(Area::Known, now, &mut budget)?;
        if left && !self.spent.overflows(now) {
            self.progress += 1; // the rest is for the next scan
        }
        Ok(())
    }

    /// Names of the folders that are mine.
    pub(crate) fn own_folders(&self) -> Vec<String> {
        let both = |local: &super::Local| [local.endpoint.to_hex32(), local.side.as_address().to_hex32()];
        let mut names: Vec<String> = self.locals.iter().flat_map(both).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Lists, for each life that is real, the shards in which something new is likely; in turns, if that is too much.
    fn list_likely(&mut self, now: Duration, budget: &mut Budget) {
        let start = self.discovery.rotor.clone();
        let (before, after): (Vec<_>, Vec<_>) = self
            .discovery
            .lives
            .iter()
            .filter(|(_, known)| known.hot.is_some())
            .map(|(place, known)| (place.clone(), known.likely()))
            .partition(|(place, _)| *place <= start);
        for (place, folders) in after.into_iter().chain(before) {
            let mut blind = false;
            for folder in folders {
                if budget.is_spent() {
                    if let Some(known) = self.discovery.lives.get_mut(&place) {
                        known.blind = true;
                    }
                    return;
                }
                if !self.is_due(&folder, Interest::Likely, now) {
                    blind = true;
                    continue;
                }
                let from =
                    self.files.folders.get(&folder).and_then(|folder| folder.round.as_ref()).map_or(0, |r| r.from);
                let max = HOT_PAGE_NAMES.min(budget.names);
                let Ok(listed) = self.list(&folder, from, max, Interest::Likely, now) else { continue };
                budget.take(listed.names);
                blind |= from > 0 || listed.next.is_some();
            }
            if let Some(known) = self.discovery.lives.get_mut(&place) {
                known.blind = blind;
            }
            self.discovery.rotor = place;
        }
    }

    /// Looks into shards whose numbers are all closed, a page at a time and seldom: what is left there may be removed, and
    /// a number in a name is only a hint.
    fn list_old(&mut self, now: Duration, budget: &mut Budget) {
        let (cleaning, leaving) = OLD_PAGE_PERIODS;
        let period = if self.options.profile.receiver_deletes() { cleaning } else { leaving };
        let due = self.discovery.lives.iter().filter(|(_, known)| !known.old.is_empty() && now >= known.old_next);
        let due: Vec<(String, u64)> =
            due.filter_map(|(place, known)| Some((place.clone(), shard_number(known.old.front()?)?))).collect();
        for (place, number) in due {
            let Some(known) = self.discovery.lives.get_mut(&place).filter(|_| !budget.is_spent()) else { return };
            known.old_next = now.saturating_add(period);
            let (Some(path), from) = (known.old.front().cloned(), known.old_from) else { continue };
            let Ok(listed) = self.list(&path, from, OLD_PAGE_NAMES, Interest::Old, now) else { continue };
            budget.take(listed.names);
            let Some(known) = self.discovery.lives.get_mut(&place) else { continue };
            known.old_from = listed.next.unwrap_or(0);
            if listed.next.is_none() {
                known.old.pop_front();
                known.old_rotor = Some(number);
            }
        }
    }

    /// Removes closed shards whose last file went.
    fn drop_emptied(&mut self) {
        while let Some(path) = self.discovery.emptied.pop_front() {
            if self.files.folders.get(&path).is_none_or(|folder| folder.files.is_empty()) {
                self.drop_folder(&path);
            }
        }
    }

    fn way(&mut self, area: Area) -> &mut Crawl {
        let [known, others] = &mut self.discovery.crawls;
        if known.area == area { known } else { others }
    }

    /// Goes on with one of the ways, as far as the budget allows. True if there is more to go at once.
    fn crawl(&mut self, area: Area, now: Duration, budget: &mut Budget) -> io::Result<bool> {
        if self.way(area).is_to_begin(now) {
            let first = self.first_steps(area);
            self.way(area).begin(first, now);
        }
        while let Some(step) = self.way(area).next() {
            if self.skips(area, &step, now) {
                continue;
            }
            if budget.is_spent() {
                self.way(area).put_back(step);
                break;
            }
            let interest = if step.newest { Interest::Likely } else { Interest::Ordinary };
            match self.list(&step.path, step.from, PAGE_NAMES.min(budget.names), interest, now) {
                Ok(listed) => {
                    budget.take(listed.names);
                    self.enter(area, &step, listed);
                }
                // The root, or a mount on my own folder. What somebody else put in its place is no trouble of the root.
                Err(error) if step.depth <= 1 && error.kind() != io::ErrorKind::NotADirectory => return Err(error),
                Err(_) => budget.take(0),
            }
        }
        Ok(self.way(area).pause(now))
    }

    fn first_steps(&self, area: Area) -> VecDeque<Step> {
        let step = |path: String, depth| Step { path, depth, newest: true, from: 0 };
        match area {
            Area::Known => self.discovery.senders().into_iter().map(|path| step(path, 2)).collect(),
            Area::Others => {
                let mine = self.own_folders().into_iter().map(|path| step(path, 1));
                std::iter::once(step(String::new(), 0)).chain(mine).collect()
            }
        }
    }

    fn skips(&self, area: Area, step: &Step, now: Duration) -> bool {
        if step.from > 0 {
            return false;
        }
        let elsewhere = match (area, step.depth) {
            (Area::Others, 2) => self.discovery.is_sender(&step.path),
            (Area::Known, FOLDER_DEPTH) => {
                let life = super::tracked::split(&step.path).0;
                self.discovery.lives.get(life).is_some_and(|known| known.likely().contains(&step.path))
            }
            _ => false,
        };
        let interest = if step.newest { Interest::Likely } else { Interest::Ordinary };
        elsewhere || !self.is_due(&step.path, interest, now)
    }

    /// Puts what a page showed onto the way.
    fn enter(&mut self, area: Area, step: &Step, listed: Listed) {
        let rest = listed.next.map(|from| Step { from, ..step.clone() });
        let mut names = listed.folders;
        if step.depth == 0 {
            let mine = self.own_folders();
            names.retain(|name| is_alias(&mine, name));
        }
        if step.depth >= FOLDER_DEPTH {
            names.clear();
        }
        by_number(&mut names);
        let in_life = step.depth + 1 == FOLDER_DEPTH;
        let mut paths: Vec<String> = names.iter().map(|name| join(&step.path, name)).collect();
        if in_life && area == Area::Known {
            self.set_old_aside(&step.path, &mut paths);
        }
        let known_sender = area == Area::Known && step.depth == 2;
        let newest_from = paths.len().saturating_sub(HOT_CHILDREN);
        let children = (0..).zip(paths).map(|(index, path)| Step {
            newest: known_sender || (in_life && index >= newest_from),
            path,
            depth: step.depth + 1,
            from: 0,
        });
        let children = children.collect();
        self.way(area).descend(rest, children);
    }

    /// Takes the shards of a life that are over out of the way.
    fn set_old_aside(&mut self, place: &str, paths: &mut Vec<String>) {
        let (old, rest): (Vec<String>, Vec<String>) =
            std::mem::take(paths).into_iter().partition(|path| self.is_old_shard(path));
        *paths = rest;
        let Some(known) = self.discovery.lives.get_mut(place).filter(|known| known.old.is_empty()) else { return };
        let rotor = known.old_rotor;
        let after = old.iter().filter(|path| shard_number(path) > rotor);
        known.old = after.take(OLD_SHARDS_KEPT).cloned().collect();
        if known.old.is_empty() {
            known.old = old.into_iter().take(OLD_SHARDS_KEPT).collect();
        }
    }
}

/// Whether a folder in the root is one of mine under another name: of another case, the short name that some file systems
/// give it, or a copy that a mirror named after it. My folders by their own names are opened in any case.
fn is_alias(mine: &[String], name: &str) -> bool {
    let folded = name.to_ascii_lowercase();
    let short = folded.split_once('~').filter(|(stem, number)| {
        stem.len() == SHORT_NAME_LEN && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    let matches = |own: &String| match short {
        Some((stem, _)) => own.starts_with(stem),
        None => folded.starts_with(own.as_str()),
    };
    !mine.iter().any(|own| own == name) && mine.iter().any(matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_mine_is_found_under_the_names_that_mirrors_give_it() {
        let mine = ["8ed3288c315b8e7080842978adad8e7d".to_owned()];
        for name in
            ["8ED3288C315B8E7080842978ADAD8E7D", "8ED328~1", "8ed328~12", "8ed3288c315b8e7080842978adad8e7d (1)"]
        {
            assert!(is_alias(&mine, name), "{name}");
        }
        for name in ["8ed3288c315b8e7080842978adad8e7d", "8ED328~", "8ED328~x", "8ED32~1", "41afd8~1", "x", ""] {
            assert!(!is_alias(&mine, name), "{name}");
        }
    }

    #[test]
    fn what_is_reserved_is_there_for_others_and_comes_back() {
        let mut budget = Budget { folders: 1_024, names: 16_384 };
        let part = budget.reserve();
        assert_eq!((part.folders, part.names, budget.folders, budget.names), (128, 2_048, 896, 14_336));
        budget.give_back(part);
        assert_eq!((budget.folders, budget.names), (1_024, 16_384));
        let mut small = Budget { folders: 4, names: 1_024 };
        let part = small.reserve();
        assert_eq!((part.folders, small.folders), (1, 3));
        assert!(!small.is_spent());
    }
}
