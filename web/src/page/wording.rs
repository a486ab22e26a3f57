//! [`Wording`], the banner's words in the admin's language.

use std::borrow::Cow;

/// The banner's words. [`english`](Self::english) is the default; change the fields that you translate.
///
/// A field with a placeholder in braces says where the name, the person or the time stands; where the
/// placeholder is missing, it comes last. Text only: markup is escaped.
///
/// ```
/// use tower_impersonation_web::page::Wording;
///
/// let mut german = Wording::english();
/// german.language = "de".into();
/// german.acting_as = "Sie handeln als {subject}".into();
/// german.exit = "Beenden".into();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wording {
    /// The language as in `lang`. Default: `en`.
    pub language: Cow<'static, str>,
    /// It is written from right to left. Default: no.
    pub right_to_left: bool,
    /// What a screen reader calls the banner. Default: `Impersonation`.
    pub label: Cow<'static, str>,
    /// Default: `Acting as {subject}`.
    pub acting_as: Cow<'static, str>,
    /// The subject that is nobody signed in. Default: `an anonymous visitor`.
    pub anonymous: Cow<'static, str>,
    /// The subject that is a service. Default: `the service role`.
    pub service: Cow<'static, str>,
    /// Who is really there. Default: `signed in as {actor}`.
    pub signed_in_as: Cow<'static, str>,
    /// Default: `read-only`.
    pub read_only: Cow<'static, str>,
    /// Default: `read and write`.
    pub read_write: Cow<'static, str>,
    /// When the session is over at the latest. Default: `until {time}`.
    pub until: Cow<'static, str>,
    /// Default: `{time} left`.
    pub left: Cow<'static, str>,
    /// What stands there instead once it is over. Default: `This session is over.`
    pub over: Cow<'static, str>,
    /// The button. Default: `Exit`.
    pub exit: Cow<'static, str>,
}

impl Wording {
    /// The default.
    #[must_use]
    pub fn english() -> Self {
        Self {
            language: "en".into(),
            right_to_left: false,
            label: "Impersonation".into(),
            acting_as: "Acting as {subject}".into(),
            anonymous: "an anonymous visitor".into(),
            service: "the service role".into(),
            signed_in_as: "signed in as {actor}".into(),
            read_only: "read-only".into(),
            read_write: "read and write".into(),
            until: "until {time}".into(),
            left: "{time} left".into(),
            over: "This session is over.".into(),
            exit: "Exit".into(),
        }
    }
}

impl Default for Wording {
    fn default() -> Self {
        Self::english()
    }
}
