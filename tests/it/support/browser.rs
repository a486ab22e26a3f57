//! Chromium, clicked: what people see and do.
//!
//! [`browse`] gives a test a browser of its own, with a profile of its own, and takes it away again whatever
//! happens. `CHROMIUM` and `CHROMEDRIVER` say where the programs are; without them they are looked for on the
//! `PATH`.

use std::{env, future::Future, panic, path::Path, process::Stdio, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::{
    By, ChromiumLikeCapabilities, DesiredCapabilities, WebDriver, WebElement, WindowHandle,
    extensions::query::{ElementPollerWithTimeout, ElementQueryable},
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::Semaphore,
};

/// A browser takes a processor and some hundred megabytes.
static AT_ONCE: Semaphore = Semaphore::const_new(2);

/// How long anything that is waited for may take. It is there before that, as a rule at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// See `axe/README.md`. Read when it is needed, since the published crate does not have it.
const AXE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/it/browser/axe/axe.min.js"
);

/// How the browser is set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Set {
    /// Whether pages may run scripts. Those of the tests run all the same.
    pub(crate) scripts: bool,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl Default for Set {
    fn default() -> Self {
        Self {
            scripts: true,
            width: 1280,
            height: 900,
        }
    }
}

/// An open browser.
#[derive(Clone)]
pub(crate) struct Browser {
    pub(crate) driver: WebDriver,
}

/// The driver, which is killed when this is dropped. A browser that it started ends with its session.
struct Driver {
    _child: Child,
    address: String,
}

/// Runs `test` with a browser, and ends the browser when the test is done, also when it panics.
pub(crate) async fn browse<F, Fut>(set: Set, test: F)
where
    F: FnOnce(Browser) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let _one_of_few = AT_ONCE.acquire().await.expect("never closed");
    let profile = tempfile::tempdir().expect("a folder");
    let process = Driver::start(&profile).await;
    let browser = Browser::open(&process, &profile, set).await;
    let driver = browser.driver.clone();
    let done = tokio::spawn(test(browser)).await;
    let quit = driver.quit().await;
    if let Err(error) = done {
        panic::resume_unwind(error.into_panic());
    }
    quit.expect("the browser ends");
}

// === impl Driver ===

impl Driver {
    async fn start(profile: &TempDir) -> Self {
        let program = env::var_os("CHROMEDRIVER").unwrap_or_else(|| "chromedriver".into());
        let mut child = Command::new(&program)
            .arg("--port=0")
            // What it and the browser leave behind goes with the profile.
            .env("TMPDIR", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines();
        let started = "ChromeDriver was started successfully on port ";
        let address = loop {
            let line = lines.next_line().await.expect("stdout is readable");
            let line = line.unwrap_or_else(|| panic!("{} has ended", program.display()));
            if let Some(port) = line.strip_prefix(started) {
                break format!("http://127.0.0.1:{}", port.trim_end_matches('.'));
            }
        };
        // So that it never waits for someone to read what it says.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self {
            _child: child,
            address,
        }
    }
}

// === impl Browser ===

impl Browser {
    async fn open(process: &Driver, profile: &TempDir, set: Set) -> Self {
        let mut wanted = DesiredCapabilities::chrome();
        if let Ok(program) = env::var("CHROMIUM") {
            wanted.set_binary(&program).expect("a path");
        }
        let folder = profile.path().join("profile");
        for argument in [
            "--headless=new",
            // Root has no sandbox, and the shared memory of a container is too small.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--hide-scrollbars",
            "--disable-background-networking",
            "--no-first-run",
            "--no-proxy-server",
            &format!("--user-data-dir={}", folder.display()),
            &format!("--window-size={},{}", set.width, set.height),
        ] {
            wanted.add_arg(argument).expect("an argument");
        }
        if !set.scripts {
            let blocked = json!({"profile.managed_default_content_settings.javascript": 2});
            wanted
                .add_experimental_option("prefs", blocked)
                .expect("settings");
        }
        let poller = ElementPollerWithTimeout::new(PATIENCE, Duration::from_millis(20));
        let driver = WebDriver::builder(&process.address, wanted)
            .request_timeout(PATIENCE * 2)
            .poller(Arc::new(poller))
            .await
            .expect("a browser");
        Self { driver }
    }

    /// Goes to a URL as someone does who types it.
    pub(crate) async fn goto(&self, url: &str) {
        self.driver.goto(url).await.expect("a page");
    }

    pub(crate) async fn url(&self) -> String {
        self.driver.current_url().await.expect("a URL").to_string()
    }

    /// The first element of this CSS selector, as soon as there is one.
    pub(crate) async fn find(&self, css: &str) -> WebElement {
        let found = self.driver.query(By::Css(css)).first().await;
        match found {
            Ok(element) => element,
            Err(error) => panic!("no {css} at {}: {error}", self.url().await),
        }
    }

    /// The element with this text, as soon as it has it.
    pub(crate) async fn find_saying(&self, css: &str, text: &str) -> WebElement {
        let said = text.to_owned();
        let says_it = move |element: WebElement| {
            let said = said.clone();
            // One that went away with the page before is not it.
            async move { Ok(element.text().await.is_ok_and(|text| text == said)) }
        };
        let query = self.driver.query(By::Css(css)).with_filter(says_it);
        match query.first().await {
            Ok(element) => element,
            Err(error) => {
                let page = self.driver.source().await.unwrap_or_default();
                panic!("no {css} {text:?} at {}: {error}\n{page}", self.url().await)
            }
        }
    }

    pub(crate) async fn text(&self, css: &str) -> String {
        self.find(css).await.text().await.expect("text")
    }

    pub(crate) async fn click(&self, css: &str) {
        let clicked = self.find(css).await.click().await;
        clicked.unwrap_or_else(|error| panic!("{css}: {error}"));
    }

    /// Runs a function's body in the page.
    pub(crate) async fn run(&self, body: &str) -> Value {
        let run = self.driver.execute(body, Vec::new()).await;
        let run = run.unwrap_or_else(|error| panic!("{body}: {error}"));
        run.json().clone()
    }

    /// Runs an async function's body in the page, and waits for what it returns.
    pub(crate) async fn run_async(&self, body: &str) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1];\
             (async () => {{ {body} }})().then(done, (error) => done(`failed: ${{error}}`));"
        );
        let run = self.driver.execute_async(&*script, Vec::new()).await;
        let run = run.unwrap_or_else(|error| panic!("{body}: {error}"));
        run.json().clone()
    }

    /// Runs a script in each page before its own.
    pub(crate) async fn before_each_page(&self, script: &str) {
        self.tell(
            "Page.addScriptToEvaluateOnNewDocument",
            json!({"source": script}),
        )
        .await;
    }

    /// As someone sees it who likes it dark.
    pub(crate) async fn dark(&self) {
        let dark = json!([{"name": "prefers-color-scheme", "value": "dark"}]);
        self.tell("Emulation.setEmulatedMedia", json!({"features": dark}))
            .await;
    }

    /// A command of the DevTools protocol.
    pub(crate) async fn tell(&self, command: &str, arguments: Value) -> Value {
        let told = self.driver.cdp().send_raw(command, arguments).await;
        told.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// What axe-core has to say of the page: one line for each violation and place.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let axe = std::fs::read_to_string(AXE).expect("axe");
        self.driver.execute(axe, Vec::new()).await.expect("axe");
        // It takes a page that has no background of its own for a white one, also in the dark.
        self.run(
            "const { style } = document.documentElement;\
             const { backgroundColor } = getComputedStyle(document.documentElement);\
             if (backgroundColor === 'rgba(0, 0, 0, 0)') style.backgroundColor = 'Canvas';",
        )
        .await;
        let found = self
            .run_async(
                "const { violations } = await axe.run();\
                 return violations.flatMap(({ id, help, nodes }) =>\
                   nodes.map(({ target }) => `${id}: ${help}: ${target}`));",
            )
            .await;
        serde_json::from_value(found.clone()).unwrap_or_else(|_| panic!("axe: {found}"))
    }

    /// A picture of what is to be seen.
    pub(crate) async fn screenshot(&self, file: &Path) {
        let taken = self.driver.screenshot(file).await;
        taken.expect("a picture");
    }

    pub(crate) async fn tab(&self) -> WindowHandle {
        self.driver.window().await.expect("a tab")
    }

    pub(crate) async fn new_tab(&self) -> WindowHandle {
        let tab = self.driver.new_tab().await.expect("a tab");
        self.switch_to(&tab).await;
        tab
    }

    pub(crate) async fn switch_to(&self, tab: &WindowHandle) {
        let switched = self.driver.switch_to_window(tab.clone()).await;
        switched.expect("the tab is open");
    }
}
