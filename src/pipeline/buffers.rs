//! [`Buffers`]: buffers that go back to where they were taken from.

use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use parking_lot::Mutex;

/// Buffers that are used again: a source takes one for each item, and it comes back when the item is dropped.
///
/// So a run allocates as many buffers as are in use at once, which a [`window`](crate::Pipeline::window) bounds, and no
/// more. A handle to the buffers is cheap to clone; the stages and the sink need none.
///
/// # Examples
///
/// A compressor that reads blocks, and allocates a window of them for a file of any size:
///
/// ```
/// use std::io::{self, Read};
/// use std::iter;
/// use brigade::pipeline::{Buffer, Buffers};
/// use brigade::{CancellationToken, Pipeline};
///
/// let mut file = io::repeat(7).take(10_000_000);
/// let buffers = Buffers::new(|| Vec::with_capacity(1 << 16));
/// let blocks = iter::from_fn(|| -> Option<io::Result<Buffer<Vec<u8>>>> {
///     let mut block = buffers.take();
///     block.clear();
///     match file.by_ref().take(1 << 16).read_to_end(&mut block) {
///         Ok(0) => None,
///         read => Some(read.map(|_| block)),
///     }
/// });
/// let mut compressed = 0;
/// Pipeline::from_ready(blocks)
///     .window(8)
///     .try_map(|block| Ok::<_, io::Error>(block?.chunk_by(|byte, next| byte == next).count()))
///     .for_each(&CancellationToken::new(), |runs| compressed += runs)?;
/// assert_eq!(compressed, 153);
/// assert!(buffers.made() <= 16);
/// # Ok::<(), io::Error>(())
/// ```
pub struct Buffers<T> {
    home: Arc<Home<T>>,
}

struct Home<T> {
    make: Box<dyn Fn() -> T + Send + Sync>,
    spares: Mutex<Spares<T>>,
}

struct Spares<T> {
    buffers: Vec<T>,
    made: usize,
}

impl<T> Buffers<T> {
    /// Creates an empty set. `make` makes a buffer where none is spare.
    pub fn new(make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        let spares = Mutex::new(Spares { buffers: Vec::new(), made: 0 });
        Buffers { home: Arc::new(Home { make: Box::new(make), spares }) }
    }

    /// Takes a spare buffer, as it was left, or else a new one.
    pub fn take(&self) -> Buffer<T> {
        let spare = self.home.spares.lock().buffers.pop();
        let value = spare.unwrap_or_else(|| {
            let made = (self.home.make)();
            self.home.spares.lock().made += 1;
            made
        });
        Buffer { value: Some(value), home: Arc::clone(&self.home) }
    }

    /// Returns how many buffers have been made.
    pub fn made(&self) -> usize {
        self.home.spares.lock().made
    }
}

impl<T> Clone for Buffers<T> {
    fn clone(&self) -> Self {
        Buffers { home: Arc::clone(&self.home) }
    }
}

impl<T> fmt::Debug for Buffers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffers").field("made", &self.made()).finish_non_exhaustive()
    }
}

/// A buffer of [`Buffers`], which goes back there when it is dropped.
pub struct Buffer<T> {
    /// Taken when it is dropped.
    value: Option<T>,
    home: Arc<Home<T>>,
}

impl<T> Buffer<T> {
    /// Returns the value, which does not go back. Another one is made in its place.
    pub fn into_inner(mut self) -> T {
        let Some(value) = self.value.take() else { unreachable!("it is taken by value only") };
        value
    }
}

impl<T> Deref for Buffer<T> {
    type Target = T;

    fn deref(&self) -> &T {
        let Some(value) = &self.value else { unreachable!("it is taken when it is dropped only") };
        value
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut T {
        let Some(value) = &mut self.value else { unreachable!("it is taken when it is dropped only") };
        value
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        if let Some(value) = mem::take(&mut self.value) {
            self.home.spares.lock().buffers.push(value);
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
