//! The session's life, step by step at random, beside a model that is too simple to be wrong.

use std::{sync::Arc, time::Duration};

use proptest::{collection::vec, prelude::*};
use time::OffsetDateTime;

use super::{MINUTE, NOON, session, subject, user};
use crate::{
    session::{
        EndedReason, Limits, MemorySessions, Page, Session, SessionFilter, SessionId, SessionStore,
        SessionUpdate, StartError,
    },
    words::Access,
};

const ACTORS: [&str; 2] = ["ada", "eve"];
const SUBJECTS: [&str; 3] = ["ines", "otto", "~anon"];

#[derive(Debug, Clone)]
enum Step {
    Start {
        actor: usize,
        subject: usize,
        lifetime: u32,
        idle: u32,
        replace: bool,
    },
    End(usize),
    Touch {
        which: usize,
        ago: u32,
    },
    Update {
        which: usize,
        access: Option<Access>,
        left: Option<u32>,
    },
    Pass(u32),
    Sweep(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let minutes = || prop_oneof![1..20u32, 1..100u32];
    let access = prop::option::of(prop_oneof![Just(Access::ReadOnly), Just(Access::ReadWrite)]);
    let start = (0..2usize, 0..3usize, minutes(), minutes(), any::<bool>());
    let start = start.prop_map(|(actor, subject, lifetime, idle, replace)| Step::Start {
        actor,
        subject,
        lifetime,
        idle,
        replace,
    });
    let touch = (any::<usize>(), 0..10u32).prop_map(|(which, ago)| Step::Touch { which, ago });
    let update = (any::<usize>(), access, prop::option::of(0..60u32));
    let update = update.prop_map(|(which, access, left)| Step::Update {
        which,
        access,
        left,
    });
    let step = prop_oneof![
        6 => start,
        2 => any::<usize>().prop_map(Step::End),
        2 => touch,
        2 => update,
        5 => (0..25u32).prop_map(Step::Pass),
        1 => (0..4usize).prop_map(Step::Sweep),
    ];
    vec(step, 1..80)
}

/// All there ever was, in the order of starts.
#[derive(Default)]
struct Model {
    all: Vec<Session>,
}

impl Model {
    /// When and why it is over, had nobody ended it.
    fn natural_end(session: &Session) -> (OffsetDateTime, EndedReason) {
        let idle = session.last_seen_at + session.idle_timeout;
        if idle < session.expires_at {
            (idle, EndedReason::Idle)
        } else {
            (session.expires_at, EndedReason::Timeout)
        }
    }

    fn is_active(session: &Session, now: OffsetDateTime) -> bool {
        session.ended_at.is_none() && now < Self::natural_end(session).0
    }

    fn is_overdue(session: &Session, now: OffsetDateTime) -> bool {
        session.ended_at.is_none() && now >= Self::natural_end(session).0
    }

    fn end_at(&mut self, index: usize, at: OffsetDateTime, why: EndedReason) -> SessionId {
        let session = &mut self.all[index];
        session.ended_at = Some(at);
        session.ended_reason = Some(why);
        session.id
    }

    fn end_overdue(&mut self, index: usize) -> SessionId {
        let (at, why) = Self::natural_end(&self.all[index]);
        self.end_at(index, at, why)
    }

    /// What ends with the start, or `None` and how long to wait where that helps.
    fn start(&mut self, new: Session, limits: &Limits) -> Result<Vec<SessionId>, Option<Duration>> {
        let now = new.started_at;
        let of_actor = |session: &Session| session.actor == new.actor;
        let mut active: Vec<_> = (0..self.all.len())
            .filter(|at| of_actor(&self.all[*at]) && Self::is_active(&self.all[*at], now))
            .collect();
        let mut replaced = Vec::new();
        active.retain(|at| {
            let is_same = self.all[*at].subject == new.subject;
            if is_same {
                replaced.push(*at);
            }
            !is_same
        });
        while active.len() >= limits.active {
            replaced.push(active.remove(0));
        }
        if !replaced.is_empty() && !limits.replace {
            return Err(None);
        }
        let hour = 60 * MINUTE;
        let mut recent: Vec<_> = self
            .all
            .iter()
            .filter(|session| of_actor(session))
            .collect();
        recent.retain(|session| session.started_at + hour > now);
        let most = limits.starts_per_hour as usize;
        if recent.len() >= most {
            let first_out = recent[recent.len() - most].started_at + hour;
            return Err(Some((first_out - now).unsigned_abs()));
        }
        let overdue: Vec<_> = (0..self.all.len())
            .filter(|at| of_actor(&self.all[*at]) && Self::is_overdue(&self.all[*at], now))
            .collect();
        let mut ended: Vec<_> = overdue.into_iter().map(|at| self.end_overdue(at)).collect();
        for at in replaced {
            ended.push(self.end_at(at, now, EndedReason::Replaced));
        }
        self.all.push(new);
        Ok(ended)
    }
}

fn ids<'s>(sessions: impl IntoIterator<Item = &'s Arc<Session>>) -> Vec<SessionId> {
    let mut ids: Vec<_> = sessions.into_iter().map(|session| session.id).collect();
    ids.sort();
    ids
}

async fn live_through(
    store: &impl SessionStore,
    steps: Vec<Step>,
    limits: Limits,
) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    let mut now = NOON;
    for step in steps {
        match step {
            Step::Start {
                actor,
                subject: of,
                lifetime,
                idle,
                replace,
            } => {
                let mut new = session(ACTORS[actor], SUBJECTS[of], (now - NOON).unsigned_abs());
                new.expires_at = now + lifetime * MINUTE;
                new.idle_timeout = idle * MINUTE;
                let limits = Limits { replace, ..limits };
                let checked = store.check(&new, &limits, now).await;
                let started = store.start(new.clone(), &limits).await;
                prop_assert_eq!(checked.is_ok(), started.is_ok());
                match (started, model.start(new, &limits)) {
                    (Ok(started), Ok(mut ended)) => {
                        ended.sort();
                        prop_assert_eq!(ids(&started.ended), ended);
                    }
                    (Err(StartError::AlreadyActive), Err(None)) => {}
                    (Err(StartError::TooManyStarts { retry_after }), Err(Some(wait))) => {
                        prop_assert_eq!(retry_after, wait);
                    }
                    (started, modelled) => {
                        prop_assert!(false, "{:?} instead of {:?}", started, modelled);
                    }
                }
            }
            Step::Pass(minutes) => now += minutes * MINUTE,
            Step::Sweep(limit) => {
                let ended = store.end_due(now, limit).await.unwrap();
                let overdue = |session: &&Session| Model::is_overdue(session, now);
                let due = model.all.iter().filter(overdue).count();
                prop_assert_eq!(ended.len(), due.min(limit));
                for session in ended {
                    let at = model.all.iter().position(|model| model.id == session.id);
                    let at = at.unwrap();
                    prop_assert!(Model::is_overdue(&model.all[at], now));
                    model.end_overdue(at);
                    prop_assert_eq!(&*session, &model.all[at]);
                }
            }
            Step::End(_) | Step::Touch { .. } | Step::Update { .. } if model.all.is_empty() => {}
            Step::End(which) => {
                let at = which % model.all.len();
                let ended = store.end(model.all[at].id, EndedReason::Manual, now).await;
                let was_active = Model::is_active(&model.all[at], now);
                prop_assert_eq!(ended.unwrap().is_some(), was_active);
                if was_active {
                    model.end_at(at, now, EndedReason::Manual);
                }
            }
            Step::Touch { which, ago } => {
                let at = which % model.all.len();
                let seen = now - ago * MINUTE;
                store.touch(model.all[at].id, seen).await.unwrap();
                let session = &mut model.all[at];
                if session.ended_at.is_none() {
                    session.last_seen_at = session.last_seen_at.max(seen);
                }
            }
            Step::Update {
                which,
                access,
                left,
            } => {
                let at = which % model.all.len();
                let update = SessionUpdate {
                    access,
                    expires_at: left.map(|left| now + left * MINUTE),
                };
                let id = model.all[at].id;
                let updated = store.update(id, update.clone(), now).await.unwrap();
                let was_active = Model::is_active(&model.all[at], now);
                prop_assert_eq!(updated.is_some(), was_active);
                if was_active {
                    let session = &mut model.all[at];
                    session.access = access.unwrap_or(session.access);
                    session.expires_at = update.expires_at.unwrap_or(session.expires_at);
                }
            }
        }

        // Whatever happened, the store and the model know the same.
        let page = Page {
            limit: usize::MAX,
            ..Page::default()
        };
        let everything = SessionFilter::default();
        let list = store.list(&everything, &page, now).await.unwrap();
        let listed: Vec<_> = list
            .sessions
            .iter()
            .rev()
            .map(|one| (**one).clone())
            .collect();
        prop_assert_eq!(&listed, &model.all);
        for (actor, of) in ACTORS
            .iter()
            .flat_map(|a| SUBJECTS.map(|s| (user(a), subject(s))))
        {
            let of_pair = |one: &&Session| one.actor == actor && one.subject == of;
            let open = |one: &&Session| one.ended_at.is_none() && now < one.expires_at;
            let open: Vec<_> = model.all.iter().filter(of_pair).filter(open).collect();
            prop_assert!(open.len() <= 1, "S2: one session per actor and subject");
            let found = store.active(&actor, &of, now).await.unwrap();
            prop_assert_eq!(found.as_deref(), open.first().copied());
        }
        for actor in ACTORS {
            let of_actor = model.all.iter().filter(|one| one.actor == user(actor));
            let active = of_actor.filter(|one| Model::is_active(one, now)).count();
            prop_assert!(active <= limits.active, "S2: as many as are allowed");
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn s2_s3_s4_a_life_is_as_the_rules_say(
        steps in steps(),
        active in 1..3usize,
        starts_per_hour in 1..8u32,
    ) {
        let limits = Limits { active, replace: false, starts_per_hour };
        tokio_test::block_on(live_through(&MemorySessions::new(), steps, limits))?;
    }
}
