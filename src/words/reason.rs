//! What people write: reasons and tickets.

/// The most characters in a reason (rule [S1](crate::rules#s1)).
pub(crate) const MAX_REASON: usize = 500;

/// Why a reason is not accepted (rule [S1](crate::rules#s1)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadReason {
    #[error("`reason` must not be blank")]
    Blank,
    #[error("`reason` must hold a letter or a digit")]
    Wordless,
    #[error("`reason` must not be longer than {MAX_REASON} characters")]
    TooLong,
    #[error("`reason` must not hold control characters other than line breaks and tabs")]
    Control,
}

/// The reason, trimmed (rule [S1](crate::rules#s1)).
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
    if !reason.chars().any(is_of_a_word) {
        return Err(BadReason::Wordless);
    }
    Ok(reason.to_owned())
}

/// A letter or digit that can be seen: a reason of zero-width characters says nothing to whoever reads the trail.
fn is_of_a_word(c: char) -> bool {
    // Letters by their category, that are drawn as nothing: the fillers of Hangul.
    let is_filler = matches!(c, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}');
    c.is_alphanumeric() && !is_filler
}

/// Whether a text that a person wrote holds what no person writes. Some databases cannot keep it.
pub(crate) fn has_controls(text: &str) -> bool {
    text.chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s1_a_reason_is_trimmed_and_has_1_to_500_characters() {
        let longest = "é".repeat(500);
        let tests = [
            ("why", Ok("why")),
            (" \n why \u{2003}", Ok("why")),
            (&*longest, Ok(&*longest)),
            (&*format!("  {longest}  "), Ok(&*longest)),
            ("", Err(BadReason::Blank)),
            (" \t\r\n\u{a0}\u{3000}", Err(BadReason::Blank)),
            ("\0\u{1b}", Err(BadReason::Blank)),
            (&*format!("{longest}é"), Err(BadReason::TooLong)),
            ("two\r\n\tlines", Ok("two\r\n\tlines")),
            ("a\0b", Err(BadReason::Control)),
            ("a\u{1b}[2Jb", Err(BadReason::Control)),
            ("a\u{85}b", Err(BadReason::Control)),
            ("\u{200b}\u{2060}\u{feff}", Err(BadReason::Wordless)),
            ("\u{3164}\u{ad}\u{2800}", Err(BadReason::Wordless)),
            ("...", Err(BadReason::Wordless)),
            ("#\u{200b}7", Ok("#\u{200b}7")),
            ("顧客の依頼", Ok("顧客の依頼")),
        ];
        for (reason, expected) in tests {
            assert_eq!(
                check_reason(reason),
                expected.map(str::to_owned),
                "{reason:.20?}"
            );
        }
    }
}
