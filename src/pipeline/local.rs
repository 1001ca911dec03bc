//! [`MemberLocal`]: a member's own part of the stages, from its first batch to its end.

use super::stage::Stage;
use crate::panic::Panics;

/// A member's part of the stages, which is retired once: by the member, or if a panic unwinds it, when it is dropped.
pub(super) struct MemberLocal<'a, T, W: Stage<T>> {
    stage: &'a W,
    local: Option<W::Local>,
}

impl<'a, T, W: Stage<T>> MemberLocal<'a, T, W> {
    pub(super) fn new(stage: &'a W) -> Self {
        MemberLocal { stage, local: Some(stage.local()) }
    }

    #[inline]
    pub(super) fn get_mut(&mut self) -> &mut W::Local {
        self.local.as_mut().expect("retired at the end only")
    }

    pub(super) fn retire(&mut self, panics: &mut Panics) {
        if let Some(local) = self.local.take() {
            self.stage.retire(local, panics);
        }
    }
}

impl<T, W: Stage<T>> Drop for MemberLocal<'_, T, W> {
    fn drop(&mut self) {
        let mut panics = Panics::default();
        self.retire(&mut panics);
        // Only a panic leaves something to retire here, and it hides these.
        panics.discard();
    }
}
