//! A secret typed at the terminal: without echo, straight into the caller's buffer.
//!
//! The terminal is read byte by byte, so that no line editor, the kernel's or ours, holds the
//! secret; `^C` is read as a byte, so that the terminal is always put back. Not here: stdin and
//! files.
//!
//! Invariant: whatever happens in between, the terminal's settings afterwards are those before.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios};

/// A secret could not be read from the terminal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TtyError {
    /// The process has no terminal.
    #[error("there is no terminal to ask on")]
    NoTerminal(#[source] io::Error),
    /// The terminal's settings could not be had or changed.
    #[error("cannot turn off the terminal's echo")]
    Settings(#[source] io::Error),
    /// The terminal could not be read or written.
    #[error("cannot read from the terminal")]
    Read(#[source] io::Error),
    /// The user pressed `^C`, or the terminal went away.
    #[error("interrupted")]
    Interrupted,
    /// More was typed than the buffer holds.
    #[error("more than {0} bytes were typed")]
    TooLong(usize),
}

const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const BACKSPACE: [u8; 2] = [0x08, 0x7f];
const KILL_LINE: u8 = 0x15;
const NEWLINES: [u8; 2] = [b'\n', b'\r'];

/// Asks on the controlling terminal (/dev/tty) and reads one line into `buffer`, without its
/// newline; returns how many bytes it has. On an error the buffer is wiped.
pub fn read_secret(prompt: &str, buffer: &mut [u8]) -> Result<usize, TtyError> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let terminal = rustix::fs::open("/dev/tty", flags, Mode::empty())
        .map_err(|errno| TtyError::NoTerminal(errno.into()))?;
    read_secret_from(terminal.as_fd(), prompt, buffer)
}

fn read_secret_from(
    terminal: BorrowedFd<'_>,
    prompt: &str,
    buffer: &mut [u8],
) -> Result<usize, TtyError> {
    let _quiet = Quiet::new(terminal)?;
    write(terminal, prompt.as_bytes())?;
    let line = read_line(terminal, buffer);
    if line.is_err() {
        zeroize::Zeroize::zeroize(buffer);
    }
    // The user's own newline was not echoed.
    write(terminal, b"\n")?;
    line
}

fn write(terminal: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), TtyError> {
    while !bytes.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(terminal, bytes))
            .map_err(|errno| TtyError::Read(errno.into()))?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

fn read_line(terminal: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, TtyError> {
    let mut length = 0;
    loop {
        let mut byte = [0];
        let count = rustix::io::retry_on_intr(|| rustix::io::read(terminal, &mut byte)).map_err(
            |errno| {
                if errno == Errno::IO {
                    TtyError::Interrupted
                } else {
                    TtyError::Read(errno.into())
                }
            },
        )?;
        match byte {
            _ if count == 0 => return Err(TtyError::Interrupted),
            [INTERRUPT] => return Err(TtyError::Interrupted),
            [END] if length == 0 => return Err(TtyError::Interrupted),
            [END] => return Ok(length),
            [newline] if NEWLINES.contains(&newline) => return Ok(length),
            [KILL_LINE] => length = 0,
            [key] if BACKSPACE.contains(&key) => length = without_last_character(buffer, length),
            [typed] => match buffer.get_mut(length) {
                Some(place) => {
                    *place = typed;
                    length += 1;
                }
                None => return Err(TtyError::TooLong(buffer.len())),
            },
        }
    }
}

/// One character of UTF-8 less.
fn without_last_character(buffer: &[u8], mut length: usize) -> usize {
    while length > 0 {
        length -= 1;
        let continues = buffer.get(length).is_some_and(|byte| byte & 0xc0 == 0x80);
        if !continues {
            break;
        }
    }
    length
}

/// The terminal without echo and line editing, for as long as this lives.
struct Quiet<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn new(terminal: BorrowedFd<'a>) -> Result<Self, TtyError> {
        let before = rustix::termios::tcgetattr(terminal)
            .map_err(|errno| TtyError::Settings(errno.into()))?;
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO
            | LocalModes::ECHONL
            | LocalModes::ICANON
            | LocalModes::ISIG
            | LocalModes::IEXTEN;
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        // Flush: what was typed before the prompt was echoed and is not the secret.
        rustix::termios::tcsetattr(terminal, OptionalActions::Flush, &quiet)
            .map_err(|errno| TtyError::Settings(errno.into()))?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // There is nobody to tell; a terminal that refuses is gone.
        rustix::termios::tcsetattr(self.terminal, OptionalActions::Drain, &self.before).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};

    use super::*;

    const PROMPT: &str = "secret: ";

    fn terminal() -> (OwnedFd, OwnedFd) {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let terminal = ioctl_tiocgptpeer(&master, flags).unwrap();
        (master, terminal)
    }

    fn read_until(master: &OwnedFd, end: &str) -> String {
        let mut text = String::new();
        while !text.ends_with(end) {
            let mut piece = [0; 64];
            let count = rustix::io::read(master, &mut piece).unwrap();
            text.push_str(std::str::from_utf8(&piece[..count]).unwrap());
        }
        text
    }

    /// Types `keys` once the prompt is there; returns the answer and all that the terminal showed.
    fn typed(keys: &[u8], buffer: &mut [u8]) -> (Result<usize, TtyError>, String) {
        let (master, terminal) = terminal();
        let before = rustix::termios::tcgetattr(&terminal).unwrap().local_modes;
        let (answer, shown) = std::thread::scope(|scope| {
            let typist = scope.spawn(|| {
                let prompt = read_until(&master, PROMPT);
                rustix::io::write(&master, keys).unwrap();
                prompt + &read_until(&master, "\n")
            });
            let answer = read_secret_from(terminal.as_fd(), PROMPT, buffer);
            (answer, typist.join().unwrap())
        });
        assert_eq!(rustix::termios::tcgetattr(&terminal).unwrap().local_modes, before);
        (answer, shown)
    }

    #[test]
    fn a_secret_is_read_without_echo() {
        let mut buffer = [0; 16];
        let (answer, shown) = typed("hünter2\r".as_bytes(), &mut buffer);
        assert_eq!(&buffer[..answer.unwrap()], "hünter2".as_bytes());
        assert_eq!(shown, format!("{PROMPT}\r\n"));
    }

    #[test]
    fn mistakes_can_be_taken_back() {
        let mut buffer = [0; 16];
        let (answer, _) = typed("wrong\x15gü\x7fod\n".as_bytes(), &mut buffer);
        assert_eq!(&buffer[..answer.unwrap()], b"god");
        let (answer, _) = typed(b"\x7f\x7fok\x04", &mut buffer);
        assert_eq!(&buffer[..answer.unwrap()], b"ok");
    }

    #[test]
    fn an_interrupt_puts_the_terminal_back_and_wipes() {
        let mut buffer = [0; 16];
        for keys in [&b"half\x03"[..], b"\x04"] {
            let (answer, _) = typed(keys, &mut buffer);
            assert!(matches!(answer, Err(TtyError::Interrupted)));
            assert_eq!(buffer, [0; 16]);
        }
    }

    #[test]
    fn a_line_that_does_not_fit_is_refused_and_wiped() {
        let mut buffer = [0; 4];
        assert_eq!(typed(b"1234\n", &mut buffer).0.unwrap(), 4);
        let (answer, _) = typed(b"12345\n", &mut buffer);
        assert!(matches!(answer, Err(TtyError::TooLong(4))));
        assert_eq!(buffer, [0; 4]);
    }
}
