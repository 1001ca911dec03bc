//! [`TaskId`]: which task of a scope it is, by its name and its index.

use std::sync::Arc;

/// The name of tasks that were given none.
pub(super) const TASK: &str = "task";

/// A name behind a thin pointer, because a fat one would make each task larger.
pub(super) type ThinName = Arc<Arc<str>>;

pub(super) struct TaskId {
    pub(super) name: Option<ThinName>,
    pub(super) index: usize,
}

impl TaskId {
    pub(super) fn name(&self) -> &str {
        self.name.as_ref().map_or(TASK, |name| name)
    }

    pub(super) fn owned_name(&self) -> Arc<str> {
        self.name.as_deref().map_or_else(|| TASK.into(), Arc::clone)
    }
}
