//! Deliveries on their way to the workers and back.

use std::collections::{BTreeMap, VecDeque};

use super::{Outbound, Report};
use crate::{
    base::{DeliveryId, Lsn, planted::is_planted},
    engine::partition::{Partition, Requested},
    machine::{delivery::ChannelKind, input::Input, memory::InFlight},
    store,
};

/// What waits for a worker, and what workers have.
pub(in crate::engine) struct Deliveries {
    outbound: Outbound,
    /// Durable requests that no worker has taken, by channel, so that a slow one holds up itself.
    ready: BTreeMap<ChannelKind, VecDeque<Requested>>,
    /// Handed out and not reported.
    out: BTreeMap<DeliveryId, InFlight>,
    /// How many of them through each channel.
    taken: BTreeMap<ChannelKind, usize>,
    holding: bool,
}

impl Deliveries {
    pub(in crate::engine) fn new(outbound: Outbound) -> Self {
        let (ready, out, taken) = Default::default();
        Self { outbound, ready, out, taken, holding: false }
    }

    /// The same workers for a partition that was opened again: what they have and what is still
    /// wanted stays with them, so that it is not sent twice.
    pub(super) fn carried_to(mut self, partition: &Partition) -> Self {
        let wanted = partition.state.memory.in_flight.iter();
        let wanted: BTreeMap<DeliveryId, InFlight> =
            wanted.map(|((_, id), flying)| (*id, *flying)).collect();
        self.out.retain(|id, flying| wanted.get(id) == Some(flying));
        self.ready.clear();
        self.taken.clear();
        for flying in self.out.values() {
            *self.taken.entry(flying.channel).or_default() += 1;
        }
        self
    }

    /// Hands out nothing more.
    pub(super) fn hold(&mut self) {
        self.holding = true;
    }

    /// Whether workers have deliveries that they have not reported on.
    pub(super) fn are_out(&self) -> bool {
        !self.out.is_empty()
    }

    /// Hands out what was requested up to `durable`, as far as there is room.
    pub(super) fn dispatch(
        &mut self,
        partition: &mut Partition,
        durable: Lsn,
    ) -> store::Result<()> {
        if self.holding {
            return Ok(());
        }
        let early = is_planted!("deliver_before_durable");
        let may_leave = |it: &mut Requested| it.lsn <= durable || early;
        while let Some(it) = partition.requested.pop_front_if(may_leave) {
            if let Some(flying) = partition.state.memory.in_flight.get(&(it.round, it.id)) {
                self.ready.entry(flying.channel).or_default().push_back(it);
            }
        }
        let mut ready = std::mem::take(&mut self.ready);
        let result =
            ready.iter_mut().try_for_each(|(kind, queue)| self.hand_out(partition, *kind, queue));
        self.ready = ready;
        result
    }

    fn hand_out(
        &mut self,
        partition: &mut Partition,
        kind: ChannelKind,
        queue: &mut VecDeque<Requested>,
    ) -> store::Result<()> {
        while let Some(next) = queue.front().copied() {
            if self.taken.get(&kind).is_some_and(|it| *it >= partition.limits.deliveries) {
                return Ok(());
            }
            let is_out = self.out.contains_key(&next.id);
            if !is_out && let Some((delivery, flying)) = partition.delivery(next)? {
                if (self.outbound)(delivery).is_err() {
                    return Ok(());
                }
                self.out.insert(next.id, flying);
                *self.taken.entry(kind).or_default() += 1;
            }
            queue.pop_front();
        }
        Ok(())
    }

    /// The input that a worker's report is; none where that attempt was not handed out or has been
    /// reported on, and then whoever has the delivery still owes its report.
    pub(super) fn reported(&mut self, report: Report) -> Option<Input> {
        let flying = *self.out.get(&report.id)?;
        if flying.attempt != report.attempt && !is_planted!("deaf_to_report") {
            return None;
        }
        self.out.remove(&report.id);
        *self.taken.entry(flying.channel).or_insert(1) -= 1;
        (flying.attempt == report.attempt).then(|| Input::Settled {
            delivery: report.id,
            place: flying.place,
            attempt: flying.attempt,
            outcome: report.outcome.cut(),
        })
    }
}
