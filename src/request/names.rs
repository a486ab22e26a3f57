//! Names of headers that are somebody else's, and families of headers.

use http::HeaderName;

/// Header names that mean something else, that a browser or a proxy sets by itself, or that a page may set
/// on requests to another site without being asked (`Accept-Language`, `Range`): a marker in a header is
/// trusted because no link and no form can send it (rule [R5](crate::rules#r5)). The same goes for a token.
pub(crate) const RESERVED: &[&str] = &[
    "accept",
    "authorization",
    "cache-control",
    "connection",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "impersonation-token",
    "keep-alive",
    "origin",
    "pragma",
    "range",
    "referer",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "upgrade-insecure-requests",
    "via",
    "x-impersonation-token",
    "x-method-override",
    "x-real-ip",
    "x-request-id",
];
/// Families of them.
pub(crate) const RESERVED_PREFIXES: &[&str] = &[
    "accept-",
    "access-control-",
    "content-",
    "if-",
    "proxy-",
    "sec-",
    "x-forwarded-",
    "x-http-method",
];

/// Where tokens stand by custom. Where tokens are on, none of these is ever ignored (rule [R4](crate::rules#r4)).
pub(crate) const TOKEN_HEADERS: [HeaderName; 2] = [
    HeaderName::from_static("impersonation-token"),
    HeaderName::from_static("x-impersonation-token"),
];

/// Whether a header is `family` or begins with it and a dash: `act-as`, `act-as-reason`.
///
/// An underscore counts as a dash: to CGI, and to what came after it, they are one name.
pub(crate) fn is_of_family(name: &HeaderName, family: &str) -> bool {
    let (name, family) = (name.as_str().as_bytes(), family.as_bytes());
    let Some((start, rest)) = name.split_at_checked(family.len()) else {
        return false;
    };
    let is_dash = |byte: &u8| matches!(byte, b'-' | b'_');
    let mut pairs = start.iter().zip(family);
    rest.first().is_none_or(is_dash) && pairs.all(|(a, b)| a == b || (is_dash(a) && is_dash(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r9_a_family_is_a_name_and_all_that_begin_with_it() {
        let tests = [
            ("act-as", true),
            ("act_as", true),
            ("act-as-reason", true),
            ("act-as_reason", true),
            ("act-as-", true),
            ("act-assist", false),
            ("act", false),
            ("x-act-as", false),
            ("acted-as", false),
        ];
        for (name, expected) in tests {
            let header = HeaderName::from_static(name);
            assert_eq!(is_of_family(&header, "act-as"), expected, "{name}");
        }
    }
}
