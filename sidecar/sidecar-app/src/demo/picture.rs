//! The live picture: redrawn in place on a terminal, one plain line a second anywhere else.
//!
//! Invariants: it writes to standard error only; whatever it changed on a terminal is put right when it is dropped, also
//! by Ctrl-C or a panic; it waits for nothing but its own clock, so a slow terminal slows no call.
//! Test to read first: `a_frame_tells_everything_in_lines_of_a_common_width`.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::packets::Packets;
use super::progress::{Event, Progress, Tally, Which};
use super::sides::{FAR, NEAR};
use super::verdict::Verdict;
use super::view::{EngineView, Sources, View};

/// Time between two frames on a terminal.
const FRAME: Duration = Duration::from_millis(200);
/// Time between two plain lines.
const LINE: Duration = Duration::from_secs(1);
/// Inner width of an engine's box, and width of the space between the boxes, in characters.
const BOX: usize = 27;
const GAP: usize = 20;
/// Width of the bar, in characters.
const BAR: u64 = 30;

const HIDE_CURSOR_AND_CUT_LINES: &str = "\x1b[?25l\x1b[?7l";
const SHOW_CURSOR_AND_WRAP_LINES: &str = "\x1b[?7h\x1b[?25h";

/// What is known before the run begins.
#[derive(Clone, Debug)]
pub(super) struct Title {
    /// Calls to be made.
    pub(super) calls: u64,
    /// The word for the mirrors' faults.
    pub(super) faults: String,
    /// Seed of the run.
    pub(super) seed: u64,
}

/// The picture while it is shown; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Picture {
    task: Option<JoinHandle<()>>,
    stop: tokio_util::sync::CancellationToken,
    live: bool,
}

impl Picture {
    /// Begins to show a run. With `plain` it draws no picture even on a terminal.
    pub(super) fn show(title: Title, progress: Arc<Progress>, sources: Sources, plain: bool) -> Self {
        let live =
            !plain && std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let stop = tokio_util::sync::CancellationToken::new();
        let task = if live {
            say(HIDE_CURSOR_AND_CUT_LINES);
            tokio::spawn(draw(title, progress, sources, stop.clone()))
        } else {
            tokio::spawn(tell(title, progress, sources, stop.clone()))
        };
        Self { task: Some(task), stop, live }
    }

    /// Shows the last state and ends.
    pub(super) async fn finish(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            // A picture that fails is no reason for the run to fail.
            let _ = tokio::time::timeout(Duration::from_secs(2), task).await;
        }
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        if self.live {
            say(SHOW_CURSOR_AND_WRAP_LINES);
        }
    }
}

/// Writes to standard error at once; nobody listening is no reason to fail.
fn say(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

async fn draw(title: Title, progress: Arc<Progress>, sources: Sources, stop: tokio_util::sync::CancellationToken) {
    let mut lines_before = 0;
    let mut view = View::default();
    loop {
        let last = stop.is_cancelled();
        view = sources.look().await.or(view);
        let lines = frame(&title, &progress, &view);
        let mut text = if lines_before > 0 { format!("\x1b[{lines_before}A\r") } else { String::new() };
        for line in &lines {
            text.push_str(line);
            text.push_str("\x1b[K\n");
        }
        text.push_str("\x1b[J");
        lines_before = lines.len();
        say(&text);
        if last {
            return;
        }
        tokio::select! { () = tokio::time::sleep(FRAME) => {}, () = stop.cancelled() => {} }
    }
}

async fn tell(title: Title, progress: Arc<Progress>, sources: Sources, stop: tokio_util::sync::CancellationToken) {
    let Title { calls, faults, seed } = &title;
    say(&format!("hoft demo: {calls} calls, faults {faults}, seed {seed}\n"));
    let mut seen = 0;
    let mut line_due = tokio::time::Instant::now();
    loop {
        let last = stop.is_cancelled();
        let (events, count) = progress.events_after(seen);
        seen = count;
        for event in events {
            say(&format!("{}\n", event_line(&event)));
        }
        if last || tokio::time::Instant::now() >= line_due {
            line_due += LINE;
            let view = sources.look().await;
            say(&format!("{}\n", plain_line(calls, &progress, &view)));
        }
        if last {
            return;
        }
        tokio::select! { () = tokio::time::sleep(FRAME) => {}, () = stop.cancelled() => {} }
    }
}

fn event_line(event: &Event) -> String {
    format!("[{:>5.1} s] {}", event.at.as_secs_f64(), event.text)
}

fn plain_line(calls: &u64, progress: &Progress, view: &View) -> String {
    let Tally { ok, unknown, wrong, repeated, .. } = progress.tally();
    let tally = progress.tally();
    let position = |side: &str, engine: &Option<EngineView>| match engine {
        Some(engine) => format!("{side} acked {}/{}, resent {}", engine.acknowledged, engine.appended, engine.resent),
        None => format!("{side} silent"),
    };
    let Packets { sent, lost, cut, duplicated, reordered } = view.mirrors[0].plus(view.mirrors[1]);
    format!(
        "[{:>5.1} s] calls {}/{calls}: ok {ok}, unknown {unknown}, wrong {wrong}, in flight {}, repeated {repeated} | {} | {} | \
         packets {sent}: lost {lost}, cut {cut}, twice {duplicated}, late {reordered}",
        progress.elapsed().as_secs_f64(),
        tally.ended(),
        tally.in_flight(),
        position(NEAR, &view.near),
        position(FAR, &view.far),
    )
}

/// The whole picture, line by line.
fn frame(title: &Title, progress: &Progress, view: &View) -> Vec<String> {
    let tally = progress.tally();
    let Title { calls, faults, seed } = title;
    let elapsed = progress.elapsed().as_secs_f64();
    let mut lines = vec![
        format!(" hoft demo    seed {seed}    faults {faults}    {elapsed:.1} s"),
        String::new(),
        format!(" calls  {}  {}/{calls}    in flight {}", bar(tally.ended(), *calls), tally.ended(), tally.in_flight()),
        format!(
            "        ok {}    unknown {}    wrong {}    repeated {}",
            tally.ok, tally.unknown, tally.wrong, tally.repeated
        ),
        format!("        bodies: {} sent, {} received", octets(tally.octets_up), octets(tally.octets_down)),
        String::new(),
    ];
    let near = engine_box(NEAR, "calls", progress.fate(Which::Near), view.near.as_ref());
    let far = engine_box(FAR, "executes", progress.fate(Which::Far), view.far.as_ref());
    for ((near, gap), far) in near.iter().zip(between(&view.mirrors)).zip(&far) {
        lines.push(format!(" {near}{gap:^GAP$}{far}"));
    }
    lines.push(String::new());
    lines.extend(progress.events().iter().map(|event| format!(" {}", event_line(event))));
    lines
}

fn bar(done: u64, all: u64) -> String {
    let full = (done.min(all) * BAR).checked_div(all).unwrap_or_default();
    (0..BAR).map(|place| if place < full { '█' } else { '·' }).collect()
}

fn engine_box(side: &str, role: &str, (kills, down): (u64, bool), engine: Option<&EngineView>) -> [String; 7] {
    let EngineView { acknowledged, appended, packets, resent, round_trip_ms } = engine.cloned().unwrap_or_default();
    let state = match (down, kills) {
        (true, _) => "KILLED, starting again".to_owned(),
        (false, 0) => "running".to_owned(),
        (false, times) => format!("running, killed {times}×"),
    };
    let round_trip = round_trip_ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms} ms"));
    let inside = [
        state,
        format!("acknowledged {acknowledged} of {appended}"),
        format!("packets sent {packets}"),
        format!("records resent {resent}"),
        format!("round trip {round_trip}"),
    ];
    let head = format!(" {side} ({role}) ");
    let [state, position, packets, resent, round_trip] =
        inside.map(|text| format!("│ {text:<width$}│", width = BOX - 1));
    [format!("┌{head:─<BOX$}┐"), state, position, packets, resent, round_trip, format!("└{}┘", "─".repeat(BOX))]
}

/// The mirrors between the boxes, a line for each line of a box.
fn between(mirrors: &[Packets; 2]) -> [String; 7] {
    let [there, back] = mirrors;
    let pair = |there: u64, what: &str, back: u64| format!("{there:>6} {what:^6} {back:<6}");
    [
        "──▶  mirrors  ◀──".to_owned(),
        pair(there.sent, "files", back.sent),
        pair(there.lost, "lost", back.lost),
        pair(there.cut, "cut", back.cut),
        pair(there.duplicated, "twice", back.duplicated),
        pair(there.reordered, "late", back.reordered),
        String::new(),
    ]
}

/// A number of octets for people.
fn octets(count: u64) -> String {
    if count < 10 << 10 {
        return format!("{count} B");
    }
    if count < 10 << 20 { format!("{} KiB", count >> 10) } else { format!("{} MiB", count >> 20) }
}

/// The result in words.
pub(super) fn conclusion(verdict: &Verdict, elapsed: Duration) -> String {
    let Verdict { calls, ok, unknown, lost, doubled, mismatched, packets, restarts, seed, .. } = verdict;
    let explained = if *unknown > 0 { " (in flight at a kill, and not safe to repeat)" } else { "" };
    let judged = if verdict.good() { "every promise was kept" } else { "PROMISES WERE BROKEN" };
    format!(
        "{calls} calls: {ok} ok, {unknown} unknown{explained}, {lost} lost, {doubled} executed twice, {mismatched} mismatched\n\
         {} packets: {} lost, {} cut, {} duplicated, {} reordered; {restarts} engines killed and started again\n\
         {:.1} s, seed {seed}: {judged}",
        packets.sent,
        packets.lost,
        packets.cut,
        packets.duplicated,
        packets.reordered,
        elapsed.as_secs_f64()
    )
}

#[cfg(test)]
mod tests {
    use super::super::progress::Ending;
    use super::super::verdict::{Evidence, judge};
    use super::*;

    fn title() -> Title {
        Title { calls: 20, faults: "harsh".to_owned(), seed: 42 }
    }

    fn view() -> View {
        let engine =
            EngineView { acknowledged: 812, appended: 840, packets: 310, resent: 95, round_trip_ms: Some(640) };
        let there = Packets { sent: 1234, lost: 250, cut: 240, duplicated: 120, reordered: 90 };
        View { near: Some(engine), far: None, mirrors: [there, Packets::default()] }
    }

    #[test]
    fn a_frame_tells_everything_in_lines_of_a_common_width() {
        let progress = Progress::default();
        for _ in 0..6 {
            progress.call_begun();
        }
        progress.call_ended(Ending::Right);
        progress.killed(Which::Far);
        progress.event("south killed with 5 calls in flight");
        let lines = frame(&title(), &progress, &view());
        let text = lines.join("\n");
        for part in [
            "seed 42",
            "faults harsh",
            "1/20",
            "in flight 5",
            "acknowledged 812 of 840",
            "1234",
            "KILLED",
            "south killed",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        let boxes: Vec<usize> =
            lines.iter().filter(|line| line.contains(['│', '┌', '└'])).map(|line| line.chars().count()).collect();
        assert_eq!(boxes, [1 + 2 * (BOX + 2) + GAP; 7]);
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{text}");
        progress.back(Which::Far);
        assert!(frame(&title(), &progress, &view()).join("\n").contains("running, killed 1×"));
    }

    #[test]
    fn the_bar_is_full_only_at_the_end() {
        assert_eq!(bar(0, 10).matches('█').count(), 0);
        assert_eq!(bar(9, 10).matches('·').count(), 3);
        assert_eq!(bar(10, 10).matches('█').count() as u64, BAR);
        assert_eq!(bar(3, 0).matches('█').count(), 0);
    }

    #[test]
    fn a_plain_line_has_no_control_characters() {
        let line = plain_line(&20, &Progress::default(), &view());
        assert!(!line.contains(char::is_control));
        assert!(
            line.contains("north acked 812/840") && line.contains("south silent") && line.contains("lost 250"),
            "{line}"
        );
    }

    #[test]
    fn the_conclusion_says_whether_promises_were_kept() {
        let good = judge(&Evidence::default(), 3);
        let text = conclusion(&good, Duration::from_millis(12_340));
        assert!(text.contains("every promise was kept") && text.contains("12.3 s, seed 3"), "{text}");
        let bad = judge(&Evidence { planned: 1, ..Evidence::default() }, 3);
        assert!(conclusion(&bad, Duration::ZERO).contains("BROKEN"));
    }

    #[test]
    fn sizes_are_written_for_people() {
        assert_eq!([octets(5), octets(20_480), octets(50 << 20)], ["5 B", "20 KiB", "50 MiB"]);
    }
}
