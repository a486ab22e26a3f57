//! Which responses get a banner, and what of their headers is no longer true then.

use std::borrow::Cow;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{
        ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH,
        CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY, CONTENT_TYPE, ETAG,
    },
    response::Parts,
};

use super::{insert::Unit, scan::Which};

/// Headers that speak of the bytes as the handler made them.
const OF_THE_BYTES: [HeaderName; 7] = [
    CONTENT_LENGTH,
    ETAG,
    ACCEPT_RANGES,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// Labels of charsets in which ASCII is not always itself, but for UTF-16
/// ([Encoding Standard](https://encoding.spec.whatwg.org/#names-and-labels)).
const STATEFUL: [&str; 8] = [
    "csiso2022jp",
    "csiso2022kr",
    "hz-gb-2312",
    "iso-2022-cn",
    "iso-2022-cn-ext",
    "iso-2022-jp",
    "iso-2022-kr",
    "replacement",
];

const UTF_16_LE: [&str; 8] = [
    "csunicode",
    "iso-10646-ucs-2",
    "ucs-2",
    "unicode",
    "unicodefeff",
    "utf-16",
    "utf-16le",
    "unicode-1-1-utf-16",
];

const UTF_16_BE: [&str; 2] = ["unicodefffe", "utf-16be"];

/// A page that gets a banner, as its headers describe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Html {
    pub(super) is_xml: bool,
    pub(super) declared: Unit,
}

/// Why a response gets none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Not {
    /// Nobody looks at it as a page.
    APage,
    /// It is one, and cannot get it.
    Able(&'static str),
}

/// What may be loaded by a tag of ours: the nonces of the response's policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Nonces {
    pub(super) script: Option<String>,
    pub(super) style: Option<String>,
}

/// Where the browser puts the response; `None` where it is no page.
pub(super) fn which(request: &HeaderMap) -> Option<Which> {
    const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
    /// Sent by scripts that put parts into a page. Browsers leave `Sec-Fetch-Dest` out on plain HTTP.
    const BY_SCRIPTS: [HeaderName; 3] = [
        HeaderName::from_static("hx-request"),
        HeaderName::from_static("turbo-frame"),
        HeaderName::from_static("x-requested-with"),
    ];

    match request.get(SEC_FETCH_DEST).map(HeaderValue::as_bytes) {
        Some(b"document" | b"iframe" | b"frame") => Some(Which::Any),
        Some(b"empty") => Some(Which::Whole),
        Some(_) => None,
        None if BY_SCRIPTS.iter().any(|name| request.contains_key(name)) => Some(Which::Whole),
        None => Some(Which::Any),
    }
}

pub(super) fn html(method: &Method, response: &Parts) -> Result<Html, Not> {
    let headers = &response.headers;
    let content_type = text(headers, &CONTENT_TYPE);
    let mut parameters = content_type.split(';');
    let essence = parameters.next().unwrap_or_default().trim();
    let is_xml = essence.eq_ignore_ascii_case("application/xhtml+xml");
    if !is_xml && !essence.eq_ignore_ascii_case("text/html") {
        return Err(Not::APage);
    }
    let has_body = !response.status.is_informational()
        && !matches!(
            response.status,
            StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
        );
    if method == Method::CONNECT || !has_body || is_saved(&text(headers, &CONTENT_DISPOSITION)) {
        return Err(Not::APage);
    }
    if response.status == StatusCode::PARTIAL_CONTENT {
        return Err(Not::Able("it is a part of a page only"));
    }
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    if !encodings.all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Not::Able("it is compressed, by a layer inside of ours"));
    }
    let charset = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let is_it = name.trim().eq_ignore_ascii_case("charset");
        is_it.then(|| value.trim().trim_matches('"').trim())
    });
    let declared = match charset {
        None => Unit::Byte,
        Some(label) if is_one_of(label, &UTF_16_LE) => Unit::Utf16Le,
        Some(label) if is_one_of(label, &UTF_16_BE) => Unit::Utf16Be,
        Some(label) if is_stateful(label) => {
            return Err(Not::Able("`<` may be a part of a letter in its charset"));
        }
        Some(_) => Unit::Byte,
    };
    Ok(Html { is_xml, declared })
}

/// Takes away what the banner makes untrue.
pub(super) fn forget_bytes(headers: &mut HeaderMap) {
    for name in OF_THE_BYTES {
        headers.remove(name);
    }
}

/// Whether `<` may be a part of a letter in this charset.
pub(super) fn is_stateful(label: &str) -> bool {
    is_one_of(label.trim_matches(['"', '\'', ' ']), &STATEFUL)
}

/// Whether the browser saves the response instead of showing it
/// ([RFC 6266](https://www.rfc-editor.org/rfc/rfc6266#section-4.2)): any type but `inline` does.
fn is_saved(disposition: &str) -> bool {
    let kind = disposition.split(';').next().unwrap_or_default().trim();
    // A parameter without a type is ignored by browsers.
    !kind.is_empty() && !kind.contains('=') && !kind.eq_ignore_ascii_case("inline")
}

fn is_one_of(label: &str, labels: &[&str]) -> bool {
    labels.iter().any(|one| label.eq_ignore_ascii_case(one))
}

/// Whatever is no ASCII in it, such as a file's name, hides nothing of the rest.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Cow<'a, str> {
    let value = headers.get(name).map(HeaderValue::as_bytes);
    String::from_utf8_lossy(value.unwrap_or_default())
}

// === impl Nonces ===

impl Nonces {
    /// Those of the policies that are enforced, else of the one that is only tried out.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let enforced = Self::named(headers, &CONTENT_SECURITY_POLICY);
        let tried = Self::named(headers, &CONTENT_SECURITY_POLICY_REPORT_ONLY);
        Self {
            script: enforced.script.or(tried.script),
            style: enforced.style.or(tried.style),
        }
    }

    fn named(headers: &HeaderMap, name: &HeaderName) -> Self {
        let values = headers.get_all(name).iter();
        let texts: Vec<Cow<'_, str>> = values
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        let policies: Vec<&str> = texts.iter().flat_map(|text| text.split(',')).collect();
        let find = |of: [&str; 3]| policies.iter().find_map(|policy| nonce(policy, of));
        Self {
            script: find(["script-src-elem", "script-src", "default-src"]),
            style: find(["style-src-elem", "style-src", "default-src"]),
        }
    }
}

/// The nonce of the first of these directives that the policy has: only that one counts.
fn nonce(policy: &str, directives: [&str; 3]) -> Option<String> {
    let sources = directives.iter().find_map(|directive| {
        policy.split(';').find_map(|one| {
            let mut words = one.split_ascii_whitespace();
            let is_it = words.next()?.eq_ignore_ascii_case(directive);
            is_it.then_some(words)
        })
    })?;
    let mut nonces = sources.filter_map(|source| {
        let inner = source.strip_prefix('\'')?.strip_suffix('\'')?;
        let (keyword, value) = inner.split_at_checked(6)?;
        let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/-_=".contains(c);
        let is_nonce = keyword.eq_ignore_ascii_case("nonce-");
        (is_nonce && !value.is_empty() && value.chars().all(is_base64)).then_some(value)
    });
    nonces.next().map(str::to_owned)
}
