//! B10: what the banner says and where it stands; names in it are text, and nothing is inline.

use http::{HeaderValue, header};
use tower_impersonation::{DirectoryUser, Rank};
use tower_impersonation_web::page as with_banner;
use tower_impersonation_web::page::Wording;

use super::{PAGE, acting_desk, answer, at_path, html, ours, shown, text};
use crate::support::{ADMIN, MINUTE, desk_with, get, id, sessionless, with};

#[tokio::test]
async fn the_banner_says_who_by_whom_how_far_and_until_when_and_leads_out() {
    let desk = desk_with(at_path);
    desk.cast.users.insert(
        DirectoryUser::new(id("ines"), Rank(0))
            .with_login("ines@shop.example")
            .with_display_name("Inés López"),
    );
    let session = desk.start("sam", "ines").await.unwrap().session;
    // What is left is rounded up: nothing is over before it is.
    desk.clock
        .advance(MINUTE / 2 + std::time::Duration::from_millis(400));

    let response = answer(
        &desk,
        with_banner(&desk.handle),
        get("sam", "/orders?as=ines"),
        html("<body>|"),
    );
    let page = text(response.await).await;
    let (_, banner) = page.split_once("</script>").unwrap();
    let expected = format!(
        "<aside class=\"impersonation-banner\" data-impersonation-banner=\"\" role=\"region\" \
         aria-label=\"Impersonation\" lang=\"en\" dir=\"ltr\"><div class=\"impersonation-banner-bar\">\
         <p class=\"impersonation-banner-who\"><span class=\"impersonation-banner-as\">Acting as \
         <bdi class=\"impersonation-banner-name\" title=\"In&#xE9;s L&#xF3;pez\">In&#xE9;s L&#xF3;pez</bdi></span> \
         <bdi class=\"impersonation-banner-login\" title=\"ines@shop.example\">ines@shop.example</bdi></p> \
         <p class=\"impersonation-banner-facts\">\
         <span class=\"impersonation-banner-access impersonation-banner-read-only\">read-only</span> \
         <span class=\"impersonation-banner-actor\">signed in as <bdi>sam</bdi></span> \
         <span class=\"impersonation-banner-until\">until <time datetime=\"2026-11-20T12:30:00Z\">12:30 UTC</time></span> \
         <span class=\"impersonation-banner-left\" data-impersonation-left=\"1770\" \
         data-impersonation-format=\"{{time}} left\" data-impersonation-over=\"This session is over.\">29 min left</span></p> \
         <form class=\"impersonation-banner-form\" method=\"post\" action=\"/impersonation/end\">\
         <input type=\"hidden\" name=\"session_id\" value=\"{}\"/>\
         <button class=\"impersonation-banner-exit\" type=\"submit\">Exit</button></form></div></aside>|",
        session.id
    );
    assert_eq!(banner, expected);
}

#[tokio::test]
async fn the_banner_names_those_who_are_no_users_and_writing_access() {
    let desk = acting_desk().await;
    let (_, banner) = ours(&desk).await;
    assert!(
        banner.contains("impersonation-banner-read-write\">read and write<"),
        "{banner}"
    );

    // No session, so there is nothing to end: the way out is the page without the marker.
    let alone = sessionless(|builder| builder.control_path("/impersonation"));
    let cases = [
        (
            "/a?as=~anon&b=1",
            ">an anonymous visitor</bdi>",
            "href=\"/a?b=1\"",
        ),
        ("/a?as=~service", ">the service role</bdi>", "href=\"/a\""),
        // No other host, whatever the path looks like.
        (
            "//evil.example/?as=ines",
            ">ines</bdi>",
            "href=\"/evil.example/\"",
        ),
    ];
    for (target, who, link) in cases {
        let page = answer(
            &alone,
            with_banner(&alone.handle),
            get("root", target),
            html(PAGE),
        )
        .await;
        let page = text(page).await;
        assert!(page.contains(who), "{page}");
        assert!(
            page.contains(&format!("rel=\"noreferrer\" {link}")),
            "{page}"
        );
        assert!(!page.contains("<form"), "{page}");
        assert!(!page.contains("data-impersonation-left"), "{page}");
    }
}

#[tokio::test]
async fn style_and_script_stand_first_in_the_head_and_say_where_the_marker_goes() {
    let desk = acting_desk().await;
    let (head, _) = ours(&desk).await;
    let (style, script) = head.split_once("/>").unwrap();
    let version = style
        .strip_prefix("<link rel=\"stylesheet\" href=\"/impersonation/page.css?v=")
        .and_then(|rest| rest.strip_suffix('"'));
    assert_eq!(version.unwrap().len(), 16, "{style}");
    assert!(
        script.starts_with("<script src=\"/impersonation/page.js?v="),
        "{script}"
    );
    let attributes =
        "\" data-parameter=\"as\" data-header=\"act-as\" data-subject=\"ines\"></script>";
    assert!(script.ends_with(attributes), "{script}");

    let sources = [
        (
            desk_with(|builder| at_path(builder).without_header().query_parameter("u")),
            "/?u=ines",
            "data-parameter=\"u\" data-subject=\"ines\"",
        ),
        (
            desk_with(|builder| at_path(builder).without_query_parameter()),
            "/",
            "data-header=\"act-as\" data-subject=\"ines\"",
        ),
        (
            desk_with(|builder| at_path(builder).without_header().sticky_marker()),
            "/?as=ines",
            "data-parameter=\"as\" data-subject=\"ines\" data-sticky=\"\"",
        ),
    ];
    for (desk, target, expected) in sources {
        desk.start("ada", "ines").await.unwrap();
        let mut request = get("ada", target);
        if target == "/" {
            request = with(request, &[("act-as", "ines")]);
        }
        let page = text(answer(&desk, with_banner(&desk.handle), request, html(PAGE)).await).await;
        assert!(page.contains(&format!(" {expected}></script>")), "{page}");
    }

    // Without a control path there is nothing to load; the banner reads and leads out all the same.
    let desk = desk_with(|b| b);
    desk.start("ada", "ines").await.unwrap();
    let page = shown(&desk, with_banner(&desk.handle), PAGE).await;
    assert!(
        !page.contains("<link") && !page.contains("<script"),
        "{page}"
    );
    assert!(
        page.contains(
            "<a class=\"impersonation-banner-exit\" rel=\"noreferrer\" href=\"/orders\">"
        )
    );
}

#[tokio::test]
async fn the_tags_carry_the_nonce_of_the_policy_and_nothing_is_inline() {
    let desk = acting_desk().await;
    let mut response = html(PAGE);
    let policy = "script-src 'nonce-abc'; style-src 'self' 'nonce-def'";
    response.headers_mut().insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(policy),
    );
    let page = answer(
        &desk,
        with_banner(&desk.handle),
        get("ada", "/?as=ines"),
        response,
    )
    .await;
    assert_eq!(page.headers()[header::CONTENT_SECURITY_POLICY], policy);
    let page = text(page).await;
    assert!(page.contains(" nonce=\"def\"/>"), "{page}");
    assert!(page.contains(" nonce=\"abc\"></script>"), "{page}");

    let (head, banner) = ours(&desk).await;
    let ours = format!("{head}{banner}");
    assert!(!ours.contains("nonce"), "{ours}");
    assert!(
        !ours.contains(" style=") && !ours.contains("<style") && !ours.contains(" on"),
        "{ours}"
    );
    assert_eq!(ours.matches("<script").count(), 1);
    assert!(ours.contains("></script>"), "the script is a file: {ours}");
}

#[tokio::test]
async fn names_are_text_and_nothing_else_in_every_field() {
    for hostile in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "'-->&<b>",
    ] {
        let desk = desk_with(|builder| {
            let path = format!("/{hostile}").replace([' ', '<', '>', '"', '&'], "_");
            builder.control_path(path)
        });
        let actor = format!("actor {hostile}");
        desk.cast.hire(&actor, ADMIN);
        desk.cast.users.insert(
            DirectoryUser::new(id(hostile), Rank(0))
                .with_login(format!("login {hostile}"))
                .with_display_name(format!("name {hostile}")),
        );
        desk.start(&actor, hostile).await.unwrap();
        let subject = form_urlencoded(hostile);
        let page = with_banner(&desk.handle).with_wording(move |_| {
            let mut words = Wording::english();
            words.language = hostile.into();
            words.label = hostile.into();
            words.acting_as = format!("{hostile} {{subject}} {hostile}").into();
            words.signed_in_as = hostile.into();
            words.read_only = hostile.into();
            words.until = hostile.into();
            words.left = hostile.into();
            words.over = hostile.into();
            words.exit = hostile.into();
            words
        });
        let request = get(&actor, &format!("/?as={subject}"));
        let shown = text(answer(&desk, page, request, html("<body>")).await).await;
        let tags: Vec<&str> = shown.split('<').skip(1).collect();
        let names = tags.iter().map(|tag| {
            let end = tag.find([' ', '>', '/']);
            tag.split_at(end.filter(|at| *at > 0).unwrap_or(tag.len()))
                .0
        });
        let opened: Vec<&str> = names.filter(|name| !name.starts_with('/')).collect();
        let expected = [
            "body", "link", "script", "aside", "div", "p", "span", "bdi", "bdi", "p", "span",
            "span", "bdi", "span", "time", "span", "form", "input", "button",
        ];
        assert_eq!(opened, expected, "{shown}");
        assert_eq!(shown.matches('"').count() % 2, 0);
        assert!(!shown.contains(" onerror=alert(1)>"), "{shown}");
    }
}

fn form_urlencoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}
