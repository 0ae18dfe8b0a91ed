//! What went wrong with the API server, in one line for people.
//!
//! The text of [`kube::Error`] repeats itself and shows inner structures. Test to read first:
//! `tests::a_refusal_is_what_the_api_server_said`.

use std::error::Error;

/// What the API server said, or why it could not be asked.
pub(crate) fn cause(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.message.is_empty() => format!("{} {}", status.code, status.reason),
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        other => chain(other),
    }
}

/// An error and what caused it, each said once.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let said = error.to_string();
        // Many errors say their source themselves.
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    //! Errors by table.
    use super::*;
    use kube::core::Status;

    #[test]
    fn a_refusal_is_what_the_api_server_said() {
        let refusal = |message: &str| {
            let status = Status { code: 403, reason: "Forbidden".to_owned(), ..Status::failure(message, "Forbidden") };
            cause(&kube::Error::Api(status.boxed()))
        };
        assert_eq!(refusal("pods is forbidden"), "pods is forbidden (403)");
        assert_eq!(refusal(""), "403 Forbidden");
    }

    #[test]
    fn each_cause_is_said_once() {
        let inner = std::io::Error::other("connection refused");
        let said = cause(&kube::Error::Service(Box::new(inner)));
        assert_eq!(said, "ServiceError: connection refused");
    }
}
