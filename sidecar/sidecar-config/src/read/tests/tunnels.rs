//! `tunnels` of a rule.

use std::time::Duration;

use super::*;

const GOOD: &str = "destinations: [{host: a.example, methods: [GET]}]";

#[test]
fn a_rule_lists_its_upgrades() {
    let text = outbound(&format!("{GOOD}, tunnels: {{upgrades: [websocket], idle: 1m, evenIfSlow: true}}"));
    let rule = &read_here(&text).unwrap().outbound.allow[0];
    assert!(rule.tunnels.allows("websocket") && !rule.tunnels.allows("h2c") && rule.tunnels.even_if_slow);
    assert_eq!(rule.tunnels.idle, Duration::from_secs(60));
    let rule = &read_here(&inbound(GOOD)).unwrap().inbound.allow[0];
    assert!(!rule.tunnels.allows("websocket") && !rule.tunnels.even_if_slow);
    assert_eq!(rule.tunnels.idle, Duration::from_secs(600));
}

#[test]
fn tunnels_that_could_never_open_are_refused() {
    for (text, field, says) in [
        (
            outbound(&format!("{GOOD}, tunnels: {{upgrades: [h2c]}}")),
            "outbound.allow[0].tunnels.upgrades[0]",
            "write websocket",
        ),
        (outbound(&format!("{GOOD}, tunnels: {{idle: 0s}}")), "outbound.allow[0].tunnels.idle", "is zero"),
        (
            inbound(&format!("{GOOD}, tunnels: {{evenIfSlow: true}}")),
            "inbound.allow[0].tunnels.evenIfSlow",
            "outbound rule",
        ),
        (
            inbound("destinations: [{host: a.example, methods: [POST]}], tunnels: {upgrades: [websocket]}"),
            "inbound.allow[0].tunnels.upgrades",
            "add GET",
        ),
    ] {
        let errors = read_here(&text).unwrap_err().to_string();
        assert!(errors.contains(field) && errors.contains(says), "{text}\n{errors}");
    }
}
