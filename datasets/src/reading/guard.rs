//! Catches panics of readers on damaged files.
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

/// Runs a step of a reader. A panic on damaged data becomes an error, and nothing is printed.
pub(super) fn guarded<T>(step: impl FnOnce() -> T) -> Result<T, ()> {
    silence_guarded_panics();
    let was = IS_GUARDED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(step));
    IS_GUARDED.set(was);
    outcome.map_err(drop)
}

thread_local! {
    static IS_GUARDED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Installs a panic hook that is silent for panics caught by [`guarded`].
fn silence_guarded_panics() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let inner = take_hook();
        set_hook(Box::new(move |panic| {
            if !IS_GUARDED.get() {
                inner(panic);
            }
        }));
    });
}
