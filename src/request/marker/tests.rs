#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const ACT_AS: HeaderName = HeaderName::from_static("act-as");
const REASON: HeaderName = HeaderName::from_static("act-as-reason");

fn sources() -> Sources {
    Sources::new(Some("as"), Some(ACT_AS), REASON)
}

fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let value = HeaderValue::from_bytes(value).unwrap();
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

fn uri(query: &str) -> Uri {
    format!("/orders?{query}").parse().unwrap()
}

fn find(query: &str, pairs: &[(&'static str, &[u8])]) -> Result<Option<Marker>, Fault> {
    sources().find(&uri(query), &headers(pairs))
}

/// The subject alone, as it is written in the trail.
fn subject(found: Result<Option<Marker>, Fault>) -> Result<Option<String>, Fault> {
    found.map(|marker| marker.map(|marker| marker.subject.to_string()))
}

/// [`Sources::strip`] on a request that has nothing but these.
fn strip(sources: &Sources, uri: &mut Uri, headers: &mut HeaderMap) {
    let (mut parts, ()) = http::Request::new(()).into_parts();
    std::mem::swap(&mut parts.uri, uri);
    std::mem::swap(&mut parts.headers, headers);
    sources.strip(&mut parts);
    *uri = parts.uri;
    *headers = parts.headers;
}

#[test]
fn r1_a_request_without_a_marker_has_none() {
    let none: &[&str] = &[
        "",
        "&",
        "&&",
        "=",
        "=7",
        "q=as",
        "class=x&last=1",
        "as2=7",
        "xas=7",
        "as[]=7",
        "as%5B%5D=7",
        "AS=7",
        "As=7",
        "%41s=7",
        // Other separators and spellings that some parsers know and WHATWG does not.
        "x=1;as=7",
        "?as=7",
        "+as=7",
        "as+=7",
        "%20as=7",
        "as%00=7",
        "as%3D7",
        "x%26as=7",
        "%EF%BB%BFas=7",
        "%EF%BD%81%EF%BD%93=7",
        "%2561s=7",
        "%6as=7",
        "%u0061s=7",
        "a%ffs=7",
        "q=%",
    ];
    for query in none {
        assert_eq!(find(query, &[]), Ok(None), "{query}");
    }
    assert_eq!(
        sources().find(&"/as".parse().unwrap(), &HeaderMap::new()),
        Ok(None)
    );
    let others: &[(&str, &[u8])] = &[
        ("connection", b"keep-alive"),
        ("acted-as", b"7"),
        ("as", b"7"),
    ];
    assert_eq!(find("q=1", others), Ok(None));
}

#[test]
fn r3_the_query_is_read_as_whatwg_form_data() {
    let longest = "x".repeat(128);
    let tests: &[(&str, Result<&str, Fault>)] = &[
        ("as=7", Ok("7")),
        ("q=1&as=7&z", Ok("7")),
        ("&&as=7&", Ok("7")),
        ("%61s=7", Ok("7")),
        ("a%73=7", Ok("7")),
        ("%61%73=7", Ok("7")),
        ("as=%37", Ok("7")),
        ("as=a=b", Ok("a=b")),
        ("as==", Ok("=")),
        ("as=a;b", Ok("a;b")),
        ("as=a%26b", Ok("a&b")),
        ("as=a%3Db", Ok("a=b")),
        ("as=a%2Bb", Ok("a+b")),
        ("as=a+b", Ok("a b")),
        ("as=a%20b", Ok("a b")),
        ("as=%2537", Ok("%37")),
        ("as=%c3%a9", Ok("é")),
        ("as=J%C3%BCrgen", Ok("Jürgen")),
        ("as=é", Ok("é")),
        ("as=~anon", Ok("~anon")),
        ("as=%7eanon", Ok("~anon")),
        ("as=~service", Ok("~service")),
        ("as=~ANON", Ok("~ANON")),
        ("as=anon", Ok("anon")),
        (&format!("as={longest}"), Ok(&longest)),
        ("as=", Err(Fault::Empty)),
        ("as", Err(Fault::Empty)),
        ("%61s", Err(Fault::Empty)),
        ("as&q=1", Err(Fault::Empty)),
        ("as=a&as=b", Err(Fault::Repeated)),
        ("as=a&as=a", Err(Fault::Repeated)),
        ("as=a&as", Err(Fault::Repeated)),
        ("as&as", Err(Fault::Repeated)),
        ("as=a&q=1&%61s=b", Err(Fault::Repeated)),
        ("as=%zz", Err(Fault::Encoding)),
        ("as=%", Err(Fault::Encoding)),
        ("as=%f", Err(Fault::Encoding)),
        ("as=7%2", Err(Fault::Encoding)),
        ("as=%+1", Err(Fault::Encoding)),
        ("as=%ff", Err(Fault::Encoding)),
        ("as=%c3", Err(Fault::Encoding)),
        ("as=%c0%af", Err(Fault::Encoding)),
        ("as=%ed%a0%80", Err(Fault::Encoding)),
        ("as=+%ff", Err(Fault::Encoding)),
        ("as=%00", Err(Fault::NotAnId)),
        ("as=7%0a", Err(Fault::NotAnId)),
        ("as=7%0d%0aSet-Cookie:x", Err(Fault::NotAnId)),
        ("as=%7f", Err(Fault::NotAnId)),
        ("as=%c2%85", Err(Fault::NotAnId)),
        (&format!("as={longest}x"), Err(Fault::NotAnId)),
        (&format!("as={}", "%C3%A9".repeat(65)), Err(Fault::NotAnId)),
        (
            &format!("as={}", "x".repeat(64 * 1024 - 16)),
            Err(Fault::NotAnId),
        ),
    ];
    for (query, expected) in tests {
        let expected = expected.map(|subject| Some(subject.to_owned()));
        let found = subject(find(query, &[]));
        assert_eq!(found, expected, "{query:.60}");
    }
}

#[test]
fn r3_the_two_subjects_that_are_no_users_are_told_apart() {
    let found = |query| find(query, &[]).unwrap().unwrap().subject;
    assert_eq!(found("as=~anon"), Subject::Anonymous);
    assert_eq!(found("as=~service"), Subject::Service);
    assert!(matches!(found("as=anon"), Subject::User(_)));
    assert!(matches!(found("as=%257eanon"), Subject::User(_)));
}

#[test]
fn r3_the_header_is_read_as_it_stands() {
    struct Test {
        headers: &'static [(&'static str, &'static [u8])],
        expected: Result<Option<&'static str>, Fault>,
    }
    let tests = [
        Test {
            headers: &[("act-as", b"7")],
            expected: Ok(Some("7")),
        },
        Test {
            headers: &[("act-as", b"~anon")],
            expected: Ok(Some("~anon")),
        },
        // No form encoding here.
        Test {
            headers: &[("act-as", b"a+b%37")],
            expected: Ok(Some("a+b%37")),
        },
        Test {
            headers: &[("act-as", b"\xc3\xa9")],
            expected: Ok(Some("é")),
        },
        Test {
            headers: &[("act-as", b"")],
            expected: Err(Fault::Empty),
        },
        Test {
            headers: &[("act-as", b"\xff")],
            expected: Err(Fault::Encoding),
        },
        Test {
            headers: &[("act-as", b"7\t8")],
            expected: Err(Fault::NotAnId),
        },
        Test {
            headers: &[("act-as", b"\xc2\x85")],
            expected: Err(Fault::NotAnId),
        },
        Test {
            headers: &[("act-as", &[b'x'; 129])],
            expected: Err(Fault::NotAnId),
        },
        Test {
            headers: &[("act-as", &[b'x'; 64 * 1024])],
            expected: Err(Fault::NotAnId),
        },
        Test {
            headers: &[("act-as", b"7"), ("act-as", b"7")],
            expected: Err(Fault::Repeated),
        },
        Test {
            headers: &[("act-as", b"7"), ("act-as", b"")],
            expected: Err(Fault::Repeated),
        },
        Test {
            headers: &[("act-as", b"7"), ("act-as", b"8")],
            expected: Err(Fault::Repeated),
        },
    ];
    for Test { headers, expected } in tests {
        let expected = expected.map(|subject| subject.map(str::to_owned));
        let (name, value) = headers[0];
        assert_eq!(
            subject(find("q=1", headers)),
            expected,
            "{name}: {value:.9?}"
        );
    }
}

#[test]
fn r3_header_and_query_must_say_the_same() {
    let tests: &[(&str, &[u8], Result<&str, Fault>)] = &[
        ("as=7", b"7", Ok("7")),
        ("as=a+b", b"a b", Ok("a b")),
        ("%61s=%37", b"7", Ok("7")),
        ("as=~anon", b"~anon", Ok("~anon")),
        ("as=7", b"8", Err(Fault::Disagree)),
        ("as=7", b"07", Err(Fault::Disagree)),
        ("as=ada", b"ADA", Err(Fault::Disagree)),
        ("as=A", b"%41", Err(Fault::Disagree)),
        // A marker that cannot be read is no marker that is missing.
        ("as=", b"7", Err(Fault::Empty)),
        ("as=7", b"", Err(Fault::Empty)),
        ("as=%ff", b"7", Err(Fault::Encoding)),
        ("as=7&as=7", b"7", Err(Fault::Repeated)),
    ];
    for (query, header, expected) in tests {
        let expected = expected.map(|subject| Some(subject.to_owned()));
        let found = subject(find(query, &[("act-as", header)]));
        assert_eq!(found, expected, "{query} {header:?}");
    }
}

#[test]
fn r5_a_marker_counts_as_in_the_url_whenever_the_url_has_it() {
    let in_url =
        |query, pairs: &[(&'static str, &[u8])]| find(query, pairs).unwrap().unwrap().in_url;
    assert!(in_url("as=7", &[]));
    assert!(in_url("as=7", &[("accept", b"*/*")]));
    assert!(in_url("as=7", &[("act-as", b"7")]));
    assert!(!in_url("q=1", &[("act-as", b"7")]));
}

#[test]
fn r3_a_marker_header_that_a_proxy_may_drop_is_refused() {
    struct Test {
        connection: &'static [&'static [u8]],
        refused: bool,
    }
    let tests = [
        Test {
            connection: &[b"act-as"],
            refused: true,
        },
        Test {
            connection: &[b"Act-As"],
            refused: true,
        },
        Test {
            connection: &[b"ACT-AS"],
            refused: true,
        },
        Test {
            connection: &[b"act-as-reason"],
            refused: true,
        },
        Test {
            connection: &[b"keep-alive, Act-As"],
            refused: true,
        },
        Test {
            connection: &[b"keep-alive,\tact-as ,close"],
            refused: true,
        },
        Test {
            connection: &[b",,act-as,,"],
            refused: true,
        },
        Test {
            connection: &[b"keep-alive", b"Act-As"],
            refused: true,
        },
        Test {
            connection: &[b"\xff, act-as"],
            refused: true,
        },
        Test {
            connection: &[b"keep-alive"],
            refused: false,
        },
        Test {
            connection: &[b"Upgrade"],
            refused: false,
        },
        Test {
            connection: &[b"keep-alive", b"close"],
            refused: false,
        },
        Test {
            connection: &[b"act-as-x, xact-as, act as"],
            refused: false,
        },
        Test {
            connection: &[b""],
            refused: false,
        },
    ];
    for Test {
        connection,
        refused,
    } in tests
    {
        let lines = connection.iter().map(|value| ("connection", *value));
        // The marker itself may be gone already: a proxy in front has done what it was told.
        for marker in [None, Some(("act-as", b"7".as_slice()))] {
            let pairs: Vec<_> = lines.clone().chain(marker).collect();
            let found = find("q=1", &pairs);
            let expected = if refused {
                Err(Fault::HopByHop)
            } else {
                Ok(marker.is_some())
            };
            assert_eq!(
                found.map(|marker| marker.is_some()),
                expected,
                "{connection:?}"
            );
        }
        let pairs: Vec<_> = lines.collect();
        assert_eq!(find("as=7", &pairs).is_err(), refused, "{connection:?}");
    }
}

#[test]
fn r3_a_reason_belongs_to_a_marker_and_is_one_text() {
    let longest = "é".repeat(500);
    type Test<'t> = (&'t str, &'t [&'t [u8]], Result<Option<&'t str>, Fault>);
    let tests: &[Test] = &[
        ("as=7", &[], Ok(None)),
        ("as=7", &[b"ticket 4711"], Ok(Some("ticket 4711"))),
        ("as=7", &[b"  ticket \t"], Ok(Some("ticket"))),
        ("as=7", &["für Inès".as_bytes()], Ok(Some("für Inès"))),
        ("as=7", &[longest.as_bytes()], Ok(Some(&longest))),
        ("as=7", &[b"a", b"a"], Err(Fault::Reason)),
        ("as=7", &[b"a", b""], Err(Fault::Reason)),
        ("as=7", &[b""], Err(Fault::Reason)),
        ("as=7", &[b" \t "], Err(Fault::Reason)),
        (
            "as=7",
            &[b"\xc2\x85\xc2\xa0\xe3\x80\x80"],
            Err(Fault::Reason),
        ),
        ("as=7", &[&[b'x'; 501]], Err(Fault::Reason)),
        ("as=7", &[b"\xff"], Err(Fault::Reason)),
        ("q=1", &[b"ticket 4711"], Err(Fault::FacetAlone)),
        ("q=1", &[b""], Err(Fault::FacetAlone)),
    ];
    for (query, reasons, expected) in tests {
        let pairs: Vec<_> = reasons
            .iter()
            .map(|value| ("act-as-reason", *value))
            .collect();
        let found = find(query, &pairs);
        let expected = expected.map(|reason| reason.map(str::to_owned));
        let reason = found.map(|marker| marker.and_then(|marker| marker.reason));
        assert_eq!(reason, expected, "{query} {reasons:.20?}");
    }
    let with_header = find("q=1", &[("act-as", b"7"), ("act-as-reason", b"why")]);
    assert_eq!(with_header.unwrap().unwrap().reason.as_deref(), Some("why"));
}

#[test]
fn r2_the_names_are_settings() {
    let name = HeaderName::from_static("x-behalf");
    let reason = HeaderName::from_static("x-behalf-reason");
    let sources = Sources::new(Some("on.behalf"), Some(name), reason);
    let find = |query, pairs: &[(&'static str, &[u8])]| {
        subject(sources.find(&uri(query), &headers(pairs)))
    };
    let seven = Ok(Some("7".to_owned()));

    assert_eq!(find("on.behalf=7", &[]), seven);
    assert_eq!(find("on%2Ebehalf=7", &[]), seven);
    assert_eq!(find("onxbehalf=7", &[]), Ok(None));
    assert_eq!(find("", &[("x-behalf", b"7")]), seven);
    assert_eq!(
        find("", &[("connection", b"X-Behalf")]),
        Err(Fault::HopByHop)
    );
    // The usual names mean nothing then.
    let usual: &[(&str, &[u8])] = &[
        ("act-as", b"8"),
        ("connection", b"act-as"),
        ("act-as-reason", b""),
    ];
    assert_eq!(find("as=8&as=9", usual), Ok(None));

    let mut uri = uri("as=8&on.behalf=7");
    let mut headers = headers(&[
        ("x-behalf", b"7"),
        ("x-behalf-reason", b"r"),
        ("act-as", b"8"),
    ]);
    strip(&sources, &mut uri, &mut headers);
    assert_eq!(uri, "/orders?as=8");
    assert_eq!(headers.keys().collect::<Vec<_>>(), ["act-as"]);
}

#[test]
fn r2_a_source_that_is_off_is_not_read() {
    let no_query = Sources::new(None, Some(ACT_AS), REASON);
    let mut marked = uri("as=7&as=8");
    let mut both = headers(&[("act-as", b"7")]);
    assert_eq!(no_query.find(&marked, &HeaderMap::new()), Ok(None));
    assert!(!no_query.find(&marked, &both).unwrap().unwrap().in_url);
    strip(&no_query, &mut marked, &mut both);
    assert_eq!(marked, uri("as=7&as=8"));
    assert_eq!(no_query.without_marker(&marked), marked);
    assert!(both.is_empty());

    let no_header = Sources::new(Some("as"), None, REASON);
    let mut marked = uri("as=7");
    let mut both = headers(&[
        ("act-as", b"8"),
        ("connection", b"act-as"),
        ("act-as-reason", b"r"),
    ]);
    let found = no_header.find(&marked, &both).unwrap().unwrap();
    assert_eq!(found.subject.as_str(), "7");
    assert_eq!(found.reason.as_deref(), Some("r"));
    strip(&no_header, &mut marked, &mut both);
    assert_eq!(marked, "/orders");
    // Not read, and taken out all the same: another layer further in might read it (rule R9).
    assert_eq!(both.keys().collect::<Vec<_>>(), ["connection"]);
    let hop = headers(&[("connection", b"act-as-reason")]);
    assert_eq!(no_header.find(&marked, &hop), Err(Fault::HopByHop));
}

#[test]
fn r9_the_whole_family_of_headers_is_taken_out() {
    let usual = [
        ("act-as", false),
        ("act-as-reason", false),
        ("act-as-scope", false),
        ("act_as", false),
        ("acted-as", false),
        ("impersonation-token", false),
        ("x-impersonation-token", false),
        ("act-assist", true),
        ("x-act-as", true),
        ("authorization", true),
        ("referer", true),
    ];
    for (name, stays) in usual {
        let mut headers = headers(&[(name, b"7"), (name, b"\xff")]);
        strip(&sources(), &mut uri("as=7"), &mut headers);
        assert_eq!(headers.contains_key(name), stays, "{name}");
    }
    let other = Sources::new(
        None,
        Some(HeaderName::from_static("x-behalf")),
        HeaderName::from_static("x-behalf-reason"),
    );
    let mut headers = headers(&[
        ("x-behalf-scope", b"7"),
        ("acted-as", b"7"),
        ("act-as-scope", b"7"),
    ]);
    strip(&other, &mut uri(""), &mut headers);
    assert_eq!(headers.keys().collect::<Vec<_>>(), ["act-as-scope"]);
}

#[test]
fn r9_every_marker_is_taken_out_and_nothing_else() {
    let tests = [
        ("/orders?as=7", "/orders"),
        ("/orders?as", "/orders"),
        ("/orders?%61s=7", "/orders"),
        ("/orders?as=7&as=8&%61%73", "/orders"),
        ("/orders?as=7&q=1", "/orders?q=1"),
        ("/orders?q=1&as=7", "/orders?q=1"),
        ("/orders?a=1&as=7&b=%2f+%zz&&c", "/orders?a=1&b=%2f+%zz&&c"),
        ("/orders?as=7&", "/orders?"),
        ("/orders?&as=7", "/orders?"),
        ("/orders?&&as=7&&", "/orders?&&&"),
        (
            "/or%64ers/as=7//x?as=7&q=as%3D7",
            "/or%64ers/as=7//x?q=as%3D7",
        ),
        ("/orders?class=x&last=1", "/orders?class=x&last=1"),
        ("/orders?%", "/orders?%"),
        ("/orders?", "/orders?"),
        ("/orders", "/orders"),
        ("/é?as=7&q=é", "/é?q=é"),
        ("/?as=7", "/"),
        ("//evil.example/?as=7", "//evil.example/"),
        (
            "http://shop.example/orders?as=7&q=1",
            "http://shop.example/orders?q=1",
        ),
        (
            "http://u:p@shop.example:81?as=7",
            "http://u:p@shop.example:81/",
        ),
        ("http://shop.example/as", "http://shop.example/as"),
        ("shop.example:443", "shop.example:443"),
        ("*", "*"),
    ];
    for (from, to) in tests {
        let from: Uri = from.parse().unwrap();
        let mut stripped = from.clone();
        strip(&sources(), &mut stripped, &mut HeaderMap::new());
        assert_eq!(stripped.to_string(), to, "{from}");
        assert_eq!(sources().without_marker(&from).to_string(), to, "{from}");
    }
    // A target that was built from its parts may start with the query.
    let bare = Uri::builder().path_and_query("?as=7&q=1").build();
    if let Ok(bare) = bare {
        assert_eq!(sources().without_marker(&bare).query(), Some("q=1"));
    }
}

#[test]
fn r9_every_header_of_the_family_is_taken_out_and_no_other() {
    let mut uri = uri("q=1");
    let mut headers = headers(&[
        ("act-as", b"7"),
        ("accept", b"*/*"),
        ("act-as", b"8"),
        ("act-as-reason", b"a"),
        ("act-as-reason", b"\xff"),
        ("acted-as", b"7"),
        ("cookie", b"a=1"),
        ("cookie", b"as=7"),
    ]);
    strip(&sources(), &mut uri, &mut headers);
    assert_eq!(uri, "/orders?q=1");
    let mut left: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    left.sort_unstable();
    let expected: [(_, &[u8]); 3] = [("accept", b"*/*"), ("cookie", b"a=1"), ("cookie", b"as=7")];
    assert_eq!(left, expected);
}

#[test]
fn r9_the_page_that_sent_the_request_is_named_without_its_marker() {
    let cases: [(&[u8], Option<&[u8]>); 8] = [
        (
            b"https://shop.example/orders?as=7",
            Some(b"https://shop.example/orders"),
        ),
        (
            b"https://shop.example/o?x=1&%61s=7&y=2",
            Some(b"https://shop.example/o?x=1&y=2"),
        ),
        (
            b"https://shop.example/o?has=7",
            Some(b"https://shop.example/o?has=7"),
        ),
        (b"https://shop.example/as", Some(b"https://shop.example/as")),
        (
            b"https://shop.example/\xff?x=1",
            Some(b"https://shop.example/\xff?x=1"),
        ),
        // A marker that cannot be taken out of what surrounds it.
        (b"https://shop.example/\xff?as=7", None),
        (b"https://shop.example/o?as=7&x=\xff", None),
        (b"?as=7", Some(b"")),
    ];
    for (sent, seen) in cases {
        let mut headers = headers(&[("referer", sent)]);
        strip(&sources(), &mut uri("q=1"), &mut headers);
        let left = headers.get("referer").map(HeaderValue::as_bytes);
        assert_eq!(left, seen, "{}", String::from_utf8_lossy(sent));
    }
}

/// One `key=value` of a query in any spelling, markers among them.
fn pair() -> impl Strategy<Value = String> {
    let odd = "[as%67153+=;?/é~.-]{0,6}";
    let key = prop_oneof![
        4 => prop_oneof![Just("as"), Just("%61s"), Just("a%73"), Just("%61%73")].prop_map(str::to_owned),
        2 => prop_oneof![Just("As"), Just("ass"), Just("%2561s"), Just("as%"), Just("%6as"), Just("%ff")]
            .prop_map(str::to_owned),
        4 => odd.prop_map(|key| key.replace('=', "")),
    ];
    let value = prop_oneof![
        prop_oneof![
            Just(""),
            Just("="),
            Just("=7"),
            Just("=~anon"),
            Just("=%ff"),
            Just("=%zz"),
            Just("=+")
        ]
        .prop_map(str::to_owned),
        odd.prop_map(|value| format!("={value}")),
    ];
    prop_oneof![1 => Just(String::new()), 9 => (key, value).prop_map(|(key, value)| key + &value)]
}

/// As any handler behind us decodes it.
fn decoded(query: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// One reading for the look-up, for the removal, and for whoever decodes the query behind us.
    #[test]
    fn r9_what_is_read_is_what_is_taken_out(pairs in prop::collection::vec(pair(), 0..8)) {
        let query = pairs.join("&");
        let marked = uri(&query);
        let is_marker = |pair: &&String| decoded(pair).first().is_some_and(|(key, _)| key == "as");
        let (markers, others): (Vec<_>, Vec<_>) = pairs.iter().partition(is_marker);

        let found = sources().find(&marked, &HeaderMap::new());
        match markers.len() {
            0 => prop_assert_eq!(&found, &Ok(None)),
            1 => prop_assert!(!matches!(found, Ok(None) | Err(Fault::Repeated)), "{:?}", found),
            _ => prop_assert_eq!(&found, &Err(Fault::Repeated)),
        }
        if let Ok(Some(marker)) = found {
            // Where we read a subject, WHATWG reads the same.
            let (_, value) = &decoded(markers[0])[0];
            prop_assert_eq!(marker.subject.as_str(), value.as_str());
        }

        let mut stripped = marked.clone();
        strip(&sources(), &mut stripped, &mut HeaderMap::new());
        prop_assert_eq!(&stripped, &sources().without_marker(&marked));
        prop_assert!(stripped.to_string().parse::<Uri>().is_ok());
        prop_assert_eq!(sources().find(&stripped, &HeaderMap::new()), Ok(None));
        prop_assert_eq!(stripped.path(), "/orders");
        let rest: Vec<_> = stripped.query().map_or(vec![], |query| query.split('&').collect());
        if markers.is_empty() {
            prop_assert_eq!(&stripped, &marked);
        } else {
            prop_assert_eq!(rest, others);
        }
        let mut expected = decoded(&query);
        expected.retain(|(key, _)| key != "as");
        prop_assert_eq!(decoded(sources().without_marker(&marked).query().unwrap_or("")), expected);
    }

    /// Whatever a client sends as its target, nothing panics and no marker is left.
    #[test]
    fn r9_no_target_breaks_the_removal(target in "[ -~é]{0,40}", prefix in prop_oneof![
        Just(""), Just("/"), Just("/?"), Just("http://a"), Just("http://a?"), Just("http://[::1]:8/?")
    ]) {
        if let Ok(marked) = format!("{prefix}{target}").parse::<Uri>() {
            let mut stripped = marked.clone();
            strip(&sources(), &mut stripped, &mut HeaderMap::new());
            prop_assert_eq!(sources().find(&stripped, &HeaderMap::new()), Ok(None));
            prop_assert_eq!(stripped.path(), marked.path());
            prop_assert_eq!(stripped.authority(), marked.authority());
            prop_assert_eq!(stripped.scheme(), marked.scheme());
        }
    }
}
