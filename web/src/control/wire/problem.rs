//! A refusal as the contract shows it.

use serde::Serialize;
use tower_impersonation::RejectionKind;
use utoipa::ToSchema;

/// The body of a refusal as JSON: RFC 9457, with two members of ours.
#[derive(Serialize, ToSchema)]
pub(in crate::control) struct Problem {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'static str,
    code: &'static str,
    error: &'static str,
}

impl Problem {
    /// As the core writes it, for the examples of the document.
    pub(in crate::control) fn example(kind: RejectionKind) -> Self {
        let status = kind.status();
        Self {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Refused"),
            status: status.as_u16(),
            detail: kind.sentence(),
            code: kind.code(),
            error: kind.sentence(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::{HeaderMap, Method};
    use tower_impersonation::Rejection;

    use super::*;

    #[test]
    fn r17_the_examples_are_what_the_core_answers() {
        for kind in RejectionKind::ALL {
            let answer = Rejection::new(*kind, "").response(&Method::GET, &HeaderMap::new());
            let example = serde_json::to_vec(&Problem::example(*kind)).unwrap();
            assert_eq!(*answer.body(), example);
        }
    }
}
