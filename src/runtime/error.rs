//! Errors as one line of text.

/// An error and its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot list pods")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn every_cause_stands_once() {
        let error = Outer(std::io::Error::other("connection refused"));
        assert_eq!(chain(&error), "cannot list pods: connection refused");
    }
}
