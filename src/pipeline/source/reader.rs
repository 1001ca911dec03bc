//! [`Reader`]: where the lines of a pipeline are read from.

use std::io::BufRead;

use crate::token::CancellationToken;

/// A reader, before the run opens it.
#[doc(hidden)]
pub trait Reader {
    type Opened: BufRead + Send;

    /// Returns the reader, and the token that ends its read, if one can: a child of `token`.
    fn open(self, token: &CancellationToken) -> (Self::Opened, Option<CancellationToken>);
}

impl<B: BufRead + Send> Reader for B {
    type Opened = B;

    fn open(self, _token: &CancellationToken) -> (B, Option<CancellationToken>) {
        (self, None)
    }
}
