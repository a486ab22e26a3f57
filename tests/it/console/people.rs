//! R3, R7: the people one may act as, in pages and states, with ids and names of every kind.

use axum::Router;
use tower_impersonation::{
    Actor, Caller, Decision, DirectoryUser, Grant, Impersonation, MemoryDirectory, Rank,
    RejectionKind, Rights, StartRequest, audit::MemorySink, checker_fn,
};
use tower_impersonation_web::console as pages;

use super::{Console, MOUNT, form};
use crate::support::{ADMIN, MINUTE, Staff, customer, desk, id, parts, subject};

const HOSTILE: [&str; 3] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "=cmd()",
];

// === People ===

#[tokio::test]
async fn r7_people_lists_only_those_one_may_act_as() {
    let console = Console::new();
    console.desk.cast.bar("mia");
    let page = console.get("ada", "/").await;
    page.ok().says("ines").says("otto");
    for other in ["mia", "kim", "bot", "root", "abe"] {
        let start = format!("{MOUNT}/start?subject={other}");
        assert!(!page.links("Act as").contains(&start), "{other}");
    }
    // The service role takes a right.
    page.says("Anonymous visitor").says_not("Service role");
    console
        .get("root", "/")
        .await
        .says("Anonymous visitor")
        .says("Service role");
    console.desk.cast.bar("~anon");
    console.get("root", "/").await.says_not("Anonymous visitor");
}

#[tokio::test]
async fn people_come_in_pages_and_states() {
    let console = Console::new();
    for number in 100..160 {
        console.add(
            DirectoryUser::new(id(&format!("n{number}")), Rank(0))
                .with_display_name(format!("No {number}")),
        );
    }
    let mut seen = Vec::new();
    let mut path = "/?q=no+1".to_owned();
    loop {
        let page = console.get("ada", &path).await;
        page.ok();
        assert_eq!(page.field("q").get("value"), "no 1");
        assert_eq!(
            page.links("First page").len(),
            usize::from(!seen.is_empty())
        );
        seen.extend(page.links("Act as"));
        match page.links("Next page").pop() {
            Some(next) => path = next,
            None => break,
        }
    }
    let expected: Vec<String> = (100..160)
        .map(|n| format!("{MOUNT}/start?subject=n{n}"))
        .collect();
    assert_eq!(seen, expected);

    console
        .get("ada", "/?q=nobody")
        .await
        .ok()
        .says("Nobody found for “nobody”.");
    let wrong = console.get("ada", "/?offset=x").await;
    wrong
        .is(400, Some(RejectionKind::InvalidRequest))
        .says("The offset must be a number");

    let empty = Console::with(|builder| builder.directory(MemoryDirectory::default()));
    empty
        .get("ada", "/")
        .await
        .ok()
        .says("There is nobody whom you may act as.");

    let checker = checker_fn(
        |_| Caller::Admin(Actor::new(id("ada"), Rank(9))),
        |_, _, _| Decision::Allow(Grant::read_only()),
    );
    let none = Impersonation::builder(checker, MemorySink::default())
        .handlers_read_acting_as()
        .build();
    let desk = desk();
    let none = Console {
        app: Router::new().nest(MOUNT, pages(&none.unwrap())),
        desk,
    };
    let page = none.get("ada", "/").await;
    page.ok().says("no directory");
    assert_eq!(page.field("subject").get("maxlength"), "128");
    // Neither are there sessions.
    let start = none.get("ada", "/start?subject=ines").await;
    start.ok().says("No sessions are kept on this host");
    assert_eq!(start.link("Open the pages"), "/?as=ines");
    none.get("ada", "/session")
        .await
        .ok()
        .says("No sessions are kept on this host");
    none.get("ada", "/sessions")
        .await
        .ok()
        .says("No sessions are kept on this host");
    none.get("ada", "/trail")
        .await
        .ok()
        .says("has not said where its trail can be read");
    none.get("ada", "/summary")
        .await
        .ok()
        .says("has not said where its trail can be read");
    none.post("ada", "/start?subject=ines", "reason=x")
        .await
        .is(503, Some(RejectionKind::Unavailable));
}

#[tokio::test]
async fn r3_any_id_survives_every_link_and_form() {
    let console = Console::with(|builder| builder.max_active(100));
    let odd = [
        "a/b", "..", ".", "a?b#c", "f%20", "%2e%2e", "a&b=c", "a+b c", "ü", "نور", "\"'<>", "x;y",
        "~x",
    ];
    for odd in odd {
        console.add(customer("x").with_role("odd").with_login("odd"));
        console.add(DirectoryUser::new(id(odd), Rank(0)).with_login("odd"));
        let people = console
            .get("root", &format!("/?{}", form(&[("q", odd)])))
            .await;
        let starts = people.links("Act as");
        let expected = format!("{MOUNT}/start?{}", form(&[("subject", odd)]));
        assert!(starts.contains(&expected), "{odd}: {starts:?}");
        let page = console.get("root", &expected).await;
        page.ok();
        let action = page.all("form")[0].get("action").to_owned();
        let started = console.post("root", &action, "reason=odd").await;
        let landing = console.desk.handle.marked("/orders", &subject(odd));
        assert_eq!(started.to(), landing, "{odd}");
        let history = console.get("root", &page.link("Who impersonated")).await;
        history.says("1 of 1");
        let mine = console.get("root", "/session").await;
        let change = mine
            .all("form")
            .iter()
            .map(|f| f.get("action").to_owned())
            .find(|action| action.contains(&form(&[("subject", odd)])));
        let changed = console
            .post("root", &change.unwrap(), "reason=more&access=read_write")
            .await;
        assert_eq!(
            changed.to(),
            format!("{MOUNT}/session?done=changed"),
            "{odd}"
        );
        console.desk.clock.advance(MINUTE * 61);
        console.post("root", "/session/stop", "").await;
    }
}

// === Names of all kinds ===

#[tokio::test]
async fn hostile_names_stay_names_in_every_field() {
    for hostile in HOSTILE {
        let console = Console::new();
        console.add(
            DirectoryUser::new(id(hostile), Rank(0))
                .with_display_name(hostile)
                .with_login(format!("{hostile}@"))
                .with_role(hostile),
        );
        let staff = Staff {
            rights: Rights::all(),
            ..ADMIN
        };
        console.desk.cast.hire("ada", staff);
        let mut asking = parts("ada");
        for name in ["user-agent", "x-request-id"] {
            asking.headers.insert(name, hostile.parse().unwrap());
        }
        let start = StartRequest::new(subject(hostile), hostile).with_ticket(hostile);
        let session = console.desk.started(&asking, start).await;
        let q = form(&[("q", hostile)]);
        let of = form(&[("subject", hostile)]);
        let filter = form(&[("target_user_id", hostile)]);
        let wrong = form(&[
            ("name", hostile),
            ("session_id", hostile),
            ("admin_user_id", hostile),
            ("from", hostile),
        ]);
        let typed = form(&[
            ("reason", hostile),
            ("ticket", hostile),
            ("duration", hostile),
            ("next", hostile),
            ("access", hostile),
        ]);
        let pages = [
            console.get("ada", &format!("/?{q}")).await,
            console.get("ada", &format!("/?{q}nobody")).await,
            console.get("ada", &format!("/start?{of}")).await,
            console.post("ada", &format!("/start?{of}"), &typed).await,
            console.get("ada", "/session").await,
            console
                .post("ada", &format!("/session/change?{of}"), &typed)
                .await,
            console.get("ada", "/sessions").await,
            console.get("ada", &format!("/sessions?{filter}")).await,
            console.get("ada", &format!("/sessions?{wrong}")).await,
            console
                .get("ada", &format!("/sessions/{}", session.id))
                .await,
            console.get("ada", "/trail").await,
            console.get("ada", &format!("/trail?{filter}")).await,
            console.get("ada", &format!("/trail?{wrong}")).await,
            console
                .get("ada", &format!("/summary?{}", form(&[("week", hostile)])))
                .await,
            console
                .get("ada", &format!("/summary?{}", form(&[("done", hostile)])))
                .await,
        ];
        for (at, page) in pages.iter().enumerate() {
            assert!(page.all("img").is_empty(), "{at}");
            assert!(!page.html.contains("<script>"), "{at}");
            if ![13, 14].contains(&at) {
                page.says(hostile);
            }
        }
        let csv = console.get("ada", "/trail.csv").await;
        let quoted = hostile.replace('"', "\"\"");
        assert!(csv.html.contains(&quoted));
        assert!(!csv.html.contains(",=cmd()"));
    }
}

#[tokio::test]
async fn names_of_either_direction_are_isolated() {
    let console = Console::new();
    console.add(customer("yusuf").with_display_name("يوسف بن عبد الله"));
    console.start("ada", "yusuf").await;
    for path in ["/", "/sessions", "/session", "/start?subject=ines"] {
        let page = console.get("ada", path).await;
        assert!(page.html.contains(">يوسف بن عبد الله</bdi>"), "{path}");
    }
}
