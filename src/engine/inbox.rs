//! The bytes of what waits in the inbox: counting inputs alone would let large ones fill memory.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::{
    machine::input::Input,
    model::{CustomerUpdate, Definitions, Event},
};

/// What an input takes besides what it holds.
const INPUT_BYTES: usize = 512;

/// Bytes of inputs between being sent in and being decided.
#[derive(Debug)]
pub(super) struct Room {
    held: AtomicUsize,
    max: usize,
}

/// Room taken, until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    room: Arc<Room>,
    bytes: usize,
}

impl Room {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), max })
    }

    /// Room for `input`; none while others hold too much. One that is too large by itself fits
    /// where there is no other.
    pub(super) fn take(self: &Arc<Self>, input: &Input) -> Option<Held> {
        let bytes = bytes_of(input);
        let grown = |held: usize| {
            let sum = held.saturating_add(bytes);
            (held == 0 || sum <= self.max).then_some(sum)
        };
        let taken = self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown);
        taken.ok().map(|_| Held { room: Arc::clone(self), bytes })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn bytes_of(input: &Input) -> usize {
    let holds = match input {
        Input::Event { event, .. } => event_bytes(event),
        Input::Customer { update, .. } => customer_bytes(update),
        Input::Publish { definitions, .. } => definitions_bytes(definitions),
        Input::BlankLine { .. }
        | Input::BadLine { .. }
        | Input::Opening(_)
        | Input::TimerDue(_)
        | Input::Settled { .. }
        | Input::AcceptLoss { .. }
        | Input::Restored { .. } => 0,
    };
    INPUT_BYTES + holds
}

fn event_bytes(event: &Event) -> usize {
    event.name.len() + event.properties.as_str().len()
}

fn customer_bytes(update: &CustomerUpdate) -> usize {
    let attributes = update
        .attributes
        .iter()
        .map(|(name, value)| name.len() + value.as_ref().map_or(0, |value| value.as_str().len()));
    let push = update.push.iter().flatten();
    let push = push.map(|it| it.endpoint.len() + it.keys.p256dh.len() + it.keys.auth.len());
    attributes.chain(push).sum()
}

fn definitions_bytes(it: &Definitions) -> usize {
    let segments = it.segments.iter().map(|it| it.json.len() + it.value.weight());
    let flows = it.flows.iter().map(|it| it.json.len() + it.value.weight());
    let campaigns = it.campaigns.iter().map(|it| it.json.len() + it.value.weight());
    segments.chain(flows).chain(campaigns).sum()
}
