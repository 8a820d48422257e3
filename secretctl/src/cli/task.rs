//! `task`: what runs on nodes, one at a time.

use clap::{Args, Subcommand};

/// What to do with tasks.
#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Run a command in a task
    ///
    /// The command runs beside the task's program: on its node, as its user, with its environment, from its
    /// working folder, and with its secrets at /run/secrets; in a container if the task is one. It ends
    /// with the task, and when this program ends or is out of touch for some seconds, and its process
    /// group with it. What it had left running in another group (as `timeout` and a shell's jobs are) ends
    /// with the task.
    ///
    /// Standard output and standard error come back apart, and the command's exit status is the exit status
    /// of this program: 127 if there is no such command, 126 if it cannot be executed, 128 and the number of
    /// a signal that ended it. A command that was not run has the statuses that every command has (1, 2,
    /// 69), and says so on standard error; one that was cut off has 1, and may have been run in part.
    ///
    /// There is no terminal: a shell shows no prompt, and what edits lines or colours its output does not.
    /// There is no `-t`.
    ///
    /// Who may run a command in a task reads the task's secrets by it. It is for admins, and for deployers
    /// whose services may use all of them (--usable-by). That it was run, by whom and in which task is in
    /// the audit; the command and its arguments, which may hold secrets, are not. A container engine tells
    /// them to whoever listens to its events: pass secrets by `-i`.
    Exec(TaskExecArgs),
}

/// `task exec`
#[derive(Debug, Args)]
pub(crate) struct TaskExecArgs {
    /// Pass standard input to the command; without it, the command has none
    #[arg(long, short)]
    pub(crate) interactive: bool,

    /// A task: its name as `service ps` has it (web.1), its id, or a unique beginning of that
    #[arg(value_name = "TASK")]
    pub(crate) task: String,

    /// The command and its arguments. Nothing of it is for a shell, unless it is one
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}
