//! Plays the whole story on this machine: signed webhooks of five email sources and of Twilio against a real `quell up`,
//! three fake providers that are told, and the next campaign filtered. Every figure it prints is read back from the API,
//! the metrics, the files or the fake providers, and checked against what the input implies.

mod campaign;
mod child;
mod fakes;
mod figures;
mod http;
mod play;
mod progress;
mod readback;
mod report;
mod story;
mod webhooks;

use anyhow::Context as _;
use child::{Addresses, Quell};
use clap::Parser;
use fakes::Fakes;
use figures::Found;
use progress::Progress;
use readback::Until;
use report::grouped;
use std::{
    cell::Cell,
    io::Write as _,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use story::Story;
use testkit::SignedRequest;
use tokio::signal::unix::{SignalKind, signal};
use webhooks::Signer;

/// Play the whole story on this machine, with figures read back and checked.
#[derive(Debug, Parser)]
struct Args {
    /// The `quell` binary
    #[arg(long, value_name = "FILE")]
    quell: PathBuf,
    /// Leave after the report instead of staying up
    #[arg(long)]
    exit: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut quell = Quell::prepare(&args.quell)?;
    let is_reported = Cell::new(false);
    let ended = runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            ended = demo(args, &mut quell, &is_reported) => ended,
            _ = interrupt.recv() => Ok(Ended::Stopped),
            _ = terminate.recv() => Ok(Ended::Stopped),
        }
    });
    let mut wrong = match ended {
        Ok(Ended::Stopped) => Vec::new(),
        Ok(Ended::Wrong(wrong)) => wrong,
        Err(error) => vec![format!("{error:#}")],
    };
    match quell.stop() {
        Ok(Some(status)) if !status.success() => wrong.push(format!("quell ended with {status}")),
        Ok(_) => {}
        Err(error) => wrong.push(format!("quell could not be stopped: {error:#}")),
    }
    if wrong.is_empty() {
        return Ok(if is_reported.get() { ExitCode::SUCCESS } else { ExitCode::from(INTERRUPTED) });
    }
    let mut err = std::io::stderr().lock();
    for one in wrong {
        writeln!(err, "demo: {one}")?;
    }
    if let Some(log) = quell.keep_log() {
        writeln!(err, "demo: quell's log is kept in {}", log.display())?;
    }
    Ok(ExitCode::FAILURE)
}

/// The exit code of a program that was interrupted before it was done, as shells have it.
const INTERRUPTED: u8 = 130;

/// How the demo came to its end.
#[derive(Debug)]
enum Ended {
    /// By `--exit`, Ctrl-C or SIGTERM.
    Stopped,
    /// Figures that are not what the input implies.
    Wrong(Vec<String>),
}

/// Plays, reports, and stays up unless it is to leave.
async fn demo(args: &Args, quell: &mut Quell, is_reported: &Cell<bool>) -> anyhow::Result<Ended> {
    let progress = Progress::new();
    let story = Story::tell();
    // Only a visitor minds which ports they are; runs that leave at once may stand side by side.
    let addresses = Addresses::choose(!args.exit)?;
    let fakes = Fakes::start().await?;
    let found = play_story(&story, &addresses, &fakes, quell, &progress).await?;
    let report = figures::report(&story, &found);
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nThe story, played. ✔ marks what is checked against what the input implies.\n{report}")?;
    is_reported.set(true);
    let wrong = report.wrong();
    if !wrong.is_empty() {
        return Ok(Ended::Wrong(wrong));
    }
    writeln!(out, "All {} figures are what the input implies.", report.n_checked())?;
    if args.exit {
        return Ok(Ended::Stopped);
    }
    write!(out, "{}", farewell(&story, &addresses, quell))?;
    out.flush()?;
    drop(out);
    loop {
        quell.check_alive()?;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}

async fn play_story(
    story: &Story,
    addresses: &Addresses,
    fakes: &Fakes,
    quell: &mut Quell,
    progress: &Progress,
) -> anyhow::Result<Found> {
    let http = http::Http::new(play::CONNECTIONS)?;
    let unix = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let signer = Signer::new(&format!("http://{}", addresses.gateway), unix)?;
    progress
        .say("starting quell and three fake providers: SendGrid limits its rate, Mailgun is down, Postmark stumbles");
    quell.start(addresses, &signer.sources(), fakes)?;
    quell.ready(&http, &addresses.admin).await?;

    fakes.suppress_by_themselves(&story.people);
    let emails: Vec<Arc<SignedRequest>> =
        story.people.iter().map(|person| Ok(Arc::new(signer.email(person)?))).collect::<anyhow::Result<_>>()?;
    let emails: Vec<Arc<SignedRequest>> = story.arrivals.iter().map(|index| emails[*index].clone()).collect();
    let sms: Vec<Arc<SignedRequest>> = story.sms.iter().map(|sms| Arc::new(signer.sms(sms))).collect();
    progress.say(&format!(
        "sending {} signed bounce webhooks of five email sources, twice, late and out of order, over {} connections",
        grouped(emails.len()),
        play::CONNECTIONS
    ));
    let n_webhooks = emails.len() + sms.len();
    let email = play::play(&http, emails, progress).await?;
    progress.say(&format!("sending {} failed text messages of Twilio", sms.len()));
    let sms = play::play(&http, sms, progress).await?;

    progress.say("waiting until everything is decided and SendGrid is told, while Mailgun is down");
    readback::settle(&http, &addresses.admin, n_webhooks, Until::Told("sendgrid"), progress).await?;
    let mailgun_told_while_down = fakes.mailgun_told();
    fakes.mend_mailgun();
    progress.say("Mailgun is back: waiting until every provider is told");
    let all = Until::AllTold(&["sendgrid", "mailgun", "postmark"]);
    let metrics = readback::settle(&http, &addresses.admin, n_webhooks, all, progress).await?;

    progress.say("waiting for the alarm that so many failing addresses raise");
    let alarms = readback::alarms(&http, &addresses.admin, figures::SPIKE).await?;
    progress.say("reading back everything in force");
    let rows = readback::export(&http, &addresses.lookup).await?;
    progress.say(&format!("filtering the next campaign of {} by quell filter", grouped(story.campaign.len())));
    let filtered =
        campaign::filter(story, quell, &addresses.lookup).await.context("the next campaign could not be filtered")?;
    Ok(Found { email, sms, metrics, rows, alarms, filtered, accounts: fakes.accounts(), mailgun_told_while_down })
}

/// Where to look, and three commands to try.
fn farewell(story: &Story, addresses: &Addresses, quell: &Quell) -> String {
    let Addresses { gateway, lookup, admin } = addresses;
    let bounced = story.people.iter().find(|person| person.what == story::What::HardBounce);
    let bounced = bounced.map(|person| person.address.as_str()).unwrap_or_default();
    let unknown = story.unknown_dead.first().map(String::as_str).unwrap_or_default();
    let quell = quell.binary().display();
    format!(
        "\nIt stays up:\n  webhooks    http://{gateway}/webhooks/{{provider}}\n  lookup API  http://{lookup}/v1/openapi.json\n  \
         metrics     http://{admin}/metrics\n  alarms      http://{admin}/alarms\n\nThree commands to try, in another terminal:\n  \
         {quell} why {bounced} --api http://{lookup}\n  \
         {quell} check {bounced} {unknown} --api http://{lookup}\n  \
         {quell} release {bounced} --by visitor --note 'the mailbox is back' --api http://{lookup}\n\nCtrl-C ends it.\n"
    )
}
