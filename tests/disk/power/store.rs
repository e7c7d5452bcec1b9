//! The store alone, with many times as much data as the engine writes in a test: segments fill up,
//! are freed and used again, and values are as large as they may be.

use std::{collections::BTreeMap, ops::Range};

use onward::{
    base::limits::{SYNC_BYTES_MAX, VALUE_BYTES_MAX},
    store::{Directory, Entry, Tree, mirror::Paced},
};

use super::{
    Tally,
    cut::{self, Cut},
    cuts,
};
use crate::{
    UNDER,
    disk::{Mark, Op},
    mount::Mount,
    workload::{self, Random},
};

/// Bytes of values written in all: several times the segments that hold them in the end.
const BYTES: usize = 60 * 1024 * 1024;
/// Bytes between two syncs that the test is told of, as the engine has them.
const STEP: usize = SYNC_BYTES_MAX - VALUE_BYTES_MAX;
/// Keys that are written one after the other, about a segment full.
const ROUND: usize = 80;
/// Rounds after the one that the test is told of: segments become free, and are used again.
const ROUNDS: usize = 4;
const KEYS: u64 = 160;
/// Syncs after which the store is closed and opened again.
const SESSION: usize = 25;
/// Of so many cuts one is written to and opened again.
const GO_ON_EVERY: u64 = 4;

/// A key of a tree.
type Place = (Tree, Vec<u8>);
/// What a change makes of its key: nothing, or a value of so many words that name the change.
type Words = Option<usize>;

/// All that was written.
#[derive(Default)]
struct History {
    /// The changes of each key, each with its number.
    changes: BTreeMap<Place, Vec<(usize, Words)>>,
    /// How many changes there were when each sync began.
    syncs: Vec<usize>,
}

fn value(change: usize, words: usize) -> Vec<u8> {
    u64::try_from(change).unwrap().to_be_bytes().repeat(words)
}

/// Writes until there are so many bytes more, for each of `steps`, and syncs.
fn record(
    mount: &Mount,
    (steps, session): (&[usize], usize),
    next: &mut dyn FnMut(usize) -> Change,
) -> (Vec<Op>, History) {
    let mark = mount.marker();
    let dir = mount.join("data");
    let mut history = History::default();
    let mut store = Directory::open_as(&dir, Some(UNDER)).unwrap();
    let (mut changes, mut bytes, mut end) = (0, 0, 0);
    for step in steps {
        end += step;
        let mut paced = Paced::new(&*store);
        while bytes < end {
            let change = next(changes);
            bytes += change.write(changes, &mut paced);
            let Change { tree, key, words } = change;
            history.changes.entry((tree, key)).or_default().push((changes, words));
            changes += 1;
        }
        history.syncs.push(changes);
        store.sync().unwrap();
        mark(Mark::Synced(history.syncs.len()));
        if history.syncs.len().is_multiple_of(session) {
            drop(store);
            store = Directory::open_as(&dir, Some(UNDER)).unwrap();
        }
    }
    drop(store);
    (std::mem::take(&mut mount.disk().log), history)
}

/// What is written to a key.
struct Change {
    tree: Tree,
    key: Vec<u8>,
    words: Words,
}

/// A change of one of the kinds that the engine makes.
fn change(number: usize, random: &mut Random) -> Change {
    let most = VALUE_BYTES_MAX / 8;
    // Most pages and chunks are small, but any may be as large as a value can be.
    let is_large = random.percent(30);
    let words = 1 + random.index(if is_large { most } else { most / 12 });
    let key = random.below(KEYS).to_be_bytes().to_vec();
    let (tree, key, words) = match random.below(10) {
        0 => (Tree::Log, u64::try_from(number).unwrap().to_be_bytes().to_vec(), Some(words)),
        1 => (Tree::Timers, key, None),
        2..4 => (Tree::Timers, key, Some(words)),
        _ => (Tree::Rows, key, Some(words)),
    };
    Change { tree, key, words }
}

/// One key after the other, again and again: what fills a segment is replaced as a whole.
fn rewrite(number: usize) -> Change {
    let key = u64::try_from(number % ROUND).unwrap().to_be_bytes().to_vec();
    Change { tree: Tree::Rows, key, words: Some(VALUE_BYTES_MAX / 8) }
}

impl Change {
    /// How many bytes it wrote.
    fn write(&self, number: usize, paced: &mut Paced<'_>) -> usize {
        match self.words {
            None => paced.remove(self.tree, &self.key).unwrap(),
            Some(words) => paced.put(self.tree, &self.key, &value(number, words)).unwrap(),
        }
        self.words.unwrap_or(1) * 8
    }
}

impl History {
    /// The changes that a cut may have kept or lost: those after the last sync that returned, up to
    /// the one that may have been under way.
    fn open(&self, cut: &Cut<'_>) -> Range<usize> {
        let synced = cut.marks().count();
        let at = |count: usize| count.checked_sub(1).map_or(0, |last| self.syncs[last]);
        at(synced)..at((synced + 1).min(self.syncs.len()))
    }

    /// Everything synced is there, and nothing that was never written.
    fn check(&self, store: &Directory, cut: &Cut<'_>, tally: &Tally) {
        let open = self.open(cut);
        let mut found = 0;
        for ((tree, key), changes) in &self.changes {
            let stored = store.get(*tree, key).unwrap();
            let last = changes.iter().rev().find(|(number, _)| *number < open.start);
            let later = changes.iter().filter(|(number, _)| open.contains(number));
            let is_there =
                |words: &Words, number: usize| stored == words.map(|words| value(number, words));
            let is_last = match last {
                Some((number, words)) => is_there(words, *number),
                None => stored.is_none(),
            };
            let is_later = later.clone().any(|(number, words)| is_there(words, *number));
            let newest = stored.as_deref().and_then(<[u8]>::first_chunk).copied();
            assert!(
                is_last || is_later,
                "{tree:?} {key:?} holds change {:?}; synced is {last:?} and after it came {:?}",
                newest.map(u64::from_be_bytes),
                later.collect::<Vec<_>>()
            );
            found += usize::from(stored.is_some());
        }
        let walked = Tree::ALL.iter().map(|tree| {
            let first = store.above(*tree, &[]).unwrap();
            let next = |(key, _): &Entry| store.above(*tree, key).unwrap();
            std::iter::successors(first, next).count()
        });
        assert_eq!(walked.sum::<usize>(), found, "a walk finds the keys that were written");
        tally.add("keys found as they were synced, or later", self.changes.len());
    }
}

/// Cuts the power at these points of a recording.
fn cut_at(log: &[Op], (seed, points): (u64, Vec<usize>), history: &History) {
    println!("{} operations, {} syncs", log.len(), history.syncs.len());
    let tally = Tally::default();
    cut::cut_at(log, (seed, points), &tally, |cut| {
        let dir = cut.dir.join("data");
        history.check(&Directory::open_as(&dir, Some(UNDER)).unwrap(), cut, &tally);
        if cut.number.is_multiple_of(GO_ON_EVERY) {
            let store = Directory::open_as(&dir, Some(UNDER)).unwrap();
            store.put(Tree::Meta, b"new", b"value").unwrap();
            store.sync().unwrap();
            drop(store);
            let store = Directory::open_as(&dir, Some(UNDER)).unwrap();
            assert_eq!(store.get(Tree::Meta, b"new").unwrap(), Some(b"value".to_vec()));
            store.remove(Tree::Meta, b"new").unwrap();
            history.check(&store, cut, &tally);
        }
    });
    tally.print();
}

#[test]
fn what_the_store_synced_survives_power_cuts() {
    let seed = workload::seed();
    println!("SEED={seed}");
    let Some(mount) = Mount::new() else { return };
    let mut random = Random(seed);
    let steps = [STEP; BYTES / STEP];
    let (log, history) =
        record(&mount, (&steps, SESSION), &mut |number| change(number, &mut random));
    drop(mount);
    let points = (0..cuts() / 2).map(|_| cut::point(&log, &mut random)).collect();
    cut_at(&log, (seed, points), &history);
}

#[test]
fn what_was_synced_survives_while_much_is_copied() {
    let seed = workload::seed();
    println!("SEED={seed}");
    let Some(mount) = Mount::new() else { return };
    let mut random = Random(seed);
    // Opened again after the first round, the store knows exactly what of each segment is in use.
    let round = ROUND * VALUE_BYTES_MAX;
    let steps = [round, ROUNDS * round];
    let (log, history) = record(&mount, (&steps, 1), &mut rewrite);
    drop(mount);
    // Before half of the rounds nothing is free; most is used again where the store is opened.
    let is_mark = |op: &Op| op.mark().is_some();
    let [synced, last] = [log.iter().position(is_mark), log.iter().rposition(is_mark)];
    let firsts = [usize::midpoint(synced.unwrap(), log.len()), last.unwrap()];
    let points = (0..cuts() / 10).map(|number| {
        let first = firsts[number % 2];
        first + 1 + random.index(log.len() - first)
    });
    cut_at(&log, (seed, points.collect()), &history);
}
