//! Threads, and room on the stack for what recurses. A system that has none to give is told, with
//! what to do about it.

use std::{
    convert::Infallible,
    io,
    thread::{Builder, JoinHandle, scope},
};

use crossbeam_channel::bounded;

use super::limits::{PARSER_STACK_BYTES, WORKER_STACK_BYTES};

/// The system starts no thread.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot start a thread: {0}; raise the limits on processes and on memory (`ulimit -u`, `ulimit -v`)"
)]
pub struct NoThread(#[from] io::Error);

/// Starts a thread on which parsers have room.
pub fn start<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, NoThread> {
    Ok(Builder::new().name(name.to_owned()).stack_size(WORKER_STACK_BYTES).spawn(work)?)
}

/// Does `work` where it may recurse as deep as text nests: on this thread, where that has the room,
/// or else on another.
pub fn with_room<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, NoThread> {
    if stacker::remaining_stack().is_some_and(|left| PARSER_STACK_BYTES <= left) {
        return Ok(work());
    }
    scope(|scope| {
        let builder = Builder::new().name("parser".to_owned()).stack_size(WORKER_STACK_BYTES);
        let thread = builder.spawn_scoped(scope, work)?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Checks that so many threads with room for parsers can be there at once, for a library that panics
/// where one cannot.
pub fn check_room_for(count: usize) -> Result<(), NoThread> {
    let (keep, kept) = bounded::<Infallible>(0);
    let wait = || {
        let kept = kept.clone();
        start("room", move || assert!(kept.recv().is_err(), "nothing is sent"))
    };
    let threads: Result<Vec<_>, NoThread> = (0..count).map(|_| wait()).collect();
    drop(keep);
    // None of them panics.
    threads?.into_iter().for_each(|thread| drop(thread.join()));
    Ok(())
}
