//! The acting cookie through the layer (rules R2, R5, B11).
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;

use http::header::{ACCEPT, COOKIE};
use tower::{Layer, ServiceExt, service_fn};

use super::*;
use crate::{
    Access, Actor, Caller, Decision, DirectoryUser, Grant, Impersonation, MemoryDirectory, Rank,
    StartRequest,
    audit::MemorySink,
    checker_fn,
    session::MemorySessions,
    token::{Tokens, jsonwebtoken},
};

/// Ada at work, acting as Ines, with the cookie that she was given.
async fn ada() -> (Impersonation, Parts, String) {
    // Another test may have been first.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let ada = Actor::new("ada".parse().unwrap(), Rank(20));
    let checker = checker_fn(
        move |_| Caller::Admin(ada.clone()),
        |_, _, _| Decision::Allow(Grant::read_write()),
    );
    let users = MemoryDirectory::default();
    users.insert(DirectoryUser::new("ines".parse().unwrap(), Rank(0)));
    let impersonation = Impersonation::builder(checker, MemorySink::default())
        .directory(users)
        .sessions(MemorySessions::new())
        .tokens(Tokens::hs256("https://shop.example", "shop", "k1", &[7; 32]).cookie())
        .exclude("/assets")
        .handlers_read_acting_as()
        .build()
        .unwrap();
    let (parts, ()) = Request::new(()).into_parts();
    let start = StartRequest::new("ines".parse().unwrap(), "ticket 1");
    let start = start.with_access(Access::ReadWrite);
    let started = impersonation.start(&parts, start).await.unwrap();
    let handed_out = impersonation.hand_out(&started).await.unwrap();
    let cookie = std::str::from_utf8(handed_out.cookies[0].as_bytes()).unwrap();
    let cookie = cookie.split_once(';').unwrap().0.to_owned();
    (impersonation, parts, cookie)
}

async fn send(
    impersonation: &Impersonation,
    method: &str,
    path: &str,
    headers: &[(HeaderName, &[u8])],
) -> Response<String> {
    let says_who = service_fn(|request: Request<()>| async move {
        let acting_as = request.extensions().get::<ActingAs>();
        let who = acting_as.map_or("ada".to_owned(), |it| it.subject().to_string());
        Ok::<_, Infallible>(Response::new(who))
    });
    let mut request = Request::new(());
    *request.method_mut() = method.parse().unwrap();
    *request.uri_mut() = path.parse().unwrap();
    for (name, value) in headers {
        let value = HeaderValue::from_bytes(value).unwrap();
        request.headers_mut().append(name, value);
    }
    let (parts, body) = impersonation
        .layer()
        .layer(says_who)
        .oneshot(request)
        .await
        .unwrap()
        .into_parts();
    let body = http_body_util::BodyExt::collect(body).await.unwrap();
    let body = String::from_utf8(body.to_bytes().to_vec()).unwrap();
    Response::from_parts(parts, body)
}

fn kind_of(response: &Response<String>) -> Option<RejectionKind> {
    response
        .extensions()
        .get::<Rejection>()
        .map(Rejection::kind)
}

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const ORIGIN: HeaderName = http::header::ORIGIN;
const HOST: HeaderName = http::header::HOST;

#[tokio::test]
async fn r2_a_byte_in_another_cookie_does_not_make_a_request_the_actors() {
    let (impersonation, _, cookie) = ada().await;
    let cookie = cookie.as_bytes();
    let beside = [b"theme=caf\xe9; ", cookie].concat();
    let acted = send(&impersonation, "POST", "/orders", &[(COOKIE, &beside)]).await;
    assert_eq!(acted.body(), "ines");

    let unreadable = [cookie, b"\xff"].concat();
    let twice = [cookie, b"; a=\xff; ", cookie].concat();
    for cookies in [&unreadable, &twice] {
        let refused = send(&impersonation, "POST", "/orders", &[(COOKIE, cookies)]).await;
        assert_eq!(kind_of(&refused), Some(RejectionKind::MalformedMarker));
        // Or the browser would be refused until it forgets.
        assert!(refused.headers().contains_key(SET_COOKIE));
    }
}

#[tokio::test]
async fn r5_another_site_never_acts_by_the_cookie() {
    let (impersonation, _, cookie) = ada().await;
    let cookie = (COOKIE, cookie.as_bytes());
    type Headers<'a> = &'a [(HeaderName, &'a [u8])];
    let tests: [(&str, Headers<'_>, bool); 9] = [
        ("GET", &[(SITE, b"cross-site")], false),
        ("GET", &[(SITE, b"same-site")], false),
        ("POST", &[(SITE, b"cross-site")], false),
        (
            "POST",
            &[(HOST, b"shop.example"), (ORIGIN, b"https://evil.example")],
            false,
        ),
        ("POST", &[(HOST, b"shop.example"), (ORIGIN, b"null")], false),
        (
            "POST",
            &[(HOST, b"shop.example"), (ORIGIN, b"https://shop.example")],
            true,
        ),
        ("POST", &[(SITE, b"same-origin")], true),
        ("GET", &[(SITE, b"none")], true),
        ("POST", &[], true),
    ];
    for (method, headers, acts) in tests {
        let all = [headers, std::slice::from_ref(&cookie)].concat();
        let response = send(&impersonation, method, "/orders", &all).await;
        if acts {
            assert_eq!(response.body(), "ines", "{method} {headers:?}");
        } else {
            assert_eq!(
                kind_of(&response),
                Some(RejectionKind::CrossSite),
                "{method} {headers:?}"
            );
            assert!(
                !response.headers().contains_key(SET_COOKIE),
                "{method} {headers:?}"
            );
        }
        // Excluded paths are the actor's own.
        let own = send(&impersonation, method, "/assets/x", &all).await;
        assert_eq!(own.body(), "ada", "{method} {headers:?}");
    }
}

#[tokio::test]
async fn b11_a_page_from_elsewhere_is_asked_first_and_offers_no_way_that_is_none() {
    let (impersonation, _, cookie) = ada().await;
    let link = [
        (COOKIE, cookie.as_bytes()),
        (SITE, b"cross-site"),
        (MODE, b"navigate"),
        (DEST, b"document"),
    ];
    let page = send(&impersonation, "GET", "/orders?q=1", &link).await;
    assert_eq!(kind_of(&page), Some(RejectionKind::CrossSite));
    assert!(
        page.body()
            .contains("<a href=\"/orders?q=1\">Continue acting as this user</a>")
    );
    // The cookie would be there again.
    assert!(
        !page.body().contains("Continue as yourself"),
        "{}",
        page.body()
    );
}

#[tokio::test]
async fn b11_a_stale_cookie_is_refused_until_a_person_was_told() {
    let (impersonation, parts, cookie) = ada().await;
    impersonation.stop(&parts).await.unwrap();
    let cookie = (COOKIE, cookie.as_bytes());
    type Headers<'a> = &'a [(HeaderName, &'a [u8])];
    let tests: [(&str, Headers<'_>, bool); 8] = [
        ("POST", &[(MODE, b"cors")], false),
        ("GET", &[(MODE, b"no-cors")], false),
        ("GET", &[(MODE, b"navigate"), (DEST, b"iframe")], false),
        (
            "GET",
            &[
                (MODE, b"navigate"),
                (HeaderName::from_static("sec-purpose"), b"prefetch"),
            ],
            false,
        ),
        ("GET", &[(ACCEPT, b"application/json")], false),
        ("GET", &[(ACCEPT, b"text/html,*/*;q=0.8")], true),
        ("GET", &[(MODE, b"navigate"), (DEST, b"document")], true),
        ("POST", &[(MODE, b"navigate")], true),
    ];
    for (method, headers, is_taken) in tests {
        let all = [headers, std::slice::from_ref(&cookie)].concat();
        let refused = send(&impersonation, method, "/orders", &all).await;
        assert_eq!(
            kind_of(&refused),
            Some(RejectionKind::InvalidToken),
            "{method} {headers:?}"
        );
        let cleared = refused.headers().get(SET_COOKIE).map(HeaderValue::as_bytes);
        let expected = b"__Host-impersonation=; HttpOnly; Secure; SameSite=Lax; Path=/; Max-Age=0";
        assert_eq!(
            cleared,
            is_taken.then_some(&expected[..]),
            "{method} {headers:?}"
        );
    }
}
