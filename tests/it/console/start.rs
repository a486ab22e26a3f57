//! S1, S2, S3, R7, A3: the form that starts a session, and what comes back when it is refused.

use std::time::Duration;

use tower_impersonation::{Builder, RejectionKind};

use super::{Console, MOUNT, form, page::Page};
use crate::support::{How, MINUTE, NOON, customer, id, subject};

// === Start ===

#[tokio::test]
async fn s1_the_form_offers_what_is_granted() {
    let console = Console::new();
    let options = |page: &Page| -> Vec<String> {
        let options = page.all("option");
        options
            .iter()
            .map(|option| option.get("value").to_owned())
            .collect()
    };
    let page = console
        .get("ada", "/start?subject=ines&next=/orders/7")
        .await;
    page.ok()
        .says("Read and write")
        .says("2 h, the longest allowed");
    assert_eq!(options(&page), ["900", "1800", "3600", ""]);
    let radios = page.all("input");
    let checked: Vec<&str> = radios
        .iter()
        .filter(|i| i.has("checked"))
        .map(|i| i.get("value"))
        .collect();
    assert_eq!(checked, ["read_only"]);
    assert!(page.field("reason").has("required"));
    assert_eq!(page.field("reason").get("maxlength"), "500");
    assert_eq!(page.field("next").get("value"), "/orders/7");
    assert!(!page.all("fieldset")[0].has("disabled"));

    let page = console.get("sam", "/start?subject=ines").await;
    page.ok()
        .says("read-only access here")
        .says_not("Read and write")
        .says("30 min, the longest");
    assert_eq!(options(&page), ["900", ""]);
    // Whoever asks all the same gets what is granted.
    console
        .post(
            "sam",
            "/start?subject=ines",
            "reason=x&access=read_write&duration=99999",
        )
        .await
        .to();
    let session = console.desk.active().await.remove(0);
    assert_eq!(session.access.as_str(), "read_only");
    assert_eq!(session.expires_at, NOON + MINUTE * 30);

    for (whom, name) in [("~anon", "Anonymous visitor"), ("~service", "Service role")] {
        let page = console.get("root", &format!("/start?subject={whom}")).await;
        page.ok().says(&format!("Act as {name}"));
        let to = console
            .post(
                "root",
                &format!("/start?subject={whom}"),
                "reason=x&next=/b",
            )
            .await;
        assert_eq!(to.to(), console.desk.handle.marked("/b", &subject(whom)));
        console.post("root", "/session/stop", "").await;
    }
    // Another host is nothing to go on to.
    let to = console
        .post(
            "root",
            "/start?subject=otto",
            "reason=x&next=//evil.example/",
        )
        .await;
    assert_eq!(to.to(), "/orders?as=otto");
}

#[tokio::test]
async fn r7_whom_one_may_not_act_as_has_no_form() {
    let console = Console::new();
    console.desk.cast.bar("mia");
    console.add(
        customer("kim")
            .with_display_name("Kim Secret")
            .not_impersonable_because("opted out"),
    );
    let cases = [
        ("mia", 403, RejectionKind::Denied),
        ("kim", 403, RejectionKind::Denied),
        ("root", 403, RejectionKind::Denied),
        ("~service", 403, RejectionKind::Denied),
        ("nobody", 404, RejectionKind::SubjectNotFound),
        ("ada", 400, RejectionKind::Yourself),
        ("", 400, RejectionKind::InvalidRequest),
        ("%00", 400, RejectionKind::InvalidRequest),
    ];
    for (whom, status, kind) in cases {
        let page = console.get("ada", &format!("/start?subject={whom}")).await;
        page.is(status, Some(kind))
            .says_not("opted out")
            .says_not("Secret");
        assert!(page.all("form").is_empty(), "{whom}");
        // The same by the form of someone who may no longer: what was typed stays.
        let page = console
            .post(
                "ada",
                &format!("/start?subject={whom}"),
                "reason=why&ticket=7",
            )
            .await;
        page.is(status, Some(kind))
            .says_not("opted out")
            .says_not("Secret");
        if kind != RejectionKind::InvalidRequest {
            assert_eq!(page.textarea("reason"), "why");
        }
    }
    assert!(
        console
            .desk
            .trail()
            .await
            .contains(&"denied ada mia checker".to_owned())
    );
    assert!(console.desk.active().await.is_empty());
}

#[tokio::test]
async fn s1_a_refused_start_comes_back_with_everything_typed() {
    struct Case {
        name: &'static str,
        reason: &'static str,
        ticket: String,
        duration: &'static str,
        status: u16,
        kind: RejectionKind,
        /// The field with the message; none, where it is above the form.
        field: &'static str,
        message: &'static str,
    }
    let case = Case {
        name: "blank reason",
        reason: " \n ",
        ticket: "a\"<b>".to_owned(),
        duration: "900",
        status: 400,
        kind: RejectionKind::InvalidRequest,
        field: "reason",
        message: "The reason must not be blank.",
    };
    let cases = [
        Case {
            name: "no reason",
            reason: "",
            message: "The reason is missing.",
            ticket: case.ticket.clone(),
            ..case
        },
        Case {
            name: "long ticket",
            reason: "\nwhy </textarea><script>alert(1)</script>",
            ticket: "x".repeat(129),
            field: "ticket",
            message: "The ticket must not be longer than 128 characters.",
            ..case
        },
        Case {
            name: "odd duration",
            reason: "why",
            ticket: "7".to_owned(),
            duration: "soon",
            field: "duration",
            message: "The duration must be a whole number from 1 to 999999999.",
            ..case
        },
        Case {
            name: "barred meanwhile",
            reason: "why",
            ticket: "7".to_owned(),
            status: 403,
            kind: RejectionKind::Denied,
            field: "",
            message: "You may not act as this user.",
            ..case
        },
        Case {
            name: "gone meanwhile",
            reason: "why",
            ticket: "7".to_owned(),
            status: 404,
            kind: RejectionKind::SubjectNotFound,
            field: "",
            message: "User not found",
            ..case
        },
        Case {
            name: "store",
            reason: "why",
            ticket: "7".to_owned(),
            status: 503,
            kind: RejectionKind::Unavailable,
            field: "",
            message: "Impersonation is unavailable; nothing was done.",
            ..case
        },
        case,
    ];
    for case in cases {
        let name = case.name;
        let console = Console::new();
        match name {
            "barred meanwhile" => console.desk.cast.bar("ines"),
            "gone meanwhile" => drop(console.desk.cast.users.remove(&id("ines"))),
            "store" => console.desk.world.trouble("check", How::Fail),
            _ => {}
        }
        let typed = form(&[
            ("reason", case.reason),
            ("ticket", &case.ticket),
            ("access", "read_write"),
            ("duration", case.duration),
            ("next", "/orders/7"),
        ]);
        let page = console.post("ada", "/start?subject=ines", &typed).await;
        page.is(case.status, Some(case.kind));
        assert_eq!(page.textarea("reason"), case.reason, "{name}");
        assert_eq!(page.field("ticket").get("value"), case.ticket, "{name}");
        assert_eq!(page.field("next").get("value"), "/orders/7", "{name}");
        let checked = page
            .all("input")
            .into_iter()
            .find(|input| input.has("checked"));
        assert_eq!(checked.unwrap().get("value"), "read_write", "{name}");
        let chosen = page
            .all("option")
            .into_iter()
            .find(|option| option.has("selected"));
        let kept = if case.duration == "soon" {
            ""
        } else {
            case.duration
        };
        assert_eq!(chosen.unwrap().get("value"), kept, "{name}");
        match case.field {
            "" => {
                page.says(case.message);
                let alert = page
                    .all("div")
                    .into_iter()
                    .find(|div| div.get("role") == "alert");
                assert!(alert.unwrap().has("autofocus"), "{name}");
            }
            field => assert_eq!(page.problem_of(field), case.message),
        }
        let fields = ["reason", "ticket", "duration"];
        let wrong = fields
            .iter()
            .filter(|f| page.field(f).has("aria-invalid"))
            .count();
        assert_eq!(wrong, usize::from(!case.field.is_empty()), "{name}");
        assert!(console.desk.active().await.is_empty());
    }
}

#[tokio::test]
async fn a3_a_refused_start_is_one_event() {
    let console = Console::new();
    console.desk.cast.bar("ines");
    let page = console.post("ada", "/start?subject=ines", "reason=+").await;
    page.is(400, Some(RejectionKind::InvalidRequest));
    let trail = console.desk.trail().await;
    assert_eq!(trail, ["denied ada ines invalid_request"]);
}

#[tokio::test]
async fn s2_nothing_is_started_while_acting() {
    let console = Console::new();
    console.start("ada", "ines").await;
    for (whom, why) in [
        ("otto", "already acting as someone"),
        ("ines", "already have a session for this very subject"),
    ] {
        let page = console.get("ada", &format!("/start?subject={whom}")).await;
        page.ok().says(why);
        assert!(page.all("fieldset")[0].has("disabled"));
        assert_eq!(page.link("Go to my session"), format!("{MOUNT}/session"));
        let page = console
            .post("ada", &format!("/start?subject={whom}"), "reason=why")
            .await;
        page.is(409, Some(RejectionKind::AlreadyActive))
            .says(why)
            .says("end the current session first");
        assert_eq!(page.textarea("reason"), "why");
    }
    let replacing = Console::with(Builder::replace_active);
    replacing.start("ada", "ines").await;
    let page = replacing.get("ada", "/start?subject=otto").await;
    page.ok().says("ends the one you have as ines@shop.example");
    assert!(!page.all("fieldset")[0].has("disabled"));
    replacing
        .post("ada", "/start?subject=otto", "reason=why")
        .await
        .to();
    assert_eq!(replacing.desk.active().await[0].subject, subject("otto"));
}

#[tokio::test]
async fn s3_too_many_starts_say_when_to_come_back() {
    let console = Console::with(|builder| builder.starts_per_hour(1));
    console.start("ada", "ines").await;
    console.post("ada", "/session/stop", "").await.to();
    console
        .desk
        .clock
        .advance(MINUTE * 20 + Duration::from_secs(30));
    let page = console
        .post("ada", "/start?subject=ines", "reason=why")
        .await;
    page.is(429, Some(RejectionKind::TooManyStarts))
        .says("You can start again at 20 Nov 2026 13:00");
    page.says("in about 40 min");
    assert_eq!(page.headers["retry-after"], "2370");
    assert_eq!(page.textarea("reason"), "why");
}

// === Live ===

#[tokio::test]
async fn s1_a_link_to_a_start_does_not_choose_the_wider_access() {
    let console = Console::new();
    // Such a link may stand on another site: what it says is there to be read, and no right is taken by a mere click.
    let page = console
        .get("root", "/start?subject=ines&reason=x&access=read_write")
        .await;
    assert!(page.html.contains(r#"value="read_only" checked"#));
    assert!(page.html.contains(r#"value="read_write">"#));
    // What was chosen in the form is still chosen when it comes back.
    let again = "reason=&access=read_write";
    let page = console.post("root", "/start?subject=ines", again).await;
    assert_eq!(page.kind, Some(RejectionKind::InvalidRequest));
    assert!(page.html.contains(r#"value="read_write" checked"#));
}
