//! The incident guard in a world of senders: a large mailbox provider refuses valid recipients for hours, as one did in
//! December 2020; and weeks in which nothing of the kind happens. Production stages and jobs over a log and a store in
//! memory, killed and expelled at random; what the guard says must be what its counts imply, however often it died.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests: whatever fails ends them")]

mod world;

use domain::{Change, Delta, EventId, Group, Kind, RecipientKey, Ruling, Scope, incident::incident_id};
use event_log::Record;
use schemas::{encode, topics, wire::IncidentVerdict};
use std::collections::BTreeSet;
use suppressor::{Store as _, jobs::incidents};
use testkit::builders::recipient_key;
use world::{DAY, HOUR, PARTITIONS, STEP, STEPS_A_DAY, World, at, guarded};

/// Who is written to once a day.
#[derive(Debug, Clone)]
struct Person {
    address: String,
    reads: bool,
    /// The mailbox is gone from then on.
    dead_from: Option<i64>,
}

fn people(domain: &str, n: usize) -> Vec<Person> {
    let person = |n| Person { address: format!("p{n}@{domain}"), reads: true, dead_from: None };
    (0..n).map(person).collect()
}

/// A sender who asks before it sends. `refuses` says which living recipient is refused.
fn send(world: &mut World, people: &[Person], seconds: i64, refuses: impl Fn(&str, i64) -> bool) {
    for person in people {
        if world.is_stopped(&person.address, seconds) {
            continue;
        }
        let is_dead = person.dead_from.is_some_and(|from| from <= seconds);
        if is_dead || refuses(&person.address, seconds) {
            world.tell(&person.address, Kind::BouncedHard, seconds);
        } else {
            world.tell(&person.address, Kind::Delivered, seconds);
            if person.reads && world.random.below(2) == 0 {
                world.tell(&person.address, Kind::Opened, seconds + 60);
            }
        }
    }
}

/// Days of mail: each step a share of the people.
fn days(world: &mut World, people: &[Person], days: std::ops::Range<i64>, refuses: impl Fn(&str, i64) -> bool) {
    for step in days.start * STEPS_A_DAY as i64..days.end * STEPS_A_DAY as i64 {
        let seconds = step * STEP;
        world.now = seconds + STEP;
        let turn = step.rem_euclid(STEPS_A_DAY as i64) as usize;
        let share: Vec<Person> = people
            .iter()
            .enumerate()
            .filter(|(n, _)| n % STEPS_A_DAY as usize == turn)
            .map(|(_, p)| p.clone())
            .collect();
        send(world, &share, seconds, &refuses);
        world.settle();
    }
}

/// The third day, 11:38 to 15:58: every tenth of the valid recipients of one domain is refused.
const OUTAGE: std::ops::Range<i64> = (2 * DAY + 11 * HOUR)..(2 * DAY + 16 * HOUR);

fn outage(seed: u64, dies: u64, document: &str) -> (World, Vec<Person>) {
    let mut people = [people("gmail.example", 2_880), people("other.example", 576)].concat();
    for (n, person) in people.iter_mut().enumerate() {
        // Some really die, of both domains, in the outage and before.
        person.dead_from = match n % 101 {
            50 => Some(OUTAGE.start),
            51 => Some(DAY / 2),
            _ => None,
        };
        person.reads = !n.is_multiple_of(7);
    }
    let mut world = World::new(seed, dies, document);
    let refused = |address: &str, seconds: i64| {
        let number: u64 = address.trim_start_matches('p').split('@').next().unwrap().parse().unwrap();
        OUTAGE.contains(&seconds) && address.ends_with("@gmail.example") && (number / STEPS_A_DAY).is_multiple_of(10)
    };
    days(&mut world, &people, 0..11, refused);
    (world, people)
}

fn check_outage(world: &World, people: &[Person]) {
    world.check_guard();
    let known = world.runtime.block_on(incidents::known(&world.store)).unwrap();
    let groups: Vec<String> = known.values().map(|incident| incident.group.to_string()).collect();
    assert!(groups.contains(&"mailbox:gmail.example".to_owned()), "{groups:?}");
    assert!(!groups.contains(&"mailbox:other.example".to_owned()), "{groups:?}");
    let incident = known.values().find(|incident| incident.group.to_string() == "mailbox:gmail.example").unwrap();
    assert!(incident.from <= at(OUTAGE.start) && incident.from >= at(OUTAGE.start - HOUR), "{}", incident.from);
    assert!(incident.is_over && incident.to >= at(OUTAGE.end - STEP) && incident.to <= at(OUTAGE.end + 2 * HOUR));

    // Refused in the outage, and written to again since: all are free.
    let end = 11 * DAY;
    let (mut n_living, mut n_stopped, mut n_dead, mut n_confirmed) = (0, 0, 0, 0);
    for person in people {
        let is_stopped = world.is_stopped(&person.address, end);
        match person.dead_from {
            None => (n_living, n_stopped) = (n_living + 1, n_stopped + u32::from(is_stopped)),
            Some(_) => (n_dead, n_confirmed) = (n_dead + 1, n_confirmed + u32::from(is_stopped)),
        }
    }
    assert!(n_stopped * 1_000 < n_living, "{n_stopped} of {n_living} living are still suppressed");
    assert_eq!(n_confirmed, n_dead, "every dead address is known");
    // A second bounce made them so, and they are for good.
    let deltas = world.deltas();
    let held: BTreeSet<&RecipientKey> =
        deltas.iter().filter(|delta| delta.provisional == [Scope::All]).map(|delta| &delta.key).collect();
    assert!(held.len() > 20, "{}", held.len());
    let told_at_once = deltas.iter().filter(|delta| {
        let is_in = delta.decided_at >= at(OUTAGE.start) && delta.decided_at <= at(OUTAGE.end);
        is_in
            && delta.change == Change::Suppressed
            && delta.provisional.is_empty()
            && delta.key.recipient.domain() == Some("gmail.example")
    });
    let (n_told, n_held) = (told_at_once.count(), held.len());
    assert!(n_told * 3 < n_held, "{n_told} were told to providers before it was found, {n_held} held");
    for person in people.iter().filter(|person| person.dead_from == Some(OUTAGE.start)) {
        let key = recipient_key(&person.address);
        let rows = world.runtime.block_on(world.store.in_force(std::slice::from_ref(&key))).unwrap();
        let row = rows.into_iter().flatten().next().unwrap();
        assert!(row.decision.causes().iter().all(|cause| cause.until.is_none() && !cause.is_provisional()), "{row:?}");
    }
}

#[test]
fn valid_recipients_come_back_and_dead_ones_are_confirmed() {
    let (world, people) = outage(1, 0, &guarded());
    check_outage(&world, &people);
    assert_eq!(world.n_deaths, 0);
}

/// What the guard is for.
#[test]
fn without_the_guard_readers_are_lost() {
    let (world, people) = outage(1, 0, &guarded().replace("enabled = true", "enabled = false"));
    let living = people.iter().filter(|person| person.dead_from.is_none());
    let n_lost = living.filter(|person| world.is_stopped(&person.address, 11 * DAY)).count();
    assert!(n_lost > 40, "{n_lost}");
    assert_eq!(
        (0..PARTITIONS).map(|partition| world.log.records(topics::STATISTICS, partition).len()).sum::<usize>(),
        0
    );
}

#[test]
fn stages_that_die_say_the_same() {
    let (world, people) = outage(2, 120, &guarded());
    check_outage(&world, &people);
    assert!(world.n_deaths > 50, "{}", world.n_deaths);
}

#[test]
fn a_quiet_week_and_a_campaign_to_an_old_list_are_no_incident() {
    let mut people = people("gmail.example", 720);
    // As everywhere, somebody dies every day.
    for (n, person) in people.iter_mut().enumerate().filter(|(n, _)| n.is_multiple_of(60)) {
        person.dead_from = Some(n as i64 * 600);
    }
    let mut world = World::new(3, 0, &guarded());
    days(&mut world, &people, 0..7, |_, _| false);
    assert_eq!(world.verdicts(0), []);
    // Addresses of years ago, of many domains: one in six is gone, and nobody reads.
    let domains = ["gmail.example", "yahoo.example", "web.example"];
    for step in 0..12 {
        let seconds = 7 * DAY + step * STEP;
        for n in 0..150_usize {
            let rare = format!("d{}.example", n % 50);
            let domain = if n.is_multiple_of(3) { rare.as_str() } else { domains[n / 3 % domains.len()] };
            let kind = if (n / 7).is_multiple_of(6) { Kind::BouncedHard } else { Kind::Delivered };
            world.tell(&format!("old-{step}-{n}@{domain}"), kind, seconds);
        }
        world.now = seconds + STEP;
        world.settle();
    }
    assert_eq!(world.verdicts(0), []);
    world.check_guard();
}

#[test]
fn an_operator_undoes_and_confirms_a_whole_incident() {
    let people = people("gmail.example", 1_440);
    let mut world = World::new(4, 20, &guarded());
    let refused = |_: &str, seconds: i64| OUTAGE.contains(&seconds);
    days(&mut world, &people, 0..3, refused);
    let stopped = |world: &World| people.iter().filter(|person| world.is_stopped(&person.address, 3 * DAY)).count();
    let n_held = stopped(&world);
    assert!(n_held > 200, "{n_held}");
    let known = world.runtime.block_on(incidents::known(&world.store)).unwrap();
    let mut rule = |ruling| {
        world.now += 60;
        for id in known.keys() {
            let ruled = incidents::rule(&world.store, &world.log, *id, ruling, at(world.now), ("jo", "looked"));
            world.runtime.block_on(ruled).unwrap().unwrap();
        }
        world.settle();
        let is_provisional = |delta: &&Delta| delta.decided_at >= at(world.now) && !delta.provisional.is_empty();
        assert_eq!(world.deltas().iter().filter(is_provisional).count(), 0);
        stopped(&world)
    };
    assert_eq!(rule(Ruling::Undone), 0);
    assert_eq!(rule(Ruling::Confirmed), n_held);
    assert_eq!(rule(Ruling::Undone), 0);
    world.check_guard();
}

/// What the guard says of one incident: it begins, goes on, and is over.
fn say(world: &World, group: &str, hours: std::ops::Range<i64>) -> EventId {
    let group: Group = group.parse().unwrap();
    let incident = incident_id(&group, at(hours.start * HOUR));
    for revision in 1..=(hours.end - hours.start) {
        let to = hours.start + revision;
        let verdict = IncidentVerdict {
            incident: incident.to_string(),
            group: group.to_string(),
            from: at(hours.start * HOUR).as_micros(),
            to: at(to * HOUR).as_micros(),
            revision: i32::try_from(revision).unwrap(),
            is_over: to == hours.end,
            ruling: Ruling::Held.as_str().to_owned(),
            policy: 1,
            bounced: 100,
            engaged: 50,
            decided_at: at(to * HOUR).as_micros(),
            decided_by: "guard".to_owned(),
            note: String::new(),
        };
        for partition in 0..PARTITIONS {
            let (key, value) = (None, Some(encode(&verdict).unwrap()));
            let record = Record { key, value, headers: Vec::new(), timestamp_ms: at(to * HOUR).as_millis() };
            world.log.append_now(topics::EVENTS, Some(partition), record).unwrap();
        }
    }
    incident
}

/// Three years with an incident every fifth day, each ruled on: what is kept of them is bounded by half a year.
#[test]
fn years_of_incidents_leave_rows_of_half_a_year() {
    let mut world = World::new(5, 100, &guarded());
    let (mut most, mut told) = (0, 0);
    let people: Vec<String> = (0..220).map(|n| format!("p{n}@gmail.example")).collect();
    for (n, address) in (0..).zip(&people) {
        let hour = n * 5 * 24;
        world.tell(address, Kind::BouncedHard, hour * HOUR + 60);
        let incident = say(&world, "mailbox:gmail.example", hour..hour + 6);
        told += 6;
        world.now = (hour + 7) * HOUR;
        world.settle();
        for ruling in [Ruling::Confirmed, Ruling::Undone, Ruling::Confirmed] {
            world.now += 60;
            let ruled = incidents::rule(&world.store, &world.log, incident, ruling, at(world.now), ("jo", ""));
            world.runtime.block_on(ruled).unwrap().unwrap();
            told += 1;
        }
        world.settle();
        let rows = world.runtime.block_on(world.store.incidents(0)).unwrap();
        most = most.max(rows.len());
        let note = world.runtime.block_on(world.store.note("incidents")).unwrap().unwrap();
        assert_eq!(note.lines().count(), world.runtime.block_on(incidents::known(&world.store)).unwrap().len());
    }
    // Of each in 180 days the newest verdict and ruling; of the newest two, and what came since the last verdict, all.
    let known = 180 / 5 + 1;
    assert!(most <= known * 2 + 3 * 9, "{most} rows of {told} that were told");
    assert!(most >= known * 2 && told > 1_900, "{most} of {told}");
    for partition in 0..PARTITIONS {
        let rows = world.runtime.block_on(world.store.incidents(partition)).unwrap();
        assert!(rows.len() <= most, "{} in partition {partition}", rows.len());
    }
    assert!(world.n_deaths > 50, "{}", world.n_deaths);

    // Each was confirmed, so all are stopped, and stay so: what was marked is not unmarked by what is forgotten.
    let stopped = people.iter().filter(|address| world.is_stopped(address, world.now));
    assert_eq!(stopped.count(), people.len());
    // A bounce of an incident that is known is told late, and one of an incident that is not.
    let last = (people.len() as i64 - 1) * 5 * 24 * HOUR;
    say(&world, "mailbox:gmail.example", last / HOUR + 24..last / HOUR + 30);
    world.settle();
    world.tell("late@gmail.example", Kind::BouncedHard, last + 25 * HOUR);
    world.tell("forgotten@gmail.example", Kind::BouncedHard, 60);
    world.settle();
    let held = |address: &str| {
        let rows = world.runtime.block_on(world.store.in_force(&[recipient_key(address)])).unwrap();
        rows.into_iter().flatten().next().unwrap().decision.causes()[0].is_provisional()
    };
    assert!(held("late@gmail.example") && !held("forgotten@gmail.example"));
}
