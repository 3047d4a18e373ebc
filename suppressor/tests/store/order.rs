//! Whatever order writes arrive in, and however often: the store over CQL answers as the one in memory.

use crate::bed::{at, cql_store, in_force, row};
use domain::{EventId, Kind, Recipient, RecipientKey, Scope, Tenant};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use suppressor::{
    Store,
    evidence::Engagement,
    store::{Due, MessageEntry, Write, cql::CqlStore, memory::MemoryStore},
};

const RECIPIENTS: usize = 3;
const EVENTS: u8 = 6;

/// What one position brings: to whom, which event, and what else is written.
#[derive(Debug, Clone)]
struct Told {
    to: usize,
    event: u8,
    is_evidence: bool,
    is_decided: bool,
}

fn told() -> impl Strategy<Value = Told> {
    (0..RECIPIENTS, 0..EVENTS, any::<bool>(), any::<bool>()).prop_map(|(to, event, is_evidence, is_decided)| Told {
        to,
        event,
        is_evidence,
        is_decided,
    })
}

fn owner(tenant: &Tenant, to: usize) -> RecipientKey {
    RecipientKey { tenant: tenant.clone(), recipient: Recipient::email(&format!("r{to}@example.com")).unwrap() }
}

/// The write of each position, as an owner would make it that has seen all before.
fn writes(tenant: &Tenant, told: &[Told]) -> Vec<Write> {
    let mut engagement = [Engagement::default(); RECIPIENTS];
    let mut all = Vec::new();
    for (position, told) in (1_u64..).zip(told) {
        let key = owner(tenant, told.to);
        let name = format!("{tenant}-{}-{}", told.to, told.event);
        let seconds = i64::from(told.event);
        let seen_at = Some(at(i64::try_from(position).unwrap()));
        engagement[told.to] =
            engagement[told.to].merge(Engagement { first_sent_at: seen_at, sent_at: seen_at, engaged_at: None });
        let mut written = crate::bed::write(key.clone(), Vec::new());
        written.history.engagement = engagement[told.to];
        if told.is_evidence {
            written.rows = vec![row(&name, seconds, position)];
            written.history.insert(row(&name, seconds, position));
        } else {
            written.seen = vec![(at(seconds), EventId::derive(&[&name]), position)];
        }
        if told.is_evidence && told.is_decided {
            written.in_force = Some(in_force(position, 1));
            written.audit = vec![(position, Scope::All, vec![told.event])];
            written.due = vec![Due { at: at(3_000 * seconds), key: key.clone(), scope: Scope::All }];
        }
        written.messages = vec![MessageEntry {
            key,
            provider: "drip".into(),
            message_id: format!("m{}", told.to),
            event_id: EventId::derive(&[&name, &position.to_string()]),
            occurred_at: at(seconds),
            received_at: at(seconds),
            kind: Kind::Delivered,
            provider_kind: "delivered".into(),
            machine: false,
            failure: None,
            campaign: None,
            receipt_id: "r".into(),
            position,
        }];
        all.push(written);
    }
    all
}

async fn compare(cql: &CqlStore, memory: &MemoryStore, tenant: &Tenant, partition: u32) {
    let keys: Vec<RecipientKey> = (0..RECIPIENTS).map(|to| owner(tenant, to)).collect();
    assert_eq!(cql.load(&keys).await.unwrap(), memory.load(&keys).await.unwrap());
    assert_eq!(cql.in_force(&keys).await.unwrap(), memory.in_force(&keys).await.unwrap());
    let ids: Vec<_> = (0..RECIPIENTS)
        .flat_map(|to| (0..EVENTS).map(move |event| (to, event)))
        .map(|(to, event)| (at(i64::from(event)), EventId::derive(&[&format!("{tenant}-{to}-{event}")])))
        .collect();
    assert_eq!(cql.seen(&ids).await.unwrap(), memory.seen(&ids).await.unwrap());
    for (to, key) in keys.iter().enumerate() {
        let id = format!("m{to}");
        assert_eq!(cql.message(tenant, &id, 99).await.unwrap(), memory.message(tenant, &id, 99).await.unwrap());
        assert_eq!(cql.audit(key, 99).await.unwrap(), memory.audit(key, 99).await.unwrap());
    }
    let mut due = cql.due(None, at(99_999), 9_999).await.unwrap();
    due.retain(|due| due.key.tenant == *tenant);
    assert_eq!(due, memory.due(None, at(99_999), 9_999).await.unwrap());
    assert_eq!(cql.applied(partition).await.unwrap(), memory.applied(partition).await.unwrap());
}

#[test]
fn any_order_and_any_repetition_lead_to_the_same_answers() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (cql, _) = runtime.block_on(cql_store());
    let cases = std::sync::atomic::AtomicU32::new(0);
    let told = prop::collection::vec(told(), 1..14);
    let order = prop::collection::vec(any::<prop::sample::Index>(), 0..14);
    let cuts = prop::collection::vec(1..4_usize, 30);
    // Failures are found again by the seed that is printed: a file of them would grow with every run.
    let mut runner = TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
    let tried = runner.run(&(told, order, cuts), |(told, order, cuts)| {
        let case = cases.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let tenant = Tenant::new(&format!("t{case}")).unwrap();
        let writes = writes(&tenant, &told);
        // All of them, some more than once, from the last to the first or as the indices say.
        let mut at_random: Vec<usize> = order.iter().map(|index| index.index(writes.len())).collect();
        at_random.extend((0..writes.len()).rev());
        let memory = MemoryStore::default();
        runtime.block_on(async {
            let mut rest = at_random.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (batch, left) = rest.split_at((*cut).min(rest.len()));
                rest = left;
                let applied: Vec<(u32, u64)> =
                    batch.iter().max().map(|last| (case, *last as u64 + 1)).into_iter().collect();
                for store in [&cql as &dyn Store, &memory] {
                    store.apply(batch.iter().map(|at| writes[*at].clone()).collect(), &applied).await.unwrap();
                }
            }
            compare(&cql, &memory, &tenant, case).await;
        });
        Ok(())
    });
    tried.unwrap();
}
