//! What stands between an agent and its engine: it sees every question, and can have the engine die
//! with an answer on its way.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use crate::engine::Engine;

/// What becomes of a question.
pub(crate) enum Fate {
    /// The engine answers.
    Answered,
    /// The engine does what it is asked, and nobody hears of it: its socket is gone.
    Unheard,
}

/// A socket that is an engine's, to an agent.
pub(crate) struct Between {
    socket: PathBuf,
    away: PathBuf,
}

impl Between {
    /// Listens beside the engine; `fate` is told the first line of each question.
    pub(crate) fn start(
        engine: &Engine,
        fate: impl Fn(&str) -> Fate + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (socket, away) = (engine.path().join("b.sock"), engine.path().join("b.away"));
        let listener = UnixListener::bind(&socket).unwrap();
        let between = Arc::new(Self { socket, away });
        let (engine, fate, listens) = (engine.socket(), Arc::new(fate), Arc::clone(&between));
        // It ends with the test's process.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (engine, fate) = (engine.clone(), Arc::clone(&fate));
                let between = Arc::clone(&listens);
                // Either side may hang up at any time.
                thread::spawn(move || between.serve(client, &engine, &*fate).ok());
            }
        });
        between
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.socket.clone()
    }

    pub(crate) fn is_there(&self) -> bool {
        self.socket.exists()
    }

    /// The engine cannot be reached any more; who is connected stays so.
    pub(crate) fn go_away(&self) {
        move_socket(&self.socket, &self.away);
    }

    /// The engine can be reached again.
    pub(crate) fn come_back(&self) {
        move_socket(&self.away, &self.socket);
    }

    fn serve(
        &self,
        mut client: UnixStream,
        engine: &Path,
        fate: &impl Fn(&str) -> Fate,
    ) -> io::Result<()> {
        let mut asked = vec![0; 64 << 10];
        // One write of a client: far less than a socket takes at once.
        let length = client.read(&mut asked)?;
        asked.truncate(length);
        let text = String::from_utf8_lossy(&asked);
        let Some(line) = text.lines().next() else { return Ok(()) };
        let fate = fate(line);
        let mut engine = UnixStream::connect(engine)?;
        engine.write_all(&asked)?;
        let (mut from, mut to) = (client.try_clone()?, engine.try_clone()?);
        let sending = thread::spawn(move || {
            io::copy(&mut from, &mut to).ok();
            to.shutdown(Shutdown::Write).ok();
        });
        match fate {
            Fate::Answered => drop(io::copy(&mut engine, &mut client)),
            Fate::Unheard => {
                engine.read_exact(&mut [0])?;
                self.go_away();
            }
        }
        client.shutdown(Shutdown::Both)?;
        sending.join().ok();
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "a socket of a test is to outlive nothing")]
fn move_socket(from: &Path, to: &Path) {
    fs::rename(from, to).unwrap();
}
