//! What the trail holds: rules A6 and A7.

use serde_json::Value;
use time::macros::datetime;
use uuid::Uuid;

use super::*;
use crate::words::{Ids, cut_header, cut_path};

const NAMES: [(EventName, &str); 8] = [
    (EventName::Start, "impersonation.start"),
    (EventName::End, "impersonation.end"),
    (EventName::Request, "impersonation.request"),
    (EventName::Denied, "impersonation.denied"),
    (EventName::AccessRaised, "impersonation.access_raised"),
    (EventName::Extended, "impersonation.extended"),
    (EventName::PrivilegeViolation, "privilege_violation"),
    (EventName::TrailRead, "trail.read"),
];

fn bare() -> AuditEvent {
    AuditEvent::new(Uuid::from_u128(7), NOON, EventName::Request)
}

#[test]
fn a7_names_are_stable() {
    for (name, text) in NAMES {
        assert_eq!(name.as_str(), text);
        assert_eq!(name.to_string(), text);
        assert_eq!(serde_json::to_value(name).unwrap(), text);
    }
}

#[test]
fn a6_outcomes_are_stable() {
    let outcomes = [
        (Outcome::Intent, "intent"),
        (Outcome::Completed, "completed"),
        (Outcome::Failed, "failed"),
        (Outcome::Cancelled, "cancelled"),
        (Outcome::Refused, "refused"),
    ];
    for (outcome, text) in outcomes {
        assert_eq!(outcome.as_str(), text);
        assert_eq!(serde_json::to_value(outcome).unwrap(), text);
    }
}

#[test]
fn a6_a_full_event_has_its_keys_in_their_order() {
    let mut event = bare();
    event.actor = "ada".parse().ok();
    event.subject = Some(Subject::Anonymous);
    event.session = Some(SessionId(Uuid::from_u128(8)));
    event.reason = Some("ticket 4711".to_owned());
    event.access = Some(Access::ReadWrite);
    event.method = Some("POST".to_owned());
    event.path = Some("/orders/7".to_owned());
    event.route = Some("/orders/{id}".to_owned());
    event.status = Some(201);
    event.outcome = Some(Outcome::Completed);
    event.rule = Some("read_only".into());
    event.count = Some(3);
    event.address = Some([192, 0, 2, 7].into());
    event.user_agent = Some("Mozilla/5.0".to_owned());
    event.request_id = Some("4f1c".to_owned());
    let expected = concat!(
        r#"{"id":"00000000-0000-0000-0000-000000000007","time":"2026-11-20T12:00:00Z","#,
        r#""name":"impersonation.request","actor":"ada","subject":"~anon","#,
        r#""session":"00000000-0000-0000-0000-000000000008","reason":"ticket 4711","#,
        r#""access":"read_write","method":"POST","path":"/orders/7","route":"/orders/{id}","#,
        r#""status":201,"outcome":"completed","rule":"read_only","count":3,"#,
        r#""address":"192.0.2.7","user_agent":"Mozilla/5.0","request_id":"4f1c"}"#,
    );
    assert_eq!(event.to_json_line(), expected);
    assert_eq!(format!("{event:?}"), expected);
}

#[test]
fn a6_absent_keys_are_left_out() {
    let expected = concat!(
        r#"{"id":"00000000-0000-0000-0000-000000000007","#,
        r#""time":"2026-11-20T12:00:00Z","name":"impersonation.request"}"#,
    );
    assert_eq!(bare().to_json_line(), expected);
}

#[test]
fn a6_times_are_in_utc_whatever_the_clock_says() {
    let tests = [
        (datetime!(2026-11-20 12:00 UTC), "2026-11-20T12:00:00Z"),
        (datetime!(2026-11-20 14:00 +2), "2026-11-20T12:00:00Z"),
        (
            datetime!(2026-11-20 12:00:00.123456789 UTC),
            "2026-11-20T12:00:00.123456789Z",
        ),
        // RFC 3339 has no seconds in an offset, and no such year.
        (
            datetime!(2026-11-20 12:53:28 +0:53:28),
            "2026-11-20T12:00:00Z",
        ),
        (
            datetime!(-1-11-20 12:00 UTC),
            "-0001-11-20 12:00:00.0 +00:00:00",
        ),
    ];
    for (time, expected) in tests {
        let line = AuditEvent::new(Uuid::nil(), time, EventName::End).to_json_line();
        let json: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["time"], expected);
    }
}

#[test]
fn a6_one_event_is_one_line_without_controls_and_reads_back() {
    // Every control character, and what viewers take for one.
    let mut odd: Vec<char> = ('\0'..='\u{9f}').filter(|c| c.is_control()).collect();
    assert_eq!(odd.len(), 65);
    odd.extend(['\u{2028}', '\u{2029}', '\u{61c}', '\u{200e}', '\u{200f}']);
    odd.extend('\u{202a}'..='\u{202e}');
    odd.extend('\u{2066}'..='\u{2069}');
    for &c in &odd {
        let text = format!("a{c}b\"\\{c}{c}\u{e9}\u{1f680}{c}");
        let mut event = bare();
        event.reason = Some(text.clone());
        event.user_agent = Some(text.clone());
        let line = event.to_json_line();
        assert!(
            !line.contains(&odd[..]),
            "U+{:04X} stands in {line}",
            u32::from(c)
        );
        let json: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["reason"], text.as_str());
        assert_eq!(json["user_agent"], text.as_str());
        assert_eq!(json, serde_json::to_value(&event).unwrap());
    }
}

#[test]
fn a6_other_text_is_written_as_it_is() {
    let mut event = bare();
    event.reason = Some("\u{e4} \u{4f60}\u{597d} \u{1f469}\u{200d}\u{1f680} \u{645}".to_owned());
    assert!(
        event
            .to_json_line()
            .contains(event.reason.as_deref().unwrap())
    );
}

proptest::proptest! {
    #[test]
    fn a6_any_text_is_one_line_and_reads_back(text in "\\PC*|[\\s\\S]*") {
        let mut event = bare();
        event.reason = Some(text.clone());
        let line = event.to_json_line();
        assert!(!line.chars().any(char::is_control));
        let json: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["reason"], text.as_str());
    }
}

#[test]
fn a6_long_paths_and_headers_are_cut_between_characters() {
    let long = "a".repeat(600);
    assert_eq!(cut_path(&long).len(), 512);
    assert_eq!(cut_path(&long[..512]).len(), 512);
    // Two bytes each, behind one: byte 512 is in the middle of one.
    let long = format!("/{}", "\u{e9}".repeat(300));
    assert_eq!(cut_path(&long).len(), 511);
    assert!(long.starts_with(cut_path(&long)));
    assert_eq!(cut_path("/short"), "/short");
    assert_eq!(cut_path(""), "");

    let header = |bytes: &[u8]| cut_header(&HeaderValue::from_bytes(bytes).unwrap());
    assert_eq!(header(b"short"), "short");
    assert_eq!(header(&[b'a'; 300]), "a".repeat(256));
    let long = format!("a{}", "\u{e9}".repeat(200));
    assert_eq!(
        header(long.as_bytes()),
        format!("a{}", "\u{e9}".repeat(127))
    );
    // What is no UTF-8 is replaced: three bytes for each.
    assert_eq!(header(&[0xff; 300]), "\u{fffd}".repeat(85));
}

#[tokio::test]
async fn a6_what_a_request_brings_is_cut_and_its_query_is_not_kept() {
    let sink = MemorySink::default();
    let (trail, _) = trail(sink.clone());
    let mut facts = get(&format!("/{}?as=ines&password=secret", "a".repeat(600)));
    facts.user_agent = Some(HeaderValue::from_str(&"b".repeat(300)).unwrap());
    facts.request_id = Some(HeaderValue::from_str(&"c".repeat(300)).unwrap());
    facts.route = Some("d".repeat(600).into());
    read(&trail, facts, 200).await;
    trail.flush().await.unwrap();
    let event = sink.events().remove(0);
    assert_eq!(event.path.as_deref().map(str::len), Some(512));
    assert_eq!(event.route.as_deref().map(str::len), Some(512));
    assert_eq!(event.user_agent.as_deref().map(str::len), Some(256));
    assert_eq!(event.request_id.as_deref().map(str::len), Some(256));
    let line = event.to_json_line();
    assert!(!line.contains("secret") && !line.contains('?'), "{line}");
}

#[tokio::test]
async fn a4_no_caller_decides_how_large_an_event_is() {
    let sink = MemorySink::default();
    let (trail, _) = trail(sink.clone());
    let long = "\u{e9}".repeat(100_000);
    let mut event = bare();
    for field in AuditEvent::FIELDS {
        // Fields of other kinds, and ids, do not take such a text.
        let _ = field.set(
            &mut event,
            crate::audit::FieldValue::Text(long.as_str().into()),
        );
    }
    assert!(event.to_json_line().len() > 1_000_000);
    let mut refused = event.clone();
    refused.name = EventName::Denied;
    let mut other = refused.clone();
    other.address = Some([192, 0, 2, 7].into());
    trail.record(event.clone());
    trail.record_durable(event).await.unwrap();
    for refused in [refused.clone(), refused, other] {
        trail.record_refusal(refused);
    }
    trail.flush().await.unwrap();
    assert_eq!(sink.events().len(), 5);
    for event in sink.events() {
        let line = event.to_json_line();
        assert!(line.len() < 4_000, "{}", line.len());
        assert_eq!(event.reason.unwrap().chars().count(), 500);
        assert_eq!(event.path.unwrap().len(), 512);
        assert_eq!(event.method.unwrap().len(), 64);
        assert_eq!(event.rule.unwrap().len(), 64);
    }
}

#[test]
fn a5_the_key_tells_an_intent_from_its_outcome_and_from_nothing_else() {
    let mut intent = bare();
    intent.outcome = Some(Outcome::Intent);
    let mut outcome = bare();
    outcome.outcome = Some(Outcome::Completed);
    let mut other = bare();
    other.id = Uuid::from_u128(9);
    assert_ne!(intent.key(), outcome.key());
    assert_eq!(outcome.key(), bare().key());
    assert_ne!(outcome.key(), other.key());
}

#[test]
fn s7_ids_sort_in_the_order_they_are_made_though_the_clock_is_set_back() {
    let ids = Ids::default();
    let mut made = Vec::new();
    for step in [0, 0, 0, 1, 5, 5, -3_600, 5, 6, 7_200, 7] {
        for _ in 0..100 {
            made.push(ids.next(NOON + time::Duration::milliseconds(step)));
        }
    }
    assert!(made.is_sorted());
    made.dedup();
    assert_eq!(made.len(), 1_100);
    assert!(made.iter().all(|id| id.get_version_num() == 7));
}
