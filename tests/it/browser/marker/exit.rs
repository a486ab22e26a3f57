//! R5, R20, S5: the ways in and out, links from elsewhere, the time that is left, and how pages of ours look.

use tower_impersonation::{Builder, session::EndedReason};

use super::{BOTH, STRICT, Site, elsewhere, is_at};
use crate::support::{
    browser::{Set, browse},
    told,
};

#[tokio::test]
async fn r20_typing_the_bare_url_ends_the_session_and_clicking_an_unmarked_link_does_not() {
    browse(Set::default(), async |browser| {
        let set = |b: Builder| b.sticky_marker().end_when_marker_removed();
        let site = Site::started(BOTH, STRICT, set).await;
        browser.goto(&site.url("/orders?as=ines")).await;
        is_at(&browser, "/orders", "ines by ada").await;
        browser.click("#out").await;
        is_at(&browser, "/next", "themselves").await;
        assert_eq!(site.ended().await, (vec![], 1));

        browser.goto(&site.url("/admin")).await;
        is_at(&browser, "/admin", "themselves").await;
        assert_eq!(site.ended().await, (vec![], 1));

        browser.goto(&site.url("/orders?as=ines")).await;
        browser.goto(&site.url("/orders")).await;
        is_at(&browser, "/orders", "themselves").await;
        assert_eq!(site.ended().await, (vec![EndedReason::MarkerRemoved], 0));
    })
    .await;
}

#[tokio::test]
async fn s5_exit_leads_out_and_so_does_the_refusal_in_the_old_tab() {
    browse(Set::default(), async |browser| {
        let site = Site::started(BOTH, STRICT, Builder::sticky_marker).await;
        let old = browser.tab().await;
        browser.goto(&site.url("/orders?as=ines")).await;
        browser.new_tab().await;
        browser.goto(&site.url("/orders?as=ines")).await;
        browser.click("#exit").await;
        is_at(&browser, "/home", "themselves").await;
        assert_eq!(browser.url().await, site.url("/home"));
        browser.click("#next").await;
        is_at(&browser, "/next", "themselves").await;

        browser.switch_to(&old).await;
        is_at(&browser, "/orders", "ines by ada").await;
        site.heard();
        browser.click("#next").await;
        browser.find_saying("h1", "Forbidden").await;
        assert_eq!(browser.url().await, site.url("/next?as=ines"));
        assert_eq!(site.heard(), Vec::<String>::new());
        assert_eq!(browser.complaints().await, Vec::<String>::new());
        browser.click("a").await;
        is_at(&browser, "/next", "themselves").await;
        assert_eq!(browser.url().await, site.url("/next"));

        // The other way out of it, long after the end.
        browser.driver.back().await.unwrap();
        browser.find_saying("h1", "Forbidden").await;
        browser.click("form button").await;
        is_at(&browser, "/home", "themselves").await;
    })
    .await;
}

#[tokio::test]
async fn a_form_starts_a_session_and_leads_into_it() {
    browse(Set::default(), async |browser| {
        let site = Site::open(BOTH, STRICT, Builder::sticky_marker).await;
        browser.goto(&site.url("/admin")).await;
        // The application has no page for it.
        browser
            .run(
                r#"const form = document.createElement("form");
                form.method = "post";
                form.action = "/impersonation/start";
                for (const [name, value] of Object.entries({
                  target_user_id: "ines", reason: "ticket 4711", next: "/orders",
                })) {
                  const input = document.createElement("input");
                  [input.name, input.value] = [name, value];
                  form.append(input);
                }
                document.body.append(form);
                form.submit();"#,
            )
            .await;
        is_at(&browser, "/orders", "ines by ada").await;
        assert_eq!(browser.url().await, site.url("/orders?as=ines"));
        browser.new_tab().await;
        browser.goto(&site.url("/orders")).await;
        is_at(&browser, "/orders", "themselves").await;
    })
    .await;
}

#[tokio::test]
async fn r5_what_another_origin_sends_is_asked_about_or_refused() {
    browse(Set::default(), async |browser| {
        let set = |b: Builder| b.sticky_marker().refuse_unmarked_writes().end_when_marker_removed();
        let site = Site::started(BOTH, STRICT, set).await;
        let to = site.url("");
        let (other, _) = elsewhere(format!(
            r#"<!doctype html><title>Elsewhere</title><h1 id="here">Elsewhere</h1>
            <a id="link" href="{to}/orders?as=ines">Look</a>
            <form method="post" action="{to}/orders?as=ines"><button id="marked">Send</button></form>
            <form method="post" action="{to}/orders"><button id="bare">Send</button></form>"#
        ))
        .await;
        // The same site on another port, and another site.
        for other in [format!("http://{other}/?as=ines"), format!("http://localhost:{}/?as=ines", other.port())] {
            for button in ["#link", "#marked", "#bare"] {
                browser.goto(&other).await;
                browser.click(button).await;
                let title = if button == "#bare" { "Conflict" } else { "Forbidden" };
                browser.find_saying("h1", title).await;
                let asks = browser.run("return document.querySelectorAll('a[href*=as]').length").await;
                assert_eq!(asks, i32::from(button == "#link"), "{other} {button}");
            }
        }
        assert_eq!(site.heard(), Vec::<String>::new(), "nothing acted, nothing written");
        let trail = site.trail().await;
        let denied = |rule: &str| told(&trail, rule);
        assert_eq!((denied(" cross_site"), denied(" marker_missing")), (4, 2), "{trail:?}");

        // Whoever means it, goes on.
        browser.goto(&format!("http://{other}/")).await;
        browser.click("#link").await;
        browser.find_saying("a", "Continue acting as this user").await.click().await.unwrap();
        is_at(&browser, "/orders", "ines by ada").await;
        assert_eq!(site.ended().await, (vec![], 1));
    })
    .await;
}

#[tokio::test]
async fn the_time_that_is_left_counts_down_also_while_the_machine_sleeps() {
    browse(Set::default(), async |browser| {
        let site = Site::started(BOTH, STRICT, |builder| builder).await;
        browser
            .before_each_page(
                "const now = Date.now; window.slept = 0; Date.now = () => now() + window.slept;",
            )
            .await;
        browser.goto(&site.url("/timed?as=ines")).await;
        let left = browser.text("#left").await;
        assert!(
            left.starts_with("1:05:0") && left.ends_with(" left"),
            "{left}"
        );
        for (slept, shown) in [(8 * 60, "57:0"), (65 * 60, "0:0")] {
            browser
                .run(&format!(
                    "window.slept = {slept} * 1000; dispatchEvent(new Event('pageshow'));"
                ))
                .await;
            let left = browser.text("#left").await;
            assert!(left.starts_with(shown), "{slept}: {left}");
            let over = "return document.querySelector('[data-over], [aria-live]') === null";
            assert_eq!(
                browser.run(over).await,
                true,
                "nothing is read out before the end"
            );
        }
        // The last seconds by themselves.
        browser.find("[data-over]").await;
        browser
            .find_saying("#left[aria-live=polite]", "It is over")
            .await;
    })
    .await;
}

#[tokio::test]
async fn pages_can_be_seen_in_the_dark_and_narrow() {
    let set = Set {
        width: 500,
        height: 800,
        ..Set::default()
    };
    browse(set, async |browser| {
        let site = Site::open("", STRICT, |builder| builder).await;
        let folder = tempfile::tempdir().unwrap();
        let mut pictures = Vec::new();
        for dark in [false, true] {
            if dark {
                browser.dark().await;
            }
            browser.goto(&site.url("/orders?as=ines")).await;
            browser.find_saying("h1", "Forbidden").await;
            let is_dark = browser
                .run("return matchMedia('(prefers-color-scheme: dark)').matches")
                .await;
            assert_eq!(is_dark, dark);
            assert_eq!(browser.run("return innerWidth").await, 500);
            assert_eq!(
                browser.complaints().await,
                Vec::<String>::new(),
                "dark: {dark}"
            );
            let file = folder.path().join("page.png");
            browser.screenshot(&file).await;
            pictures.push(std::fs::read(&file).unwrap());
        }
        assert_ne!(pictures[0], pictures[1]);
    })
    .await;
}

#[tokio::test]
async fn axe_finds_what_is_wrong() {
    browse(Set::default(), async |browser| {
        browser
            .goto("data:text/html,<title>x</title><img src=x>")
            .await;
        let complaints = browser.complaints().await;
        let is_found = |rule: &str| complaints.iter().any(|line| line.starts_with(rule));
        assert!(
            is_found("image-alt: ") && is_found("html-has-lang: "),
            "{complaints:?}"
        );
    })
    .await;
}
