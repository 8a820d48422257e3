//! `dev`: a whole cluster on this machine, until interrupted.
//!
//! Not here: the cluster itself (`throwaway`).

use super::Session;
use super::demo::mount::{self, Mounting};
use crate::cli::DevArgs;
use crate::error::Error;
use crate::throwaway::{Deaths, Throwaway, with};
use crate::view;

pub(super) async fn run(session: &Session, args: &DevArgs) -> Result<(), Error> {
    let ended = with(session, Deaths::Tell, async |cluster| {
        cluster.start_managers(args.managers).await?;
        match mount::look()? {
            Mounting::Impossible(reason) => session.printer.warning(&format!(
                "tasks with secrets will be refused: they cannot be mounted here ({reason})"
            )),
            mounting => {
                for weakness in mounting.weaknesses() {
                    session.printer.warning(&weakness);
                }
            }
        }
        cluster.start_agent().await?;
        show(session, cluster)?;
        std::future::pending::<Result<(), Error>>().await
    })
    .await;
    match ended {
        // This is how it is meant to end.
        Err(Error::Interrupted(_)) => Ok(()),
        ended => ended,
    }
}

/// How to talk to it.
fn show(session: &Session, cluster: &Throwaway<'_>) -> Result<(), Error> {
    let path = cluster.socket();
    let socket = path.display().to_string();
    if session.printer.json {
        return session.printer.json_line(&view::Dev {
            socket,
            folder: cluster.layout().folder().display().to_string(),
            managers: cluster.managers.iter().map(|manager| manager.address.clone()).collect(),
        });
    }
    session.printer.data(&format!(
        "export SECRETD_SOCKET={}\n\
         printf %s \"$PASSWORD\" | secretctl create db_password -\n\
         secretctl service create --name show --secret db_password -- \
         /bin/sh -c 'ls -ln /run/secrets; exec sleep 1000'\n\
         secretctl service logs show",
        quoted(&socket)
    ))?;
    session
        .printer
        .progress("the cluster runs; type the above in another terminal, ^C here ends it");
    Ok(())
}

/// As a word of a shell.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}
