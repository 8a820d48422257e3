//! The command line: what can be typed, with the help that teaches it.
//!
//! The definitions are the one source of help, completions and man pages; examples and the other
//! hand-written sections stand beside them in [`sections`]. Not here: doing anything.
//!
//! Invariant: every command that does something has a short help, a long help and examples.

mod backup;
mod cluster;
mod config;
#[cfg(feature = "cluster")]
mod demo;
mod node;
mod operator;
pub(crate) mod quantity;
mod secret;
pub(crate) mod sections;
mod service;
mod stack;
mod task;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

pub(crate) use backup::{BackupArgs, BackupCheckArgs, BackupCommand, RestoreArgs};
pub(crate) use cluster::{
    AddSlotCommand, AlarmCommand, ClusterCommand, ClusterUpdateArgs, InitArgs, JoinArgs,
    JoinRoleArg, JoinTokenArgs, MemberCommand, PeersArg, RotateArgs, RotateCaArgs,
    RotateCertificatesArgs, RotateCommand, SwitchArg, TokenCommand, UnlockKeyArgs,
    UnlockSlotCommand,
};
pub(crate) use config::ConfigCommand;
#[cfg(feature = "cluster")]
pub(crate) use demo::{DemoArgs, DevArgs};
pub(crate) use node::{AvailabilityArg, NodeCommand, UpdateArgs};
pub(crate) use operator::{ContextAddArgs, ContextCommand, OperatorCommand, RoleArg};
pub(crate) use secret::{CreateArgs, RmArgs, RotateSecretArgs, SecretCommand};
pub(crate) use service::{
    FailureArg, LogsArg, LogsArgs, ModeArg, OrderArg, PsArgs, RestartArg, RollbackArgs,
    RollbackFailureArg, ScaleArgs, ServiceCommand, ServiceCreateArgs, ServiceUpdateArgs, SpecArgs,
};
pub(crate) use stack::{StackCommand, StackDeployArgs};
pub(crate) use task::{TaskCommand, TaskExecArgs};

use crate::instant;

/// The operator's tool of secretd, an encrypted secret store with in-memory delivery
///
/// secretctl talks to a manager: by default over its unix socket on this machine, or, with a
/// context, over TLS to the first manager that answers. Secrets are sealed before they leave this
/// program; managers keep them encrypted, and a node's agent mounts them, in memory only, for the
/// tasks that need them, at /run/secrets.
///
/// What is asked for goes to standard output; everything said about it goes to standard error.
#[derive(Debug, Parser)]
#[command(name = "secretctl", version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection and output")]
pub(crate) struct GlobalArgs {
    /// The cluster to talk to, by the name of a context [env: SECRETD_CONTEXT]
    ///
    /// A context is an operator's certificate and the addresses of the managers; `secretctl
    /// context add` makes one. Without this option the one chosen with `secretctl context use` is
    /// taken; without any, the unix socket.
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "socket")]
    pub(crate) context: Option<String>,

    /// The unix socket of the manager on this machine [env: SECRETD_SOCKET]
    ///
    /// /run/secretd/secretd.sock unless given. Who may connect is who may enter its folder: root
    /// and the manager's own user.
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,

    /// How long to go on trying when no manager answers
    ///
    /// A request that got no answer is sent again, to the next manager, under the same request
    /// key: it is done once, however often it arrives.
    #[arg(long, global = true, value_name = "DURATION", default_value = "15s",
          value_parser = instant::parse_duration)]
    pub(crate) timeout: Duration,

    /// Print JSON, errors too
    ///
    /// Field names are stable. Errors go to standard error as
    /// {"error":{"kind":…,"message":…,"because":…,"hints":[…]}}.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Print ids only, and no progress
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Secrets: create, rotate, ls, inspect, rm.
    #[command(flatten)]
    Secret(SecretCommand),

    /// The same commands, as `docker secret` spells them
    #[command(subcommand, name = "secret", hide = true)]
    SecretGroup(SecretCommand),

    /// Configs: files of tasks that are not secret
    ///
    /// A config is a value that services use as a file, and that never changes. Whoever may look at the
    /// cluster is shown it: what nobody is to read is a secret.
    #[command(subcommand)]
    Config(ConfigCommand),

    /// Run commands on nodes, with their secrets mounted
    ///
    /// A service is a command, how many tasks of it run, and the secrets it uses. The cluster
    /// keeps that many running, on the nodes that fit.
    #[command(subcommand)]
    Service(ServiceCommand),

    /// Look into a task that runs
    ///
    /// A task is one run of a service's command on one node; `service ps` shows them.
    #[command(subcommand)]
    Task(TaskCommand),

    /// Run what compose files declare, without docker
    ///
    /// A stack is the secrets, configs and services of compose files, under one name. Names and labels are
    /// those of `docker stack`.
    #[command(subcommand)]
    Stack(StackCommand),

    /// See and change the machines that run tasks
    ///
    /// A node is a machine: with an agent it runs tasks, with a manager it keeps the cluster.
    #[command(subcommand)]
    Node(NodeCommand),

    /// Make a cluster, join it, see what is wrong with it
    ///
    /// Managers keep the cluster's state in agreement; more than half of them must be up for
    /// anything to change. One, three or five are useful numbers.
    #[command(subcommand)]
    Cluster(ClusterCommand),

    /// Say who may administer the cluster
    ///
    /// An operator is a person or a program with a certificate and a role. Root on a manager's
    /// machine needs none: the unix socket knows it.
    #[command(subcommand)]
    Operator(OperatorCommand),

    /// Keep the clusters this user talks to
    ///
    /// A context is a private folder with a certificate, its key, the CA it is checked against
    /// and the addresses of the managers.
    #[command(subcommand)]
    Context(ContextCommand),

    /// Watch a secret travel, on a whole cluster that is made for it and removed
    ///
    /// Starts managers and an agent on this machine, in a private temporary folder, stores a
    /// secret, runs a task that uses it, and shows what the task sees; then searches the managers'
    /// disks, and as root their memory, for the secret in clear. Nothing is left behind.
    ///
    /// The secret is read from standard input if something is piped; else one is made, and shown.
    /// Nothing has to be set up, and nothing leaves this machine. As root, secrets are mounted as
    /// they are in earnest; without root, in a user namespace; where neither can be, the secret is
    /// put into a folder in memory instead, which no agent does otherwise. What is weaker is said.
    ///
    /// Exits with 1 if anything is not as it should be.
    #[cfg(feature = "cluster")]
    Demo(DemoArgs),

    /// Run a whole cluster on this machine until interrupted
    ///
    /// For trying things out, and for development. Managers and an agent run in a private
    /// temporary folder; what is needed to talk to them is printed. An interrupt stops all tasks
    /// and removes everything, the secrets included. Tasks cannot gain privileges (setuid
    /// programs) here.
    #[cfg(feature = "cluster")]
    Dev(DevArgs),

    /// Print a completion script for a shell
    ///
    /// The script completes commands and options; it does not ask the cluster for names.
    Completion {
        /// The shell
        #[arg(value_enum)]
        shell: ShellArg,
    },

    /// Write the man pages
    ///
    /// Without a folder, secretctl(1) goes to standard output; with one, a page for every command
    /// is written there.
    Man {
        /// The folder, which must exist
        dir: Option<PathBuf>,
    },
}

/// A shell that completions can be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ShellArg {
    /// GNU Bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
    /// Elvish
    Elvish,
}

/// The definition with the hand-written sections in its help.
pub(crate) fn definition() -> clap::Command {
    with_sections(Cli::command(), "secretctl")
}

fn with_sections(mut command: clap::Command, path: &str) -> clap::Command {
    if let Some(examples) = sections::examples(path) {
        let mut text = format!("Examples:\n{}", indented(examples));
        if path == "secretctl" {
            text.push_str("\n\n");
            text.push_str(sections::SUMMARY);
        }
        command = command.after_long_help(text);
    }
    let names: Vec<String> =
        command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names {
        let path = format!("{path} {name}");
        command = command.mut_subcommand(name, |sub| with_sections(sub, &path));
    }
    command
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// Reads `KEY=VALUE`; a key alone has an empty value, as Docker has it.
fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err("expected KEY=VALUE".into());
    }
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn every_command_teaches() {
        fn check(command: &clap::Command, path: &str) {
            if command.is_hide_set() {
                return;
            }
            assert!(command.get_about().is_some(), "{path} lacks its short help");
            assert!(command.get_long_about().is_some(), "{path} lacks its long help");
            assert!(sections::examples(path).is_some(), "{path} lacks examples");
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                let help = argument.get_help().or_else(|| argument.get_long_help());
                let built_in = ["help", "version"].contains(&argument.get_id().as_str());
                assert!(help.is_some() || built_in, "{path}: {} has no help", argument.get_id());
            }
            for sub in command.get_subcommands() {
                check(sub, &format!("{path} {}", sub.get_name()));
            }
        }
        check(&definition(), "secretctl");
    }
}
