//! `filter`, `import`, `export`.

use crate::instance::{Instance, ended, free_ports, quell, read};
use std::{io::Write as _, process::Stdio};

#[test]
fn a_campaign_is_parted() {
    let instance = Instance::start();
    instance.drip_bounce("dead@example.com", "2026-01-20T14:32:15Z");
    instance.until(1, &["check", "dead@example.com"]);
    let input = "id,Email,name\r\n1,a@example.com,\"Doe, Jane\"\r\n2,DEAD@example.com,\"two\r\nlines\"\r\n3,b@example.com,\r\n4,nobody,x\r\n";
    let input = instance.write("campaign.csv", input);
    let (out, held) = (instance.path("out.csv"), instance.path("held.csv"));
    let mut command = instance.command(crate::instance::READ_TOKEN);
    command.arg("filter").arg(&input).arg(&out).arg("--suppressed").arg(&held).args(["--output", "json"]);
    let summary = ended(&mut command).with(0).json();
    assert_eq!((&summary["total"], &summary["sendable"], &summary["suppressed"]), (&4.into(), &2.into(), &2.into()));
    assert_eq!(
        (&summary["by_reason"]["hard_bounce"], &summary["by_reason"]["invalid_address"]),
        (&1.into(), &1.into())
    );
    assert_eq!(read(&out), "id,Email,name\r\n1,a@example.com,\"Doe, Jane\"\r\n3,b@example.com,\r\n");
    assert_eq!(
        read(&held),
        "id,Email,name,reason,scope,since,until,retry_at\n\
         2,DEAD@example.com,\"two\r\nlines\",hard_bounce,all,2026-01-20T14:32:15Z,,\n4,nobody,x,invalid_address,,,,\n"
    );

    // From standard input to standard output, an address a line.
    let mut command = instance.command(crate::instance::READ_TOKEN);
    command.args(["filter", "-", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(b"a@example.com\ndead@example.com\n\n+15551234567\n")
        .expect("it reads");
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "a@example.com\n+15551234567\n");
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(told.starts_with("3 recipients: 2 sendable, 1 held back (33.33 %)"), "{told}");
}

#[test]
fn a_large_campaign_is_parted_in_order() {
    let instance = Instance::start();
    instance.run(&["suppress", "user7@example.com", "user19999@example.com", "--note", "test"]).with(0);
    let rows: Vec<String> = (0..25_000).map(|number| format!("user{number}@example.com\n")).collect();
    let input = instance.write("list.txt", &rows.concat());
    let out = instance.path("out.txt");
    let told = instance.run(&["filter", &input.display().to_string(), &out.display().to_string()]).with(0).out;
    assert!(told.starts_with("25000 recipients: 24998 sendable, 2 held back"), "{told}");
    let kept: Vec<String> = rows
        .iter()
        .filter(|row| !["user7@example.com\n", "user19999@example.com\n"].contains(&row.as_str()))
        .cloned()
        .collect();
    assert_eq!(read(&out), kept.concat());
}

#[test]
fn a_filter_that_fails_leaves_nothing_that_looks_complete() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, out) = (folder.path().join("in.csv"), folder.path().join("out.csv"));
    std::fs::write(&input, "email\na@example.com\n").expect("a file");
    std::fs::write(&out, "older").expect("a file");
    let [port] = free_ports();
    let api = format!("http://127.0.0.1:{port}");
    let run = |input: &std::path::Path| ended(quell().arg("filter").arg(input).arg(&out).args(["--api", &api])).with(2);
    let away = run(&input);
    assert!(away.err.contains("nothing was written") && away.err.contains("is `quell up` running?"), "{away:?}");
    std::fs::write(&input, "name,city\nx,y\n").expect("a file");
    assert!(run(&input).err.contains("--column NAME"));
    std::fs::write(&input, "").expect("a file");
    assert!(run(&input).err.contains("is empty"));
    assert!(run(&folder.path().join("nowhere")).err.contains("cannot read"));
    assert_eq!(read(&out), "older");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 2);
}

#[test]
fn a_kept_list_is_imported_with_reason_and_time_and_exported() {
    let instance = Instance::start();
    let list = instance.write(
        "kept.csv",
        "email,phone,reason,source,bounce_type,created_at\n\
         hard@example.com,,hard_bounce,drip,hard,2026-01-18 10:00:00\n\
         left@example.com,,unsubscribe,drip,,2026-01-18 11:00:00\n\
         angry@example.com,,spam_complaint,drip,complaint,2026-01-18 12:00:00\n\
         once@example.com,,soft_bounce,drip,soft,2020-01-01 00:00:00\n\
         ,+1-555-123-4567,invalid_number,twilio,,2026-01-18 13:00:00\n\
         hand@example.com,,manual,manual,,2026-01-18 14:00:00\n\
         nobody,,hard_bounce,drip,hard,2026-01-18 10:00:00\n",
    );
    let list = list.display().to_string();
    let planned = instance.run(&["import", &list, "--dry-run", "-o", "json"]).with(1).json();
    assert_eq!((&planned["events"], &planned["by_hand"]), (&5.into(), &1.into()));
    instance.run(&["check", "hard@example.com"]).with(0);

    for _ in 0..2 {
        // Twice, as that changes nothing.
        let told = instance.run(&["import", &list]).with(1).out;
        assert!(told.contains("5 as events, 1 by hand, 1 refused") && told.contains("not an email address"), "{told}");
    }
    for address in ["hard@example.com", "left@example.com", "angry@example.com", "+15551234567", "hand@example.com"] {
        instance.until(1, &["check", address]);
    }
    instance.run(&["check", "once@example.com"]).with(0);
    instance.run(&["check", "left@example.com", "--class", "transactional"]).with(0);
    let why = instance.run(&["why", "hand@example.com", "-o", "json"]).with(0).json();
    assert_eq!(why["evidence_total"], 1, "{why}");

    let file = instance.path("export.csv");
    instance.run(&["export", &file.display().to_string()]).with(0);
    let mut rows: Vec<String> = read(&file).lines().map(str::to_owned).collect();
    assert_eq!(rows.remove(0), "recipient,channel,scope,reason,since,until,rule,provider");
    let begins = |row: &&String, text: &str| row.starts_with(text);
    for row in [
        "hard@example.com,email,all,hard_bounce,2026-01-18T10:00:00Z,,",
        "left@example.com,email,marketing,unsubscribe,2026-01-18T11:00:00Z,,",
        "angry@example.com,email,non_critical,spam_complaint,2026-01-18T12:00:00Z,,",
        "+15551234567,sms,all,invalid_number,2026-01-18T13:00:00Z,,",
        "hand@example.com,email,all,manual,",
    ] {
        assert!(rows.iter().any(|known| begins(&known, row)), "{row} is not in {rows:#?}");
    }
    assert_eq!(rows.len(), 5);
    let lines = instance.run(&["export", "--output", "json"]).with(0).out;
    assert_eq!(lines.lines().count(), 5);
}

#[test]
fn rows_are_taken_by_hand_where_no_source_takes_them() {
    let instance = Instance::start();
    let list = instance.write(
        "kept.csv",
        "email_address,event_type,event_timestamp\na@example.com,unsubscribe,2023-03-15T12:00:00Z\n",
    );
    let list = list.display().to_string();
    let refused = instance.run(&["import", &list, "--source", "elsewhere"]).with(2);
    assert!(refused.err.contains("generic/elsewhere") && refused.err.contains("--by-hand"), "{refused:?}");
    instance.run(&["import", &list, "--by-hand"]).with(0);
    let found = instance.until(1, &["check", "a@example.com", "-o", "json"]).json();
    assert_eq!(
        (&found["results"][0]["reason"], &found["results"][0]["scope"]),
        (&"manual".into(), &"marketing".into())
    );
    let why = instance.run(&["why", "a@example.com"]).with(0).out;
    assert!(why.contains("imported: unsubscribe at 2023-03-15T12:00:00Z"), "{why}");
}
