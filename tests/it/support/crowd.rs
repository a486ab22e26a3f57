//! Many requests at once, each of which must see its own pair of actor and subject.

use std::time::Duration;

use tower_impersonation::{Subject, UserId, audit::EventName};

use super::{
    desk::{desk_with, who},
    http::get,
    world::How,
};

pub(crate) async fn each_sees_its_own() {
    let desk = desk_with(|b| b.max_active(10).directory_cache(Duration::ZERO));
    let mut pairs = Vec::new();
    for actor in ["root", "ada", "abe", "sam"] {
        for whom in ["ines", "otto", "mia"] {
            desk.start(actor, whom).await.unwrap();
            pairs.push((actor, whom));
        }
    }
    for place in ["identify", "authorize", "find"] {
        desk.world.trouble(place, How::Slow(7));
    }
    let (go, _) = tokio::sync::broadcast::channel::<()>(1);
    let mut running = Vec::new();
    for n in 0..100 {
        let (actor, whom) = pairs[n % pairs.len()];
        let (desk, mut go) = (desk.clone(), go.subscribe());
        running.push(tokio::spawn(async move {
            let _ = go.recv().await;
            let reply = desk.send(get(actor, &format!("/{n}?as={whom}"))).await;
            (format!("{whom} by {actor}"), reply)
        }));
    }
    drop(go);
    for one in running {
        let (pair, reply) = one.await.unwrap();
        assert_eq!(reply.body, pair);
        assert_eq!(who(reply.acting_as.as_ref()), pair);
        let whom = pair.split(' ').next().unwrap();
        assert_eq!(reply.headers["acted-as"], whom);
    }
    // And so does the trail.
    let flushed = desk.handle.trail().flush().await;
    flushed.unwrap();
    let mut requests = 0;
    for event in desk.sink.events() {
        if event.name == EventName::Request {
            let n: usize = event.path.as_deref().unwrap()[1..].parse().unwrap();
            let (actor, whom) = pairs[n % pairs.len()];
            assert_eq!(event.actor.as_ref().map(UserId::as_str), Some(actor));
            assert_eq!(event.subject.as_ref().map(Subject::as_str), Some(whom));
            requests += 1;
        }
    }
    assert_eq!(requests, 100);
}
