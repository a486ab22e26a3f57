//! The sinks that come with the crate.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use serde_json::Value;

use crate::words::Ids;

use super::{
    super::{FanOut, JsonLines, TracingSink},
    *,
};

fn numbered(path: &str) -> AuditEvent {
    let mut event = AuditEvent::new(Ids::default().next(NOON), NOON, EventName::Request);
    event.path = Some(path.to_owned());
    event
}

/// The objects in the file, one for each line, and no other line.
fn lines(path: &std::path::Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line:?}")))
        .collect()
}

fn line_paths(file: &std::path::Path) -> Vec<String> {
    let path = |event: &Value| event["path"].as_str().unwrap().to_owned();
    lines(file).iter().map(path).collect()
}

#[tokio::test]
async fn a5_json_lines_appends_and_goes_on_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    for run in ["/1", "/2", "/3"] {
        let sink = JsonLines::open(&path).unwrap();
        sink.write(&[numbered(run), numbered(run)]).await.unwrap();
    }
    assert_eq!(line_paths(&path), ["/1", "/1", "/2", "/2", "/3", "/3"]);
}

#[tokio::test]
async fn a5_a_line_that_a_crash_cut_off_is_left_and_what_follows_is_readable() {
    struct Test {
        before: &'static [u8],
        after: &'static [u8],
    }
    let tests = [
        Test {
            before: b"",
            after: b"",
        },
        Test {
            before: b"{}\n",
            after: b"{}\n",
        },
        Test {
            before: b"{}\n{\"id\":\"0",
            after: b"{}\n{\"id\":\"0\n",
        },
        Test {
            before: b"{\"reason\":\"\xc3",
            after: b"{\"reason\":\"\xc3\n",
        },
    ];
    for Test { before, after } in tests {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        fs::write(&path, before).unwrap();
        let sink = JsonLines::open(&path).unwrap();
        let events = [numbered("/1"), numbered("/2")];
        for event in &events {
            sink.write(std::slice::from_ref(event)).await.unwrap();
        }
        let mut expected = after.to_vec();
        for event in &events {
            expected.extend_from_slice(event.to_json_line().as_bytes());
            expected.push(b'\n');
        }
        assert_eq!(fs::read(&path).unwrap(), expected);
    }
}

/// A file of the trail with two lines in it.
async fn with_two_lines() -> (tempfile::TempDir, std::path::PathBuf, JsonLines) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let sink = JsonLines::open(&path).unwrap();
    sink.write(&[numbered("/1")]).await.unwrap();
    sink.write(&[numbered("/2")]).await.unwrap();
    (folder, path, sink)
}

#[cfg(unix)]
#[tokio::test]
async fn a5_a_file_that_was_renamed_or_removed_is_opened_again_before_the_next_line() {
    type Rotate = fn(&std::path::Path);
    let tests: [(&str, Rotate); 4] = [
        ("renamed", |path| {
            fs::rename(path, path.with_extension("1")).unwrap()
        }),
        ("renamed, and a new one created", |path| {
            fs::rename(path, path.with_extension("1")).unwrap();
            fs::write(path, "").unwrap();
        }),
        ("removed", |path| fs::remove_file(path).unwrap()),
        ("replaced by a longer one", |path| {
            fs::rename(path, path.with_extension("1")).unwrap();
            let other = serde_json::json!({ "path": "/0", "reason": "x".repeat(10_000) });
            fs::write(path, format!("{other}\n")).unwrap();
        }),
    ];
    for (name, rotate) in tests {
        let (_folder, path, sink) = with_two_lines().await;
        rotate(&path);
        sink.write(&[numbered("/3")]).await.unwrap();
        sink.write(&[numbered("/4")]).await.unwrap();
        let mut kept = line_paths(&path);
        kept.retain(|path| path != "/0");
        assert_eq!(kept, ["/3", "/4"], "{name}");
        let old = path.with_extension("1");
        if name != "removed" {
            assert_eq!(line_paths(&old), ["/1", "/2"], "{name}");
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a5_a_link_that_points_elsewhere_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other, link] = ["one", "other", "link"].map(|name| folder.path().join(name));
    std::os::unix::fs::symlink(&one, &link).unwrap();
    let sink = JsonLines::open(&link).unwrap();
    sink.write(&[numbered("/1")]).await.unwrap();
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&other, &link).unwrap();
    sink.write(&[numbered("/2")]).await.unwrap();
    assert_eq!(
        (line_paths(&one), line_paths(&other)),
        (vec!["/1".into()], vec!["/2".into()])
    );
}

#[tokio::test]
async fn a5_a_file_that_was_truncated_goes_on_with_whole_lines() {
    for left in [0, 20, 100] {
        let (_folder, path, sink) = with_two_lines().await;
        fs::copy(&path, path.with_extension("1")).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(left).unwrap();
        for number in 3..5 {
            sink.write(&[numbered(&format!("/{number}"))])
                .await
                .unwrap();
        }
        // What was cut off is closed with a line break.
        let text = fs::read_to_string(&path).unwrap();
        let (before, after) = text.split_at(left as usize);
        let after = match before {
            "" => after,
            _ => after.strip_prefix('\n').unwrap(),
        };
        let kept: Vec<Value> = after
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        assert_eq!(kept.len(), 2, "{left}");
        assert_eq!(line_paths(&path.with_extension("1")), ["/1", "/2"]);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a5_reopen_lets_the_old_file_go_at_once() {
    let (_folder, path, sink) = with_two_lines().await;
    let old = path.with_extension("1");
    fs::rename(&path, &old).unwrap();
    // Held by the trail, reopened by the host.
    let (trail, _) = trail(sink.clone());
    sink.reopen().await.unwrap();
    assert_eq!(line_paths(&path), Vec::<String>::new());
    trail.record_durable(event(&trail, "/3")).await.unwrap();
    assert_eq!(line_paths(&path), ["/3"]);
    assert_eq!(line_paths(&old), ["/1", "/2"]);
}

#[cfg(unix)]
#[tokio::test]
async fn a5_a_file_that_cannot_be_opened_again_fails_the_write_until_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("logs");
    fs::create_dir(&logs).unwrap();
    let path = logs.join("audit.jsonl");
    let sink = JsonLines::open(&path).unwrap();
    fs::rename(&logs, folder.path().join("moved")).unwrap();
    assert!(sink.reopen().await.is_err());
    assert!(sink.write(&[numbered("/1")]).await.is_err());
    fs::create_dir(&logs).unwrap();
    sink.write(&[numbered("/1")]).await.unwrap();
    assert_eq!(line_paths(&path), ["/1"]);
}

/// Renames the file as fast as it can while the trail writes: no line is lost, and none stands there twice.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a5_nothing_is_lost_however_often_the_file_is_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let (trail, _) = trail(JsonLines::open(&path).unwrap());
    let is_over = Arc::new(AtomicBool::new(false));
    let rotated = Arc::new(AtomicUsize::new(0));
    let rotation = {
        let (path, is_over, rotated) = (path.clone(), is_over.clone(), rotated.clone());
        tokio::task::spawn_blocking(move || {
            while !is_over.load(SeqCst) {
                let old = path.with_extension(rotated.load(SeqCst).to_string());
                rotated.fetch_add(usize::from(fs::rename(&path, old).is_ok()), SeqCst);
            }
        })
    };
    let mut written = 0;
    while written < 300 || rotated.load(SeqCst) < 50 {
        let event = event(&trail, &format!("/{written}"));
        trail.record_durable(event).await.unwrap();
        written += 1;
    }
    is_over.store(true, SeqCst);
    rotation.await.unwrap();
    let rotated = rotated.load(SeqCst);
    let mut kept = Vec::new();
    for number in 0..rotated {
        kept.extend(line_paths(&path.with_extension(number.to_string())));
    }
    if path.exists() {
        kept.extend(line_paths(&path));
    }
    let expected: Vec<_> = (0..written).map(|number| format!("/{number}")).collect();
    assert_eq!(kept, expected);
}

#[cfg(unix)]
#[test]
fn a6_a_new_file_is_its_owners_only() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let _sink = JsonLines::open(&path).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a5_a_file_that_cannot_be_opened_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    assert!(JsonLines::open(folder.path()).is_err());
    assert!(JsonLines::open(folder.path().join("none/audit.jsonl")).is_err());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a5_a_disk_that_is_full_is_an_error() {
    let sink = JsonLines::open("/dev/full").unwrap();
    for _ in 0..2 {
        let error = sink.write(&[numbered("/1")]).await.unwrap_err();
        let error = error.downcast::<std::io::Error>().unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    }
}

/// A file that takes everything and cannot be synced: a pipe.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a5_a_sync_that_fails_is_an_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
    let sink = JsonLines::open(path).unwrap();
    let error = sink.write(&[numbered("/1")]).await.unwrap_err();
    assert!(error.downcast::<std::io::Error>().is_ok());
    drop(reader);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a6_json_lines_has_one_object_a_line_under_load() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let (trail, _) = trail(JsonLines::open(&path).unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let trail = trail.clone();
        tasks.spawn(async move {
            for number in 0..100 {
                let mut event = event(&trail, &format!("/{task}/{number}"));
                event.reason = Some(format!("line\n{}\u{2028}", "x".repeat(number * 10)));
                if number % 10 == 0 {
                    trail.record_durable(event).await.unwrap();
                } else {
                    trail.record(event);
                }
            }
        });
    }
    tasks.join_all().await;
    trail.flush().await.unwrap();
    let kept = line_paths(&path);
    assert_eq!(kept.len(), 800);
    for task in 0..8 {
        let start = format!("/{task}/");
        let own: Vec<_> = kept.iter().filter_map(|p| p.strip_prefix(&start)).collect();
        let expected: Vec<_> = (0..100).map(|number| number.to_string()).collect();
        assert_eq!(own, expected, "the order of task {task}");
    }
}

#[tokio::test]
async fn a1_an_acknowledged_event_is_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let (trail, _) = trail(JsonLines::open(&path).unwrap());
    for number in 0..5 {
        let event = event(&trail, &format!("/{number}"));
        trail.record_durable(event).await.unwrap();
        assert_eq!(lines(&path).len(), number + 1);
    }
}

/// A write into a pipe that nobody reads hangs.
#[cfg(target_os = "linux")]
#[test]
fn a4_a_disk_that_hangs_holds_one_thread_and_not_one_for_each_attempt() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(4)
        .build()
        .unwrap();
    let mut large = numbered("/1");
    // More than fits into a pipe.
    large.reason = Some("x".repeat(1 << 20));
    // Of all attempts the first one, and its line break.
    let written = large.to_json_line().len() as u64 + 1;
    runtime.block_on(async {
        let sink = JsonLines::open(path).unwrap();
        for _ in 0..8 {
            let mut write = pin!(sink.write(std::slice::from_ref(&large)));
            assert!(poll(write.as_mut()).await.is_pending());
        }
        // A thread is left for the rest of the application.
        tokio::task::spawn_blocking(|| {}).await.unwrap();
    });
    // Lets the one that hangs go, so that the runtime can end.
    let drain = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    drop(runtime);
    drop(writer);
    assert_eq!(drain.join().unwrap().unwrap(), written);
}

#[test]
fn a6_the_tracing_sink_logs_each_event_as_json() {
    let mut odd = numbered("/1");
    odd.reason = Some("two\nlines \"quoted\"".to_owned());
    let events = [odd, numbered("/2")];
    let log = logged(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(TracingSink.write(&events)).unwrap();
    });
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines.len(), 2, "{log}");
    for (line, event) in lines.iter().zip(&events) {
        assert!(
            line.contains(" INFO tower_impersonation::audit: "),
            "{line}"
        );
        assert!(line.contains(" impersonation.request "), "{line}");
        let (_, json) = line.split_once("event=").unwrap();
        assert_eq!(json, event.to_json_line());
    }
}

#[tokio::test]
async fn a5_a_function_is_a_sink() {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let sink = {
        let calls = calls.clone();
        sink_fn(move |events| {
            calls.lock().unwrap().push(events.len());
            if events.len() > 1 {
                return Err("too many".into());
            }
            Ok(())
        })
    };
    assert!(sink.write(&[numbered("/1")]).await.is_ok());
    let two = [numbered("/1"), numbered("/2")];
    assert_eq!(sink.write(&two).await.unwrap_err().to_string(), "too many");
    assert_eq!(*calls.lock().unwrap(), [1, 2]);
    assert_eq!(format!("{sink:?}"), "SinkFn(<fn>)");
}

// FanOut has its own patience, by tokio's clock, which stands still in these tests until all wait for it.

#[tokio::test(start_paused = true)]
async fn a5_all_means_every_sink_and_none_gets_an_event_twice() {
    for act in [Act::Fail, Act::Panic, Act::Hang] {
        // Ahead of the broken one, and behind it.
        let (before, after) = (MemorySink::default(), MemorySink::default());
        let broken = Scripted::new([act, act], Act::Take);
        let fan = FanOut::all()
            .and(before.clone())
            .and(broken.clone())
            .and(after.clone());
        let mut events = vec![numbered("/1"), numbered("/2")];
        assert!(fan.write(&events).await.is_err(), "{act:?}");
        events.push(numbered("/3"));
        assert!(fan.write(&events).await.is_err(), "{act:?}");
        events.push(numbered("/4"));
        assert!(fan.write(&events).await.is_ok(), "{act:?}");
        assert!(fan.write(&[numbered("/5")]).await.is_ok(), "{act:?}");

        let expected = ["/1", "/2", "/3", "/4", "/5"];
        assert_eq!(paths(&before.events()), expected, "{act:?}");
        assert_eq!(paths(&broken.kept()), expected, "{act:?}");
        assert_eq!(paths(&after.events()), expected, "{act:?}");
        assert_eq!(fan.remembered(), 0, "{act:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a5_any_means_one_sink_and_does_not_wait_for_ever_for_the_others() {
    for act in [Act::Fail, Act::Panic, Act::Hang] {
        let healthy = MemorySink::default();
        let broken = Scripted::always(act);
        let fan = FanOut::any().and(broken.clone()).and(healthy.clone());
        for path in ["/1", "/2"] {
            assert!(fan.write(&[numbered(path)]).await.is_ok(), "{act:?}");
        }
        assert_eq!(paths(&healthy.events()), ["/1", "/2"], "{act:?}");
        // What it missed it does not get later.
        broken.go_on_with(Act::Take);
        assert!(fan.write(&[numbered("/3")]).await.is_ok(), "{act:?}");
        assert_eq!(paths(&broken.kept()), ["/3"], "{act:?}");
        assert_eq!(paths(&healthy.events()), ["/1", "/2", "/3"], "{act:?}");

        let fan = FanOut::any().and(Scripted::always(act));
        assert!(fan.write(&[numbered("/1")]).await.is_err(), "{act:?}");
    }
}

#[tokio::test]
async fn a4_a_fan_out_without_sinks_keeps_nothing_and_says_so() {
    for fan in [FanOut::all(), FanOut::any()] {
        assert!(fan.write(&[numbered("/1")]).await.is_err(), "{fan:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a5_a_fan_out_that_is_dropped_half_way_repeats_nothing() {
    let healthy = MemorySink::default();
    let slow = Scripted::new([Act::Wait], Act::Take);
    let fan = FanOut::all().and(healthy.clone()).and(slow.clone());
    let events = [numbered("/1")];
    assert!(poll(pin!(fan.write(&events))).await.is_pending());
    assert!(fan.write(&events).await.is_ok());
    assert_eq!(paths(&healthy.events()), ["/1"]);
}

#[tokio::test]
async fn a5_a_fan_out_within_a_fan_out_does_not_remember_for_ever() {
    // The inner one never succeeds, so it is never told to forget; the outer one goes on without it.
    let inner_healthy = MemorySink::default();
    let inner = FanOut::all()
        .and(inner_healthy.clone())
        .and(Scripted::always(Act::Fail));
    let inner = Arc::new(inner);
    let fan = FanOut::any().and(inner.clone()).and(MemorySink::default());
    for number in 0..100 {
        let event = numbered(&format!("/{number}"));
        assert!(fan.write(&[event]).await.is_ok());
    }
    assert_eq!(inner_healthy.events().len(), 100);
    assert_eq!(inner.remembered(), 1);
}

#[tokio::test(start_paused = true)]
async fn a1_a_fan_out_behind_a_trail_acknowledges_when_all_have_it() {
    let healthy = MemorySink::default();
    let broken = Scripted::new([Act::Fail, Act::Fail], Act::Take);
    let (trail, clock) = trail(FanOut::all().and(healthy.clone()).and(broken.clone()));
    let durable = trail.record_durable(event(&trail, "/1"));
    while_time_passes(&clock, durable).await.unwrap();
    assert_eq!(paths(&broken.kept()), ["/1"]);
    assert_eq!(paths(&healthy.events()), ["/1"]);
}

#[cfg(feature = "conformance")]
mod conformance {
    use std::collections::HashSet;

    use super::*;
    use crate::audit::conformance::{Repeated, run};

    fn as_json(events: &[AuditEvent]) -> Vec<Value> {
        let json = |event| serde_json::to_value(event).unwrap();
        events.iter().map(json).collect()
    }

    #[tokio::test]
    async fn memory_sink_conforms() {
        let sink = MemorySink::default();
        let kept = sink.clone();
        run(sink, Repeated::KeptAgain, || async {
            as_json(&kept.events())
        })
        .await;
    }

    #[tokio::test]
    async fn json_lines_conforms() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let sink = JsonLines::open(&path).unwrap();
        run(sink, Repeated::KeptAgain, || async { lines(&path) }).await;
    }

    #[tokio::test]
    async fn fan_out_conforms() {
        let (one, other) = (MemorySink::default(), MemorySink::default());
        let sink = FanOut::all().and(one.clone()).and(other.clone());
        run(sink, Repeated::KeptAgain, || async {
            assert_eq!(one.events(), other.events());
            as_json(&one.events())
        })
        .await;
    }

    /// What is wrong with a sink.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Flaw {
        None,
        NotEmpty,
        NewestFirst,
        LosesTheLast,
        LosesLargeBatches,
        SortsById,
        KeepsTwice,
        TakesIntentsForOutcomes,
        LosesRepeatedBatches,
        Lowercases,
        Trims,
        NoNanos,
        NoRoute,
        NoZero,
        Fails,
    }

    /// A sink that keeps each event once, but for its flaw.
    struct Flawed {
        flaw: Flaw,
        kept: Arc<Mutex<Vec<AuditEvent>>>,
        keys: Mutex<HashSet<(uuid::Uuid, bool)>>,
        calls: AtomicUsize,
    }

    #[async_trait]
    impl AuditSink for Flawed {
        async fn write(&self, events: &[AuditEvent]) -> Result<(), BoxError> {
            let flaw = self.flaw;
            self.calls.fetch_add(1, SeqCst);
            let mut events = events.to_vec();
            let mut kept = self.kept.lock().unwrap();
            let mut keys = self.keys.lock().unwrap();
            let is_known = |event: &AuditEvent| keys.contains(&event.key());
            let has_zero = |event: &AuditEvent| event.reason.iter().any(|r| r.contains('\0'));
            match flaw {
                Flaw::Fails if self.calls.load(SeqCst) > 5 => return Err("broken".into()),
                Flaw::NoZero if events.iter().any(has_zero) => {
                    return Err("a text with a zero byte".into());
                }
                Flaw::LosesTheLast if events.len() > 6 => drop(events.pop()),
                Flaw::LosesLargeBatches if events.len() > 999 => events.truncate(999),
                Flaw::LosesRepeatedBatches if events.first().is_some_and(is_known) => return Ok(()),
                Flaw::SortsById => events.sort_by_key(|event| event.id),
                _ => {}
            }
            for mut event in events {
                let key = match flaw {
                    Flaw::TakesIntentsForOutcomes => (event.id, false),
                    _ => event.key(),
                };
                let is_new = keys.insert(key);
                if !is_new && flaw != Flaw::KeepsTwice {
                    continue;
                }
                match flaw {
                    Flaw::Lowercases => event.reason = event.reason.map(|r| r.to_lowercase()),
                    Flaw::Trims => event.reason = event.reason.map(|r| r.trim().to_owned()),
                    Flaw::NoNanos => event.time = event.time.replace_nanosecond(0).unwrap(),
                    Flaw::NoRoute => event.route = None,
                    _ => {}
                }
                match flaw {
                    Flaw::NewestFirst => kept.insert(0, event),
                    _ => kept.push(event),
                }
            }
            Ok(())
        }
    }

    #[tokio::test]
    async fn the_suite_finds_what_is_wrong_with_a_sink() {
        let flaws = [
            Flaw::None,
            Flaw::NotEmpty,
            Flaw::NewestFirst,
            Flaw::LosesTheLast,
            Flaw::LosesLargeBatches,
            Flaw::SortsById,
            Flaw::KeepsTwice,
            Flaw::TakesIntentsForOutcomes,
            Flaw::LosesRepeatedBatches,
            Flaw::Lowercases,
            Flaw::Trims,
            Flaw::NoNanos,
            Flaw::NoRoute,
            Flaw::NoZero,
            Flaw::Fails,
        ];
        for flaw in flaws {
            let kept = Arc::new(Mutex::new(Vec::new()));
            if flaw == Flaw::NotEmpty {
                kept.lock().unwrap().push(numbered("/0"));
            }
            let sink = Flawed {
                flaw,
                kept: kept.clone(),
                keys: Mutex::default(),
                calls: AtomicUsize::new(0),
            };
            let suite = tokio::spawn(async move {
                run(sink, Repeated::KeptOnce, || async {
                    as_json(&kept.lock().unwrap())
                })
                .await;
            });
            assert_eq!(suite.await.is_err(), flaw != Flaw::None, "{flaw:?}");
        }
    }
}
