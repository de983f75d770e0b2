//! One screen of a terminal that is written again and again, and left as it was.

use std::io::{self, Write};

use terminal_size::{Height, Width, terminal_size};

/// Where the terminal does not tell its size.
const USUAL: (usize, usize) = (80, 24);

/// The alternate screen (xterm's private mode 1049), without a cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const REST_OF_LINE: &str = "\x1b[K";
const REST_OF_SCREEN: &str = "\x1b[J";
const PLAIN: &str = "\x1b[0m";

/// Columns and lines.
pub(super) fn size() -> (usize, usize) {
    terminal_size().map_or(USUAL, |(Width(width), Height(height))| (width.into(), height.into()))
}

#[derive(Debug, Default)]
pub(super) struct Screen {
    is_open: bool,
}

impl Screen {
    /// What shows `lines` in place of what was there.
    pub(super) fn frame(&mut self, lines: &[String], width: usize) -> String {
        let mut text = String::new();
        if !std::mem::replace(&mut self.is_open, true) {
            text.push_str(ENTER);
        }
        text.push_str(HOME);
        for (nth, line) in lines.iter().enumerate() {
            text.push_str(if nth == 0 { "" } else { "\r\n" });
            text.push_str(&cut(line, width));
            text.push_str(REST_OF_LINE);
        }
        text.push_str(REST_OF_SCREEN);
        text
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.is_open {
            let mut stdout = io::stdout().lock();
            let _ = stdout.write_all(LEAVE.as_bytes()).and_then(|()| stdout.flush());
        }
    }
}

/// At most `width` characters; colours take no room.
fn cut(line: &str, width: usize) -> String {
    let (mut text, mut room, mut in_colour) = (String::new(), width, false);
    for c in line.chars() {
        if c == '\x1b' {
            in_colour = true;
        } else if in_colour {
            in_colour = c != 'm';
        } else if room == 0 {
            text.push_str(PLAIN);
            break;
        } else {
            room -= 1;
        }
        text.push(c);
    }
    text
}

/// Somebody wants it to end.
pub(super) async fn stopped() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        // A signal that cannot be had ends the process by itself.
        if let (Ok(mut terminate), Ok(mut hangup)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup())) {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = hangup.recv() => return,
                _ = tokio::signal::ctrl_c() => return,
            }
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_take_no_room() {
        assert_eq!(cut("\x1b[31mred\x1b[0m rest", 5), "\x1b[31mred\x1b[0m r\x1b[0m");
        assert_eq!(cut("four", 4), "four");
        assert_eq!(cut("größer", 3), "grö\x1b[0m");
    }

    #[test]
    fn the_screen_is_opened_once() {
        let mut screen = Screen::default();
        let first = screen.frame(&["a".to_owned(), "b".to_owned()], 80);
        assert_eq!(first, "\x1b[?1049h\x1b[?25l\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
        assert_eq!(screen.frame(&[], 80), "\x1b[H\x1b[J");
        // Nothing to leave behind in the test's own output.
        screen.is_open = false;
    }
}
