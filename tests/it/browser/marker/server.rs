//! R2, R4: without a script, the server alone keeps what a marked page sends acted.

use tower_impersonation::Builder;

use super::{BOTH, STRICT, Site, is_at};
use crate::support::browser::{Set, browse};

/// Where the host has the marker stay.
const STICKY: &str = r#"<script src="/impersonation/page.js" data-parameter="as" data-header="act-as" data-subject="ines" data-sticky=""></script>"#;

#[tokio::test]
async fn r2_without_a_script_what_a_marked_page_sends_stays_acted() {
    browse(
        Set {
            scripts: false,
            ..Set::default()
        },
        async |browser| {
            let site = Site::started(BOTH, STRICT, Builder::sticky_marker).await;
            browser.goto(&site.url("/orders?as=ines")).await;
            is_at(&browser, "/orders", "ines by ada").await;
            site.hears("GET /image.svg ines by ada").await;
            site.hears("GET /part ines by ada").await;

            browser.click("#next").await;
            is_at(&browser, "/next", "ines by ada").await;
            assert_eq!(browser.url().await, site.url("/next?as=ines"));
            browser.click("#find").await;
            is_at(&browser, "/search", "ines by ada").await;
            assert_eq!(browser.url().await, site.url("/search?q=a&as=ines"));
            browser.click("#send").await;
            is_at(&browser, "/orders/7", "ines by ada").await;
            assert_eq!(browser.url().await, site.url("/orders/7?as=ines"));
            site.hears("POST /orders ines by ada").await;

            let tab = browser.tab().await;
            browser.click("#window").await;
            let tabs = browser.driver.windows().await.unwrap();
            let other = tabs.into_iter().find(|it| *it != tab).unwrap();
            browser.switch_to(&other).await;
            is_at(&browser, "/window", "ines by ada").await;
            browser.switch_to(&tab).await;

            browser.driver.back().await.unwrap();
            is_at(&browser, "/search", "ines by ada").await;
            browser.driver.refresh().await.unwrap();
            is_at(&browser, "/search", "ines by ada").await;

            let heard = site.heard();
            assert!(
                heard.iter().all(|line| line.ends_with(" ines by ada")),
                "{heard:#?}"
            );
            // Typing the address without it, or coming without a page, leaves.
            browser.goto(&site.url("/orders")).await;
            is_at(&browser, "/orders", "themselves").await;
            browser.click("#next").await;
            is_at(&browser, "/next", "themselves").await;
            assert_eq!(browser.url().await, site.url("/next"));
            browser.goto(&site.url("/orders?as=ines")).await;
            browser.click("#out").await;
            is_at(&browser, "/next", "themselves").await;
            assert_eq!(site.ended().await, (vec![], 1));
        },
    )
    .await;
}

#[tokio::test]
async fn r4_the_page_that_answers_a_form_gets_the_marker_back_into_its_url() {
    browse(Set::default(), async |browser| {
        let site = Site::started(STICKY, STRICT, Builder::sticky_marker).await;
        browser.goto(&site.url("/orders?as=ines")).await;
        is_at(&browser, "/orders", "ines by ada").await;
        browser
            .run_async(
                r#"const form = document.getElementById("form");
                form.action = "/check?x=1";
                form.submit();
                return null;"#,
            )
            .await;
        is_at(&browser, "/check", "ines by ada").await;
        assert_eq!(browser.url().await, site.url("/check?x=1&as=ines"));
        // Once more, and somewhere else.
        browser.click("#send").await;
        is_at(&browser, "/orders/7", "ines by ada").await;
        site.hears("POST /orders ines by ada").await;
        let heard = site.heard();
        assert!(
            heard.iter().all(|line| line.ends_with(" ines by ada")),
            "{heard:#?}"
        );
    })
    .await;
}

#[tokio::test]
async fn r4_without_a_script_the_page_that_answers_a_form_has_the_marker_as_well() {
    let quiet = Set {
        scripts: false,
        ..Set::default()
    };
    browse(quiet, async |browser| {
        let site = Site::started("", STRICT, Builder::sticky_marker).await;
        browser.goto(&site.url("/orders?as=ines")).await;
        is_at(&browser, "/orders", "ines by ada").await;
        browser
            .run(
                r#"const form = document.getElementById("form");
                form.action = "/check?x=1";
                form.submit();"#,
            )
            .await;
        is_at(&browser, "/check", "ines by ada").await;
        assert_eq!(browser.url().await, site.url("/check?x=1&as=ines"));
        browser.click("#send").await;
        is_at(&browser, "/orders/7", "ines by ada").await;
        let heard = site.heard();
        let posts = heard.iter().filter(|line| line.starts_with("POST"));
        assert_eq!(
            posts.collect::<Vec<_>>(),
            ["POST /check ines by ada", "POST /orders ines by ada"],
            "each once"
        );
    })
    .await;
}

#[tokio::test]
async fn r4_a_page_whose_url_is_too_long_for_a_referer_is_not_shown() {
    let quiet = Set {
        scripts: false,
        ..Set::default()
    };
    browse(quiet, async |browser| {
        let site = Site::started(BOTH, STRICT, Builder::sticky_marker).await;
        browser.goto(&site.url("/orders?as=ines")).await;
        is_at(&browser, "/orders", "ines by ada").await;
        site.heard();
        // Such a link may stand in what the subject wrote.
        let long = format!("/next?x={}&as=ines", "a".repeat(4_100));
        browser.goto(&site.url(&long)).await;
        if browser.text("h1").await == "/next" {
            browser.click("#send").await;
            browser.find_saying("#path", "/orders/7").await;
        }
        assert_eq!(site.heard(), Vec::<String>::new());
    })
    .await;
}
