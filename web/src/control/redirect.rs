//! Where a browser may be sent: paths on this host, nothing else.

/// `next`, if it is a path on this host however a browser reads it.
///
/// Browsers take `\` for `/` and drop tabs and line breaks, so those are refused, encoded or not, and
/// whatever could be read as another host with them.
pub(super) fn local(next: &str) -> Option<&str> {
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(next).collect();
    let harmless = |text: &[u8]| {
        text.starts_with(b"/")
            && !text.starts_with(b"//")
            && !text
                .iter()
                .any(|byte| *byte == b'\\' || byte.is_ascii_control())
    };
    let is_path = next.parse::<http::uri::PathAndQuery>().is_ok();
    (is_path && harmless(next.as_bytes()) && harmless(&decoded)).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::local;

    #[test]
    fn next_stays_on_this_host() {
        for fine in ["/", "/orders", "/orders?page=2&x=%20", "/a//b", "/%C3%BC"] {
            assert_eq!(local(fine), Some(fine));
        }
        let elsewhere = [
            "",
            "orders",
            "//host",
            "//host/",
            "/\\host",
            "\\host",
            "\\\\host",
            "/%09/host",
            "/\t/host",
            "/%5chost",
            "/%2fhost",
            "/%0a/host",
            "https://host/",
            "javascript:alert(1)",
            "/\r\nSet-Cookie: a=b",
            "http:/host",
            "?x",
            "#x",
        ];
        for next in elsewhere {
            assert_eq!(local(next), None, "{next:?}");
        }
    }
}
