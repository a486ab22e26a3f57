//! A page of the console as a test reads it, and what makes it sound.

use std::collections::{BTreeMap, BTreeSet};

use http::{HeaderMap, StatusCode};
use tower_impersonation::RejectionKind;

pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) kind: Option<RejectionKind>,
    pub(super) html: String,
}

pub(super) struct Tag {
    name: String,
    is_end: bool,
    attributes: BTreeMap<String, String>,
}

impl Tag {
    pub(super) fn get(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.attributes.contains_key(name)
    }
}

pub(super) fn unescape(text: &str) -> String {
    let pairs = [
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#38;", "&"),
    ];
    let unescape = |text: String, (from, to): (&str, &str)| text.replace(from, to);
    pairs.into_iter().fold(text.to_owned(), unescape)
}

impl Page {
    pub(super) fn tags(&self) -> Vec<Tag> {
        let mut tags = Vec::new();
        let mut rest = self.html.as_str();
        while let Some(at) = rest.find('<') {
            rest = &rest[at + 1..];
            if rest.starts_with('!') {
                continue;
            }
            let is_end = rest.starts_with('/');
            rest = rest.strip_prefix('/').unwrap_or(rest);
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap();
            let name = rest[..end].to_owned();
            assert!(!name.is_empty(), "a bare `<` before {rest:.60}");
            rest = &rest[end..];
            let mut attributes = BTreeMap::new();
            loop {
                rest = rest.trim_start();
                if let Some(after) = rest.strip_prefix('>') {
                    rest = after;
                    break;
                }
                let end = rest.find(['=', '>', ' ']).unwrap();
                let key = rest[..end].to_owned();
                assert!(!key.is_empty(), "an odd attribute before {rest:.60}");
                rest = &rest[end..];
                let mut value = String::new();
                if let Some(quoted) = rest.strip_prefix("=\"") {
                    let end = quoted.find('"').unwrap();
                    value = unescape(&quoted[..end]);
                    rest = &quoted[end + 1..];
                }
                let before = attributes.insert(key.clone(), value);
                assert!(before.is_none(), "{key} twice in {name}");
            }
            tags.push(Tag {
                name,
                is_end,
                attributes,
            });
        }
        tags
    }

    pub(super) fn all(&self, name: &str) -> Vec<Tag> {
        let tags = self.tags().into_iter();
        tags.filter(|tag| tag.name == name && !tag.is_end).collect()
    }

    /// The addresses of links whose text, tags left out, begins with this.
    pub(super) fn links(&self, text: &str) -> Vec<String> {
        let mut links = Vec::new();
        for part in self.html.split("<a ").skip(1) {
            let (tag, rest) = part.split_once('>').unwrap();
            let inner = rest.split("</a>").next().unwrap();
            if plain(inner).starts_with(text) {
                let href = tag.split("href=\"").nth(1).unwrap();
                links.push(unescape(href.split('"').next().unwrap()));
            }
        }
        links
    }

    pub(super) fn link(&self, text: &str) -> String {
        let links = self.links(text);
        assert_eq!(links.len(), 1, "{text}: {links:?}\n{}", self.html);
        links.into_iter().next().unwrap()
    }

    pub(super) fn text(&self) -> String {
        plain(&self.html)
    }

    pub(super) fn says(&self, text: &str) -> &Self {
        assert!(self.text().contains(text), "no {text:?} in {}", self.text());
        self
    }

    pub(super) fn says_not(&self, text: &str) -> &Self {
        assert!(!self.text().contains(text), "{text:?} in {}", self.text());
        self
    }

    pub(super) fn is(&self, status: u16, kind: Option<RejectionKind>) -> &Self {
        let is = (self.status.as_u16(), self.kind);
        assert_eq!(is, (status, kind), "{}", self.text());
        self
    }

    pub(super) fn ok(&self) -> &Self {
        self.is(200, None)
    }

    pub(super) fn to(&self) -> &str {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{}", self.text());
        self.headers["location"].to_str().unwrap()
    }

    /// The field of this name.
    pub(super) fn field(&self, name: &str) -> Tag {
        let is_it = |tag: &Tag| {
            !tag.is_end
                && ["input", "select", "textarea"].contains(&&*tag.name)
                && tag.get("name") == name
        };
        let found = self.tags().into_iter().find(is_it);
        found.unwrap_or_else(|| panic!("no {name} in {}", self.html))
    }

    pub(super) fn textarea(&self, id: &str) -> String {
        let area = self.html.split(&format!("<textarea id=\"{id}\"")).nth(1);
        let area = area.unwrap().split_once('>').unwrap().1;
        // A browser drops the first line break.
        let area = area.split("</textarea>").next().unwrap();
        unescape(area.strip_prefix('\n').unwrap())
    }

    /// The message that the field points to.
    pub(super) fn problem_of(&self, name: &str) -> String {
        let field = self.field(name);
        assert_eq!(field.get("aria-invalid"), "true", "{name}");
        assert!(field.has("autofocus"), "{name}");
        let ids = field.get("aria-describedby").to_owned();
        let id = ids.split(' ').next_back().unwrap();
        let text = self.html.split(&format!("id=\"{id}\">")).nth(1).unwrap();
        unescape(text.split('<').next().unwrap())
    }

    /// What holds for every page.
    pub(super) fn is_sound(&self) {
        let content_type = self.headers.get("content-type");
        if content_type.is_none_or(|it| it != "text/html; charset=utf-8") {
            return;
        }
        assert!(self.html.starts_with("<!doctype html>"));
        assert_eq!(self.all("html")[0].get("lang"), "en");
        for (tag, count) in [
            ("h1", 1),
            ("main", 1),
            ("title", 1),
            ("script", 1),
            ("style", 0),
        ] {
            assert_eq!(self.all(tag).len(), count, "{tag}: {}", self.html);
        }
        let tags = self.tags();
        let ids: Vec<&str> = tags
            .iter()
            .map(|tag| tag.get("id"))
            .filter(|id| !id.is_empty())
            .collect();
        let known: BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(ids.len(), known.len(), "an id twice: {ids:?}");
        let mut open: Vec<&str> = Vec::new();
        let labelled: BTreeSet<&str> = tags.iter().map(|tag| tag.get("for")).collect();
        for tag in &tags {
            let name = tag.name.as_str();
            if ["meta", "link", "input", "br"].contains(&name) {
                assert!(!tag.is_end);
            } else if tag.is_end {
                assert_eq!(open.pop(), Some(name), "{}", self.html);
            } else {
                if open.contains(&"p") {
                    let block = [
                        "p", "div", "form", "ul", "table", "section", "dl", "fieldset",
                    ];
                    assert!(!block.contains(&name), "{name} in p: {}", self.html);
                }
                if open.contains(&"form") {
                    assert_ne!(name, "form");
                }
                open.push(name);
            }
            for (attribute, value) in &tag.attributes {
                assert!(
                    !attribute.starts_with("on") && attribute != "style",
                    "{attribute}={value}"
                );
                match attribute.as_str() {
                    "href" if value == "data:," => {}
                    "href" if value.starts_with('#') => assert!(known.contains(&value[1..])),
                    "href" | "src" | "action" | "data-live" | "data-events" => {
                        assert!(
                            value.starts_with('/') && !value.starts_with("//"),
                            "{value}"
                        );
                    }
                    "aria-describedby" | "aria-labelledby" => {
                        value
                            .split(' ')
                            .for_each(|id| assert!(known.contains(id), "{id}"));
                    }
                    _ => {}
                }
            }
            let is_field = ["input", "select", "textarea"].contains(&name) && !tag.is_end;
            if is_field && !["hidden", "radio"].contains(&tag.get("type")) {
                assert!(labelled.contains(tag.get("id")), "no label: {}", self.html);
            }
            if name == "th" && !tag.is_end {
                assert!(tag.has("scope"));
            }
            if name == "form" && !tag.is_end {
                assert!(["get", "post"].contains(&tag.get("method")));
            }
        }
        assert_eq!(open, [""; 0]);
        assert_eq!(self.all("table").len(), self.all("caption").len());
        assert!(self.all("a").iter().any(|a| a.get("class") == "skip"));
    }
}

pub(super) fn plain(html: &str) -> String {
    let mut text = String::new();
    for part in html.split('<') {
        text.push_str(part.split_once('>').map_or(part, |(_, text)| text));
    }
    let text: Vec<&str> = text.split_whitespace().collect();
    unescape(&text.join(" "))
}
