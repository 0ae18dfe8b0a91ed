//! The last words of an engine: which calls it leaves open, and which just lost their caller, for whoever looks after a pod that goes with its log.
//!
//! On Kubernetes they become the container's termination message (at most 4,096 bytes), which outlives the container.
//! Invariants: one line of JSON; ids only, nothing of what was called; at most as many ids as `/statusz` shows. Writing
//! them is a courtesy: a failure is logged, and the driver is waited for no longer than the patience. Test to read first:
//! `the_words_are_one_short_line`.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::exchange::DriverHandle;
use crate::status::EngineStatus;

/// How long the driver may take to say what is open.
pub(super) const PATIENCE: Duration = Duration::from_millis(150);

#[derive(Debug, Serialize)]
struct Words<'a> {
    open_operations: Vec<&'a str>,
    open_operations_total: u64,
    abandoned_operations: &'a [String],
}

fn words(status: &EngineStatus) -> serde_json::Result<String> {
    serde_json::to_string(&Words {
        open_operations: status.open_operations.iter().map(|operation| operation.id.as_str()).collect(),
        open_operations_total: status.open_operations_total,
        abandoned_operations: &status.abandoned_operations,
    })
}

/// Writes them to a file, if the driver answers in time.
pub(super) async fn leave(path: &Path, driver: &DriverHandle) {
    let Ok(Some(status)) = tokio::time::timeout(PATIENCE, driver.status()).await else {
        tracing::warn!("the driver did not say in time which calls are open");
        return;
    };
    let written = words(&status).map_err(std::io::Error::other).and_then(|text| std::fs::write(path, text + "\n"));
    if let Err(error) = written {
        tracing::warn!(path = %path.display(), %error, "the last words could not be written");
    }
}

#[cfg(test)]
mod tests {
    //! What is written.
    use super::*;
    use crate::status::OpenOperation;

    #[test]
    fn the_words_are_one_short_line() {
        let empty = EngineStatus::default();
        assert_eq!(
            words(&empty).unwrap(),
            r#"{"open_operations":[],"open_operations_total":0,"abandoned_operations":[]}"#
        );
        let operation = OpenOperation {
            id: "01890a5d-ac96-774b-bcce-b302099a8057".to_owned(),
            state: "sent",
            route: Some("erp".to_owned()),
            age_ms: 12,
        };
        let full = EngineStatus {
            open_operations: vec![operation; 32],
            open_operations_total: 256,
            abandoned_operations: vec!["01890a5d-ac96-774b-bcce-b302099a8057".to_owned(); 32],
            ..EngineStatus::default()
        };
        let text = words(&full).unwrap();
        assert!(text.len() < 4_000 && !text.contains('\n') && !text.contains("erp"), "{text}");
    }
}
