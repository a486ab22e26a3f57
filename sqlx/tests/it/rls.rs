//! Row-level security with real policies: those of the example.
//!
//! Each test has a database with orders of three customers, one of them public, and a pool of one connection, so
//! that whatever is left on a connection is there for the next one who asks.

use std::{future::Future, panic::AssertUnwindSafe, task::Poll};

use http::Request;
use sqlx::{Executor as _, PgPool, Postgres, Row as _, Transaction, postgres::PgPoolOptions};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_impersonation::{
    Access, ActingAs, Actor, Caller, Decision, DirectoryUser, Grant, Impersonation,
    MemoryDirectory, Rank, Rights, StartRequest, Subject, UserId, audit::MemorySink, checker_fn,
    session::MemorySessions,
};
use tower_impersonation_sqlx::{ApplyActingAs, Identity, Profile};

use crate::host::{Pg, user};

const NASTY: &str = "'; RESET ROLE; --";

struct Shop {
    /// As the application: neither owner nor superuser.
    app: PgPool,
}

impl Shop {
    async fn new() -> Self {
        let db = Pg::new().await;
        // Roles are the server's, and tests run at once.
        let make_roles = "select pg_advisory_lock(1); do $$ begin \
            if not exists (select from pg_roles where rolname = 'shop') then \
              create role shop login noinherit; create role authenticated; create role anon; \
              create role service_role; grant authenticated, anon, service_role to shop; \
            end if; end $$; select pg_advisory_unlock(1)";
        let server = PgPoolOptions::new().max_connections(1);
        let url = std::env::var("TEST_DATABASE_URL").unwrap();
        let server = server.connect(&url).await.unwrap();
        server.execute(make_roles).await.unwrap();
        db.pool
            .execute(concat!(
                "create schema shop; set search_path = shop;",
                include_str!("../../examples/row_level_security.sql"),
                "; set row_security = off;
                insert into orders (customer, item, is_public) values
                  ('ines', 'tea', false), ('ines', 'cup', false), ('otto', 'rum', false),
                  ($q$'; RESET ROLE; --$q$, 'odd', false), ('shop', 'flyer', true);
                create table notes (owner text, body text);
                alter table notes enable row level security;
                insert into notes values ('ines', 'of ines'), ('otto', 'of otto');
                create policy own on notes to authenticated
                  using (owner = (nullif(current_setting('request.jwt.claims', true), '')::jsonb) ->> 'sub');
                create policy everything on notes to service_role using (true);
                grant usage on schema shop to shop, authenticated, anon, service_role;
                grant all on orders, orders_id_seq to shop;
                grant select on notes to authenticated, anon, service_role;",
            ))
            .await
            .unwrap();
        let options = db
            .options
            .username("shop")
            .options([("search_path", "shop")]);
        let app = PgPoolOptions::new().max_connections(1);
        Self {
            app: app.connect_with(options).await.unwrap(),
        }
    }

    async fn tx(&self, identity: &Identity) -> Transaction<'static, Postgres> {
        let mut tx = self.app.begin().await.unwrap();
        let settings = Profile::settings();
        settings.apply(&mut tx, identity).await.unwrap();
        tx
    }

    /// The only connection there is knows nobody.
    async fn assert_nobody(&self, after: &str) {
        assert_eq!(items(&self.app).await, [""; 0], "after {after}");
        let row = "select current_user::text as who, current_setting('transaction_read_only') as read_only, \
            coalesce(current_setting('app.user_id', true), '') || coalesce(current_setting('app.role', true), '') \
              || coalesce(current_setting('app.actor_id', true), '') \
              || coalesce(current_setting('app.session_id', true), '') \
              || coalesce(current_setting('request.jwt.claims', true), '') as left_over";
        let row = sqlx::query(row).fetch_one(&self.app).await.unwrap();
        assert_eq!(row.get::<String, _>("who"), "shop", "after {after}");
        assert_eq!(row.get::<String, _>("read_only"), "off", "after {after}");
        assert_eq!(row.get::<String, _>("left_over"), "", "after {after}");
    }
}

async fn items<'e>(executor: impl sqlx::PgExecutor<'e>) -> Vec<String> {
    let items = sqlx::query_scalar("select item from orders order by item");
    items.fetch_all(executor).await.unwrap()
}

fn sqlstate(error: &sqlx::Error) -> String {
    let code = error.as_database_error().and_then(|error| error.code());
    code.expect("the database has to refuse").into_owned()
}

/// What a handler finds in an acted request of `ada`.
async fn acting_as(subject: &str, access: Access) -> ActingAs {
    let checker = checker_fn(
        |_| {
            let ada = Actor::new(user("ada"), Rank(20)).with_rights(Rights::all());
            Caller::Admin(ada)
        },
        |_, _, _| Decision::Allow(Grant::read_write()),
    );
    let users: MemoryDirectory = ["ines", "otto", NASTY]
        .into_iter()
        .map(|id| DirectoryUser::new(user(id), Rank(0)).with_role("customer"))
        .collect();
    let impersonation = Impersonation::builder(checker, MemorySink::default())
        .handlers_read_acting_as()
        .directory(users)
        .sessions(MemorySessions::new())
        .build()
        .unwrap();
    let subject: Subject = subject.parse().unwrap();
    let start = StartRequest::new(subject.clone(), "ticket 4711").with_access(access);
    let (parts, ()) = Request::new(()).into_parts();
    impersonation.start(&parts, start).await.unwrap();
    let handler = service_fn(async |_: Request<String>| {
        Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
    });
    let request = Request::builder().header("Act-As", subject.as_str());
    let request = request.body(String::new()).unwrap();
    let response = impersonation
        .layer()
        .layer(handler)
        .oneshot(request)
        .await
        .unwrap();
    // It is in the extensions of the response as well (rule R14).
    response.extensions().get::<ActingAs>().cloned().unwrap()
}

#[tokio::test]
async fn the_subject_sees_its_own_rows_and_what_is_public() {
    let shop = Shop::new().await;
    shop.assert_nobody("nothing at all").await;
    let tests: [(&str, &[&str]); 5] = [
        ("ines", &["cup", "flyer", "tea"]),
        ("otto", &["flyer", "rum"]),
        (NASTY, &["flyer", "odd"]),
        ("~anon", &["flyer"]),
        ("~service", &["flyer"]),
    ];
    for (subject, wanted) in tests {
        let acting_as = acting_as(subject, Access::ReadWrite).await;
        let mut tx = shop.app.begin().await.unwrap();
        acting_as
            .apply(&mut tx, &Profile::settings())
            .await
            .unwrap();
        assert_eq!(items(&mut *tx).await, wanted, "as {subject}");
        tx.commit().await.unwrap();
        shop.assert_nobody(subject).await;
    }
    let mut tx = shop
        .tx(&Identity::user(user("otto")).with_role("customer"))
        .await;
    assert_eq!(
        items(&mut *tx).await,
        ["flyer", "rum"],
        "of one's own request"
    );
}

#[tokio::test]
async fn a_trigger_records_who_really_acted() {
    let shop = Shop::new().await;
    let write = async |tx: &mut Transaction<'_, Postgres>| -> (String, String) {
        let insert = "insert into orders (item) values ('new') returning customer, changed_by";
        sqlx::query_as(insert).fetch_one(&mut **tx).await.unwrap()
    };
    let acting_as = acting_as("ines", Access::ReadWrite).await;
    let mut tx = shop.app.begin().await.unwrap();
    acting_as
        .apply(&mut tx, &Profile::settings())
        .await
        .unwrap();
    assert_eq!(write(&mut tx).await, ("ines".into(), "ada".into()));
    let session: String = sqlx::query_scalar("select current_setting('app.session_id')")
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    assert_eq!(session, acting_as.session().unwrap().id.to_string());
    // Not even by hand can a row be given to someone else.
    let other = tx
        .execute("insert into orders (customer, item) values ('otto', 'x')")
        .await;
    assert_eq!(sqlstate(&other.unwrap_err()), "42501");
    tx.rollback().await.unwrap();

    let mut tx = shop.tx(&Identity::user(user("otto"))).await;
    assert_eq!(write(&mut tx).await, ("otto".into(), "otto".into()));
}

#[tokio::test]
async fn r10_a_read_only_session_cannot_write_by_any_sql() {
    const READ_ONLY: &str = "25006";

    let shop = Shop::new().await;
    let acting_as = acting_as("ines", Access::ReadOnly).await;
    let tests = [
        ("insert into orders (item) values ('x')", READ_ONLY),
        ("update orders set item = 'x'", READ_ONLY),
        ("delete from orders", READ_ONLY),
        ("truncate orders", READ_ONLY),
        ("create table x (id int)", READ_ONLY),
        ("select nextval('orders_id_seq')", READ_ONLY),
        (
            "with gone as (delete from orders returning 1) select count(*) from gone",
            READ_ONLY,
        ),
        // And it stays so.
        ("set transaction read write", "25001"),
        (
            "select set_config('transaction_read_only', 'off', true)",
            "25001",
        ),
        ("set local transaction_read_only = off", "25001"),
    ];
    for profile in [Profile::settings(), Profile::custom(|_| Vec::new())] {
        for (statement, wanted) in tests {
            let mut tx = shop.app.begin().await.unwrap();
            acting_as.apply(&mut tx, &profile).await.unwrap();
            let refused = tx.execute(statement).await.map(drop);
            assert_eq!(
                sqlstate(&refused.expect_err(statement)),
                wanted,
                "{statement}"
            );
        }
    }
    // In a savepoint neither; and what the next one gets is not read-only.
    let mut tx = shop.app.begin().await.unwrap();
    acting_as
        .apply(&mut tx, &Profile::settings())
        .await
        .unwrap();
    for statement in ["savepoint a", "set transaction read write"] {
        let done = tx.execute(statement).await;
        assert_eq!(done.is_ok(), statement == "savepoint a", "{statement}");
    }
    tx.execute("rollback to savepoint a").await.unwrap();
    let write = tx.execute("insert into orders (item) values ('x')").await;
    assert_eq!(sqlstate(&write.unwrap_err()), READ_ONLY);
    drop(tx);
    let mut tx = shop.tx(&Identity::user(user("ines"))).await;
    tx.execute("insert into orders (item) values ('x')")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_pooled_connection_keeps_nobody_after_commit_rollback_panic_or_cancellation() {
    let shop = Shop::new().await;
    let ines = Identity::user(user("ines")).with_role("customer");
    let reader = ines.clone().read_only();
    for identity in [&ines, &reader] {
        let tx = shop.tx(identity).await;
        tx.commit().await.unwrap();
        shop.assert_nobody("commit").await;

        let mut tx = shop.tx(identity).await;
        assert_eq!(items(&mut *tx).await, ["cup", "flyer", "tea"]);
        tx.rollback().await.unwrap();
        shop.assert_nobody("rollback").await;

        drop(shop.tx(identity).await);
        shop.assert_nobody("drop").await;

        let mut tx = shop.tx(identity).await;
        let _ = tx.execute("select 1 / 0").await.unwrap_err();
        drop(tx);
        shop.assert_nobody("an error").await;

        let panicking = async {
            let _tx = shop.tx(identity).await;
            panic!("in a handler");
        };
        let mut panicking = Box::pin(AssertUnwindSafe(panicking));
        let panicked = std::future::poll_fn(|cx| {
            let polled = std::panic::catch_unwind(AssertUnwindSafe(|| panicking.as_mut().poll(cx)));
            match polled {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(())) => Poll::Ready(false),
                Err(_) => Poll::Ready(true),
            }
        });
        assert!(panicked.await);
        drop(panicking);
        shop.assert_nobody("a panic").await;

        // Dropped at every point where it waits, in the middle of a query as well.
        for polls in 1..16 {
            let handler = async {
                let mut tx = shop.tx(identity).await;
                tx.execute("select pg_sleep(0.001)").await.unwrap();
                items(&mut *tx).await
            };
            {
                let mut handler = std::pin::pin!(handler);
                let mut left = polls;
                std::future::poll_fn(|cx| {
                    left -= 1;
                    match handler.as_mut().poll(cx) {
                        Poll::Pending if left > 0 => Poll::Pending,
                        _ => Poll::Ready(()),
                    }
                })
                .await;
            }
            shop.assert_nobody("a cancelled future").await;
        }
    }
}

#[tokio::test]
async fn supabase_gets_its_role_and_claims_with_the_actor() {
    let shop = Shop::new().await;
    let notes = async |tx: &mut Transaction<'_, Postgres>| -> Vec<String> {
        let notes = sqlx::query_scalar("select body from notes order by body");
        notes.fetch_all(&mut **tx).await.unwrap()
    };
    let tests: [(&str, &str, &[&str]); 3] = [
        ("ines", "authenticated", &["of ines"]),
        ("~anon", "anon", &[]),
        ("~service", "service_role", &["of ines", "of otto"]),
    ];
    for (subject, role, wanted) in tests {
        let acting_as = acting_as(subject, Access::ReadWrite).await;
        let mut tx = shop.app.begin().await.unwrap();
        acting_as
            .apply(&mut tx, &Profile::supabase())
            .await
            .unwrap();
        assert_eq!(notes(&mut tx).await, wanted, "as {subject}");
        let (who, claims): (String, String) =
            sqlx::query_as("select current_user::text, current_setting('request.jwt.claims')")
                .fetch_one(&mut *tx)
                .await
                .unwrap();
        assert_eq!(who, role);
        let claims: serde_json::Value = serde_json::from_str(&claims).unwrap();
        let mut expected = serde_json::json!({
            "role": role, "act": { "sub": "ada" },
            "session_id": acting_as.session().unwrap().id.to_string(),
        });
        if subject == "ines" {
            expected["sub"] = "ines".into();
        }
        assert_eq!(claims, expected);
        drop(tx);
        shop.assert_nobody(subject).await;
    }
}

#[tokio::test]
async fn custom_settings_are_data_names_and_values_alike() {
    let shop = Shop::new().await;
    let profile = Profile::custom(|identity| {
        let subject = identity.subject().to_string();
        vec![("shop.customer".into(), subject)]
    });
    let mut tx = shop.app.begin().await.unwrap();
    let odd = Identity::user(user(NASTY));
    profile.apply(&mut tx, &odd).await.unwrap();
    let set: String = sqlx::query_scalar("select current_setting('shop.customer')")
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    assert_eq!(set, NASTY);
    drop(tx);

    let profile = Profile::custom(|_| vec![("x', true); drop table orders; --".into(), "".into())]);
    let mut tx = shop.app.begin().await.unwrap();
    assert!(profile.apply(&mut tx, &odd).await.is_err());
    drop(tx);
    let ines: UserId = user("ines");
    let mut tx = shop.tx(&Identity::user(ines)).await;
    assert_eq!(items(&mut *tx).await.len(), 2, "no table was dropped");
}
