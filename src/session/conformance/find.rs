//! [S7](crate::rules#s7): every field comes back, by the id and by the pair of actor and subject.

use std::{net::IpAddr, time::Duration};

use super::{Check, MICRO, MINUTE, SECOND, at, facts, of};
use crate::{
    session::{EndedReason, Page, SessionStore},
    words::{Access, Rank, Subject, UserId},
};

pub(super) async fn s7_every_field_comes_back<S: SessionStore>(check: Check<S>) {
    let long_id = |start: &str| {
        let id = format!("{start}{}", "x".repeat(UserId::MAX_LEN - start.len()));
        UserId::new(id).expect("it is just short enough")
    };
    let address = |address: &str| address.parse::<IpAddr>().ok();
    let hostile = "'; RESET ROLE; --";
    let strange = "\u{202e}\u{1f468}\u{200d}\u{1f469} \"\\' $1 ?1 {} %s\r\n\t</script> e\u{301}";

    let mut sessions = vec![check.session(&check.actor("plain"), "ines", Duration::ZERO)];
    {
        let mut full = check.session(&check.actor(hostile), hostile, SECOND);
        full.actor_rank = Rank(u32::MAX);
        full.role = Some(hostile.into());
        full.access = Access::ReadWrite;
        full.reason = strange.into();
        full.ticket = Some(strange.into());
        full.idle_timeout = 1_800_000_001 * MICRO;
        full.last_seen_at = full.started_at + 7 * MICRO;
        full.address = address("2001:db8::ff00:42:8329");
        full.user_agent = Some(strange.into());
        sessions.push(full);
    }
    {
        let mut longest = check.session(&check.actor("longest"), "ines", 2 * SECOND);
        longest.actor = long_id(&check.tag.simple().to_string());
        longest.subject = Subject::User(long_id("\u{1f468}"));
        longest.actor_rank = Rank(1);
        longest.role = Some("r".repeat(128).into());
        longest.reason = "\u{1f468}".repeat(500).into();
        longest.ticket = Some("\u{1f468}".repeat(128).into());
        longest.user_agent = Some("u".repeat(256).into());
        longest.address = address("::ffff:192.0.2.1");
        longest.idle_timeout = Duration::MAX;
        sessions.push(longest);
    }
    {
        let mut anon = check.session(&check.actor("anon"), "~anon", 3 * SECOND);
        anon.role = Some("".into());
        anon.address = address("192.0.2.1");
        sessions.push(anon);
        let mut service = check.session(&check.actor("service"), "~service", 4 * SECOND);
        service.address = address("::");
        sessions.push(service);
    }

    for wanted in sessions {
        let started = check.given(wanted.clone()).await;
        assert_eq!(*started, wanted, "S7: `start` keeps every field");
        let (actor, after) = (&wanted.actor, MINUTE);
        let found = check.there(wanted.id).await;
        assert_eq!(facts(&found), facts(&wanted), "S7: `get` has every field");
        let found = check.active(&wanted, after).await;
        let found = found.expect("S7: `active` finds it, whatever its ids are");
        assert_eq!(
            facts(&found),
            facts(&wanted),
            "S7: `active` has every field"
        );
        let listed = check.list(&of(actor), &Page::default(), after).await;
        assert_eq!(listed.total, 1, "S7: `list` finds it, whatever its ids are");
        assert_eq!(
            facts(&listed.sessions[0]),
            facts(&wanted),
            "S7: `list` has every field"
        );

        let reason = EndedReason::SessionRevoked;
        let ended = check.end(wanted.id, reason, after).await;
        let ended = ended.expect("S4: an active session can be ended");
        let wanted = wanted.ended(reason, at(after));
        assert_eq!(facts(&ended), facts(&wanted), "S7: `end` has every field");
        let found = check.there(wanted.id).await;
        assert_eq!(
            facts(&found),
            facts(&wanted),
            "S7: an ended session keeps every field"
        );
    }
}

pub(super) async fn s7_sessions_are_found_by_id_and_by_pair<S: SessionStore>(check: Check<S>) {
    let (ada, eve) = (check.actor("ada"), check.actor("eve"));
    let by_ada = check
        .given(check.session(&ada, eve.as_str(), Duration::ZERO))
        .await;
    let by_eve = check.given(check.session(&eve, ada.as_str(), SECOND)).await;
    for session in [&by_ada, &by_eve] {
        let found = check.active(session, MINUTE).await;
        assert_eq!(
            found.map(|found| found.id),
            Some(session.id),
            "S7: actor and subject are not mixed up"
        );
    }
    let never = check.session(&ada, "ines", MINUTE);
    assert!(
        check.active(&never, MINUTE).await.is_none(),
        "S7: another subject has no session"
    );
    assert!(
        check.get(never.id).await.is_none(),
        "S7: an unknown id finds nothing"
    );
}
