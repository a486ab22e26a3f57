//! The summary of sessions by admin and week.

use tower_impersonation::RejectionKind;

use super::Console;
use crate::support::{MINUTE, parts};

#[tokio::test]
async fn the_summary_is_by_admin_and_week() {
    let console = Console::new();
    console.start("ada", "ines").await;
    console.desk.clock.advance(MINUTE * 15);
    console.desk.handle.stop(&parts("ada")).await.unwrap();
    console.desk.start("ada", "root").await.unwrap_err();
    console.start("abe", "otto").await;
    console.desk.clock.advance(MINUTE);
    console.desk.events().await;

    let page = console.get("root", "/summary").await;
    page.ok().says("Week 2026-W47").says("16 Nov 2026 00:00");
    page.says("abe 1 1 min 1 0 0").says("ada 1 15 min 1 0 1");
    assert!(page.links("Week after").is_empty());
    let before = console.get("root", &page.link("Week before")).await;
    before
        .ok()
        .says("Week 2026-W46")
        .says("Nothing happened in this week.");
    let after = console.get("root", &before.link("Week after")).await;
    after.ok().says("ada 1 15 min");
    let events = console.get("root", &after.links("Events of ada")[0]).await;
    events.ok().says("impersonation.denied");

    let own = console.get("ada", "/summary?week=2026-W47").await;
    own.ok()
        .says("what you did yourself")
        .says("ada 1 15 min")
        .says_not("abe");
    for week in ["x", "2026-W54", "2026-47"] {
        let page = console.get("root", &format!("/summary?week={week}")).await;
        page.is(400, Some(RejectionKind::InvalidRequest));
        assert_eq!(
            page.problem_of("week"),
            "The week must be a week such as 2026-W47."
        );
        assert_eq!(page.field("week").get("value"), week);
    }
    let reads = console.desk.trail().await;
    assert!(reads.iter().any(|line| line.starts_with("trail.read ada")));
}
