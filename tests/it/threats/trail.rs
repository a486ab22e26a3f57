//! A1 to A3, A6: mistakes of others with the trail: the wrong name, a dead device, a forged line.

use std::{convert::Infallible, future::ready, time::Duration};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use tower::service_fn;
use tower_impersonation::{StartRequest, audit::Outcome};

use crate::support::{How, Req, desk, desk_with, get, id, line, post, sessionless, subject};

/// fluxbase, nextcloud, frappe. A6, A8.
#[tokio::test]
async fn fluxbase_and_nextcloud_the_trail_names_the_real_person_and_outlives_the_subject() {
    let desk = desk();
    desk.start("ada", "ines").await.unwrap();
    desk.send(post("ada", "/orders?as=ines")).await;
    desk.cast.users.remove(&id("ines"));
    desk.handle.forget_user(&id("ines"));
    desk.send(get("ada", "/?as=ines")).await;

    let events = desk.events().await;
    assert_eq!(
        events.iter().map(line).collect::<Vec<_>>(),
        [
            "start ada ines",
            "request ada ines POST /orders intent",
            "request ada ines POST /orders completed 200",
            "end ada ines subject_gone",
            "denied ada ines subject_gone",
        ]
    );
}

/// kubernetes audit. A3.
#[tokio::test]
async fn kubernetes_a_refused_attempt_names_whom_it_asked_for_in_its_own_field() {
    let desk = sessionless(|b| b);
    desk.send(get("mia", "/?as=root")).await;
    let events = desk.events().await;

    assert_eq!(events[0].subject, Some(subject("root")));
    let json: serde_json::Value = serde_json::from_str(&events[0].to_json_line()).unwrap();
    assert_eq!(
        (&json["actor"], &json["subject"]),
        (&"mia".into(), &"root".into())
    );
    assert_eq!(json["name"], "privilege_violation");
}

/// pgaudit, sudo, Vault. A1, A5.
#[tokio::test]
async fn pgaudit_sudo_and_vault_a_dead_audit_device_is_neither_ignored_nor_hangs_everything() {
    for how in [How::Fail, How::Hang] {
        let desk = desk();
        desk.start("ada", "ines").await.unwrap();
        desk.world.trouble("write", how.clone());
        let waiting: Vec<_> = (0..20)
            .map(|_| {
                let desk = desk.clone();
                tokio::spawn(async move { desk.send(post("ada", "/orders?as=ines")).await })
            })
            .collect();
        // Those who have nothing to do with it do not wait.
        assert_eq!(desk.send(post("ada", "/")).await.body, "themselves");
        assert_eq!(desk.send(get("mia", "/")).await.body, "themselves");
        let answers = desk.while_time_passes(async {
            let mut answers = Vec::new();
            for one in waiting {
                answers.push(one.await.unwrap());
            }
            answers
        });
        for answer in answers.await {
            assert_eq!(
                answer.status,
                StatusCode::SERVICE_UNAVAILABLE,
                "{}",
                how.name()
            );
        }
        assert_eq!(desk.echo.calls(), 2, "{}", how.name());
        desk.world.calm();
        for event in desk.events().await {
            assert_ne!(event.outcome, Some(Outcome::Completed), "{event:?}");
        }
        assert_eq!(
            desk.send_slowly(post("ada", "/orders?as=ines"))
                .await
                .status,
            StatusCode::OK
        );
    }
}

/// ASVS 16.4.1. A6.
#[tokio::test]
async fn asvs_a_newline_forges_no_line() {
    let desk = desk_with(|b| b.fold_reads(Duration::ZERO));
    let reason = "ticket 1\n{\"name\":\"impersonation.end\"}\r\n\u{2028}\u{202e}";
    let start = StartRequest::new(subject("ines"), reason);
    let (mut from, _) = post("ada", "/start%0a%0d").into_parts();
    let agent = http::HeaderValue::from_bytes(b"agent\tone\xff\xc2\x85").unwrap();
    from.headers.insert("user-agent", agent);
    desk.started(&from, start).await;
    let inner =
        service_fn(|_: Req| ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))));
    desk.send_to(inner, get("ada", "/%0aforged?as=ines")).await;

    for event in desk.events().await {
        let line = event.to_json_line();
        assert!(
            !line.chars().any(|c| c.is_control() || c == '\u{2028}'),
            "{line:?}"
        );
        assert!(
            serde_json::from_str::<serde_json::Value>(&line).is_ok(),
            "{line}"
        );
    }
}
