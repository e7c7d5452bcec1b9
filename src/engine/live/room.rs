//! A disk that is full: the partition is dropped whole, and opened again when there is room.

use std::{sync::Arc, time::Duration};

use crossbeam_channel::{select, tick};
use tracing::warn;

use super::{Live, Message};
use crate::{
    engine::{
        Error,
        recover::{Opening, Owned, Site},
        runner::Runner,
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

impl Live {
    /// A write found no room, so nobody knows what of it is there. Whoever waits is told so, and
    /// whoever comes is told that there is no room. Gives the engine that goes on, with the workers
    /// and what they have; none where it was stopped meanwhile.
    pub(super) fn await_room(self, cause: &store::Error) -> Result<Option<Self>, Error> {
        warn!(%cause, "the disk is full: nothing is taken in or handed out until there is room");
        let Self { runner, messages, reports, present, home, stop } = self;
        let gauge = Arc::clone(runner.gauge());
        let deliveries = runner.into_deliveries();
        gauge.run_out(home.free_bytes()?);
        let look = tick(LOOK_PERIOD);
        loop {
            select! {
                recv(messages) -> message => {
                    let is_last = matches!(message, Ok(Message::Stop(_)) | Err(_));
                    if let Ok(message) = message {
                        message.refuse(Error::NoSpace(gauge.reading()));
                    }
                    if is_last {
                        return Ok(None);
                    }
                }
                recv(look) -> _ => {
                    gauge.note(home.free_bytes()?);
                    if !gauge.is_low() && let Some(owned) = home.own()? {
                        let runner = Runner::restart(owned, deliveries)?;
                        let live = Self { runner, messages, reports, present, home, stop };
                        return Ok(Some(live));
                    }
                }
            }
        }
    }
}
