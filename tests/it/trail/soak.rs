//! A2, A3, A4: after many mixed requests at once, the trail tells exactly what the clients saw. `SOAK=1000000` makes them
//! many.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use http::Request;
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt, service_fn};
use tower_impersonation::{
    Access, Actor, Caller, Decision, Grant, Impersonation, Rank, Rejection, RejectionKind,
    StartRequest, UserId,
    audit::{AuditEvent, EventName, Outcome, sink_fn},
    checker_fn,
    session::MemorySessions,
};

/// What was seen, and how often.
type Counts = BTreeMap<String, u64>;

fn count(counts: &Mutex<Counts>, what: String, times: u64) {
    *counts.lock().unwrap().entry(what).or_default() += times;
}

/// What an event says that a client has seen.
fn told(event: &AuditEvent) -> Option<String> {
    match (event.name, event.outcome) {
        (EventName::Request, Some(Outcome::Completed)) => {
            Some(format!("{} acted", event.method.as_deref()?))
        }
        (EventName::Request, Some(Outcome::Intent)) => Some("intent".to_owned()),
        (EventName::Denied, _) => Some(event.rule.as_deref()?.to_owned()),
        _ => None,
    }
}

/// This process's memory in pages.
fn pages() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let resident = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    resident.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a2_a4_the_trail_counts_what_the_clients_saw() {
    const CLIENTS: u64 = 32;
    let all: u64 = std::env::var("SOAK").map_or(20_000, |all| all.parse().unwrap());

    let (written, seen) = (
        Arc::new(Mutex::new(Counts::new())),
        Arc::<Mutex<Counts>>::default(),
    );
    let kept = written.clone();
    let sink = sink_fn(move |events| {
        for event in events {
            if let Some(what) = told(event) {
                count(&kept, what, event.count.unwrap_or(1));
            }
        }
        Ok(())
    });
    let checker = checker_fn(
        |parts| match parts.extensions.get::<UserId>() {
            Some(id) => Caller::Admin(Actor::new(id.clone(), Rank(20))),
            None => Caller::Anonymous,
        },
        |_, _, _| Decision::Allow(Grant::read_write()),
    );
    let impersonation = Impersonation::builder(checker, sink)
        .sessions(MemorySessions::new())
        .handlers_read_acting_as()
        .protect("/password")
        .build()
        .unwrap();
    let service = impersonation
        .layer()
        .layer(service_fn(|_: Request<String>| async {
            Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
        }));

    let early = Arc::<AtomicU64>::default();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (service, seen, early) = (service.clone(), seen.clone(), early.clone());
        let impersonation = impersonation.clone();
        clients.spawn(async move {
            let me: UserId = format!("admin{client}").parse().unwrap();
            let (mut parts, ()) = Request::new(()).into_parts();
            parts.extensions.insert(me.clone());
            let start =
                StartRequest::new("ines".parse().unwrap(), "soak").with_access(Access::ReadWrite);
            impersonation.start(&parts, start).await.unwrap();
            for n in 0..all / CLIENTS {
                if client == 0 && n == all / CLIENTS / 10 {
                    early.store(pages(), SeqCst);
                }
                let (method, target) = match n % 16 {
                    0 => ("POST", "/orders?as=ines".to_owned()),
                    1 => ("GET", "/orders?as=otto".to_owned()),
                    2 => ("POST", "/password?as=ines".to_owned()),
                    3 => ("GET", "/orders?as=".to_owned()),
                    4..8 => ("GET", "/orders".to_owned()),
                    n => ("GET", format!("/orders/{}?as=ines", n % 3)),
                };
                let request = Request::builder().method(method).uri(target.as_str());
                let mut request = request.body(String::new()).unwrap();
                request.extensions_mut().insert(me.clone());
                let response = service.clone().oneshot(request).await.unwrap();
                let kind = response
                    .extensions()
                    .get::<Rejection>()
                    .map(Rejection::kind);
                match kind.map(RejectionKind::code) {
                    Some(code) => count(&seen, code.to_owned(), 1),
                    None if target.contains("as=") => count(&seen, format!("{method} acted"), 1),
                    None => {}
                }
                if method == "POST" && kind.is_none() {
                    count(&seen, "intent".to_owned(), 1);
                }
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    impersonation.trail().flush().await.unwrap();

    assert_eq!(*written.lock().unwrap(), *seen.lock().unwrap());
    // Nothing is kept of a request that is over: as much again is the allocator's.
    let (early, late) = (early.load(SeqCst), pages());
    println!("{seen:?}, {early} pages after a tenth, {late} at the end");
    assert!(
        late < early * 2,
        "{early} pages after a tenth, {late} at the end"
    );
}
