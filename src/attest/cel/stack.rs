//! Work whose recursion follows a text somebody wrote: on a thread of its own with a large stack and a time limit, and
//! only so many at once.

use std::panic::AssertUnwindSafe;
use std::sync::{Condvar, Mutex, PoisonError, mpsc};
use std::time::Duration;

/// Enough for the deepest tree that 4096 characters can spell, in a debug build; only pages touched cost memory.
const STACK: usize = 512 << 20;
const PATIENCE: Duration = Duration::from_secs(20);
const AT_ONCE: usize = 4;

static RUNNING: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// Gives its place back when the thread ends, however it ends.
struct Place;

impl Drop for Place {
    fn drop(&mut self) {
        *RUNNING.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        RUNNING.1.notify_one();
    }
}

/// Does the work on a thread with a large stack; nothing when it takes too long, panics, or too many are at it.
pub(super) fn on_large_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let running = RUNNING.0.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = RUNNING.1.wait_timeout_while(running, PATIENCE, |running| *running >= AT_ONCE);
    let (mut running, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
    if timeout.timed_out() && *running >= AT_ONCE {
        return None;
    }
    *running += 1;
    drop(running);
    let place = Place;
    let (done, result) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("cel".into()).stack_size(STACK).spawn(move || {
        let _place = place;
        if let Ok(value) = std::panic::catch_unwind(AssertUnwindSafe(work)) {
            done.send(value).ok();
        }
    });
    thread.ok()?;
    result.recv_timeout(PATIENCE).ok()
}
