//! Timers: the golden file, and every live one fires in order, whatever is saved and lost.

use proptest::prelude::*;

use super::*;
use crate::store::{MemoryStore, golden};

fn time(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap()
}

fn timer(due: i64, enrollment: u64, set: u64) -> Timer {
    let place = enrollment.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Timer { due: time(due), enrollment: Lsn(enrollment), set: Lsn(set), place }
}

fn save(store: &MemoryStore, entries: &[Entry]) {
    entries.iter().for_each(|(key, value)| store.put(Tree::Timers, key, value).unwrap());
}

fn finish(store: &MemoryStore, timers: &mut Timers) {
    timers.written().iter().for_each(|key| store.remove(Tree::Timers, key).unwrap());
}

#[test]
fn the_first_format_is_read_and_written_for_ever() {
    let timers = vec![timer(1_000, 5, 5), timer(1_000, 5, 900), timer(1_700_000_000_000_000, 3, 4)];
    golden::check("timer_run_v1.hex", &encode_piece(&timers));
    assert_eq!(decode_piece(&golden::read("timer_run_v1.hex")).unwrap(), timers);
}

#[derive(Debug, Clone)]
enum Op {
    /// Due so much later than now.
    Set(i64),
    /// Cancels one of the live ones, without telling the index.
    Cancel(prop::sample::Index),
    /// Replaces one of the live ones, and tells the index.
    Move(prop::sample::Index, i64),
    Advance(i64),
    Begin,
    Write(usize),
    Finish,
    Reopen,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let span = || {
        prop_oneof![
            0..3_i64,
            0..Span::minutes(3).micros(),
            0..Span::days(3).micros(),
            Just(Span::hours(1).micros()),
            Just(Span::days(1).micros()),
        ]
    };
    let op = prop_oneof![
        10 => span().prop_map(Op::Set),
        2 => any::<prop::sample::Index>().prop_map(Op::Cancel),
        3 => (any::<prop::sample::Index>(), span()).prop_map(|(which, due)| Op::Move(which, due)),
        5 => span().prop_map(Op::Advance),
        3 => Just(Op::Begin),
        3 => (0..3_usize).prop_map(Op::Write),
        3 => Just(Op::Finish),
        1 => Just(Op::Reopen),
    ];
    prop::collection::vec(op, 1..120)
}

/// What a record did to timers.
#[derive(Debug, Clone, Copy)]
enum Fact {
    Set(Timer),
    Settled(Timer),
    Cancelled,
}

struct World {
    store: MemoryStore,
    timers: Timers,
    now: Timestamp,
    /// What the rows name.
    live: BTreeSet<Timer>,
    log: Vec<Fact>,
    recorded: usize,
    running: Option<(usize, Vec<Entry>)>,
    span: Span,
}

impl World {
    fn new(span: Span) -> Self {
        Self {
            store: MemoryStore::new(),
            timers: Timers::new(span),
            now: time(1_700_000_000_000_000),
            live: BTreeSet::new(),
            log: vec![],
            recorded: 0,
            running: None,
            span,
        }
    }

    fn lsn(&self) -> Lsn {
        Lsn(u64::try_from(self.log.len()).unwrap())
    }

    fn record(&mut self, fact: Fact) {
        self.log.push(fact);
        match fact {
            Fact::Set(timer) => self.timers.set(timer),
            Fact::Settled(timer) => self.timers.clear(&timer),
            Fact::Cancelled => {}
        }
    }

    fn set(&mut self, after: i64) {
        let lsn = self.lsn().0 + 1;
        let timer = timer(self.now.micros() + after, lsn % 7 + 1, lsn);
        self.live.insert(timer);
        self.record(Fact::Set(timer));
    }

    fn pick(&mut self, which: prop::sample::Index) -> Option<Timer> {
        if self.live.is_empty() {
            return None;
        }
        let timer = *self.live.iter().nth(which.index(self.live.len()))?;
        self.live.remove(&timer);
        Some(timer)
    }

    /// Fires all that is due, as the engine does: stale ones are dropped without a record.
    fn fire(&mut self) {
        while let Some(timer) = self.timers.peek(&self.store, self.now).unwrap() {
            assert!(timer.due <= self.now);
            let least = self.live.first().map(|it| it.due);
            assert!(least.is_none_or(|least| timer.due <= least), "an older one was forgotten");
            if self.live.remove(&timer) {
                self.record(Fact::Settled(timer));
            } else {
                self.timers.clear(&timer);
            }
        }
        assert!(self.live.first().is_none_or(|timer| self.now < timer.due), "one was forgotten");
    }

    fn write(&mut self, count: usize) {
        let Some((_, entries)) = &mut self.running else { return };
        let some: Vec<Entry> = entries.drain(..count.min(entries.len())).collect();
        save(&self.store, &some);
    }

    fn play(&mut self, op: Op) {
        match op {
            Op::Set(after) => self.set(after),
            Op::Cancel(which) => {
                if self.pick(which).is_some() {
                    self.record(Fact::Cancelled);
                }
            }
            Op::Move(which, after) => {
                if let Some(timer) = self.pick(which) {
                    self.record(Fact::Settled(timer));
                    self.set(after);
                }
            }
            Op::Advance(by) => {
                self.now = time(self.now.micros() + by);
                self.fire();
            }
            Op::Begin if self.running.is_none() => {
                let at = self.lsn();
                self.running = Some((self.log.len(), self.timers.checkpoint(at, self.now)));
            }
            Op::Begin => {}
            Op::Write(count) => self.write(count),
            Op::Finish => {
                self.write(usize::MAX);
                if let Some((at, _)) = self.running.take() {
                    self.recorded = at;
                    finish(&self.store, &mut self.timers);
                }
            }
            Op::Reopen => {
                self.running = None;
                self.timers = Timers::new(self.span);
                for fact in self.log.split_off(self.recorded) {
                    self.record(fact);
                }
            }
        }
        let least = self.live.first().map(|timer| timer.due);
        let next = self.timers.next_due(&self.store).unwrap();
        assert!(least.is_none_or(|least| next.is_some_and(|next| next <= least)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn every_live_timer_fires_in_order_whatever_is_saved_and_lost(
        ops in ops(),
        span in prop::sample::select(vec![Span::ZERO, Span::minutes(5), Span::hours(30)]),
    ) {
        let mut world = World::new(span);
        for op in ops {
            world.play(op);
        }
        let all = world.timers.all(&world.store).unwrap();
        prop_assert!(all.is_sorted_by(|a, b| a < b));
        prop_assert!(world.live.iter().all(|timer| all.contains(timer)));
        world.play(Op::Reopen);
        world.play(Op::Advance(Span::days(8).micros()));
        prop_assert!(world.live.is_empty());
        // What fired does not stay on disk: one checkpoint finds it finished and removes it.
        world.play(Op::Begin);
        world.play(Op::Finish);
        prop_assert_eq!(world.store.above(Tree::Timers, &[]).unwrap(), None);
        prop_assert_eq!(world.timers.resident(), 0);
        prop_assert_eq!(world.timers.next_due(&world.store).unwrap(), None);
    }

    #[test]
    fn any_bytes_give_timers_or_an_error(body in prop::collection::vec(any::<u8>(), 0..120)) {
        let value = frame::seal(MAGIC, VERSION, |out| out.extend_from_slice(&body));
        if let Ok(timers) = decode_piece(&value) {
            prop_assert_eq!(encode_piece(&timers), value);
        }
        prop_assert!(decode_piece(&body).is_err());
    }

    #[test]
    fn pieces_read_back_as_written(
        timers in prop::collection::btree_set(
            (0..=Timestamp::MAX.micros(), any::<u64>(), any::<u64>()),
            1..50,
        ),
    ) {
        let timers: BTreeSet<Timer> =
            timers.into_iter().map(|(due, enrollment, set)| timer(due, enrollment, set)).collect();
        let timers: Vec<Timer> = timers.into_iter().collect();
        prop_assert_eq!(decode_piece(&encode_piece(&timers)).unwrap(), timers);
    }
}

/// Saves `timers` five pieces at a time, in reverse, so that no piece holds what comes first.
#[test]
fn a_piece_begins_when_it_says() {
    let timers = [timer(2_000, 7, 9), timer(2_000, 8, 9)];
    assert_eq!(decode_piece(&encode_piece(&timers)), Ok(timers.to_vec()));
    // The same two timers, counted from a millisecond earlier.
    let earlier = frame::seal(MAGIC, VERSION, |out| {
        put_varint(out, 2);
        [1_000_i64, 2_000].iter().for_each(|it| out.extend_from_slice(&it.to_be_bytes()));
        for (delta, it) in [1_000, 0].into_iter().zip(timers) {
            put_varint(out, delta);
            put_varint(out, it.enrollment.0);
            put_varint(out, it.set.0 - it.enrollment.0);
            out.extend_from_slice(&it.place.to_be_bytes());
        }
    });
    let error = decode_piece(&earlier).unwrap_err().to_string();
    assert!(error.contains("another first or last due time"), "{error}");
}

fn saved_in_reverse(store: &MemoryStore, timers: &[Timer]) -> Timers {
    let mut index = Timers::new(Span::hours(1));
    for (part, at) in timers.rchunks(RUN_TIMERS_MAX).zip(1_u64..) {
        part.iter().for_each(|timer| index.set(*timer));
        let entries = index.checkpoint(Lsn(at), time(0));
        assert!(entries.iter().all(|(_, value)| value.len() <= 40 * RUN_TIMERS_MAX + 1024));
        save(store, &entries);
        finish(store, &mut index);
    }
    Timers::new(Span::hours(1))
}

#[test]
fn timers_due_at_one_instant_fire_in_the_order_of_their_enrollments() {
    let store = MemoryStore::new();
    let count = u64::try_from(RUN_TIMERS_MAX).unwrap() * 5;
    let herd: Vec<Timer> = (1..=count).map(|lsn| timer(5_000_000, lsn, lsn)).collect();
    let mut timers = saved_in_reverse(&store, &herd);
    let mut fired = Vec::new();
    while let Some(timer) = timers.peek(&store, time(6_000_000)).unwrap() {
        timers.clear(&timer);
        fired.push(timer);
    }
    assert_eq!(fired, herd);
}

#[test]
fn after_a_long_stop_timers_come_into_memory_piece_by_piece() {
    let store = MemoryStore::new();
    let count = u64::try_from(RUN_TIMERS_MAX).unwrap() * 5;
    let due = |lsn: u64| i64::try_from(lsn).unwrap() * 60_000_000;
    let overdue: Vec<Timer> = (1..=count).map(|lsn| timer(due(lsn), lsn, lsn)).collect();
    let mut timers = saved_in_reverse(&store, &overdue);
    let mut fired = Vec::new();
    while let Some(timer) = timers.peek(&store, time(due(count + 1))).unwrap() {
        assert!(timers.resident() <= RUN_TIMERS_MAX);
        timers.clear(&timer);
        fired.push(timer);
    }
    assert_eq!(fired, overdue);
}

#[test]
fn far_timers_leave_memory_once_they_are_saved() {
    let store = MemoryStore::new();
    let mut timers = Timers::new(Span::hours(1));
    let now = time(1_000_000_000);
    assert_eq!(timers.peek(&store, now).unwrap(), None);
    let near = timer(now.plus(Span::minutes(10)).micros(), 1, 1);
    let far = timer(now.plus(Span::days(10)).micros(), 2, 2);
    timers.set(near);
    timers.set(far);
    let entries = timers.checkpoint(Lsn(2), now);
    assert_eq!(entries.len(), 2);
    assert_eq!(timers.next_due(&store).unwrap(), Some(near.due));
    timers.clear(&near);
    // Between the checkpoint and its end, the far one is in no piece that can be read.
    assert_eq!(timers.next_due(&store).unwrap(), Some(far.due));
    save(&store, &entries);
    finish(&store, &mut timers);
    assert_eq!(timers.resident(), 0);
    assert_eq!(timers.next_due(&store).unwrap(), Some(far.due));
    assert_eq!(timers.resident(), 0);
    assert_eq!(timers.peek(&store, far.due).unwrap(), Some(far));
}

#[test]
fn a_piece_goes_only_after_the_checkpoint_that_saw_its_timers_settled() {
    let store = MemoryStore::new();
    let mut timers = Timers::new(Span::hours(1));
    let it = timer(1_000, 1, 1);
    timers.set(it);
    save(&store, &timers.checkpoint(Lsn(1), time(0)));
    finish(&store, &mut timers);
    assert_eq!(timers.peek(&store, time(2_000)).unwrap(), Some(it));
    let running = timers.checkpoint(Lsn(1), time(2_000));
    timers.clear(&it);
    save(&store, &running);
    assert_eq!(timers.written(), Vec::<Vec<u8>>::new());
    assert_eq!(timers.checkpoint(Lsn(2), time(2_000)), vec![]);
    assert_eq!(timers.written().len(), 1);
}

#[test]
fn a_piece_that_sorts_before_what_is_loaded_is_not_forgotten() {
    let store = MemoryStore::new();
    let mut before = Timers::new(Span::hours(1));
    before.set(timer(1_000, 1, 1));
    // Never recorded: after the crash, a checkpoint at a lower LSN may come first.
    save(&store, &before.checkpoint(Lsn(9), time(0)));

    let mut timers = Timers::new(Span::hours(1));
    let stale = timers.peek(&store, time(5_000)).unwrap().unwrap();
    timers.clear(&stale);
    let it = timer(1_000, 2, 2);
    timers.set(it);
    save(&store, &timers.checkpoint(Lsn(2), time(0)));
    finish(&store, &mut timers);
    assert_eq!(timers.peek(&store, time(5_000)).unwrap(), Some(it));
}

#[test]
fn pieces_of_near_timers_go_without_being_read() {
    let store = MemoryStore::new();
    let mut timers = Timers::new(Span::hours(1));
    assert_eq!(timers.peek(&store, time(0)).unwrap(), None);
    let it = timer(1_000, 1, 1);
    timers.set(it);
    save(&store, &timers.checkpoint(Lsn(1), time(0)));
    finish(&store, &mut timers);
    timers.clear(&it);
    assert_eq!(timers.checkpoint(Lsn(2), time(2_000)), vec![]);
    finish(&store, &mut timers);
    assert_eq!(store.above(Tree::Timers, &[]).unwrap(), None);
}
