//! How messages become bytes on the wire and back: as tonic's codec for prost does, with smaller buffers.
//!
//! tonic begins each message of each call with 8 KiB, and what is freed here is wiped whole
//! (`sys::alloc`). Most messages have some hundred bytes; a buffer grows once to what a larger one needs.
//!
//! Not here: what a message means, and how large one may be (whoever makes a client or a server).

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::BufferSettings;
use tonic_prost::{ProstDecoder, ProstEncoder};

/// What a buffer begins with: a small secret that is created, and what is around it.
const BUFFER_BYTES: usize = 1 << 10;

/// As tonic has it: what is encoded of a stream before it is sent.
const SENT_AT_BYTES: usize = 32 << 10;

/// The codec of every call.
pub(crate) struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

fn settings() -> BufferSettings {
    BufferSettings::new(BUFFER_BYTES, SENT_AT_BYTES)
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstEncoder::new(settings())
    }

    fn decoder(&mut self) -> ProstDecoder<U> {
        ProstDecoder::new(settings())
    }
}
