//! PostgreSQL for tests: a database of the server that is there, or a whole server.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use uuid::Uuid;

/// A database of its own, for one test.
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) pool: PgPool,
    server: String,
    name: String,
}

/// A server of its own, for one test that stops it.
pub(crate) struct Server {
    folder: TempDir,
    port: u16,
    running: Option<Child>,
}

// === impl Database ===

impl Database {
    pub(crate) async fn new() -> Self {
        let server = std::env::var("TEST_DATABASE_URL").expect(
            "TEST_DATABASE_URL must name a PostgreSQL server to test with; tests/run starts one",
        );
        let name = format!("test_{}", Uuid::new_v4().simple());
        let mut connection = PgConnection::connect(&server)
            .await
            .expect("the PostgreSQL server that TEST_DATABASE_URL names must answer");
        let create = format!("create database {name}");
        connection.execute(AssertSqlSafe(create)).await.unwrap();
        let (base, _) = server.rsplit_once('/').unwrap();
        let url = format!("{base}/{name}");
        Self {
            pool: PgPool::connect(&url).await.unwrap(),
            url,
            server,
            name,
        }
    }

    /// Drops the database. What a failed test leaves behind is on a throw-away server.
    pub(crate) async fn drop(self) {
        self.pool.close().await;
        let mut connection = PgConnection::connect(&self.server).await.unwrap();
        let drop = format!("drop database {} with (force)", self.name);
        connection.execute(AssertSqlSafe(drop)).await.unwrap();
    }
}

// === impl Server ===

impl Server {
    pub(crate) async fn new() -> Self {
        // In /tmp and nowhere else: a socket's path must be short, and the user postgres must get there.
        let folder = tempfile::Builder::new()
            .prefix("pg")
            .tempdir_in("/tmp")
            .unwrap();
        let port = free_port();
        if is_root().await {
            let mut own = Command::new("chown");
            let own = own.arg("postgres").arg(folder.path()).status();
            assert!(own.await.unwrap().success());
        }
        let mut server = Self {
            folder,
            port,
            running: None,
        };
        let made = server
            .program("initdb")
            .await
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8"])
            .args(["--no-locale", "--no-sync", "--pgdata"])
            .arg(server.folder.path().join("data"))
            .output()
            .await
            .expect("initdb runs");
        assert!(made.status.success(), "{made:?}");
        server.start().await;
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    pub(crate) async fn start(&mut self) {
        let child = self
            .program("postgres")
            .await
            .arg("-D")
            .arg(self.folder.path().join("data"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-k"])
            .arg(self.folder.path())
            .spawn();
        self.running = Some(child.expect("PostgreSQL starts"));
        while PgConnection::connect(&self.url()).await.is_err() {
            let running = self.running.as_mut().unwrap();
            assert!(running.try_wait().unwrap().is_none(), "PostgreSQL ended");
            tokio::task::yield_now().await;
        }
    }

    /// As `pg_ctl stop -m immediate` does.
    pub(crate) async fn stop_at_once(&mut self) {
        let mut running = self.running.take().expect("it runs");
        let id = running.id().expect("it runs").to_string();
        let told = Command::new("kill").args(["-QUIT", &id]).status().await;
        assert!(told.expect("`kill` runs").success());
        running.wait().await.unwrap();
    }

    /// Runs as the user postgres where we are root, because PostgreSQL refuses to be.
    async fn program(&self, name: &str) -> Command {
        let path = bin().join(name);
        let mut command = if is_root().await {
            let mut command = Command::new("setpriv");
            command
                .args([
                    "--reuid=postgres",
                    "--regid=postgres",
                    "--init-groups",
                    "--",
                ])
                .arg(path);
            command
        } else {
            Command::new(path)
        };
        command
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

/// One of those that the kernel gives to nobody: a client that tries to reach a stopped server can otherwise get the
/// server's port as its own, and reach itself.
fn free_port() -> u16 {
    let random = || 15_000 + (Uuid::new_v4().as_u128() % 16_000) as u16;
    std::iter::repeat_with(random)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("it goes on until there is one")
}

async fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().await;
    id.expect("`id` runs").stdout == b"0\n"
}

/// The folder of the newest server's programs. Debian keeps them off the PATH.
fn bin() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql");
    let versions = versions.into_iter().flatten().flatten();
    let installed = versions.map(|version| version.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has_it = |folder: &PathBuf| folder.join("initdb").exists();
    installed
        .filter(has_it)
        .max_by_key(|folder| version_of(folder))
        .or_else(|| std::env::split_paths(&path).find(has_it))
        .expect("PostgreSQL's programs must be installed; tests/run sees to it")
}

fn version_of(bin: &Path) -> u32 {
    let version = bin.parent().and_then(Path::file_name);
    let version = version.and_then(|version| version.to_str()?.parse().ok());
    version.unwrap_or_default()
}
