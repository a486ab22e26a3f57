//! Requests as tests write them, and a real server to send them to.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, request::Parts};
use http_body::Body;
use http_body_util::Full;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::net::TcpListener;
use tower::Service;
use tower_impersonation::BoxError;

pub(crate) type Req = Request<Full<Bytes>>;

/// A request of whoever `who` is signed in as; nobody is signed in as `""`.
pub(crate) fn ask(method: &str, who: &str, target: &str) -> Req {
    let mut request = Request::builder().method(method).uri(target);
    if !who.is_empty() {
        request = request.header("x-user", who);
    }
    request.body(Full::default()).expect("a request")
}

pub(crate) fn get(who: &str, target: &str) -> Req {
    ask("GET", who, target)
}

pub(crate) fn post(who: &str, target: &str) -> Req {
    ask("POST", who, target)
}

/// The request with these headers, in this order, in place of what it had under their names.
pub(crate) fn with<B>(mut request: Request<B>, headers: &[(&'static str, &str)]) -> Request<B> {
    for (name, _) in headers {
        request.headers_mut().remove(*name);
    }
    for (name, value) in headers {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a header");
        request.headers_mut().append(*name, value);
    }
    request
}

pub(crate) fn parts(who: &str) -> Parts {
    get(who, "/").into_parts().0
}

/// Serves on a free port of this machine.
pub(crate) async fn serve<S, B>(service: S) -> SocketAddr
where
    S: Service<Request<hyper::body::Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError> + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let http = hyper::server::conn::http1::Builder::new();
                // A response that was cut ends the connection with an error; the client tells.
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

/// One request on a connection of its own.
pub(crate) async fn fetch(address: SocketAddr, request: Req) -> Response<hyper::body::Incoming> {
    let stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("the server");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("http");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let mut request = request;
    let host = HeaderValue::try_from(address.to_string()).expect("an address");
    request.headers_mut().insert("host", host);
    sender.send_request(request).await.expect("an answer")
}
