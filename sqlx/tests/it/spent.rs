//! Refresh tokens are good once, and forgotten with their session.

use std::task::Poll;

use tower_impersonation::session::{EndedReason, SessionId, SessionStore};
use tower_impersonation_sqlx::{PostgresSessions, SqliteSessions};
use uuid::Uuid;

use crate::host::{Lite, Pg, now, session, started};

async fn is_spent_once(sessions: impl SessionStore) -> SessionId {
    let id = started(&sessions, session("ada", "ines")).await.id;
    let other = started(&sessions, session("eve", "ines")).await.id;
    let (token, next) = (Uuid::now_v7(), Uuid::now_v7());
    assert!(sessions.spend(id, token).await.unwrap());
    assert!(!sessions.spend(id, token).await.unwrap(), "twice");
    assert!(sessions.spend(id, next).await.unwrap());
    assert!(
        sessions.spend(other, token).await.unwrap(),
        "another session"
    );

    let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
    for token in [one, two] {
        let spends = (0..8).map(|_| sessions.spend(id, token));
        let mut spent = 0;
        for spend in join_all(spends).await {
            spent += usize::from(spend.unwrap());
        }
        assert_eq!(spent, 1, "at once");
    }
    sessions.end(id, EndedReason::Manual, now()).await.unwrap();
    assert!(
        !sessions.spend(id, Uuid::now_v7()).await.unwrap(),
        "it is over"
    );
    other
}

async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    let mut outputs: Vec<_> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let Poll::Ready(done) = future.as_mut().poll(cx)
            {
                *output = Some(done);
            }
        }
        match outputs.iter().all(Option::is_some) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

#[tokio::test]
async fn a_refresh_token_is_spent_once_and_forgotten_with_its_session() {
    let (pg, file) = (Pg::new().await, Lite::new().await);
    let live = is_spent_once(PostgresSessions::new(pg.pool.clone())).await;
    let left = "select array_agg(distinct session) from impersonation.spent_tokens";
    let left: Vec<Uuid> = sqlx::query_scalar(left).fetch_one(&pg.pool).await.unwrap();
    assert_eq!(left, [live.0]);

    let live = is_spent_once(SqliteSessions::new(file.pool.clone())).await;
    let left = "select session from impersonation_spent_tokens";
    let left: Vec<Uuid> = sqlx::query_scalar(left)
        .fetch_all(&file.pool)
        .await
        .unwrap();
    assert_eq!(left, [live.0]);
}
