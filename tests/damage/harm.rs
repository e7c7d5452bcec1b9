//! What is done to a copy of the directory.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    bytes::{cut, delete, duplicate, flip, flip_any, read, swap, write, zero},
    original,
    random::Random,
};

/// A copy to be damaged.
pub(crate) struct Copy<'a> {
    pub(crate) dir: &'a Path,
    /// The directory as it was one session before.
    pub(crate) older: &'a Path,
    pub(crate) layout: &'a Layout,
}

impl Copy<'_> {
    fn db(&self) -> PathBuf {
        self.dir.join("db")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

type Apply = fn(&Copy<'_>, &mut Random) -> String;

/// One kind of damage: its name, how often it is tried for each time that the rarest is, and how it
/// is done, which says what was done.
pub(crate) struct Harm(pub(crate) &'static str, pub(crate) usize, pub(crate) Apply);

/// Every kind. The first is none: the control.
pub(crate) static ALL: [Harm; 42] = [
    Harm("nothing", 1, |_, _| String::from("nothing")),
    Harm("flip a bit", 6, |it, random| flip(&it.db(), it.layout.any(random), random)),
    Harm("flip: segment header", 5, |it, random| {
        let at = it.layout.segment(random) + random.below(20);
        flip(&it.db(), at, random)
    }),
    Harm("flip: chunk", 6, |it, random| flip_value(it, b"ONWD", random)),
    Harm("flip: page", 6, |it, random| flip_value(it, b"ONWP", random)),
    Harm("flip: timers", 4, |it, random| flip_value(it, b"ONWT", random)),
    Harm("flip: checkpoint", 4, |it, random| flip_value(it, b"ONWC", random)),
    Harm("flip: base", 2, |it, random| flip_value(it, b"ONWB", random)),
    Harm("flip: format", 1, |it, random| flip_value(it, b"ONWF", random)),
    Harm("another byte", 4, |it, random| {
        let at = it.layout.any(random);
        let byte = read(&it.db(), at, 1)[0] ^ random.byte().max(1);
        write(&it.db(), at, &[byte]);
        format!("byte at {at}")
    }),
    Harm("zeros", 5, |it, random| {
        let at = it.layout.any(random);
        zero(&it.db(), at, 1 << random.below(20))
    }),
    Harm("zeros: a segment", 3, |it, random| zero(&it.db(), it.layout.segment(random), SEGMENT)),
    Harm("cut", 5, |it, random| cut(&it.db(), it.layout.any(random))),
    Harm("cut to nothing", 1, |it, _| cut(&it.db(), 0)),
    Harm("cut: head or conf", 3, |it, random| {
        let name: &&str = random.pick(&["head", "conf"]);
        let path = it.file(name);
        cut_any(&path, random)
    }),
    Harm("zeros: head or conf", 2, |it, random| {
        let name: &&str = random.pick(&["head", "conf"]);
        let path = it.file(name);
        let at = random.below(usize::try_from(fs::metadata(&path).unwrap().len()).unwrap());
        format!("{name}: {}", zero(&path, at, 1 << random.below(10)))
    }),
    Harm("swap sectors", 3, |it, random| {
        let places = [it.layout.any(random), it.layout.any(random)].map(|at| at / 512 * 512);
        swap(&it.db(), places, 512 << random.below(6))
    }),
    Harm("swap segments", 2, |it, random| {
        swap(&it.db(), [it.layout.segment(random), it.layout.segment(random)], SEGMENT)
    }),
    Harm("a range again", 3, |it, random| {
        let length = 16 << random.below(12);
        duplicate(&it.db(), [it.layout.any(random), it.layout.any(random)], length)
    }),
    Harm("a segment again", 2, |it, random| {
        duplicate(&it.db(), [it.layout.segment(random), it.layout.segment(random)], SEGMENT)
    }),
    Harm("garbage at the end", 1, |it, random| {
        let bytes: Vec<u8> = (0..100_000 + random.below(100_000)).map(|_| random.byte()).collect();
        write(&it.db(), it.layout.len, &bytes);
        format!("{} bytes", bytes.len())
    }),
    Harm("older db", 1, |it, _| replace(it, &["db"])),
    Harm("older head", 1, |it, _| replace(it, &["head"])),
    Harm("older snapshot", 1, |it, _| replace(it, &["snap."])),
    Harm("older db, snapshot", 1, |it, _| replace(it, &["snap.", "db"])),
    Harm("flip: head", 3, |it, random| flip_any(&it.file("head"), random)),
    Harm("flip: conf", 3, |it, random| flip_any(&it.file("conf"), random)),
    Harm("flip: snapshot", 3, |it, random| flip_any(&snapshot(it.dir), random)),
    Harm("no db", 1, |it, _| delete(&it.db())),
    Harm("no head", 1, |it, _| delete(&it.file("head"))),
    Harm("no conf", 1, |it, _| delete(&it.file("conf"))),
    Harm("no head, cut", 2, |it, random| {
        delete(&it.file("head"));
        cut(&it.db(), it.layout.any(random))
    }),
    Harm("no conf, flip a bit", 2, |it, random| {
        delete(&it.file("conf"));
        flip(&it.db(), it.layout.any(random), random)
    }),
    Harm("leftovers of copies", 1, |it, random| {
        fs::write(it.file("unfinished"), "").unwrap();
        for end in ["compacting", "restoring"] {
            let made = it.dir.with_extension(end);
            original::copy(it.older, &made);
            if random.below(2) == 0 {
                fs::write(made.join("unfinished"), "").unwrap();
            }
        }
        String::from("unfinished, and directories beside it")
    }),
    Harm("no snapshot", 1, |it, _| delete(&snapshot(it.dir))),
    Harm("no blobs", 1, |it, _| {
        fs::remove_dir_all(it.file("blobs")).unwrap();
        String::from("no blobs")
    }),
    Harm("leftover .generating", 1, |it, _| {
        fs::write(it.file("snap.00000000000FFFFF.generating"), "half").unwrap();
        String::from("snap.00000000000FFFFF.generating")
    }),
    Harm("cut: snapshot", 1, |it, random| cut_any(&snapshot(it.dir), random)),
    Harm("garbage files", 1, |it, _| {
        let names = ["snap.zz", "snap.", "notes.txt", "head.new", "blobs/x", "blobs/77", "snap.01"];
        names.iter().for_each(|name| fs::write(it.file(name), name.repeat(40)).unwrap());
        String::from("files that nobody knows")
    }),
    Harm("garbage instead", 2, |it, random| {
        let path = some_file(it.dir, random);
        fs::write(&path, b"garbage ".repeat(1 + random.below(4_000))).unwrap();
        path.display().to_string()
    }),
    Harm("a directory instead", 1, |it, random| {
        let path = some_file(it.dir, random);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        path.display().to_string()
    }),
    // As a crash leaves it that met the first write to a segment: all is there, and is in doubt.
    Harm("a torn segment", 2, |it, random| {
        let at = (it.layout.len.div_ceil(SEGMENT) + random.below(2)) * SEGMENT;
        write(&it.db(), at + 512, &vec![random.byte().max(1); 4_096]);
        format!("bytes at {}", at + 512)
    }),
];

const SEGMENT: usize = 8 * 1024 * 1024;

/// Where things are in the undamaged file of the store.
pub(crate) struct Layout {
    /// Bytes that are not in a run of zeros.
    used: Vec<usize>,
    magics: Vec<(&'static [u8], Vec<usize>)>,
    len: usize,
}

const BLOCK: usize = 512;

impl Layout {
    pub(crate) fn of(dir: &Path) -> Self {
        let bytes = fs::read(dir.join("db")).unwrap();
        let blocks = bytes.chunks(BLOCK).enumerate();
        let used = blocks.filter(|(_, block)| block.iter().any(|byte| *byte != 0));
        let used = used.map(|(number, _)| number * BLOCK).collect();
        let kinds: [&'static [u8]; 6] = [b"ONWD", b"ONWP", b"ONWT", b"ONWC", b"ONWF", b"ONWB"];
        let find = |magic: &[u8]| {
            let windows = bytes.windows(4).enumerate();
            windows.filter(|(_, it)| *it == magic).map(|(at, _)| at).collect::<Vec<_>>()
        };
        let magics = kinds.map(|magic| (magic, find(magic))).to_vec();
        Self { used, magics, len: bytes.len() }
    }

    fn any(&self, random: &mut Random) -> usize {
        random.pick(&self.used) + random.below(BLOCK)
    }

    /// Somewhere in the first bytes of a value of this kind, more often in one written late; anywhere
    /// where there is none.
    fn in_value(&self, magic: &[u8], random: &mut Random) -> usize {
        let (_, places) = self.magics.iter().find(|(it, _)| *it == magic).unwrap();
        if places.is_empty() {
            return self.any(random);
        }
        let late = places.len() / 2;
        let at = if random.below(2) == 0 {
            places[late + random.below(places.len() - late)]
        } else {
            *random.pick(places)
        };
        at + random.below(100)
    }

    fn segment(&self, random: &mut Random) -> usize {
        random.below(self.len.div_ceil(SEGMENT)) * SEGMENT
    }

    pub(crate) fn describe(&self) -> String {
        let kinds = self
            .magics
            .iter()
            .map(|(magic, places)| format!("{} {}", places.len(), String::from_utf8_lossy(magic)));
        let kinds: Vec<_> = kinds.collect();
        format!("{} bytes, {} blocks used; {}", self.len, self.used.len(), kinds.join(", "))
    }
}

fn some_file(dir: &Path, random: &mut Random) -> PathBuf {
    match random.below(4) {
        0 => dir.join("db"),
        1 => dir.join("head"),
        2 => dir.join("conf"),
        _ => snapshot(dir),
    }
}

fn snapshot(dir: &Path) -> PathBuf {
    let entries = fs::read_dir(dir).unwrap().map(|it| it.unwrap().path());
    let is_snapshot =
        |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("snap.");
    entries.filter(is_snapshot).max().unwrap()
}

/// Puts the files whose names begin so as they were in the older copy.
fn replace(it: &Copy<'_>, names: &[&str]) -> String {
    let matching = |dir: &Path| {
        let entries = fs::read_dir(dir).unwrap().map(|it| it.unwrap().path());
        let is_named = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            names.iter().any(|it| name.starts_with(it))
        };
        entries.filter(is_named).collect::<Vec<_>>()
    };
    matching(it.dir).iter().for_each(|path| fs::remove_file(path).unwrap());
    for path in matching(it.older) {
        fs::copy(&path, it.dir.join(path.file_name().unwrap())).unwrap();
    }
    format!("{names:?} of the older copy")
}

fn flip_value(it: &Copy<'_>, magic: &[u8], random: &mut Random) -> String {
    flip(&it.db(), it.layout.in_value(magic, random), random)
}

fn cut_any(path: &Path, random: &mut Random) -> String {
    let length = usize::try_from(fs::metadata(path).unwrap().len()).unwrap();
    cut(path, random.below(length))
}
