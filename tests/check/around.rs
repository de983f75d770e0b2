//! How it looks on a terminal; `kmend dev`'s three lines, completions and the manual page.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use crate::harness::kmend::binary;
use crate::harness::ports;
use crate::harness::reaper::Guarded;
use crate::kit::Check;

fn kmend(args: &[&str]) -> String {
    let output = Command::new(binary()).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// By script(1), which gives a command a terminal of its own.
#[test]
fn colours_are_for_terminals() {
    let check = Check::new(&[format!("127.0.0.1:{}", ports::free())]);
    let words: Vec<_> = std::iter::once(binary())
        .chain(check.command(false).get_args().map(|arg| arg.to_string_lossy().into_owned()))
        .collect();
    let on_terminal = |no_color: &str| {
        let mut script = Command::new("script");
        script.args(["-qec", &words.join(" "), "/dev/null"]).env("NO_COLOR", no_color).stdin(Stdio::null());
        String::from_utf8(script.output().unwrap().stdout).unwrap()
    };
    let coloured = on_terminal("");
    assert!(coloured.contains("\x1b[32mok  \x1b[0m") && coloured.contains("\x1b[1;31mFAIL\x1b[0m"), "{coloured}");
    assert!(!on_terminal("1").contains("\x1b["));
    let piped = String::from_utf8(check.command(false).output().unwrap().stdout).unwrap();
    assert!(piped.contains("FAIL") && !piped.contains('\x1b'), "{piped}");
}

/// Three lines and no more, on a terminal and off it; and what they say is so.
#[test]
fn dev_says_what_a_developer_needs() {
    let listen = format!("127.0.0.1:{}", ports::range(24));
    let home = tempfile::tempdir().unwrap();
    let dev = |prefix: &[&str]| {
        let words = [&binary(), "dev", "--upstream", "127.0.0.1:1", "--listen", &listen];
        let mut command = match prefix {
            [] => Command::new(words[0]),
            [first, ..] => Command::new(first),
        };
        match prefix {
            [] => command.args(&words[1..]),
            [_, rest @ ..] => command.args(rest).arg(words.join(" ")).arg("/dev/null"),
        };
        command.env("HOME", home.path()).env("XDG_STATE_HOME", home.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Guarded::spawn(&mut command).unwrap();
        let mut lines = BufReader::new(process.child().stdout.take().unwrap()).lines().map(Result::unwrap);
        let three: Vec<String> = lines.by_ref().take(3).map(|line| line.trim_end().to_owned()).collect();
        assert_eq!(three[0], format!("bootstrap.servers={listen}"));
        let url = three[1].strip_prefix("status page:      http://").unwrap().trim_end_matches('/').to_owned();
        assert_eq!(
            three[2],
            "upstream:         127.0.0.1:1; repairs: offset_reset, partition_discovery, commit_buffer with write_behind \
             and delivered, assignment_watchdog"
        );
        let is_there = || http(&url, "/").filter(|text| text.to_lowercase().contains("kmend"));
        crate::harness::wait_for("the status page", std::time::Duration::from_secs(20), is_there);
        process.signal(rustix::process::Signal::TERM);
        if prefix.is_empty() {
            assert_eq!(lines.collect::<Vec<_>>(), Vec::<String>::new(), "nothing else is printed");
        }
    };
    dev(&[]);
    dev(&["script", "-qec"]);
}

fn http(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.starts_with("HTTP/1.0 200").then_some(text)
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = kmend(&["completions", shell]);
        for word in ["check", "--connect", "--json", "journal", "inspect", "completions"] {
            assert!(script.contains(word.trim_start_matches('-')), "{shell}: {word}");
        }
    }
    let bash = r#"eval "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _kmend kmend "${@: -1}" "${@: -2:1}"; echo "${COMPREPLY[*]}""#;
    let complete = |words: &[&str]| {
        let mut command = Command::new("bash");
        command.args(["-c", bash, "-", &kmend(&["completions", "bash"])]).args(words);
        let output = command.output().unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete(&["kmend", "ch"]), "check checkpoints");
    assert_eq!(complete(&["kmend", "check", "--con"]), "--config --connect");
    assert_eq!(complete(&["kmend", "journal", "ins"]), "inspect");
    assert_eq!(complete(&["kmend", "completions", "z"]), "zsh");
}

#[test]
fn the_manual_page_has_every_command() {
    let page = kmend(&["man"]);
    assert!(page.contains(".TH kmend 1"), "{page}");
    for command in ["RUN", "DEV", "CHECK", "CONFIG", "SCHEMA", "CHECKPOINTS", "JOURNAL INSPECT", "COMPLETIONS", "MAN"] {
        assert!(page.contains(&format!(".SH KMEND {command}\n")), "{command}: {page}");
    }
    assert!(page.contains("Look at this host, every bootstrap address and every broker"));
    assert!(page.contains("78 the configuration is wrong"));
    // Where groff is: it warns of nothing, and the page can be read.
    let mut command = Command::new("groff");
    command
        .args(["-man", "-ww", "-Tascii", "-P-cbou"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let Ok(mut groff) = command.spawn() else {
        println!("groff is not installed");
        return;
    };
    groff.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = groff.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("\nKMEND CHECK\n") && text.contains("\n       --connect\n"), "{text}");
}
