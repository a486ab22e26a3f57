//! R19, S4, S9: what a process knows of the sessions it serves, and whom it wakes at their end.

use std::{sync::Arc, time::Duration};

use super::{MINUTE, NOON, TICK, live, session};
use crate::{
    clock::ManualClock,
    session::{EndedReason, Lives, SessionChange},
};

#[tokio::test]
async fn r19_a_stop_wakes_everyone_who_waits() {
    let lives = Lives::default();
    let clock = ManualClock::new(NOON);
    let (one, two) = (
        session("ada", "ines", Duration::ZERO),
        session("eve", "ines", Duration::ZERO),
    );
    let (ada, eve) = (live(&lives, &one), live(&lives, &two));
    let mut waiting = [
        tokio_test::task::spawn(ada.until_ended(&clock)),
        tokio_test::task::spawn(ada.until_ended(&clock)),
    ];
    let mut other = tokio_test::task::spawn(eve.until_ended(&clock));
    assert!(waiting.iter_mut().all(|waits| waits.poll().is_pending()));
    assert!(other.poll().is_pending());

    lives.hear(&SessionChange::Ended(one.id, EndedReason::SessionRevoked));
    lives.end(one.id, EndedReason::Manual);
    for waits in &mut waiting {
        assert!(waits.is_woken());
        assert_eq!(
            waits.poll(),
            std::task::Poll::Ready(EndedReason::SessionRevoked)
        );
    }
    assert_eq!(ada.ended(), Some(EndedReason::SessionRevoked));
    assert!(other.poll().is_pending());
    assert_eq!(eve.ended(), None);
    let late = ada.until_ended(&clock).await;
    assert_eq!(
        late,
        EndedReason::SessionRevoked,
        "who asks later is told as well"
    );
}

#[tokio::test]
async fn r19_the_end_moves_with_the_session_and_comes_by_the_clock() {
    let lives = Lives::default();
    let clock = ManualClock::new(NOON);
    let session = session("ada", "ines", Duration::ZERO);
    let ada = live(&lives, &session);
    let mut waits = tokio_test::task::spawn(ada.until_ended(&clock));
    assert!(waits.poll().is_pending());

    let moved = |minutes: u32| {
        let mut session = session.clone();
        session.expires_at = NOON + minutes * MINUTE;
        SessionChange::Updated(Arc::new(session))
    };
    lives.hear(&moved(180));
    clock.advance(180 * MINUTE - TICK);
    assert!(waits.poll().is_pending(), "it was extended");
    clock.advance(TICK);
    assert_eq!(waits.poll(), std::task::Poll::Ready(EndedReason::Timeout));

    let clock = ManualClock::new(NOON);
    let mut waits = tokio_test::task::spawn(ada.until_ended(&clock));
    assert!(waits.poll().is_pending());
    lives.hear(&moved(10));
    assert!(waits.poll().is_pending());
    clock.advance(10 * MINUTE);
    assert_eq!(
        waits.poll(),
        std::task::Poll::Ready(EndedReason::Timeout),
        "it was shortened"
    );
}

#[tokio::test]
async fn r13_without_the_time_nothing_goes_on() {
    let lives = Lives::default();
    let clock = ManualClock::new(NOON);
    let ada = live(&lives, &session("ada", "ines", Duration::ZERO));
    clock.break_down("no battery");
    assert_eq!(ada.until_ended(&clock).await, EndedReason::Timeout);
}

#[test]
fn lives_that_are_past_their_end_are_let_go() {
    let lives = Lives::default();
    let short = session("ada", "ines", Duration::ZERO);
    let mut long = session("ada", "otto", Duration::ZERO);
    long.expires_at = short.expires_at + TICK;
    let before = (live(&lives, &short), live(&lives, &long));
    lives.prune(short.expires_at - TICK);
    assert!(Arc::ptr_eq(&live(&lives, &short), &before.0));
    lives.prune(short.expires_at);
    assert!(!Arc::ptr_eq(&live(&lives, &short), &before.0));
    assert!(Arc::ptr_eq(&live(&lives, &long), &before.1));
}

#[test]
fn s4_the_latest_request_counts_here_or_elsewhere() {
    let lives = Lives::default();
    let mut session = session("ada", "ines", Duration::ZERO);
    let ada = live(&lives, &session);
    assert_eq!(ada.last_seen(&session), NOON);
    assert!(lives.untold().is_empty(), "the store knows of the start");

    ada.see(NOON + 2 * MINUTE);
    ada.see(NOON + MINUTE);
    assert_eq!(ada.last_seen(&session), NOON + 2 * MINUTE);
    session.last_seen_at = NOON + 3 * MINUTE;
    assert_eq!(ada.last_seen(&session), NOON + 3 * MINUTE);

    let untold = |lives: &Lives| -> Vec<_> {
        let untold = lives.untold().into_iter();
        untold.map(|(live, seen)| (live.id, seen)).collect()
    };
    let want = [(session.id, NOON + 2 * MINUTE)];
    assert_eq!(untold(&lives), want);
    assert_eq!(untold(&lives), want, "until the store has been told");
    ada.told(NOON + 2 * MINUTE);
    assert_eq!(untold(&lives), []);
    ada.see(NOON + 4 * MINUTE);
    assert_eq!(untold(&lives), [(session.id, NOON + 4 * MINUTE)]);
}

#[test]
fn s9_lost_news_are_made_up_for_once() {
    let lives = Lives::default();
    let (one, two) = (
        session("ada", "ines", Duration::ZERO),
        session("eve", "ines", Duration::ZERO),
    );
    live(&lives, &one);
    live(&lives, &two);
    assert!(lives.unsure().is_none());
    lives.hear(&SessionChange::Unknown);
    let (losses, mut ids) = lives.unsure().unwrap();
    ids.sort();
    assert_eq!(ids, [one.id, two.id]);
    assert!(lives.unsure().is_some(), "until each was asked about");
    lives.hear(&SessionChange::Unknown);
    lives.made_up(losses);
    let (losses, _) = lives.unsure().expect("more were lost meanwhile");
    lives.made_up(losses);
    assert!(lives.unsure().is_none());
}

#[test]
fn s9_a_look_up_that_the_end_overtook_is_not_trusted() {
    let lives = Lives::default();
    let session = session("ada", "ines", Duration::ZERO);

    let before = lives.before();
    lives.hear(&SessionChange::Ended(session.id, EndedReason::Manual));
    assert!(!lives.of(&session, before).1);

    let other = self::session("eve", "ines", Duration::ZERO);
    let before = lives.before();
    lives.hear(&SessionChange::Unknown);
    assert!(!lives.of(&other, before).1);
    assert!(
        lives.of(&other, before).1,
        "an entry that is there hears of its end"
    );
    assert!(
        lives
            .of(&self::session("eve", "otto", MINUTE), lives.before())
            .1
    );
}
