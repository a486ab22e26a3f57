//! The banner: who is acted as, by whom, how far, until when, and the way out.

use std::{fmt::Write as _, time::Duration};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tower_impersonation::{Access, ActingAs, Subject};

use super::{escape::escape, wording::Wording};

/// Where the banner stays while the page scrolls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Position {
    /// At the top of the window.
    #[default]
    Top,
    /// At its bottom. In the document the banner still comes first.
    Bottom,
}

/// What a template of the host's shows. See [`PageLayer::with_template`](super::PageLayer::with_template).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BannerView<'a> {
    /// The texts as they are. **Not** escaped: not to be put into markup.
    pub plain: BannerText,
    /// The same texts, escaped for content and for quoted attributes.
    pub html: BannerText,
    /// What the request may do.
    pub access: Access,
    /// When the session is over at the latest; `None` without one.
    pub expires_at: Option<OffsetDateTime>,
    /// How long that is from now; `None` without a session.
    pub left: Option<Duration>,
    /// Where the banner stays.
    pub position: Position,
    /// The request's `Accept-Language`.
    pub language: Option<&'a str>,
    /// The words in use. Not escaped.
    pub wording: &'a Wording,
    way_out: &'a WayOut,
}

/// The texts of a banner.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BannerText {
    /// Whom it is acted as: the display name, else the id, or what the wording calls the two who are no users.
    pub subject: String,
    /// The subject's e-mail address or public id, where it says more than the name.
    pub login: Option<String>,
    /// The id of who is really there.
    pub actor: String,
    /// The id of the session, where there is one.
    pub session: Option<String>,
}

/// How the actor gets out.
#[derive(Debug, Clone)]
pub(super) enum WayOut {
    /// Ends the session by a `POST` to this path.
    End(String),
    /// There is nothing to end, or nowhere to: this page without the marker.
    Unmarked(String),
}

impl WayOut {
    pub(super) fn new(control_path: Option<&str>, acting_as: &ActingAs, unmarked: &str) -> Self {
        match (control_path, acting_as.session()) {
            (Some(path), Some(_)) => Self::End(format!("{path}/end")),
            // `//host` would be another host.
            _ => Self::Unmarked(format!("/{}", unmarked.trim_start_matches(['/', '\\']))),
        }
    }
}

// === impl BannerView ===

impl<'a> BannerView<'a> {
    pub(super) fn new(
        acting_as: &ActingAs,
        now: Option<OffsetDateTime>,
        position: Position,
        language: Option<&'a str>,
        wording: &'a Wording,
        way_out: &'a WayOut,
    ) -> Self {
        let user = acting_as.user();
        let name = user.and_then(|user| user.display_name());
        let name = name.filter(|name| !name.trim().is_empty());
        let subject = match acting_as.subject() {
            Subject::Anonymous => wording.anonymous.clone().into_owned(),
            Subject::Service => wording.service.clone().into_owned(),
            subject => name.unwrap_or(subject.as_str()).to_owned(),
        };
        let login = user.and_then(|user| user.login());
        let plain = BannerText {
            login: login.filter(|login| *login != subject).map(str::to_owned),
            subject,
            actor: acting_as.actor().id().as_str().to_owned(),
            session: acting_as.session().map(|session| session.id.to_string()),
        };
        let expires_at = acting_as.expires_at();
        let left = |end: OffsetDateTime| Some(Duration::try_from(end - now?).unwrap_or_default());
        Self {
            html: BannerText {
                subject: escape(&plain.subject),
                login: plain.login.as_deref().map(escape),
                actor: escape(&plain.actor),
                session: plain.session.as_deref().map(escape),
            },
            plain,
            access: acting_as.access(),
            expires_at,
            left: expires_at.and_then(left),
            position,
            language,
            wording,
            way_out,
        }
    }

    /// The banner as it is without a template: one `<aside>`.
    #[must_use]
    pub fn default_html(&self) -> String {
        let words = self.wording;
        let position = match self.position {
            Position::Top => "",
            Position::Bottom => " impersonation-banner-at-bottom",
        };
        let mut html = format!(
            "<aside class=\"impersonation-banner{position}\" {}>\
             <div class=\"impersonation-banner-bar\">\
             <p class=\"impersonation-banner-who\"><span class=\"impersonation-banner-as\">{}</span>",
            self.root_attributes(),
            filled(
                &words.acting_as,
                "{subject}",
                &named("name", &self.html.subject)
            ),
        );
        // Writing into a String cannot fail.
        if let Some(login) = &self.html.login {
            let _ = write!(html, " {}", named("login", login));
        }
        let (class, access) = match self.access {
            Access::ReadWrite => ("read-write", &words.read_write),
            // Whatever comes later says so by itself.
            _ => ("read-only", &words.read_only),
        };
        let _ = write!(
            html,
            "</p> <p class=\"impersonation-banner-facts\">\
             <span class=\"impersonation-banner-access impersonation-banner-{class}\">{}</span> \
             <span class=\"impersonation-banner-actor\">{}</span>",
            escape(access),
            filled(
                &words.signed_in_as,
                "{actor}",
                &format!("<bdi>{}</bdi>", self.html.actor)
            ),
        );
        if let Some(until) = self.until_html() {
            let _ = write!(
                html,
                " <span class=\"impersonation-banner-until\">{until}</span>"
            );
        }
        if let Some(left) = self.left_html() {
            let _ = write!(html, " {left}");
        }
        let _ = write!(html, "</p> {}</div></aside>", self.exit_html());
        html
    }

    /// The attributes by which the page's script and a screen reader know the banner. A template puts them
    /// into its outermost element.
    #[must_use]
    pub fn root_attributes(&self) -> String {
        let direction = if self.wording.right_to_left {
            "rtl"
        } else {
            "ltr"
        };
        format!(
            "data-impersonation-banner=\"\" role=\"region\" aria-label=\"{}\" lang=\"{}\" dir=\"{direction}\"",
            escape(&self.wording.label),
            escape(&self.wording.language),
        )
    }

    /// The way out: a form with one button, which works without JavaScript; without a session a link to the
    /// page without the marker.
    #[must_use]
    pub fn exit_html(&self) -> String {
        let exit = escape(&self.wording.exit);
        match (self.way_out, &self.html.session) {
            (WayOut::End(action), session) => format!(
                "<form class=\"impersonation-banner-form\" method=\"post\" action=\"{}\">\
                 <input type=\"hidden\" name=\"session_id\" value=\"{}\"/>\
                 <button class=\"impersonation-banner-exit\" type=\"submit\">{exit}</button></form>",
                escape(action),
                session.as_deref().unwrap_or_default(),
            ),
            // Without the referer, by which the page that it leads to would be acted again.
            (WayOut::Unmarked(path), _) => format!(
                "<a class=\"impersonation-banner-exit\" rel=\"noreferrer\" href=\"{}\">{exit}</a>",
                escape(path),
            ),
        }
    }

    /// The end of the session: `until 12:30 UTC`, in a `<time>`.
    #[must_use]
    pub fn until_html(&self) -> Option<String> {
        let until = self.expires_at?.to_offset(time::UtcOffset::UTC);
        let until = until.replace_nanosecond(0).unwrap_or(until);
        let date = match self.left {
            Some(left) if left > Duration::from_secs(20 * 60 * 60) => format!("{} ", until.date()),
            _ => String::new(),
        };
        let time = format!(
            "<time datetime=\"{}\">{date}{:02}:{:02} UTC</time>",
            until.format(&Rfc3339).unwrap_or_default(),
            until.hour(),
            until.minute(),
        );
        Some(filled(&self.wording.until, "{time}", &time))
    }

    /// The time left, which the page's script counts down.
    #[must_use]
    pub fn left_html(&self) -> Option<String> {
        // Rounded up, so that it is never said to be over while requests are still acted.
        let left = self.left?;
        let left = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        let text = if left == 0 {
            escape(&self.wording.over)
        } else {
            filled(&self.wording.left, "{time}", &in_words(left))
        };
        Some(format!(
            "<span class=\"impersonation-banner-left\" data-impersonation-left=\"{left}\" \
             data-impersonation-format=\"{}\" data-impersonation-over=\"{}\">{text}</span>",
            escape(&self.wording.left),
            escape(&self.wording.over),
        ))
    }
}

/// `1 h 29 min`, `29 min`, `45 s`: symbols, which are the same in every language.
fn in_words(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => format!("{seconds} s"),
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

/// Text that may be cut to fit; all of it is in the title. Its direction is its own.
fn named(class: &str, html: &str) -> String {
    format!("<bdi class=\"impersonation-banner-{class}\" title=\"{html}\">{html}</bdi>")
}

/// The words, escaped, with this markup in the placeholder's place.
fn filled(words: &str, placeholder: &str, html: &str) -> String {
    match words.split_once(placeholder) {
        Some((before, after)) => format!("{}{html}{}", escape(before), escape(after)),
        None => format!("{} {html}", escape(words)),
    }
}

/// The same markup in ASCII, so that it is the same in every charset: other characters become references,
/// and those that no page may have a replacement character.
pub(super) fn ascii(html: &str) -> String {
    let mut ascii = String::with_capacity(html.len());
    for c in html.chars() {
        match c {
            '\t' | '\n' | '\r' | ' '..='~' => ascii.push(c),
            c if c.is_control() || u32::from(c) & 0xfffe == 0xfffe => ascii.push_str("&#xFFFD;"),
            c => {
                let _ = write!(ascii, "&#x{:X};", u32::from(c));
            }
        }
    }
    ascii
}
