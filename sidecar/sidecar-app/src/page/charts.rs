//! Small inline SVG charts: round trip and throughput over time, positions of cuts.
//!
//! Invariants: a chart has a title and a description, and its caption says the same in words; it is drawn of numbers only,
//! with attributes and classes, because the policy of the page allows no inline style. Test to read first:
//! `a_chart_tells_its_numbers_in_words_too`.

use std::fmt::Write as _;
use std::time::Duration;

use super::html::{Html, put};
use super::samples::Sample;
use super::watcher::Scene;
use super::words;

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 100.0;
/// A chart covers at least so much time, so that the first samples are not a wall.
const SPAN_MIN: Duration = Duration::from_secs(120);

/// A line of a chart.
struct Line {
    class: &'static str,
    value: fn(&Sample) -> Option<f64>,
}

/// The charts over time.
pub(super) fn over_time(scene: &Scene) -> Html {
    let mut html = Html::new();
    let length = match u64::try_from(scene.samples.length().as_millis()) {
        Ok(0) => "so far".to_owned(),
        length => format!("over {}", words::span(length.unwrap_or(u64::MAX))),
    };
    let trip = |sample: &Sample| sample.round_trip_ms;
    let (sent, received) =
        (|sample: &Sample| Some(sample.sent_per_second), |sample: &Sample| Some(sample.received_per_second));
    let words_of_trip = match summary(scene, trip) {
        Some(summary) => format!(
            "now {}, least {}, most {}, {length}",
            words::span_of(summary.last),
            words::span_of(summary.least),
            words::span_of(summary.most)
        ),
        None => "not measured yet: it needs a packet there and one back".to_owned(),
    };
    chart(&mut html, scene, "trip", "Round trip", &words_of_trip, &[Line { class: "a", value: trip }]);
    let words_of_rate = match (summary(scene, sent), summary(scene, received)) {
        (Some(out), Some(inward)) => format!(
            "out (solid) now {}, most {}; in (dashed) now {}, most {}, {length}",
            words::rate(out.last),
            words::rate(out.most),
            words::rate(inward.last),
            words::rate(inward.most)
        ),
        _ => "the first numbers come after ten seconds".to_owned(),
    };
    let lines = [Line { class: "a", value: sent }, Line { class: "b", value: received }];
    chart(&mut html, scene, "rate", "Throughput", &words_of_rate, &lines);
    html
}

struct Summary {
    last: f64,
    least: f64,
    most: f64,
}

fn summary(scene: &Scene, value: impl Fn(&Sample) -> Option<f64>) -> Option<Summary> {
    let mut values = scene.samples.iter().filter_map(value);
    let first = values.next()?;
    let begin = Summary { last: first, least: first, most: first };
    Some(values.fold(begin, |so_far, value| Summary {
        last: value,
        least: so_far.least.min(value),
        most: so_far.most.max(value),
    }))
}

fn chart(html: &mut Html, scene: &Scene, id: &'static str, name: &'static str, said: &str, lines: &[Line]) {
    let values = || lines.iter().flat_map(|line| scene.samples.iter().filter_map(line.value));
    let most = values().fold(0.0_f64, f64::max);
    put!(html, "<figure><figcaption><b>", name, "</b> <span>", { said }, "</span></figcaption>");
    put!(html, "<svg class=\"chart\" role=\"img\" aria-labelledby=\"", id, "-t ", id, "-d\" viewBox=\"0 0 600 100\" ");
    put!(html, "preserveAspectRatio=\"none\"><title id=\"", id, "-t\">", name, "</title><desc id=\"", id, "-d\">");
    put!(html, { said }, "</desc><line class=\"axis\" x1=\"0\" y1=\"99\" x2=\"600\" y2=\"99\"/>");
    for line in lines {
        for points in runs(scene, line, most) {
            put!(html, "<polyline class=\"line ", line.class, "\" points=\"", { points }, "\"/>");
        }
    }
    put!(html, "</svg></figure>");
}

/// The points of a line, in pieces where there was no value.
fn runs(scene: &Scene, line: &Line, most: f64) -> Vec<String> {
    let Some(newest) = scene.samples.iter().next_back().map(|sample| sample.at) else { return Vec::new() };
    let span = scene.samples.length().max(SPAN_MIN).as_secs_f64();
    let mut runs = vec![String::new()];
    for sample in scene.samples.iter() {
        let Some(value) = (line.value)(sample) else {
            runs.push(String::new());
            continue;
        };
        let x = WIDTH - newest.saturating_sub(sample.at).as_secs_f64() / span * WIDTH;
        // Some room above the highest value, and none of it below the axis.
        let y = if most > 0.0 { HEIGHT - 2.0 - value / most * (HEIGHT - 8.0) } else { HEIGHT - 2.0 };
        if let Some(run) = runs.last_mut() {
            // Writing to a String cannot fail.
            let _ = write!(run, "{}{x:.1},{y:.1}", if run.is_empty() { "" } else { " " });
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

/// Where packets were cut.
pub(super) fn cuts(scene: &Scene) -> Html {
    let counts = scene.status.inbox.cut_positions;
    let (all, most) = (counts.iter().sum::<u64>(), counts.iter().copied().max().unwrap_or(0));
    let mut html = Html::new();
    let said = if all == 0 {
        "no packet was cut so far".to_owned()
    } else {
        let parts = (0_usize..).zip(counts).filter(|(_, count)| *count > 0);
        let parts: Vec<_> = parts
            .map(|(part, count)| format!("{} to {} %: {}", part * 10, part * 10 + 10, words::count(count)))
            .collect();
        format!("{} cut, by how much of it was there: {}", words::counted(all, "packet", "packets"), parts.join(", "))
    };
    put!(html, "<figure><figcaption><b>Where packets were cut</b> <span>", { &said }, "</span></figcaption>");
    put!(html, "<svg class=\"chart\" role=\"img\" aria-labelledby=\"cuts-t cuts-d\" viewBox=\"0 0 600 100\" ");
    put!(html, "preserveAspectRatio=\"none\"><title id=\"cuts-t\">Where packets were cut</title><desc id=\"cuts-d\">");
    put!(html, { said }, "</desc><line class=\"axis\" x1=\"0\" y1=\"99\" x2=\"600\" y2=\"99\"/>");
    for (part, count) in (0_u64..).zip(counts).filter(|(_, count)| *count > 0) {
        let height = (u128::from(count) * 92 / u128::from(most.max(1))).max(2);
        put!(
            html,
            "<rect class=\"bar\" x=\"",
            { part * 60 + 4 },
            "\" width=\"52\" y=\"",
            { 98 - height },
            "\" height=\""
        );
        put!(html, { height }, "\"/>");
    }
    put!(
        html,
        "</svg><p class=\"scale\" aria-hidden=\"true\"><span>start of the file</span><span>its end</span></p></figure>"
    );
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{EngineStatus, PeerView};

    fn scene(round_trips: &[Option<f64>]) -> Scene {
        let mut scene = Scene::default();
        for (second, round_trip) in (0..).zip(round_trips) {
            let peer = PeerView { srtt_ms: *round_trip, ..PeerView::default() };
            let status =
                EngineStatus { peers: vec![peer], published_bytes: second * 10_240, ..EngineStatus::default() };
            scene.samples.take(Duration::from_secs(second * 5), &status);
        }
        scene
    }

    #[test]
    fn a_chart_tells_its_numbers_in_words_too() {
        let text = over_time(&scene(&[None, Some(100.0), Some(400.0), Some(250.0)])).into_string();
        assert!(text.contains("now 250 ms, least 100 ms, most 400 ms, over 10 s"), "{text}");
        assert!(text.contains("out (solid) now 2.0 KiB/s"), "{text}");
        assert!(text.matches("role=\"img\"").count() == 2 && text.matches("<desc").count() == 2, "{text}");
    }

    #[test]
    fn a_gap_in_the_measurements_is_a_gap_in_the_line() {
        let scene = scene(&[None, Some(1.0), Some(2.0), None, Some(3.0)]);
        let line = Line { class: "a", value: |sample| sample.round_trip_ms };
        assert_eq!(runs(&scene, &line, 3.0).len(), 2);
    }

    #[test]
    fn nothing_measured_is_said_in_words() {
        let text = over_time(&Scene::default()).into_string() + &cuts(&Scene::default()).into_string();
        for words in ["not measured yet", "the first numbers", "no packet was cut"] {
            assert!(text.contains(words), "{text}");
        }
        assert!(!text.contains("NaN") && !text.contains("polyline"), "{text}");
    }

    #[test]
    fn cuts_are_bars_by_the_tenth_they_were_in() {
        let mut scene = Scene::default();
        scene.status.inbox.cut_positions = [0, 4, 0, 0, 0, 0, 0, 0, 0, 1];
        let text = cuts(&scene).into_string();
        assert!(text.contains("5 packets cut") && text.contains("10 to 20 %: 4, 90 to 100 %: 1"), "{text}");
        assert_eq!(text.matches("class=\"bar\"").count(), 2);
    }
}
