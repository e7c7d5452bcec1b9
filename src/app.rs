//! Layer 6, the wiring: the machine's clock, and the one place that joins engine and delivery.
//!
//! ```
//! use onward::{Onward, delivery::{Channels, Log}, model::{CustomerUpdate, Event}};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let onward = Onward::open(dir.path(), &Channels::all(Log))?;
//! onward.publish(&[("flows.json", br#"{
//!     "segments": [{ "id": "all", "name": "Everyone", "rule": "true" }],
//!     "flows": [{ "id": "welcome", "name": "Welcome", "segment": "all",
//!         "trigger": { "event": "signup" },
//!         "steps": [{ "id": "hi", "step_order": 1, "step_type": "SEND_EMAIL",
//!                     "config": { "subject": "Hello {{ customer.id }}", "text": "Welcome." } }] }]
//! }"#)])?.wait()?;
//! onward.upsert_customer(CustomerUpdate::parse(br#"{ "id": "c1", "email": "c1@example.com" }"#)?)?.wait()?;
//! let event = Event::parse(br#"{ "id": "e1", "name": "signup", "customer": "c1" }"#)?;
//! onward.track(event.clone())?.wait()?; // resolves when it is on disk
//! assert_eq!(onward.track(event)?.wait()?, onward::Answer::Duplicate);
//! onward.close()?;
//! # Ok(())
//! # }
//! ```

use std::{path::Path, sync::Arc};

use crossbeam_channel::Receiver;

use crate::{
    base::{
        Clock, CustomerId, EnrollmentId, InstanceId, Limits, PartitionId, Timestamp,
        limits::WORKERS,
    },
    delivery::{Channels, Pool},
    engine::{
        AcceptLoss, ClockCheck, Engine, Error, Opening, Ticket,
        history::{CustomerView, Logged},
        recover::random_instance,
        runner::{Outbound, Report, reports},
        watched,
    },
    machine::{
        input::{Answer, Input},
        record::Source,
        row::Enrollment,
    },
    model::{CustomerUpdate, Event},
    store::{self, StoreKind, backup::BackedUp, partitions},
};

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where time enters")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let micros = since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX));
        Timestamp::from_micros(micros).unwrap_or(Timestamp::MAX)
    }
}

/// Starts the workers: where deliveries go, and where reports come from.
pub fn workers(channels: &Channels) -> std::io::Result<(Outbound, Receiver<Report>)> {
    let (sender, receiver) = reports();
    let report = move |id, attempt, outcome| {
        // An engine that is gone will hand the delivery out again when it is back.
        let _ = sender.send(Report { id, attempt, outcome }).is_ok();
    };
    let pool = Pool::start(channels, WORKERS, report)?;
    Ok((Box::new(move |delivery| pool.offer(delivery).map_err(Box::new)), receiver))
}

/// A running engine with its workers; the door for programs that embed it.
///
/// Every call that changes something gives a [`Ticket`] that resolves when the change is on disk.
/// Dropping it stops it cleanly and may wait for the disk.
#[derive(Debug)]
pub struct Onward {
    /// One for each partition.
    engines: Vec<Engine>,
}

/// How to open a directory; the defaults suit one machine.
#[derive(Clone)]
pub struct Options {
    /// The bounds to run with.
    pub limits: Limits,
    /// The store that the directory must have; none: the one it has, or sled, should it be new.
    pub store: Option<StoreKind>,
    /// The identity of the directory, should it be new; none: a random one.
    pub instance: Option<InstanceId>,
    /// Whether to go on where acknowledged records are gone.
    pub accept_loss: AcceptLoss,
    /// Into how many partitions the customers are shared, each with a log and threads of its own;
    /// none: as the directory was created, one where it is new.
    pub partitions: Option<u16>,
    /// Where now comes from.
    pub clock: Arc<dyn Clock>,
    /// What to do where the clock and the engine's time are too far apart, at the start and later.
    pub clock_check: ClockCheck,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            store: None,
            instance: None,
            accept_loss: AcceptLoss::No,
            partitions: None,
            clock: Arc::new(SystemClock),
            clock_check: ClockCheck::Strict,
        }
    }
}

impl Onward {
    /// Opens a data directory, creating it if need be, and starts.
    ///
    /// # Errors
    /// The directory is in use, damaged, of a newer format, or the clock cannot be right.
    pub fn open(dir: &Path, channels: &Channels) -> Result<Self, Error> {
        Self::open_with(dir, channels, &Options::default())
    }

    /// Opens a data directory with other bounds or another clock.
    ///
    /// # Errors
    /// As [`Onward::open`].
    pub fn open_with(dir: &Path, channels: &Channels, options: &Options) -> Result<Self, Error> {
        let (from, asked) = (dir.to_owned(), options.partitions);
        let count = watched(("open", dir), options.limits.stall, move || {
            Ok::<_, Error>(partitions::open(&from, asked)?)
        })?;
        let instance = options.instance.unwrap_or_else(random_instance);
        let engine = |number| {
            let partition = PartitionId(number);
            let opening = Opening {
                instance,
                store: options.store,
                limits: options.limits.shared_by(count),
                accept_loss: options.accept_loss,
                partition: Some(partition),
            };
            let workers = workers(channels).map_err(Error::Workers)?;
            let clock = Arc::clone(&options.clock);
            let place = partitions::place(dir, partition, count);
            Engine::start(&place, &opening, workers, clock, options.clock_check)
        };
        Ok(Self { engines: (0..count).map(engine).collect::<Result<_, _>>()? })
    }

    /// Checks definitions documents, each with a name for messages, and brings into force what is
    /// new or changed. Compiles them on the calling thread.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every finding; nothing is in force then.
    ///
    /// Where there are several partitions it waits until all but the last have them.
    pub fn publish(&self, documents: &[(&str, &[u8])]) -> Result<Ticket<Answer>, Error> {
        let (last, others) = self.engines.split_last().expect("there is a partition");
        others.iter().try_for_each(|engine| engine.publish(documents)?.wait().map(drop))?;
        last.publish(documents)
    }

    /// Creates a customer or changes what the update mentions.
    ///
    /// # Errors
    /// [`Error::Busy`] when the inbox is full: nothing was taken in. The ticket's
    /// [`Error::NoSpace`]: the same, because the disk is nearly full.
    pub fn upsert_customer(&self, update: CustomerUpdate) -> Result<Ticket<Answer>, Error> {
        self.engine_of(&update.id).submit(Input::Customer { source: Source::Api, update })
    }

    /// Takes an event in: [`Answer::Accepted`], or [`Answer::Duplicate`] where its id is
    /// remembered.
    ///
    /// # Errors
    /// [`Error::Busy`] when the inbox is full: nothing was taken in. The ticket's
    /// [`Error::NoSpace`]: the same, because the disk is nearly full; its [`Error::Unknown`] means:
    /// send it again with the same id.
    pub fn track(&self, event: Event) -> Result<Ticket<Answer>, Error> {
        self.engine_of(&event.customer).submit(Input::Event { source: Source::Api, event })
    }

    /// What is known of a customer, enrollments included.
    ///
    /// # Errors
    /// As every call: [`Error::Busy`], [`Error::Stopped`].
    pub fn customer(&self, id: CustomerId) -> Result<Ticket<Option<CustomerView>>, Error> {
        self.engine_of(&id).query(move |partition| Ok(partition.customer(&id)?))
    }

    /// An enrollment.
    ///
    /// # Errors
    /// As every call: [`Error::Busy`], [`Error::Stopped`]. The ticket's [`Error::Trimmed`]: the
    /// record that leads there is gone; [`Onward::customer`] has it.
    pub fn enrollment(&self, id: EnrollmentId) -> Result<Ticket<Option<Enrollment>>, Error> {
        self.engine_at(id.partition).query(move |partition| partition.enrollment(id))
    }

    /// Every record of an enrollment that is on disk, the event that began it first.
    ///
    /// # Errors
    /// As [`Onward::enrollment`].
    pub fn history(&self, id: EnrollmentId) -> Result<Ticket<Vec<Logged>>, Error> {
        self.engine_at(id.partition).query(move |partition| partition.history(id))
    }

    /// Adds to the backup in `to`, a directory of its own, what it lacks of everything taken in
    /// before, while the engine goes on; says up to which record that is. Blocks this thread until
    /// it has been read back.
    ///
    /// # Errors
    /// The disk, or `to` holds something else or the backup of another directory. Each of several
    /// partitions has a backup of its own: see [`Onward::engines`].
    pub fn backup(&self, to: &Path) -> Result<BackedUp, Error> {
        match &self.engines[..] {
            [engine] => engine.backup(to),
            engines => {
                let count = u16::try_from(engines.len()).unwrap_or(u16::MAX);
                Err(store::Error::SeveralLogs { count }.into())
            }
        }
    }

    /// The engine itself, for other questions; the first partition's where there are several.
    pub fn engine(&self) -> &Engine {
        self.engine_at(PartitionId::default())
    }

    /// The engines of all partitions, in order.
    pub fn engines(&self) -> &[Engine] {
        &self.engines
    }

    fn engine_of(&self, customer: &CustomerId) -> &Engine {
        let count = u16::try_from(self.engines.len()).expect("partitions are bounded");
        self.engine_at(PartitionId::of(customer, count))
    }

    /// The engine of a partition; any other says that it knows nothing of what is asked for.
    fn engine_at(&self, PartitionId(number): PartitionId) -> &Engine {
        let engine = self.engines.get(usize::from(number)).or_else(|| self.engines.first());
        engine.expect("there is a partition")
    }

    /// Stops cleanly: what was accepted is durable, a checkpoint is recorded.
    ///
    /// # Errors
    /// What stopped it before, or kept it from ending cleanly.
    pub fn close(self) -> Result<(), Error> {
        // All of them end, whatever one of them says; the first thing said is told.
        let ended = self.engines.into_iter().map(Engine::close).collect::<Vec<_>>();
        ended.into_iter().collect()
    }
}
