//! `docs/errors.md` against the code: one row per kind, and none for a kind that does not exist.

use super::ProblemKind;

const DOCUMENT: &str = include_str!("../../../../docs/errors.md");

/// The cells of every row of the table of problems.
fn rows() -> Vec<Vec<String>> {
    let cells = |line: &str| line.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    let (_, table) = DOCUMENT.split_once("## Every problem").unwrap();
    table.lines().filter(|line| line.starts_with("| `")).map(cells).collect()
}

/// What is to be done so that the document and the code agree again; empty when they do.
fn complaints(rows: &[Vec<String>]) -> Vec<String> {
    let mut complaints = Vec::new();
    for kind in ProblemKind::ALL {
        let begin = [format!("`{}`", kind.slug()), kind.status().to_string(), format!("`{}`", kind.proxy_error())];
        match rows.iter().filter(|row| row.first() == begin.first()).collect::<Vec<_>>().as_slice() {
            [] => {
                complaints.push(format!("add a row to docs/errors.md: | {} | WHEN | WHAT TO DO |", begin.join(" | ")))
            }
            [row] => {
                if row.get(..3) != Some(&begin[..]) {
                    complaints.push(format!("the row must begin with | {} |, and says {row:?}", begin.join(" | ")));
                }
                if row.len() != 5 || row.iter().any(String::is_empty) {
                    complaints
                        .push(format!("the row of {} must have five cells, none of them empty: {row:?}", begin[0]));
                }
            }
            more => complaints.push(format!("{} has {} rows: leave one", begin[0], more.len())),
        }
    }
    let known = |slug: &str| ProblemKind::ALL.iter().any(|kind| slug == format!("`{}`", kind.slug()));
    let surplus = rows.iter().filter_map(|row| row.first()).filter(|slug| !known(slug));
    complaints.extend(surplus.map(|slug| format!("{slug} is no kind of problem any more: remove its row")));
    complaints
}

#[test]
fn the_document_has_one_row_for_every_kind_and_no_other() {
    let complaints = complaints(&rows());
    assert!(complaints.is_empty(), "docs/errors.md:\n{}", complaints.join("\n"));
}

#[test]
fn a_missing_a_wrong_and_a_surplus_row_are_noticed() {
    let whole = rows();
    assert!(complaints(&whole[1..]).iter().any(|text| text.contains("add a row")));
    let twice: Vec<_> = whole.iter().chain(&whole[..1]).cloned().collect();
    assert!(complaints(&twice).iter().any(|text| text.contains("leave one")));
    let mut wrong = whole.clone();
    wrong[0][1] = "299".to_owned();
    assert!(complaints(&wrong).iter().any(|text| text.contains("must begin with")));
    let mut surplus = whole;
    surplus.push(["`no-such-kind`", "400", "`x`", "never", "nothing"].map(str::to_owned).to_vec());
    assert!(complaints(&surplus).iter().any(|text| text.contains("remove its row")));
}
