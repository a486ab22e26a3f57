//! Where in a page something of ours can stand: positions only, no bytes.
//!
//! HTML is read by lol_html, whose tokenizer knows what is a tag and what only looks like one in a script, a
//! comment or a title. Its output is thrown away and only counted: the page itself never goes through it, so
//! nothing that it does can change a byte. XHTML has other rules (`<script/>` is whole, CDATA may stand
//! anywhere), and needs no more than a small reader of its own.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lol_html::{
    MemorySettings,
    errors::RewritingError,
    html_content::EndTag,
    send::{Element, ElementContentHandlers, HtmlRewriter, Settings},
};

/// The longest tag that is read. Whatever is longer is passed on unread.
pub(super) const LONGEST_TAG: usize = 1024 * 1024;

/// An element that no page has. It is shown to the reader alone, to learn what it takes a tag for.
const PROBE: &str = "tower-impersonation-probe";

/// Which documents get anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// Whatever it is, someone looks at it as a page.
    Any,
    /// A script asked for it. It may be a part of a page only, which gets nothing.
    Whole,
}

/// What goes in at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// What belongs into the head.
    Head,
    /// What people see.
    Banner,
}

/// How the search for the places ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The banner has its place.
    Placed,
    /// It is none that could have one: a frameset, a part of a page.
    NotAPage,
    /// There was none that a browser would show.
    NoPlace,
    /// A tag is longer than what is kept.
    TooLong,
    /// The declared charset has tags that are none.
    Charset,
}

pub(super) enum Scan {
    Html(Box<Html>),
    Xml(Xml),
}

/// What was found, shared with the handlers.
#[derive(Default)]
struct Found {
    places: VecDeque<(usize, What)>,
    outcome: Option<Outcome>,
    /// There was a tag that only a whole document has.
    whole: bool,
    has_head: bool,
    /// Open templates: their content is no part of the page.
    templates: usize,
    probe_seen: bool,
    /// How much was read for good.
    passed: usize,
}

type Sink = Box<dyn FnMut(&[u8]) + Send>;

pub(super) struct Html {
    which: Which,
    found: Arc<Mutex<Found>>,
    /// `None` once there is nothing more to find.
    rewriter: Option<HtmlRewriter<'static, Sink>>,
    /// How much was given.
    given: usize,
}

// === impl Scan ===

impl Scan {
    pub(super) fn html(which: Which) -> Self {
        Self::Html(Box::new(Html::new(which)))
    }

    pub(super) fn xml() -> Self {
        Self::Xml(Xml::default())
    }

    /// Reads on. Says up to where nothing more will be put in, and how it ended if it has.
    pub(super) fn write(&mut self, bytes: &[u8]) -> (usize, Option<Outcome>) {
        match self {
            Self::Html(html) => html.write(bytes),
            Self::Xml(xml) => xml.write(bytes),
        }
    }

    /// There is no more.
    pub(super) fn end(&mut self) -> Outcome {
        match self {
            Self::Html(html) => html.end(),
            // Behind the root element nothing may stand.
            Self::Xml(xml) => xml.outcome.unwrap_or(Outcome::NoPlace),
        }
    }

    /// The places found so far and not taken yet, in their order.
    pub(super) fn places(&mut self) -> VecDeque<(usize, What)> {
        match self {
            Self::Html(html) => std::mem::take(&mut html.found().places),
            Self::Xml(xml) => std::mem::take(&mut xml.places),
        }
    }
}

// === impl Html ===

impl Html {
    fn new(which: Which) -> Self {
        let found = Arc::new(Mutex::new(Found::default()));
        let handler = {
            let found = found.clone();
            move |element: &mut Element<'_, '_>| {
                start_tag(&found, which, element);
                Ok(())
            }
        };
        let sink: Sink = {
            let found = found.clone();
            Box::new(move |bytes: &[u8]| lock(&found).passed += bytes.len())
        };
        let every_element = "*".parse().expect("a valid selector");
        let handlers = ElementContentHandlers::default().element(handler);
        let settings = Settings::new_send()
            .append_element_content_handler((std::borrow::Cow::Owned(every_element), handlers))
            .with_memory_settings(MemorySettings::new().with_max_allowed_memory_usage(LONGEST_TAG))
            // Where it is unsure, its guess is good enough: nothing is taken out, and nothing trusted.
            .with_strict(false);
        Self {
            which,
            found,
            rewriter: Some(HtmlRewriter::new(settings, sink)),
            given: 0,
        }
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        lock(&self.found)
    }

    fn write(&mut self, bytes: &[u8]) -> (usize, Option<Outcome>) {
        self.given += bytes.len();
        if let Some(rewriter) = &mut self.rewriter
            && let Err(error) = rewriter.write(bytes)
        {
            self.rewriter = None;
            let mut found = self.found();
            found.outcome.get_or_insert(outcome_of(&error));
            return (found.passed, found.outcome);
        }
        let found = self.found();
        (found.passed, found.outcome)
    }

    fn end(&mut self) -> Outcome {
        if let Some(outcome) = self.found().outcome {
            return outcome;
        }
        if self.which == Which::Whole && !self.found().whole {
            return Outcome::NotAPage;
        }
        // Inside of a comment, a title, a tag or a script that is not closed, ours would be more of it.
        let probe = format!("<{PROBE}>");
        if let Some(rewriter) = &mut self.rewriter
            && let Err(error) = rewriter.write(probe.as_bytes())
        {
            return outcome_of(&error);
        }
        let mut found = self.found();
        if !found.probe_seen || found.templates > 0 {
            // It may have closed a tag that the page never did, and no browser knows.
            found.places.clear();
            return Outcome::NoPlace;
        }
        let end = self.given;
        found.place_banner(end);
        Outcome::Placed
    }
}

impl Found {
    fn place_banner(&mut self, at: usize) {
        if !self.has_head {
            self.places.push_back((at, What::Head));
        }
        self.places.push_back((at, What::Banner));
        self.outcome = Some(Outcome::Placed);
    }

    /// Returns whether the end of this element has to be told.
    fn start_tag(&mut self, which: Which, name: &str, at: &Range<usize>) -> bool {
        if self.outcome.is_some() {
            return false;
        }
        if self.templates > 0 {
            self.templates += usize::from(name == "template");
            return name == "template";
        }
        match name {
            "html" => self.whole = true,
            "head" => {
                self.whole = true;
                if !self.has_head {
                    self.has_head = true;
                    self.places.push_back((at.end, What::Head));
                }
            }
            "body" => self.place_banner(at.end),
            "frameset" => self.outcome = Some(Outcome::NotAPage),
            "template" => {
                self.templates += 1;
                return true;
            }
            "base" | "basefont" | "bgsound" | "link" | "meta" | "noframes" | "noscript"
            | "script" | "style" | "title" => {}
            PROBE => self.probe_seen = true,
            // Any other element begins the body, with a tag or without.
            _ if which == Which::Any || self.whole => self.place_banner(at.start),
            _ => self.outcome = Some(Outcome::NotAPage),
        }
        false
    }
}

fn start_tag(shared: &Arc<Mutex<Found>>, which: Which, element: &mut Element<'_, '_>) {
    let mut found = lock(shared);
    let name = element.tag_name();
    if name == "meta" && is_not_ascii(element) {
        found.outcome.get_or_insert(Outcome::Charset);
    }
    if found.start_tag(which, &name, &element.source_location().bytes())
        && let Some(handlers) = element.end_tag_handlers()
    {
        let shared = shared.clone();
        handlers.push(Box::new(move |_: &mut EndTag<'_>| {
            let mut found = lock(&shared);
            found.templates = found.templates.saturating_sub(1);
            Ok(())
        }));
    }
}

/// Whether the page declares a charset in which `<` may be a part of a letter.
fn is_not_ascii(meta: &Element<'_, '_>) -> bool {
    let declared = meta.get_attribute("charset").or_else(|| {
        let content = meta.get_attribute("content")?;
        let (_, charset) = content.split_once("charset=")?;
        Some(charset.to_owned())
    });
    declared.is_some_and(|label| super::response::is_stateful(&label))
}

fn outcome_of(error: &RewritingError) -> Outcome {
    match error {
        RewritingError::MemoryLimitExceeded(_) => Outcome::TooLong,
        _ => Outcome::NoPlace,
    }
}

fn lock(found: &Mutex<Found>) -> MutexGuard<'_, Found> {
    // No code of others runs while it is held.
    found.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads XML as far as to know its tags, a byte at a time, and keeps nothing but the name of one.
#[derive(Default)]
pub(super) struct Xml {
    at: usize,
    state: State,
    /// How many elements are open.
    depth: usize,
    has_head: bool,
    places: VecDeque<(usize, What)>,
    outcome: Option<Outcome>,
}

#[derive(Default)]
enum State {
    #[default]
    Text,
    /// After `<`.
    Open,
    /// After `<!`, with what follows it.
    Bang(Vec<u8>),
    /// Until these bytes; so many of them were there.
    Until(&'static [u8], usize),
    Doctype {
        quote: Option<u8>,
        depth: usize,
    },
    Start {
        name: Vec<u8>,
        named: bool,
        quote: Option<u8>,
        slash: bool,
    },
    End,
}

/// Longer names are none of ours.
const LONGEST_NAME: usize = 64;

// === impl Xml ===

impl Xml {
    fn write(&mut self, bytes: &[u8]) -> (usize, Option<Outcome>) {
        for &byte in bytes {
            self.at += 1;
            if self.outcome.is_none() {
                self.state = self.step(byte);
            }
        }
        // Ours stands behind a tag: what was read needs not be kept.
        (self.at, self.outcome)
    }

    fn step(&mut self, byte: u8) -> State {
        match (std::mem::take(&mut self.state), byte) {
            (State::Text, b'<') => State::Open,
            (State::Text, _) => State::Text,
            (State::Open, b'!') => State::Bang(Vec::new()),
            (State::Open, b'?') => State::Until(b"?>", 0),
            (State::Open, b'/') => {
                self.depth = self.depth.saturating_sub(1);
                State::End
            }
            (State::Open, byte) => State::Start {
                name: vec![byte],
                named: false,
                quote: None,
                slash: false,
            },
            (State::Bang(mut seen), byte) => {
                seen.push(byte);
                match &*seen {
                    b"--" => State::Until(b"-->", 0),
                    b"[CDATA[" => State::Until(b"]]>", 0),
                    b"-" => State::Bang(seen),
                    part if b"[CDATA[".starts_with(part) => State::Bang(seen),
                    _ => State::Doctype {
                        quote: None,
                        depth: 0,
                    },
                }
            }
            (State::Until(end, found), byte) => {
                let found = match byte {
                    byte if byte == end[found] => found + 1,
                    // `--->` and `]]]>` end as well.
                    byte if found == 2 && byte == end[0] => found,
                    byte => usize::from(byte == end[0]),
                };
                if found == end.len() {
                    State::Text
                } else {
                    State::Until(end, found)
                }
            }
            (State::Doctype { quote, depth }, byte) => match (quote, byte) {
                (None, b'>') if depth == 0 => State::Text,
                (None, b'"' | b'\'') => State::Doctype {
                    quote: Some(byte),
                    depth,
                },
                (Some(open), byte) if open == byte => State::Doctype { quote: None, depth },
                (None, b'[') => State::Doctype {
                    quote,
                    depth: depth + 1,
                },
                (None, b']') => State::Doctype {
                    quote,
                    depth: depth.saturating_sub(1),
                },
                _ => State::Doctype { quote, depth },
            },
            (State::End, b'>') => State::Text,
            (State::End, _) => State::End,
            (
                State::Start {
                    mut name,
                    named,
                    quote,
                    slash,
                },
                byte,
            ) => match (quote, byte) {
                (None, b'>') => {
                    self.start_tag(&name, slash);
                    State::Text
                }
                (None, b'"' | b'\'') => State::Start {
                    name,
                    named: true,
                    quote: Some(byte),
                    slash: false,
                },
                (Some(open), byte) => State::Start {
                    name,
                    named,
                    quote: Some(open).filter(|open| *open != byte),
                    slash: false,
                },
                (None, byte) => {
                    let named = named || byte.is_ascii_whitespace() || byte == b'/';
                    if !named && name.len() < LONGEST_NAME {
                        name.push(byte);
                    }
                    State::Start {
                        name,
                        named,
                        quote,
                        slash: byte == b'/',
                    }
                }
            },
        }
    }

    fn start_tag(&mut self, name: &[u8], is_whole: bool) {
        let local = name.rsplit(|byte| *byte == b':').next();
        match (local, self.depth) {
            (Some(b"head"), 1) if !is_whole && !self.has_head => {
                self.has_head = true;
                self.places.push_back((self.at, What::Head));
            }
            (Some(b"body"), 1) if is_whole => self.outcome = Some(Outcome::NoPlace),
            (Some(b"body"), 1) => {
                if !self.has_head {
                    self.places.push_back((self.at, What::Head));
                }
                self.places.push_back((self.at, What::Banner));
                self.outcome = Some(Outcome::Placed);
            }
            (Some(b"frameset"), 1) => self.outcome = Some(Outcome::NotAPage),
            _ => {}
        }
        self.depth += usize::from(!is_whole);
    }
}
