use super::*;
use crate::wire::{DeltaRecord, OutcomeRecord, PolicyApplied};
use std::sync::Mutex;

fn policy() -> PolicyApplied {
    PolicyApplied { version: 2, decide_revision: 1, document: "x".into(), applied_at: 1, applied_by: "me".into() }
}

/// Numbers of records and ids from `first` on.
fn given(first: u32) -> Vec<(u8, u32)> {
    (first..).zip(wire::codecs()).map(|(id, codec)| (codec.number, id)).collect()
}

fn ids() -> &'static Ids {
    Box::leak(Box::default())
}

fn framed(id: u32, body: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], body].concat()
}

/// Answers from a script, and counts.
#[derive(Debug, Default)]
struct Scripted {
    answers: BTreeMap<u32, Result<Resolved, Away>>,
    asked: Mutex<Vec<u32>>,
}

impl Resolver for Scripted {
    fn resolve(&self, id: u32) -> Resolving {
        self.asked.lock().unwrap().push(id);
        let answer = self.answers[&id].clone();
        Box::pin(async move { answer })
    }
}

/// A future that never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    let waker = std::task::Waker::noop();
    match Box::pin(future).as_mut().poll(&mut std::task::Context::from_waker(waker)) {
        std::task::Poll::Ready(done) => done,
        std::task::Poll::Pending => panic!("waited"),
    }
}

#[test]
fn embedded_ids_are_read_with_and_without_a_registry() {
    let ids = ids();
    let embedded = ids.encode(&policy()).unwrap();
    assert_eq!(codec::schema_id(&embedded).unwrap(), 0x5155_0301);
    ids.adopt(&given(1)).unwrap();
    let registered = ids.encode(&policy()).unwrap();
    assert_eq!(codec::schema_id(&registered).unwrap(), 3);
    assert_eq!(embedded[5..], registered[5..]);
    for bytes in [embedded, registered] {
        assert_eq!(ids.decode::<PolicyApplied>(&bytes).unwrap(), policy());
        let other = ids.decode::<DeltaRecord>(&bytes).unwrap_err();
        assert!(other.to_string().contains("quell.v1.PolicyApplied; expected Delta"), "{other}");
    }
}

/// On a cluster where the others have a registry, a process that was forgotten must not bury what they wrote.
#[test]
fn without_a_registry_what_one_numbered_waits_for_it() {
    let ids = ids();
    let body = ids.encode(&policy()).unwrap()[5..].to_vec();
    // 3 is also the number of this very record: the registry may have given it to another.
    for id in [1, 3, 900, 0x7fff_ffff] {
        let bytes = framed(id, &body);
        for error in [ids.decode::<PolicyApplied>(&bytes).unwrap_err(), ids.decode::<DeltaRecord>(&bytes).unwrap_err()]
        {
            assert!(error.is_unresolved() && error.to_string().contains("set url in [registry]"), "{id}: {error}");
        }
        assert!(!ids.is_of(PolicyApplied::codec(), id), "{id}");
    }
    for id in [0, 0x8000_0000, u32::MAX] {
        let never = ids.decode::<PolicyApplied>(&framed(id, &body)).unwrap_err();
        assert!(matches!(never, DecodeError::OtherSchema { .. }), "{never}: no registry gives it");
    }
    ids.adopt(&given(100)).unwrap();
    assert!(ids.decode::<PolicyApplied>(&framed(3, &body)).unwrap_err().to_string().contains("not asked for it yet"));
}

#[test]
fn a_newer_build_s_embedded_id_waits() {
    let newer = framed(0x5155_0309, &[1]);
    assert!(ids().decode::<PolicyApplied>(&newer).unwrap_err().is_unresolved());
    assert!(ids().is_of(PolicyApplied::codec(), 0x5155_0309) && !ids().is_of(DeltaRecord::codec(), 0x5155_0309));
    let record = ids().decode::<PolicyApplied>(&framed(0x5155_0f01, &[1])).unwrap_err();
    assert!(record.is_unresolved() && record.to_string().contains("record 15 is of a newer build"), "{record}");
    assert!(!ids().is_of(PolicyApplied::codec(), 0x5155_0f01));
    let other = ids().decode::<PolicyApplied>(&framed(0x5155_0409, &[1])).unwrap_err();
    assert!(matches!(other, DecodeError::OtherSchema { .. }), "{other}");
    let never = framed(0x5155_0300, &[1]);
    assert!(ids().decode::<PolicyApplied>(&never).unwrap_err().is_unresolved());
}

#[test]
fn refuses_ids_that_cannot_be() {
    let missing = given(1)[1..].to_vec();
    assert_eq!(ids().adopt(&missing), Err(AdoptError::Missing("RawWebhook")));
    assert!(matches!(ids().adopt(&given(0)), Err(AdoptError::Reserved { id: 0, .. })));
    assert!(matches!(ids().adopt(&given(0x5155_0101)), Err(AdoptError::Reserved { .. })));
    let mut twice = given(1);
    twice[4].1 = 2;
    assert!(matches!(ids().adopt(&twice), Err(AdoptError::Taken { what: "State", id: 2, .. })));
    let ids = ids();
    assert!(ids.adopt(&twice).is_err());
    assert!(!ids.has_registry(), "nothing of a refused set is taken");
    ids.learn(6, Resolved::Schema(r#"{"type":"record","name":"x.Other","fields":[]}"#.into()));
    assert!(matches!(ids.adopt(&given(1)), Err(AdoptError::Taken { id: 6, .. })));
}

/// The schema of [`PolicyApplied`] before it had `applied_by`, and a schema after it got `newer`.
fn relatives() -> [(String, Vec<u8>); 2] {
    let mut schema: serde_json::Value = serde_json::from_str(PolicyApplied::codec().text).unwrap();
    let fields = schema["fields"].as_array_mut().unwrap();
    fields.push(serde_json::json!({ "name": "newer", "type": "string" }));
    let newer = schema.to_string();
    schema["fields"].as_array_mut().unwrap().remove(2);
    schema["fields"].as_array_mut().unwrap().pop();
    let body = Ids::new().encode(&policy()).unwrap()[5..].to_vec();
    // Without `document`, which is its length and one letter: bytes 2 and 3 after two small numbers.
    let without = [&body[..2], &body[4..]].concat();
    [(newer, [&body[..], &[2, b'n']].concat()), (schema.to_string(), without)]
}

#[test]
fn what_other_builds_wrote_is_resolved_once() {
    let [(newer, newer_body), (lacking, lacking_body)] = relatives();
    let answers = [
        (20, Ok(Resolved::Schema(newer))),
        (21, Ok(Resolved::Schema(lacking))),
        (22, Ok(Resolved::Schema(r#"{"type":"record","name":"x.Other","fields":[]}"#.into()))),
        (23, Ok(Resolved::Refused("the registry has none".into()))),
        (24, Ok(Resolved::Schema("no schema".into()))),
    ];
    let resolver = Arc::new(Scripted { answers: answers.into(), ..Scripted::default() });
    let ids = ids();
    ids.adopt(&given(1)).unwrap();
    ids.install(Arc::clone(&resolver) as Arc<dyn Resolver>);
    let values =
        [framed(20, &newer_body), framed(21, &lacking_body), framed(22, &[]), framed(23, &[]), framed(24, &[])];
    let own = ids.encode(&policy()).unwrap();
    let all = || values.iter().map(Vec::as_slice).chain([&own[..], b"", b"x"]);
    now(ids.ready(all())).unwrap();
    now(ids.ready(all())).unwrap();
    assert_eq!(*resolver.asked.lock().unwrap(), [20, 21, 22, 23, 24], "each id is asked for once");

    assert_eq!(ids.decode::<PolicyApplied>(&values[0]).unwrap(), policy());
    let lacking = ids.decode::<PolicyApplied>(&values[1]).unwrap_err();
    assert!(matches!(lacking, DecodeError::Malformed { .. }), "{lacking}: no default for document");
    for (value, says) in [(&values[2], "x.Other"), (&values[3], "has none"), (&values[4], "cannot be read")] {
        let error = ids.decode::<PolicyApplied>(value).unwrap_err();
        assert!(matches!(error, DecodeError::OtherSchema { .. }) && error.to_string().contains(says), "{error}");
    }
    assert!(matches!(ids.decode::<OutcomeRecord>(&values[0]), Err(DecodeError::OtherSchema { .. })));

    ids.forget_refused();
    now(ids.ready(all())).unwrap();
    assert_eq!(resolver.asked.lock().unwrap()[5..], [23, 24]);
}

#[test]
fn an_absent_registry_is_no_reason_for_a_dead_letter() {
    let answers = [(20, Err(Away("connection refused".into())))];
    let ids = ids();
    ids.install(Arc::new(Scripted { answers: answers.into(), ..Scripted::default() }));
    let value = framed(20, &[1, 2]);
    now(ids.ready([&value[..]])).expect("without a registry nobody is asked");
    ids.adopt(&given(1)).unwrap();
    let error = now(ids.ready([&value[..]])).unwrap_err();
    assert!(error.is_unresolved() && error.to_string().contains("connection refused"), "{error}");
    assert!(ids.decode::<PolicyApplied>(&value).unwrap_err().is_unresolved());
}

#[test]
fn what_is_kept_is_bounded() {
    let ids = ids();
    ids.adopt(&given(1)).unwrap();
    let other = || Resolved::Schema(r#"{"type":"record","name":"x.Other","fields":[]}"#.into());
    for id in 100..100 + 2_000 {
        ids.learn(id, other());
        ids.learn(id + 10_000, Resolved::Refused("none".into()));
    }
    assert_eq!(held(&ids.learnt).len(), LEARNT_MAX);
    assert!(held(&ids.refused).len() <= REFUSED_MAX);
    let error = ids.decode::<PolicyApplied>(&framed(2_099, &[])).unwrap_err();
    assert!(error.to_string().contains("1000 schemas"), "{error}");
}

/// A record that an older build knew without `since`.
#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Grown {
    name: String,
    since: i64,
}

impl Wire for Grown {
    fn codec() -> &'static std::sync::LazyLock<Codec> {
        static CODEC: std::sync::LazyLock<Codec> = std::sync::LazyLock::new(|| {
            let now = r#"{"type":"record","name":"x.Grown","fields":[{"name":"name","type":"string"},
                {"name":"since","type":"long","default":7}]}"#;
            let first = r#"{"type":"record","name":"x.Grown","fields":[{"name":"name","type":"string"}]}"#;
            Codec::embedded("Grown", 15, now, &[first])
        });
        &CODEC
    }
}

#[test]
fn embedded_older_schemas_are_read() {
    let ids = ids();
    let current = ids.encode(&Grown { name: "a".into(), since: 9 }).unwrap();
    assert_eq!(codec::schema_id(&current).unwrap(), 0x5155_0f02);
    assert_eq!(ids.decode::<Grown>(&current).unwrap(), Grown { name: "a".into(), since: 9 });
    let first = framed(0x5155_0f01, &[2, b'a']);
    assert_eq!(ids.decode::<Grown>(&first).unwrap(), Grown { name: "a".into(), since: 7 });
}
