//! The report: a table for people, or JSON for programs.
//!
//! Invariants: the JSON's fields are an interface, added and never renamed; the table is the same facts. Test to read first:
//! `tests/line/probe`, `the_json_has_rows_numbers_and_the_configuration`.

use std::path::PathBuf;

use serde::Serialize;

use super::findings::Findings;
use super::rows::{Row, Verdict, rows};
use super::suggest::{Field, fields, yaml};

/// Everything a probe says.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    /// The program and its version.
    software: String,
    near: PathBuf,
    far: Option<PathBuf>,
    /// The worst verdict.
    verdict: Verdict,
    rows: Vec<Row>,
    measured: Findings,
    suggested: Vec<Field>,
    /// The same as a part of an engine's file.
    suggested_yaml: String,
}

impl Report {
    pub(super) fn new(near: PathBuf, far: Option<PathBuf>, measured: Findings) -> Self {
        let (rows, suggested) = (rows(&measured), fields(&measured));
        let known = rows.iter().map(|row| row.verdict).filter(|verdict| *verdict != Verdict::Unknown);
        Self {
            software: format!("hoft {}", env!("CARGO_PKG_VERSION")),
            near,
            far,
            verdict: known.max().unwrap_or(Verdict::Unknown),
            suggested_yaml: yaml(&suggested),
            rows,
            measured,
            suggested,
        }
    }

    /// Names of the rows that keep hoft from working.
    pub(super) fn bad(&self) -> Vec<&'static str> {
        self.rows.iter().filter(|row| row.verdict == Verdict::Bad).map(|row| row.name).collect()
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = format!("near: {}\n", self.near.display());
        if let Some(far) = &self.far {
            text.push_str(&format!("far:  {}\n", far.display()));
        }
        text.push('\n');
        let name = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        for row in &self.rows {
            text.push_str(&format!("{:<7}  {:<name$}  {}\n", word(row.verdict), row.name, row.found));
            if !row.meaning.is_empty() {
                text.push_str(&format!("{:<7}  {:<name$}    {}\n", "", "", row.meaning));
            }
        }
        text.push_str("\nSuggested for the configuration of an engine that writes here:\n\n");
        text.push_str(&self.suggested_yaml);
        text
    }
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "good",
        Verdict::Fine => "fine",
        Verdict::Poor => "POOR",
        Verdict::Bad => "BAD",
        Verdict::Unknown => "?",
    }
}
