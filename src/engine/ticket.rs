//! What a caller holds while its answer is on the way: a future that may also be waited for.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use tokio::sync::oneshot;

use super::Error;

/// An answer on its way. It comes when everything it tells of is durable.
#[derive(Debug)]
#[must_use = "the answer says whether it happened"]
pub struct Ticket<T>(oneshot::Receiver<Result<T, Error>>);

/// The other end of a [`Ticket`]; dropped without an answer, the outcome is unknown.
pub(super) type Reply<T> = oneshot::Sender<Result<T, Error>>;

impl<T> Ticket<T> {
    pub(super) fn new() -> (Reply<T>, Self) {
        let (reply, answer) = oneshot::channel();
        (reply, Self(answer))
    }

    /// Blocks this thread until the answer comes. In async code, `.await` the ticket instead.
    pub fn wait(self) -> Result<T, Error> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut ticket = pin!(self);
        loop {
            match ticket.as_mut().poll(&mut context) {
                Poll::Ready(answer) => return answer,
                Poll::Pending => thread::park(),
            }
        }
    }
}

impl<T> Future for Ticket<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(Error::Unknown)))
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
