//! Example programs as child processes, and a plain HTTP client for them.

use std::{
    path::PathBuf,
    process::{ExitStatus, Output, Stdio},
};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// An example that listens. It is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    authority: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// Sends requests to an example, also to one that may be killed meanwhile.
#[derive(Clone)]
pub(crate) struct Caller {
    authority: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

// === impl Running ===

impl Running {
    /// Starts the example on a free port and waits until it listens.
    pub(crate) async fn start(name: &str, env: &[(&str, &str)]) -> Self {
        let mut child = command(name, env)
            .env("ADDR", "127.0.0.1:0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the example starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines();
        let line = lines.next_line().await.expect("stdout is readable");
        let line = line.unwrap_or_else(|| panic!("`{name}` ended before it listened"));
        let authority = line
            .strip_prefix("listening on http://")
            .unwrap_or_else(|| panic!("`{name}` said {line:?} instead of where it listens"))
            .to_owned();
        Self {
            child,
            lines,
            authority,
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// Host and port.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// The next line on its standard output.
    pub(crate) async fn line(&mut self) -> String {
        let line = self.lines.next_line().await.expect("stdout is readable");
        line.expect("it still runs")
    }

    /// Sends a request whose URI is a path.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        self.caller().send(request).await.expect("it answers")
    }

    /// Who sends requests from other tasks.
    pub(crate) fn caller(&self) -> Caller {
        Caller {
            authority: self.authority.clone(),
            client: self.client.clone(),
        }
    }

    /// Whether it has not ended by itself.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    /// As `kill -9` does, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// Sends it a signal, such as `HUP`.
    #[cfg(unix)]
    pub(crate) async fn signal(&self, signal: &str) {
        let id = self.child.id().expect("it still runs").to_string();
        let signal = format!("-{signal}");
        let told = Command::new("kill").args([&signal, &id]).status().await;
        assert!(told.expect("`kill` runs").success());
    }

    /// Asks it to stop, as a service manager does, and waits until it has.
    #[cfg(unix)]
    pub(crate) async fn stop(mut self) -> ExitStatus {
        self.signal("TERM").await;
        self.child.wait().await.expect("it ends")
    }
}

// === impl Caller ===

impl Caller {
    /// Sends a request whose URI is a path. `None` when nothing came back.
    pub(crate) async fn send(&self, mut request: Request<Full<Bytes>>) -> Option<Answer> {
        let uri = format!("http://{}{}", self.authority, request.uri());
        *request.uri_mut() = uri.parse().expect("a path makes a URI");
        let response = self.client.request(request).await.ok()?;
        let (parts, body) = response.into_parts();
        Some(Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.ok()?.to_bytes(),
        })
    }

    /// The body of an answer that goes on and on, as it comes.
    pub(crate) async fn open(&self, who: &str, path: &str) -> Incoming {
        let uri = format!("http://{}{path}", self.authority);
        let request = Request::get(uri).header("authorization", format!("Bearer demo-{who}"));
        let request = request.body(Full::default()).expect("a request");
        let answer = self.client.request(request).await.expect("it answers");
        assert_eq!(answer.status(), StatusCode::OK);
        answer.into_body()
    }

    /// The same by someone of the shop, with JSON or nothing.
    pub(crate) async fn call(
        &self,
        who: &str,
        method: &str,
        path: &str,
        body: Value,
    ) -> Option<Answer> {
        let mut request = Request::builder().method(method).uri(path);
        if !who.is_empty() {
            request = request.header("authorization", format!("Bearer demo-{who}"));
        }
        let body = match body {
            Value::Null => Bytes::new(),
            body => {
                request = request.header("content-type", "application/json");
                body.to_string().into()
            }
        };
        self.send(request.body(Full::from(body)).expect("a request"))
            .await
    }
}

/// Runs the example until it ends by itself.
pub(crate) async fn output(name: &str, env: &[(&str, &str)]) -> Output {
    let output = command(name, env).output();
    output.await.expect("the example starts")
}

fn command(name: &str, env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(example(name));
    command.env_clear().kill_on_drop(true);
    command.envs(env.iter().copied());
    command
}

/// Examples are beside the folder of the test executables.
fn example(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its executable");
    let folder = own.parent().and_then(std::path::Path::parent);
    let path = folder
        .expect("it is in a folder of the build")
        .join("examples")
        .join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --examples --all-features` first (a plain `cargo test` does)",
        path.display()
    );
    path
}

// === impl Answer ===

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("not JSON: {} {:?}", self.status, self.body))
    }

    /// The value of a header that is there once at most.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?;
        assert!(values.next().is_none(), "`{name}` is there twice");
        Some(value.to_str().expect("the header is text"))
    }

    /// The `code` of a refusal; with the status, what a client goes by.
    pub(crate) fn refusal(&self) -> (u16, String) {
        let code = self.json()["code"].as_str().map(str::to_owned);
        (self.status.as_u16(), code.unwrap_or_default())
    }
}
