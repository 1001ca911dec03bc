//! An [`Input`] as the reader of lines: its read ends with the run.

use std::io::{self, BufRead, Read};
use std::os::fd::AsFd;

use super::reader::Reader;
use crate::io::{Input, Wait};
use crate::token::CancellationToken;

impl<F: AsFd + Send> Reader for Input<F> {
    type Opened = OpenInput<F>;

    fn open(self, token: &CancellationToken) -> (OpenInput<F>, Option<CancellationToken>) {
        let token = token.child_token();
        (OpenInput { input: self, wait: Wait::new(&token) }, Some(token))
    }
}

/// An input that owns the token that ends its reads.
#[doc(hidden)]
#[derive(Debug)]
pub struct OpenInput<F> {
    input: Input<F>,
    wait: Wait,
}

impl<F: AsFd> Read for OpenInput<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

impl<F: AsFd> BufRead for OpenInput<F> {
    #[inline]
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill(&mut self.wait)
    }

    #[inline]
    fn consume(&mut self, bytes: usize) {
        self.input.consume(bytes);
    }
}
