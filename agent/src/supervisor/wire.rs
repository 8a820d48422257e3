//! The one encoding of what agent and supervisor say to each other, and of what the agent leaves in
//! files: a format number, then CBOR with numbered fields.
//!
//! An agent may be newer than the supervisors it takes over, so fields are only ever added; a
//! change that an older reader would misunderstand raises the format. Not here: what is said
//! ([`super::protocol`], [`super::definition`], [`super::status`]).

use core::convert::Infallible;

/// The format in use.
const FORMAT: u8 = 1;

/// Bytes are not a message of a format this version knows.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// There is nothing.
    #[error("an empty message")]
    Empty,
    /// The format is another one.
    #[error("format {0} is not known, it comes from another version of this program")]
    Format(u8),
    /// The content is not what the format says.
    #[error("a malformed message")]
    Malformed(#[source] minicbor::decode::Error),
}

/// Encodes a message.
pub(crate) fn encode<T: minicbor::Encode<()>>(message: &T) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    let written: Result<(), minicbor::encode::Error<Infallible>> =
        minicbor::encode(message, &mut bytes);
    // Derived encoders fail only where their writer does, and a vector does not.
    written.expect("encoding into memory cannot fail");
    bytes
}

/// Reads a message.
pub(crate) fn decode<'b, T: minicbor::Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, WireError> {
    match bytes.split_first() {
        None => Err(WireError::Empty),
        Some((&FORMAT, message)) => minicbor::decode(message).map_err(WireError::Malformed),
        Some((&format, _)) => Err(WireError::Format(format)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_format_is_told_from_a_malformed_message() {
        let bytes = encode(&7_u32);
        assert_eq!(decode::<u32>(&bytes).unwrap(), 7);
        assert!(matches!(decode::<u32>(&[]), Err(WireError::Empty)));
        assert!(matches!(decode::<u32>(&[2, 7]), Err(WireError::Format(2))));
        assert!(matches!(decode::<u32>(&[1]), Err(WireError::Malformed(_))));
    }

    #[derive(minicbor::Encode, minicbor::Decode, Debug, PartialEq)]
    struct Old {
        #[n(0)]
        kept: u32,
    }

    #[derive(minicbor::Encode, minicbor::Decode, Debug, PartialEq)]
    struct New {
        #[n(0)]
        kept: u32,
        #[n(1)]
        added: Option<String>,
    }

    #[test]
    fn a_field_may_be_added() {
        let old = encode(&Old { kept: 1 });
        assert_eq!(decode::<New>(&old).unwrap(), New { kept: 1, added: None });
        let new = encode(&New { kept: 1, added: Some("x".into()) });
        assert_eq!(decode::<Old>(&new).unwrap(), Old { kept: 1 });
    }
}
