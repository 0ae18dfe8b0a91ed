//! Structured logs on standard error: text for people, JSON for machines.
//!
//! Levels: per packet = trace, a state change of a session = info, a human should look = warn, the engine stops = error.
//! Lines of the access log have a switch of their own. `RUST_LOG` overrides the level of the configuration.

use sidecar_config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;

/// Starts logging for this process.
pub fn start(log: &Log) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(log.level.as_str()));
    let access = format!("{}={}", crate::access::TARGET, if log.access { "info" } else { "off" });
    let filter = match access.parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
    }
}
