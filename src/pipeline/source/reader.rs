//! [`Reader`]: where the lines of a pipeline are read from.

use std::io::BufRead;

use crate::token::CancellationToken;

/// A reader, before the run opens it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a pipeline cannot read lines from `{Self}`",
    label = "no `BufRead + Send`",
    note = "another thread reads the lines: in place of `stdin().lock()` give `BufReader::new(stdin())`, or with the \
            feature `io` `brigade::io::stdin()`; in place of a `File` give `BufReader::new(file)`"
)]
pub trait Reader {
    type Opened: BufRead + Send;

    /// Returns the reader, and the token that ends its read, if one can: a child of `token`.
    fn open(self, token: &CancellationToken) -> (Self::Opened, Option<CancellationToken>);
}

#[diagnostic::do_not_recommend]
impl<B: BufRead + Send> Reader for B {
    type Opened = B;

    fn open(self, _token: &CancellationToken) -> (B, Option<CancellationToken>) {
        (self, None)
    }
}
