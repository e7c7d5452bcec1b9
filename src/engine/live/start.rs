//! How an engine starts: what is there is taken over, and a thread goes on with it.

use std::{path::Path, sync::Arc};

use crossbeam_channel::Receiver;

use super::{Engine, Home};
use crate::{
    base::{Clock, Lsn},
    engine::{
        Error,
        present::{ClockCheck, Past, Present},
        recover::{self, Opening, Owned, Site},
        runner::{Outbound, Report, Runner},
        watch::{Apart, Watch},
    },
    store::Directory,
};

impl Engine {
    /// Opens the directory, recovers, and starts.
    pub fn start(
        dir: &Path,
        opening: &Opening,
        workers: (Outbound, Receiver<Report>),
        clock: Arc<dyn Clock>,
        check: ClockCheck,
    ) -> Result<Self, Error> {
        Self::start_over(Site::Directory(dir.to_owned()), opening, workers, clock, check)
    }

    /// The same with a directory that is open, of which nobody keeps another handle: after a full disk it
    /// is opened anew.
    pub fn start_opened(
        opened: Directory,
        opening: &Opening,
        workers: (Outbound, Receiver<Report>),
        clock: Arc<dyn Clock>,
        check: ClockCheck,
    ) -> Result<Self, Error> {
        opened.check_kind(opening.store)?;
        let dir = opened.dir().to_owned();
        let site = Site::Directory(dir.clone());
        let watch = Watch::start(&dir, opening.limits.stall)?;
        let (bounds, watching) = (opening.clone(), Arc::clone(&watch));
        let owned = watch.guard(move || recover::own_open(opened, &dir, &bounds, watching))??;
        Self::start_owned(owned, (site, opening.clone()), workers, clock, check)
    }

    /// Takes over what is there, recovers, and starts.
    pub(in crate::engine) fn start_over(
        site: Site,
        opening: &Opening,
        workers: (Outbound, Receiver<Report>),
        clock: Arc<dyn Clock>,
        check: ClockCheck,
    ) -> Result<Self, Error> {
        let watch = Watch::start(site.path(), opening.limits.stall)?;
        let owned = site.own(opening, &watch)?;
        Self::start_owned(owned, (site, opening.clone()), workers, clock, check)
    }

    fn start_owned(
        owned: Owned,
        (site, opening): (Site, Opening),
        workers: (Outbound, Receiver<Report>),
        clock: Arc<dyn Clock>,
        check: ClockCheck,
    ) -> Result<Self, Error> {
        let (outbound, reports) = workers;
        let home = Home { site, opening, watch: Arc::clone(&owned.watch) };
        let runner = Runner::start(owned, outbound)?;
        let partition = &runner.partition;
        let recorded = (partition.latest() > Lsn::ZERO).then(|| partition.recorded_time());
        let present = Present::start(clock, check, Past { recorded, alive: runner.alive() })?;
        let (mut engine, live) = Self::over(runner, reports, present, home);
        let told = Arc::clone(&engine.fault);
        let thread = Apart::start("onward-partition", move || {
            let waiting = live.messages.clone();
            if let Err(error) = live.run() {
                tracing::error!(%error, "the engine has stopped");
                let cause = error.to_string();
                let _ = told.set(cause.clone()).is_ok();
                let stopped = || Error::Stopped { cause: cause.clone() };
                waiting.try_iter().for_each(|message| message.refuse(stopped()));
            }
        })?;
        engine.thread = Some(thread);
        Ok(engine)
    }
}
