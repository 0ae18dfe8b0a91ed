//! The table of operations: running ones on top, newest first, filtered by a plain form.
//!
//! Invariants: at most [`ROWS_MAX`] rows; a target is shown without its query and credentials, and on the admin port without
//! its path too; only the local port links to operations, because only it serves them. Test to read first:
//! `running_operations_come_first_and_newest_first`.

use layer2_http::State;
use layer2_http::near::{ShownOperation, Traffic};

use super::html::{Html, put};
use super::watcher::Scene;
use super::words::{self, Shown};
use super::{Facts, Port};

/// Rows shown at most.
const ROWS_MAX: usize = 100;
/// Steps of the way of an operation: the states before an end, and the end.
const STEPS: u8 = 9;

/// Which operations are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// All of them.
    #[default]
    All,
    /// Those that have not ended.
    Running,
    /// Those that have ended.
    Ended,
    /// Those in one state.
    State(State),
}

/// A `state` that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no state `{given}`; there are: {}", .known.join(", "))]
pub struct UnknownState {
    given: String,
    known: Vec<&'static str>,
}

impl Filter {
    /// Every word that `state` may have.
    pub fn words() -> Vec<&'static str> {
        ["running", "ended"].into_iter().chain(State::ALL.map(State::name)).collect()
    }

    /// The filter of a query, such as `state=sent`. Other parameters are ignored.
    ///
    /// # Errors
    /// When the state is unknown, or named twice.
    pub fn of_query(query: Option<&str>) -> Result<Self, UnknownState> {
        let mut states = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
            .filter_map(|(name, value)| (name == "state").then_some(value));
        let given = states.next().unwrap_or_default();
        let unknown = || UnknownState { given: given.chars().take(64).collect(), known: Self::words() };
        if states.next().is_some() {
            return Err(unknown());
        }
        match given.as_ref() {
            "" => Ok(Self::All),
            "running" => Ok(Self::Running),
            "ended" => Ok(Self::Ended),
            name => State::from_name(name).map(Self::State).ok_or_else(unknown),
        }
    }

    /// Its word; empty for all.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::All => "",
            Self::Running => "running",
            Self::Ended => "ended",
            Self::State(state) => state.name(),
        }
    }

    fn shows(self, state: State) -> bool {
        match self {
            Self::All => true,
            Self::Running => !state.is_terminal(),
            Self::Ended => state.is_terminal(),
            Self::State(wanted) => wanted == state,
        }
    }
}

/// The form that chooses.
pub(super) fn form(filter: Filter) -> Html {
    let mut html = Html::new();
    put!(
        html,
        "<form method=\"get\" class=\"filter\"><label for=\"state\">Show</label><select id=\"state\" name=\"state\">"
    );
    put!(html, "<option value=\"\">all</option>");
    for word in Filter::words() {
        let chosen = if word == filter.name() { "\" selected>" } else { "\">" };
        put!(html, "<option value=\"", { word }, chosen, { word.replace('_', " ") }, "</option>");
    }
    put!(html, "</select> <button type=\"submit\">Apply</button></form>");
    html
}

/// The operations that the filter shows, running ones first, newest first.
fn chosen(scene: &Scene, filter: Filter) -> Vec<&ShownOperation> {
    let shown = |running: bool| {
        let wanted = move |shown: &&ShownOperation| {
            let state = shown.view.state;
            state.is_terminal() != running && filter.shows(state)
        };
        scene.operations.iter().filter(wanted)
    };
    shown(true).chain(shown(false)).take(ROWS_MAX).collect()
}

/// The table.
pub(super) fn table(scene: &Scene, facts: &Facts, filter: Filter, port: Port) -> Html {
    let mut html = Html::new();
    let rows = chosen(scene, filter);
    if rows.is_empty() {
        empty(&mut html, scene, facts, filter);
        return html;
    }
    put!(
        html,
        "<table class=\"operations\" role=\"table\"><caption>",
        { caption(scene, filter, rows.len()) },
        "</caption>"
    );
    put!(html, "<thead role=\"rowgroup\"><tr role=\"row\"><th role=\"columnheader\" scope=\"col\">State</th>");
    put!(html, "<th role=\"columnheader\" scope=\"col\">Call</th><th role=\"columnheader\" scope=\"col\">Began</th>");
    put!(html, "<th role=\"columnheader\" scope=\"col\">Content</th></tr></thead><tbody role=\"rowgroup\">");
    for shown in rows {
        row(&mut html, shown, scene.status.now_ms, port);
    }
    put!(html, "</tbody></table>");
    html
}

fn caption(scene: &Scene, filter: Filter, rows: usize) -> String {
    let known = |(name, count): (&&str, &u64)| {
        State::from_name(name).filter(|state| filter.shows(*state)).map_or(0, |_| *count)
    };
    let all: u64 = scene.status.operations.iter().map(known).sum();
    let running = words::counted(scene.status.open_operations_total, "runs", "run");
    if all > rows as u64 {
        format!("The newest {} of {}; {running}", words::count(rows as u64), words::count(all))
    } else {
        format!("{}; {running}", words::counted(rows as u64, "operation", "operations"))
    }
}

fn empty(html: &mut Html, scene: &Scene, facts: &Facts, filter: Filter) {
    put!(html, "<div class=\"empty\">");
    if scene.operations.is_empty() {
        put!(html, "<p>No call yet. Try:</p><pre><code>curl ", { &facts.example }, "</code></pre>");
    } else {
        put!(html, "<p>No operation is shown by “", { filter.name().replace('_', " ") }, "” right now.</p>");
    }
    put!(html, "</div>");
}

fn row(html: &mut Html, shown: &ShownOperation, now_ms: u64, port: Port) {
    let view = &shown.view;
    put!(html, "<tr role=\"row\" class=\"", class(view.state), "\"><td role=\"cell\" class=\"state\">", +steps(view.state));
    put!(html, "<span>", { view.state.name().replace('_', " ") }, "</span>");
    if let Some(status) = view.status {
        put!(html, "<small>", { status }, "</small>");
    }
    put!(html, "</td><td role=\"cell\" class=\"call\"><b>", { &view.method }, "</b> <span class=\"target\">");
    let how_much = match port {
        Port::Local => Shown::Path,
        Port::Admin => Shown::Origin,
    };
    put!(html, { words::target(&view.target, how_much) }, "</span><small>");
    if let Some(route) = &view.route {
        put!(html, "route ", { route }, " · ");
    }
    if let Some(problem) = &view.problem {
        put!(html, { problem }, " · ");
    }
    match port {
        Port::Local => put!(html, "<a href=\"", { view.id.location() }, "\">", { view.id }, "</a>"),
        Port::Admin => put!(html, { view.id }),
    }
    put!(html, "</small></td><td role=\"cell\" class=\"age\">", +age(view.begun_ms, view.ended_ms, now_ms));
    put!(html, "</td><td role=\"cell\" class=\"content\">", +content(shown.traffic), "</td></tr>");
}

fn age(begun_ms: i64, ended_ms: Option<i64>, now_ms: u64) -> Html {
    let since = |from: i64, to: i64| words::span(u64::try_from(to.saturating_sub(from)).unwrap_or(0));
    let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
    let mut html = Html::new();
    put!(html, { since(begun_ms, now_ms) }, " ago");
    if let Some(ended_ms) = ended_ms {
        put!(html, "<small>took ", { since(begun_ms, ended_ms) }, "</small>");
    }
    html
}

fn content(traffic: Option<Traffic>) -> Html {
    let mut html = Html::new();
    let Some(traffic) = traffic else {
        put!(html, "–");
        return html;
    };
    put!(html, "<span><span aria-hidden=\"true\">↑</span><span class=\"hidden\">request</span> ");
    put!(html, { words::bytes(traffic.request_bytes) }, "</span> <span><span aria-hidden=\"true\">↓</span>");
    put!(html, "<span class=\"hidden\">response</span> ", { words::bytes(traffic.response_bytes) }, "</span>");
    html
}

const fn class(state: State) -> &'static str {
    match state {
        State::Done => "done",
        State::Failed | State::Unknown => "failed",
        State::Expired | State::Cancelled => "dropped",
        _ => "running",
    }
}

/// How far it has come, as a bar. The word stands beside it.
fn steps(state: State) -> Html {
    let mut html = Html::new();
    put!(html, "<svg class=\"steps\" viewBox=\"0 0 89 8\" width=\"89\" height=\"8\" aria-hidden=\"true\">");
    for step in 1..=STEPS {
        let class = if state.rank() >= step { "on" } else { "off" };
        put!(
            html,
            "<rect class=\"",
            class,
            "\" x=\"",
            { u32::from(step - 1) * 10 },
            "\" width=\"8\" height=\"8\" rx=\"2\"/>"
        );
    }
    put!(html, "</svg>");
    html
}

#[cfg(test)]
mod tests {
    use layer2_http::operation::{OperationId, OperationView};

    use super::*;

    fn shown(n: u8, state: State) -> ShownOperation {
        let view = OperationView {
            id: OperationId::v7(u64::from(n), &[n; 10]),
            state,
            method: "GET".to_owned(),
            target: format!("https://user:secret@a.example/{n}?token=secret"),
            route: (n == 1).then(|| "<route>".to_owned()),
            peer: String::new(),
            begun_ms: i64::from(n),
            ended_ms: state.is_terminal().then_some(5_000),
            status: None,
            executed: None,
            problem: None,
            result: false,
        };
        ShownOperation { view, traffic: (n == 2).then_some(Traffic { request_bytes: 1, response_bytes: 2_048 }) }
    }

    fn scene(states: &[State]) -> Scene {
        let mut operations: Vec<_> = (1..).zip(states).map(|(n, state)| shown(n, *state)).collect();
        operations.reverse();
        let mut scene = Scene { operations, ..Scene::default() };
        scene.status.operations = crate::status::count_states(states.iter().copied());
        scene.status.now_ms = 10_000;
        scene
    }

    fn numbers(scene: &Scene, filter: Filter) -> Vec<i64> {
        chosen(scene, filter).iter().map(|shown| shown.view.begun_ms).collect()
    }

    #[test]
    fn running_operations_come_first_and_newest_first() {
        let scene = scene(&[State::Sent, State::Done, State::Executing, State::Failed]);
        assert_eq!(numbers(&scene, Filter::All), [3, 1, 4, 2]);
        assert_eq!(numbers(&scene, Filter::Running), [3, 1]);
        assert_eq!(numbers(&scene, Filter::Ended), [4, 2]);
        assert_eq!(numbers(&scene, Filter::State(State::Sent)), [1]);
        assert_eq!(numbers(&self::scene(&[State::Sent; 250]), Filter::All).len(), ROWS_MAX);
    }

    #[test]
    fn a_row_shows_neither_query_nor_credentials_and_escapes_the_rest() {
        let scene = scene(&[State::Sent, State::Done]);
        let local = table(&scene, &Facts::of_test(), Filter::All, Port::Local).into_string();
        assert!(!local.contains("secret") && !local.contains("token"), "{local}");
        assert!(local.contains("https://a.example/1") && local.contains("&lt;route&gt;"), "{local}");
        assert!(local.contains("href=\"/v1/operations/") && local.contains("2.0 KiB"), "{local}");
        let admin = table(&scene, &Facts::of_test(), Filter::All, Port::Admin).into_string();
        assert!(admin.contains("https://a.example<") && !admin.contains("href"), "{admin}");
    }

    #[test]
    fn a_bar_is_filled_as_far_as_the_operation_has_come() {
        for state in State::ALL {
            let on = steps(state).as_str().matches("class=\"on\"").count();
            assert_eq!(on, usize::from(state.rank()), "{state}");
        }
    }

    #[test]
    fn only_states_are_filters() {
        assert_eq!(Filter::of_query(None), Ok(Filter::All));
        assert_eq!(Filter::of_query(Some("state=&x=y")), Ok(Filter::All));
        assert_eq!(Filter::of_query(Some("x=y&state=partially_acked")), Ok(Filter::State(State::PartiallyAcked)));
        for word in Filter::words() {
            assert_eq!(Filter::of_query(Some(&format!("state={word}"))).unwrap().name(), word);
        }
        for query in ["state=%3Cscript%3E", "state=sent&state=done", "state=Sent"] {
            assert!(Filter::of_query(Some(query)).is_err(), "{query}");
        }
    }

    #[test]
    fn emptiness_says_what_to_try() {
        let none = table(&Scene::default(), &Facts::of_test(), Filter::All, Port::Local).into_string();
        assert!(none.contains("No call yet") && none.contains("curl "), "{none}");
        let filtered = table(&scene(&[State::Done]), &Facts::of_test(), Filter::Running, Port::Local).into_string();
        assert!(filtered.contains("“running”"), "{filtered}");
    }
}
