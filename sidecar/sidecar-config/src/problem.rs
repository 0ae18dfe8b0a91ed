//! What is wrong with a file: every problem at once, each with its place, its cause and its remedy.
//!
//! Invariant: a [`ConfigErrors`] holds at least one [`Problem`].
//! It does not print or log. Test to read first: `problems_are_listed_with_path_line_and_remedy`.

use std::fmt;

/// Why one value is refused, before it is known where in the file it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub remedy: String,
}

impl Refusal {
    pub(crate) fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.message, self.remedy)
    }
}

impl std::error::Error for Refusal {}

/// A place in the file, both counted from 1; columns are characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: u64,
    /// Column.
    pub column: u64,
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field, such as `folders.inbox` or `outbound.allow[0].name`; empty when the file as a whole is meant.
    pub path: String,
    /// Where it stands, when it stands anywhere.
    pub place: Option<Place>,
    /// What is wrong.
    pub message: String,
    /// What to do about it; empty when the message says all.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(Place { line, column }) = self.place {
            write!(f, " (line {line}, column {column})")?;
        }
        if !self.remedy.is_empty() {
            write!(f, "\n    remedy: {}", self.remedy)?;
        }
        Ok(())
    }
}

/// Everything that is wrong with one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    origin: String,
    problems: Vec<Problem>,
}

impl ConfigErrors {
    pub(crate) fn new(origin: &str, problems: Vec<Problem>) -> Self {
        debug_assert!(!problems.is_empty());
        Self { origin: origin.to_owned(), problems }
    }

    /// The name of the file, as it was given.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The problems, in the order of the file's sections; at least one.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        write!(f, "{}: {count} {noun}", self.origin)?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Gathers problems while a file is checked.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    pub(crate) fn add(&mut self, path: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Problem { path: path.into(), place: None, message: message.into(), remedy: remedy.into() });
    }

    /// The value, or `None` after noting why it is refused.
    pub(crate) fn take<T>(&mut self, path: impl Into<String>, checked: Result<T, Refusal>) -> Option<T> {
        match checked {
            Ok(value) => Some(value),
            Err(Refusal { message, remedy }) => {
                self.add(path, message, remedy);
                None
            }
        }
    }

    pub(crate) fn extend(&mut self, more: Vec<Problem>) {
        self.0.extend(more);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_vec(self) -> Vec<Problem> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_listed_with_path_line_and_remedy() {
        let mut problems = Problems::default();
        problems.add("folders.inbox", "is the same folder as folders.outbox", "name two folders");
        problems.add("remote.keys", "is empty", "");
        let mut problems = problems.into_vec();
        problems[1].place = Some(Place { line: 3, column: 9 });
        let errors = ConfigErrors::new("north.yaml", problems);
        assert_eq!(
            errors.to_string(),
            "north.yaml: 2 problems\n  folders.inbox: is the same folder as folders.outbox\n    remedy: name two folders\n  remote.keys: is empty (line 3, column 9)"
        );
    }
}
