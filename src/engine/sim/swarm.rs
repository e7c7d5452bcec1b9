//! What kind of world a seed is: each rate is zero, typical or extreme, drawn once, so that every
//! few seeds some faults are absent and others everywhere.

use super::rng::Rng;
use crate::{
    base::{Limits, Span, limits::PAGE_BYTES_MAX},
    engine::ClockCheck,
};

/// Free bytes below which an engine takes nothing in.
pub(super) const FREE_BYTES_MIN: u64 = 1_000_000;

/// Something that may happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// A caller sends something.
    Call,
    /// The partition's thread works off what is there.
    Round,
    /// The commit thread does a step.
    Commit,
    /// A worker reports.
    Report,
    /// The clock moves.
    Tick,
    /// The process is killed and started again.
    Kill,
    /// The power fails now.
    PowerCut,
    /// The power will fail at one of the next writes.
    ArmPowerCut,
    /// Another engine takes over; what the deposed one has queued is still on its way.
    Takeover,
    /// A clean stop and a start.
    Restart,
    /// The disk has too little room left, or enough again.
    Space,
    /// A deposed engine writes on.
    Deposed,
}

/// The rates of one seed; `1 in n`, 0 for never.
#[derive(Debug)]
pub(super) struct Swarm {
    pub(super) limits: Limits,
    pub(super) acts: Vec<(Act, u64)>,
    pub(super) steps: u64,
    pub(super) faults: Faults,
    /// A worker has no room.
    pub(super) refusals: u64,
    /// A worker lies.
    pub(super) lies: u64,
    /// A worker takes a delivery and is never heard of again.
    pub(super) silent: u64,
    /// How attempts end: sent, deferred, broken, rejected, template error.
    pub(super) outcomes: [u64; 5],
    /// The clock goes back, or far ahead.
    pub(super) leaps: u64,
    /// Callers draw customers and ids from so many.
    pub(super) customers: u64,
    pub(super) ids: u64,
    /// A change of a customer is so long that pages split.
    pub(super) long: u64,
    /// Bytes of a checkpoint between two syncs.
    pub(super) slice_bytes: usize,
    /// A takeover leaves an owner that does not heed conflicts.
    pub(super) stubborn: u64,
    /// Whether an engine believes any clock.
    pub(super) check: ClockCheck,
    /// A leap ahead is one of years.
    pub(super) years: u64,
}

/// How often the disk fails.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    pub(super) writes: u64,
    pub(super) syncs: u64,
    pub(super) reads: u64,
    /// Writes and syncs that find the disk full.
    pub(super) full: u64,
}

fn rate(rng: &mut Rng, typical: u64, extreme: u64) -> u64 {
    rng.pick(&[0, typical, typical, extreme])
}

impl Swarm {
    pub(super) fn draw(seed: u64, rng: &mut Rng) -> Self {
        // Later ideas draw from a stream of their own, so that old seeds stay what they are.
        let mut later = Rng::new(!seed ^ 33);
        let acts = vec![
            (Act::Call, rate(rng, 300, 1_500).max(40)),
            (Act::Round, rate(rng, 400, 1_200).max(80)),
            (Act::Commit, rate(rng, 400, 1_200).max(80)),
            (Act::Report, rate(rng, 300, 1_000).max(40)),
            (Act::Tick, rate(rng, 150, 600).max(20)),
            (Act::Kill, rate(rng, 4, 20)),
            (Act::PowerCut, rate(rng, 4, 20)),
            (Act::ArmPowerCut, rate(rng, 4, 20)),
            (Act::Takeover, rate(rng, 4, 20)),
            (Act::Restart, rate(rng, 3, 12)),
            (Act::Space, rate(rng, 20, 100)),
            (Act::Deposed, rate(rng, 40, 300).max(5)),
        ];
        let faults = Faults {
            writes: rate(rng, 300, 30),
            syncs: rate(rng, 300, 30),
            reads: rate(rng, 2_000, 200),
            full: rate(&mut later, 200, 20),
        };
        let limits = Limits {
            cache_bytes: rng.pick(&[1, 3_000, 20_000, 1 << 28]),
            cache_pages: rng.pick(&[1, 2, 4, usize::MAX]),
            checkpoint_records: rng.pick(&[1, 5, 20, 80, 1_000_000]),
            keep_log: rng.pick(&[None, Some(Span::days(3)), Some(Span::days(5))]),
            base_copy_bytes: rng.pick(&[1, 10_000, 1 << 20]),
            chunk_bytes: rng.pick(&[200, 400, 2_000, 65_536]),
            timer_span: rng.pick(&[Span::ZERO, Span::minutes(1), Span::hours(2), Span::days(2)]),
            inbox_bytes: rng.pick(&[2_000, 1 << 20]),
            herd_timers: later.pick(&[0, 1, 3, 4_096]),
            in_flight: rng.pick(&[4, 100, 10_000, 10_000]),
            free_bytes_min: FREE_BYTES_MIN,
            stall: Span::minutes(10),
            inbox_inputs: rng.pick(&[1, 3, 10, 8_192]),
            deliveries: rng.pick(&[1, 2, 256]),
        };
        let outcomes = rng.pick(&[
            [10, 0, 0, 0, 0],
            [10, 2, 1, 1, 1],
            [10, 2, 1, 1, 1],
            [2, 20, 5, 1, 1],
            [1, 1, 1, 1, 1],
        ]);
        Self {
            limits,
            acts,
            steps: rng.pick(&[200, 500, 1_200]),
            faults,
            refusals: rate(rng, 10, 2),
            lies: rate(rng, 10, 2),
            silent: rate(rng, 20, 2),
            outcomes,
            leaps: rate(rng, 20, 3),
            customers: rng.pick(&[1, 4, 12]),
            ids: rng.pick(&[2, 10, 1_000]),
            long: rate(rng, 4, 1),
            slice_bytes: rng.pick(&[PAGE_BYTES_MAX, 3 * PAGE_BYTES_MAX, 1 << 20]),
            stubborn: rate(rng, 2, 1),
            check: later.pick(&[ClockCheck::Strict, ClockCheck::Trust]),
            years: rate(&mut later, 20, 2),
        }
    }
}
