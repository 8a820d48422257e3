//! `operator` and `context`: who may administer a cluster, and the clusters this user talks to.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What to do with operators.
#[derive(Debug, Subcommand)]
pub(crate) enum OperatorCommand {
    /// Admit an operator
    ///
    /// Prints a token, once, which the operator turns into a certificate with `secretctl context
    /// add`. Who has the token is the operator: hand it over as you would a password.
    Add {
        /// The operator's name
        name: String,

        /// What the operator may do
        #[arg(long, value_enum)]
        role: RoleArg,

        /// The group whose secrets its services may use; the operator's own name unless given
        #[arg(long, value_name = "GROUP", default_value = "", hide_default_value = true)]
        group: String,
    },

    /// List operators
    ///
    /// Shows who is enrolled and until when.
    #[command(alias = "list")]
    Ls,

    /// Remove operators
    ///
    /// Their certificates are refused from then on. What they deployed keeps running.
    #[command(alias = "remove")]
    Rm {
        /// Names or ids
        #[arg(required = true, value_name = "OPERATOR")]
        operators: Vec<String>,
    },
}

/// What an operator may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum RoleArg {
    /// Everything
    Admin,
    /// Deploy services, create secrets
    Deployer,
    /// Create secrets and new values of them
    Writer,
    /// Read everything there is to read, change nothing
    Auditor,
}

impl RoleArg {
    /// The name on the wire.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Deployer => "deployer",
            Self::Writer => "writer",
            Self::Auditor => "auditor",
        }
    }
}

/// What to do with contexts.
#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// Enrol in a cluster and keep the certificate
    ///
    /// Makes a key pair, which never leaves this machine, and exchanges the token for a
    /// certificate. The token names the cluster's CA: nothing is sent to a manager whose
    /// certificate does not end in it. The first context becomes the current one. The certificate
    /// renews itself when it is used in the second half of its life.
    Add(ContextAddArgs),

    /// List contexts
    ///
    /// A `*` marks the current one.
    #[command(alias = "list")]
    Ls,

    /// Choose the context that commands use
    ///
    /// `--context` and SECRETD_CONTEXT go before it; `--socket` ignores it.
    Use {
        /// The context, or `-` for none: the unix socket
        name: String,
    },

    /// Remove contexts
    ///
    /// The certificate and its key are removed from this machine; the cluster still knows the
    /// operator until `secretctl operator rm`.
    #[command(alias = "remove")]
    Rm {
        /// Names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },

    /// Show a context
    ///
    /// Its cluster, its managers, its certificate's end. Never its key.
    Show {
        /// The context; the current one unless given
        name: Option<String>,
    },

    /// Write a context's certificate and key for the docker client
    ///
    /// Into a folder of its own: ca.pem, cert.pem, key.pem. With DOCKER_CERT_PATH at it and
    /// DOCKER_TLS_VERIFY=1, docker talks to a manager's docker-address as this operator. The key in it
    /// is the context's, in clear; when the context's certificate was renewed, export it anew.
    ExportDocker {
        /// The folder; made if it is not there
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
        /// The context; the current one unless given
        name: Option<String>,
    },
}

/// `context add`
#[derive(Debug, Args)]
pub(crate) struct ContextAddArgs {
    /// A name for it
    pub(crate) name: String,

    /// The token that `secretctl operator add` printed, or `-` to read it from standard input
    #[arg(long)]
    pub(crate) token: String,

    /// A manager's address; may be repeated
    #[arg(long, value_name = "HOST:PORT", required = true)]
    pub(crate) manager: Vec<String>,
}
