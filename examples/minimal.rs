//! The least that works, with axum: two traits, no sessions, no directory.
//!
//! `curl -H 'Authorization: Bearer demo-ada' 'http://127.0.0.1:3000/?as=ines'`

use async_trait::async_trait;
use axum::{Router, routing::get};
use http::request::Parts;
use tower_impersonation::{
    ActingAs, Actor, AdminChecker, BoxError, Caller, Decision, Grant, ImpersonationLayer, Rank,
    Subject,
    audit::{AuditEvent, AuditSink},
};

/// Who is an admin, and whom they may act as.
struct Staff;

#[async_trait]
impl AdminChecker for Staff {
    async fn identify(&self, parts: &Parts) -> Result<Caller, BoxError> {
        // Here your own authentication comes in; see `AdminChecker` for one that left an extension.
        Ok(match parts.headers.get("authorization") {
            Some(token) if token == "Bearer demo-ada" => {
                Caller::Admin(Actor::new("ada".parse()?, Rank(20)))
            }
            Some(_) => Caller::User("someone".parse()?),
            None => Caller::Anonymous,
        })
    }

    async fn authorize(&self, _: &Actor, who: &Subject, _: &Parts) -> Result<Decision, BoxError> {
        Ok(match who {
            Subject::User(id) if id.as_str() != "root" => Decision::Allow(Grant::read_only()),
            _ => Decision::deny("customers only"),
        })
    }
}

/// Where the trail goes.
struct Stdout;

#[async_trait]
impl AuditSink for Stdout {
    async fn write(&self, events: &[AuditEvent]) -> Result<(), BoxError> {
        events
            .iter()
            .for_each(|it| println!("{}", it.to_json_line()));
        Ok(())
    }
}

async fn home(acting_as: Option<ActingAs>) -> String {
    match acting_as {
        Some(it) => format!(
            "the page of {}, seen by {}\n",
            it.subject(),
            it.actor().id()
        ),
        None => "your own page\n".to_owned(),
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let layer = ImpersonationLayer::new(Staff, Stdout);
    let app = Router::new().route("/", get(home).post(home)).layer(layer);

    let addr = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = tokio::net::TcpListener::bind(addr).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
