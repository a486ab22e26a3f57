//! What people write: reasons and tickets.

/// The most characters in a reason (rule S1).
pub(crate) const MAX_REASON: usize = 500;

/// Why a reason is none (rule S1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadReason {
    #[error("`reason` must not be blank")]
    Blank,
    #[error("`reason` must not be longer than {MAX_REASON} characters")]
    TooLong,
    #[error("`reason` must not hold control characters other than line breaks and tabs")]
    Control,
}

/// The reason, trimmed (rule S1).
pub(crate) fn check_reason(reason: &str) -> Result<String, BadReason> {
    let reason = reason.trim();
    if reason.chars().all(|c| c.is_whitespace() || c.is_control()) {
        return Err(BadReason::Blank);
    }
    if reason.chars().count() > MAX_REASON {
        return Err(BadReason::TooLong);
    }
    if has_controls(reason) {
        return Err(BadReason::Control);
    }
    Ok(reason.to_owned())
}

/// Whether a text that a person wrote holds what no person writes. Some databases cannot keep it.
pub(crate) fn has_controls(text: &str) -> bool {
    text.chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
}
