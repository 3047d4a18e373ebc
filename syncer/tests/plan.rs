//! What a batch of deltas asks of a provider: the plan, case by case.

#![expect(clippy::unwrap_used, reason = "tests: whatever fails ends them")]

mod support;

use domain::{Delta, Kind, Reason, Scope};
use providers::suppression_api::Action;
use support::config;
use syncer::{
    Account, AccountConfig,
    plan::{Step, plan},
};
use testkit::builders::{delta, tenant};

const ALL: Scope = Scope::All;
const COMPLAINT: Scope = Scope::NonCritical;
const MARKETING: Scope = Scope::Marketing;

fn suppressed(address: &str, scope: &Scope, told: (&str, Kind), position: u64) -> Delta {
    delta(address, scope, &[(scope.clone(), Reason::HardBounce)], told, position)
}

fn released(address: &str, scope: &Scope, kind: Kind, position: u64) -> Delta {
    delta(address, scope, &[], ("quell", kind), position)
}

#[track_caller]
fn check_account(account: &Account, deltas: Vec<Delta>, lately: bool, expected: &[&str]) {
    let deltas: Vec<Result<Delta, String>> = deltas.into_iter().map(Ok).collect();
    let plan = plan(account, &deltas, &|_| lately);
    let one = |step: &Step| match step {
        Step::Skipped(reason) => format!("skip {reason}"),
        Step::Ignored(reason) => format!("ignore {reason}"),
        Step::Dead(reason) => format!("dead {reason}"),
        Step::Work { target, edits } => {
            let target = &plan.targets[*target];
            let shown = edits.iter().map(|edit| {
                let edit = &target.edits[*edit];
                let sign = if edit.action == Action::Add { "+" } else { "-" };
                format!("{sign}{}{}", edit.list, edit.tags.join(","))
            });
            shown.collect::<Vec<_>>().join(" ")
        }
    };
    assert_eq!(plan.steps.iter().map(one).collect::<Vec<_>>(), expected);
}

#[track_caller]
fn check(provider: &str, deltas: Vec<Delta>, expected: &[&str]) {
    check_account(&Account::new(config(provider)).unwrap(), deltas, false, expected);
}

#[test]
fn others_are_told_and_the_account_that_told_us_is_not() {
    let bounce = || suppressed("a@x.org", &ALL, ("sendgrid", Kind::BouncedHard), 1);
    check("sendgrid", vec![bounce()], &["skip told_us"]);
    check("mailgun", vec![bounce()], &["+bounces"]);
    check("postmark", vec![bounce()], &["+suppressions"]);
    // Another account of the same provider has not heard of it.
    let mut other = bounce();
    other.trigger.source = "second".to_owned();
    check("sendgrid", vec![other], &["+global"]);
    // SendGrid goes on sending after a soft bounce, and knows nothing of ours.
    for kind in [Kind::BouncedSoft, Kind::SuppressedManually, Kind::Unengaged, Kind::Rejected] {
        check("sendgrid", vec![suppressed("a@x.org", &ALL, ("sendgrid", kind), 1)], &["+global"]);
    }
    for kind in [Kind::Complaint, Kind::Unsubscribed] {
        check("sendgrid", vec![suppressed("a@x.org", &MARKETING, ("sendgrid", kind), 1)], &["skip told_us"]);
    }
}

#[test]
fn what_was_removed_lately_is_told_again_even_to_the_account_that_told_us() {
    let account = Account::new(config("sendgrid")).unwrap();
    let bounce = suppressed("a@x.org", &ALL, ("sendgrid", Kind::BouncedHard), 1);
    check_account(&account, vec![bounce], true, &["+global"]);
}

#[test]
fn strangers_are_left_out() {
    let mut foreign = suppressed("a@x.org", &ALL, ("mailgun", Kind::BouncedHard), 1);
    foreign.key.tenant = tenant("acme");
    let phone = suppressed("+15551234567", &ALL, ("twilio", Kind::BouncedHard), 2);
    check("sendgrid", vec![foreign, phone], &["ignore other_tenant", "skip other_channel"]);
    let mut config = config("sendgrid");
    config.scopes = vec!["all".to_owned()];
    let account = Account::new(config).unwrap();
    let marketing = suppressed("a@x.org", &MARKETING, ("mailgun", Kind::Unsubscribed), 1);
    check_account(&account, vec![marketing], false, &["skip scope_not_told"]);
}

#[test]
fn the_newest_state_of_a_recipient_counts() {
    let on = |position| suppressed("a@x.org", &ALL, ("mailgun", Kind::BouncedHard), position);
    let off = |position| released("a@x.org", &ALL, Kind::ReleasedManually, position);
    check("mailgun", vec![off(1), on(2)], &["skip superseded", "skip told_us"]);
    check("postmark", vec![on(1), off(2)], &["skip superseded", "-suppressions"]);
    check("postmark", vec![on(1), off(2), on(3)], &["skip superseded", "skip superseded", "+suppressions"]);
    // Of another recipient.
    let other = suppressed("b@x.org", &ALL, ("mailgun", Kind::BouncedHard), 4);
    check("postmark", vec![on(1), other, off(5)], &["skip superseded", "+suppressions", "-suppressions"]);
}

#[test]
fn what_is_provisional_is_told_once_it_is_confirmed() {
    let bounce = |position| suppressed("a@x.org", &ALL, ("drip", Kind::BouncedHard), position);
    let held = |position| Delta { provisional: vec![ALL], ..bounce(position) };
    check("mailgun", vec![held(1)], &["skip provisional"]);
    check("mailgun", vec![held(1), bounce(2)], &["skip superseded", "+bounces"]);
    // Found after it was told: it stays there until it is released.
    check("mailgun", vec![bounce(1), held(2)], &["skip superseded", "skip provisional"]);
    // The provider may have put it on its own list.
    let off = released("a@x.org", &ALL, Kind::Delivered, 2);
    check("sendgrid", vec![held(1), off], &["skip superseded", "-blocks -bounces -global -invalid_emails"]);
    // What holds beside it is told.
    let both = [(ALL, Reason::HardBounce), (MARKETING, Reason::Unsubscribe)];
    let left = delta("a@x.org", &MARKETING, &both, ("drip", Kind::Unsubscribed), 2);
    let left = Delta { provisional: vec![ALL], ..left };
    check("mailgun", vec![held(1), left], &["skip provisional", "+unsubscribes*"]);
}

#[test]
fn scopes_of_one_recipient_are_settled_together() {
    let marketing = suppressed("a@x.org", &MARKETING, ("drip", Kind::Unsubscribed), 1);
    let both = [(ALL, Reason::HardBounce), (MARKETING, Reason::Unsubscribe)];
    let all = delta("a@x.org", &ALL, &both, ("drip", Kind::BouncedHard), 2);
    check("mailgun", vec![marketing.clone(), all.clone()], &["+unsubscribes*", "+bounces"]);
    check("sendgrid", vec![marketing, all], &["+global", "+global"]);
    // Alive again, but still no marketing.
    let healed = delta("a@x.org", &ALL, &[(MARKETING, Reason::Unsubscribe)], ("drip", Kind::Delivered), 3);
    check("mailgun", vec![healed.clone()], &["-bounces"]);
    check("sendgrid", vec![healed.clone()], &["-blocks -bounces -invalid_emails"]);
    check("postmark", vec![healed], &["skip still_suppressed"]);
}

#[test]
fn complaints_are_removed_only_by_hand() {
    let off = |kind| released("a@x.org", &COMPLAINT, kind, 1);
    check("mailgun", vec![off(Kind::ReleasedManually)], &["-bounces -complaints -unsubscribes"]);
    check("mailgun", vec![off(Kind::Reconsidered)], &["-bounces -unsubscribes"]);
    let dead_too = |kind| delta("a@x.org", &COMPLAINT, &[(ALL, Reason::HardBounce)], ("quell", kind), 1);
    check("mailgun", vec![dead_too(Kind::Reconsidered)], &["skip complaint_kept"]);
    check("mailgun", vec![dead_too(Kind::ReleasedManually)], &["-complaints"]);
}

#[test]
fn a_scope_without_a_list_is_said_so() {
    let category = Scope::category("winter");
    check("sendgrid", vec![suppressed("a@x.org", &category, ("drip", Kind::Unsubscribed), 1)], &["skip no_list"]);
    check("mailgun", vec![suppressed("a@x.org", &category, ("drip", Kind::Unsubscribed), 1)], &["+unsubscribeswinter"]);
}

#[test]
fn a_delta_that_cannot_be_read_blocks_nothing() {
    let account = Account::new(config("postmark")).unwrap();
    let good = suppressed("a@x.org", &ALL, ("drip", Kind::BouncedHard), 2);
    let plan = plan(&account, &[Err("no value".to_owned()), Ok(good)], &|_| false);
    assert_eq!(plan.steps[0], Step::Dead("no value".to_owned()));
    assert!(matches!(plan.steps[1], Step::Work { .. }));
}

#[test]
fn accounts_that_cannot_work_are_refused() {
    let check = |change: &dyn Fn(&mut AccountConfig), word: &str| {
        let mut config = config("mailgun");
        change(&mut config);
        let error = Account::new(config).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    check(&|config| config.provider = "postal".to_owned(), "sendgrid, mailgun, postmark");
    check(&|config| config.name = "A B".to_owned(), "`name`");
    check(&|config| config.domain = None, "`domain`");
    check(&|config| config.base_url = Some("api.mailgun.net".to_owned()), "`base_url`");
    check(&|config| config.scopes = vec!["everything".to_owned()], "`scopes`");
    check(&|config| config.batch_max = Some(0), "`batch_max`");
    check(&|config| config.rate_limit = Some(syncer::RateLimit { calls: 0, seconds: 1 }), "`rate_limit`");
    check(&|config| config.region = Some("eu".to_owned()), "`region` means nothing to mailgun");
    let check = |provider: &str, change: &dyn Fn(&mut AccountConfig), words: &str| {
        let mut config = support::config(provider);
        assert!(Account::new(config.clone()).is_ok(), "{provider}");
        change(&mut config);
        let error = Account::new(config).unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains("key-1"), "{provider}: {error}");
    };
    check("ses", &|config| config.region = None, "ses needs `region`");
    check("ses", &|config| config.key_id = None, "ses needs `key_id`");
    check("ses", &|config| config.session_token = Some(String::new()), "`session_token`");
    check("brevo", &|config| config.key_id = Some("id".to_owned()), "`key_id` means nothing to brevo");
    check("mailjet", &|config| config.key_id = None, "mailjet needs `key_id`");
    check("mailersend", &|config| config.domain_id = None, "mailersend needs `domain_id`");
    check("mailtrap", &|config| config.stream = Some("any".to_owned()), "\"transactional\" or \"bulk\"");
    check("mailtrap", &|config| config.domain_id = Some("example.com".to_owned()), "`domain_id` is a number");
    check("mailtrap", &|config| config.account = Some("1 2".to_owned()), "`account`");
    check("unisender-go", &|config| config.credential = " ".to_owned(), "`credential` is empty");
    check("drip", &|config| config.account = None, "drip needs `account`");
    check("scaleway", &|config| config.region = Some(" ".to_owned()), "scaleway needs `region`");
    check("twilio", &|config| config.senders.clear(), "set `senders`");
    check("twilio", &|config| config.groups = [("a".to_owned(), 1)].into(), "`groups` means nothing to twilio");
    let ses = Account::new(support::config("ses")).unwrap();
    assert_eq!(ses.settings.base_url, "https://email.eu-west-1.amazonaws.com");
    let read: AccountConfig = serde_json::from_value(serde_json::json!({
        "name": "main", "provider": "sendgrid", "credential": "SG.secret",
    }))
    .unwrap();
    assert_eq!((read.spacing_ms, read.sources.clone(), read.dry_run), (200, vec!["default".to_owned()], false));
    assert!(!format!("{read:?}").contains("SG.secret"));
    assert!(
        serde_json::from_str::<AccountConfig>(r#"{"name":"m","provider":"sendgrid","credential":"c","spacing":1}"#)
            .is_err()
    );
}
