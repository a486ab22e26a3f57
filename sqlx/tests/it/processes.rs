//! Two processes on one PostgreSQL: what one of them has answered to be over, the other does not serve (rule S9).
//!
//! `ROUNDS` says how often for each kind of end.

use std::{
    io::BufRead as _,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use http::{Method, StatusCode};
use sqlx::{Executor as _, PgPool};
use time::OffsetDateTime;
use tower_impersonation::{
    DirectoryUser, Impersonation, Rank, StartRequest, UserId, directory_fn, session::Cached,
};
use tower_impersonation_sqlx::{AdminRole, PostgresSessions, PostgresTrail, SqlConsents, SqlRoles};

use crate::{
    child::{self, Process},
    handle::{act, request_of},
    host::{Pg, user},
};

/// Longer than any of this lasts.
const HOUR: Duration = Duration::from_secs(60 * 60);
/// What an answer may take where a listener hangs, with room for a machine that is busy.
const LEASE: Duration = Duration::from_secs(4);

/// What a process of the host has.
#[derive(Clone)]
struct Replica {
    pool: PgPool,
    impersonation: Impersonation,
    sessions: PostgresSessions,
    roles: SqlRoles,
    consents: SqlConsents,
}

// === impl Replica ===

impl Replica {
    async fn new(pool: PgPool) -> Self {
        let trail = PostgresTrail::new(pool.clone());
        let sessions = PostgresSessions::new(pool.clone()).with_trail(&trail);
        let roles = SqlRoles::new(pool.clone());
        let consents = SqlConsents::new(pool.clone());
        let users = pool.clone();
        let directory = directory_fn(move |id: UserId| {
            let users = users.clone();
            async move {
                let find = "select exists (select from customers where id = $1)";
                let find = sqlx::query_scalar(find).bind(id.as_str());
                let is_there: bool = find.fetch_one(&users).await?;
                Ok(is_there.then(|| DirectoryUser::new(id, Rank(0))))
            }
        });
        let checker = roles.checker(|parts| parts.extensions.get().cloned());
        let impersonation = Impersonation::builder(checker, trail)
            .handlers_read_acting_as()
            .directory(directory)
            .directory_cache(Duration::ZERO)
            .require_consent(consents.clone())
            .starts_per_hour(u32::MAX)
            .sessions(Cached::new(sessions.clone(), HOUR))
            .build()
            .unwrap();
        sessions.listening().await;
        Self {
            pool,
            impersonation,
            sessions,
            roles,
            consents,
        }
    }

    /// Everything that a session of this admin for ines needs, and the session.
    async fn start(&self, by: &str) {
        let (ada, root, ines) = (user(by), user("root"), user("ines"));
        self.roles
            .grant(&ada, AdminRole::Admin, &root)
            .await
            .unwrap();
        let tomorrow = OffsetDateTime::now_utc() + Duration::from_secs(86_400);
        self.consents.allow(&ines, tomorrow).await.unwrap();
        let there = "insert into customers values ('ines') on conflict do nothing";
        self.pool.execute(there).await.unwrap();
        let (parts, ()) = request_of(by, ()).into_parts();
        let start = StartRequest::new(ines.into(), "ticket 4711");
        self.impersonation.start(&parts, start).await.unwrap();
    }
}

/// The other process: acts when it is asked to, and says what became of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(database) = child::database() else {
        return;
    };
    let replica = Replica::new(PgPool::connect(&database).await.unwrap()).await;
    child::say("ready");
    let (asked, mut asks) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let _ = asked.send(line.unwrap());
        }
    });
    while let Some(ask) = asks.recv().await {
        let (what, by) = ask.split_once(' ').unwrap();
        let (parts, ()) = request_of(by, ()).into_parts();
        match what {
            "act" => child::say(act(&replica.impersonation, by, Method::GET).await.as_u16()),
            "hears" => child::say({
                replica.sessions.listening().await;
                use tower_impersonation::session::SessionStore as _;
                replica.sessions.hears_all()
            }),
            // Work of its own, until it is killed.
            "load" => {
                let busy = replica.clone();
                tokio::spawn(async move {
                    loop {
                        let start = StartRequest::new(user("otto").into(), "ticket 4712");
                        let _ = busy.impersonation.start(&parts, start).await;
                        let _ = busy.impersonation.stop(&parts).await;
                    }
                });
                child::say("busy");
            }
            other => panic!("{other}"),
        }
    }
}

/// How a session may come to its end.
#[derive(Debug, Clone, Copy)]
enum End {
    Stopped,
    Forced,
    Demoted,
    Withdrawn,
    Removed,
}

impl End {
    const ALL: [Self; 5] = [
        Self::Stopped,
        Self::Forced,
        Self::Demoted,
        Self::Withdrawn,
        Self::Removed,
    ];

    /// Until it is answered.
    async fn answered(self, replica: &Replica, by: &str) {
        let (ada, root, ines) = (user(by), user("root"), user("ines"));
        let (parts, ()) = request_of(by, ()).into_parts();
        match self {
            Self::Stopped => {
                let stopped = replica.impersonation.stop(&parts).await.unwrap();
                assert!(stopped.is_stored && stopped.sessions.len() == 1);
            }
            Self::Forced => {
                let current = replica.impersonation.current(&parts).await.unwrap();
                let id = current.unwrap().session.id;
                let (root, ()) = request_of("root", ()).into_parts();
                let revoked = replica.impersonation.revoke(&root, id).await.unwrap();
                assert!(revoked.is_stored);
            }
            Self::Demoted => assert!(replica.roles.revoke(&ada, &root).await.unwrap()),
            Self::Withdrawn => assert!(replica.consents.withdraw(&ines).await.unwrap()),
            Self::Removed => {
                let gone = "delete from customers where id = 'ines'";
                replica.pool.execute(gone).await.unwrap();
                replica.impersonation.forget_user(&ines);
            }
        }
    }
}

/// What was seen of one kind of trouble.
#[derive(Debug, Default)]
struct Seen {
    rounds: usize,
    served: usize,
    /// Sorted by duration at the end.
    answers: Vec<Duration>,
}

impl Seen {
    /// One session that both processes act in, its end in this one, and a request to the other one at once.
    async fn round(
        &mut self,
        end: End,
        here: &Replica,
        there: &mut Process,
        by: &str,
        trouble: impl AsyncFn(),
    ) {
        here.start(by).await;
        let asked = format!("act {by}");
        for _ in 0..2 {
            assert_eq!(
                act(&here.impersonation, by, Method::GET).await,
                StatusCode::OK
            );
            assert_eq!(there.ask(&asked), "200", "{end:?}");
        }
        trouble().await;
        let begun = Instant::now();
        end.answered(here, by).await;
        let answer = begun.elapsed();
        let served = there.ask(&asked) == "200";
        if served {
            eprintln!("{end:?} was answered after {answer:?} and served after that");
        }
        self.rounds += 1;
        self.served += usize::from(served);
        self.answers.push(answer);
        // Whatever its end was: the next one starts anew.
        let _ = here.impersonation.log_out(&user(by)).await;
    }

    fn report(mut self, what: &str) {
        self.answers.sort();
        let at = |percent: usize| self.answers[(self.answers.len() - 1) * percent / 100];
        eprintln!(
            "{what}: {} rounds, {} served after the answer; answers p50 {:?}, p99 {:?}, longest {:?}",
            self.rounds,
            self.served,
            at(50),
            at(99),
            at(100)
        );
        assert_eq!(self.served, 0, "{what}");
        assert!(at(100) < LEASE, "{what}");
    }
}

async fn two(db: &Pg) -> (Replica, Process) {
    let create =
        "create table customers (id text primary key); insert into customers values ('otto')";
    db.pool.execute(create).await.unwrap();
    let here = Replica::new(db.other_pool().await).await;
    here.roles.grant_first(&user("root")).await.unwrap();
    let tomorrow = OffsetDateTime::now_utc() + Duration::from_secs(86_400);
    here.consents.allow(&user("otto"), tomorrow).await.unwrap();
    let url = child::url_of(&db.pool).await;
    let mut there = Process::new("processes::child", &url);
    assert_eq!(there.next(), "ready");
    (here, there)
}

/// The backends that listen, oldest first: that of this process is the first one.
async fn listeners(db: &Pg) -> Vec<i32> {
    let pids = "select pid from pg_stat_activity where datname = current_database() \
        and application_name like '%listener' order by backend_start";
    sqlx::query_scalar(pids).fetch_all(&db.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s9_what_one_process_has_ended_the_other_does_not_serve() {
    let rounds = child::rounds("ROUNDS", 10);
    let db = Pg::new().await;
    let (here, mut there) = two(&db).await;
    for end in End::ALL {
        let mut seen = Seen::default();
        for _ in 0..rounds {
            seen.round(end, &here, &mut there, "ada", async || {}).await;
        }
        seen.report(&format!("{end:?}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s9_nor_under_load() {
    let rounds = child::rounds("ROUNDS", 10);
    let db = Pg::new().await;
    let (here, mut there) = two(&db).await;
    let goes_on = AtomicBool::new(true);
    let (mut busy, root) = (Vec::new(), user("root"));
    for number in 0..4 {
        let by = format!("busy {number}");
        here.roles
            .grant(&user(&by), AdminRole::Admin, &root)
            .await
            .unwrap();
        let (parts, ()) = request_of(&by, ()).into_parts();
        match number % 2 {
            0 => assert_eq!(there.ask(&format!("load {by}")), "busy"),
            _ => busy.push((by, parts)),
        }
    }
    let load = async |(by, parts): &(String, http::request::Parts)| {
        while goes_on.load(Ordering::Relaxed) {
            let start = StartRequest::new(user("otto").into(), "ticket 4712");
            let _ = here.impersonation.start(parts, start).await;
            act(&here.impersonation, by, Method::GET).await;
            let _ = here.impersonation.stop(parts).await;
            tokio::task::yield_now().await;
        }
    };
    let work = async {
        for end in End::ALL {
            let mut seen = Seen::default();
            for _ in 0..rounds {
                let there = &mut there;
                seen.round(end, &here, there, "ada", async || {}).await;
            }
            seen.report(&format!("{end:?} under load"));
        }
        goes_on.store(false, Ordering::Relaxed);
    };
    tokio::join!(work, load(&busy[0]), load(&busy[1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s9_nor_where_its_listener_is_killed() {
    let rounds = child::rounds("ROUNDS", 10).div_ceil(5);
    let db = Pg::new().await;
    let (here, mut there) = two(&db).await;
    for end in End::ALL {
        let mut seen = Seen::default();
        for _ in 0..rounds {
            assert_eq!(there.ask("hears it"), "true");
            let kill = "select pg_terminate_backend(pid) from pg_stat_activity \
                where datname = current_database() and application_name like '%listener'";
            let kill = async || assert!(db.pool.execute(kill).await.is_ok());
            seen.round(end, &here, &mut there, "ada", kill).await;
        }
        seen.report(&format!("{end:?} while both listeners are killed"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s9_nor_where_its_listener_hangs() {
    let rounds = child::rounds("ROUNDS", 10).div_ceil(50);
    let db = Pg::new().await;
    let (here, mut there) = two(&db).await;
    let own = listeners(&db).await[0];
    for end in End::ALL {
        let mut seen = Seen::default();
        for _ in 0..rounds {
            assert_eq!(there.ask("hears it"), "true");
            // What was stopped before goes once it is let go on.
            let there_pid = loop {
                match listeners(&db).await[..] {
                    [one, other] => break if one == own { other } else { one },
                    _ => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            };
            let signal = |signal: &str| {
                let mut kill = std::process::Command::new("kill");
                kill.arg(signal).arg(there_pid.to_string());
                kill.status().is_ok_and(|kill| kill.success())
            };
            if !signal("-STOP") {
                eprintln!("the server's processes cannot be stopped by this user");
                return;
            }
            signal("-CONT");
            let stop = async || {
                // One that goes just now is as good as killed.
                signal("-STOP");
            };
            seen.round(end, &here, &mut there, "ada", stop).await;
            signal("-CONT");
        }
        seen.report(&format!("{end:?} while the other listener hangs"));
    }
}
