//! The support desk, used as its people use it: found, started, looked around in, left; and what each page looks like
//! to axe-core, in the light and in the dark.
//!
//! With `SCREENSHOTS` set to a folder, pictures of the main pages are put there: how those in `docs` are made.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::By;

use super::{Browser, Set, browse};
use crate::process::{Answer, Running};

/// Names that would be markup, if they could.
const NASTY: &str =
    r#""><img src=x onerror=document.title='taken'><script>document.title='taken'</script>"#;

/// A shop of its own.
struct Shop {
    running: Running,
    _folder: TempDir,
}

impl Shop {
    async fn open(env: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trail.jsonl");
        let database = format!("sqlite://{}/desk.sqlite", folder.path().display());
        let mut all = vec![
            ("AUDIT_FILE", file.to_str().unwrap()),
            ("DATABASE_URL", &*database),
        ];
        all.extend(env);
        let running = Running::start("support_desk", &all).await;
        Self {
            running,
            _folder: folder,
        }
    }

    fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.running.authority())
    }

    /// A call of someone's script, beside the browser.
    async fn call(&self, who: &str, method: &str, path: &str, body: Value) -> Answer {
        let answer = self.running.caller().call(who, method, path, body).await;
        answer.expect("the shop answers")
    }

    async fn orders_of(&self, who: &str) -> usize {
        let orders = self.call(who, "GET", "/api/orders", Value::Null).await;
        orders.json().as_array().unwrap().len()
    }

    /// A session by a script of `who`, and its id.
    async fn started(&self, who: &str, subject: &str, access: &str) -> String {
        let body = json!({"target_user_id": subject, "reason": "ticket 4711", "access": access});
        let start = self.call(who, "POST", "/impersonation/start", body).await;
        assert_eq!(start.status, 200, "{}", start.text());
        start.json()["session"]["id"].as_str().unwrap().to_owned()
    }
}

async fn sign_in(browser: &Browser, shop: &Shop, who: &str) {
    browser.goto(&shop.url("/login")).await;
    browser.click(&format!("button[value={who}]")).await;
    browser.find_saying("h1", "People").await;
}

/// From the console to the subject's page.
async fn start(browser: &Browser, name: &str, access: &str) {
    browser
        .find("input[type=search]")
        .await
        .send_keys(name)
        .await
        .unwrap();
    browser.click("form[role=search] button").await;
    browser.find_saying("h1", "People").await;
    browser.click("td a.button").await;
    browser
        .find("textarea[name=reason]")
        .await
        .send_keys("ticket 4711: cannot pay")
        .await
        .unwrap();
    browser.click(&format!("input[value={access}]")).await;
    browser.click("form .actions button").await;
}

/// The page is the subject's, the banner says so, and so does the address.
async fn is_acted(browser: &Browser, path: &str) {
    let banner = browser.text("[data-impersonation-banner]").await;
    assert!(
        banner.contains("Ines Ortega") && banner.contains("ada"),
        "{banner}"
    );
    let url = browser.url().await;
    let (_, target) = url.rsplit_once("://").unwrap();
    let (_, target) = target.split_once('/').unwrap();
    let (at, query) = target.split_once('?').unwrap_or((target, ""));
    assert_eq!(format!("/{at}"), path, "{url}");
    assert!(query.split('&').any(|pair| pair == "as=ines"), "{url}");
}

/// Somebody's own page.
async fn is_own(browser: &Browser, name: &str) {
    browser.find_saying(".whose", name).await;
    let banners = browser
        .driver
        .find_all(By::Css("[data-impersonation-banner]"));
    assert!(banners.await.unwrap().is_empty());
    assert!(!browser.url().await.contains("as="));
}

/// Waits until the list has this many orders.
async fn lists(browser: &Browser, orders: usize) {
    browser
        .find(&format!(".orders li:nth-child({orders}):last-child"))
        .await;
}

#[tokio::test]
async fn a_support_case_clicked_from_the_search_to_the_exit() {
    browse(Set::default(), async |browser| {
        let shop = Shop::open(&[]).await;
        sign_in(&browser, &shop, "ada").await;
        browser.find_saying("h1", "People").await;
        start(&browser, "ines", "read_write").await;
        browser.find_saying("h1", "Your orders").await;
        is_acted(&browser, "/").await;

        // Links: one that a script follows, one that the browser does.
        browser.click("a[data-swap]").await;
        browser
            .find_saying("h1", "Darjeeling first flush, 100 g")
            .await;
        is_acted(&browser, "/orders/1004").await;
        browser.driver.refresh().await.unwrap();
        browser
            .find_saying("h1", "Darjeeling first flush, 100 g")
            .await;
        is_acted(&browser, "/orders/1004").await;
        browser.click("nav a[href='/shop']").await;
        browser.find_saying("h1", "Tea things,\nmade to last").await;
        is_acted(&browser, "/shop").await;

        // A form, and the page that it leads to.
        browser.click(".goods button").await;
        lists(&browser, 3).await;
        is_acted(&browser, "/").await;
        // The page's own fetch, and the events by which it hears of it.
        browser.click("form[data-order] button").await;
        lists(&browser, 4).await;
        is_acted(&browser, "/").await;
        // A script that changes the address while one types.
        browser
            .find("input[name=q]")
            .await
            .send_keys("darj")
            .await
            .unwrap();
        lists(&browser, 1).await;
        is_acted(&browser, "/").await;
        assert!(browser.url().await.contains("q=darj"));
        assert_eq!(
            (shop.orders_of("ines").await, shop.orders_of("ada").await),
            (4, 0)
        );

        // Another tab without the marker is ada's own.
        let acted = browser.tab().await;
        let own = browser.new_tab().await;
        browser.goto(&shop.url("/")).await;
        is_own(&browser, "Ada Lindqvist").await;
        browser.switch_to(&acted).await;
        browser.driver.back().await.unwrap();
        browser.find_saying("h1", "Tea things,\nmade to last").await;
        is_acted(&browser, "/shop").await;

        // Out, by the banner of another acted tab.
        browser.switch_to(&own).await;
        browser.goto(&shop.url("/?as=ines")).await;
        browser.click("[data-impersonation-banner] button").await;
        browser.find_saying("h1", "People").await;
        assert_eq!(browser.url().await, shop.url("/admin"));

        browser.switch_to(&acted).await;
        browser.click(".goods button").await;
        leads_out(&browser, &shop).await;
        assert_eq!(
            (shop.orders_of("ines").await, shop.orders_of("ada").await),
            (4, 0)
        );
    })
    .await;
}

/// A refusal in place of a page, and the way out of it.
async fn leads_out(browser: &Browser, shop: &Shop) {
    browser.find_saying("h1", "Not impersonating").await;
    assert!(browser.url().await.contains("as=ines") || browser.url().await == shop.url("/"));
    browser
        .find_saying(".ways a", "Your own page")
        .await
        .click()
        .await
        .unwrap();
    is_own(browser, "Ada Lindqvist").await;
}

#[tokio::test]
async fn s4_a_session_that_is_revoked_under_an_open_page_is_refused_at_the_next_click() {
    browse(Set::default(), async |browser| {
        let shop = Shop::open(&[]).await;
        let id = shop.started("ada", "ines", "read_write").await;
        sign_in(&browser, &shop, "ada").await;
        browser.goto(&shop.url("/?as=ines")).await;
        is_acted(&browser, "/").await;
        let revoked = shop
            .call(
                "root",
                "DELETE",
                &format!("/impersonation/sessions/{id}"),
                Value::Null,
            )
            .await;
        assert_eq!(revoked.status, 200);
        // What the page's script sends is refused as well, and not done as ada.
        browser.click("form[data-order] button").await;
        browser
            .find_saying(
                ".said",
                "No active impersonation session covers this request.",
            )
            .await;
        browser.click("nav a[href='/shop']").await;
        leads_out(&browser, &shop).await;
        assert_eq!(
            (shop.orders_of("ines").await, shop.orders_of("ada").await),
            (2, 0)
        );
    })
    .await;
}

#[tokio::test]
async fn s4_a_session_that_expires_under_an_open_page_says_so_and_is_refused() {
    browse(Set::default(), async |browser| {
        let shop = Shop::open(&[]).await;
        sign_in(&browser, &shop, "ada").await;
        let body = json!({"target_user_id": "ines", "reason": "short", "duration": 12});
        shop.call("ada", "POST", "/impersonation/start", body).await;
        browser.goto(&shop.url("/?as=ines")).await;
        is_acted(&browser, "/").await;
        browser.find("[data-impersonation-banner][data-over]").await;
        browser
            .find_saying("[data-impersonation-left]", "This session is over.")
            .await;
        browser.click("nav a[href='/shop']").await;
        leads_out(&browser, &shop).await;
        // Exit on a page that is older than the end leads out as well.
        browser.driver.back().await.unwrap();
        browser.driver.back().await.unwrap();
        browser.find_saying("h1", "Not impersonating").await;
    })
    .await;
}

#[tokio::test]
async fn r4_a_typed_address_without_the_marker_is_ones_own() {
    browse(Set::default(), async |browser| {
        let shop = Shop::open(&[]).await;
        shop.started("ada", "ines", "read_only").await;
        sign_in(&browser, &shop, "ada").await;
        browser.goto(&shop.url("/?as=ines")).await;
        is_acted(&browser, "/").await;
        browser.goto(&shop.url("/")).await;
        is_own(&browser, "Ada Lindqvist").await;
        browser.goto(&shop.url("/?as=ines")).await;
        is_acted(&browser, "/").await;
        // Read-only, and the page that says so has a way out.
        browser.click("nav a[href='/shop']").await;
        browser.click(".goods button").await;
        browser.find_saying("h1", "Read-only").await;
        browser
            .find_saying(".ways button", "End impersonation")
            .await
            .click()
            .await
            .unwrap();
        browser.find_saying("h1", "People").await;
        assert_eq!(
            (shop.orders_of("ines").await, shop.orders_of("ada").await),
            (2, 0)
        );
    })
    .await;
}

#[tokio::test]
async fn r20_the_desk_refuses_unmarked_writes_and_ends_at_a_typed_address_where_it_is_told_to() {
    browse(Set::default(), async |browser| {
        let shop = Shop::open(&[("UNMARKED_WRITES", "refuse"), ("MARKER_REMOVED", "end")]).await;
        shop.started("ada", "ines", "read_write").await;
        sign_in(&browser, &shop, "ada").await;
        let order = json!({"item": "Bamboo whisk"});
        let unmarked = shop.call("ada", "POST", "/api/orders", order).await;
        assert_eq!(unmarked.refusal(), (409, "marker_missing".to_owned()));
        browser.goto(&shop.url("/?as=ines")).await;
        is_acted(&browser, "/").await;
        browser.goto(&shop.url("/")).await;
        is_own(&browser, "Ada Lindqvist").await;
        let list = shop
            .call("root", "GET", "/impersonation/sessions", Value::Null)
            .await;
        assert_eq!(list.json()["sessions"][0]["ended_reason"], "marker_removed");
        assert_eq!(
            (shop.orders_of("ines").await, shop.orders_of("ada").await),
            (2, 0)
        );
    })
    .await;
}

#[tokio::test]
async fn without_scripts_everything_works_but_what_is_live() {
    let set = Set {
        scripts: false,
        ..Set::default()
    };
    browse(set, async |browser| {
        let shop = Shop::open(&[]).await;
        sign_in(&browser, &shop, "ada").await;
        start(&browser, "ines", "read_only").await;
        browser.find_saying("h1", "Your orders").await;
        is_acted(&browser, "/").await;
        // Raised by the console.
        browser.goto(&shop.url("/admin/session")).await;
        browser.click("summary").await;
        browser
            .find("details textarea")
            .await
            .send_keys("has to order for her")
            .await
            .unwrap();
        browser
            .click("select[name=access] option[value=read_write]")
            .await;
        browser.click("details button").await;
        browser.find_saying(".tag", "Read and write").await;
        browser.goto(&shop.url("/?as=ines")).await;
        browser.click("a[data-swap]").await;
        browser
            .find_saying("h1", "Darjeeling first flush, 100 g")
            .await;
        is_acted(&browser, "/orders/1004").await;
        browser.click("main form button").await;
        lists(&browser, 3).await;
        is_acted(&browser, "/").await;
        browser.click("form[data-order] button").await;
        lists(&browser, 4).await;
        browser
            .find("input[name=q]")
            .await
            .send_keys("darj")
            .await
            .unwrap();
        browser.click("form[data-find] button").await;
        lists(&browser, 2).await;
        is_acted(&browser, "/").await;

        // And ended there.
        browser.goto(&shop.url("/admin/session")).await;
        browser.click(".button-stop").await;
        let empty = browser.text(".empty").await;
        assert!(empty.contains("not acting"), "{empty}");
        assert_eq!(
            (shop.orders_of("ines").await, shop.orders_of("ada").await),
            (4, 0)
        );

        // A start that is refused keeps what was typed.
        browser.goto(&shop.url("/admin/start?subject=ines")).await;
        browser
            .find("textarea[name=reason]")
            .await
            .send_keys("   ")
            .await
            .unwrap();
        browser
            .find("input[name=ticket]")
            .await
            .send_keys("T-4711")
            .await
            .unwrap();
        browser.click("form .actions button").await;
        browser.find("[aria-invalid=true]").await;
        let ticket = browser
            .find("input[name=ticket]")
            .await
            .prop("value")
            .await
            .unwrap();
        assert_eq!(ticket.as_deref(), Some("T-4711"));
    })
    .await;
}

#[tokio::test]
async fn sessions_appear_and_go_while_the_console_is_open() {
    browse(Set::default(), async |browser| {
        let shop = Shop::open(&[]).await;
        sign_in(&browser, &shop, "root").await;
        browser
            .goto(&shop.url("/admin/sessions?is_active=true"))
            .await;
        browser.find("#live .empty").await;
        // Connected: what happens from now on is heard.
        browser.find("[data-live-status]:not([hidden])").await;
        let id = shop.started("ada", "ines", "read_only").await;
        browser.find(&format!("#live a[href*='{id}']")).await;
        shop.call("ada", "DELETE", "/impersonation", Value::Null)
            .await;
        browser.find("#live .empty").await;
    })
    .await;
}

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
