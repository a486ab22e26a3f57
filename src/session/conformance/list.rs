//! [S7](crate::rules#s7): lists by each filter, in pages, and cursors that visit each session once.

use std::time::Duration;

use super::{Check, MICRO, MINUTE, SECOND, at, ids_of, of, page, user};
use crate::{
    session::{EndedReason, Page, SessionFilter, SessionId, SessionStore, SubjectKind},
    words::{Subject, UserId},
};

pub(super) async fn list_filters_alone_and_together<S: SessionStore>(check: Check<S>) {
    let (ada, eve) = (check.actor("ada"), check.actor("eve"));
    let ines = format!("ines {}", check.tag.simple());
    let mut sessions = Vec::new();
    // 0: ended, 1: idle, 2 and later: active when it is listed.
    let all = [
        (&ada, &*ines, 0),
        (&ada, "otto", 1),
        (&ada, "~anon", 25),
        (&ada, "~service", 26),
        (&ada, &*ines, 27),
        (&eve, &*ines, 28),
        (&eve, "~anon", 29),
    ];
    for (actor, subject, minute) in all {
        let session = check.session(actor, subject, minute * MINUTE);
        let session = check.given(session).await;
        if minute == 0 {
            check.end(session.id, EndedReason::Manual, MINUTE).await;
        }
        sessions.push(session);
    }
    let now = 31 * MINUTE;
    type Set<'a> = &'a dyn Fn(&mut SessionFilter);
    let tests: [(Set<'_>, &[usize]); 17] = [
        (&|_| {}, &[0, 1, 2, 3, 4, 5, 6]),
        (&|f| f.subject = Some(user(&ines)), &[0, 4, 5]),
        (&|f| f.subject = Some(Subject::Anonymous), &[2, 6]),
        (&|f| f.subject = Some(Subject::Service), &[3]),
        (&|f| f.kind = Some(SubjectKind::User), &[0, 1, 4, 5]),
        (&|f| f.kind = Some(SubjectKind::Anon), &[2, 6]),
        (&|f| f.kind = Some(SubjectKind::Service), &[3]),
        (&|f| f.is_active = Some(true), &[2, 3, 4, 5, 6]),
        (&|f| f.is_active = Some(false), &[0, 1]),
        (&|f| f.from = Some(at(25 * MINUTE)), &[2, 3, 4, 5, 6]),
        (&|f| f.from = Some(at(25 * MINUTE + MICRO)), &[3, 4, 5, 6]),
        (&|f| f.to = Some(at(25 * MINUTE)), &[0, 1]),
        (&|f| f.to = Some(at(25 * MINUTE + MICRO)), &[0, 1, 2]),
        (
            &|f| {
                f.kind = Some(SubjectKind::User);
                f.from = Some(at(MINUTE));
                f.to = Some(at(28 * MINUTE));
            },
            &[1, 4],
        ),
        (
            &|f| {
                f.subject = Some(user(&ines));
                f.kind = Some(SubjectKind::User);
                f.is_active = Some(true);
                f.from = Some(at(Duration::ZERO));
                f.to = Some(at(28 * MINUTE));
            },
            &[4],
        ),
        (
            &|f| {
                f.subject = Some(user(&ines));
                f.kind = Some(SubjectKind::Anon);
            },
            &[],
        ),
        (
            &|f| {
                f.from = Some(at(28 * MINUTE));
                f.to = Some(at(27 * MINUTE));
            },
            &[],
        ),
    ];
    for (set, wanted) in tests {
        let mut filter = SessionFilter::default();
        set(&mut filter);
        let newest_first = |of: Option<&UserId>| -> Vec<SessionId> {
            let wanted = wanted.iter().rev().map(|index| &sessions[*index]);
            let wanted = wanted.filter(|session| of.is_none_or(|of| session.actor == *of));
            wanted.map(|session| session.id).collect()
        };
        for actor in [&ada, &eve] {
            let filter = SessionFilter {
                actor: Some(actor.clone()),
                ..filter.clone()
            };
            let list = check.list(&filter, &Page::default(), now).await;
            let wanted = newest_first(Some(actor));
            assert_eq!(
                ids_of(&list.sessions),
                wanted,
                "list: newest first, what this filter matches: {filter:?}"
            );
            assert_eq!(
                list.total,
                wanted.len() as u64,
                "list: `total` is how many the filter matches: {filter:?}"
            );
            assert_eq!(list.next, None, "list: this was the last page: {filter:?}");
        }
        // Without an actor there may be sessions of others in between.
        let (mut found, mut cursor) = (Vec::new(), None);
        loop {
            let list = check.list(&filter, &page(100, 0, cursor), now).await;
            assert!(
                list.sessions
                    .iter()
                    .all(|session| filter.matches(session, at(now))),
                "list: nothing but what this filter matches: {filter:?}"
            );
            found.extend(list.sessions);
            cursor = list.next;
            if cursor.is_none() {
                break;
            }
        }
        found.retain(|session| session.actor == ada || session.actor == eve);
        assert_eq!(
            ids_of(&found),
            newest_first(None),
            "list: newest first, what this filter matches, of all actors: {filter:?}"
        );
    }
}

pub(super) async fn list_pages_newest_first<S: SessionStore>(check: Check<S>) {
    let ada = check.actor("ada");
    let mut ids = Vec::new();
    // Two of them at the same time: the id decides.
    let mut times = vec![Duration::ZERO, SECOND, SECOND, 2 * SECOND, 3 * SECOND];
    times.push(3 * SECOND + 1_000 * MICRO);
    for (number, after) in times.into_iter().enumerate() {
        let session = check.session(&ada, &format!("subject {number}"), after);
        ids.push(check.given(session).await.id);
    }
    ids.sort();
    ids.reverse();

    struct Test {
        limit: usize,
        offset: usize,
        before: Option<usize>,
        wanted: std::ops::Range<usize>,
        more: bool,
    }
    let test = |limit, offset, before, wanted, more| Test {
        limit,
        offset,
        before,
        wanted,
        more,
    };
    let tests = [
        test(0, 0, None, 0..0, false),
        test(0, 3, None, 0..0, false),
        test(1, 0, None, 0..1, true),
        test(1, 5, None, 5..6, false),
        test(5, 0, None, 0..5, true),
        test(6, 0, None, 0..6, false),
        test(7, 0, None, 0..6, false),
        test(usize::MAX, 0, None, 0..6, false),
        test(usize::MAX - 1, 4, None, 4..6, false),
        test(2, 3, None, 3..5, true),
        test(2, 4, None, 4..6, false),
        test(2, 6, None, 0..0, false),
        test(2, 1_000_000, None, 0..0, false),
        test(2, 0, Some(0), 1..3, true),
        test(2, 0, Some(3), 4..6, false),
        test(2, 0, Some(5), 0..0, false),
        test(2, 1, Some(1), 3..5, true),
        test(usize::MAX, 1, Some(1), 3..6, false),
    ];
    for test in tests {
        let Test { limit, offset, .. } = test;
        let shape = (limit, offset, test.before);
        let page = page(limit, offset, test.before.map(|index| ids[index]));
        let list = check.list(&of(&ada), &page, MINUTE).await;
        let wanted = &ids[test.wanted];
        assert_eq!(
            ids_of(&list.sessions),
            wanted,
            "list: newest first, limit, offset and cursor {shape:?}"
        );
        assert_eq!(
            list.total, 6,
            "list: `total` does not depend on the page {shape:?}"
        );
        let next = wanted.last().copied().filter(|_| test.more);
        assert_eq!(
            list.next, next,
            "list: `next` is the last of the page, if there are more {shape:?}"
        );
    }
}

pub(super) async fn list_cursors_visit_each_once<S: SessionStore>(check: Check<S>) {
    let ada = check.actor("ada");
    let mut wanted = Vec::new();
    for number in 0..20 {
        let session = check.session(&ada, &format!("subject {number}"), number * SECOND);
        wanted.push(check.given(session).await.id);
    }
    wanted.reverse();

    let (mut visited, mut cursor, mut round) = (Vec::new(), None, 0);
    loop {
        let page = page(3, 0, cursor);
        let list = check.list(&of(&ada), &page, MINUTE).await;
        visited.extend(ids_of(&list.sessions));
        cursor = list.next;
        if cursor.is_none() {
            break;
        }
        // Meanwhile others start, and some that were visited and some that were not end.
        round += 1;
        let session = check.session(&ada, &format!("later {round}"), round * MINUTE);
        check.given(session).await;
        for index in [round as usize, 20 - round as usize] {
            check
                .end(wanted[index], EndedReason::Manual, round * MINUTE)
                .await;
        }
    }
    assert_eq!(
        visited, wanted,
        "list: a cursor visits each session once, whatever starts and ends meanwhile"
    );
}
