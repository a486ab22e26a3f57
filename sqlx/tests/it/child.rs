//! This very program as another process: a test that works when it is told where, and does nothing otherwise.

use std::{
    io::{BufRead as _, BufReader, Lines, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use sqlx::PgPool;

/// Where the child works; only a child has it.
const DATABASE: &str = "CHILD_OF_A_TEST";
/// What a child says is behind this: the test runner says things in between.
const SAYS: &str = "@ ";

/// Where to work, where this is a child.
pub(crate) fn database() -> Option<String> {
    std::env::var(DATABASE).ok()
}

/// Says something to the test whose child this is.
pub(crate) fn say(what: impl std::fmt::Display) {
    println!("{SAYS}{what}");
}

/// How often, as a variable of the environment says.
pub(crate) fn rounds(variable: &str, otherwise: usize) -> usize {
    let rounds = std::env::var(variable).ok();
    rounds.map_or(otherwise, |rounds| rounds.parse().unwrap())
}

/// The address of this pool's database.
pub(crate) async fn url_of(pool: &PgPool) -> String {
    let name: String = sqlx::query_scalar("select current_database()::text")
        .fetch_one(pool)
        .await
        .unwrap();
    let url = std::env::var("TEST_DATABASE_URL").unwrap();
    let (server, _) = url.rsplit_once('/').unwrap();
    format!("{server}/{name}")
}

/// A process of ours. It is killed, as by kill -9, when this is dropped.
pub(crate) struct Process {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

// === impl Process ===

impl Process {
    /// Runs this test in a process of its own, on this database.
    pub(crate) fn new(test: &str, database: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(DATABASE, database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            child,
            input,
            output,
        }
    }

    /// The next thing that it says.
    pub(crate) fn next(&mut self) -> String {
        for line in self.output.by_ref() {
            if let Some((_, said)) = line.unwrap().split_once(SAYS) {
                return said.to_owned();
            }
        }
        panic!("the child has to work");
    }

    /// What it answers.
    pub(crate) fn ask(&mut self, what: &str) -> String {
        writeln!(self.input, "{what}").unwrap();
        self.next()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
