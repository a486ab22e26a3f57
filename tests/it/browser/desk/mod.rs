//! The support desk, used as its people use it: found, started, looked around in, left.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    browser::Browser,
    process::{Answer, Running},
};

mod looks;
mod story;

/// A shop of its own.
struct Shop {
    running: Running,
    _folder: TempDir,
}

impl Shop {
    async fn open(env: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trail.jsonl");
        let database = format!("sqlite://{}/desk.sqlite", folder.path().display());
        let mut all = vec![
            ("AUDIT_FILE", file.to_str().unwrap()),
            ("DATABASE_URL", &*database),
        ];
        all.extend(env);
        let running = Running::start("support_desk", &all).await;
        Self {
            running,
            _folder: folder,
        }
    }

    fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.running.authority())
    }

    /// A call of someone's script, beside the browser.
    async fn call(&self, who: &str, method: &str, path: &str, body: Value) -> Answer {
        let answer = self.running.caller().call(who, method, path, body).await;
        answer.expect("the shop answers")
    }

    async fn orders_of(&self, who: &str) -> usize {
        let orders = self.call(who, "GET", "/api/orders", Value::Null).await;
        orders.json().as_array().unwrap().len()
    }

    /// A session by a script of `who`, and its id.
    async fn started(&self, who: &str, subject: &str, access: &str) -> String {
        let body = json!({"target_user_id": subject, "reason": "ticket 4711", "access": access});
        let start = self.call(who, "POST", "/impersonation/start", body).await;
        assert_eq!(start.status, 200, "{}", start.text());
        start.json()["session"]["id"].as_str().unwrap().to_owned()
    }
}

async fn sign_in(browser: &Browser, shop: &Shop, who: &str) {
    browser.goto(&shop.url("/login")).await;
    browser.click(&format!("button[value={who}]")).await;
    browser.find_saying("h1", "People").await;
}

/// From the console to the subject's page.
async fn start(browser: &Browser, name: &str, access: &str) {
    browser
        .find("input[type=search]")
        .await
        .send_keys(name)
        .await
        .unwrap();
    browser.click("form[role=search] button").await;
    browser.find_saying("h1", "People").await;
    browser.click("td a.button").await;
    browser
        .find("textarea[name=reason]")
        .await
        .send_keys("ticket 4711: cannot pay")
        .await
        .unwrap();
    browser.click(&format!("input[value={access}]")).await;
    browser.click("form .actions button").await;
}
