//! Where the banner stands, that nothing else changes, and how much is kept: on bytes alone. What a whole request sees is
//! in the tests of the whole.

use bytes::Bytes;

use crate::page::{
    insert::{Inserter, Insertion, Unit},
    scan::{LONGEST_TAG, Outcome, Which},
};

const HEAD: &str = "[HEAD]";
const BANNER: &str = "[BANNER]";

fn insertion(which: Which) -> Insertion {
    Insertion {
        head: HEAD.to_owned(),
        banner: BANNER.to_owned(),
        which,
        is_xml: false,
        declared: Unit::Byte,
    }
}

/// The page in these chunks, with what was put in, and how that went.
fn inserted<'a>(
    insertion: Insertion,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<u8>, Option<Outcome>) {
    let mut inserter = Inserter::new(insertion);
    let mut out = Vec::new();
    let mut take = |inserter: &mut Inserter| {
        while let Some(bytes) = inserter.next() {
            out.extend_from_slice(&bytes);
        }
    };
    for chunk in chunks {
        inserter.write(Bytes::copy_from_slice(chunk));
        take(&mut inserter);
    }
    inserter.end();
    take(&mut inserter);
    assert!(inserter.is_done());
    assert_eq!(inserter.held(), 0);
    (out, inserter.outcome())
}

/// In one piece, in bytes, and cut in two everywhere: always the same.
fn shown(insertion: &Insertion, page: &[u8]) -> (Vec<u8>, Option<Outcome>) {
    let whole = inserted(insertion.clone(), [page]);
    let in_bytes = inserted(insertion.clone(), page.chunks(1));
    assert_eq!(in_bytes, whole, "{:?}", String::from_utf8_lossy(page));
    for at in 0..page.len() {
        let cut = inserted(insertion.clone(), [&page[..at], &page[at..]]);
        assert_eq!(
            cut,
            whole,
            "{:?} cut at {at}",
            String::from_utf8_lossy(page)
        );
    }
    whole
}

fn as_text((bytes, outcome): (Vec<u8>, Option<Outcome>)) -> (String, Option<Outcome>) {
    (String::from_utf8(bytes).unwrap(), outcome)
}

#[test]
fn the_banner_stands_where_people_see_it() {
    struct Test {
        page: &'static str,
        shown: &'static str,
    }
    let tests = [
        Test {
            page: "<!doctype html><html><head><title>x</title></head><body class=a><p>x</body></html>",
            shown: "<!doctype html><html><head>[HEAD]<title>x</title></head><body class=a>[BANNER]<p>x</body></html>",
        },
        // Upper case, attributes that hold `>`, and no quotes.
        Test {
            page: "<HTML><HEAD DATA-X='>'><META CHARSET=x></HEAD><BODY TITLE=\"a > b\" onload=f()>x",
            shown: "<HTML><HEAD DATA-X='>'>[HEAD]<META CHARSET=x></HEAD><BODY TITLE=\"a > b\" onload=f()>[BANNER]x",
        },
        // Tags that are none.
        Test {
            page: "<head><title><body></title><script>'<body>'</script><style><body></style><!-- <body> --><noscript><img></noscript></head><body>x",
            shown: "<head>[HEAD]<title><body></title><script>'<body>'</script><style><body></style><!-- <body> --><noscript><img></noscript></head><body>[BANNER]x",
        },
        Test {
            page: "<script><!--<script></script><body>--></script><body>",
            shown: "<script><!--<script></script><body>--></script><body>[HEAD][BANNER]",
        },
        // A template's content is no part of the page.
        Test {
            page: "<head><template><body><div><template><p></template></div></template></head><body>x",
            shown: "<head>[HEAD]<template><body><div><template><p></template></div></template></head><body>[BANNER]x",
        },
        // Without a body's tag, or a head's.
        Test {
            page: "<!doctype html><title>x</title><link rel=a><h1>x</h1><p>y",
            shown: "<!doctype html><title>x</title><link rel=a>[HEAD][BANNER]<h1>x</h1><p>y",
        },
        Test {
            page: "<head></head><div>x</div><body>y",
            shown: "<head>[HEAD]</head>[BANNER]<div>x</div><body>y",
        },
        Test {
            page: "<textarea><body></textarea><body>",
            shown: "[HEAD][BANNER]<textarea><body></textarea><body>",
        },
        Test {
            page: "<plaintext><body></plaintext>",
            shown: "[HEAD][BANNER]<plaintext><body></plaintext>",
        },
        Test {
            page: "<svg><![CDATA[<body>]]></svg><body>",
            shown: "[HEAD][BANNER]<svg><![CDATA[<body>]]></svg><body>",
        },
        // Nothing but text, or nothing at all.
        Test {
            page: "hello, world",
            shown: "hello, world[HEAD][BANNER]",
        },
        Test {
            page: "<html><head></head></html>",
            shown: "<html><head>[HEAD]</head></html>[BANNER]",
        },
        Test {
            page: "",
            shown: "[HEAD][BANNER]",
        },
        Test {
            page: "a < b </p",
            shown: "a < b </p",
        },
    ];
    for test in tests {
        let (shown, outcome) = as_text(shown(&insertion(Which::Any), test.page.as_bytes()));
        assert_eq!(shown, test.shown, "{}", test.page);
        let is_placed = test.shown.contains(BANNER);
        assert_eq!(outcome == Some(Outcome::Placed), is_placed, "{}", test.page);
    }
}

#[test]
fn a_page_that_shows_nothing_stays_as_it_is_and_says_so() {
    let tests = [
        ("<title>never closed", Outcome::NoPlace),
        ("<!-- never closed <body>", Outcome::NoPlace),
        ("<script>'<body>'", Outcome::NoPlace),
        ("<template><body>", Outcome::NoPlace),
        ("<a href='", Outcome::NoPlace),
        ("<a href=", Outcome::NoPlace),
        ("<body class=", Outcome::NoPlace),
        ("<bod", Outcome::NoPlace),
        ("<title>x</titl", Outcome::NoPlace),
        (
            "<frameset><frame src=a><noframes><body>x</body></noframes></frameset>",
            Outcome::NotAPage,
        ),
        ("<meta charset=ISO-2022-JP><body>x", Outcome::Charset),
        (
            "<meta http-equiv=content-type content='text/html; charset=iso-2022-jp'><body>x",
            Outcome::Charset,
        ),
    ];
    for (page, why) in tests {
        let (shown, outcome) = as_text(shown(&insertion(Which::Any), page.as_bytes()));
        assert_eq!((&*shown, outcome), (page, Some(why)));
    }
}

#[test]
fn what_a_script_fetches_gets_a_banner_only_as_a_whole_document() {
    let tests = [
        ("<tr><td>x</td></tr>", "<tr><td>x</td></tr>"),
        ("<title>x</title><li>x", "<title>x</title><li>x"),
        ("text", "text"),
        ("", ""),
        ("<div><body>", "<div><body>"),
        ("<body>x", "<body>[HEAD][BANNER]x"),
        (
            "<html><head></head><p>x",
            "<html><head>[HEAD]</head>[BANNER]<p>x",
        ),
        ("<html><p>x", "<html>[HEAD][BANNER]<p>x"),
        ("<html>text", "<html>text[HEAD][BANNER]"),
    ];
    for (page, expected) in tests {
        let (shown, outcome) = as_text(shown(&insertion(Which::Whole), page.as_bytes()));
        assert_eq!(shown, expected);
        let is_placed = expected.contains(BANNER);
        let expected = if is_placed {
            Outcome::Placed
        } else {
            Outcome::NotAPage
        };
        assert_eq!(outcome, Some(expected), "{page}");
    }
}

#[test]
fn xhtml_is_read_as_xml() {
    let tests = [
        (
            "<?xml version='1.0'?><!DOCTYPE html [<!ENTITY x \"]>\">]><html xmlns='h'><head><script src='x'/><title/></head><body a='/>'>x</body></html>",
            "<?xml version='1.0'?><!DOCTYPE html [<!ENTITY x \"]>\">]><html xmlns='h'><head>[HEAD]<script src='x'/><title/></head><body a='/>'>[BANNER]x</body></html>",
        ),
        (
            "<html><head/><!-- <body> --- --><?x <body>?><body ><![CDATA[<body>]]]></body></html>",
            "<html><head/><!-- <body> --- --><?x <body>?><body >[HEAD][BANNER]<![CDATA[<body>]]]></body></html>",
        ),
        (
            "<h:html><h:head><style><![CDATA[<body>]]]></style></h:head><h:body>x</h:body></h:html>",
            "<h:html><h:head>[HEAD]<style><![CDATA[<body>]]]></style></h:head><h:body>[BANNER]x</h:body></h:html>",
        ),
        // Only the document's own.
        (
            "<html><x><body>a</body></x></html>",
            "<html><x><body>a</body></x></html>",
        ),
        // Nothing may stand behind the root.
        ("<html><body/></html>", "<html><body/></html>"),
        ("<html><frameset/></html>", "<html><frameset/></html>"),
    ];
    for (page, expected) in tests {
        let mut xml = insertion(Which::Any);
        xml.is_xml = true;
        let (shown, outcome) = as_text(shown(&xml, page.as_bytes()));
        assert_eq!(shown, expected);
        assert_eq!(
            outcome == Some(Outcome::Placed),
            expected.contains(BANNER),
            "{page}"
        );
    }
}

#[test]
fn utf_16_gets_it_in_utf_16() {
    fn little(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }
    fn big(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_be_bytes).collect()
    }
    // Both bytes of `㰼` are `<`, and those of `𠀼` hold some.
    let page = "<html><head><title>㰼body㸾𠀼</title></head><body>㰼é";
    let expected = "<html><head>[HEAD]<title>㰼body㸾𠀼</title></head><body>[BANNER]㰼é";
    type Encode = fn(&str) -> Vec<u8>;
    let tests: [(Encode, Unit); 2] = [(little, Unit::Utf16Le), (big, Unit::Utf16Be)];
    for (encode, unit) in tests {
        let mut declared = insertion(Which::Any);
        declared.declared = unit;
        let (bytes, _) = shown(&declared, &encode(page));
        assert!(bytes == encode(expected), "{unit:?} as declared");
        let marked = |text: &str| encode(&format!("\u{feff}{text}"));
        let (bytes, _) = shown(&insertion(Which::Any), &marked(page));
        assert!(bytes == marked(expected), "{unit:?} by its mark");
        // Half a letter at the end is not ours to judge.
        let mut half = encode(page);
        half.push(b'x');
        let (bytes, _) = shown(&declared, &half);
        assert_eq!(bytes.last(), Some(&b'x'));
    }
    // The mark is stronger than what is declared, also UTF-8's.
    let mut declared = insertion(Which::Any);
    declared.declared = Unit::Utf16Le;
    let (shown, _) = as_text(shown(&declared, "\u{feff}<body>x".as_bytes()));
    assert_eq!(shown, "\u{feff}<body>[HEAD][BANNER]x");
}

#[test]
fn other_charsets_keep_their_bytes() {
    let pages: [&[u8]; 4] = [
        // windows-1252, Shift_JIS with `\` as a second byte, Big5, and bytes that are nothing.
        b"<title>caf\xe9 \x80</title><body title='\xdf'>\xfc",
        b"<title>\x83\\\x95\\</title><body>\x83\x5c\x8e\x41",
        b"<title>\xa4\x7c\xb3\x5c</title><body>\xa4\x40",
        b"<title>\xff\xfe\xc3\x28\xf0\x9f</title><body \xff=\xc0>\xed\xa0\x80",
    ];
    for page in pages {
        let (bytes, outcome) = shown(&insertion(Which::Any), page);
        assert_eq!(outcome, Some(Outcome::Placed));
        let at = page.windows(5).position(|part| part == b"<body").unwrap();
        let end = at + page[at..].iter().position(|byte| *byte == b'>').unwrap() + 1;
        let expected = [&page[..end], b"[HEAD][BANNER]", &page[end..]].concat();
        assert_eq!(bytes, expected);
    }
}

#[test]
fn everything_before_an_incomplete_tag_goes_on_at_once() {
    let mut inserter = Inserter::new(insertion(Which::Any));
    let mut write = |text: &'static str| {
        inserter.write(Bytes::from_static(text.as_bytes()));
        let mut out = Vec::new();
        while let Some(bytes) = inserter.next() {
            out.extend_from_slice(&bytes);
        }
        String::from_utf8(out).unwrap()
    };
    assert_eq!(write("<!doctype html><html><he"), "<!doctype html><html>");
    assert_eq!(write("ad><title>a"), "<head>[HEAD]<title>a");
    assert_eq!(write("b<"), "b");
    assert_eq!(write("c</title><!-- d"), "<c</title><!-- d");
    assert_eq!(write("e --><bo"), "e -->");
    assert_eq!(write("dy class='"), "");
    assert_eq!(write("'>f<p"), "<body class=''>[BANNER]f<p");
    // From here on nothing is looked at.
    assert_eq!(write("<"), "<");
}

#[test]
fn a_hundred_megabytes_are_never_held() {
    const CHUNK: usize = 64 * 1024;
    let pages: [(&[u8], &[u8]); 4] = [
        (b"<html><body>", b"<p>some <b>text</b> and more</p>"),
        // The body's tag does not come: head, comment and text go on for ever.
        (b"<html><head><script>", b"let x = '<body>'; // more\n"),
        (b"<html><!--", b" <body> a comment - without -- an end"),
        (b"", b"only text, & more of it > "),
    ];
    for (start, part) in pages {
        let mut inserter = Inserter::new(insertion(Which::Any));
        let filler: Vec<u8> = part.iter().copied().cycle().take(CHUNK).collect();
        let chunk = Bytes::from(filler);
        let (mut given, mut most) = (0, 0);
        inserter.write(Bytes::copy_from_slice(start));
        for _ in 0..100 * 1024 * 1024 / CHUNK {
            inserter.write(chunk.clone());
            while let Some(bytes) = inserter.next() {
                given += bytes.len();
            }
            most = most.max(inserter.held());
        }
        assert!(most < 64, "{most} bytes held");
        assert!(given >= 100 * 1024 * 1024, "{given} bytes given");
    }
}

#[test]
fn a_tag_that_is_too_long_goes_on_and_nothing_is_lost() {
    let mut page = b"<html><head><meta content='".to_vec();
    page.resize(LONGEST_TAG + 100_000, b'x');
    page.extend_from_slice(b"'></head><body>text</body>");
    for size in [1000, 64 * 1024, page.len()] {
        let (shown, outcome) = inserted(insertion(Which::Any), page.chunks(size));
        if outcome == Some(Outcome::Placed) {
            // It was there in one piece, and had not to be kept.
            assert_eq!(size, page.len());
            continue;
        }
        assert_eq!(outcome, Some(Outcome::TooLong), "in chunks of {size}");
        let without: Vec<u8> = String::from_utf8(shown)
            .unwrap()
            .replacen(HEAD, "", 1)
            .into();
        assert!(without == page, "in chunks of {size}");
    }
    // And a long one that is not too long has its banner, however small the pieces are.
    let mut page = b"<link href='data:".to_vec();
    page.resize(LONGEST_TAG / 2, b'x');
    page.extend_from_slice(b"'><body>text");
    for size in [1, 10_000] {
        let (_, outcome) = inserted(insertion(Which::Any), page.chunks(size));
        assert_eq!(outcome, Some(Outcome::Placed));
    }
}
