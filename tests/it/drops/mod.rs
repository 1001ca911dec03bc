//! Random programs with values whose `Drop` panics, one beside the other. A value that panics while another panic
//! unwinds would end the process, and no program may do that. So each test runs in a process of its own.
//!
//! The programs' closures defuse their values before they fail, because a plain loop would end the process there too.

mod par;
mod pipeline;
mod scope;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use brigade::{CancellationToken, Cancelled, Failure, Failures};
use proptest::prelude::*;

use crate::util::{Census, Counted};

/// Which of the values panic, by the order in which they are made.
#[derive(Clone, Debug)]
enum Armed {
    Some(Vec<usize>),
    All,
}

fn armed(values: usize) -> impl Strategy<Value = Armed> {
    prop_oneof![
        proptest::collection::vec(0..values, 2..4).prop_map(Armed::Some),
        (0..values).prop_map(|first| Armed::Some(vec![first, first + 1, first + 2])),
        Just(Armed::All),
    ]
}

/// Makes the values, and knows how many went off.
struct Arsenal {
    census: Census,
    armed: Armed,
    made: AtomicUsize,
    went_off: Arc<AtomicUsize>,
}

impl Arsenal {
    fn new(armed: &Armed, census: &Census) -> Self {
        Arsenal { census: census.clone(), armed: armed.clone(), made: AtomicUsize::new(0), went_off: Arc::default() }
    }

    /// Makes a value of the item or task of this number.
    fn make(&self, at: usize) -> Bomb {
        let made = self.made.fetch_add(1, Ordering::Relaxed);
        let armed = match &self.armed {
            Armed::Some(numbers) => numbers.contains(&made),
            Armed::All => true,
        };
        let (armed, went_off) = (AtomicBool::new(armed), Arc::clone(&self.went_off));
        Bomb { at, armed, went_off, _counted: self.census.make(()) }
    }

    /// Performs a closure's `act`; it owns nothing.
    fn act(&self, act: Act, at: usize, token: &CancellationToken) -> Result<(), Error> {
        match act {
            Act::Nothing => {}
            Act::Fail => return Err(Error::Failed(self.make(at))),
            // Without a message on the standard error.
            Act::Panic => resume_unwind(Box::new(self.make(at))),
            Act::Cancel => _ = token.cancel(),
        }
        Ok(())
    }
}

struct Bomb {
    at: usize,
    /// False in a dud.
    armed: AtomicBool,
    went_off: Arc<AtomicUsize>,
    _counted: Counted<()>,
}

impl Bomb {
    fn snuff(&self) {
        self.armed.store(false, Ordering::SeqCst);
    }
}

/// The payload of a bomb.
struct Bang;

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.armed.swap(false, Ordering::SeqCst) {
            self.went_off.fetch_add(1, Ordering::SeqCst);
            resume_unwind(Box::new(Bang));
        }
    }
}

enum Error {
    Cancelled,
    Failed(Bomb),
}

impl From<Cancelled> for Error {
    fn from(_: Cancelled) -> Self {
        Error::Cancelled
    }
}

/// The result of a program, which is taken apart with care.
trait Defuse {
    fn defuse(self);
}

impl Defuse for () {
    fn defuse(self) {}
}

impl Defuse for Cancelled {
    fn defuse(self) {}
}

impl Defuse for Bomb {
    fn defuse(self) {
        self.snuff();
    }
}

impl Defuse for Error {
    fn defuse(self) {
        if let Error::Failed(bomb) = self {
            bomb.defuse();
        }
    }
}

impl Defuse for Failure<Error> {
    fn defuse(self) {
        match self {
            Failure::Error { error, .. } => error.defuse(),
            Failure::Panic(panic) => panic.into_payload().defuse(),
            _ => {}
        }
    }
}

/// The errors that came after the cancel are only lent, so they are defused in their place. A list that omits some
/// failures may hold a panic beside them, which only `resume_panic` hands out.
impl Defuse for Failures<Error> {
    fn defuse(self) {
        for failure in self.cancelled() {
            if let Some(Error::Failed(bomb)) = failure.error() {
                bomb.snuff();
            }
        }
        if self.omitted() == 0 {
            return self.into_iter().for_each(Defuse::defuse);
        }
        match catch_unwind(AssertUnwindSafe(|| self.resume_panic())) {
            Ok(errors) => errors.into_iter().for_each(Defuse::defuse),
            Err(payload) => payload.defuse(),
        }
    }
}

impl Defuse for Box<dyn Any + Send> {
    fn defuse(self) {
        match self.downcast::<Bomb>() {
            Ok(bomb) => bomb.defuse(),
            Err(other) if other.is::<Bang>() => {}
            // An assertion of a test, or of the library.
            Err(other) => resume_unwind(other),
        }
    }
}

impl<T: Defuse> Defuse for Vec<T> {
    fn defuse(self) {
        self.into_iter().for_each(Defuse::defuse);
    }
}

impl<T: Defuse, E: Defuse> Defuse for Result<T, E> {
    fn defuse(self) {
        match self {
            Ok(value) => value.defuse(),
            Err(error) => error.defuse(),
        }
    }
}

/// Runs a program and takes its result apart; returns whether it ended well.
fn ends_well<T: Defuse>(run: impl FnOnce() -> Result<T, Error>) -> bool {
    let ended = catch_unwind(AssertUnwindSafe(run));
    let is_well = matches!(ended, Ok(Ok(_)));
    ended.defuse();
    is_well
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Nothing,
    Fail,
    Panic,
    Cancel,
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![2 => Just(Act::Nothing), 2 => Just(Act::Fail), 2 => Just(Act::Panic), 1 => Just(Act::Cancel)]
}
