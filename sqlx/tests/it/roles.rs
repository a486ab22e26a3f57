//! Roles as a table, in both databases.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::{Request, Response, StatusCode};
use sqlx::Executor as _;
use tokio::sync::watch;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_impersonation::{
    Access, ActingAs, AdminChecker, Caller, DirectoryUser, Impersonation, MemoryDirectory, Rank,
    Rights, StartRequest, Subject, UserId,
    audit::MemorySink,
    session::{Cached, EndedReason, MemorySessions, SessionChange, SessionId, SessionStore},
};
use tower_impersonation_sqlx::{AdminRole, PostgresSessions, RoleError, SqlRoles};

use crate::host::{Lite, Pg, user};

/// Who is signed in.
#[derive(Clone)]
struct SignedIn(UserId);

fn who(parts: &http::request::Parts) -> Option<UserId> {
    parts.extensions.get().map(|SignedIn(id)| id.clone())
}

fn request(by: &str) -> http::Request<()> {
    let mut request = Request::new(());
    request.extensions_mut().insert(SignedIn(user(by)));
    request
}

async fn both() -> (Pg, Lite, [SqlRoles; 2]) {
    let (pg, lite) = (Pg::new().await, Lite::new().await);
    let roles = [
        SqlRoles::new(pg.pool.clone()),
        SqlRoles::new(lite.pool.clone()),
    ];
    (pg, lite, roles)
}

#[tokio::test]
async fn the_first_superadmin_is_given_once_and_gives_the_others() {
    let (_pg, _lite, both) = both().await;
    let (root, ada, eve) = (user("root"), user("ada"), user("eve"));
    for roles in both {
        assert_eq!(roles.role_of(&root).await.unwrap(), None);
        let early = roles.grant(&ada, AdminRole::Admin, &root).await;
        assert!(matches!(early, Err(RoleError::NotAllowed)), "{early:?}");

        roles.grant_first(&root).await.unwrap();
        assert_eq!(
            roles.role_of(&root).await.unwrap(),
            Some(AdminRole::Superadmin)
        );
        let again = roles.grant_first(&eve).await;
        assert!(matches!(again, Err(RoleError::NotAllowed)), "{again:?}");

        roles.grant(&ada, AdminRole::Admin, &root).await.unwrap();
        // Neither an admin nor a user gives or takes roles.
        for by in [&ada, &eve] {
            let granted = roles.grant(&eve, AdminRole::Superadmin, by).await;
            assert!(matches!(granted, Err(RoleError::NotAllowed)), "{granted:?}");
            let revoked = roles.revoke(&root, by).await;
            assert!(matches!(revoked, Err(RoleError::NotAllowed)), "{revoked:?}");
        }
        assert_eq!(roles.role_of(&eve).await.unwrap(), None);

        assert!(!roles.revoke(&eve, &root).await.unwrap(), "there was none");
        assert!(roles.revoke(&root, &root).await.unwrap());
        let again = roles.grant_first(&eve).await;
        assert!(matches!(again, Err(RoleError::NotAllowed)), "there was one");
    }
}

#[tokio::test]
async fn every_grant_stays_in_the_table() {
    let (pg, lite, both) = both().await;
    let (root, ada) = (user("root"), user("ada"));
    for roles in both {
        roles.grant_first(&root).await.unwrap();
        roles.grant(&ada, AdminRole::Support, &root).await.unwrap();
        roles.grant(&ada, AdminRole::Support, &root).await.unwrap();
        roles.grant(&ada, AdminRole::Admin, &root).await.unwrap();
        assert_eq!(roles.role_of(&ada).await.unwrap(), Some(AdminRole::Admin));
        roles.revoke(&ada, &root).await.unwrap();
        assert_eq!(roles.role_of(&ada).await.unwrap(), None);
    }
    type Row = (String, Option<String>, Option<String>, bool);
    let row = |role: &str| -> Row {
        let root = Some("root".to_owned());
        (role.to_owned(), root.clone(), root, true)
    };
    let wanted = [row("support"), row("admin")];
    let select = "select role, granted_by, revoked_by, revoked_at is not null";
    let of_ada = "where user_id = 'ada' order by id";
    let sql = format!("{select} from impersonation.admin_roles {of_ada}");
    let rows: Vec<Row> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .fetch_all(&pg.pool)
        .await
        .unwrap();
    assert_eq!(rows, wanted);
    let sql = format!("{select} from impersonation_admin_roles {of_ada}");
    let rows: Vec<Row> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .fetch_all(&lite.pool)
        .await
        .unwrap();
    assert_eq!(rows, wanted);
}

#[tokio::test]
async fn the_checker_reads_the_role_each_time() {
    let (_pg, _lite, both) = both().await;
    let (root, ada) = (user("root"), user("ada"));
    for roles in both {
        roles.grant_first(&root).await.unwrap();
        let checker = roles.checker(who);
        let identify = async |by: &str| {
            let (parts, ()) = request(by).into_parts();
            checker.identify(&parts).await.unwrap()
        };
        let (nobody, ()) = Request::new(()).into_parts();
        assert_eq!(checker.identify(&nobody).await.unwrap(), Caller::Anonymous);
        assert_eq!(identify("ada").await, Caller::User(ada.clone()));

        for (role, rank, service) in [
            (AdminRole::Support, 10, false),
            (AdminRole::Admin, 20, false),
            (AdminRole::Superadmin, 30, true),
        ] {
            roles.grant(&ada, role, &root).await.unwrap();
            let Caller::Admin(actor) = identify("ada").await else {
                panic!("{role} is an admin");
            };
            assert_eq!(
                (actor.rank(), actor.role()),
                (Rank(rank), Some(role.as_str()))
            );
            assert_eq!(actor.rights().contains(Rights::SERVICE), service);
            assert_eq!(checker.actor(&ada).await.unwrap(), Some(actor));
        }
        roles.revoke(&ada, &root).await.unwrap();
        assert_eq!(identify("ada").await, Caller::User(ada.clone()));
        assert_eq!(checker.actor(&ada).await.unwrap(), None);
    }
}

#[tokio::test]
async fn each_role_may_what_its_name_says() {
    let db = Lite::new().await;
    let checker = SqlRoles::new(db.pool.clone()).checker(who);
    let (parts, ()) = Request::new(()).into_parts();
    let ines = Subject::User(user("ines"));
    use Access::{ReadOnly, ReadWrite};
    let tests = [
        ("support", &ines, Some(ReadOnly)),
        ("support", &Subject::Anonymous, None),
        ("support", &Subject::Service, None),
        ("admin", &ines, Some(ReadWrite)),
        ("admin", &Subject::Anonymous, Some(ReadWrite)),
        ("admin", &Subject::Service, None),
        ("superadmin", &ines, Some(ReadWrite)),
        ("superadmin", &Subject::Anonymous, Some(ReadWrite)),
        ("superadmin", &Subject::Service, Some(ReadWrite)),
        ("janitor", &ines, None),
    ];
    for (role, subject, wanted) in tests {
        let actor = tower_impersonation::Actor::new(user("ada"), Rank(30)).with_role(role);
        let decision = checker.authorize(&actor, subject, &parts).await.unwrap();
        let access = match decision {
            tower_impersonation::Decision::Allow(grant) => Some(grant.access()),
            _ => None,
        };
        assert_eq!(access, wanted, "{role} as {subject}");
    }
}

/// One replica: a handle with its own store, roles and watch, and a stream that waits for the end of its session.
struct Replica {
    impersonation: Impersonation,
    ended: watch::Receiver<Option<EndedReason>>,
    tell: watch::Sender<Option<EndedReason>>,
}

impl Replica {
    fn new(roles: &SqlRoles, sessions: impl SessionStore) -> Self {
        let users: MemoryDirectory = [DirectoryUser::new(user("ines"), Rank(0))]
            .into_iter()
            .collect();
        let impersonation = Impersonation::builder(roles.checker(who), MemorySink::default())
            .handlers_read_acting_as()
            .directory(users)
            .sessions(sessions)
            .build()
            .unwrap();
        let (tell, ended) = watch::channel(None);
        Self {
            impersonation,
            ended,
            tell,
        }
    }

    async fn start(&self, by: &str) -> SessionId {
        let (parts, ()) = request(by).into_parts();
        let start = StartRequest::new(user("ines").into(), "ticket 4711");
        self.impersonation
            .start(&parts, start)
            .await
            .unwrap()
            .session
            .id
    }

    /// An acted request, whose handler keeps on waiting for the end of the session behind its answer.
    async fn act(&self, by: &str) -> StatusCode {
        let tell = self.tell.clone();
        let handler = service_fn(move |request: Request<String>| {
            let tell = tell.clone();
            async move {
                let acting_as = request.extensions().get::<ActingAs>().unwrap().clone();
                tokio::spawn(async move { tell.send_replace(Some(acting_as.ended().await)) });
                Ok::<_, Infallible>(Response::new(String::new()))
            }
        });
        let mut request = request(by).map(|()| String::new());
        let headers = request.headers_mut();
        headers.insert("act-as", "ines".parse().unwrap());
        let service = self.impersonation.layer().layer(handler);
        service.oneshot(request).await.unwrap().status()
    }

    /// Waits for what the stream hears; never longer than a test may take.
    async fn stream_ends(&mut self) -> EndedReason {
        let ended = self.ended.wait_for(Option::is_some);
        let ended = tokio::time::timeout(Duration::from_secs(30), ended).await;
        ended.expect("the stream has to end").unwrap().unwrap()
    }
}

/// How the store has it ended: a process refuses a session before the store knows (rule S5).
async fn stored_end(store: &PostgresSessions, id: SessionId) -> EndedReason {
    loop {
        let session = store.get(id).await.unwrap().unwrap();
        if let Some(reason) = session.ended_reason {
            return reason;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn r8_a_role_that_is_taken_away_ends_its_sessions_on_every_replica() {
    let db = Pg::new().await;
    let (root, ada) = (user("root"), user("ada"));
    let stores = [
        PostgresSessions::new(db.other_pool().await),
        PostgresSessions::new(db.other_pool().await),
    ];
    let roles = SqlRoles::new(db.pool.clone());
    roles.grant_first(&root).await.unwrap();
    roles.grant(&ada, AdminRole::Admin, &root).await.unwrap();
    let replicas = stores.clone().map(|store| {
        let cached = Cached::new(store, Duration::from_secs(3600));
        Replica::new(&roles, cached)
    });
    let _watches = [0, 1].map(|at| roles.watch(&replicas[at].impersonation));
    for store in &stores {
        store.listening().await;
    }
    let [one, mut other] = replicas;
    let id = one.start("ada").await;
    assert_eq!(other.act("ada").await, StatusCode::OK);

    // Another role that may as much changes nothing; the next news show that these were heard.
    roles
        .grant(&ada, AdminRole::Superadmin, &root)
        .await
        .unwrap();
    assert_eq!(other.act("ada").await, StatusCode::OK);

    roles.revoke(&ada, &root).await.unwrap();
    assert_eq!(other.stream_ends().await, EndedReason::ActorDemoted);
    assert_eq!(stored_end(&stores[0], id).await, EndedReason::ActorDemoted);
    assert_eq!(one.act("ada").await, StatusCode::FORBIDDEN);
    assert_eq!(other.act("ada").await, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn r8_a_lower_role_ends_them_as_well_also_by_hand() {
    let db = Pg::new().await;
    let (root, ada) = (user("root"), user("ada"));
    let roles = SqlRoles::new(db.pool.clone());
    roles.grant_first(&root).await.unwrap();
    for lower in [
        "select impersonation.grant_role('ada', 'support', 'root')",
        "update impersonation.admin_roles set role = 'support' where user_id = 'ada' and revoked_at is null",
        "delete from impersonation.admin_roles where user_id = 'ada'",
    ] {
        roles.grant(&ada, AdminRole::Admin, &root).await.unwrap();
        let store = PostgresSessions::new(db.other_pool().await);
        let mut replica = Replica::new(&roles, store.clone());
        let watch = roles.watch(&replica.impersonation);
        watch.listening().await;
        let id = replica.start("ada").await;
        assert_eq!(replica.act("ada").await, StatusCode::OK);
        db.pool.execute(lower).await.unwrap();
        let ended = replica.stream_ends().await;
        assert_eq!(ended, EndedReason::ActorDemoted, "{lower}");
        assert_eq!(stored_end(&store, id).await, ended, "{lower}");
    }
}

#[tokio::test]
async fn r8_in_sqlite_the_process_that_takes_a_role_away_ends_its_sessions() {
    let db = Lite::new().await;
    let (root, ada, eve) = (user("root"), user("ada"), user("eve"));
    let roles = SqlRoles::new(db.pool.clone());
    roles.grant_first(&root).await.unwrap();
    for admin in [&ada, &eve] {
        roles.grant(admin, AdminRole::Admin, &root).await.unwrap();
    }
    let mut replica = Replica::new(&roles, MemorySessions::new());
    let _watch = roles.watch(&replica.impersonation);
    replica.start("ada").await;
    replica.start("eve").await;
    assert_eq!(replica.act("eve").await, StatusCode::OK);
    // More is no demotion; once the end of the other one is heard, this has been, too.
    roles
        .grant(&ada, AdminRole::Superadmin, &root)
        .await
        .unwrap();
    roles.clone().revoke(&eve, &root).await.unwrap();
    assert_eq!(replica.stream_ends().await, EndedReason::ActorDemoted);
    assert_eq!(replica.act("ada").await, StatusCode::OK);

    replica.tell.send_replace(None);
    roles.grant(&ada, AdminRole::Support, &root).await.unwrap();
    assert_eq!(replica.stream_ends().await, EndedReason::ActorDemoted);
}

#[tokio::test]
async fn r8_what_was_taken_away_while_nobody_listened_is_caught_up_with() {
    let db = Pg::new().await;
    let (root, ada) = (user("root"), user("ada"));
    let roles = SqlRoles::new(db.pool.clone());
    roles.grant_first(&root).await.unwrap();
    roles.grant(&ada, AdminRole::Admin, &root).await.unwrap();
    let store = PostgresSessions::new(db.other_pool().await);
    let (heard, mut news) = watch::channel(None);
    store.subscribe(Arc::new(move |change| {
        if let SessionChange::Ended(_, reason) = change {
            heard.send_replace(Some(*reason));
        }
    }));
    let replica = Replica::new(&roles, store);
    replica.start("ada").await;
    roles.revoke(&ada, &root).await.unwrap();
    let _watch = roles.watch(&replica.impersonation);
    let ended = news.wait_for(Option::is_some);
    let ended = tokio::time::timeout(Duration::from_secs(30), ended).await;
    let reason = *ended.expect("it has to end").unwrap();
    assert_eq!(reason, Some(EndedReason::ActorDemoted));
}
