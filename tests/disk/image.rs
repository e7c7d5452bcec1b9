//! What a power cut leaves. The rules, as ext4 keeps them at the least:
//!
//! - What `fsync` or `fdatasync` of a file returned for is there: its bytes and its size.
//! - What `fsync` of a directory returned for is there: the names in it.
//! - Of everything else any part may be there: each sector of 512 bytes of each write by itself, each
//!   change of a size, each new, changed or removed name. A file may be whole and have no name.
//! - A sector is never mixed of two writes; it is what the page cache held at some moment.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::{
    disk::{Name, Node, Op, ROOT},
    workload::Random,
};

pub(crate) const SECTOR: usize = 512;
/// Bytes that are left out of an image where they are zero.
const HOLE: usize = 4096;

/// A directory for images: in memory where there is such a place.
pub(crate) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        return tempfile::tempdir_in(memory).unwrap();
    }
    tempfile::tempdir().unwrap()
}

/// How much of what was not synced is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    Nothing,
    Everything,
    /// The latest operations only.
    Newest,
    /// Each sector, size and name with this chance in a hundred.
    Random(u64),
    /// All up to one write, of which a part is there.
    Torn,
}

impl Mode {
    pub(crate) const ALL: [Self; 7] = [
        Self::Nothing,
        Self::Everything,
        Self::Newest,
        Self::Random(10),
        Self::Random(50),
        Self::Random(90),
        Self::Torn,
    ];
}

/// A file: what is synced, what programs see, and the changes that lead from one to the other.
#[derive(Debug, Default)]
struct File {
    synced: Vec<u8>,
    seen: Vec<u8>,
    changes: Vec<(usize, Change)>,
}

#[derive(Debug)]
enum Change {
    /// Whole sectors from this byte on, as the page cache held them after the write.
    Sectors(usize, Vec<u8>),
    Size(usize),
}

/// A change of names, all of it or nothing; it touches the directories of all.
#[derive(Debug)]
struct Naming {
    at: usize,
    taken: Option<Name>,
    given: Vec<(Name, Node)>,
}

impl Naming {
    fn touches(&self, dir: Node) -> bool {
        let given = self.given.iter().map(|(name, _)| name);
        self.taken.iter().chain(given).any(|(it, _)| *it == dir)
    }

    fn apply(&self, names: &mut BTreeMap<Name, Node>) {
        names.retain(|name, _| self.taken.as_ref() != Some(name));
        names.extend(self.given.clone());
    }
}

/// The disk at one point of its log.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    files: BTreeMap<Node, File>,
    names: BTreeMap<Name, Node>,
    namings: Vec<Naming>,
    /// How many operations there were.
    at: usize,
}

impl Replay {
    pub(crate) fn apply(&mut self, op: &Op) {
        self.at += 1;
        let at = self.at;
        let mut naming = |taken: Option<&Name>, given: &[(&Name, Node)]| {
            let given = given.iter().map(|(name, node)| ((*name).clone(), *node)).collect();
            self.namings.push(Naming { at, taken: taken.cloned(), given });
        };
        match op {
            Op::Create { name, node } => {
                naming(None, &[(name, *node)]);
                self.files.insert(*node, File::default());
            }
            Op::Mkdir { name, node } => naming(None, &[(name, *node)]),
            Op::Rename { from, to, node } => naming(Some(from), &[(to, *node)]),
            Op::Exchange { one, other } => naming(None, &[(&one.0, one.1), (&other.0, other.1)]),
            Op::Unlink { name } => naming(Some(name), &[]),
            Op::Write { node, at: from, bytes } => self.file(*node).write(at, *from, bytes),
            Op::Truncate { node, size } => self.file(*node).truncate(at, *size),
            Op::Sync { node } => self.sync(*node),
            Op::Lost { node } => self.lose(*node),
            Op::Mark(_) => {}
        }
    }

    fn file(&mut self, node: Node) -> &mut File {
        self.files.get_mut(&node).expect("a file is created before it is used")
    }

    fn sync(&mut self, node: Node) {
        if let Some(file) = self.files.get_mut(&node) {
            for (_, change) in std::mem::take(&mut file.changes) {
                change.apply(&mut file.synced);
            }
            assert!(file.synced.len() == file.seen.len(), "a synced file is as programs see it");
        } else {
            for naming in self.namings.extract_if(.., |it| it.touches(node)) {
                naming.apply(&mut self.names);
            }
        }
    }

    /// A directory loses nothing: its names are in a journal.
    fn lose(&mut self, node: Node) {
        if let Some(file) = self.files.get_mut(&node) {
            let size = file.seen.len();
            file.seen.clone_from(&file.synced);
            file.seen.resize(size, 0);
            file.changes = vec![(self.at, Change::Size(size))];
        }
    }

    /// What programs see of a file when nobody keeps more of it in memory.
    pub(crate) fn seen(&self, node: Node) -> Option<&[u8]> {
        self.files.get(&node).map(|file| &*file.seen)
    }

    /// Bytes that are not synced.
    pub(crate) fn unsynced(&self) -> usize {
        let changes = self.files.values().flat_map(|file| &file.changes);
        let bytes = changes.map(|(_, change)| match change {
            Change::Sectors(_, bytes) => bytes.len(),
            Change::Size(_) => 0,
        });
        bytes.sum()
    }

    /// Makes `dir` what a power cut may leave here.
    pub(crate) fn write_image(&self, mode: Mode, random: &mut Random, dir: &Path) {
        let mut keep = Keep::new(mode, random, self);
        let mut names = self.names.clone();
        let kept = self.namings.iter().filter(|it| keep.name(it.at));
        kept.for_each(|naming| naming.apply(&mut names));
        self.write_directory(ROOT, &names, &mut keep, dir);
    }

    fn write_directory(
        &self,
        node: Node,
        names: &BTreeMap<Name, Node>,
        keep: &mut Keep<'_>,
        path: &Path,
    ) {
        fs::create_dir_all(path).unwrap();
        for ((_, name), child) in names.range((node, String::new())..(node + 1, String::new())) {
            let path: PathBuf = path.join(name);
            match self.files.get(child) {
                Some(file) => file.write_image(keep, &path),
                None => self.write_directory(*child, names, keep, &path),
            }
        }
    }
}

impl Change {
    fn apply(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Sectors(from, sectors) => put(bytes, from, &sectors),
            Self::Size(size) => bytes.resize(size, 0),
        }
    }
}

fn put(bytes: &mut Vec<u8>, from: usize, sectors: &[u8]) {
    let to = from + sectors.len();
    bytes.resize(bytes.len().max(to), 0);
    bytes[from..to].copy_from_slice(sectors);
}

impl File {
    fn write(&mut self, at: usize, from: usize, bytes: &[u8]) {
        let (first, size) = (from / SECTOR * SECTOR, self.seen.len());
        put(&mut self.seen, from, bytes);
        let end = (from + bytes.len()).next_multiple_of(SECTOR);
        let mut sectors = self.seen[first..end.min(self.seen.len())].to_vec();
        sectors.resize(end - first, 0);
        self.changes.push((at, Change::Sectors(first, sectors)));
        // The sectors may reach past the end, so a write always says where that is.
        self.changes.push((at, Change::Size(size.max(from + bytes.len()))));
    }

    fn truncate(&mut self, at: usize, size: usize) {
        self.seen.resize(size, 0);
        self.changes.push((at, Change::Size(size)));
    }

    fn write_image(&self, keep: &mut Keep<'_>, path: &Path) {
        // Sectors beyond the end stay, in case that a later change of the size is kept.
        let mut bytes = self.synced.clone();
        let mut size = bytes.len();
        for (at, change) in &self.changes {
            match change {
                Change::Sectors(from, sectors) => {
                    for (sector, number) in sectors.chunks(SECTOR).zip(0..) {
                        if keep.sector(*at, number) {
                            put(&mut bytes, from + number * SECTOR, sector);
                        }
                    }
                }
                Change::Size(to) if keep.size(*at) => {
                    if *to < size {
                        bytes.truncate(*to);
                    }
                    size = *to;
                }
                Change::Size(_) => {}
            }
        }
        bytes.resize(size, 0);
        let file = fs::File::create(path).unwrap();
        file.set_len(u64::try_from(size).unwrap()).unwrap();
        for (piece, from) in bytes.chunks(HOLE).zip((0..).step_by(HOLE)) {
            if piece != &[0; HOLE][..piece.len()] {
                file.write_all_at(piece, from).unwrap();
            }
        }
    }
}

/// Decides what of the unsynced changes is there.
struct Keep<'a> {
    mode: Mode,
    random: &'a mut Random,
    /// The operation at which the newest begin, or which is torn.
    turn: usize,
    /// The chance, in a hundred, of a name and of a size to be kept by itself; none: as the mode says.
    names: Option<u64>,
    sizes: Option<u64>,
    /// From which sector on the torn write is lost, or which of them are.
    tear: Tear,
}

enum Tear {
    After(usize),
    Before(usize),
    Anywhere,
}

impl<'a> Keep<'a> {
    fn new(mode: Mode, random: &'a mut Random, replay: &Replay) -> Self {
        let changes = replay.files.values().flat_map(|file| &file.changes);
        let mut turns: Vec<(usize, usize)> = changes
            .filter_map(|(at, change)| match change {
                Change::Sectors(_, bytes) => Some((*at, bytes.len() / SECTOR)),
                Change::Size(_) => None,
            })
            .collect();
        turns.sort_unstable();
        // Most often one of the last, where most is at stake.
        let back = if random.percent(50) { 4.min(turns.len()) } else { turns.len() };
        let turn = (back > 0).then(|| turns[turns.len() - 1 - random.index(back)]);
        let (turn, sectors) = turn.unwrap_or((replay.at, 1));
        let by_itself = |random: &mut Random| match random.below(3) {
            0 => None,
            1 => Some(50),
            _ => Some(100 * random.below(2)),
        };
        let fixed = matches!(mode, Mode::Nothing | Mode::Everything);
        let names = if fixed { None } else { by_itself(random) };
        let sizes = if fixed { None } else { by_itself(random) };
        let tear = match random.below(3) {
            0 => Tear::After(random.index(sectors)),
            1 => Tear::Before(random.index(sectors)),
            _ => Tear::Anywhere,
        };
        Self { mode, random, turn, names, sizes, tear }
    }

    fn name(&mut self, at: usize) -> bool {
        self.by_itself(self.names, at)
    }

    fn size(&mut self, at: usize) -> bool {
        self.by_itself(self.sizes, at)
    }

    fn by_itself(&mut self, chance: Option<u64>, at: usize) -> bool {
        match (chance, self.mode) {
            (Some(chance), _) | (None, Mode::Random(chance)) => self.random.percent(chance),
            (None, Mode::Nothing) => false,
            (None, Mode::Everything) => true,
            (None, Mode::Newest) => at >= self.turn,
            (None, Mode::Torn) => at <= self.turn,
        }
    }

    fn sector(&mut self, at: usize, number: usize) -> bool {
        match self.mode {
            Mode::Nothing => false,
            Mode::Everything => true,
            Mode::Newest => at >= self.turn,
            Mode::Random(chance) => self.random.percent(chance),
            Mode::Torn if at == self.turn => match self.tear {
                Tear::After(from) => number < from,
                Tear::Before(to) => number >= to,
                Tear::Anywhere => self.random.percent(50),
            },
            Mode::Torn => at < self.turn,
        }
    }
}

mod tests;
