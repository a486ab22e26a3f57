//! R2: where a token or a cookie says whom, the page does not.

use tower_impersonation::token::Tokens;

use super::{DOCUMENT, FROM_INES, NAVIGATE, SAME_ORIGIN, TYPED, all_settings, sent};
use crate::support::{desk_with, provider};

#[tokio::test]
async fn r2_a_token_or_a_cookie_says_whom_not_the_page() {
    provider();
    let desk = desk_with(|b| {
        all_settings(b)
            .max_active(2)
            .control_path("/impersonation")
            .tokens(Tokens::hs256(
                "https://shop.example",
                "shop",
                "k1",
                b"0123456789abcdef0123456789abcdef",
            ))
    });
    let session = desk.start("ada", "otto").await.unwrap();
    let tokens = desk
        .handle
        .tokens()
        .unwrap()
        .issue(&session.session)
        .unwrap();
    let token = tokens.access_token.as_str();
    for (method, headers) in [
        (
            "GET",
            [
                SAME_ORIGIN,
                NAVIGATE,
                FROM_INES,
                ("impersonation-token", token),
            ],
        ),
        (
            "POST",
            [
                SAME_ORIGIN,
                DOCUMENT,
                FROM_INES,
                ("impersonation-token", token),
            ],
        ),
        (
            "GET",
            [TYPED, NAVIGATE, DOCUMENT, ("impersonation-token", token)],
        ),
    ] {
        let reply = desk.send(sent(method, "/orders", &headers)).await;
        assert_eq!(reply.body, "otto by ada", "{method}");
    }
    assert_eq!(desk.active().await.len(), 1);
}
