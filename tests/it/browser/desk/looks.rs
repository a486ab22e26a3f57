//! What each page looks like to axe-core, in the light and in the dark, wide and narrow, and with names that are markup.
//!
//! With `SCREENSHOTS` set to a folder, pictures of the main pages are put there: how those in `docs` are made.

use std::path::Path;

use serde_json::{Value, json};
use thirtyfour::By;

use super::{Shop, sign_in};
use crate::support::browser::{Browser, Set, browse};

/// Names that would be markup, if they could.
const NASTY: &str =
    r#""><img src=x onerror=document.title='taken'><script>document.title='taken'</script>"#;

/// Those that are shown in the README.
const SHOWN: &[&str] = &[
    "acted",
    "people",
    "start",
    "my-session",
    "sessions",
    "trail",
    "summary",
];

/// Every page that people see, with something on it.
async fn pages(shop: &Shop) -> Vec<(&'static str, String)> {
    for (who, subject, reason, ticket) in [
        ("sam", "otto", "Says that his order never came", "T-4698"),
        ("abe", "mia", "Cannot see the invoice of October", "T-4702"),
        ("root", "sam", "Checks what support is shown", "T-4705"),
    ] {
        let body = json!({"target_user_id": subject, "reason": reason, "ticket": ticket});
        shop.call(who, "POST", "/impersonation/start", body).await;
        for path in ["/api/me", "/api/orders"] {
            let path = format!("{path}?as={subject}");
            shop.call(who, "GET", &path, Value::Null).await;
        }
        shop.call(who, "DELETE", "/impersonation", Value::Null)
            .await;
    }
    let id = shop.started("ada", "ines", "read_write").await;
    for path in ["/api/orders?as=ines", "/api/orders?as=otto"] {
        shop.call("ada", "GET", path, Value::Null).await;
    }
    let order = json!({"item": "Bamboo whisk"});
    shop.call("ada", "POST", "/api/orders?as=ines", order).await;
    shop.call("mia", "GET", "/api/me?as=ines", Value::Null)
        .await;
    vec![
        // First, before there is much of reading it in it.
        ("trail", "/admin/trail".to_owned()),
        ("orders", "/".to_owned()),
        ("shop", "/shop".to_owned()),
        ("password", "/account/password".to_owned()),
        ("missing", "/nowhere".to_owned()),
        ("acted", "/?as=ines".to_owned()),
        ("acted-order", "/orders/1004?as=ines".to_owned()),
        ("refused", "/?as=otto".to_owned()),
        ("off-limits", "/account/password?as=ines".to_owned()),
        ("people", "/admin".to_owned()),
        ("nobody", "/admin?q=nobody".to_owned()),
        ("start-blocked", "/admin/start?subject=otto".to_owned()),
        ("my-session", "/admin/session".to_owned()),
        ("sessions", "/admin/sessions".to_owned()),
        ("session", format!("/admin/sessions/{id}")),
        (
            "filtered-trail",
            "/admin/trail?target_user_id=ines".to_owned(),
        ),
        ("trail-bad-filter", "/admin/trail?from=yesterday".to_owned()),
        ("summary", "/admin/summary".to_owned()),
        ("console-missing", "/admin/nowhere".to_owned()),
    ]
}

async fn looks_right(set: Set, suffix: &'static str) {
    browse(set, async move |browser| {
        let shop = Shop::open(&[]).await;
        let folder = std::env::var_os("SCREENSHOTS");
        let pages = pages(&shop).await;
        let mut complaints = Vec::new();
        for dark in [false, true] {
            if dark {
                browser.dark().await;
            }
            browser.goto(&shop.url("/login")).await;
            complaints.extend(say(&browser, "sign-in", dark, folder.as_deref(), suffix).await);
            browser.click("button[value=ada]").await;
            for (name, path) in &pages {
                browser.goto(&shop.url(path)).await;
                browser.find("h1").await;
                complaints.extend(say(&browser, name, dark, folder.as_deref(), suffix).await);
                let too_wide = "return document.documentElement.scrollWidth > innerWidth";
                if browser.run(too_wide).await == true {
                    complaints.push(format!("{name}: scrolls sideways"));
                }
            }
            // The form without anything in its way.
            browser.driver.delete_all_cookies().await.unwrap();
            sign_in(&browser, &shop, "abe").await;
            browser.goto(&shop.url("/admin/start?subject=ines")).await;
            complaints.extend(say(&browser, "start", dark, folder.as_deref(), suffix).await);
            browser.driver.delete_all_cookies().await.unwrap();
        }
        assert_eq!(complaints, Vec::<String>::new());
    })
    .await;
}

async fn say(
    browser: &Browser,
    page: &str,
    dark: bool,
    folder: Option<&std::ffi::OsStr>,
    suffix: &str,
) -> Vec<String> {
    let shade = if dark { "dark" } else { "light" };
    if let Some(folder) = folder.filter(|_| SHOWN.contains(&page)) {
        let file = Path::new(folder).join(format!("{page}-{suffix}-{shade}.png"));
        browser.screenshot(&file).await;
    }
    let complaints = browser.complaints().await;
    complaints
        .into_iter()
        .map(|complaint| format!("{page} ({shade}): {complaint}"))
        .collect()
}

#[tokio::test]
async fn axe_has_nothing_to_say_of_any_page_on_a_wide_screen() {
    looks_right(Set::default(), "wide").await;
}

#[tokio::test]
async fn axe_has_nothing_to_say_of_any_page_on_a_narrow_screen() {
    let set = Set {
        width: 500,
        height: 900,
        ..Set::default()
    };
    looks_right(set, "narrow").await;
}

#[tokio::test]
async fn names_that_are_markup_stay_names_on_every_page() {
    browse(Set::default(), async |browser| {
        let shop = Shop::open(&[]).await;
        shop.call("ines", "POST", "/api/orders", json!({"item": NASTY})).await;
        let body = json!({"target_user_id": "ines", "reason": NASTY, "ticket": "=cmd()", "access": "read_write"});
        let started = shop.call("ada", "POST", "/impersonation/start", body).await;
        assert_eq!(started.status, 200, "{}", started.text());
        let id = started.json()["session"]["id"].as_str().unwrap().to_owned();
        sign_in(&browser, &shop, "ada").await;
        for path in [
            "/?as=ines",
            "/admin?q=%22%3E%3Cimg%20src=x%20onerror=document.title=%27taken%27%3E",
            "/admin/start?subject=ines",
            "/admin/start?subject=%22%3E%3Cimg%20src=x%20onerror=document.title=%27taken%27%3E",
            "/admin/session",
            "/admin/sessions",
            &format!("/admin/sessions/{id}"),
            "/admin/trail",
            "/admin/summary",
        ] {
            browser.goto(&shop.url(path)).await;
            browser.find("h1").await;
            assert_ne!(browser.driver.title().await.unwrap(), "taken", "{path}");
            let images = browser.driver.find_all(By::Css("img"));
            assert!(images.await.unwrap().is_empty(), "{path}");
        }
        let csv = shop.call("ada", "GET", "/admin/trail.csv", Value::Null).await;
        assert!(!csv.text().contains("\n="), "{}", csv.text());
    })
    .await;
}
