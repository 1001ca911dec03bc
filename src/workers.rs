//! What the threads of a scope's limit and the workers of a pool share: their queue, the calls, the search for work,
//! the size of a turn.

pub(crate) mod batches;
pub(crate) mod calls;
pub(crate) mod search;
pub(crate) mod turn;
