//! A1, S8: the host's own credentials, its notifier and the subject's consent around a session.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use http::{HeaderValue, StatusCode};
use serde_json::json;
use tower_impersonation::{
    BoxError, CredentialIssuer, Credentials, Notice, notifier_fn, session::Session,
};

use super::{Api, form};
use crate::support::{How, MINUTE, NOON, World, desk_with_consent, get, id, settle};

/// Mints logins, and remembers which are good.
#[derive(Clone, Default)]
struct Mint {
    good: Arc<std::sync::Mutex<BTreeSet<String>>>,
    world: World,
}

#[async_trait::async_trait]
impl CredentialIssuer for Mint {
    async fn issue(&self, session: &Session) -> Result<Credentials, BoxError> {
        self.world.at("issue", "").await?;
        let token = format!("login of {}", session.subject);
        self.good.lock().unwrap().insert(session.id.to_string());
        let mut credentials = Credentials::default();
        credentials.access_token = Some(token);
        credentials.cookies = vec![HeaderValue::from_static("login=ines; HttpOnly")];
        Ok(credentials)
    }

    async fn revoke(&self, session: &Session) -> Result<(), BoxError> {
        self.world.at("revoke", "").await?;
        self.good.lock().unwrap().remove(&session.id.to_string());
        Ok(())
    }

    fn cleared(&self) -> Vec<HeaderValue> {
        vec![HeaderValue::from_static("login=; Max-Age=0")]
    }
}

#[tokio::test]
async fn a_hosts_own_credentials_come_with_the_session_and_go_with_it() {
    let mint = Mint::default();
    let issuer = mint.clone();
    let api = Api::with(|builder| builder.credential_issuer(issuer)).await;
    let body = json!({"target_user_id": "ines", "reason": "r"});
    let started = api.call("post", "ada", "/", Some(body.clone())).await;
    assert_eq!(started.headers["set-cookie"], "login=ines; HttpOnly");
    let started = started.ok();
    assert_eq!(started["access_token"], "login of ines");
    assert_eq!(started["expires_in"], 7200);
    assert_eq!(mint.good.lock().unwrap().len(), 1);
    let as_form = api
        .send(form("abe", "/", "target_user_id=otto&reason=r"))
        .await;
    assert_eq!(as_form.headers["set-cookie"], "login=ines; HttpOnly");

    let stopped = api.call("delete", "ada", "/", None).await;
    assert_eq!(stopped.headers["set-cookie"], "login=; Max-Age=0");
    settle().await;
    assert_eq!(mint.good.lock().unwrap().len(), 1);
    // However it ends, and again when the other side is down for a moment.
    mint.world.trouble("revoke", How::Fail);
    api.desk.handle.log_out(&id("abe")).await.unwrap();
    settle().await;
    assert_eq!(mint.good.lock().unwrap().len(), 1);
    mint.world.calm();
    api.desk.clock.advance(Duration::from_secs(1));
    settle().await;
    assert_eq!(mint.good.lock().unwrap().len(), 0);

    // Nothing is handed out: nothing stays.
    mint.world.trouble("issue", How::Fail);
    let refused = api.call("post", "ada", "/", Some(body)).await;
    assert_eq!(refused.code(), "unavailable");
    assert!(api.desk.active().await.is_empty());
}

#[tokio::test]
async fn a_mandatory_notifier_that_fails_leaves_no_session_and_no_half_state() {
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(true));
    for mandatory in [true, false] {
        told.lock().unwrap().clear();
        broken.store(true, std::sync::atomic::Ordering::SeqCst);
        let (hear, fails) = (told.clone(), broken.clone());
        let notifier = notifier_fn(move |notice| {
            if fails.load(std::sync::atomic::Ordering::SeqCst) {
                return Err("the mail server is down".into());
            }
            hear.lock().unwrap().push(match notice {
                Notice::Starting(session) => format!("starting {}", session.subject),
                Notice::Ended(session) => format!("ended {}", session.ended_reason.unwrap()),
                other => panic!("{other:?}"),
            });
            Ok(())
        });
        let api = Api::with(|builder| match mandatory {
            true => builder.require_notifier(notifier),
            false => builder.notifier(notifier),
        })
        .await;
        let body = json!({"target_user_id": "ines", "reason": "r"});
        let first = api.call("post", "ada", "/", Some(body.clone())).await;
        if mandatory {
            assert_eq!(
                (first.status.as_u16(), first.code()),
                (503, "unavailable".to_owned())
            );
            assert!(api.desk.active().await.is_empty());
            assert_eq!(api.get("root", "/sessions").await.ok()["total"], 0);
            assert_eq!(api.desk.trail().await, ["denied ada ines unavailable"]);
            broken.store(false, std::sync::atomic::Ordering::SeqCst);
            api.start("ada", "ines").await;
        } else {
            first.ok();
            broken.store(false, std::sync::atomic::Ordering::SeqCst);
        }
        // A start that is refused tells nobody.
        let second = api.call("post", "ada", "/", Some(body)).await;
        assert_eq!(second.code(), "already_active");
        api.call("delete", "ada", "/", None).await.ok();
        settle().await;
        let expected: &[&str] = match mandatory {
            true => &["starting ines", "ended manual"],
            false => &["ended manual"],
        };
        assert_eq!(*told.lock().unwrap(), expected);
        // One that fails after the news is told as over.
        told.lock().unwrap().clear();
        api.desk.world.trouble("start", How::Fail);
        let body = json!({"target_user_id": "otto", "reason": "r"});
        assert_eq!(
            api.call("post", "ada", "/", Some(body)).await.code(),
            "unavailable"
        );
        settle().await;
        assert_eq!(
            *told.lock().unwrap(),
            ["starting otto", "ended session_revoked"]
        );
    }
}

#[tokio::test]
async fn s8_a_subject_who_withdraws_consent_ends_the_session_with_the_next_request() {
    let desk = desk_with_consent();
    desk.consents.grant(id("ines"), NOON + MINUTE * 60);
    let session = desk.start("ada", "ines").await.unwrap();
    assert_eq!(desk.send(get("ada", "/?as=ines")).await.body, "ines by ada");
    desk.consents.withdraw(&id("ines"));
    let refused = desk.send(get("ada", "/?as=ines")).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert_eq!(
        desk.row(&session).await.ended_reason.unwrap().as_str(),
        "subject_gone"
    );
}
