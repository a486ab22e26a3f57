//! Instructions per request, counted by valgrind: exact, and the same on every run.
//!
//! `bare` is the application alone. What a layer costs is its number less that of `bare` for the same
//! request; `benches/README.md` has the differences beside the budget.

#![allow(missing_docs, reason = "of what gungraun's macros make")]

mod common;

use std::hint::black_box;

use gungraun::prelude::*;

use common::{Answer, Request};

/// A service that has answered a few requests already, and the request to measure.
type Setup = (Answer, Request);

fn set_up(make: fn() -> Answer, request: fn() -> Request) -> Setup {
    let mut answer = make();
    for _ in 0..3 {
        answer(request());
    }
    (answer, request())
}

fn plain() -> Request {
    common::request(common::PLAIN)
}

fn twenty_headers() -> Request {
    common::request_with_twenty_headers(common::PLAIN)
}

fn query() -> Request {
    common::request(common::QUERY)
}

fn query_with_as() -> Request {
    common::request(common::QUERY_WITH_AS)
}

fn query_with_percent() -> Request {
    common::request(common::QUERY_WITH_PERCENT)
}

fn marked() -> Request {
    common::request(common::MARKED)
}

fn marked_twenty_headers() -> Request {
    common::request_with_twenty_headers(common::MARKED)
}

#[library_benchmark(setup = set_up)]
#[bench::plain(common::bare, plain)]
#[bench::twenty_headers(common::bare, twenty_headers)]
#[bench::query(common::bare, query)]
#[bench::query_with_as(common::bare, query_with_as)]
#[bench::query_with_percent(common::bare, query_with_percent)]
#[bench::marked(common::bare, marked)]
#[bench::marked_twenty_headers(common::bare, marked_twenty_headers)]
fn bare((mut answer, request): Setup) -> Answer {
    answer(black_box(request));
    answer
}

#[library_benchmark(setup = set_up)]
#[bench::plain(common::csrf, plain)]
#[bench::twenty_headers(common::csrf, twenty_headers)]
#[bench::query(common::csrf, query)]
fn tower_http_csrf((mut answer, request): Setup) -> Answer {
    answer(black_box(request));
    answer
}

#[library_benchmark(setup = set_up)]
#[bench::plain(common::in_memory, plain)]
#[bench::twenty_headers(common::in_memory, twenty_headers)]
#[bench::query(common::in_memory, query)]
#[bench::query_with_as(common::in_memory, query_with_as)]
#[bench::query_with_percent(common::in_memory, query_with_percent)]
#[bench::watching(common::watching, plain)]
#[bench::watching_query(common::watching, query)]
#[bench::marked(common::in_memory, marked)]
#[bench::marked_twenty_headers(common::in_memory, marked_twenty_headers)]
#[bench::marked_cached(common::in_cache, marked)]
#[bench::marked_unfolded(common::unfolded, marked)]
fn impersonate((mut answer, request): Setup) -> Answer {
    answer(black_box(request));
    answer
}

library_benchmark_group!(
    name = requests,
    benchmarks = [bare, tower_http_csrf, impersonate]
);

main!(library_benchmark_groups = requests);
