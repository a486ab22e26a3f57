//! R4, R20, S4: a support case clicked from the search to the exit, with and without scripts, and sessions that end under
//! an open page.

use serde_json::{Value, json};
use thirtyfour::By;

use super::{Shop, sign_in, start};
use crate::support::browser::{Browser, Set, browse};

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
