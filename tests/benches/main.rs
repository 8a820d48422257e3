//! How long things take, and where the time goes, on this machine and in one run.
//!
//! `cargo bench` prints a table a question: durable creates against the bare disk (and against
//! etcd, where it is installed), a secret's way into a task, failover, a restart with many
//! secrets, a rotation of the root key over them. A word after `--` runs only the tables whose name
//! holds it. Not a test: nothing fails for being slow. Ratios within a run mean something; single
//! figures depend on the machine.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints figures, and ends where it cannot go on"
)]

mod client;
mod creates;
mod delivery;
mod etcd;
mod figures;
mod restart;
mod rotation;

/// Measures, and prints what came of it.
type Table = fn(&tokio::runtime::Runtime);

/// As in secretctl, whose work the clients do.
#[global_allocator]
static ALLOCATOR: sys::alloc::ZeroizingAllocator = sys::alloc::ZeroizingAllocator::new();

const PROGRAMS: &str = env!("CARGO_BIN_EXE_programs");

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let tables: [(&str, Table); 5] = [
        ("creates", creates::table),
        ("delivery", delivery::table),
        ("failover", restart::failover),
        ("restart", restart::table),
        ("rotation", rotation::table),
    ];
    for (name, table) in tables {
        if wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str())) {
            println!("\n== {name}");
            table(&runtime);
        }
    }
}
