//! The programs of others, put below target/ once by `./dev deploy-tools`.

use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
};

/// The project's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the project's root")
}

/// A file of the project.
pub(crate) fn file(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Where the tools lie. `./dev test` has put them there; else this does.
fn tools() -> &'static Path {
    static TOOLS: OnceLock<PathBuf> = OnceLock::new();
    TOOLS.get_or_init(|| {
        let made =
            Command::new("bash").arg("dev").arg("deploy-tools").current_dir(root()).stdin(Stdio::null()).output();
        let made = made.expect("bash runs");
        assert!(made.status.success(), "the tools cannot be had: {}", String::from_utf8_lossy(&made.stderr));
        root().join("target")
    })
}

/// Runs a program; gives back what it wrote, or what it complained of.
pub(crate) fn said(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let (out, err) = (text(output.stdout), text(output.stderr));
    if output.status.success() { Ok(out) } else { Err(out + &err) }
}

/// Systemd's checker of units.
pub(crate) fn systemd_analyze() -> Command {
    tools();
    Command::new("systemd-analyze")
}

/// The library renders a chart without its hooks, so the copy that it gets calls their annotation otherwise.
const HOOK: (&str, &str) = ("helm.sh/hook", "of.helm.sh/hook");

/// Helm's own code, as a process that renders the chart whenever it is told to.
pub(crate) struct Helm {
    _process: Child,
    _chart: tempfile::TempDir,
    jobs: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Helm {
    fn start() -> Self {
        let here = root().join("crates/quell/tests/deploy/helm/Helm.java");
        let mut java =
            Command::new(std::env::var_os("JAVA_HOME").map_or("java".into(), |home| Path::new(&home).join("bin/java")));
        java.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"]).arg(tools().join("helm-java/*")).arg(here);
        let chart = tempfile::tempdir().expect("a folder");
        copy(&root().join("deploy/helm/quell"), chart.path());
        java.arg(chart.path());
        let mut process =
            java.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("java runs");
        let (jobs, answers) = (process.stdin.take().expect("a pipe"), process.stdout.take().expect("a pipe"));
        Self { _process: process, _chart: chart, jobs, answers: BufReader::new(answers) }
    }

    /// Sends a job; gives back what it gave, or its complaint. One process does them all.
    pub(crate) fn run(words: &[&str]) -> Result<String, String> {
        static HELM: OnceLock<Mutex<Helm>> = OnceLock::new();
        let mut helm = HELM.get_or_init(|| Mutex::new(Self::start())).lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(helm.jobs, "{}", words.join("\t")).expect("it listens");
        helm.jobs.flush().expect("it listens");
        let mut head = String::new();
        helm.answers.read_line(&mut head).expect("it answers");
        let (word, length) = head.trim_end().split_once(' ').unwrap_or_else(|| panic!("helm ended: {head:?}"));
        let mut bytes = vec![0; length.parse().expect("a number")];
        helm.answers.read_exact(&mut bytes).expect("a whole answer");
        let text = String::from_utf8(bytes).expect("UTF-8").replace(HOOK.1, HOOK.0);
        if word == "ok" { Ok(text) } else { Err(text) }
    }
}

/// Copies a chart with what its links point to, and gives its hooks' annotation another name.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let name = entry.expect("an entry").file_name();
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            let text = std::fs::read_to_string(&from).expect("a text");
            let is_template = from.components().any(|part| part.as_os_str() == "templates");
            std::fs::write(&to, if is_template { text.replace(HOOK.0, HOOK.1) } else { text }).expect("a file");
        }
    }
}

/// Reads YAML, strictly: a key that stands twice is an error.
pub(crate) fn yaml(text: &str) -> Vec<Value> {
    documents(text, &[]).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Reads the documents of a manifest and holds each to the schemas of a release of Kubernetes.
pub(crate) fn manifest(text: &str, release: &str) -> Result<Vec<Value>, String> {
    documents(text, &["--kubernetes", release])
}

/// Reads a compose file, its variables put in, and holds it to the compose specification.
pub(crate) fn compose(text: &str) -> Result<Value, String> {
    documents(text, &["--compose"]).map(|mut documents| documents.remove(0))
}

fn documents(text: &str, args: &[&str]) -> Result<Vec<Value>, String> {
    let script = root().join("crates/quell/tests/deploy/documents.py");
    let mut command = Command::new(tools().join("deploy/bin/python"));
    command.arg("-B").arg(script).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("python runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    let text = text.to_owned();
    // It may end before it has read all.
    let writer = std::thread::spawn(move || drop(stdin.write_all(text.as_bytes())));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("it writes");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(serde_json::from_slice(&output.stdout).expect("JSON"))
}
