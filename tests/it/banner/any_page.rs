//! Any page at all comes out as it went in but for the banner, however it is cut into chunks and however long it is.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};
use tower_impersonation_web::page as with_banner;

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use proptest::prelude::*;

use super::{acting_desk, answer, html, ours};
use crate::support::get;

/// Parts of pages, good and bad.
const PARTS: &[&[u8]] = &[
    b"<!doctype html>",
    b"<html>",
    b"<HTML lang=en>",
    b"<head>",
    b"</head>",
    b"<Body>",
    b"<body class=\"a>b\">",
    b"</body>",
    b"</html>",
    b"<title><body></title>",
    b"<title>",
    b"</title>",
    b"<script>let a = '<body>';</script>",
    b"<script><!-- <script> </script>",
    b"</script>",
    b"<style>p > a { }</style>",
    b"<!-- <body> -->",
    b"<!--",
    b"-->",
    b"<!---->",
    b"<!-->",
    b"<![CDATA[<body>]]>",
    b"<textarea><body></textarea>",
    b"<textarea>",
    b"<plaintext>",
    b"<template><div>",
    b"</template>",
    b"<noscript><img></noscript>",
    b"<svg><title><p></svg>",
    b"<math><mi>",
    b"<table><tr>",
    b"<select><option>",
    b"<frameset>",
    b"<iframe><body></iframe>",
    b"<xmp><body></xmp>",
    b"<p>",
    b"</p>",
    b"<br/>",
    b"<a href='x>y' b=\"'\" c>",
    b"<a href=",
    b"<body class=",
    b"<head ",
    b"'",
    b"\"",
    b">",
    b"<",
    b"</",
    b"<!",
    b"<?php ?>",
    b"&amp;",
    b"\0",
    b"\r\n",
    b"text ",
    b"\xe9\x80",
    b"\x83\x5c",
    b"\xff",
    b"\xf0\x9f\x98\x80",
    b"<\xc3\xa9>",
    b"<meta charset=x>",
    b"<link rel=a>",
];

fn any_page() -> impl Strategy<Value = (Vec<u8>, Vec<usize>)> {
    let part = prop_oneof![
        8 => proptest::sample::select(PARTS).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>().prop_filter("no mark", |byte| *byte < 0xfe), 0..8),
    ];
    let page = proptest::collection::vec(part, 0..40).prop_map(|parts| parts.concat());
    (page, proptest::collection::vec(1_usize..40, 1..20))
}

#[test]
fn a_thousand_pages_come_out_as_they_went_in_but_for_the_banner() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let desk = runtime.block_on(acting_desk());
    let (head, banner) = runtime.block_on(ours(&desk));
    let found = std::cell::Cell::new(0);
    let mut runner = proptest::test_runner::TestRunner::new(proptest::test_runner::Config {
        cases: 1_000,
        failure_persistence: None,
        ..Default::default()
    });
    let run = runner.run(&any_page(), |(page, sizes)| {
        let mut chunks = VecDeque::new();
        let mut rest = &*page;
        for size in sizes.iter().cycle() {
            let (chunk, behind) = rest.split_at((*size).min(rest.len()));
            rest = behind;
            chunks.push_back(Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(
                chunk,
            ))));
            if rest.is_empty() {
                break;
            }
        }
        let response = html("").map(|_| Chunks(chunks));
        let shown = runtime.block_on(async {
            let response = answer(
                &desk,
                with_banner(&desk.handle),
                get("ada", "/?as=ines"),
                response,
            )
            .await;
            response.into_body().collect().await.unwrap().to_bytes()
        });
        let (heads, shown) = without(&shown, head.as_bytes());
        let (banners, shown) = without(&shown, banner.as_bytes());
        prop_assert!(heads <= 1 && banners <= 1);
        prop_assert!(shown == page, "other bytes");
        found.set(found.get() + banners);
        Ok(())
    });
    run.unwrap();
    // Most of them are pages that people see.
    assert!(found.get() > 500, "{} have a banner", found.get());
}

struct Chunks(VecDeque<Result<Frame<Bytes>, Infallible>>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front())
    }
}

/// How often it is in there, and the rest.
fn without(bytes: &[u8], part: &[u8]) -> (usize, Vec<u8>) {
    let mut rest = Vec::with_capacity(bytes.len());
    let (mut at, mut found) = (0, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(part) {
            found += 1;
            at += part.len();
        } else {
            rest.push(bytes[at]);
            at += 1;
        }
    }
    (found, rest)
}

#[tokio::test]
async fn a_hundred_megabytes_come_through_unchanged() {
    use std::hash::{DefaultHasher, Hasher as _};

    const PARTS: usize = 1_600;
    let desk = acting_desk().await;
    let (head, banner) = ours(&desk).await;
    let part = Bytes::from("<p>some text, and <b>more</b> of it</p>\n".repeat(1_640));
    let start = Bytes::from("<html><head></head><body>");
    let chunks = std::iter::once(start).chain(std::iter::repeat_n(part.clone(), PARTS));
    let chunks: VecDeque<_> = chunks.map(|chunk| Ok(Frame::data(chunk))).collect();
    let mut expected = DefaultHasher::new();
    expected.write(format!("<html><head>{head}</head><body>{banner}").as_bytes());
    (0..PARTS).for_each(|_| expected.write(&part));

    let response = html("").map(|_| Chunks(chunks));
    let response = answer(
        &desk,
        with_banner(&desk.handle),
        get("ada", "/?as=ines"),
        response,
    )
    .await;
    let mut body = response.into_body();
    let (mut hash, mut length, mut copied) = (DefaultHasher::new(), 0, 0);
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        hash.write(&data);
        length += data.len();
        copied += usize::from(data.len() == part.len() && data.as_ptr() != part.as_ptr());
    }
    assert!(length > 100_000_000, "{length}");
    assert_eq!(hash.finish(), expected.finish());
    // They are not even copied: the same memory goes on.
    assert_eq!(copied, 0);
}
