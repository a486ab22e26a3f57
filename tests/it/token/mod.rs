//! Acting tokens, through the layer and the handle: they act like a marker, and die with their session.

use http::StatusCode;
use serde_json::Value;
use tower_impersonation::{
    Builder, RejectionKind, SessionWithUser,
    token::{
        Algorithm, EncodingKey, IssuedTokens, Tokens,
        jsonwebtoken::{self, Header},
    },
};

use crate::support::{Desk, Reply, Req, ask, desk_with, get, provider, with};

mod cookie;
mod forged;
mod life;
mod login;
mod source;

const SECRET: [u8; 32] = [7; 32];

fn settings() -> Tokens {
    provider();
    Tokens::hs256("https://shop.example", "shop", "k1", &SECRET)
}

fn desk_with_tokens() -> Desk {
    desk_with_tokens_and(|builder| builder)
}

fn desk_with_tokens_and(set: impl FnOnce(Builder) -> Builder) -> Desk {
    desk_with(|builder| set(builder.tokens(settings())))
}

fn issue(desk: &Desk, session: &SessionWithUser) -> IssuedTokens {
    desk.handle
        .tokens()
        .unwrap()
        .issue(&session.session)
        .unwrap()
}

async fn started(desk: &Desk) -> (SessionWithUser, IssuedTokens) {
    let session = desk.start("ada", "ines").await.unwrap();
    let tokens = issue(desk, &session);
    (session, tokens)
}

fn bearer(method: &str, target: &str, token: &str) -> Req {
    let bearer = format!("Bearer {token}");
    with(ask(method, "", target), &[("authorization", &bearer)])
}

fn beside(who: &str, target: &str, token: &str) -> Req {
    with(get(who, target), &[("impersonation-token", token)])
}

fn assert_unauthorized(reply: &Reply, what: &str) {
    assert_eq!(reply.kind, Some(RejectionKind::InvalidToken), "{what}");
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{what}");
    assert!(reply.body.contains("Unauthorized"), "{what}");
    assert_eq!(
        reply.headers["www-authenticate"], "Bearer error=\"invalid_token\"",
        "{what}"
    );
}

fn login(algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey, claims: &Value) -> String {
    let mut header = Header::new(algorithm);
    header.kid = kid.map(str::to_owned);
    jsonwebtoken::encode(&header, claims, key).unwrap()
}
