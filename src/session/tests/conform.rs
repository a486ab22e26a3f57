//! The stores of this crate against the suite that every store has to pass.

use super::MINUTE;
use crate::session::{Cached, MemorySessions, conformance};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_sessions_conform() {
    conformance::run(async || MemorySessions::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cached_sessions_conform() {
    conformance::run(async || Cached::new(MemorySessions::new(), 60 * MINUTE)).await;
}

#[tokio::test]
async fn one_store_that_was_used_before_conforms() {
    let store = MemorySessions::new();
    for _ in 0..2 {
        conformance::run(async || store.clone()).await;
    }
}
