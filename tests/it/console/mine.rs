//! S5, S6: one's own sessions, which one may always stop, and change with a fresh reason.

use tower_impersonation::{RejectionKind, StartRequest};

use super::{Console, MOUNT, form};
use crate::support::{MINUTE, NOON, parts, subject};

#[tokio::test]
async fn s5_one_stops_what_one_has_started_also_when_demoted() {
    let console = Console::new();
    console
        .get("ada", "/session")
        .await
        .ok()
        .says("You are not acting as anyone.");
    console.start("ada", "ines").await;
    console.start("abe", "otto").await;
    console.desk.cast.dismiss("ada");
    let page = console.get("ada", "/session").await;
    page.ok()
        .says("no longer an admin")
        .says("ines")
        .says_not("otto");
    assert!(page.links("Open").is_empty() && page.links("People").is_empty());
    assert_eq!(page.all("form").len(), 1);
    assert_eq!(console.post("ada", "/session/stop", "").await.to(), "/bye");
    assert_eq!(console.post("ada", "/session/stop", "").await.to(), "/bye");
    console
        .get("ada", "/session")
        .await
        .is(403, Some(RejectionKind::NotAdmin));
    assert_eq!(console.desk.active().await[0].subject, subject("otto"));

    let stopped = console.post("abe", "/session/stop", "").await;
    console
        .get("abe", stopped.to())
        .await
        .says("The session has been stopped.");
    let stopped = console.post("abe", "/session/stop", "").await;
    console
        .get("abe", stopped.to())
        .await
        .says("There was nothing left to stop.");
}

#[tokio::test]
async fn s5_of_several_sessions_one_or_all_are_stopped() {
    let console = Console::with(|builder| builder.max_active(3));
    for whom in ["ines", "otto", "mia"] {
        console.start("ada", whom).await;
    }
    let foreign = console.start("abe", "ines").await.id;
    let page = console.get("ada", "/session").await;
    page.ok().says("My sessions").says("Stop all 3 sessions");
    let hidden: Vec<String> = page
        .all("input")
        .iter()
        .filter(|i| i.get("name") == "session")
        .map(|i| i.get("value").to_owned())
        .collect();
    assert_eq!(hidden.len(), 3);
    console
        .post("ada", "/session/stop", &form(&[("session", &hidden[1])]))
        .await
        .to();
    let left = console.get("ada", "/session").await;
    left.says("ines").says("mia").says_not("otto");
    // Others' are not one's own, whatever the form says.
    let other = console
        .post(
            "ada",
            "/session/stop",
            &form(&[("session", &foreign.to_string())]),
        )
        .await;
    assert_eq!(other.to(), format!("{MOUNT}/session?done=nothing"));
    assert_eq!(console.desk.active().await.len(), 3);
    console.post("ada", "/session/stop", "").await.to();
    assert_eq!(console.desk.active().await.len(), 1);
}

#[tokio::test]
async fn s6_a_change_takes_a_reason_of_its_own() {
    let console = Console::new();
    let start = StartRequest::new(subject("ines"), "look").with_duration(MINUTE * 10);
    console.desk.started(&parts("ada"), start).await;
    let page = console.get("ada", "/session").await;
    let change = page.all("form")[1].get("action").to_owned();
    let options: Vec<String> = page
        .all("option")
        .iter()
        .map(|o| o.get("value").to_owned())
        .collect();
    assert_eq!(
        options,
        ["", "read_write", "", "900", "1800", "3600", "7200"]
    );

    let page = console
        .post("ada", &change, "reason=+&access=read_write&duration=1800")
        .await;
    page.is(400, Some(RejectionKind::InvalidRequest));
    assert_eq!(page.problem_of("reason"), "The reason must not be blank.");
    let chosen: Vec<String> = page
        .all("option")
        .iter()
        .filter(|o| o.has("selected"))
        .map(|o| o.get("value").to_owned())
        .collect();
    assert_eq!(chosen, ["read_write", "1800"]);
    assert!(page.all("details")[0].has("open"));
    // The script does not take away what was typed.
    assert!(!page.tags().iter().any(|tag| tag.has("data-live")));
    let page = console.post("ada", &change, "reason=why").await;
    page.is(400, Some(RejectionKind::InvalidRequest))
        .says("The access or duration must be given.");
    assert_eq!(page.textarea("reason-1"), "why");

    let changed = console
        .post(
            "ada",
            &change,
            "reason=has+to+write&access=read_write&duration=1800",
        )
        .await;
    console
        .get("ada", changed.to())
        .await
        .says("The session has been changed.")
        .says("Read and write");
    let session = console.desk.active().await.remove(0);
    assert_eq!(session.expires_at, NOON + MINUTE * 30);
    let trail = console.desk.trail().await;
    assert_eq!(
        trail
            .iter()
            .filter(|line| line.contains("access_raised") || line.contains("extended"))
            .count(),
        2
    );

    console.desk.cast.bar("ines");
    console
        .get("ada", "/session")
        .await
        .ok()
        .says("Nothing can be changed about it");
    let page = console
        .post("ada", &change, "reason=why&duration=3600")
        .await;
    page.is(403, Some(RejectionKind::Denied));
    let gone = console
        .post(
            "ada",
            "/session/change?subject=otto",
            "reason=why&duration=60",
        )
        .await;
    gone.is(404, Some(RejectionKind::NothingToEnd));

    // At what is granted there is nothing to raise.
    console.start("sam", "otto").await;
    console
        .get("sam", "/session")
        .await
        .ok()
        .says("at what you are granted");
}
