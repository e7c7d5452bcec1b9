//! What a caller holds while its answer is on the way: a future that may also be waited for.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use tokio::sync::oneshot;

use super::{
    Error,
    watch::{Listener, Watch},
};

/// An answer on its way. It comes when everything it tells of is durable.
#[derive(Debug)]
#[must_use = "the answer says whether it happened"]
pub struct Ticket<T> {
    answer: oneshot::Receiver<Result<T, Error>>,
    /// Who says that there will be none.
    listener: Option<Listener>,
}

/// The other end of a [`Ticket`]; dropped without an answer, the outcome is unknown.
pub(super) type Reply<T> = oneshot::Sender<Result<T, Error>>;

impl<T> Ticket<T> {
    pub(super) fn new() -> (Reply<T>, Self) {
        let (reply, answer) = oneshot::channel();
        (reply, Self { answer, listener: None })
    }

    /// The same with an end where the disk gives no answer.
    pub(super) fn watched(watch: &Arc<Watch>) -> (Reply<T>, Self) {
        let (reply, ticket) = Self::new();
        (reply, Self { listener: Some(Listener::new(watch)), ..ticket })
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
        if let Poll::Ready(answer) = Pin::new(&mut self.answer).poll(context) {
            self.listener = None;
            return Poll::Ready(answer.unwrap_or(Err(Error::Unknown)));
        }
        let can_come = self.listener.as_mut().is_none_or(|it| it.listen(context.waker()));
        if can_come { Poll::Pending } else { Poll::Ready(Err(Error::Unknown)) }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
