//! A piece of HTML that cannot forget to escape: markup is `&'static str`, and everything else goes in as text.
//!
//! Invariants: no string that is made while the program runs reaches the page as markup; what is escaped is safe between
//! tags and within quoted attributes; control characters, and those that turn the direction of writing, become U+FFFD, so
//! that a name cannot hide what it is. Test to read first: `text_cannot_become_markup`.

use std::fmt::{self, Display, Write};

/// Markup that was put together of literals and escaped text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Html(String);

impl Html {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds markup as it stands.
    pub(super) fn markup(&mut self, markup: &'static str) {
        self.0.push_str(markup);
    }

    /// Adds text, escaped.
    pub(super) fn text(&mut self, text: impl Display) {
        // Writing to a String cannot fail.
        let _ = write!(Escaped(&mut self.0), "{text}");
    }

    /// Adds a piece that is escaped already.
    pub(super) fn piece(&mut self, piece: &Self) {
        self.0.push_str(&piece.0);
    }

    /// The markup.
    #[cfg(test)]
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The markup.
    pub(super) fn into_string(self) -> String {
        self.0
    }
}

struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' => self.0.push(' '),
                c if c.is_control() || turns(c) => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

/// Does this character turn the direction of what follows?
const fn turns(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}')
}

/// Adds literals as markup, `{expression}` as text, and `+expression` as a piece: `put!(out, "<td>", {name}, "</td>")`.
macro_rules! put {
    ($out:expr) => {};
    ($out:expr,) => {};
    ($out:expr, {$text:expr} $(, $($rest:tt)*)?) => {{ $out.text($text); $($crate::page::html::put!($out, $($rest)*);)? }};
    ($out:expr, +$piece:expr $(, $($rest:tt)*)?) => {{ $out.piece(&$piece); $($crate::page::html::put!($out, $($rest)*);)? }};
    ($out:expr, $markup:expr $(, $($rest:tt)*)?) => {{ $out.markup($markup); $($crate::page::html::put!($out, $($rest)*);)? }};
}
pub(super) use put;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let mut html = Html::new();
        put!(html, "<p title=\"", { "\"><script>alert('1')</script>&amp;" }, "\">", { 7 }, "</p>");
        assert_eq!(
            html.as_str(),
            "<p title=\"&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;amp;\">7</p>"
        );
    }

    #[test]
    fn control_characters_and_turned_text_are_shown_as_such() {
        let mut html = Html::new();
        html.text("a\u{0}b\u{1b}c\u{202e}d\u{2066}e\nf\u{9f}");
        assert_eq!(html.into_string(), "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}e f\u{fffd}");
    }

    #[test]
    fn pieces_are_not_escaped_twice() {
        let (mut piece, mut whole) = (Html::new(), Html::new());
        piece.text("<");
        put!(whole, "<b>", +piece, "</b>");
        assert_eq!(whole.as_str(), "<b>&lt;</b>");
    }
}
