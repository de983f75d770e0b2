//! `kmend status` beside a kmend that has no broker: on a terminal, in a pipe, as JSON, and when kmend goes.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::kmend::binary;
use crate::harness::reaper::Guarded;
use crate::harness::wait::within;
use crate::harness::{Kmend, ports};

fn kmend() -> Kmend {
    let kmend = Kmend::start_at("127.0.0.1", &[format!("127.0.0.1:{}", ports::free())], |_| {});
    kmend.allow("no broker answers");
    kmend
}

fn status(words: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(binary()).arg("status").args(words).env_remove("KMEND_ADMIN__ADDRESS").output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn it_finds_the_kmend_that_has_the_same_configuration() {
    let kmend = kmend();
    let (code, text, errors) = status(&["--config", &kmend.config_file().display().to_string()]);
    assert_eq!((code, errors.as_str()), (0, ""), "{text}");
    assert!(text.contains("upstream     down: 127.0.0.1:") && text.contains("REPAIRS"), "{text}");
    assert!(text.contains(&format!("listeners    {}", kmend.listen)) && !text.contains('\x1b'), "{text}");
    let (_, by_url, _) = status(&["--admin", &format!("http://{}/", kmend.admin)]);
    assert_eq!(by_url.lines().nth(2), text.lines().nth(2));
}

#[test]
fn json_is_what_the_api_says_and_the_events() {
    let kmend = kmend();
    let (code, text, _) = status(&["--admin", &kmend.admin, "--json"]);
    assert_eq!(code, 0);
    let told: Value = serde_json::from_str(&text).unwrap();
    let api: Value = serde_json::from_str(&kmend.get("/api/status").1).unwrap();
    let keys = |of: &Value| of.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&told), [keys(&api), vec!["events".to_owned()]].concat());
    assert_eq!((&told["menders"], &told["events"]), (&api["menders"], &Value::Array(Vec::new())));
}

#[test]
fn who_cannot_be_asked_is_told() {
    let nobody = format!("127.0.0.1:{}", ports::free());
    for words in
        [&["--admin", &nobody][..], &["--admin", &nobody, "--watch"], &["--admin", &nobody, "--json", "--watch"]]
    {
        let (code, out, errors) = status(words);
        assert_eq!((code, out.as_str()), (69, ""), "{words:?}");
        assert!(errors.contains(&format!("no kmend answers at http://{nobody}/")), "{errors}");
    }
    let (code, _, errors) = status(&["--admin", "https://localhost:9644"]);
    assert!(code == 64 && errors.contains("plain HTTP"), "{errors}");
    // Another program.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let answers = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    });
    let (code, _, errors) = status(&["--admin", &address]);
    assert!(code == 69 && errors.contains("is no kmend"), "{errors}");
    answers.join().unwrap();
    // kmend itself, asked by a name that is not its own.
    let kmend = kmend();
    let port = kmend.admin.rsplit(':').next().unwrap();
    let (code, _, errors) = status(&["--admin", &format!("127.1:{port}")]);
    assert!(code == 69 && errors.contains("421") && errors.contains("ask it as localhost"), "{errors}");
}

/// Its lines, as they come.
struct Watch {
    process: Guarded,
    lines: mpsc::Receiver<String>,
}

fn watch(words: &[&str]) -> Watch {
    let mut command = Command::new(binary());
    command.args(["status", "--watch"]).args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = Guarded::spawn(&mut command).unwrap();
    let (sender, lines) = mpsc::channel();
    let (out, err) = (process.child().stdout.take().unwrap(), process.child().stderr.take().unwrap());
    let streams: [Box<dyn Read + Send>; 2] = [Box::new(out), Box::new(err)];
    for stream in streams {
        let sender = sender.clone();
        std::thread::spawn(move || {
            BufReader::new(stream).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)).ok();
        });
    }
    Watch { process, lines }
}

impl Watch {
    #[track_caller]
    fn line(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(10)).expect("a line")
    }
}

#[test]
fn it_watches_over_a_restart_until_it_is_stopped() {
    let kmend = kmend();
    let mut objects = watch(&["--json", "--admin", &kmend.admin]);
    let mut repairs = watch(&["--admin", &kmend.admin]);
    let object = || serde_json::from_str::<Value>(&objects.line()).unwrap();
    assert_eq!(object()["upstream"]["up"], false);
    assert_eq!(object()["upstream"]["up"], false);
    kmend.kill();
    let gone = within(Duration::from_secs(10), || object()["error"].as_str().map(str::to_owned)).unwrap();
    assert!(gone.contains("no kmend answers"), "{gone}");
    let note = repairs.line();
    assert!(note.starts_with("note: no kmend answers") && note.ends_with("asking again each second"), "{note}");
    kmend.launch();
    kmend.wait_ready();
    assert!(within(Duration::from_secs(10), || object()["version"].as_str().map(str::to_owned)).is_some());
    for watch in [&mut objects, &mut repairs] {
        watch.process.signal(Signal::INT);
        let ended = within(Duration::from_secs(5), || watch.process.ended()).unwrap();
        assert_eq!(ended.code(), Some(0));
    }
}

/// By script(1), which gives a command a terminal of its own.
#[test]
fn a_terminal_is_left_as_it_was() {
    let kmend = kmend();
    for signal in ["INT", "TERM", "HUP"] {
        let words = format!("timeout -s {signal} 3 {} status --watch --admin {}", binary(), kmend.admin);
        let mut script = Command::new("script");
        script.args(["-qec", &words, "/dev/null"]).env_remove("NO_COLOR").stdin(Stdio::null());
        let seen = String::from_utf8(script.output().unwrap().stdout).unwrap();
        assert!(seen.starts_with("\x1b[?1049h\x1b[?25l\x1b[H"), "{signal}: {seen:?}");
        assert!(seen.ends_with("\x1b[?25h\x1b[?1049l"), "{signal}: {seen:?}");
        assert!(seen.matches("\x1b[H").count() >= 2 && seen.contains("\x1b[1;31mdown\x1b[0m"), "{signal}: {seen:?}");
    }
}
