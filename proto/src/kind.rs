//! Why a request failed, as a small stable set that every front and every tool shares.
//!
//! One table maps a kind to its gRPC code, its HTTP status and the exit code of `secretctl`.
//! Not here: the texts; they are made where the failure is known.
//!
//! Invariant: fronts and tools never invent a code beside this table.

use core::fmt;
use core::str::FromStr;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident, $text:literal, $grpc:literal, $http:literal, $exit:literal;)*) => {
        /// The kind of a failure: stable API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$doc])* $name,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name used in `--json` errors.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The gRPC status code (<https://grpc.io/docs/guides/status-codes/>).
            pub const fn grpc_code(self) -> i32 {
                match self { $(Self::$name => $grpc,)* }
            }

            /// The HTTP status, as Docker maps the same gRPC code.
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$name => $http,)* }
            }

            /// The exit code of `secretctl`: 1 refused or failed, 2 usage, 69 (`EX_UNAVAILABLE`)
            /// when the same request may succeed later.
            pub const fn exit_code(self) -> u8 {
                match self { $(Self::$name => $exit,)* }
            }
        }

        impl FromStr for Kind {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                match text { $($text => Ok(Self::$name),)* _ => Err(()) }
            }
        }
    };
}

kinds! {
    /// The request breaks a rule that does not depend on the cluster.
    Invalid, "invalid", 3, 400, 1;
    /// The object is not there.
    NotFound, "not_found", 5, 404, 1;
    /// The name is taken.
    Exists, "exists", 6, 409, 1;
    /// Something still uses the object.
    InUse, "in_use", 9, 400, 1;
    /// The caller may not.
    Denied, "denied", 7, 403, 1;
    /// The caller is not known: no certificate, an expired or a revoked one.
    Unauthenticated, "unauthenticated", 16, 401, 1;
    /// The node was evicted: stop, unmount, do not come back with this identity.
    Evicted, "evicted", 7, 403, 1;
    /// The object changed since it was read.
    Conflict, "conflict", 10, 409, 1;
    /// The cluster is not in a state for this request.
    Precondition, "precondition", 9, 400, 1;
    /// A bound was reached: size, count or quota.
    TooLarge, "too_large", 8, 413, 1;
    /// The disk of a manager is nearly full.
    Full, "full", 8, 507, 69;
    /// The manager is locked.
    Locked, "locked", 14, 503, 69;
    /// There is no leader, or no majority.
    NoLeader, "no_leader", 14, 503, 69;
    /// The server is busy, stopping or out of reach.
    Unavailable, "unavailable", 14, 503, 69;
    /// No answer in time; the request may or may not have been done. Retrying is safe.
    Timeout, "timeout", 4, 504, 69;
    /// A fault of the server.
    Internal, "internal", 13, 500, 1;
    /// The call is not known to this server.
    Unimplemented, "unimplemented", 12, 501, 1;
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Kind {
    /// The closest kind to a bare gRPC code, for answers that carry no detail of ours.
    pub const fn from_grpc_code(code: i32) -> Self {
        match code {
            3 | 11 => Self::Invalid,
            4 => Self::Timeout,
            5 => Self::NotFound,
            6 => Self::Exists,
            7 => Self::Denied,
            8 => Self::TooLarge,
            9 => Self::Precondition,
            10 => Self::Conflict,
            12 => Self::Unimplemented,
            1 | 14 => Self::Unavailable,
            16 => Self::Unauthenticated,
            _ => Self::Internal,
        }
    }

    /// Whether the same request may succeed when it is sent again.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Locked | Self::NoLeader | Self::Unavailable | Self::Timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(*kind));
        }
    }

    #[test]
    fn retryable_kinds_exit_with_69() {
        for kind in Kind::ALL {
            let may_pass_later = kind.is_retryable() || *kind == Kind::Full;
            assert_eq!(kind.exit_code() == 69, may_pass_later, "{kind}");
        }
    }
}
