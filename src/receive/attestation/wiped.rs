//! A body that is overwritten once it has been sent.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use secrecy::{ExposeSecret, SecretSlice};

/// A secret as a body. Every copy of ours is overwritten, this one when the server has taken it. The server's send
/// buffer and the kernel's, which hold it until they are used again, are beyond our reach.
pub(super) struct Wiped(Option<SecretSlice<u8>>);

/// Lends the secret to the server, and overwrites it when that is done with it.
struct Lent(SecretSlice<u8>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.0.expose_secret()
    }
}

impl Wiped {
    pub(super) fn new(value: SecretSlice<u8>) -> Self {
        Self(Some(value))
    }
}

impl MessageBody for Wiped {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0.as_ref().map_or(0, |value| value.expose_secret().len() as u64))
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let value = self.get_mut().0.take().filter(|value| !value.expose_secret().is_empty());
        Poll::Ready(value.map(|value| Ok(Bytes::from_owner(Lent(value)))))
    }
}
