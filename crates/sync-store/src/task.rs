//! Blocking work off the async threads.

use std::cell::Cell;

use tokio::runtime::Handle;

use crate::Error;

thread_local! {
    /// Whether this thread waits for a future that it may be blocked for.
    static MAY_BLOCK: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` where blocking is fine: here where the thread is in [`block_on`], else on a thread for such work.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    if MAY_BLOCK.get() {
        return work();
    }
    tokio::task::spawn_blocking(work).await?
}

/// Waits for a future on a thread for blocking work, which then does the blocking work of the future itself: reading
/// a thousand scattered nodes is three thousand changes of threads otherwise.
///
/// # Panics
///
/// On one of the runtime's async threads.
pub(crate) fn block_on<F: Future>(runtime: &Handle, future: F) -> F::Output {
    let _reset = Reset(MAY_BLOCK.replace(true));
    runtime.block_on(future)
}

/// Puts back what was, even where the future panics.
struct Reset(bool);

impl Drop for Reset {
    fn drop(&mut self) {
        MAY_BLOCK.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn blocking_work_stays_on_a_thread_that_waits_and_leaves_any_other() {
        let here = || std::thread::current().id();
        let away = blocking(move || Ok(here())).await.expect("ran");
        assert_ne!(away, here());
        let runtime = Handle::current();
        let waited = tokio::task::spawn_blocking(move || {
            let within = block_on(&runtime, blocking(move || Ok(here()))).expect("ran");
            let after = runtime.block_on(blocking(move || Ok(here()))).expect("ran");
            assert_ne!(after, here(), "it is over with the wait");
            (within, here())
        });
        let (ran_on, thread) = waited.await.expect("joined");
        assert_eq!(ran_on, thread);
    }
}
