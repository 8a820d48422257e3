//! Somebody else's work meanwhile: fifty creates a second, by a client that stays connected.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tests::{Lab, until};
use tokio::runtime::Runtime;

use crate::client::{Connection, Operator};

/// Between two creates.
const EVERY: Duration = Duration::from_millis(20);

/// The time for one, after which another manager is asked.
const PATIENCE: Duration = Duration::from_secs(2);

/// Creates go on until it is let go.
pub(crate) struct Others {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

/// An operator's connection to each manager.
pub(crate) fn connect(lab: &Lab, runtime: &Runtime) -> Vec<Connection> {
    runtime.block_on(async {
        let operator = Operator::enrol(lab).await;
        let mut connections = Vec::new();
        for address in lab.addresses() {
            connections.push(operator.connect(&address).await);
        }
        connections
    })
}

impl Others {
    pub(crate) fn start(runtime: Runtime, mut connections: Vec<Connection>) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (ends, acknowledged) = (stop.clone(), done.clone());
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let mut tick = tokio::time::interval(EVERY);
                for number in 0_usize.. {
                    tick.tick().await;
                    if ends.load(Ordering::Relaxed) {
                        return;
                    }
                    let count = connections.len();
                    let connection = &mut connections[number % count];
                    let (request, _) = connection.seal(&format!("other{number}"));
                    let create = connection.client.create_secret(request);
                    // One that fails is nobody's loss: managers come and go here.
                    if matches!(tokio::time::timeout(PATIENCE, create).await, Ok(Ok(_))) {
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        });
        Self { stop, done, thread: Some(thread) }
    }

    /// Waits until some more were acknowledged, so that they are going on.
    pub(crate) fn go_on(&self) {
        let before = self.done.load(Ordering::Relaxed);
        until("others create", || (self.done.load(Ordering::Relaxed) > before + 20).then_some(()));
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What it had to say it has said.
            drop(thread.join());
        }
    }
}
