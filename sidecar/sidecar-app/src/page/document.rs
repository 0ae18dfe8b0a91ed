//! The whole page: its frame around the parts, its style and script, and the policy that allows nothing else.
//!
//! Invariants: no resource is loaded; the style and the script are these two files, named by their hashes in the policy, so
//! that markup that got in would still run nothing; no other page can frame this one. Test to read first:
//! `the_policy_names_the_style_and_the_script_by_their_hashes`.

use std::sync::OnceLock;

use wire::digest::sha256;

use super::html::{Html, put};
use super::watcher::Scene;
use super::{Facts, Filter, Port, charts, health, operations, parts, words};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The Content-Security-Policy of the page.
pub(super) fn content_security_policy() -> &'static str {
    static POLICY: OnceLock<String> = OnceLock::new();
    POLICY.get_or_init(|| {
        format!(
            "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; connect-src 'self'; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            base64(&sha256(&[STYLE.as_bytes()])),
            base64(&sha256(&[SCRIPT.as_bytes()]))
        )
    })
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits =
            three.iter().enumerate().fold(0_u32, |bits, (place, byte)| bits | u32::from(*byte) << (16 - 8 * place));
        for place in 0..4 {
            let letter =
                LETTERS.get((bits >> (18 - 6 * place)) as usize & 63).map_or('=', |letter| char::from(*letter));
            text.push(if place <= three.len() { letter } else { '=' });
        }
    }
    text
}

/// The page as it is right now.
pub(super) fn render(scene: &Scene, facts: &Facts, filter: Filter, port: Port) -> Html {
    let mut html = Html::new();
    head(&mut html, scene, facts, filter);
    let [verdict, details, figures, operations, over_time, packets, peers, folders] = parts(scene, facts, filter, port);
    sides(&mut html, scene, facts);
    put!(html, "<main id=\"main\"><section class=\"health\" aria-labelledby=\"verdict\">");
    put!(html, "<h2 id=\"verdict\" role=\"status\">", +verdict.1, "</h2><div id=\"health\">", +details.1, "</div></section>");
    put!(html, "<section aria-label=\"Figures\"><div id=\"figures\">", +figures.1, "</div></section>");
    put!(
        html,
        "<section aria-labelledby=\"h-operations\"><div class=\"heading\"><h2 id=\"h-operations\">Operations</h2>"
    );
    put!(html, +operations::form(filter), "</div><div id=\"operations\">", +operations.1, "</div></section>");
    put!(
        html,
        "<section aria-labelledby=\"h-line\"><h2 id=\"h-line\">The line</h2><div class=\"charts\" id=\"charts\">"
    );
    put!(html, +over_time.1, "</div><div class=\"charts\"><div id=\"cuts\">", +charts::cuts(scene));
    put!(html, "</div><div id=\"packets\">", +packets.1, "</div></div></section>");
    put!(html, "<section aria-labelledby=\"h-peers\"><h2 id=\"h-peers\">Far side</h2><div id=\"peers\">", +peers.1);
    put!(html, "</div></section><section aria-labelledby=\"h-folders\"><h2 id=\"h-folders\">Mirrored folders</h2>");
    put!(html, "<div id=\"folders\">", +folders.1, "</div></section></main>");
    foot(&mut html, scene, port);
    put!(html, "<script>", SCRIPT, "</script></body></html>\n");
    html
}

fn head(html: &mut Html, scene: &Scene, facts: &Facts, filter: Filter) {
    put!(html, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    put!(html, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    put!(html, "<meta name=\"color-scheme\" content=\"light dark\"><title>", { health::here(scene) }, " ⇄ ");
    put!(html, { &facts.far_side }, " · hoft</title><noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>");
    put!(
        html,
        "<link rel=\"icon\" href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    );
    put!(html, "%3Cpath d='M2 5h9L8 2m6 9H5l3 3' fill='none' stroke='%230f7b6c' stroke-width='2'/%3E%3C/svg%3E\">");
    put!(html, "<style>", STYLE, "</style></head><body data-events=\"", super::EVENTS_PATH, "?state=", filter.name());
    put!(html, "\"><a class=\"skip\" href=\"#h-operations\">Skip to the operations</a>");
}

/// Who is at both ends.
fn sides(html: &mut Html, scene: &Scene, facts: &Facts) {
    let status = &scene.status;
    put!(
        html,
        "<header><h1>",
        { health::here(scene) },
        " <span aria-label=\"and\">⇄</span> ",
        { &facts.far_side },
        "</h1>"
    );
    put!(
        html,
        "<p id=\"live\" class=\"live\">as of ",
        { words::moment(status.now_ms) },
        "</p><dl class=\"sides\"><div><dt>"
    );
    put!(
        html,
        { health::here(scene) },
        "<small>this side, ",
        { status.kind },
        " ",
        { &status.endpoint_name },
        "</small></dt><dd>"
    );
    match &status.fingerprint {
        Some(fingerprint) => put!(html, "<code>", { fingerprint }, "</code>"),
        None => put!(html, "no keys: packets have checksums only"),
    }
    put!(html, "</dd></div><div><dt>", { &facts.far_side }, "<small>far side</small></dt><dd>");
    if facts.far_fingerprints.is_empty() {
        put!(html, "no keys are pinned");
    }
    for fingerprint in &facts.far_fingerprints {
        put!(html, "<code>", { fingerprint }, "</code> ");
    }
    put!(html, "</dd></div></dl></header>");
}

fn foot(html: &mut Html, scene: &Scene, port: Port) {
    let status = &scene.status;
    put!(html, "<footer><p>", { &status.software }, " ", { &status.version }, ", started ", {
        words::moment(status.started_ms)
    });
    put!(html, ". Endpoint <code>", { &status.endpoint }, "</code>.</p><p>");
    match port {
        Port::Local => {
            put!(
                html,
                "<a href=\"/v1/operations\">Operations as JSON</a> · <a href=\"/v1/openapi.json\">OpenAPI document</a>"
            );
        }
        Port::Admin => put!(html, "<a href=\"/statusz\">State as JSON</a> · <a href=\"/metrics\">Metrics</a>"),
    }
    put!(html, "</p></footer>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{EngineFacts, EngineStatus};

    fn page(port: Port) -> String {
        let status = EngineStatus::new(&EngineFacts::of_test(), 1_000, 61_000);
        let scene = Scene { status, ..Scene::default() };
        render(&scene, &Facts::of_test(), Filter::Running, port).into_string()
    }

    #[test]
    fn the_policy_names_the_style_and_the_script_by_their_hashes() {
        assert_eq!(base64(&sha256(&[b"abc"])), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
        assert_eq!((base64(b"a"), base64(b"ab")), ("YQ==".to_owned(), "YWI=".to_owned()));
        let policy = content_security_policy();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(policy.matches("'sha256-").count(), 2, "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('\n'), "{policy}");
        let page = page(Port::Local);
        assert!(
            page.contains(&format!("<style>{STYLE}</style>")) && page.contains(&format!("<script>{SCRIPT}</script>"))
        );
        // Nothing of this may end its element early.
        assert!(!STYLE.contains("</") && !SCRIPT.contains("</"));
    }

    #[test]
    fn the_page_loads_nothing_and_has_no_inline_style_or_handler() {
        for page in [page(Port::Local), page(Port::Admin)] {
            let own = page.replace(STYLE, "").replace(SCRIPT, "");
            for part in ["src=", " style=", "onclick", "onload", "http://", "https://", "@import", "url("] {
                let allowed = ["xmlns='http://www.w3.org/2000/svg'", "http://localhost:8470/to/up/"];
                let text = allowed.iter().fold(own.clone(), |text, allowed| text.replace(allowed, ""));
                assert!(!text.contains(part), "{part}");
            }
            assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
        }
    }

    #[test]
    fn every_part_that_changes_has_its_place() {
        let page = page(Port::Local);
        let scene = Scene::default();
        for (id, _) in parts(&scene, &Facts::of_test(), Filter::All, Port::Local) {
            assert_eq!(page.matches(&format!(" id=\"{id}\"")).count(), 1, "{id}");
        }
        assert!(
            page.contains("data-events=\"/v1/page-events?state=running\"")
                && page.contains("value=\"running\" selected")
        );
        for landmark in ["<header>", "<main ", "<footer>", "lang=\"en\"", "<noscript><meta http-equiv=\"refresh\""] {
            assert!(page.contains(landmark), "{landmark}");
        }
    }
}
