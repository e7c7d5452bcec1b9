//! A disk that is full: the partition is dropped whole, and opened again when there is room.

use std::{sync::Arc, time::Duration};

use crossbeam_channel::{Receiver, select, tick};
use tracing::warn;

use super::{Live, Message};
use crate::{
    base::{Timestamp, planted::is_planted},
    engine::{
        Error,
        commit::Gauge,
        present::Present,
        recover::{Opening, Owned, Site},
        runner::{Deliveries, Report, Runner},
        watch::Watch,
    },
    store,
};

/// How often somebody looks whether there is room again.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// Where an engine opens its data again.
#[derive(Debug)]
pub(in crate::engine) struct Home {
    pub(in crate::engine) site: Site,
    pub(in crate::engine) opening: Opening,
    pub(in crate::engine) watch: Arc<Watch>,
}

impl Home {
    fn free_bytes(&self) -> store::Result<u64> {
        self.watch.during("measure the free space of", || self.site.free_bytes())
    }

    /// Opens it by the ordinary recovery; none where there is too little room even for that.
    fn own(&self) -> store::Result<Option<Owned>> {
        match self.site.own(&self.opening, &self.watch) {
            Ok(owned) => Ok(Some(owned)),
            Err(error) if error.is_no_space() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What is left of an engine that found no room: nothing of the partition, but everybody who talks
/// to it, and the workers with what they have.
pub(in crate::engine) struct Full {
    gauge: Arc<Gauge>,
    deliveries: Deliveries,
    messages: Receiver<Message>,
    reports: Receiver<Report>,
    present: Present,
    /// The time of the last record.
    recorded: Timestamp,
    home: Home,
}

impl Live {
    /// A write found no room, so nobody knows what of it is there. Whoever waits is told so, and
    /// whoever comes is told that there is no room. Gives the engine that goes on, with the workers
    /// and what they have; none where it was stopped meanwhile.
    pub(super) fn await_room(mut self, cause: &store::Error) -> Result<Option<Self>, Error> {
        let stop = self.stop.take();
        let mut full = self.run_out(cause)?;
        // Nobody who closes an engine waits for room, which may never come.
        if let Some(stop) = stop {
            full.refuse(Message::Stop(stop));
            return Ok(None);
        }
        let look = tick(LOOK_PERIOD);
        loop {
            select! {
                recv(full.messages) -> message => {
                    let is_last = matches!(message, Ok(Message::Stop(_)) | Err(_));
                    if let Ok(message) = message {
                        full.refuse(message);
                    }
                    if is_last {
                        return Ok(None);
                    }
                }
                recv(look) -> _ => {
                    if let Some(owned) = full.look()? {
                        return Ok(Some(full.go_on(owned, Runner::restart)?));
                    }
                }
            }
        }
    }

    /// Drops the partition.
    pub(in crate::engine) fn run_out(self, cause: &store::Error) -> Result<Full, Error> {
        warn!(%cause, "the disk is full: nothing is taken in or handed out until there is room");
        let Self { runner, messages, reports, present, home, .. } = self;
        let gauge = Arc::clone(runner.gauge());
        let recorded = runner.partition.recorded_time();
        let deliveries = runner.into_deliveries();
        gauge.run_out(home.free_bytes()?);
        Ok(Full { gauge, deliveries, messages, reports, present, recorded, home })
    }
}

impl Full {
    fn refuse(&self, message: Message) {
        message.refuse(Error::NoSpace(self.gauge.reading()));
    }

    /// Tells everybody who has come that there is no room.
    #[cfg(test)]
    pub(in crate::engine) fn refuse_all(&self) {
        self.messages.try_iter().for_each(|message| self.refuse(message));
    }

    /// Looks whether there is room again, and opens the data where there is. The clock is looked at
    /// as well: a disk that is full for days is no clock that leaps.
    pub(in crate::engine) fn look(&mut self) -> Result<Option<Owned>, Error> {
        if !is_planted!("blind_while_full") {
            self.present.look(self.recorded)?;
        }
        self.gauge.note(self.home.free_bytes()?);
        Ok(if self.gauge.is_low() { None } else { self.home.own()? })
    }

    /// The engine that goes on over what was opened.
    pub(in crate::engine) fn go_on(
        self,
        owned: Owned,
        restart: impl FnOnce(Owned, Deliveries) -> store::Result<Runner>,
    ) -> Result<Live, Error> {
        let Self { deliveries, messages, reports, present, home, .. } = self;
        let runner = restart(owned, deliveries)?;
        Ok(Live { runner, messages, reports, present, home, stop: None })
    }
}

#[cfg(test)]
mod tests;
