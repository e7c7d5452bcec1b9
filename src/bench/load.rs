//! What scenarios send in, and the callers that send it.

use std::{collections::VecDeque, fmt::Write, ops::Range, sync::Arc};

use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::{Error, clock::Shifted, seconds_since};
use crate::{
    Onward, Ticket,
    app::SystemClock,
    base::{Clock, ContentHash, Lsn, Span},
    delivery::{Channel, Message, Sending},
    engine::Engine,
    machine::{counters::FlowCounts, delivery::Outcome, input::Answer},
    model::{CustomerUpdate, Event},
};

/// Calls under way at once; fewer than the inbox holds.
const UNDER_WAY: usize = 4_096;
/// Bytes of a waiting customer's attributes.
pub(super) const ATTRIBUTE_BYTES: usize = 300;
/// Over how long those who wait a year are made: the first of them is not due before the last one is
/// there, and not for some days after.
const SPREAD: Span = Span::days(360);
/// Bytes of an event's properties, unless a scenario says otherwise.
pub(super) const PAYLOAD_BYTES: usize = 200;

/// The last record of each partition.
pub(super) fn latest(onward: &Onward) -> Result<Vec<Lsn>, crate::Error> {
    onward.engines().iter().map(latest_of).collect()
}

/// The last record of one partition.
pub(super) fn latest_of(engine: &Engine) -> Result<Lsn, crate::Error> {
    engine.query(|it| Ok(it.memory().latest))?.wait()
}

/// Makes calls and waits for the oldest one where enough are under way.
pub(super) fn closed_loop(
    calls: impl Iterator<Item = Result<Ticket<Answer>, crate::Error>>,
) -> Result<(), crate::Error> {
    let mut under_way = VecDeque::with_capacity(UNDER_WAY);
    for call in calls {
        under_way.push_back(call?);
        if under_way.len() == UNDER_WAY
            && let Some(oldest) = under_way.pop_front()
        {
            oldest.wait()?;
        }
    }
    under_way.into_iter().try_for_each(|ticket| ticket.wait().map(drop))
}

/// Lets the customers with these numbers wait for a year, evenly spread for `all` that there will be;
/// seconds that it takes.
pub(super) fn register(
    onward: &Onward,
    clock: &Shifted,
    numbers: Range<u64>,
    all: u64,
) -> Result<f64, crate::Error> {
    let started = SystemClock.now();
    let step = SPREAD.micros() / i64::try_from(all.max(1)).unwrap_or(i64::MAX);
    let calls = numbers.flat_map(|n| {
        clock.forward(step);
        let id = anywhere(n);
        let known = onward.upsert_customer(customer(id, ATTRIBUTE_BYTES));
        [known, onward.track(event("wait", n, id, 0))]
    });
    closed_loop(calls)?;
    Ok(seconds_since(started))
}

/// Fails unless the flows count so many of what `counted` says in all.
pub(super) fn expect(
    engine: &Engine,
    expected: u64,
    counted: fn(&FlowCounts) -> u64,
) -> Result<(), Error> {
    let done = engine
        .query(move |it| Ok(it.memory().counters.flows.values().map(counted).sum::<u64>()))?;
    match done.wait()? {
        done if done == expected => Ok(()),
        done => Err(Error::Incomplete { done, expected }),
    }
}

/// A customer whose id is `c` and a number, with an address, a device and attributes of so many bytes.
pub(super) fn customer(n: u64, attribute_bytes: usize) -> CustomerUpdate {
    let note = noise(n, attribute_bytes);
    let line = format!(
        r#"{{"id":"c{n:08}","email":"c{n:08}@example.com","attributes":{{"country":"GB","note":"{note}"}},"push":[
            {{"endpoint":"https://push.example.com/{n:08}","keys":{{"p256dh":"k","auth":"a"}}}}]}}"#
    );
    CustomerUpdate::parse(line.as_bytes()).expect("the bench's customers are valid")
}

/// Hex digits, the same every time for a seed: text that compression makes little smaller, as nobody
/// knows how much alike the texts of real customers are.
fn noise(seed: u64, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 31);
    for part in 0..bytes.div_ceil(32) {
        let part = u64::try_from(part).expect("an address space is at most 64 bits wide");
        let digits = xxh3_128_with_seed(&part.to_be_bytes(), seed);
        write!(text, "{digits:032x}").expect("a string takes text");
    }
    text.truncate(bytes);
    text
}

/// An event of this name, read from JSON, as every event from outside is.
pub(super) fn event(name: &str, n: u64, customer: u64, payload: usize) -> Event {
    let known = r#"{"plan":"free","note":""}"#;
    let note = noise(n, payload.saturating_sub(known.len()));
    let line = format!(
        r#"{{"id":"e{n:08}","name":"{name}","customer":"c{customer:08}","properties":{{"plan":"free","note":"{note}"}}}}"#
    );
    Event::parse(line.as_bytes()).expect("the bench's events are valid")
}

/// The numbers below this are [`anywhere`].
pub(super) const ANYWHERE: u64 = 1 << 26;

/// A number of at most eight digits that is anywhere, the same every time and another for every `n`
/// below [`ANYWHERE`]: so that customers come in no order.
pub(super) const fn anywhere(n: u64) -> u64 {
    // Multiplying by an odd number permutes the numbers below a power of two.
    n.wrapping_mul(0x9e37_79b1) % ANYWHERE
}

/// Takes every message and does nothing with it.
#[derive(Debug)]
pub(super) struct Nothing;

impl Channel for Nothing {
    fn name(&self) -> &'static str {
        "nothing"
    }

    fn send(&self, _: Arc<Message>) -> Sending<'_> {
        Box::pin(std::future::ready(sent()))
    }
}

/// What a channel says that sends nothing anywhere.
pub(super) const fn sent() -> Outcome {
    Outcome::Sent { hash: ContentHash([0; 16]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_carry_the_payload_that_is_promised() {
        let event = event("signup", 7, 7, PAYLOAD_BYTES);
        assert_eq!(event.properties.as_str().len(), PAYLOAD_BYTES);
        assert_ne!(noise(7, 40), noise(8, 40), "no two payloads are alike");
    }
}
