//! Without a framework: the layer around a plain function, served by hyper.
//!
//! `curl -H 'Authorization: Bearer demo-ada' 'http://127.0.0.1:3000/?as=ines'`

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tower::{Layer as _, service_fn};
use tower_impersonation::{
    ActingAs, Actor, BoxError, Caller, Decision, Grant, Impersonation, Rank, audit::sink_fn,
    checker_fn,
};

/// The whole application. `Effective` and the other extractors are axum's; here the extension is enough.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let text = match request.extensions().get::<ActingAs>() {
        Some(it) => format!(
            "the page of {}, seen by {}\n",
            it.subject(),
            it.actor().id()
        ),
        None => "your own page\n".to_owned(),
    };
    Ok(Response::new(Full::from(text)))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let ada = Actor::new("ada".parse()?, Rank(20));
    let checker = checker_fn(
        move |parts| match parts.headers.get("authorization") {
            Some(token) if token == "Bearer demo-ada" => Caller::Admin(ada.clone()),
            _ => Caller::Anonymous,
        },
        |_actor, _subject, _parts| Decision::Allow(Grant::read_only()),
    );
    let audit = sink_fn(|events| {
        events
            .iter()
            .for_each(|it| println!("{}", it.to_json_line()));
        Ok(())
    });
    let impersonation = Impersonation::builder(checker, audit)
        .handlers_read_acting_as()
        // hyper tells the address once per connection, so it is put on each request below.
        .client_address(|parts| Some(parts.extensions.get::<SocketAddr>()?.ip()))
        .build()?;
    let app = impersonation.layer().layer(service_fn(answer));

    let addr = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(addr).await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, peer) = listener.accept().await?;
        let app =
            tower::util::MapRequest::new(app.clone(), move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(peer);
                request
            });
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
            if let Err(error) = connection.await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}
